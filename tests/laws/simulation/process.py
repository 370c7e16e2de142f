"""An engine process: one decider with its caches, its journal, its writer's queue and its clocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from engine.commands.command import Command, Outcome
from engine.commands.decider import Decider
from engine.commands.entries import Pending
from engine.commands.steps import Call, wait_for
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.errors import EngineError
from engine.kernel.ids import IdSource
from tests.laws.simulation.database import Crash, UnthreadedWriter


class Lost(Exception):
    """Nobody will ever say what became of the command."""


Answer = Outcome | Exception


class Host(Protocol):
    """What a process needs of the world around it."""

    at_us: int

    def soon(self, step: Callable[[], None]) -> None:
        """Has the step run at some time."""

    def happens(self, fault: str) -> bool: ...
    def choose(self, count: int) -> int:
        """A number below `count`."""

    def go_on(self) -> None:
        """Lets others go on."""

    def is_locked(self) -> bool:
        """Whether somebody holds the journal's head."""

    def open_journal(self, process: Process) -> tuple[Journal, UnthreadedWriter]: ...
    def new_ids(self) -> IdSource: ...


class Process:
    """Its wall clock is `ahead_us` ahead of true time. Once `is_dead`, nothing of it goes on."""

    def __init__(self, host: Host, number: int, ahead_us: int) -> None:
        self.number = number
        self.ahead_us = ahead_us
        self.is_dead = False
        self.tasks: dict[int, Task] = {}
        self.ids = host.new_ids()
        self._host = host
        self._is_writing = False
        self.journal, self.writer = host.open_journal(self)
        self._settled: deque[Pending] = deque()
        self.decider = Decider(
            self.journal, self._on_settled, now_us=self.now_us, monotonic=self._monotonic
        )

    def now_us(self) -> int:
        """Wall time here."""
        return self._host.at_us + self.ahead_us

    def _monotonic(self) -> float:
        return self._host.at_us / 1e6

    def start(self, command: Command, on_end: Callable[[Answer], None]) -> Task:
        """Handles a command; `on_end` hears the answer, or Lost."""
        task = Task(self, command, on_end)
        self.tasks[id(task)] = task
        self._host.soon(task.first)
        return task

    def crash(self) -> None:
        """Everything in memory is gone, and with it the queue."""
        self.is_dead = True
        for task in list(self.tasks.values()):
            task.lose()

    # --- what the database port asks ---------------------------------------------------------------

    def pause(self) -> None:
        """Others go on while this process waits for the database."""
        self._host.go_on()
        if self.is_dead:
            raise Crash

    def happens(self, fault: str) -> bool:
        return self._host.happens(fault)

    def wait(self, timeout_s: float) -> None:
        """The appender's pause between two tries."""
        self._host.at_us += int(timeout_s * 1e6)
        self.pause()

    # --- its threads, one step at a time -----------------------------------------------------------

    def write(self) -> None:
        """The writer's thread writes a group of what waits."""
        if self.is_dead or not self.writer.waiting:
            return
        if self._is_writing or self._host.is_locked():
            self._host.soon(self.write)
            return
        self._is_writing = True
        try:
            self.writer.write(1 + self._host.choose(self.writer.waiting))
        except Crash:
            return
        self._is_writing = False
        if self.writer.waiting:
            self._host.soon(self.write)

    def read(self, task: Task, call: Call) -> None:
        """A reader's thread does the work of a call; its result comes back later."""
        if self.is_dead or task.is_over:
            return
        send: Callable[[], Any]
        try:
            send = partial(task.steps.send, call.work())
        except Crash:
            return
        except Exception as error:
            send = partial(task.steps.throw, error)
        self._host.soon(partial(task.go, send))

    def _on_settled(self, pending: Pending) -> None:
        self._settled.append(pending)
        self._host.soon(self._settle)

    def _settle(self) -> None:
        if not self.is_dead:
            self.decider.settle(self._settled.popleft())
            for stream, loaded in self.decider.snapshots:
                with suppress(EngineError, Crash):
                    self.journal.keep_state(fold_of(stream), stream, loaded)
            self.decider.snapshots.clear()

    def advance(self, task: Task, send: Callable[[], Any]) -> None:
        """The decider's thread runs a command until it has to wait."""
        waiting = self.writer.waiting
        try:
            step = send()
        except StopIteration as done:
            task.end(done.value)
        except Exception as error:
            task.end(error)
        else:
            if isinstance(step, Call):
                self._host.soon(partial(self.read, task, step))
            else:
                resume = partial(self._host.soon, partial(task.go, partial(next, task.steps)))
                if not wait_for(step.pending, resume):
                    resume()
        if self.writer.waiting > waiting == 0 and not self._is_writing:
            self._host.soon(self.write)


class Task:
    """A command on its way through a process."""

    def __init__(self, process: Process, command: Command, on_end: Callable[[Answer], None]) -> None:
        self.steps = process.decider.handle(command)
        self.first = partial(self.go, partial(next, self.steps))
        self.is_over = False
        self._process = process
        self._on_end = on_end

    def go(self, send: Callable[[], Any]) -> None:
        if not self._process.is_dead and not self.is_over:
            self._process.advance(self, send)

    def end(self, answer: Answer) -> None:
        """The one who asked hears it."""
        self.is_over = True
        self._process.tasks.pop(id(self), None)
        self._on_end(answer)

    def lose(self) -> None:
        """The one who asked has hung up, or the process died."""
        if not self.is_over:
            self.steps.close()
            self.end(Lost())
