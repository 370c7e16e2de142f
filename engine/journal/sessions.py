"""The statements of an append, for each database: begin, lock the head, check, insert, commit.

`engine.journal.append` decides which steps to take; this module only issues the SQL. Each append is one
statement, for any number of facts: row-wise inserts (`executemany`) hold the interpreter for their whole
run.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from engine.journal.postgres_connection import BoundedConnection
from engine.journal.postgres_store import PostgresStore
from engine.journal.schema import Tables
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.journal.writer import FactRow, Tracked
from engine.kernel.forks import register_forkable

Key = tuple[UUID | str | bytes, int]
"""A stream in stored form, and a version."""


class Head(NamedTuple):
    """The end of the journal: the last position and its digest."""

    position: int
    digest: bytes


_HEAD: Final = (
    "SELECT position, digest, (SELECT digest FROM {journal} WHERE position = {mark}) FROM {head}"
)


class Session(ABC):
    """A connection that appends. Used by one thread at a time."""

    @abstractmethod
    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """A write transaction, committed at the end, rolled back on any exception."""

    @abstractmethod
    def lock_head(self, seen: int = 0) -> tuple[Head, bytes | None]:
        """The head, locked until the transaction ends, which is the right to append; and the digest at
        `seen`.
        """

    @abstractmethod
    def insert(self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes]) -> bool:
        """Appends right after `head` and moves it; False, without effect, if the head is elsewhere."""

    def guess(
        self,
        head: Head,  # noqa: ARG002  where it is of no use there is nothing to look at
        rows: Sequence[FactRow],  # noqa: ARG002
        digests: Sequence[bytes],  # noqa: ARG002
        taken: Sequence[Key],  # noqa: ARG002
    ) -> bool:
        """As `insert`, in one statement without a transaction, if all of `taken` are in the journal."""
        return False

    @abstractmethod
    def taken_keys(self, keys: Sequence[Key]) -> set[Key]:
        """The given (stream, version) keys that are in the journal."""

    @abstractmethod
    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Runs a statement with `?` for each value."""

    @abstractmethod
    def close(self) -> None:
        """Returns the connection."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        prefix = tables.prefix
        self._lease_sql = f"SELECT epoch FROM {prefix}leases WHERE name = ?"
        self._track_sql = (
            f"INSERT INTO {prefix}tracking (follower, position, digest, mac) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (follower) DO UPDATE SET position = excluded.position,"
            " digest = excluded.digest, mac = excluded.mac"
            f" WHERE {prefix}tracking.position < excluded.position RETURNING position"
        )

    def digest_at(self, position: int) -> bytes | None:
        """The stored digest of one position."""
        rows = self._rows(f"SELECT digest FROM {self._tables.journal} WHERE position = ?", position)
        return bytes(rows[0][0]) if rows else None

    def last_position(self) -> int:
        """The greatest position in the journal, independent of the head."""
        rows = self._rows(f"SELECT max(position) FROM {self._tables.journal}")
        return rows[0][0] or 0

    def recorded(self, command: bytes, count_max: int) -> range | None:
        """The positions of a command's facts, if recorded.

        They end where the next command's begin: if only some appends carry a command, those without one
        are included.
        """
        journal = self._tables.journal
        rows = self._rows(f"SELECT position FROM {journal} WHERE command = ?", command)
        if not rows:
            return None
        first = rows[0][0]
        rows = self._rows(
            f"SELECT min(position) FROM {journal}"
            f" WHERE command IS NOT NULL AND position > ? AND position <= ?",
            first,
            first + count_max,
        )
        end = rows[0][0]
        if end is None:
            end = min(self.last_position(), first + count_max - 1) + 1
        return range(first, end)

    def lease_epoch(self, name: str) -> int | None:
        """The current epoch of a lease, locked until the transaction ends."""
        rows = self._rows(self._lease_sql, name)
        return rows[0][0] if rows else None

    def track(self, tracked: Tracked) -> bool:
        """Moves a follower's offset forward; False if the stored one is the same or greater."""
        return bool(self._rows(self._track_sql, *tracked))


