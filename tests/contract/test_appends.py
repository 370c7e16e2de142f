"""What an append may rest on (versions, commands, offsets, leases), alone, at once and in one group."""

from __future__ import annotations

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent, Tracking

from engine.journal.recorder import JournalProcessRecorder
from engine.journal.store import Store, allow_pauses
from engine.journal.writer import Lease
from engine.kernel.errors import (
    EngineError,
    LeaseLost,
    StaleOffset,
    Unavailable,
    Unrecordable,
    VersionConflict,
)
from engine.kernel.limits import APPEND_FACTS_MAX, BODY_BYTES_MAX
from tests.crash import children
from tests.crash.processes import Crew, context
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import append_of, events, new_command, open_journal, write_group
from tests.support.servers.http_server import WAIT_S


@pytest.fixture
def journal(journal_url: str) -> Iterator[JournalProcessRecorder]:
    with open_journal(journal_url) as journal:
        yield journal


def set_lease(journal: JournalProcessRecorder, name: str, epoch: int) -> None:
    leases = journal.datastore.tables.leases
    with journal.datastore.store.writing() as connection:
        connection.execute(leases.delete().where(leases.c.name == name))
        connection.execute(leases.insert().values(name=name, holder="me", epoch=epoch, beat=0))


# --- commands ------------------------------------------------------------------------------------


