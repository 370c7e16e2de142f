"""Reading and writing the kind of a journal, live or sandbox. See `engine.domain.kind`.

It is written in the transaction that makes the journal, so only journals of the first release lack it.
"""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from engine.domain import idempotency
from engine.domain.clock import ClockAdvanced
from engine.domain.kind import KINDS, SIMULATED, STREAM, Declared, JournalKind, KindFact, declare, evolve
from engine.domain.order import TradeRecorded
from engine.domain.stored import engine_codec
from engine.journal.datastore import Datastore
from engine.journal.schema import Tables
from engine.kernel import chain, wall
from engine.kernel.errors import JournalDamaged, WrongKind
from engine.kernel.fact import Envelope
from engine.kernel.limits import PAGE_FACTS, TRACES_SHOWN
from engine.kernel.values import plain

ACTOR: Final = "command line"
COMMAND: Final = idempotency.command_id(["kind"])
SAY_ONE: Final = "say `order-engine migrate --live` or `order-engine migrate --sandbox`, once for ever"

UNDECLARED: Final = (
    "this journal is neither live nor a sandbox yet: keep a copy of its data directory (on PostgreSQL a"
    f" pg_dump), then {SAY_ONE}; docs/upgrades.md, Upgrade from the first release"
)


class Trace(NamedTuple):
    """A fact that a live engine never records. `at_us`: microseconds since the epoch."""

    position: int
    at_us: int
    what: str


class Traces(NamedTuple):
    """Sandbox facts in a journal without a kind. Only the first TRACES_SHOWN of each list are kept."""

    facts: int
    clock_advances: int
    simulated_trades: int
    first_advances: tuple[Trace, ...]
    first_trades: tuple[Trace, ...]

    @property
    def is_sandboxed(self) -> bool:
        """Whether the simulated venue or the sandbox clock was ever used."""
        return bool(self.clock_advances or self.simulated_trades)


def make(url: str, kind: JournalKind, *, at_us: int | None = None) -> None:
    """Makes a bare journal without the registers of an installation, for throw-away use. Idempotent."""
    with closing(Datastore(url, prefix="", kind="text")) as datastore:
        datastore.migrate()
        with datastore.store.writing() as connection:
            write(connection, datastore, kind, at_us=wall.now_us() if at_us is None else at_us)


def declared(datastore: Datastore) -> JournalKind | None:
    """The journal's kind; None for a journal of the first release, which has none.

    A fact with a wrong digest still tells the kind: reading it marks the journal as damaged, which stops
    all writing. Raises JournalDamaged for an unreadable body.
    """
    with datastore.store.reading() as connection:
        state = _stored(connection, datastore.tables)
    if state is None:
        return None
    with suppress(JournalDamaged):  # noted by the pages
        datastore.pages.stream(STREAM)
    return state.kind


def required(datastore: Datastore) -> JournalKind:
    """The journal's kind. Raises WrongKind for one without."""
    kind = declared(datastore)
    if kind is None:
        raise WrongKind(UNDECLARED)
    return kind


def check(connection: sa.Connection, tables: Tables, kind: JournalKind | None) -> None:
    """Raises WrongKind for a journal without a kind, or not of this one (None: of either)."""
    state = _stored(connection, tables)
    if state is None:
        raise WrongKind(UNDECLARED)
    declare(state, kind or state.kind, at_us=0)


def write(connection: sa.Connection, datastore: Datastore, kind: JournalKind, *, at_us: int) -> bool:
    """Declares the kind within the caller's write transaction, unless it is declared; whether it did.

    The head is locked, so the second of two concurrent declarations finds the first. Raises WrongKind
    for a journal of another kind.
    """
    tables = datastore.tables
    journal, head = tables.journal, tables.head
    position, before = connection.execute(
        sa.select(head.c.position, head.c.digest).with_for_update()
    ).one()
    facts = declare(_stored(connection, tables), kind, at_us=at_us)
    for fact in facts:
        envelope = Envelope(at_us, actor=ACTOR, command=COMMAND)
        name, body = engine_codec().encode(envelope, fact, has_command=False)
        content = chain.content(1, STREAM.encode(), name.encode(), COMMAND, body)
        place, digest = position + 1, chain.link(bytes(before), position + 1, content)
        connection.execute(
            journal.insert().values(
                position=place, version=1, name=_code(connection, tables.names, name), stream=STREAM,
                command=COMMAND, body=body, digest=digest,
            )
        )  # fmt: skip
        connection.execute(head.update().values(position=place, digest=digest))
    return bool(facts)


def traces(datastore: Datastore) -> Traces:
    """Facts of a sandbox in a journal without a kind. Reads every fact of two names."""
    codec = engine_codec()
    names = codec.names_of([ClockAdvanced, TradeRecorded])
    advances: list[Trace] = []
    trades: list[Trace] = []
    after = 0
    while facts := datastore.pages.log_of(names, after, PAGE_FACTS):
        after = facts[-1][0]
        for position, _, name, stream, command, body, _ in facts:
            envelope, fact = codec.decode(name, body, command)
            if isinstance(fact, ClockAdvanced):
                what = f"business time was moved forward by {timedelta(microseconds=fact.by_us)}"
                advances.append(Trace(position, envelope.at_us, what))
            elif isinstance(fact, TradeRecorded) and fact.venue == SIMULATED:
                what = f"{stream} traded {plain(fact.quantity)} at {plain(fact.price)}"
                trades.append(Trace(position, envelope.at_us, what))
    return Traces(
        datastore.pages.head().position, len(advances), len(trades),
        tuple(advances[:TRACES_SHOWN]), tuple(trades[:TRACES_SHOWN]),
    )  # fmt: skip


def _stored(connection: sa.Connection, tables: Tables) -> Declared | None:
    journal, names = tables.journal, tables.names
    row = connection.execute(
        sa.select(names.c.name, journal.c.body)
        .join_from(journal, names, names.c.code == journal.c.name)
        .where(journal.c.stream == STREAM, journal.c.version == 1)
    ).first()
    return _state(*row) if row else None


def _code(connection: sa.Connection, names: sa.Table, name: str) -> int:
    """The code of a stored name, assigned here if it has none. Under the head's lock."""
    known = connection.execute(sa.select(names.c.code).where(names.c.name == name)).scalar()
    if known is not None:
        return int(known)
    last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(names.c.code), 0))).scalar_one()
    connection.execute(names.insert().values(code=last + 1, name=name))
    return int(last) + 1


def _state(name: str, body: bytes) -> Declared:
    _, fact = engine_codec().decode(name, bytes(body))
    if not isinstance(fact, KindFact):
        raise JournalDamaged(f"the journal's kind is said by a {type(fact).__name__}")
    state = evolve(None, fact)
    if state.kind not in KINDS:
        raise JournalDamaged(f"the journal's kind is not one of {', '.join(KINDS)}", position=1)
    return state
