"""Working sets of followers: orders waiting to be sent, orders at a venue, trades due for settlement.

They hold pending work however long it takes; an offset only tells which facts were read. Tables of
another shape are unreadable: the sets are empty until they are rebuilt.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Final, NamedTuple

from engine.domain import order
from engine.domain.order import Order, Trade, TradeBusted, TradeRecorded, TradeSettled
from projections.folds import Change, Folded
from projections.listing import Reader
from projections.tables import Row, Table
from projections.view import PageRows, View

WORKING: Final = Table(
    "view_working",
    {
        "first_offset": "integer",
        "stage": "text",
        "id": "text",
        "account": "text",
        "instrument": "text",
        "expires_at_us": "integer",
    },
    "first_offset",
    {
        "stage": "stage, first_offset",
        "instrument": "instrument, stage, first_offset",
        "expiry": "expires_at_us WHERE expires_at_us > 0",
    },
    stream="id",
)
DUE: Final = Table(
    "view_due",
    {
        "trade": "text",
        "id": "text",
        "account": "text",
        "instrument": "text",
        "settlement_date": "text",
    },
    "trade",
    {"date": "settlement_date, trade"},
    stream="id",
)

STAGES: Final = {"placed": "waiting", "pending": "waiting", "executing": "at_venue"}
"""Status of an order -> its working set."""


class Waiting(NamedTuple):
    """An order with pending work; `offset` of its first fact."""

    offset: int
    order: str
    account: str
    instrument: str


class DueTradeRow(NamedTuple):
    """A trade to settle on `settlement_date` or later."""

    settlement_date: date
    trade: str
    order: str
    account: str
    instrument: str


class WorkingView(View):
    """One row per order until its execution ends, one row per trade until it is settled."""

    name = "working"
    shape = 5
    streams = frozenset({"ord"})
    tables = (WORKING, DUE)
    bodies = ()
    reads = frozenset(fact for _, fact in order.NEXT)

    def feed(self, change: Change, page: PageRows) -> None:
        after = change.after
        state: Order = after.state
        before = change.before.state.status if change.before else None
        if state.status != before:
            row = partial(_working, after) if state.status in STAGES else None
            page.upsert(WORKING, after.first_offset, row)
        for trade in _touched(state, change.recorded.fact):
            is_open = trade.status == "executed"
            page.upsert(DUE, trade.terms.trade, partial(_due, state, trade) if is_open else None)


def _working(subject: Folded[Order]) -> Row:
    terms, stage = subject.state.terms, STAGES[subject.state.status]
    expires_at_us = terms.expires_at_us or 0
    return subject.first_offset, stage, terms.order, terms.account, terms.instrument, expires_at_us


def _due(state: Order, trade: Trade) -> Row:
    of, settles_on = state.terms, trade.terms.settlement_date.isoformat()
    return trade.terms.trade, of.order, of.account, of.instrument, settles_on


def _touched(state: Order, fact: object) -> tuple[Trade, ...]:
    """Trades whose row a fact may change."""
    if isinstance(fact, TradeRecorded):
        return state.trades[-1:]
    if isinstance(fact, TradeSettled | TradeBusted):
        return tuple(trade for trade in state.trades if trade.terms.trade == fact.trade)
    return ()


def waiting(views: Reader, *, limit: int, after: int = 0) -> list[Waiting]:
    """Placed or pending orders, oldest first, with a first fact after offset `after`."""
    return _stage(views, "waiting", after, limit)


def at_venue(views: Reader, *, limit: int, after: int = 0) -> list[Waiting]:
    """Orders at a venue, oldest first, with a first fact after offset `after`."""
    return _stage(views, "at_venue", after, limit)


def expiring(views: Reader, time_us: int, limit: int, after: int = 0) -> list[Waiting]:
    """Open orders whose time is over at a business time, with a first fact after offset `after`."""
    if not views.is_ours("working"):
        return []
    rows = views.query(
        "SELECT first_offset, id, account, instrument FROM view_working"
        " WHERE expires_at_us > 0 AND expires_at_us <= ? AND first_offset > ?"
        " ORDER BY first_offset LIMIT ?",
        (time_us, after, limit),
    )
    return [Waiting(*row) for row in rows]


def next_expiry(views: Reader, time_us: int) -> int | None:
    """The first end of an open order's time after a business time; None without any."""
    if not views.is_ours("working"):
        return None
    rows = views.query(
        "SELECT expires_at_us FROM view_working WHERE expires_at_us > 0 AND expires_at_us > ?"
        " ORDER BY expires_at_us LIMIT 1",
        (time_us,),
    )
    return int(rows[0][0]) if rows else None


def _stage(views: Reader, stage: str, after: int, limit: int) -> list[Waiting]:
    if not views.is_ours("working"):
        return []
    rows = views.query(
        "SELECT first_offset, id, account, instrument FROM view_working"
        " WHERE stage = ? AND first_offset > ? ORDER BY first_offset LIMIT ?",
        (stage, after, limit),
    )
    return [Waiting(*row) for row in rows]


def due(
    views: Reader, business_date: date, *, limit: int, after: DueTradeRow | None = None
) -> list[DueTradeRow]:
    """Trades due on `business_date`, the longest due first, also those of orders that still execute.

    `after` is the last row of the previous page.
    """
    if not views.is_ours("working"):
        return []
    start = (after.settlement_date.isoformat(), after.trade) if after else ("", "")
    rows = views.query(
        "SELECT settlement_date, trade, id, account, instrument FROM view_due"
        " WHERE settlement_date <= ?"
        " AND (settlement_date, trade) > (?, ?) ORDER BY settlement_date, trade LIMIT ?",
        (business_date.isoformat(), *start, limit),
    )
    return [DueTradeRow(date.fromisoformat(row[0]), *row[1:]) for row in rows]


def next_due(views: Reader) -> date | None:
    """The earliest settlement date of an unsettled trade; None if all are settled."""
    if not views.is_ours("working"):
        return None
    rows = views.query("SELECT settlement_date FROM view_due ORDER BY settlement_date LIMIT 1")
    return date.fromisoformat(rows[0][0]) if rows else None
