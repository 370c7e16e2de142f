"""The loop of background followers: one lease holder each, restarted after failures.

    Follower   takes the lease, renews it, calls an `Acting` repeatedly, restarts with back-off
    Watch      the lag of all followers, read from the database: for health, in any process

Safety does not depend on a timely stop. A follower that lost its lease cannot record anything, because
each of its appends carries the lease's epoch; and repeated commands have no effect.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import sqlalchemy as sa

from engine.followers.acting import Acting, Stopped, Timer, offsets, text_of
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel import wall
from engine.kernel.errors import EngineError, LeaseLost, Unavailable
from engine.kernel.limits import (
    FOLLOW_RETRY_S,
    LEASE_POLL_S,
    LEASE_S,
)
from engine.registers.heartbeats import Part, PartState, cut

FollowerState = Literal["waiting for lease", "running", "failing", "stopped"]
_BEAT_S: Final = LEASE_S / 3
_VITAL: Final[dict[FollowerState, PartState]] = {
    "waiting for lease": "waiting",
    "running": "running",
    "failing": "failing",
    "stopped": "stopped",
}
_log = logging.getLogger(__name__)


class FollowerStatus(NamedTuple):
    """A follower's status. `since_us`: wall time of the last change of `state`."""

    name: str
    state: FollowerState
    offset: int | None
    head: int
    error: str | None
    since_us: int
    faults: dict[str, str]


class Wakeup(Protocol):
    """The journal's bell."""

    poll_s: float

    @property
    def rings(self) -> int: ...
    def wait(self, since: int, timeout_s: float | None = None) -> None: ...
    def ring(self) -> None: ...
    def listen(self) -> None: ...
    def unlisten(self) -> None: ...


class Follower:
    """Runs one acting follower: `run` in a thread of its own, or `turn` by `turn` in a test.

    `begin` creates the acting part under a lease. Without `leases` it needs none: any number may run at
    once, as those of views do. One that is not woken by new facts has a turn at the time it asked for.
    `let_go` is called once the acting part acts no longer: after the end, an error, a lost lease.
    `stop` is thread-safe.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[Lease], Acting],
        leases: Leases | None,
        journal: Journal,
        *,
        is_woken: bool = True,
        let_go: Callable[[], None] = lambda: None,
        bell: Wakeup | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = wall.now_us,
        pause: Callable[[threading.Event, float], object] = threading.Event.wait,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._begin = begin
        self._leases = leases
        self._journal = journal
        self._is_woken = is_woken
        self._let_go = let_go
        self._bell: Wakeup = bell or journal.datastore.bell
        self._monotonic = monotonic
        self._now_us = now_us
        self._pause = pause
        self._jitter = jitter
        self._stopping = threading.Event()
        self._era = journal.datastore.damage.era
        self._lease: Lease | None = None
        self._acting: Acting | None = None
        self._beats = Timer(monotonic, _BEAT_S)
        self._failures = 0
        self._is_cut_off = False
        self._state: FollowerState = "waiting for lease"
        self._since_us = now_us()
        self._since_s = monotonic()
        self._busy_since_s: float | None = None
        self._error: str | None = None

    @property
    def state(self) -> FollowerState:
        """Its current state."""
        return self._state

    def status(self) -> FollowerStatus:
        """Its status. Raises Unavailable if the journal's head cannot be read."""
        acting, error = self._acting, self._error
        faults = acting.faults.shown() if acting else {}
        offset = acting.offset if acting else None
        head = self._journal.head
        return FollowerStatus(self.name, self._state, offset, head, error, self._since_us, faults)

    def vital(self) -> Part:
        """Its state without a database: see `engine.registers.heartbeats`."""
        now_s, busy_since_s, error = self._monotonic(), self._busy_since_s, self._error or ""
        return Part(
            self.name,
            _VITAL[self._state],
            round(now_s - self._since_s, 1),
            0.0 if busy_since_s is None else round(now_s - busy_since_s, 1),
            error.partition(":")[0],
            cut(error),
        )

    def run(self) -> None:
        """Runs until `stop`. Raises nothing: errors are reported, and retried."""
        self._bell.listen()
        try:
            while not self._stopping.is_set():
                rings = self._bell.rings
                rest_s = self.turn()
                if self._stopping.is_set():
                    break
                if self._state == "running" and self._is_woken:
                    if rest_s > 0:
                        self._bell.wait(rings, min(rest_s, self._bell.poll_s))
                elif self._is_cut_off:  # the bell rings when it is connected again
                    self._pause(self._stopping, min(rest_s, FOLLOW_RETRY_S[0]))
                    self._bell.wait(rings, rest_s)
                else:
                    self._pause(self._stopping, rest_s)
        finally:
            self.end()
            self._bell.unlisten()

    def stop(self) -> None:
        """Requests a graceful stop: at the next step, or out of a wait."""
        self._stopping.set()
        self._bell.ring()

    def turn(self) -> float:
        """One step of work; returns seconds until the next turn is due."""
        self._busy_since_s = self._monotonic()
        try:
            return self._turn()
        finally:
            self._busy_since_s = None

    def _turn(self) -> float:
        try:
            self._check_journal()
            if self._acting is None and not self._take_lease():
                return LEASE_POLL_S
            assert self._acting is not None
            self._check_cancelled()
            rest_s = self._acting.turn(self._check_cancelled)
        except Stopped:
            return 0.0
        except LeaseLost as error:
            self._lease = None
            self._drop()
            self._become("waiting for lease", text_of(error))
            return LEASE_POLL_S
        except Exception as error:  # noqa: BLE001  whatever it is, the others and the next try go on
            return self._start_over(error)
        self._failures, self._is_cut_off = 0, False
        self._become("running")
        return min(rest_s, self._beats.due_in_s) if self._lease else rest_s

    def end(self) -> None:
        """Saves the offset and releases the lease, as far as possible."""
        self._stopping.set()
        acting, self._acting = self._acting, None
        try:
            if acting:
                acting.finish()
        except EngineError as error:
            _log.info("%s: its place was not saved: %s", self.name, text_of(error))
        self._let_go()
        self._release()
        self._become("stopped")

    def _drop(self) -> None:
        """Acts no longer."""
        self._acting = None
        self._let_go()

    def _check_journal(self) -> None:
        """Restarts with each era of the journal. Raises JournalWentBack while it lacks facts."""
        damage = self._journal.datastore.damage
        damage.poll()
        damage.check_reads()
        if self._era != damage.era:
            self._era = damage.era
            self._drop()
            self._release()

    def _take_lease(self) -> bool:
        if self._leases is None:
            self._acting = self._begin(Lease(self.name, 0))
            return True
        lease = self._leases.take(self.name)
        if lease is None:
            self._become("waiting for lease")
            return False
        self._lease = lease
        self._beats.restart()
        self._acting = self._begin(lease)
        return True

    def _check_cancelled(self) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._busy_since_s = self._monotonic()
        if self._lease and self._leases and self._beats.is_due:
            if not self._leases.beat(self._lease):
                raise LeaseLost(f"another holder took the lease {self.name}")
            self._beats.restart()

    def _start_over(self, error: Exception) -> float:
        # Another process may succeed where this one fails: it must not wait for our lease.
        self._drop()
        self._release()
        rest_s = back_off_s(FOLLOW_RETRY_S, self._failures, self._jitter())
        self._failures += 1
        self._is_cut_off = isinstance(error, Unavailable)
        self._become("failing", text_of(error), None if isinstance(error, EngineError) else error)
        return rest_s

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease and self._leases:
            try:
                self._leases.release(lease)
            except EngineError as error:  # the lease then expires
                _log.info("%s: its lease was not released: %s", self.name, text_of(error))

    def _become(
        self, state: FollowerState, error: str | None = None, bug: Exception | None = None
    ) -> None:
        if (state, error) == (self._state, self._error):
            return
        if state != self._state:
            self._since_s = self._monotonic()
        self._state, self._error, self._since_us = state, error, self._now_us()
        level = logging.ERROR if state == "failing" else logging.INFO
        text = f": {error}" if error else ""
        _log.log(level, "%s: %s%s", self.name, state, text, exc_info=bug)


