"""The datastore of one journal: opens it, validates input, and wires the components.

Every value is validated here, in the caller's thread: one refused later by the database would fail every
append of its group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID
from weakref import finalize

import psycopg
import sqlalchemy as sa

from engine.journal import schema
from engine.journal.append import Appender
from engine.journal.damage import Damage
from engine.journal.names import NameTable
from engine.journal.pages import Pages
from engine.journal.postgres_store import PostgresStore
from engine.journal.schema import Tables
from engine.journal.sessions import open_session
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.journal.wakeup import Bell, bell_for
from engine.journal.writer import Append, FactRow, Writer
from engine.kernel import chain, errors
from engine.kernel.errors import BadSettings, WrongUsage
from engine.kernel.limits import (
    BODY_BYTES_MAX,
    NAME_BYTES_MAX,
    STREAM_BYTES_MAX,
    VERSION_MAX,
)


class StoredEvent(Protocol):
    """A stored event of the eventsourcing library."""

    @property
    def originator_id(self) -> UUID | str: ...
    @property
    def originator_version(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def state(self) -> bytes: ...


Key = tuple[UUID | str | bytes, bytes]
"""A stream id as the database stores it, and as digests cover it."""


class Datastore:
    """One application's journal: its store, tables, readers and writers. Thread-safe."""

    def __init__(self, url: str, prefix: str, kind: schema.StreamKind) -> None:
        self.store: Store = open_store(url)
        self.tables: Tables = schema.define(prefix, kind)
        self.kind = kind
        self.names = NameTable(self.store, self.tables)
        self.damage = Damage(self.store, self.tables)
        trail = self.damage.trail
        self.pages = Pages(self.store, self.tables, self.names, self.damage.note, trail)
        self.damage.is_sound = self.pages.is_sound
        self.damage.on_era.append(partial(_learn_again, self.names))
        self.bell: Bell = bell_for(self.store, self.tables)
        self._appender = Appender(self.store, open_session(self.store, self.tables), trail)
        # The writer's thread must not keep this object alive.
        appender, bell, damage = self._appender, self.bell, self.damage

        def write(group: Sequence[Append]) -> None:
            damage.poll()
            damage.check()
            appender.write(_of_era(group, damage.era))
            if any(isinstance(append.error, errors.JournalWentBack) for append in group):
                damage.refresh()  # compares again, and marks the journal
            bell.ring()

        self.writer = Writer(write, name=f"{self.tables.journal.name}-writer")
        # The library does not close every factory it creates; the last reference does.
        self._closing = finalize(self, _close, self.writer, self._appender, self.store)

    def migrate(self) -> bool:
        """Creates the tables if they are missing; True if it did. Safe from any number of processes."""
        make_directory_for(self.store)
        with self.store.writing() as connection:
            return schema.migrate(connection, self.tables) == "created"

    def rows(self, events: Sequence[StoredEvent], command: bytes | None = None) -> list[FactRow]:
        """The events as stored rows. Raises Unrecordable for values that cannot be stored."""
        new = {event.topic for event in events} - self.names.known.keys()
        if new:
            for name in new:
                text(name, NAME_BYTES_MAX, "a stored name")
            self.names.learn(new)
        keys = {event.originator_id: self.key(event.originator_id) for event in events}
        rows = []
        for event in events:
            key, version = keys[event.originator_id], event.originator_version
            rows.append(self.row(key, version, event.topic, event.state, command))
            command = None  # stored with the first fact only
        return rows

    def row(self, key: Key, version: int, name: str, body: bytes, command: bytes | None) -> FactRow:
        """One fact as a stored row. Raises Unrecordable, KeyError for a name never learned."""
        if version.__class__ is not int or not 0 <= version <= VERSION_MAX:
            raise errors.Unrecordable(f"a version is 0 to {VERSION_MAX}: {version!r}")
        if body.__class__ is not bytes or len(body) > BODY_BYTES_MAX:
            raise errors.Unrecordable(f"a body is at most {BODY_BYTES_MAX} bytes")
        stream, key_bytes = key
        code, name_bytes = self.names.known[name]
        content = chain.content(version, key_bytes, name_bytes, command or b"", body)
        return FactRow(version, code, stream, command, body, content)

    def key(self, originator_id: UUID | str) -> Key:
        """A stream id as the database stores it, and as digests cover it."""
        stream = self.stream_id(originator_id)
        if isinstance(stream, str):
            return stream, stream.encode()
        return (stream.bytes if self.store.dialect == "sqlite" else stream), stream.bytes

    def append(self, append: Append) -> Append:
        """Writes the append together with other waiting ones; raises its error."""
        self.store.check_not_writing()
        return self.writer.append(append)

    def submit(self, append: Append, done: Callable[[], None]) -> None:
        """Queues the append; `done` is called in the writer's thread when it is settled.

        Nothing is written before `flush`, so that appends decided together are committed together.
        Raises Unavailable if the queue is full (back-pressure).
        """
        append.done = done
        self.writer.queue(append)

    def flush(self) -> None:
        """Starts writing the submitted appends."""
        self.writer.wake()

    def stream_id(self, originator_id: UUID | str) -> UUID | str:
        """An id in this journal's type. Raises Unrecordable if impossible."""
        if self.kind == "uuid":
            try:
                return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)
            except ValueError:
                raise errors.Unrecordable(f"not a UUID: {originator_id!r}") from None
        return text(originator_id, STREAM_BYTES_MAX, "a stream id")

    def close(self) -> None:
        """Writes queued appends and closes every connection."""
        self._closing()


