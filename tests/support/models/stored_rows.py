"""Journals made by hand, as rows: what the checker is tried on without a database."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from engine.domain import payment
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.kernel.fact import Envelope, Fact, StreamAppend
from tests.support.checkers import checker
from tests.support.engines.world import World


class Written(NamedTuple):
    """A fact before it has a place: `append` tells the appends apart."""

    append: int
    stream: str
    fact: Fact
    at_us: int
    actor: str | None = "cli_test"
    version: int | None = None


def written(world: World) -> list[Written]:
    """The facts of a world, which takes a new time for each thing that it does."""
    return [Written(fact.at_us, name, fact, fact.at_us) for _, name, fact in world.facts]  # type: ignore[attr-defined]


def named_as_streams(facts: Iterable[Written]) -> list[Written]:
    """The same with ids as the engine makes them: a world's names have no prefixes."""
    facts = list(facts)
    ids = {}
    for one in facts:
        what = type(one.fact)
        prefix = next(prefix for kinds, prefix in PREFIXES.items() if what.__module__ in kinds)
        if what in WITHDRAWN:
            prefix = "wdr"
        ids.setdefault(one.stream, f"{prefix}_{one.stream.replace('/', '-')}")
    return [one._replace(stream=ids[one.stream], fact=_renamed(one.fact, ids)) for one in facts]


PREFIXES = {
    ("engine.domain.account", "engine.domain.bookings", "engine.domain.servicing"): "acc",
    ("engine.domain.order",): "ord",
    ("engine.domain.order_quote",): "quo",
    ("engine.domain.instrument", "engine.domain.corporate_action"): "ins",
    ("engine.domain.payment",): "dep",
    ("engine.domain.report",): "rep",
}
WITHDRAWN = (payment.WithdrawalOpened, payment.WithdrawalCompleted, payment.WithdrawalFailed)


ID_FIELDS = frozenset({"account", "order", "instrument", "deposit", "withdrawal", "subject", "quote"})


def _renamed(value: Any, ids: Mapping[str, str]) -> Any:
    """A fact, or the report in it, with its ids exchanged."""
    fields = {}
    for name in value.__struct_fields__:
        field = fields[name] = getattr(value, name)
        if name in ID_FIELDS:
            fields[name] = ids.get(field, field)
        elif name == "report":
            is_id = field is None or isinstance(field, str)
            fields[name] = ids.get(field, field) if is_id else _renamed(field, ids)
    return type(value)(**fields)


def record(journal: Journal, facts: Iterable[Written]) -> None:
    """Appends them as they are grouped. Streams keep their order inside an append."""
    versions: dict[str, int] = {}
    for append, several in itertools.groupby(facts, key=lambda one: one.append):
        appends = []
        for stream, parts in itertools.groupby(several, key=lambda one: one.stream):
            new = [one.fact for one in parts]
            appends.append(StreamAppend(stream, versions.get(stream, 0), new))
            versions[stream] = versions.get(stream, 0) + len(new)
        envelope = Envelope(append, tenant="tnt", actor="cli_test", command=command_of(append))
        journal.append(appends, envelope)


def command_of(append: int) -> bytes:
    return append.to_bytes(16, "big")


def sealed(facts: Iterable[Written]) -> list[checker.Fact]:
    """As rows with positions, versions and digests that hold, whatever the facts say."""
    codec, versions, rows = engine_codec(), dict[str, int](), list[checker.Fact]()
    digest, append = bytes(32), 0
    for position, one in enumerate(facts, 1):
        is_first, append = one.append != append, one.append
        command = command_of(append)
        envelope = Envelope(
            one.at_us, tenant="tnt", actor=one.actor, command=None if is_first else command
        )
        name, body = codec.encode(envelope, one.fact)
        version = one.version or versions.get(one.stream, 0) + 1
        versions[one.stream] = version
        stored = command if is_first else b""
        digest = link(digest, position, version, one.stream, name, stored, body)
        rows.append(checker.Fact(position, version, one.stream.encode(), name, stored, body, digest))
    return rows


def link(before: bytes, position: int, version: int, stream: str, *parts: Any) -> bytes:
    """The next digest of the chain (`engine/kernel/chain.py` says how)."""
    name, command, body = parts
    covered = before + position.to_bytes(8, "big") + version.to_bytes(4, "big")
    for part in (stream.encode(), name.encode(), command):
        covered += len(part).to_bytes(2, "big")
    return hashlib.sha256(covered + stream.encode() + name.encode() + command + body).digest()
