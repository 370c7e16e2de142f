"""The facts of a random run as a journal would have recorded them, for tests of what reads journals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from typing import Any

import msgspec
from eventsourcing.persistence import StoredEvent

from engine.domain.payment import DepositOpened
from engine.journal.journal import Journal
from engine.journal.writer import Append
from engine.kernel.fact import Envelope, Fact, Recorded
from projections.database import Views
from projections.folds import Change, Folded, fold
from projections.registry import VIEWS
from projections.tables import Row
from projections.view import PageRows, View
from tests.laws.runs import Run
from tests.support.engines.journals import write_group
from tests.support.engines.world import World

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
        if subject == "quote":  # named as orders name it
            yield name, renamed(fact, kinds)
            continue
        prefix = PREFIXES.get(subject)
        if prefix is None:
            first = "dep" if isinstance(fact, DepositOpened) else "wdr"
            prefix = kinds.setdefault(name, first)
        yield f"{prefix}_{name}", renamed(fact, kinds)


def random_facts(seed: int, steps: int) -> list[Recorded]:
    """The facts of a random run."""
    return list(_random_facts(seed, steps))


@cache
def _random_facts(seed: int, steps: int) -> tuple[Recorded, ...]:
    run = Run(seed)
    run.go(steps)
    return tuple(recorded(run.world))


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


def recorded(world: World) -> list[Recorded]:
    """A world's facts, each with its place in the journal."""
    versions: dict[str, int] = {}
    facts = []
    for offset, (stream, fact) in enumerate(streams(world.facts), 1):
        versions[stream] = versions.get(stream, 0) + 1
        facts.append(Recorded(fact, stream, versions[stream], offset, envelope(offset, fact)))
    return facts


def envelope(number: int, fact: Any) -> Envelope:
    """One command a fact; all of one tenant."""
    return Envelope(fact.at_us, DAY, tenant="tenant", command=number.to_bytes(16, "big"))


def write(journal: Journal, facts: Sequence[Recorded]) -> None:
    """Records the facts as given, in one transaction, whether they make sense or not."""
    events = []
    for fact in facts:
        inner = msgspec.structs.replace(fact.envelope, command=None)
        name, body = journal.codec.encode(inner, fact.fact)
        events.append(StoredEvent(fact.stream, fact.version, name, body))
    journal.datastore.names.learn({event.topic for event in events})  # at once: each time takes 2 ms
    group = []
    for fact, event in zip(facts, events, strict=True):
        command = fact.envelope.command
        rows = journal.datastore.rows([event], command)
        group.append(Append(rows, command=command, tracking=None, lease=None))
    if group:
        write_group(journal, group)


Contents = dict[str, dict[Any, Row]]
"""Table -> key -> row."""


def folded(facts: Iterable[Recorded], views: Iterable[View] = VIEWS) -> Contents:
    """The rows of views, fact by fact, without a database: what `Runner` must write."""
    views = tuple(views)
    contents: Contents = {table.name: {} for view in views for table in view.tables}
    streams: dict[str, Folded[Any]] = {}
    for fact in facts:
        before = streams.get(fact.stream)
        change = Change(fact, before, fold(before, fact))
        streams[fact.stream] = change.after
        for view in views:
            if type(fact.fact) in view.reads:
                page = PageRows({})
                view.feed(change, page)
                _apply(page, contents)
    return contents


def _apply(page: PageRows, contents: Contents) -> None:
    for table, kept in page.upserts.items():
        for key, row in kept.items():
            contents[table.name].pop(key, None)
            if row is not None:
                contents[table.name][key] = row()
    for table, rows in page.inserts.items():
        for row in rows:
            assert row[0] not in contents[table.name], "a line was added twice"
            contents[table.name][row[0]] = row


def contents(views: Views) -> Contents:
    """Contents of the tables of the views, keys first in every row."""
    return {
        table.name: {
            row[list(table.columns).index(table.key)]: row
            for row in views.query(f"SELECT {', '.join(table.columns)} FROM {table.name}")
        }
        for view in views.views.values()
        for table in view.tables
    }


def shown(rows: Iterable[Row]) -> list[Any]:
    """The bodies of rows, decoded."""
    return [json.loads(row[-1]) for row in rows]
