"""Wake-ups for new facts: immediate within the process, by NOTIFY from other processes, else by polling.

A wake-up is only a hint to poll. It may be missed: every wait has a time-out.
"""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from engine.journal.postgres_store import PostgresStore
from engine.journal.schema import Tables
from engine.journal.store import Store
from engine.kernel.forks import register_forkable
from engine.kernel.limits import POLL_IDLE_S, POLL_S


class Bell:
    """The wake-up of one journal: rings after each append of this process; with a listener, of any
    process.
    """

    def __init__(self, store: Store, tables: Tables) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._listeners = 0
        self._listening: threading.Thread | None = None
        self._store = store if isinstance(store, PostgresStore) else None
        self._channel = tables.channel
        self.poll_s = POLL_S
        """Longest wait before polling, in seconds."""
        register_forkable(self)

    def before_fork(self) -> None:
        """The listening thread does not survive in the child."""

    def after_fork(self) -> None:
        """Falls back to polling, until `listen` is called again."""
        self._condition = threading.Condition()
        self._listening = None
        self.poll_s = POLL_S

    @property
    def rings(self) -> int:
        """Number of rings so far: read it before polling, and pass it to `wait`."""
        return self._rings

    def ring(self) -> None:
        """Wakes all waiters."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, since: int, timeout_s: float | None = None) -> None:
        """Returns once it has rung after `since`, or after `timeout_s` (default: `poll_s`)."""
        with self._condition:
            if self._rings == since:
                self._condition.wait(self.poll_s if timeout_s is None else timeout_s)

    def listen(self) -> None:
        """Listens to other processes too (PostgreSQL), until `unlisten` was called as often."""
        with self._condition:
            self._listeners += 1
            if self._store and self._listening is None:
                self._listening = threading.Thread(target=self._hear, name="journal-bell", daemon=True)
                self._listening.start()

    def unlisten(self) -> None:
        """Ends one `listen`."""
        with self._condition:
            self._listeners -= 1

    def _hear(self) -> None:
        store = self._store
        assert store is not None
        pause = threading.Event()
        while self._is_wanted():
            try:
                with store.raw_connection() as connection:
                    connection.execute(f"LISTEN {self._channel}")
                    self.ring()  # appended before listening began
                    self.poll_s = POLL_IDLE_S
                    while self._is_wanted():
                        for _ in connection.notifies(timeout=POLL_IDLE_S, stop_after=1):
                            self.ring()
            except Exception:  # noqa: BLE001  any loss: poll, and try again
                self.poll_s = POLL_S
                pause.wait(POLL_IDLE_S)

    def _is_wanted(self) -> bool:
        with self._condition:
            if self._listeners == 0:
                self._listening = None
                self.poll_s = POLL_S
                return False
            return True


_bells: WeakValueDictionary[tuple[str, str], Bell] = WeakValueDictionary()
_bells_lock = threading.Lock()


def bell_for(store: Store, tables: Tables) -> Bell:
    """The bell of a journal, shared by all of its users in this process."""
    key = (store.url.render_as_string(hide_password=False), tables.journal.name)
    with _bells_lock:
        return _bells.setdefault(key, Bell(store, tables))
