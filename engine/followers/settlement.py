"""Settlement: settles each trade on its settlement date by the business clock.

It has no offset in the journal: due trades come from a view with a lag. A listed trade that has already
settled has no effect. Trades filled in this process arrive at once (`Fresh`), without waiting for the
view.
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
from engine.domain.order import Order
from engine.followers.acting import BlockedOrders, Burst, CheckCancelled, Timer
from engine.kernel.limits import FRESH_TRADES_MAX, SETTLE_BATCH, SETTLE_S
from engine.kernel.process import SETTLEMENT


class DueTrade(Protocol):
    """A due trade of a filled order."""

    @property
    def order(self) -> str: ...
    @property
    def trade(self) -> str: ...


DueSet = Callable[[date, int, Any], Sequence[DueTrade]]
"""(business date, limit, a row or None) -> trades that settle by then, after that row."""


class FreshTrade(NamedTuple):
    """A trade of an order just filled."""

    order: str
    trade: str
    settlement_date: date


class Fresh:
    """Trades filled in this process, handed from execution to settlement.

    It may drop some: the view lists them all, a little later. Thread-safe.
    """

    def __init__(self, ring: Callable[[], None] = lambda: None) -> None:
        self._trades: deque[FreshTrade] = deque(maxlen=FRESH_TRADES_MAX)
        self._ring = ring

    def add(self, orders: Iterable[Order]) -> None:
        """Adds the trades of filled orders, and wakes settlement."""
        for order in orders:
            for one in order.trades:
                trade = FreshTrade(order.terms.order, one.terms.trade, one.terms.settlement_date)
                self._trades.append(trade)
        self._ring()

    def take(self, limit: int) -> list[FreshTrade]:
        """Removes and returns the oldest."""
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = BlockedOrders(SETTLEMENT)
        self._desk = desk
        self._burst = Burst(desk)
        self._due = due
        self._fresh = fresh or Fresh()
        self._polling = Timer(monotonic, SETTLE_S)
        self._today = date.min
        self._after: DueTrade | None = None  # the end of a full page: blocked orders come first

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Settles one batch of due trades, and one of just filled ones. See `follow.Acting`."""
        if self._polling.is_due:
            self._poll(check_cancelled)
        fresh = self._fresh.take(SETTLE_BATCH)
        self._settle([one for one in fresh if one.settlement_date <= self._today], check_cancelled)
        return 0.0 if len(fresh) == SETTLE_BATCH else self._polling.due_in_s

    def _poll(self, check_cancelled: CheckCancelled) -> None:
        self._polling.restart()
        self._today = self._desk.business_date()
        rows = self._due(self._today, SETTLE_BATCH, self._after)
        self._settle(rows, check_cancelled)
        self._after = rows[-1] if len(rows) == SETTLE_BATCH else None
        if self._after:
            self._polling.hurry()

    def finish(self) -> None:
        """No state to save."""

    def _settle(self, rows: Sequence[DueTrade], check_cancelled: CheckCancelled) -> None:
        # The view may not yet show trades settled a moment ago.
        known = self._desk.remembered(row.order for row in rows)
        todo = [row for row in rows if not _has_settled(known.get(row.order), row.trade)]
        outcomes = self._burst.do_all([self._command(row) for row in todo], check_cancelled)
        self.faults.note_all([row.order for row in todo], outcomes)

    def _command(self, row: DueTrade) -> Command:
        decide = partial(decisions.settle_trade, order=row.order, trade=row.trade)
        return Command(decide, self._desk.tenants.of(row.order), SETTLEMENT)


def _has_settled(order: Order | None, trade: str) -> bool:
    known = order.trade(trade) if order else None
    return known is not None and known.status == "settled"
