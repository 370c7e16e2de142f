"""Settlement: has every trade settled once its settlement date has come by the business clock.

It keeps no place in the journal: what is due is asked of a view, which may lag behind. A trade that is
listed although it has settled decides nothing. What was filled in this very process is heard of at
once (`Fresh`), and need not wait for the view.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from engine.commands import decisions
from engine.commands.desk import Command, Desk
from engine.domain import clock
from engine.domain.order import Order
from engine.followers.acting import Breathe, Burst, Faults, Timer
from engine.kernel import wall
from engine.kernel.limits import FRESH_TRADES_MAX, SETTLE_BATCH, SETTLE_S
from engine.kernel.process import SETTLEMENT


class Due(Protocol):
    """A trade of a filled order that is to be settled."""

    @property
    def order(self) -> str: ...
    @property
    def trade(self) -> str: ...


DueSet = Callable[[date, int, Any], Sequence[Due]]
"""(business date, limit, a row or None) -> trades that settle by then, after that row."""


class FreshTrade(NamedTuple):
    """A trade of an order that was just filled."""

    order: str
    trade: str
    settlement_date: date


class Fresh:
    """Trades of orders that were filled in this process, from who executes to who settles.

    It may forget: the view has them all, a little later. Thread-safe.
    """

    def __init__(self, ring: Callable[[], None] = lambda: None) -> None:
        self._trades: deque[FreshTrade] = deque(maxlen=FRESH_TRADES_MAX)
        self._ring = ring

    def add(self, orders: Iterable[Order]) -> None:
        """Notes the trades of filled orders, and wakes who settles them."""
        for order in orders:
            for one in order.trades:
                trade = FreshTrade(order.terms.order, one.terms.trade, one.terms.settlement_date)
                self._trades.append(trade)
        self._ring()

    def take(self, limit: int) -> list[FreshTrade]:
        """The oldest of them, which are then gone from here."""
        return [self._trades.popleft() for _ in range(min(limit, len(self._trades)))]


class Settlement:
    """The acting part of the follower (see `follow.Acting`)."""

    offset: Final = None

    def __init__(
        self,
        desk: Desk,
        due: DueSet,
        *,
        fresh: Fresh | None = None,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = Faults(SETTLEMENT)
        self._desk = desk
        self._burst = Burst(desk)
        self._due = due
        self._fresh = fresh or Fresh()
        self._now_us = now_us
        self._looking = Timer(monotonic, SETTLE_S)
        self._today = date.min
        self._after: Due | None = None  # the end of a full page: orders that stand still come first

    def turn(self, breathe: Breathe) -> float:
        """Settles one batch of what is due, and one of what was just filled. See `follow.Acting`."""
        if self._looking.is_due:
            self._look(breathe)
        fresh = self._fresh.take(SETTLE_BATCH)
        self._settle([one for one in fresh if one.settlement_date <= self._today], breathe)
        return 0.0 if len(fresh) == SETTLE_BATCH else self._looking.rest_s

    def _look(self, breathe: Breathe) -> None:
        self._looking.restart()
        self._today = self.business_date()
        rows = self._due(self._today, SETTLE_BATCH, self._after)
        self._settle(rows, breathe)
        self._after = rows[-1] if len(rows) == SETTLE_BATCH else None
        if self._after:
            self._looking.hurry()

    def business_date(self) -> date:
        """Today, by the business clock as the journal has it now."""
        return clock.business_date(self._desk.state(clock.STREAM), self._now_us())

    def finish(self) -> None:
        """There is nothing to save."""

    def _settle(self, rows: Sequence[Due], breathe: Breathe) -> None:
        # The view may not know yet what was settled a moment ago.
        known = self._desk.remembered(row.order for row in rows)
        todo = [row for row in rows if not _has_settled(known.get(row.order), row.trade)]
        outcomes = self._burst.do_all([self._command(row) for row in todo], breathe)
        for row, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.faults.note(row.order, outcome)
            else:
                self.faults.clear(row.order)

    def _command(self, row: Due) -> Command:
        decide = partial(decisions.settle_trade, order=row.order, trade=row.trade)
        return Command(decide, self._desk.tenants.of(row.order), SETTLEMENT)


def _has_settled(order: Order | None, trade: str) -> bool:
    known = order.trade(trade) if order else None
    return known is not None and known.status == "settled"
