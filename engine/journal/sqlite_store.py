"""A journal in a SQLite file: one writing connection, one write transaction at a time, in turn."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary, finalize

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from engine.journal import sqlite
from engine.journal.store import Store, Violation
from engine.kernel.errors import (
    BadSettings,
    DiskFull,
    EngineError,
    Inaccessible,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
    Unrecordable,
    ViewsDamaged,
)
from engine.kernel.forks import register_forkable
from engine.kernel.limits import (
    FILE_CHECK_S,
    READERS_MAX,
    WRITE_WAIT_S,
)

if sys.platform != "win32":
    import fcntl

_log: Final = logging.getLogger(__name__)


class _FileTurn:
    """The turn to write a SQLite file: one thread per process, one process per machine.

    SQLite's own waiting between processes sleeps longer and longer and is unfair (1 to 5 s seen); two
    advisory locks taken first keep the worst wait under 0.1 s. A waiter holds the "next" lock until its
    turn, so a process that writes all the time lets others in between. Only liveness depends on it.
    """

    POLL_S: Final = 0.0005

    def __init__(self, path: str) -> None:
        self._paths = (path + "-next", path + "-turn")
        self._mine = threading.Lock()
        self._owner: int | None = None
        self._files: list[int] = []
        finalize(self, _close, self._files)
        register_forkable(self)

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
        # The lock belongs to the open file, which a child shares: left open in the child it would
        # outlive a killed parent.
        self._mine = threading.Lock()
        self._owner = None
        _close(self._files)

    @contextlib.contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        if sys.platform == "win32":  # no such locks: SQLite's own, slower to hand over, suffice
            yield
            return
        following, turn = self._open()
        self._take(following, deadline)
        try:
            self._take(turn, deadline)
        finally:
            fcntl.flock(following, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def _take(self, file: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Unavailable("another process holds the journal") from None
                time.sleep(self.POLL_S)

    def _open(self) -> list[int]:
        while len(self._files) < len(self._paths):
            path = self._paths[len(self._files)]
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Inaccessible(f"{path} cannot be written: {error.strerror}") from error
            self._files.append(file)
        return self._files


def _close(files: list[int]) -> None:
    while files:
        os.close(files.pop())


_turns: WeakValueDictionary[str, _FileTurn] = WeakValueDictionary()
_turns_lock = threading.Lock()


_IS_DIRECTORY: Final = "it is a directory and no database file: move it away, then start again"


class SqliteStore(Store):
    """A SQLite file in WAL mode, `synchronous=FULL`: commits survive a power cut.

    If `is_disposable` (`synchronous=NORMAL`), the last commits may be lost, but never half of one.
    """

    dialect = "sqlite"

    def __init__(self, url: sa.URL, *, is_disposable: bool = False) -> None:
        super().__init__(url, is_disposable=is_disposable)
        self._synchronous = 1 if is_disposable else 2
        self._file: tuple[int, int] | None = None
        self._looked_s = 0.0
        self._target = ""
        if not url.database or url.database == ":memory:":
            raise BadSettings("a journal needs a file: sqlite:////absolute/path/journal.db")
        self.path = os.path.realpath(url.database)
        if is_disposable:  # the last component may be a link that moves: see `renew`
            folder, name = os.path.split(os.path.abspath(url.database))  # noqa: PTH100
            self.path = str(Path(os.path.realpath(folder), name))
        with _turns_lock:
            self._file_turn = _turns.setdefault(self.path, _FileTurn(self.path))
        self._is_spoilt = self._is_spoilt_by_fork = False

    def before_fork(self) -> None:
        """Closes idle connections.

        In the child SQLite would believe that an inherited connection still holds its locks, so the
        child's own would lock nothing, and the parent's close would delete the WAL that the child
        writes.
        """
        with self._opening:
            engines = self._engines or ()
            self._is_spoilt_by_fork = any(_is_in_use(engine) for engine in engines)
            self._dispose(close=True)

    def after_fork(self) -> None:
        """Refuses use in the child if the fork came while a connection was in use."""
        self._is_spoilt |= self._is_spoilt_by_fork or self._engines is not None
        super().after_fork()

    def _opened(self) -> tuple[sa.Engine, sa.Engine]:
        if self._is_spoilt:
            raise Unavailable("the process was forked while it used this journal: start a fresh one")
        if self._file is not None and time.monotonic() - self._looked_s > FILE_CHECK_S:
            self._check_file()
        return super()._opened()

    def _named(self, error: EngineError) -> EngineError:
        if isinstance(error, Inaccessible) and Path(self.path).is_dir():
            error = Inaccessible(f"{self.path}: {_IS_DIRECTORY}")
        if self.is_disposable and isinstance(error, Inaccessible):
            return ViewsDamaged(str(error))  # the file may be at fault, and can be rebuilt
        return super()._named(error)

    def _check_file(self) -> None:
        """Reopens the path if another file has replaced ours: a deleted file must not be written.

        Raises Unavailable, or ViewsDamaged, while there is no file.
        """
        found = _file_at(self.path)
        if found != self._file:
            with self._opening:
                self._dispose(close=True)
            if found is None:
                kind = ViewsDamaged if self.is_disposable else Unavailable
                raise kind(f"{self.path} was deleted, or moved, while it was used")
            _log.critical("%s is another file than before: it is opened anew", self.path)
            self._file = found
        self._looked_s = time.monotonic()

    @property
    def exists(self) -> bool:
        """Whether the file exists."""
        return Path(self.path).exists()

    @property
    def size(self) -> int:
        """Size of the file in bytes; 0 if missing."""
        return Path(self.path).stat().st_size if self.exists else 0

    def renew(self) -> None:
        """Points `path` to a new empty file, unless another process has done so. Requires the `turn`.

        The new file has its own name, and `path` becomes a link to it: a process with the former file
        open deletes, on close, only the log of that name. The former file is kept until the next call.
        Raises BadSettings if impossible.
        """
        with self._opening:
            self._dispose(close=True)
            known, self._file = self._file, None
            found = _file_at(self.path)
            if known is not None and found is not None and found != known:
                return
            path = Path(self.path)
            former = os.path.realpath(path)
            fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            link = path.with_name(f"{fresh.name}.link")
            try:
                if found is not None and not path.is_symlink():
                    former = f"{path}.{secrets.token_hex(4)}"
                    os.link(path, former)
                fresh.touch(mode=0o600)
                link.symlink_to(fresh.name)
                link.replace(path)
                self._remove_beside(former, str(fresh))
            except OSError as error:
                remedy = f"let the engine's user write in {path.parent}, or set another --views-url"
                why = _IS_DIRECTORY if path.is_dir() else f"{error.strerror}: {remedy}"
                raise BadSettings(f"{path} cannot be recreated: {why}") from error

    def sweep(self) -> None:
        """Removes files that `renew` left beside `path`, except the current one.

        Called at start, since removing a link leaves its file behind. It takes the `turn`, so that no
        other process renews; a process with such a file open finds that `path` names another.
        """
        with self.turn():
            self._remove_beside(os.path.realpath(self.path))

    def _remove_beside(self, *kept: str) -> None:
        path, names = Path(self.path), {Path(one).name for one in kept}
        for one in path.parent.glob(f"{path.name}.????????*"):
            made = _RENEWED.fullmatch(one.name)
            if made and made[1] not in names:
                one.unlink(missing_ok=True)

    def check_not_writing(self) -> None:
        self._file_turn.check_not_mine()

    @property
    def location(self) -> str:
        return self.path

    @property
    def driver_error(self) -> type[Exception]:
        return sqlite.driver().Error  # type: ignore[no-any-return]

    def turn(self) -> contextlib.AbstractContextManager[None]:
        return self._file_turn.taken()

    @contextlib.contextmanager
    def raw_writing(self) -> Iterator[Any]:
        """The driver's own connection for writing, outside a transaction; requires the `turn`."""
        pooled = self._opened()[1].raw_connection()
        try:
            yield pooled.driver_connection
        finally:
            pooled.close()

    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return raw.execute(statement, values).fetchall()  # type: ignore[no-any-return]

    def _create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        self._target = os.path.realpath(self.path)
        # SQLite would create the file readable by all, subject to the umask; the WAL inherits its mode.
        with contextlib.suppress(OSError):
            os.close(os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        reader = self._engine(pool_size=READERS_MAX)
        writer = self._engine(pool_size=1)
        sa.event.listen(reader, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
        sa.event.listen(writer, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        return reader, writer

    def _engine(self, pool_size: int) -> sa.Engine:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=self._target),
            module=sqlite.driver(),
            hide_parameters=True,  # not in errors, which are logged
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WRITE_WAIT_S,
            # No isolation level: the driver must not open transactions on its own.
            connect_args={"isolation_level": None, "timeout": WRITE_WAIT_S, "cached_statements": 256},
        )
        sa.event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, raw: Any, _record: object) -> None:
        if self._file is None:
            self._file, self._looked_s = _file_at(self._target), time.monotonic()
        _set_wal(raw)
        raw.execute(f"PRAGMA synchronous={self._synchronous}")
        raw.execute("PRAGMA recursive_triggers=ON")  # else REPLACE would delete without the trigger
        raw.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: checkpoints stay off most commits
        if raw.execute("PRAGMA synchronous").fetchone()[0] != self._synchronous:
            raise BadSettings(f"this SQLite does not offer synchronous={self._synchronous}")

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
        if kind == "OperationalError":  # locked, I/O error: nothing was committed
            return Unavailable(f"{self.path}: {text}")
        return Unrecordable(text) if kind in {"DataError", "InterfaceError"} else EngineError(text)


_RENEWED: Final = re.compile(r"(.+\.[0-9a-f]{8})(\.link|-wal|-shm|-journal)?", re.ASCII)
"""Suffixes that `renew` appends to a name, with those that SQLite and it append to that."""
_SQLITE_ERRORS: Final[tuple[tuple[str, type[EngineError]], ...]] = (
    ("readonly", Inaccessible),
    ("unable to open", Inaccessible),
    ("disk is full", DiskFull),
    ("no such table", SchemaMissing),
    ("no such column", SchemaMissing),
    ("not a database", JournalDamaged),
    ("malformed", JournalDamaged),
    ("not decode to UTF-8", JournalDamaged),
)
"""SQLite's message -> the engine's error: `pysqlite3` has no extended codes."""


def _file_at(path: str) -> tuple[int, int] | None:
    """Device and inode, which identify a file; None if missing."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
