"""Opening journals and making appends, as briefly as tests want it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from eventsourcing.persistence import StoredEvent

from engine.journal.append import Appender
from engine.journal.recorder import Datastore, JournalProcessRecorder
from engine.journal.sessions import open_session
from engine.journal.writer import Append, Lease, Tracked
from tests.support.checkers.checker import body
from tests.support.engines.prepared import make_journal


@contextmanager
def open_journal(url: str) -> Iterator[JournalProcessRecorder]:
    """A journal with text ids and no prefix, created if need be, closed at the end."""
    make_journal(url)
    datastore = Datastore(url, "", "text")
    try:
        datastore.migrate()
        yield JournalProcessRecorder(datastore)
    finally:
        datastore.close()


def new_command() -> bytes:
    return uuid4().bytes


def events(
    command: bytes, count: int = 2, *, stream: str | None = None, first_version: int = 1
) -> list[StoredEvent]:
    """`count` facts whose bodies tell which append they belong to; a stream of their own by default."""
    stream = stream or f"s-{command.hex()}"
    return [
        StoredEvent(stream, first_version + index, "noted", body(command, index, count, 40))
        for index in range(count)
    ]


def append_of(
    journal: JournalProcessRecorder,
    facts: list[StoredEvent],
    *,
    command: bytes | None = None,
    tracking: tuple[str, int] | None = None,
    lease: Lease | None = None,
) -> Append:
    """An append that has not been handed in yet."""
    rows = journal.datastore.rows(facts, command)
    tracked = Tracked(*tracking) if tracking else None
    return Append(rows, command=command, tracking=tracked, lease=lease)


def write_group(journal: JournalProcessRecorder, group: list[Append]) -> None:
    """Writes appends as the writer's thread does when they wait together."""
    store = journal.datastore.store
    appender = Appender(store, open_session(store, journal.datastore.tables))
    try:
        appender.write(group)
    finally:
        appender.close()
