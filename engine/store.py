"""A database that holds a journal: opening it safely, reading, writing, and what its errors mean.

    Store.reading()   a connection in autocommit mode, from a pool
    Store.writing()   one write transaction; at most one per process and SQLite file, in turn

Errors of drivers are translated here, once, into `engine.errors`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from engine import sqlite
from engine.errors import (
    BadSettings,
    EngineError,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
    Unrecordable,
)
from engine.forks import mind_forks
from engine.limits import (
    CONNECT_TIMEOUT_S,
    IDLE_IN_TRANSACTION_S,
    LOCK_TIMEOUT_S,
    READERS_MAX,
    WRITE_WAIT_S,
)

if sys.platform != "win32":
    import fcntl


class Violation(EngineError):
    """A unique key was taken. What that means, only the keys in the table can tell."""


class ConnectionBroken(Unavailable):
    """The connection is gone; if it was committing, the outcome is in doubt."""


class Store(ABC):
    """One database. Thread-safe; usable after a fork in parent and child (SQLite: if it was idle)."""

    dialect: str

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self._opening = threading.Lock()
        self._is_closed = False
        self._engines: tuple[sa.Engine, sa.Engine] | None = None
        mind_forks(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection on which each statement is its own transaction."""
        with self.translating(), self._opened()[0].connect() as connection:
            try:
                yield connection
            finally:
                if self._is_closed:  # while we read: the pool that it goes back to is gone
                    connection.invalidate()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A write transaction, committed at the end, rolled back on any exception."""
        with self.translating(), self.turn(), self._opened()[1].begin() as connection:
            yield connection

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a reading statement with `?` for each value, by the driver's shortest way."""
        with self.reading() as connection:
            return self._query(connection.connection.driver_connection, statement, values)

    @abstractmethod
    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    def close(self) -> None:
        """Closes every connection, for good."""
        with self._opening:
            self._is_closed = True
            self._dispose(close=True)

    def before_fork(self) -> None:  # noqa: B027  only SQLite has something to do
        """Prepares for a child that will find connections which are not its own."""

    def after_fork(self) -> None:
        """Forgets the parent's connections: closing them would end them for the parent."""
        self._opening = threading.Lock()
        self._dispose(close=False)

    def _dispose(self, *, close: bool) -> None:
        engines, self._engines = self._engines, None
        for engine in engines or ():
            engine.dispose(close=close)

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Turns the driver's errors, bare or wrapped by SQLAlchemy, into the engine's."""
        try:
            yield
        except DBAPIError as error:
            raise self.translate(error.orig or error) from error
        except self.driver_error as error:
            raise self.translate(error) from error
        except PoolTimeout as error:
            raise Unavailable("no database connection was free in time") from error

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
        """Raises when this thread would wait for a transaction that it has itself left open."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Waits for this process's, and this file's, turn to write."""
        return contextlib.nullcontext()

    def _opened(self) -> tuple[sa.Engine, sa.Engine]:
        with self._opening:
            if self._is_closed:
                raise Unavailable("the journal is closed")
            if self._engines is None:
                self._engines = self._create_engines()
            return self._engines


# --- SQLite ---------------------------------------------------------------------------------------


