"""Expiring orders: those whose time is over are cancelled, or their venue is asked to cancel them.

    a session ends, by a timer       -> its orders that wait are cancelled; venues are asked for theirs
    every EXPIRY_S                   -> orders that a venue refused to cancel are asked for once more

Business time decides. Nothing is read while no order's time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final, NamedTuple

from engine.commands import decisions
from engine.commands.desk import Command, Desk
from engine.domain.order import CANCELLABLE, Order, Placed
from engine.followers.acting import BlockedOrders, Burst, CheckCancelled, Sweep, Timer, Working
from engine.followers.business_clock import BusinessClock
from engine.kernel.errors import EngineError
from engine.kernel.fact import Recorded
from engine.kernel.limits import EXECUTION_BATCH, EXPIRY_REQUESTS_MAX, EXPIRY_S, WAITING_RECENT_MAX
from engine.kernel.process import EXECUTION
from engine.venues.port import EXECUTING


class ExpirySet(NamedTuple):
    """The working set, of earlier pages.

    `due`: orders whose time is over at a business time, at most so many, after the offset of their first
    fact; `next`: the first end of an order's time after a business time.
    """

    due: Callable[[int, int, int], Sequence[Working]]
    next: Callable[[int], int | None]


NO_EXPIRY: Final = ExpirySet(lambda *_: (), lambda _: None)
"""For engines without limit orders."""


class NotCancelled(EngineError):
    """A venue refuses to cancel an order whose time is over. A person has to call it."""

    code = "not_cancelled"


class Expiring:
    """The expiring orders of one follower. `rows`: all of them, from a view with a lag."""

    def __init__(
        self,
        desk: Desk,
        rows: ExpirySet,
        faults: BlockedOrders,
        clock: BusinessClock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._burst = Burst(desk)
        self._faults = faults
        self._rows = rows
        self._clock = clock
        self._monotonic = monotonic
        self._walk = Sweep(
            lambda limit, after: rows.due(clock.now_us(), limit, after), Timer(monotonic, EXPIRY_S)
        )
        self._recent: dict[str, int] = {}  # the last to arrive: the view may lack them
        self._next_us: int | None = None  # the first end to come, in business time
        self._stuck: set[str] = set()  # orders that a venue does not cancel
        self._met: set[str] = set()  # the same, as far as the current walk has come

    @property
    def due_in_s(self) -> float:
        """Seconds until there is something to do."""
        next_s = inf
        if self._next_us is not None:
            next_s = max(0, self._next_us - self._clock.now_us()) / 1_000_000
        return min(next_s, self._walk.due_in_s)

    def admit(self, page: Sequence[Recorded]) -> None:
        """Notes the new orders among some facts."""
        for one in page:
            if isinstance(one.fact, Placed) and one.fact.expires_at_us is not None:
                ends_us = one.fact.expires_at_us
                self._recent[one.stream] = ends_us
                self._next_us = ends_us if self._next_us is None else min(self._next_us, ends_us)
        while len(self._recent) > WAITING_RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    def turn(self, check_cancelled: CheckCancelled) -> None:
        """Ends the time of recent orders, and of a page of the others, if any is due."""
        now_us = self._clock.now_us()
        if self._next_us is not None and self._next_us <= now_us:
            over = [order for order, ends_us in self._recent.items() if ends_us <= now_us]
            for batch in (
                over[at : at + EXECUTION_BATCH] for at in range(0, len(over), EXECUTION_BATCH)
            ):
                self._expire(batch, check_cancelled)
                for order in batch:
                    del self._recent[order]
            self._next_us = min(self._recent.values(), default=None)
            self._walk.hurry()
        walks = self._walk.walks
        with self._walk.page(self._monotonic) as rows:
            self._expire([row.order for row in rows], check_cancelled)
        if self._walk.walks > walks:
            self._end_walk(now_us)

    def _end_walk(self, now_us: int) -> None:
        ends = (self._rows.next(now_us), self._next_us)
        self._next_us = min((end for end in ends if end is not None), default=None)
        for order in self._stuck - self._met:
            self._faults.clear(_subject(order))
        self._stuck, self._met = self._met, set()

    def _expire(self, orders: Sequence[str], check_cancelled: CheckCancelled) -> None:
        known = self._desk.remembered(orders)
        due = [order for order in orders if order not in known or known[order].status in CANCELLABLE]
        commands = [self._command(order) for order in due]
        outcomes = self._burst.do_all(commands, check_cancelled)
        for order, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._faults.note(order, outcome)
                continue
            state: Order = outcome.states[order]
            if state.status == EXECUTING and not state.awaits_cancel and not outcome.facts:
                self._met.add(order)
                self._faults.show(_subject(order), _still_open(state))

    def _command(self, order: str) -> Command:
        decide = partial(decisions.expire_order, order=order)
        return Command(decide, self._desk.tenants.of(order), EXECUTION)


def _subject(order: str) -> str:
    return f"{order} expired"


def _still_open(state: Order) -> NotCancelled:
    return NotCancelled(
        f"its time is over, and the venue {state.venue} has refused {EXPIRY_REQUESTS_MAX} times to"
        " cancel it: call the venue"
    )
