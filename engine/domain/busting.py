"""Busts and corrections: a venue takes back a trade, or reports it anew. See docs/money.md.

A correction is a bust and a new trade in one append. The order's totals become those of its remaining
trades; its status stays, except that a filled order is settled once nothing of it is left to settle.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from msgspec.structs import asdict

from engine.domain import booking, holdings, split
from engine.domain import order as orders
from engine.domain.account import Account
from engine.domain.bookings import (
    BuyBusted,
    BuyCorrected,
    PositionClosed,
    SellBusted,
    SellCorrected,
)
from engine.domain.instrument import Instrument
from engine.domain.order import Order, Trade, TradeBusted, TradeCorrected, TradeRecorded
from engine.domain.report import Report
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, ZERO, zero_like


def contradiction(
    order: Order,
    report: Report,
    account: Account,
    instrument: Instrument,
    *,
    trade_date: date,
    at_us: int,
    price_band: Decimal | None = None,
) -> str | None:
    """The fault of a bust or correction that cannot be booked at once (see report.FAULTS), or None.

    Arguments as of `booking.contradiction`, which comes first.
    """
    fault = obstacle(order, report, account, instrument)
    if fault or report.kind == "trade_bust":
        return fault
    known = order.executed_as(report)
    assert known is not None
    before = orders.evolve(order, bust_trade(order, known, report, known.terms.position, at_us=at_us))
    return booking.trade_fault(before, report, trade_date, at_us, price_band)


def obstacle(order: Order, report: Report, account: Account, instrument: Instrument) -> str | None:
    """The fault of a bust or correction that cannot be booked now, or None."""
    known = order.executed_as(report)
    if known is None:
        return "unknown_trade"
    if known.status == "busted":
        return "busted_before"
    if account.status == "closed":
        return "account_closed"
    if instrument.servicing.is_redeemed:
        return "redeemed"
    if _awaits_maturity(order, account):
        return "not_yet_bookable"
    held = account.holdings.positions.get(instrument.id)
    return "split" if split.counts_otherwise(order, instrument, held) else None


def _awaits_maturity(order: Order, account: Account) -> bool:
    """Whether its trades spend cash that a position has still to bring, or are that position's own."""
    is_rollover = order.awaits_receivable and order.terms.order in account.holdings.rollovers
    held = account.holdings.positions.get(order.terms.instrument)
    is_pledged = held is not None and held.closed_at_us is None and held.rollover is not None
    return is_rollover or is_pledged


def bust_trade(
    order: Order,
    known: Trade,
    report: Report,
    position: str,
    *,
    parked: str | None = None,
    at_us: int,
) -> TradeBusted:
    """The bust of a trade: the amounts by which the order exceeds its remaining trades.

    `position` loses or gets back the units; `parked` is the parked report that it is booked from, None
    for a correction. What comes back goes into the reservation of an executing order, as far as trades
    drew on it.
    """
    terms, done = order.terms, known.terms
    consideration = EXACT.subtract(order.consideration, done.consideration)
    is_last = len(order.remaining) == 1
    total = terms.notional_of(consideration)
    notional = EXACT.subtract(order.traded_notional, total)
    due = zero_like(order.charged) if is_last else booking.fees_at(terms, total)
    fee = EXACT.subtract(order.charged, due)
    back = terms.spends(done.quantity, notional, fee)
    return TradeBusted(
        trade=done.trade,
        position=position,
        venue=report.venue,
        execution_reference=report.execution_reference,
        quantity=done.quantity,
        consideration=done.consideration,
        notional=notional,
        fee=fee,
        reserved=min(back, order.drawn) if order.status == "executing" else ZERO,
        busted_at_us=at_us if report.executed_at_us is None else report.executed_at_us,
        report=parked,
        at_us=at_us,
    )


def correct_trade(
    order: Order, trade: TradeRecorded, corrects: str, parked: str | None
) -> TradeCorrected:
    """The same trade, in place of one that it `corrects`. `order` is the state after the bust.

    It draws on the reservation as far as that goes, also if it is booked from a `parked` report.
    """
    needed = order.terms.spends(trade.quantity, trade.notional, trade.fee)
    reserved = min(needed, order.reserved) if order.status == "executing" else ZERO
    return TradeCorrected(**asdict(trade), corrects=corrects, reserved=reserved, report=parked)


def book_bust(account: Account, order: Order, known: Trade, busted: TradeBusted) -> list[Fact]:
    """Moves the cash, the fee and the units of a busted trade back. Its `cost` is counted later."""
    terms, done, state = order.terms, known.terms, account.holdings
    opened = holdings.opening(state, order, busted.position, busted.at_us)
    is_settled, is_buy = known.status == "settled", terms.side == "buy"
    unsettled = zero_like(done.quantity if is_buy else busted.notional)
    if not is_settled and is_buy:
        unsettled = state.positions[terms.instrument].settling(done.quantity, order.splits)
    elif not is_settled:
        unsettled = EXACT.subtract(done.notional, done.fee)
    kind = BuyBusted if is_buy else SellBusted
    return [
        *opened,
        kind(
            order=terms.order,
            trade=done.trade,
            position=busted.position,
            instrument=terms.instrument,
            currency=terms.currency,
            quantity=busted.quantity,
            notional=busted.notional,
            fee=busted.fee,
            unsettled=unsettled,
            reserved=busted.reserved,
            cost=ZERO,
            settlement_date=done.settlement_date,
            is_settled=is_settled,
            at_us=busted.at_us,
        ),
    ]


def book_correction(order: Order, trade: TradeCorrected) -> Fact:
    """Moves the cash, the fee and the units of a correcting trade. Its `cost` is counted later."""
    terms = order.terms
    words: dict[str, Any] = {
        "order": terms.order,
        "trade": trade.trade,
        "position": trade.position,
        "instrument": terms.instrument,
        "currency": terms.currency,
        "price": trade.price,
        "quantity": trade.quantity,
        "notional": trade.notional,
        "fee": trade.fee,
        "settlement_date": trade.settlement_date,
        "at_us": trade.at_us,
        "corrects": trade.corrects,
        "reserved": trade.reserved,
    }
    if terms.side == "sell":
        return SellCorrected(**words)
    return BuyCorrected(**words, automatic_rollover=terms.automatic_rollover)


def closing(account: Account, instrument: str, at_us: int) -> list[Fact]:
    """Closes a position that has no units and nothing to settle after a bust."""
    held = account.holdings.positions[instrument]
    if held.closed_at_us is not None or held.units.total or held.unsettled_trades:
        return []
    return [PositionClosed(held.id, instrument, at_us)]
