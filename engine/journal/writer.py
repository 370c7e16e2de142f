"""One writer per journal and process: appends of many callers are merged into few transactions.

Group commit: a commit costs a disk flush, with one append or two hundred. Callers submit their append
and wait; the writer takes all queued appends, in order, and commits them together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from engine.kernel.errors import EngineError, OutcomeUnknown, Unavailable
from engine.kernel.forks import register_forkable
from engine.kernel.limits import GROUP_FACTS_MAX, QUEUE_APPENDS_MAX, WRITE_WAIT_S
from engine.kernel.meters import COUNTS, SECONDS, Spread
from engine.kernel.wakeups import ThreadWakeup

LINGER_S: Final = 0.0003
"""Callers in a closed loop return just after their answer: a short wait batches them again."""
ANSWER_WAIT_S: Final = 2 * WRITE_WAIT_S
"""The longest wait of a caller, even if the database hangs."""


class FactRow(NamedTuple):
    """One fact as stored, except for its position and digest, which are not known yet."""

    version: int
    name: int
    stream: UUID | str | bytes
    command: bytes | None
    body: bytes
    content: bytes


class Tracked(NamedTuple):
    """A follower's offset; if sealed, with the digest of its fact and a MAC (see `witness`)."""

    follower: str
    position: int
    digest: bytes | None = None
    mac: bytes | None = None


class Lease(NamedTuple):
    """The right to act as the follower `name`; void once the epoch has increased."""

    name: str
    epoch: int


class Append:
    """Facts recorded together or not at all, and the outcome.

    When settled, either `error` is set, or `first` is the position of the first fact and `count` the
    number of consecutive facts. `is_repeat`: the command had been recorded before; the positions are the
    original ones, and nothing was added.

    `after` are earlier appends that the decision depends on: it is recorded only if they are. `vacant`
    are keys (stream, version) that must be free: the next versions of streams read but not changed.
    `taken` are keys that must exist: the last versions of streams it extends. `era`: that of the
    decision (see `damage`), None for any.
    """

    __slots__ = (
        "after",
        "command",
        "count",
        "done",
        "era",
        "error",
        "first",
        "is_repeat",
        "lease",
        "rows",
        "taken",
        "tracking",
        "vacant",
    )

    def __init__(
        self,
        rows: Sequence[FactRow],
        *,
        command: bytes | None = None,
        tracking: Tracked | None = None,
        lease: Lease | None = None,
        after: Sequence[Append] = (),
        vacant: Sequence[tuple[UUID | str | bytes, int]] = (),
        taken: Sequence[tuple[UUID | str | bytes, int]] = (),
        era: int | None = None,
    ) -> None:
        self.rows = rows
        self.after = after
        self.vacant = vacant
        self.taken = taken
        self.era = era
        self.command = command
        self.tracking = tracking
        self.lease = lease
        self.count = len(rows)
        self.first = 0
        self.is_repeat = False
        self.error: Exception | None = None
        self.done: Callable[[], None] = no_op

    @property
    def is_plain(self) -> bool:
        """Whether it consists of facts only, without preconditions."""
        return self.tracking is None and self.lease is None and not self.vacant

    @property
    def is_void(self) -> bool:
        """Whether one of its dependencies was not recorded as decided."""
        return any(before.error is not None or before.is_repeat for before in self.after)

    @property
    def positions(self) -> range:
        """The positions of its facts."""
        return range(self.first, self.first + self.count)


def no_op() -> None:
    """A `done` callback without effect."""


class Job(Protocol):
    """A job for a writer: an append, or a line of another table."""

    error: Exception | None

    @property
    def count(self) -> int:
        """Number of facts or lines."""

    @property
    def done(self) -> Callable[[], None]:
        """Called when it is settled."""


J = TypeVar("J", bound=Job)


class Writer(Generic[J]):
    """Runs `write` on groups of jobs, in its own thread, one group at a time, in order of arrival.

    `write` must settle every append of its group (`first` or `error`); an exception becomes the error of
    all. The thread starts with the first job.
    """

    def __init__(
        self, write: Callable[[Sequence[J]], None], name: str, linger_s: float = LINGER_S
    ) -> None:
        self._write = write
        self._linger_s = linger_s
        self._name = name
        self._closed = threading.Event()
        self.sizes, self.times = Spread(COUNTS), Spread(SECONDS)
        """Histograms: jobs per group, and seconds per group."""
        self._start_over()
        register_forkable(self)

    def before_fork(self) -> None:
        pass

    def after_fork(self) -> None:
        # Threads stay with the parent, and so do their waiting appends.
        is_closed, self._closed = self._closed.is_set(), threading.Event()
        if is_closed:
            self._closed.set()
        self._start_over()

    def _start_over(self) -> None:
        self._mutex = threading.Lock()
        self._gathered: deque[J] = deque()
        self._queue: deque[J] = deque()
        self._work = ThreadWakeup()
        self._thread: threading.Thread | None = None
        self._is_idle = True

    def append(self: Writer[Append], append: Append) -> Append:
        """Writes the append and waits for it; raises its error."""
        answered = ThreadWakeup()
        append.done = answered.ring
        self.submit(append)
        if not answered.wait(ANSWER_WAIT_S):
            raise OutcomeUnknown("the database has not answered in time")
        if append.error is not None:
            raise append.error
        return append

    def submit(self, job: J) -> None:
        """Queues the job; `job.done()` is called in the writer's thread when it is settled."""
        self.queue(job)
        self.wake()

    def queue(self, job: J) -> None:
        """As `submit`, without starting to write before `wake`: for several jobs in a row."""
        with self._mutex:
            if self._closed.is_set():
                raise Unavailable("the journal is closed")
            if len(self._queue) + len(self._gathered) >= QUEUE_APPENDS_MAX:
                raise Unavailable("too many appends are waiting")
            self._gathered.append(job)

    def wake(self) -> None:
        """Starts writing the queued jobs."""
        with self._mutex:
            self._queue += self._gathered
            self._gathered.clear()
            if not self._queue:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            if self._is_idle:
                self._is_idle = False
                self._work.ring()

    @property
    def waiting(self) -> int:
        """Number of queued jobs."""
        return len(self._queue) + len(self._gathered)

    def close(self) -> None:
        """Writes queued jobs and ends the thread. Later appends are refused."""
        self.wake()
        with self._mutex:
            self._closed.set()
            thread = self._thread
            if thread and self._is_idle:
                self._is_idle = False
                self._work.ring()
        if thread and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            self._work.wait()
            while group := self._take():
                self._settle(group)
                if len(group) > 1 and len(self._queue) < len(group):
                    self._closed.wait(self._linger_s)
            if self._closed.is_set():
                return

    def _take(self) -> list[J]:
        group: list[J] = []
        facts = 0
        with self._mutex:
            while self._queue and (not group or facts + self._queue[0].count <= GROUP_FACTS_MAX):
                job = self._queue.popleft()
                facts += job.count
                group.append(job)
            self._is_idle = not group
        return group

    def _settle(self, group: Sequence[J]) -> None:
        began_s = perf_counter()
        try:
            self._write(group)
        except Exception as error:  # noqa: BLE001  nobody may wait for ever
            for job in group:
                job.error = error if isinstance(error, EngineError) else EngineError(repr(error))
        self.sizes.note(len(group))
        self.times.note(perf_counter() - began_s)
        for job in group:
            job.done()
