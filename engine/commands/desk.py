"""The write path for threads that wait: followers, the command line, tests."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from functools import partial
from queue import SimpleQueue
from typing import Any

from engine.commands.command import Command, Decision, DecisionContext, Outcome
from engine.commands.decider import Decider, keep_states
from engine.commands.entries import Pending
from engine.commands.steps import Call, Steps, wait_for
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.journal.writer import ANSWER_WAIT_S, Lease
from engine.kernel import wall
from engine.kernel.errors import OutcomeUnknown
from engine.kernel.fact import Recorded
from engine.kernel.ids import is_id
from engine.kernel.limits import TENANTS_CACHED_MAX
from engine.kernel.wakeups import ThreadWakeup

__all__ = ["Command", "Decision", "DecisionContext", "Desk", "Outcome"]


def _nothing(_: DecisionContext) -> Decision:
    """A decision that needs no more than the clock."""
    yield from ()
    return []


class Tenants:
    """The tenant of each order, from the envelope of its first fact."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, str | None] = {}

    def know(self, order: str, tenant: str | None) -> None:
        """Notes the tenant of an order, so that it need not be read."""
        if len(self._known) >= TENANTS_CACHED_MAX:
            self._known.clear()
        self._known[order] = tenant

    def of(self, order: str) -> str | None:
        """None for an order that does not exist."""
        if order not in self._known:
            facts = self._journal.stream(order, version=1) if is_id(order, "ord") else []
            if not facts:
                return None
            self.know(order, facts[0].envelope.tenant)
        return self._known[order]


class Desk:
    """Decides commands and has them recorded; many at once share a commit.

    Threads take turns at deciding and wait in parallel, so that their appends share commits too.
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
        self._waiting: list[ThreadWakeup] = []
        self._decider = Decider(journal, self._on_settled, now_us=now_us)
        self._turn = threading.Lock()
        self._lease = lease

    def under(self, lease: Lease) -> Desk:
        """This desk with its caches, for a worker with a lease of its own."""
        other = copy.copy(self)
        other._lease = lease
        return other

    def follow(self, facts: Sequence[Recorded]) -> None:
        """Takes over facts just read from the journal, in their order: see `Decider.follow`."""
        for one in facts:
            if one.version == 1 and is_id(one.stream, "ord"):
                self.tenants.know(one.stream, one.envelope.tenant)
        with self._turn:
            self._decider.follow(facts)

    def news(self, of: Collection[str] = ()) -> Callable[[str, int, str], bool]:
        """A filter for one page of facts (see `Journal.read`): those newer than this desk's cache, which
        are few as most facts are its own, and those of the stored names `of`."""
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
        wakeup = ThreadWakeup()
        self._waiting.append(wakeup)
        try:
            while self._decide(ready, answers) < len(commands):
                if not wakeup.wait(ANSWER_WAIT_S):
                    late = OutcomeUnknown("the database has not answered in time")
                    return [answers.get(place, late) for place in range(len(commands))]
        finally:
            self._waiting.remove(wakeup)
        return [answers[place] for place in range(len(commands))]

    def _decide(self, ready: deque[tuple[int, Steps]], answers: dict[int, Outcome | Exception]) -> int:
        """Advances commands as far as possible and has their facts written; how many have ended."""
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
        """Called in the writer's thread: wakes every thread that waits here."""
        self._settled.put(pending)
        for wakeup in tuple(self._waiting):
            wakeup.ring()

    def state(self, stream: str) -> Any:
        """A stream's state as the journal has it now; None if it does not exist."""
        return self.journal.load(fold_of(stream), stream).state

    def business_date(self) -> date:
        """The business date by which decisions are made here: their clock may be up to REFERENCE_STALE_S
        older than the journal's (see `reference_cache`).
        """
        day = self.do(Command(_nothing, None, "")).day
        assert day is not None
        return day

    def remembered(self, streams: Iterable[str]) -> dict[str, Any]:
        """Cached states by id: each was recorded, and may not be the last one."""
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
