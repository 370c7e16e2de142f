"""The write path for threads that wait: followers, the command line, tests."""

from __future__ import annotations

import copy
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from engine.commands.decider import (
    Awaited,
    Call,
    Command,
    Decider,
    Decision,
    DecisionContext,
    Outcome,
    Pending,
    Steps,
    keep_states,
)
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.journal.writer import ANSWER_WAIT_S, Lease
from engine.kernel import wall
from engine.kernel.errors import OutcomeUnknown
from engine.kernel.fact import Recorded
from engine.kernel.ids import is_id
from engine.kernel.limits import TENANTS_CACHED_MAX

__all__ = ["Command", "Decision", "DecisionContext", "Desk", "Outcome"]


class Tenants:
    """Whose an order is: its facts' envelopes say so."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, str | None] = {}

    def know(self, order: str, tenant: str | None) -> None:
        """Saves looking it up."""
        if len(self._known) >= TENANTS_CACHED_MAX:
            self._known.clear()
        self._known[order] = tenant

    def of(self, order: str) -> str | None:
        """None for an order that does not exist, whatever its name."""
        if order not in self._known:
            facts = self._journal.stream(order, version=1) if is_id(order, "ord") else []
            if not facts:
                return None
            self.know(order, facts[0].envelope.tenant)
        return self._known[order]


class _Doorbell:
    """Wakes one thread that waits; rung by one other. However often it rang, it is answered once."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._is_ringing = False

    def ring(self) -> None:
        if not self._is_ringing:
            self._is_ringing = True
            self._lock.release()

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang; what came before it stopped ringing is there to be seen."""
        has_rung = self._lock.acquire(timeout=timeout_s)
        if has_rung:  # else whoever rings at this moment has just said so
            self._is_ringing = False
        return has_rung


class Desk:
    """Decides commands and has them recorded; many at once share a commit.

    Threads take turns at deciding and wait side by side, so that their appends share commits too.
    `lease`: appends are refused once another holder has taken it.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        now_us: Callable[[], int] = wall.now_us,
        lease: Lease | None = None,
    ) -> None:
        self.journal = journal
        self.tenants = Tenants(journal)
        self._settled: SimpleQueue[Pending] = SimpleQueue()
        self._waiting: list[_Doorbell] = []
        self._decider = Decider(journal, self._on_settled, now_us=now_us)
        self._turn = threading.Lock()
        self._lease = lease

    def under(self, lease: Lease) -> Desk:
        """The same desk, with what it knows, for somebody who acts under a lease of his own."""
        other = copy.copy(self)
        other._lease = lease
        return other

    def follow(self, facts: Sequence[Recorded]) -> None:
        """Takes over facts that were just read from the journal, in their order: see `Decider`."""
        for one in facts:
            if one.version == 1 and is_id(one.stream, "ord"):
                self.tenants.know(one.stream, one.envelope.tenant)
        with self._turn:
            self._decider.follow(facts)

    def news(self, of: Collection[str] = ()) -> Callable[[str, int, str], bool]:
        """Which facts of one page have to be read (see `Journal.read`): those that tell this desk more
        than it knows, as most are its own, and those of the stored names `of`."""
        begun: set[str] = set()

        def is_news(stream: str, version: int, name: str) -> bool:
            if version == 1:
                begun.add(stream)
                return True
            return stream in begun or name in of or self._decider.is_news(stream, version)

        return is_news

    def do(self, command: Command) -> Outcome:
        """Decides and records one command. Raises Refused, or what `Decider.handle` raises."""
        answer = self.do_all([command])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def do_all(self, commands: Sequence[Command]) -> list[Outcome | Exception]:
        """Outcome or error of each, in their order.

        They are under way together: one that needs another's outcome belongs in a later call.
        """
        answers: dict[int, Outcome | Exception] = {}
        ready: deque[tuple[int, Steps]] = deque(
            (place, self._decider.handle(command)) for place, command in enumerate(commands)
        )
        news = _Doorbell()
        self._waiting.append(news)
        try:
            while self._decide(ready, answers) < len(commands):
                if not news.wait(ANSWER_WAIT_S):
                    late = OutcomeUnknown("the database has not answered in time")
                    return [answers.get(place, late) for place in range(len(commands))]
        finally:
            self._waiting.remove(news)
        return [answers[place] for place in range(len(commands))]

    def _decide(self, ready: deque[tuple[int, Steps]], answers: dict[int, Outcome | Exception]) -> int:
        """Has commands go on as far as they come, and what they record written; how many have ended."""
        with self._turn:
            while not self._settled.empty():
                self._decider.settle(self._settled.get())
            self._decider.lease = self._lease
            while ready:
                place, steps = ready.popleft()
                answer = self._advance(steps, partial(ready.append, (place, steps)))
                if answer is not None:
                    answers[place] = answer
            snapshots, self._decider.snapshots = self._decider.snapshots, []
        self.journal.flush()
        keep_states(self.journal, snapshots)
        return len(answers)

    def _on_settled(self, pending: Pending) -> None:
        """Called in the writer's thread: whoever waits looks what it means for him."""
        self._settled.put(pending)
        for news in tuple(self._waiting):
            news.ring()

    def state(self, stream: str) -> Any:
        """A stream's state as the journal has it now; None if it does not exist."""
        return self.journal.load(fold_of(stream), stream).state

    def remembered(self, streams: Iterable[str]) -> dict[str, Any]:
        """The states that need no reading, by id: once recorded, perhaps no longer the last ones."""
        found = {stream: self._decider.recorded(stream) for stream in streams}
        return {stream: loaded.state for stream, loaded in found.items() if loaded}

    def _advance(self, steps: Steps, resume: Callable[[], None]) -> Outcome | Exception | None:
        """Runs a command until it has to wait; its outcome, if it came to an end."""
        send: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                step = send()
            except StopIteration as done:
                outcome: Outcome = done.value
                return outcome
            except Exception as error:  # noqa: BLE001  each command has its own answer
                return error
            if isinstance(step, Call):
                try:
                    send = partial(steps.send, step.work())
                except Exception as error:  # noqa: BLE001  the command's to handle
                    send = partial(steps.throw, error)
            elif wait_for(step.pending, resume):
                return None
            else:
                send = partial(next, steps)


def wait_for(pending: Sequence[Awaited], resume: Callable[[], None]) -> bool:
    """Has `resume` called once all are settled; False if they are already, and it will not be."""
    open_ones = [one for one in pending if not one.is_settled]
    if len(open_ones) == 1:
        open_ones[0].waiters.append(resume)
        return True
    left = len(open_ones)

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            resume()

    for one in open_ones:
        one.waiters.append(count_down)
    return bool(open_ones)
