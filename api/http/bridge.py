"""The bridge between the event loop and blocking work: commands are decided on the loop, and written and
read in threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar

from engine.commands.command import Command, Outcome
from engine.commands.decider import Decider, keep_states
from engine.commands.entries import Pending
from engine.commands.steps import Awaited, Wait, wait_for
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel import wall
from engine.kernel.errors import OutcomeUnknown, Unavailable
from engine.kernel.fold import Loaded
from engine.kernel.limits import READERS_MAX, REQUEST_S
from engine.kernel.wakeups import LoopWakeup

R = TypeVar("R")
GATHER_S: Final = 0.005
"""Longest wait of decided facts for others to share their commit; an idle loop sends them at once."""
QUIET_ROUNDS: Final = 2
"""Rounds of the loop without a decision after which it counts as idle: what one round reads, the next
decides."""
_SWEEP_S: Final = 0.5
"""Interval at which overdue waits are ended: one timer for all."""
DEADLINE: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)
"""Loop time at which the request stops waiting for a database; None: each wait has its own."""
_LATE: Final = "the database has not answered in time"


class Bridge:
    """The driver of commands in an event loop, which must be running. Close it before the journal.

    `now_us`: wall time in microseconds.
    """

    def __init__(self, journal: Journal, *, now_us: Callable[[], int] = wall.now_us) -> None:
        self.journal = journal
        self._loop = asyncio.get_running_loop()
        self._decider = Decider(journal, self._on_settled, now_us=now_us)
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="reader")
        self._settled: deque[Pending] = deque()
        self._wakeup = LoopWakeup(self._loop, self._settle)
        self._is_flushing = False
        self._flush_by_s = 0.0
        self._quiet_rounds = 0
        self._awaited: dict[asyncio.Future[Any], tuple[float, type[Unavailable]]] = {}
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    async def do(self, command: Command) -> Outcome:
        """Decides and records a command. Raises as `Decider.handle` does."""
        steps = self._decider.handle(command)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    await self._settled_all(step.pending)
                    step = next(steps)
                    continue
                try:
                    found = await self.read(step.work)
                except Exception as error:  # noqa: BLE001  the command's to handle
                    step = steps.throw(error)
                else:
                    step = steps.send(found)
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome
        finally:
            steps.close()  # other commands may wait for a catch-up of one that was cancelled

    async def _settled_all(self, pending: Sequence[Awaited]) -> None:
        """Returns once all are settled. Raises OutcomeUnknown at the deadline."""
        self._quiet_rounds = 0
        if not self._is_flushing:
            self._is_flushing, self._flush_by_s = True, self._loop.time() + GATHER_S
            self._loop.call_soon(self._flush)
        future = self._loop.create_future()
        if wait_for(pending, partial(_resolve, future)):
            await self.in_time(future, OutcomeUnknown)

    async def in_time(self, future: asyncio.Future[R], late: type[Unavailable] = Unavailable) -> R:
        """The future's result. Raises `late` at the deadline of the request."""
        now_s, deadline_s = self._loop.time(), DEADLINE.get()
        if deadline_s is None:
            deadline_s = now_s + REQUEST_S
        elif deadline_s <= now_s:
            future.cancel()
            raise late(_LATE)
        self._awaited[future] = deadline_s, late
        try:
            return await future
        finally:
            del self._awaited[future]

    async def read(self, work: Callable[..., R], *words: Any) -> R:
        """Runs blocking work in one of READERS_MAX threads. Raises Unavailable at the deadline; what has
        begun then continues, what has not is left.

        As `run_in_executor` does, but with one future in place of two that are chained.
        """
        future: asyncio.Future[R] = self._loop.create_future()
        self._threads.submit(self._work, future, work, words)
        return await self.in_time(future)

    def _work(self, future: asyncio.Future[R], work: Callable[..., R], words: Sequence[Any]) -> None:
        tell = self._loop.call_soon_threadsafe
        if future.done():  # nobody waits any more
            return
        try:
            result = work(*words)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            tell(_fail, future, error)
            del future  # a cycle, through the error's frames
        else:
            tell(_resolve, future, result)

    async def state(self, stream: str) -> Any:
        """The current state of a stream; None if it does not exist."""
        return await self.read(self.load, stream)

    def load(self, stream: str) -> Any:
        """As `state`, for a thread that may block: see `read`."""
        return self.loaded(stream).state

    def loaded(self, stream: str) -> Loaded[Any]:
        """The same with its version."""
        return self.journal.load(fold_of(stream), stream, self._decider.recorded(stream))

    async def close(self) -> None:
        """Ends the threads, once they have finished their work."""
        self._sweeping.cancel()
        await self._loop.run_in_executor(None, self._threads.shutdown)

    def _flush(self) -> None:
        """Starts writing decided facts, once for all commands, when the loop is idle."""
        self._quiet_rounds += 1
        if self._quiet_rounds <= QUIET_ROUNDS and self._loop.time() < self._flush_by_s:
            self._loop.call_soon(self._flush)
            return
        self._is_flushing = False
        self.journal.flush()

    # --- settling ---------------------------------------------------------------------------------

    def _on_settled(self, pending: Pending) -> None:
        """Called in the writer's thread: wakes the loop once for all that a commit has settled."""
        self._settled.append(pending)
        self._wakeup.ring()

    def _settle(self) -> None:
        while self._settled:
            self._decider.settle(self._settled.popleft())
        if self._decider.snapshots:
            snapshots, self._decider.snapshots = self._decider.snapshots, []
            with suppress(RuntimeError):  # closing
                self._threads.submit(keep_states, self.journal, snapshots)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for future, (deadline_s, late) in self._awaited.items():
            if deadline_s <= now_s and not future.done():
                future.set_exception(late(_LATE))
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)


def _resolve(future: asyncio.Future[Any], result: object = None) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
