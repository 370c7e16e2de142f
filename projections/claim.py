"""Who rebuilds is alone in it: a lock that ends with its process, however that ends."""

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
    """Holds the views' database for one rebuild. Raises RebuildRunning if another has it."""
    if isinstance(store, PostgresStore):
        with _alone_on_server(store):
            yield
    else:
        assert isinstance(store, SqliteStore)
        with _alone_on_file(store.path + "-rebuild"):
            yield


def is_free(store: Store) -> bool:
    """Whether nobody rebuilds at this moment."""
    try:
        with alone(store):
            return True
    except RebuildRunning:
        return False


@contextlib.contextmanager
def _alone_on_server(store: PostgresStore) -> Iterator[None]:
    # Its own session: whatever happens to the process, the server lets the lock go with it. If it is the
    # session that ends, another rebuild throws our tables away, and our next write finds none.
    connection = store.raw_connection()
    try:
        if not _is_locked(store, connection):
            raise _running()
        try:
            yield
        finally:  # closing alone gives it back only when the server has noticed
            with contextlib.suppress(EngineError), store.translating():
                connection.execute("SELECT pg_advisory_unlock(%s)", (_ADVISORY_LOCK,))
    finally:
        connection.close()


def _is_locked(store: PostgresStore, connection: Any) -> bool:
    """Takes the lock; waits a moment for a server that has not yet noticed the end of its holder."""
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