class SqliteSession(Session):
    """Appends to a SQLite file through the process's one writing connection."""

    KEYS_PER_STATEMENT: Final = 400
    ROWS_PER_STATEMENT: Final = 4_000  # 7 values each; SQLite allows 32 766

    def __init__(self, store: SqliteStore, tables: Tables) -> None:
        super().__init__(tables)
        self._store = store
        self._raw: Any = None
        self._head_sql = _HEAD.format(journal=tables.journal, head=tables.head, mark="?")
        self._move_sql = f"UPDATE {tables.head} SET position = ?, digest = ?"
        self._insert_sql = (
            f"INSERT INTO {tables.journal}"
            " (position, version, name, stream, command, body, digest) VALUES "
        )
        self._keys_sql = (
            f"SELECT stream, version FROM {tables.journal} WHERE (stream, version) IN (VALUES "
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._store.turn(), self._store.raw_writing() as raw:
            raw.execute("BEGIN IMMEDIATE")
            self._raw = raw
            try:
                yield
                raw.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(self._store.driver_error):
                    if raw.in_transaction:
                        raw.execute("ROLLBACK")
                raise
            finally:
                self._raw = None

    def lock_head(self, seen: int = 0) -> tuple[Head, bytes | None]:
        # BEGIN IMMEDIATE already holds the file's only write lock.
        position, digest, there = self._raw.execute(self._head_sql, (seen,)).fetchone()
        return Head(position, digest), there

    def insert(self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes]) -> bool:
        position = head.position
        for start in range(0, len(rows), self.ROWS_PER_STATEMENT):
            part = slice(start, start + self.ROWS_PER_STATEMENT)
            values: list[Any] = []
            for (version, name, stream, command, body, _), digest in zip(
                rows[part], digests[part], strict=True
            ):
                position += 1
                # Only exact int, float, str and bytearray bind directly: bytes and None are first
                # searched among the driver's adapters, which made a row four times slower.
                key = bytearray(stream) if stream.__class__ is bytes else stream
                values += (position, version, name, key)
                values += (bytearray(command) if command else 0, bytearray(body), bytearray(digest))
            marks = ",".join(["(?,?,?,?,nullif(?,0),?,?)"] * (len(values) // 7))
            self._raw.execute(self._insert_sql + marks, values)
        self._raw.execute(self._move_sql, (position, digests[-1]))
        return True

    def taken_keys(self, keys: Sequence[Key]) -> set[Key]:
        taken: set[Key] = set()
        for start in range(0, len(keys), self.KEYS_PER_STATEMENT):
            part = keys[start : start + self.KEYS_PER_STATEMENT]
            values = [value for key in part for value in key]
            statement = self._keys_sql + ",".join(["(?,?)"] * len(part)) + ")"
            taken |= set(self._raw.execute(statement, values))
        return taken

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._raw.execute(statement, values).fetchall()  # type: ignore[no-any-return]

    def close(self) -> None:
        pass


class PostgresSession(Session):
    """Appends to PostgreSQL through a dedicated connection.

    `insert` moves the head and inserts the facts in one statement that has no effect unless the head is
    where the caller expects it. So the process that appended last can append again in a single round
    trip, without a transaction, and without locking the head while it computes.
    """

    def __init__(self, store: PostgresStore, tables: Tables) -> None:
        super().__init__(tables)
        self._store = store
        self._connection: BoundedConnection | None = None
        register_forkable(self)
        kind = "uuid" if tables.stream_kind == "uuid" else "text"
        self._lease_sql += " FOR SHARE"
        head = _HEAD.format(journal=tables.journal, head=tables.head, mark="%b")
        self._lock_sql = f"{head} FOR UPDATE"
        self._insert_sql = (
            f"WITH moved AS (UPDATE {tables.head} SET position = %b, digest = %b"
            " WHERE position = %b AND digest = %b AND NOT EXISTS"
            f" (SELECT FROM unnest(%b::{kind}[], %b::int4[]) AS wanted (stream, version)"
            f" WHERE NOT EXISTS (SELECT FROM {tables.journal} AS fact"
            " WHERE fact.stream = wanted.stream AND fact.version = wanted.version)) RETURNING 1),"
            f" added AS (INSERT INTO {tables.journal}"
            " (position, version, name, stream, command, body, digest)"
            " SELECT %b + place, version, name, stream, command, body, digest"
            f" FROM unnest(%b::int4[], %b::int2[], %b::{kind}[], %b::bytea[], %b::bytea[], %b::bytea[])"
            " WITH ORDINALITY AS fact (version, name, stream, command, body, digest, place)"
            " WHERE EXISTS (SELECT FROM moved) RETURNING 1)"
            f" SELECT count(*), pg_notify('{tables.channel}', '') FROM added"
        )
        self._keys_sql = (
            f"SELECT stream, version FROM {tables.journal}"
            f" JOIN unnest(%b::{kind}[], %b::int4[]) AS wanted (stream, version)"
            " USING (stream, version)"
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        connection = self._open_anew()
        try:
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            yield
            connection.execute("COMMIT")
        except BaseException:
            try:
                connection.execute("ROLLBACK")
            except psycopg.Error:
                self.close()
            raise

    def lock_head(self, seen: int = 0) -> tuple[Head, bytes | None]:
        row = self._open().execute(self._lock_sql, (seen,)).fetchone()
        assert row is not None
        return Head(row[0], bytes(row[1])), None if row[2] is None else bytes(row[2])

    def insert(self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes]) -> bool:
        return self._insert(self._open(), head, rows, digests, ())

    def guess(
        self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes], taken: Sequence[Key]
    ) -> bool:
        return self._insert(self._open_anew(), head, rows, digests, taken)

    def _insert(
        self,
        connection: BoundedConnection,
        head: Head,
        rows: Sequence[FactRow],
        digests: Sequence[bytes],
        taken: Sequence[Key],
    ) -> bool:
        versions, names, streams, commands, bodies, _ = map(list, zip(*rows, strict=True))
        columns = [versions, names, streams, commands, bodies, list(digests)]
        wanted = [[stream for stream, _ in taken], [version for _, version in taken]]
        moved = [head.position + len(rows), digests[-1], *head, *wanted, head.position]
        try:
            row = connection.execute(self._insert_sql, moved + columns, prepare=True).fetchone()
        except psycopg.OperationalError:
            self.close()
            raise
        assert row is not None
        if row[0] not in {0, len(rows)}:
            raise AssertionError(f"{row[0]} of {len(rows)} facts were inserted")
        return bool(row[0])

    def taken_keys(self, keys: Sequence[Key]) -> set[Key]:
        streams, versions = map(list, zip(*keys, strict=True))
        return set(self._open().execute(self._keys_sql, (streams, versions)))

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._open().execute(statement.replace("?", "%b"), values).fetchall()

    def before_fork(self) -> None:
        pass

    def after_fork(self) -> None:
        self._connection = None  # the parent's: two processes would read each other's responses

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> BoundedConnection:
        if self._connection is None or self._connection.closed:
            self._connection = self._store.raw_connection()
        return self._connection

    def _open_anew(self) -> BoundedConnection:
        """The same at the beginning of an append: what ended while it was idle is replaced."""
        if self._connection is not None and self._store.is_outdated(self._connection):
            self.close()
        return self._open()


def open_session(store: Store, tables: Tables) -> Session:
    """The session for the store's database."""
    if isinstance(store, SqliteStore):
        return SqliteSession(store, tables)
    assert isinstance(store, PostgresStore)
    return PostgresSession(store, tables)