def _learn_again(names: NameTable) -> None:
    with suppress(errors.EngineError):  # the next era tries again
        names.learn_again()


def _of_era(group: Sequence[Append], era: int) -> Sequence[Append]:
    """The appends decided in this era; others are settled with an error, because their basis was
    dropped.
    """
    late = [append for append in group if append.era not in {None, era}]
    for append in late:
        append.error = errors.VersionConflict("decided before the journal was found to be another")
    return [append for append in group if append.error is None] if late else group


def _close(writer: Writer[Append], appender: Appender, store: Store) -> None:
    writer.close()
    appender.close()
    store.close()


def text(text: object, bytes_max: int, what: str) -> str:
    """`text`, if both databases can store it. One bad append would fail its whole group."""
    if not isinstance(text, str):
        raise errors.Unrecordable(f"{what} is text here, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise errors.Unrecordable(f"{what} has a lone surrogate: {text!r}") from None
    if not 0 < size <= bytes_max or "\0" in text:
        raise errors.Unrecordable(f"{what} is 1 to {bytes_max} bytes without NUL: {text!r:.80}")
    return text


def int64(number: object, what: str) -> int:
    if not isinstance(number, int) or not -(2**63) <= number < 2**63:
        raise errors.Unrecordable(f"{what} is an integer of eight bytes: {number!r:.80}")
    return number


_FORMS: Final = "write sqlite:////absolute/path/journal.db or postgresql://user@host/database"


def open_store(url: str, *, is_disposable: bool = False) -> Store:
    """The store behind a database URL: `sqlite:////path/journal.db` or `postgresql://...`.

    Connections open on first use. An `is_disposable` store can be rebuilt from a journal, so its SQLite
    file may lose the last commits in a power cut. Raises BadSettings for other URLs.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # Quote neither the text nor the error: both may contain a password.
        raise WrongUsage(f"not a database URL; {_FORMS}") from None
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteStore(parsed, is_disposable=is_disposable)
        case "postgresql":
            _check_postgres(parsed)
            return PostgresStore(parsed, is_disposable=is_disposable)
        case other:
            raise WrongUsage(f"a journal lives in SQLite or PostgreSQL, not in {other}; {_FORMS}")


def _check_postgres(url: sa.URL) -> None:
    if url.host and "@" in url.host:  # the end of the password, parsed as part of the host
        raise WrongUsage("in a URL's password write %40 for @, %3A for : and %2F for /")
    if url.port is not None and not 0 < url.port < 65_536:
        raise WrongUsage(f"a database's port is 1 to 65535: {url.port}")
    try:
        psycopg.conninfo.conninfo_to_dict(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        )
    except psycopg.ProgrammingError:
        raise WrongUsage(f"PostgreSQL does not understand this URL; {_FORMS}") from None


def make_directory_for(store: Store) -> None:
    """Creates the directory of a SQLite file. Raises BadSettings without the rights."""
    if isinstance(store, SqliteStore):
        try:
            Path(store.path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
