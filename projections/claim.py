"""The claim on rebuilding: a lock that ends with its process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any, Final

from engine.journal.postgres_store import PostgresStore
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel.errors import BadSettings, EngineError, RebuildRunning
from engine.kernel.limits import CLAIM_WAIT_S

if sys.platform != "win32":
    import fcntl

_ADVISORY_LOCK: Final = 0x7265_6275_696C_64  # "rebuild"


@contextlib.contextmanager
def alone(store: Store) -> Iterator[None]:
    """Claims the views' database for one rebuild. Raises RebuildRunning if another process has it."""
    if isinstance(store, PostgresStore):
        with _alone_on_server(store):
            yield
    else:
        assert isinstance(store, SqliteStore)
        with _alone_on_file(store.path + "-rebuild"):
            yield


def is_free(store: Store) -> bool:
    """Whether no rebuild is running."""
    try:
        with alone(store):
            return True
    except RebuildRunning:
        return False


@contextlib.contextmanager
def _alone_on_server(store: PostgresStore) -> Iterator[None]:
    # A dedicated session: if the process dies, the server releases the lock. If only the session ends,
    # another rebuild drops our tables, and our next write finds none.
    connection = store.raw_connection()
    try:
        if not _is_locked(store, connection):
            raise _running()
        try:
            yield
        finally:  # closing releases it only once the server has noticed
            with contextlib.suppress(EngineError), store.translating():
                connection.execute("SELECT pg_advisory_unlock(%s)", (_ADVISORY_LOCK,))
    finally:
        connection.close()


def _is_locked(store: PostgresStore, connection: Any) -> bool:
    """Takes the lock; waits briefly for a server that has not yet noticed the holder's end."""
    deadline = monotonic() + CLAIM_WAIT_S
    while True:
        with store.translating():
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_ADVISORY_LOCK,)).fetchone()
        if row and row[0]:
            return True
        if monotonic() > deadline:
            return False
        sleep(CLAIM_WAIT_S / 20)


@contextlib.contextmanager
def _alone_on_file(path: str) -> Iterator[None]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadSettings(f"{path} cannot be written: {error.strerror}") from error
    try:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise _running() from None
        yield
    finally:
        os.close(file)


def _running() -> RebuildRunning:
    return RebuildRunning("views are being rebuilt or verified already: `order-engine projections`")
