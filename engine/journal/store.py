"""A database connection layer: safe opening, reading, writing, and error translation.

    Store.reading()   a connection in autocommit mode, from a pool
    Store.writing()   one write transaction; one at a time per process and SQLite file

Errors of drivers are translated here, once, into `engine.kernel.errors`.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.kernel.errors import (
    BadSettings,
    EngineError,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
    ViewsDamaged,
)
from engine.kernel.forks import register_forkable

Column = tuple[str, Sequence[Any]]
"""An SQL expression with one value, and the values of its `?`."""

CompanionWrite = Callable[..., object]
"""Companion writes in the transaction of a change: its act, or the answer to an idempotency key. Called
with the connection, and the details of the change."""


def no_companion(*_: object) -> None:
    """No companion write."""


class Violation(EngineError):
    """A unique key was taken; the keys in the table tell which."""


class ConnectionBroken(Unavailable):
    """The connection broke; during a commit the outcome is unknown."""


class Store(ABC):
    """One database. Thread-safe; usable after a fork in parent and child (SQLite: if it was idle)."""

    dialect: str

    def __init__(self, url: sa.URL, *, is_disposable: bool = False) -> None:
        self.url = url
        self.is_disposable = is_disposable
        self._opening = threading.Lock()
        self._is_closed = False
        self._engines: tuple[sa.Engine, sa.Engine] | None = None
        register_forkable(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection on which each statement is its own transaction."""
        with self.translating(), self._opened()[0].connect() as connection:
            try:
                yield connection
            finally:
                # Closed while reading: its pool is gone. Broken: SQLAlchemy has not seen `query`.
                # One that was invalidated would connect again to be asked.
                if not connection.invalidated and (
                    self._is_closed or self.is_broken(connection.connection.driver_connection)
                ):
                    connection.invalidate()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A write transaction, committed at the end, rolled back on any exception."""
        with self.translating(), self.turn(), self._opened()[1].begin() as connection:
            yield connection

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read statement with `?` for each value, by the driver's fastest path."""
        with self.reading() as connection:
            return self._query(connection.connection.driver_connection, statement, values)

    def values(self, columns: Sequence[Column]) -> tuple[Any, ...]:
        """The value of each expression, all at one moment, in one round trip."""
        statement = f"SELECT {', '.join(words for words, _ in columns)}"
        return self.query(statement, [value for _, values in columns for value in values])[0]

    @abstractmethod
    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    def close(self) -> None:
        """Closes every connection, for good."""
        with self._opening:
            self._is_closed = True
            self._dispose(close=True)

    def before_fork(self) -> None:  # noqa: B027  only SQLite has something to do
        """Prepares for a child that must not use the parent's connections."""

    def after_fork(self) -> None:
        """Drops the parent's connections without closing them, which would end them for the parent."""
        self._opening = threading.Lock()
        self._dispose(close=False)

    def _dispose(self, *, close: bool) -> None:
        engines, self._engines = self._engines, None
        for engine in engines or ():
            engine.dispose(close=close)

    def is_broken(self, raw: Any) -> bool:  # noqa: ARG002  a file has no connection to break
        """Whether a driver's connection has ended."""
        return False

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Translates the driver's errors, bare or wrapped by SQLAlchemy, into the engine's."""
        try:
            yield
        except DBAPIError as error:
            raise self._named(self.translate(error.orig or error)) from error
        except self.driver_error as error:
            raise self._named(self.translate(error)) from error
        except PoolTimeout as error:
            raise Unavailable("no database connection was free in time") from error

    def _named(self, error: EngineError) -> EngineError:
        """Replaces an error by the one that fits the stored data: only a journal can be a damaged
        journal.
        """
        if self.is_disposable and isinstance(error, JournalDamaged | SchemaMissing | BadSettings):
            return ViewsDamaged(str(error))
        return error

    @property
    @abstractmethod
    def location(self) -> str:
        """Location for people: without password and other secrets of the URL."""

    @property
    @abstractmethod
    def driver_error(self) -> type[Exception]:
        """The base of the driver's errors."""

    @abstractmethod
    def translate(self, error: BaseException) -> EngineError:
        """The engine's error for one of the driver's."""

    @abstractmethod
    def _create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """(reading in autocommit, writing in transactions)."""

    def check_not_writing(self) -> None:  # noqa: B027  only SQLite's writers exclude one another
        """Raises if this thread would wait for its own open transaction."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Waits for the turn to write in this process, and to this file."""
        return contextlib.nullcontext()

    def _opened(self) -> tuple[sa.Engine, sa.Engine]:
        with self._opening:
            if self._is_closed:
                raise Unavailable("the journal is closed")
            if self._engines is None:
                self._engines = self._create_engines()
            return self._engines


_INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """The dialect's insert, which knows ON CONFLICT."""
    return _INSERT[connection.dialect.name](table)


def upsert(connection: sa.Connection, table: sa.Table, *rows: Mapping[str, Any]) -> None:
    """Inserts rows, each in place of one with its primary key.

    One statement: of two processes that find no row and both insert one, neither gets a Violation. Give
    rows in the order of their keys: two that write them in different orders could deadlock.
    """
    insert = insert_into(connection, table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    statement = insert.on_conflict_do_update(index_elements=keys, set_=others)
    connection.execute(statement, [*rows])


def allow_time(connection: sa.Connection) -> None:
    """Lets statements take as long as they like, until the connection is returned."""
    if connection.dialect.name == "postgresql":
        raw: Any = connection.connection.driver_connection
        raw.bound_s = None


def allow_pauses(connection: sa.Connection, longest_s: float = 0) -> None:
    """Lets a slow transaction pause between statements, without limit (0) or for `longest_s`; its
    statements take as long as they like.

    On PostgreSQL other sessions are ended after IDLE_IN_TRANSACTION_S, so that a frozen writer releases
    its locks.
    """
    allow_time(connection)
    if connection.dialect.name == "postgresql":
        milliseconds = int(longest_s * 1_000)
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