def back_off_s(bounds: tuple[float, float], failures: int, jitter: float) -> float:
    """Back-off before the next attempt: doubles from the first bound to the second, less up to half."""
    first_s, longest_s = bounds
    return min(longest_s, first_s * 2.0 ** min(failures, 30)) * (1 - jitter / 2)


# --- lag ------------------------------------------------------------------------------------------


class Lag(NamedTuple):
    """The lag of one follower, from the journal's database.

    `offset` is the last saved one (up to `OFFSET_SAVE_S` old), None if it saves none. `is_held`: it has
    a holder that has not been silent for `LEASE_S` since first polled.
    """

    name: str
    offset: int | None
    head: int
    holder: str | None
    is_held: bool

    @property
    def behind(self) -> int | None:
        """The number of unread facts."""
        return None if self.offset is None else max(0, self.head - self.offset)


class Watch:
    """Observes the followers of all processes. Infers liveness from heartbeat counters, never from wall
    clocks.
    """

    def __init__(
        self,
        datastore: Datastore,
        names: Sequence[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._datastore = datastore
        self._names = names
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, int, float]] = {}  # name -> epoch, heartbeat, since when

    def poll(self) -> list[Lag]:
        """The lag of each follower, in the order of `names`. Raises Unavailable."""
        head = self._datastore.pages.head().position
        found = offsets(self._datastore, self._names)
        columns = self._datastore.tables.leases.c
        query = sa.select(columns.name, columns.holder, columns.epoch, columns.beat)
        with self._datastore.store.reading() as connection:
            rows = connection.execute(query.where(columns.name.in_(self._names))).all()
        holders = {row.name: row.holder for row in rows}
        alive = {row.name for row in rows if row.holder and self._is_alive(*row)}
        return [
            Lag(name, found.get(name), head, holders.get(name), name in alive) for name in self._names
        ]

    def _is_alive(self, name: str, _: str, epoch: int, beat: int) -> bool:
        now = self._monotonic()
        seen_epoch, seen_beat, since = self._seen.get(name, (-1, -1, now))
        if (seen_epoch, seen_beat) != (epoch, beat):
            self._seen[name] = (epoch, beat, now)
            return True
        return now - since < LEASE_S


def lag(datastore: Datastore, names: Sequence[str]) -> list[Lag]:
    """One poll without memory: a holder that died recently still counts as alive (see Watch)."""
    return Watch(datastore, names).poll()