def test_a_repeated_command_finds_the_first_append(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """Later, with other facts, after other appends: nothing is added, the positions are the first's."""
    command = new_command()
    first = journal.append(events(command, 3), command=command)
    journal.append(events(new_command()), command=new_command())
    again = journal.append(events(new_command(), 7), command=command)
    assert (first.is_repeat, first.positions) == (False, range(1, 4))
    assert (again.is_repeat, again.positions) == (True, range(1, 4))
    assert checker.check(journal_url, [Acknowledged(command, first.positions)]) == []
    assert journal.max_notification_id() == 5


def test_the_last_command_of_the_journal_is_repeated_too(journal: JournalProcessRecorder) -> None:
    """No later command tells where its facts end."""
    command = new_command()
    first = journal.append(events(command, 3), command=command)
    again = journal.append(events(command, 3), command=command)
    assert (again.is_repeat, again.positions) == (True, first.positions)


def test_one_command_from_many_threads_at_once(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """One of sixteen appends, fifteen are told where."""
    command = new_command()
    start = Barrier(16)

    def append(_: int) -> tuple[bool, range]:
        start.wait(10)
        done = journal.append(events(command), command=command)
        return done.is_repeat, done.positions

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(append, range(16)))
    assert (
        sorted(answers, key=lambda each: each[0]) == [(False, range(1, 3))] + [(True, range(1, 3))] * 15
    )
    assert checker.check(journal_url, [Acknowledged(command, range(1, 3))]) == []


def test_one_command_twice_in_one_group(journal: JournalProcessRecorder, journal_url: str) -> None:
    """The later of the two finds the earlier, and their neighbours are recorded."""
    command, before, after = new_command(), new_command(), new_command()
    group = [
        append_of(journal, events(before)),
        append_of(journal, events(command), command=command),
        append_of(journal, events(new_command(), 5), command=command),
        append_of(journal, events(after), command=after),
    ]
    write_group(journal, group)
    assert [append.error for append in group] == [None] * 4
    assert [append.is_repeat for append in group] == [False, False, True, False]
    assert group[2].positions == group[1].positions
    acks = [Acknowledged(c, group[n].positions) for n, c in ((0, before), (1, command), (3, after))]
    assert checker.check(journal_url, acks) == []


def test_the_same_commands_from_two_processes(journal_url: str) -> None:
    """Each command is recorded once, and both processes are told the same positions."""
    commands = [new_command() for _ in range(40)]
    with open_journal(journal_url), Crew() as crew:
        start = context.Barrier(2)
        pipes = [context.Pipe() for _ in range(2)]
        crew.finish(
            *[
                crew.start(children.append_commands, journal_url, start, commands, ours)
                for _, ours in pipes
            ]
        )
        first, second = (theirs.recv() for theirs, _ in pipes)
    assert [positions for _, positions in first] == [positions for _, positions in second]
    assert all(a != b for (a, _), (b, _) in zip(first, second, strict=True)), "one each"
    acks = [Acknowledged(c, positions) for c, (_, positions) in zip(commands, first, strict=True)]
    assert checker.check(journal_url, acks) == []


# --- versions ------------------------------------------------------------------------------------


def test_conflicts_in_a_group_hurt_only_the_losers(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """Against the journal, against the group, and inside one append; all others are recorded."""
    journal.append(events(new_command(), 3, stream="old"))
    winners = {name: new_command() for name in ("first", "second", "third")}
    inner = new_command()
    group = [
        append_of(journal, events(winners["first"], stream="new")),
        append_of(journal, events(new_command(), stream="old", first_version=3)),
        append_of(journal, events(winners["second"], stream="old", first_version=4)),
        append_of(journal, events(new_command(), stream="new", first_version=2)),
        append_of(journal, events(inner, 1) * 2),
        append_of(journal, events(winners["third"])),
    ]
    write_group(journal, group)
    losers = [group[1], group[3], group[4]]
    assert all(isinstance(append.error, VersionConflict) for append in losers)
    acks = [
        Acknowledged(winners[w], group[n].positions) for w, n in zip(winners, (0, 2, 5), strict=True)
    ]
    assert checker.check(journal_url, acks) == []
    assert journal.max_notification_id() == 3 + 6


def test_threads_that_race_for_versions_lose_nothing(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """Eight threads try each of forty versions of one stream: one wins each."""

    def work(_: int) -> list[Acknowledged]:
        won = []
        for version in range(1, 41):
            command = new_command()
            try:
                done = journal.append(events(command, 1, stream="hot", first_version=version))
            except VersionConflict:
                continue
            won.append(Acknowledged(command, done.positions))
        return won

    with ThreadPoolExecutor(8) as threads:
        acks = [ack for won in threads.map(work, range(8)) for ack in won]
    assert len(acks) == 40
    assert checker.check(journal_url, acks) == []
    assert [e.originator_version for e in journal.select_events("hot")] == list(range(1, 41))


# --- offsets and leases --------------------------------------------------------------------------


def test_a_stale_offset_takes_its_facts_along(journal: JournalProcessRecorder, journal_url: str) -> None:
    """Equal or smaller is stale; in a group only that append is hurt, and the offset is the winner's."""
    journal.append(events(new_command()), tracking=Tracking("view", 5))
    stale, fresh, plain = (new_command() for _ in range(3))
    for offset in (5, 4):
        with pytest.raises(StaleOffset):
            journal.append(events(stale), tracking=Tracking("view", offset))
    group = [
        append_of(journal, events(stale), tracking=("view", 5)),
        append_of(journal, events(fresh), tracking=("view", 6)),
        append_of(journal, events(new_command()), tracking=("view", 6)),
        append_of(journal, events(plain)),
    ]
    write_group(journal, group)
    assert [type(append.error).__name__ for append in group] == [
        "StaleOffset",
        "NoneType",
        "StaleOffset",
        "NoneType",
    ]
    acks = [Acknowledged(fresh, group[1].positions), Acknowledged(plain, group[3].positions)]
    assert checker.check(journal_url, acks, [stale]) == []
    assert journal.max_tracking_id("view") == 6


def test_an_append_that_loses_its_version_leaves_the_offset(journal: JournalProcessRecorder) -> None:
    """Facts and offset go together."""
    journal.append(events(new_command(), stream="taken"), tracking=Tracking("view", 5))
    with pytest.raises(VersionConflict):
        journal.append(events(new_command(), stream="taken"), tracking=Tracking("view", 6))
    assert journal.max_tracking_id("view") == 5


def test_only_the_epoch_that_holds_the_lease_appends(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """An older or a future epoch, or no lease at all, records nothing and moves no offset."""
    set_lease(journal, "mover", 3)
    held = journal.append(events(new_command()), lease=Lease("mover", 3))
    lost = new_command()
    for lease in (Lease("mover", 2), Lease("mover", 4), Lease("nobody", 3)):
        with pytest.raises(LeaseLost):
            journal.append(events(lost), lease=lease, tracking=Tracking("view", 9))
    set_lease(journal, "mover", 4)
    with pytest.raises(LeaseLost):
        journal.append(events(lost), lease=Lease("mover", 3))
    kept = new_command()
    group = [
        append_of(journal, events(lost), lease=Lease("mover", 3)),
        append_of(journal, events(kept), lease=Lease("mover", 4)),
    ]
    write_group(journal, group)
    assert isinstance(group[0].error, LeaseLost)
    assert held.positions == range(1, 3)
    assert checker.check(journal_url, [Acknowledged(kept, group[1].positions)], [lost]) == []
    assert journal.max_tracking_id("view") is None


# --- what cannot be recorded ---------------------------------------------------------------------


def fact(**changes: object) -> StoredEvent:
    values: dict[str, object] = {
        "originator_id": f"s-{uuid4().hex}",
        "originator_version": 1,
        "topic": "noted",
        "state": b"",
    }
    return StoredEvent(**(values | changes))  # type: ignore[arg-type]


POISON: dict[str, dict[str, object]] = {
    "NUL in the stream": {"facts": [fact(originator_id="a\0b")]},
    "lone surrogate in the stream": {"facts": [fact(originator_id="\ud800")]},
    "empty stream": {"facts": [fact(originator_id="")]},
    "stream of 3 000 bytes": {"facts": [fact(originator_id="x" * 3_000)]},
    "stream of another type": {"facts": [fact(originator_id=7)]},
    "version too large": {"facts": [fact(originator_version=2**31)]},
    "version far too large": {"facts": [fact(originator_version=2**70)]},
    "version negative": {"facts": [fact(originator_version=-1)]},
    "version of another type": {"facts": [fact(originator_version="1")]},
    "NUL in the name": {"facts": [fact(topic="a\0b")]},
    "lone surrogate in the name": {"facts": [fact(topic="\udfff")]},
    "name too long": {"facts": [fact(topic="n" * 256)]},
    "empty name": {"facts": [fact(topic="")]},
    "body over the bound": {"facts": [fact(state=b"." * (BODY_BYTES_MAX + 1))]},
    "body of another type": {"facts": [fact(state="text")]},
    "second fact of two": {"facts": [fact(), fact(originator_id="a\0b")]},
    "too many facts": {"facts": [fact()] * (APPEND_FACTS_MAX + 1)},
    "command too long": {"command": b"c" * 33},
    "empty command": {"command": b""},
    "command of another type": {"command": "text"},
    "command that can change": {"command": bytearray(b"c" * 16)},
    "NUL in the follower": {"tracking": Tracking("a\0b", 1)},
    "offset too large": {"tracking": Tracking("view", 2**63)},
    "offset far too large": {"tracking": Tracking("view", 2**70)},
    "offset of another type": {"tracking": Tracking("view", "1")},  # type: ignore[arg-type]
    "NUL in the lease": {"lease": Lease("a\0b", 1)},
    "lone surrogate in the lease": {"lease": Lease("\ud800", 1)},
}


@pytest.mark.parametrize("what", POISON)
def test_poison_is_refused_and_hurts_nobody_else(
    journal: JournalProcessRecorder, journal_url: str, what: str
) -> None:
    """Unrecordable for whoever asked; the appends that wait beside it are recorded."""
    poison = dict(POISON[what])
    facts = poison.pop("facts", [fact()])
    good = [new_command() for _ in range(4)]
    start = Barrier(5)

    def append_good(command: bytes) -> Acknowledged:
        start.wait(10)
        return Acknowledged(command, journal.append(events(command)).positions)

    def append_poison() -> None:
        start.wait(10)
        journal.append(facts, **poison)  # type: ignore[arg-type]

    with ThreadPoolExecutor(5) as threads:
        bad = threads.submit(append_poison)
        acks = list(threads.map(append_good, good))
        assert isinstance(bad.exception(10), Unrecordable), repr(bad.exception())
    assert checker.check(journal_url, acks) == []
    assert journal.max_notification_id() == 8


# --- one's own transaction -----------------------------------------------------------------------


def test_an_append_inside_ones_own_write_transaction_does_not_hang(sqlite_url: str) -> None:
    """On SQLite it could never end, so it raises at once; afterwards appends work."""
    with open_journal(sqlite_url) as journal:
        journal.append(events(new_command()))
        with journal.datastore.store.writing():
            with pytest.raises(EngineError, match="own open write transaction"):
                journal.append(events(new_command()))
            with pytest.raises(EngineError, match="own open write transaction"):
                journal.append([fact(topic="never seen before")])
        journal.append(events(new_command()))


def test_on_postgresql_such_an_append_is_independent(postgres_url: str) -> None:
    """It is recorded whatever becomes of the transaction around it."""
    with open_journal(postgres_url) as journal:
        with journal.datastore.store.writing():
            journal.append(events(new_command()))
        assert journal.max_notification_id() == 2


def test_a_writer_that_the_database_ended_may_try_again(postgres_url: str) -> None:
    """A process without its turn on the processor is no fault of the engine: nothing was written."""

    def write(store: Store) -> None:
        with store.writing() as connection:
            allow_pauses(connection, 0.05)
            ended: Any = connection.connection.driver_connection
            select.select([ended.fileno()], [], [], WAIT_S)  # the server says that it has ended it
            connection.exec_driver_sql("SELECT 1")

    with open_journal(postgres_url) as journal, pytest.raises(Unavailable):
        write(journal.datastore.store)