class _FileTurn:
    """Whose turn it is to write a SQLite file: one thread of this process, one process of the machine.

    SQLite's own waiting between processes sleeps longer and longer and is unfair (1 to 5 s seen); an
    advisory lock taken first keeps the worst wait under 0.1 s. Only liveness rests on it.
    """

    POLL_S: Final = 0.0005

    def __init__(self, path: str) -> None:
        self._path = path + "-turn"
        self._mine = threading.Lock()
        self._owner: int | None = None
        self._file: int | None = None
        mind_forks(self)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        self.check_not_mine()
        deadline = time.monotonic() + WRITE_WAIT_S
        if not self._mine.acquire(timeout=WRITE_WAIT_S):
            raise Unavailable("another thread is still writing")
        try:
            self._owner = threading.get_ident()
            with self._alone(deadline):
                yield
        finally:
            self._owner = None
            self._mine.release()

    def check_not_mine(self) -> None:
        if self._owner == threading.get_ident():
            raise EngineError("a write inside this thread's own open write transaction would never end")

    def before_fork(self) -> None:
        pass

    def after_fork(self) -> None:
        # The lock belongs to the open file, which the child shares: a child that kept it open would
        # keep the turn of a parent that was killed.
        self._mine = threading.Lock()
        self._owner = None
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @contextlib.contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        if sys.platform == "win32":  # no such locks: SQLite's own, slower to hand over, do alone
            yield
            return
        file = self._open()
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Unavailable("another process holds the journal") from None
                pause.wait(self.POLL_S)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _open(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise BadSettings(f"{self._path} cannot be written: {error.strerror}") from error
        return self._file


_turns: WeakValueDictionary[str, _FileTurn] = WeakValueDictionary()
_turns_lock = threading.Lock()


class SqliteStore(Store):
    """A SQLite file in WAL mode, `synchronous=FULL`: what was committed survives a power cut."""

    dialect = "sqlite"

    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        if not url.database or url.database == ":memory:":
            raise BadSettings("a journal needs a file: sqlite:////absolute/path/journal.db")
        self.path = os.path.realpath(url.database)
        with _turns_lock:
            self._file_turn = _turns.setdefault(self.path, _FileTurn(self.path))
        self._is_spoilt = self._is_spoilt_by_fork = False

    def before_fork(self) -> None:
        """Closes idle connections.

        SQLite believes for ever that an inherited connection holds its locks. The child's own then
        lock nothing: when the parent closes, it deletes the WAL into which the child still writes.
        """
        with self._opening:
            engines = self._engines or ()
            self._is_spoilt_by_fork = any(_is_in_use(engine) for engine in engines)
            self._dispose(close=True)

    def after_fork(self) -> None:
        """Refuses from now on, if the fork came while a connection was in use."""
        self._is_spoilt |= self._is_spoilt_by_fork or self._engines is not None
        super().after_fork()

    def _opened(self) -> tuple[sa.Engine, sa.Engine]:
        if self._is_spoilt:
            raise Unavailable("the process was forked while it used this journal: start a fresh one")
        return super()._opened()

    def check_not_writing(self) -> None:
        self._file_turn.check_not_mine()

    @property
    def driver_error(self) -> type[Exception]:
        return sqlite.driver().Error  # type: ignore[no-any-return]

    def turn(self) -> contextlib.AbstractContextManager[None]:
        return self._file_turn.taken()

    @contextlib.contextmanager
    def raw_writing(self) -> Iterator[Any]:
        """The driver's own connection for writing, no transaction begun; take the `turn` first."""
        pooled = self._opened()[1].raw_connection()
        try:
            yield pooled.driver_connection
        finally:
            pooled.close()

    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return raw.execute(statement, values).fetchall()  # type: ignore[no-any-return]

    def _create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        reader = self._engine(pool_size=READERS_MAX)
        writer = self._engine(pool_size=1)
        sa.event.listen(reader, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
        sa.event.listen(writer, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        return reader, writer

    def _engine(self, pool_size: int) -> sa.Engine:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=self.path),
            module=sqlite.driver(),
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WRITE_WAIT_S,
            # No isolation level: the driver must not open transactions of its own accord.
            connect_args={"isolation_level": None, "timeout": WRITE_WAIT_S, "cached_statements": 256},
        )
        sa.event.listen(engine, "connect", self._prepare)
        return engine

    @staticmethod
    def _prepare(raw: Any, _record: object) -> None:
        _set_wal(raw)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA recursive_triggers=ON")  # else REPLACE would delete past the trigger
        raw.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: checkpoints stay off most commits
        if raw.execute("PRAGMA synchronous").fetchone()[0] != 2:
            raise BadSettings("this SQLite does not offer synchronous=FULL")

    def translate(self, error: BaseException) -> EngineError:
        text = str(error)
        kind = type(error).__name__
        if kind == "IntegrityError":
            if "append-only" in text:
                return EngineError(text)
            return Violation(text)
        for words, meaning in _SQLITE_ERRORS:
            if words in text:
                return meaning(f"{self.path}: {text}")
        if kind == "OperationalError":  # locked, disk full, I/O error: nothing was committed
            return Unavailable(text)
        return Unrecordable(text) if kind in {"DataError", "InterfaceError"} else EngineError(text)


_SQLITE_ERRORS: Final[tuple[tuple[str, type[EngineError]], ...]] = (
    ("readonly", BadSettings),
    ("unable to open", BadSettings),
    ("no such table", SchemaMissing),
    ("not a database", JournalDamaged),
    ("malformed", JournalDamaged),
    ("not decode to UTF-8", JournalDamaged),
)
"""What SQLite's errors mean, by their words: `pysqlite3` gives no extended codes."""


def _is_in_use(engine: sa.Engine) -> bool:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout() > 0


def _set_wal(raw: Any) -> None:
    # The first switch to WAL ignores busy_timeout when several processes open a new file at once.
    deadline = time.monotonic() + WRITE_WAIT_S
    pause = threading.Event()
    while True:
        try:
            mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite.driver().OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            pause.wait(0.01)
            continue
        if mode != "wal":
            raise BadSettings(f"this file system does not allow SQLite's WAL (journal_mode={mode})")
        return


# --- PostgreSQL -----------------------------------------------------------------------------------


class PostgresStore(Store):
    """A PostgreSQL database, through psycopg."""

    dialect = "postgresql"

    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with raw.cursor(binary=True) as cursor:
            return cursor.execute(statement.replace("?", "%b"), values).fetchall()  # type: ignore[no-any-return]

    def _create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        return self._engine("AUTOCOMMIT"), self._engine("READ COMMITTED")

    @property
    def driver_error(self) -> type[Exception]:
        return psycopg.Error

    def raw_connection(self) -> psycopg.Connection[Any]:
        """A psycopg connection of its own, in autocommit mode, outside the pools."""
        if self._is_closed:
            raise Unavailable("the journal is closed")
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            connection = psycopg.connect(url, autocommit=True, **self._connect_args())
            try:
                _keep_commits_durable(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL cannot be reached: {error}") from error
        return connection

    def _engine(self, isolation_level: str) -> sa.Engine:
        engine = sa.create_engine(
            self.url.set(drivername="postgresql+psycopg"),
            pool_size=READERS_MAX,
            max_overflow=0,
            pool_timeout=WRITE_WAIT_S,
            isolation_level=isolation_level,
            connect_args=self._connect_args(),
        )
        sa.event.listen(engine, "connect", lambda raw, _: _keep_commits_durable(raw))
        return engine

    @staticmethod
    def _connect_args() -> dict[str, Any]:
        milliseconds = {
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_S,
            "lock_timeout": LOCK_TIMEOUT_S,
        }
        return {
            "connect_timeout": int(CONNECT_TIMEOUT_S),
            "options": " ".join(f"-c {k}={int(v * 1000)}" for k, v in milliseconds.items()),
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": int(WRITE_WAIT_S * 1000),
        }

    def translate(self, error: BaseException) -> EngineError:
        text = str(error)
        for kind, meaning in _POSTGRES_ERRORS:
            if isinstance(error, kind):
                return meaning(text)
        return EngineError(text)


_POSTGRES_ERRORS: Final[tuple[tuple[type[Exception], type[EngineError]], ...]] = (
    (psycopg.errors.UniqueViolation, Violation),
    (psycopg.errors.LockNotAvailable, Unavailable),
    (psycopg.errors.DiskFull, Unavailable),
    (psycopg.errors.UndefinedTable, SchemaMissing),
    (psycopg.DataError, Unrecordable),
    (psycopg.OperationalError, ConnectionBroken),
    (psycopg.InterfaceError, ConnectionBroken),
)
"""What psycopg's errors mean, the first that fits."""


def _keep_commits_durable(raw: Any) -> None:
    """An operator may ask for more than `on` (replicas), never for less."""
    was_autocommit = raw.autocommit
    raw.autocommit = True
    if raw.execute("SHOW synchronous_commit").fetchone()[0] in {"off", "local"}:
        raw.execute("SET synchronous_commit = on")
    raw.autocommit = was_autocommit


_FORMS: Final = "write sqlite:////absolute/path/journal.db or postgresql://user@host/database"


def open_store(url: str) -> Store:
    """The store behind a database URL: `sqlite:////path/journal.db` or `postgresql://...`.

    Nothing is opened before it is used. Raises BadSettings for anything else.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # Neither the text nor the error that quotes it: there may be a password in it.
        raise BadSettings(f"not a database URL; {_FORMS}") from None
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteStore(parsed)
        case "postgresql":
            _check_postgres(parsed)
            return PostgresStore(parsed)
        case other:
            raise BadSettings(f"a journal lives in SQLite or PostgreSQL, not in {other}; {_FORMS}")


def _check_postgres(url: sa.URL) -> None:
    if url.host and "@" in url.host:  # the end of the password, read as part of the host
        raise BadSettings("in a URL's password write %40 for @, %3A for : and %2F for /")
    try:
        psycopg.conninfo.conninfo_to_dict(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        )
    except psycopg.ProgrammingError:
        raise BadSettings(f"PostgreSQL does not understand this URL; {_FORMS}") from None


def make_directory_for(store: Store) -> None:
    """Creates the directory of a SQLite file. Raises BadSettings when that is not allowed."""
    if isinstance(store, SqliteStore):
        try:
            Path(store.path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
