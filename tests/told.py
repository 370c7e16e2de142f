"""The facts of a random run as a journal would have recorded them, for tests of what reads journals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec

from engine.fact import Envelope, Fact, Recorded, StreamAppend
from engine.journal import Journal
from engine.payment import DepositOpened
from tests.laws.runs import Run

DAY = date(2026, 3, 12)
START_US = 1_773_325_800_000_000  # 2026-03-12T14:30:00Z
PREFIXES = {"account": "acc", "order": "ord", "instrument": "ins", "parked": "rep"}
NAMED = {
    "account": "acc", "order": "ord", "instrument": "ins", "deposit": "dep", "withdrawal": "wdr",
}  # fmt: skip
"""Fields that hold an id -> its prefix."""


def streams(facts: Iterable[tuple[str, str, Fact]]) -> Iterator[tuple[str, Fact]]:
    """(stream id, fact): ids get the prefixes that a world does without, times start in 2026."""
    kinds: dict[str, str] = {}
    for subject, name, fact in facts:
        prefix = PREFIXES.get(subject)
        if prefix is None:
            first = "dep" if isinstance(fact, DepositOpened) else "wdr"
            prefix = kinds.setdefault(name, first)
        yield f"{prefix}_{name}", renamed(fact, kinds)


def renamed(fact: Any, kinds: dict[str, str]) -> Any:
    changes: dict[str, Any] = {}
    for word in fact.__struct_fields__:
        value = getattr(fact, word)
        if word.endswith("_us"):
            changes[word] = value if value is None else START_US + value * 250_000
        elif word in NAMED and isinstance(value, str):
            changes[word] = f"{NAMED[word]}_{value}"
        elif word == "subject":
            changes[word] = f"{kinds.get(value, 'ord')}_{value}"
        elif word == "report" and isinstance(value, msgspec.Struct):
            changes[word] = renamed(value, kinds)
    return msgspec.structs.replace(fact, **changes)


def recorded(run: Run) -> list[Recorded]:
    """A run's facts, each with its place in the journal."""
    versions: dict[str, int] = {}
    told = []
    for offset, (stream, fact) in enumerate(streams(run.world.facts), 1):
        versions[stream] = versions.get(stream, 0) + 1
        told.append(Recorded(fact, stream, versions[stream], offset, envelope(offset, fact)))
    return told


def envelope(number: int, fact: Any) -> Envelope:
    """One command a fact; all of one tenant."""
    return Envelope(fact.at_us, DAY, tenant="tnt", command=number.to_bytes(16, "big"))


def write(journal: Journal, facts: Iterable[Recorded]) -> None:
    """Appends facts as they are; times never fall, because the run's do not."""
    for fact in facts:
        append = StreamAppend(fact.stream, fact.version - 1, [fact.fact])
        journal.append([append], fact.envelope)
