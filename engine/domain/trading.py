"""The life of an order across all streams it touches: one function for each event.

Each returns `Decided`: facts of the account first, so that at every offset of the journal the money
agrees with the order's status, then of the order, then of a parked report. All facts of one call belong
in one append.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from engine.domain import account as accounts
from engine.domain import (
    booking,
    busting,
    checks,
    cost,
    fees,
    holdings,
    pricing,
    split,
    trading_limits,
)
from engine.domain import instrument as instruments
from engine.domain import order as orders
from engine.domain import report as reports
from engine.domain.account import Account
from engine.domain.checks import OrderCase
from engine.domain.decided import Decided
from engine.domain.fees import FeeRule
from engine.domain.instrument import Instrument
from engine.domain.order import Cancelled, Filled, Order, TradeRecorded
from engine.domain.order_request import OrderRequest, amount_of, limit_of
from engine.domain.pricing import Price
from engine.domain.report import ParkedReport, Report
from engine.domain.script import Play
from engine.domain.trading_limits import Limits
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, UNITS, ZERO, Side

_NOTHING: Final = Decided([], [], [])


def place(
    order_request: OrderRequest,
    account: Account | None,
    order: Order | None,
    instrument: Instrument | None,
    *,
    price: Price | None,
    fee: FeeRule,
    order_id: str,
    business_date: date,
    trade_date: date,
    at_us: int,
    closed_until_us: int | None = None,
    limits: Limits | None = None,
    minimum_value: Decimal | None = None,
    session_ends_us: int | None = None,
) -> Decided:
    """Accepts an order and reserves what it may use, once. A limit order needs no `price`.

    `trade_date` is the day at the instrument's market on which it can be sent, `business_date` the
    engine's; `minimum_value` is set by the operator, in the instrument's currency. `closed_until_us`:
    the opening of its market, for an order that is not to wait for it; `session_ends_us`: the end of its
    session, both in business time.

    Raises Refused as `accounts.check`, `amount_of`, `limit_of`, `fees.net_of`, `checks.check`,
    `instruments.check_open`, `trading_limits.count` and `holdings.reserve` do, or `not_found`.
    """
    if order is not None:
        return _NOTHING
    if account is None:
        raise refused("not_found", "No such account.", path="account")
    if instrument is None:
        raise refused("not_found", "No such instrument.", path="instrument")
    terms = instrument.terms
    settlement_date = instruments.settles_on(terms, trade_date)
    accounts.check(account, order_request.side, terms.trading_currency)
    amount, limit = amount_of(order_request, terms), limit_of(order_request, terms)
    bid = price.bid if price else None
    if limit is not None:
        price = pricing.at_limit(limit.price, at_us)
    price = instruments.with_interest(terms, price, settlement_date)
    net = None
    if order_request.side == "buy":
        net = fees.net_of(fee, amount, UNITS[terms.trading_currency])
    asked = _asked(
        account,
        instrument,
        order_request.side,
        amount,
        net=net,
        counts_in=(terms.price_type, terms.par_value),
        price=price,
        settlement_date=settlement_date,
        minimum_value=minimum_value,
        awaits_split=split.awaits(instrument, account.holdings.positions.get(instrument.id), trade_date),
    )
    placed = orders.place(
        order_request,
        instrument,
        asked,
        price,
        fee,
        net=net,
        order=order_id,
        account=account.id,
        at_us=at_us,
        limit=limit,
        bid=bid,
        session_ends_us=session_ends_us,
    )
    instruments.check_open(closed_until_us)
    counted = trading_limits.count(limits, placed, account.activity, business_date) if limits else []
    return Decided(holdings.reserve(account.holdings, placed) + counted, [placed], [])


def start_execution(
    account: Account,
    order: Order,
    instrument: Instrument,
    price: Price | None,
    *,
    venue: str,
    venue_order: str,
    trade_date: date,
    at_us: int,
    is_open: bool = True,
    minimum_value: Decimal | None = None,
    script: Play | None = None,
    needs_price: bool = True,
    is_expired: bool = False,
) -> Decided:
    """Sends an order to a venue, or cancels it if it is expired or would now be refused.

    Without a fresh `price`, with a suspended account or a closed market, it waits. A limit order waits
    for a price if its venue `needs_price`. A flag cleared after placing has no effect.
    """
    terms = order.terms
    if is_expired:
        return cancel(order, "expired", at_us=at_us)
    if account.status == "suspended":
        return Decided([], orders.make_pending(order, "account_suspended", at_us=at_us), [])
    if terms.side not in accounts.PERMITS[account.status]:
        return cancel(order, "account_closed", at_us=at_us)
    settlement_date = instruments.settles_on(instrument.terms, trade_date)
    if order.awaits_receivable and settlement_date < terms.settlement_date:
        # The day has begun in UTC, not at the market: the trade would be due before its cash comes.
        return Decided([], orders.make_pending(order, "pre_trade_check", at_us=at_us), [])
    price = instruments.with_interest(instrument.terms, price, settlement_date)
    decided_on, fixed = price, None
    if terms.limit_price is not None:
        decided_on, fixed = pricing.at_limit(terms.limit_price, at_us), terms.quantity
        if not needs_price and (price is None or not pricing.is_quoted(price, terms.side)):
            price = decided_on
    held = account.holdings.positions.get(instrument.id)
    asked = _asked(
        account,
        instrument,
        terms.side,
        terms.amount,
        net=terms.net_cash_amount,
        counts_in=(terms.price_type, terms.par_value),
        price=decided_on,
        fixed=fixed,
        settlement_date=settlement_date,
        minimum_value=minimum_value,
        reserved=order.reserved if terms.side == "sell" else ZERO,
        awaits_split=split.awaits(instrument, held, trade_date, terms.at_us),
    )
    started = orders.start_execution(
        order,
        asked,
        price,
        venue,
        venue_order,
        is_open=is_open,
        at_us=at_us,
        splits=instrument.servicing.splits,
        script=script,
    )
    return _released(order, started, at_us)


def request_cancel(order: Order | None, *, at_us: int, request: bytes | None = None) -> Decided:
    """Cancels an order for its client. Raises Refused `not_found` or `order_cancel_forbidden`."""
    if order is None:
        raise refused("not_found", "No such order.", path="order")
    return _released(order, orders.request_cancel(order, at_us=at_us, request=request), at_us)


def cancel(order: Order, reason: str, *, at_us: int) -> Decided:
    """Cancels an order that is not at a venue, for an internal reason."""
    return _released(order, orders.cancel(order, reason, at_us=at_us), at_us)


def expire(order: Order, asked_before: int, *, at_us: int) -> Decided:
    """Ends an order whose time is over, or has its venue asked to cancel it; see `orders.expire`."""
    return _released(order, orders.expire(order, asked_before, at_us=at_us), at_us)


def take(
    report: Report,
    account: Account | None,
    order: Order | None,
    instrument: Instrument | None,
    parked: ParkedReport | None,
    *,
    trade_id: str,
    position_id: str,
    trade_date: date,
    at_us: int,
    price_band: Decimal | None = None,
    past: Sequence[Fact] = (),
) -> Decided:
    """Takes a venue's report, once per (venue, execution reference); parks it if it contradicts the
    order.

    `account` and `instrument` are the order's; `parked` is the state of this very report; `trade_date`
    the day of execution at the instrument's market; `price_band` as in `booking.contradiction`; `past`:
    the account's facts so far, for a bust or a correction. Never raises: a reported execution has
    happened.
    """
    if parked or (order and order.knows(report)):
        return _NOTHING
    fault = booking.contradiction(order, report, trade_date, at_us, price_band)
    if report.kind == "trade":
        fault = fault or _split_fault(account, order, instrument, trade_date)
    is_bust = report.kind in reports.BUSTS
    if is_bust and not fault and order and account and instrument:
        fault = busting.contradiction(
            order,
            report,
            account,
            instrument,
            trade_date=trade_date,
            at_us=at_us,
            price_band=price_band,
        )
    if fault or order is None or account is None or instrument is None:
        return Decided([], [], reports.park(parked, report, fault or "unknown_order", at_us=at_us))
    if report.kind in ("ended", "cancelled"):
        reason = _ending(order, report)
        if reason == "expired" and order.is_expiring and split.is_to_start(instrument, trade_date):
            reason = "corporate_action"
        return _released(order, orders.fill(order, reason, at_us=at_us), at_us)
    if report.kind in ("cancel_rejected", "accepted"):
        is_answer = report.kind == "cancel_rejected"
        return Decided([], orders.reject_cancel(order, at_us=at_us) if is_answer else [], [])
    taken = _Taken(report, instrument, trade_id, position_id, trade_date, at_us)
    if is_bust:
        return Decided(*_busted(taken, order, account, past), [])
    trade = _traded(taken, order, account)
    return Decided(holdings.book(account.holdings, order, trade), [trade], [])


class _Taken(NamedTuple):
    """A report that is booked, and the ids of a new trade and a new position."""

    report: Report
    instrument: Instrument
    trade_id: str
    position_id: str
    trade_date: date
    at_us: int


def _busted(
    taken: _Taken, order: Order, account: Account, past: Sequence[Fact], parked: str | None = None
) -> tuple[list[Fact], list[Fact]]:
    """The facts of account and order for a bust, and for the trade in its place if it is a correction.

    `parked`: the parked report that it is booked from.
    """
    report, instrument, at_us = taken.report, taken.instrument.id, taken.at_us
    known = order.executed_as(report)
    assert known is not None
    position = holdings.position_for(account.holdings, instrument, taken.position_id)
    booked = parked if report.kind == "trade_bust" else None
    bust = busting.bust_trade(order, known, report, position, parked=booked, at_us=at_us)
    moved = busting.book_bust(account, order, known, bust)
    subject: list[Fact] = [bust]
    order = orders.evolve(order, bust)
    if report.kind == "trade_correct":
        trade = _traded(taken, order, _evolved(account, moved))
        correction = busting.correct_trade(order, trade, bust.trade, parked)
        moved.append(busting.book_correction(order, correction))
        subject.append(correction)
        order = orders.evolve(order, correction)
    moved = cost.with_cost(moved, past, instrument)
    moved += busting.closing(_evolved(account, moved), instrument, at_us)
    return moved, [*subject, *orders.settle(order, at_us=at_us)]


def _evolved(account: Account, facts: Iterable[Any]) -> Account:
    for fact in facts:
        account = accounts.evolve(account, fact)
    return account


def _ending(order: Order, report: Report) -> str:
    """The reason of an order that ends without a trade."""
    if report.kind == "cancelled" and order.cancel_requested:
        return "requested"
    if report.kind == "cancelled" and order.is_expiring:
        return "expired"
    return report.reason if report.reason in reports.ENDINGS else reports.ENDINGS[0]


def apply_report(
    parked: ParkedReport,
    report_id: str,
    account: Account | None,
    order: Order | None,
    instrument: Instrument | None,
    *,
    by: str,
    may_be_asker: bool,
    trade_id: str,
    position_id: str,
    trade_date: date,
    at_us: int,
    past: Sequence[Fact] = (),
) -> Decided:
    """Books a parked report: its trade with all moves, and the decision itself. `past` as in `take`.

    A terminal status does not change. The account may be overdrawn afterwards. Raises Refused as
    `reports.confirm` and `check_bookable` do.
    """
    report = parked.report
    busted = order.executed_as(report) if order and report.kind == "trade_bust" else None
    booked = busted.terms.trade if busted else trade_id
    decided = reports.confirm(parked, by, booked, may_be_asker=may_be_asker, at_us=at_us)
    if not decided:
        return _NOTHING
    check_bookable(parked, account, order, instrument, trade_date)
    assert account is not None
    assert order is not None
    assert instrument is not None
    taken = _Taken(report, instrument, trade_id, position_id, trade_date, at_us)
    if report.kind in reports.BUSTS:
        return Decided(*_busted(taken, order, account, past, report_id), decided)
    trade = booking.apply_trade(_traded(taken, order, account), report_id)
    return Decided(holdings.book(account.holdings, order, trade), [trade], decided)


def check_bookable(
    parked: ParkedReport,
    account: Account | None,
    order: Order | None,
    instrument: Instrument | None,
    trade_date: date,
) -> None:
    """Raises Refused `report_not_bookable` for a report that cannot be booked in the current state.

    `trade_date`: the day of its execution at the market. Raises Unavailable if the order has the trade
    but the report is not booked: the two were read at different moments; retry.
    """
    reports.check_bookable(parked)
    if order is not None and order.knows(parked.report):
        raise Unavailable("the report was booked at this moment")
    fault = booking.unbookable(order, parked.report)
    if parked.report.kind in reports.BUSTS:
        if not fault and order and account and instrument:
            obstacle = busting.obstacle(order, parked.report, account, instrument)
            fault = reports.FAULTS[obstacle] if obstacle else None
    elif account is None or account.status == "closed":
        fault = fault or "the account is closed"
    elif _split_fault(account, order, instrument, trade_date):
        fault = fault or reports.FAULTS["split"]
    if fault:
        raise refused("report_not_bookable", fault=fault)


def settle_trade(
    account: Account, order: Order, trade: str, business_date: date, *, at_us: int
) -> Decided:
    """Settles one trade; the last one settles the order. Raises Refused: see `orders.settle_trade`."""
    settled = orders.settle_trade(order, trade, business_date, at_us=at_us)
    if not settled:
        return _NOTHING
    known = order.trade(trade)
    assert known is not None
    after = orders.evolve(order, settled[0])
    return Decided(
        holdings.settle(account.holdings, order, known, at_us=at_us),
        [*settled, *orders.settle(after, at_us=at_us)],
        [],
    )


def _split_fault(
    account: Account | None, order: Order | None, instrument: Instrument | None, trade_date: date
) -> str | None:
    """The fault of a trade in other units than those of its order, or of the account by now, or None."""
    if account is None or order is None or instrument is None:
        return None
    held = account.holdings.positions.get(instrument.id)
    is_other = split.trades_otherwise(order, instrument, trade_date)
    return "split" if is_other or split.counts_otherwise(order, instrument, held) else None


def _asked(
    account: Account,
    instrument: Instrument,
    side: Side,
    amount: Decimal,
    *,
    net: Decimal | None,
    counts_in: tuple[str, Decimal],
    price: Price | None,
    settlement_date: date,
    minimum_value: Decimal | None,
    awaits_split: bool,
    reserved: Decimal = ZERO,
    fixed: Decimal | None = None,
) -> OrderCase:
    """The input of an order's checks, now; `counts_in` are the price type and par value of its own
    terms, `reserved` the units that it has reserved, `fixed` those that it was placed for.
    """
    terms, unit = instrument.terms, None
    if price is not None and pricing.is_quoted(price, side):
        quoted = pricing.quoted(price, side)
        unit = pricing.unit_price(quoted, price.accrued_interest, *counts_in)
    return OrderCase(
        side=side,
        amount=amount,
        quantity=checks.quantity_of(net, amount, unit, terms) if fixed is None else fixed,
        value=checks.value_of(side, amount, unit, terms),
        terms=terms,
        unit_terms=counts_in,
        settlement_date=settlement_date,
        held=account.holdings.held(instrument.id),
        free=EXACT.add(account.holdings.available(instrument.id), reserved),
        lacking=account.lacking,
        minimum_value=minimum_value,
        repaid_on=instrument.repaid_on,
        awaits_split=awaits_split,
        is_redeemed=instrument.servicing.is_redeemed,
        reserved=reserved,
    )


def _traded(taken: _Taken, order: Order, account: Account) -> TradeRecorded:
    """The trade of a report, with its settlement date, and its yield where the report names none."""
    report, terms = taken.report, taken.instrument.terms
    ytm = report.ytm
    settlement_date = report.settlement_date or instruments.settles_on(terms, taken.trade_date)
    if ytm is None:
        ytm = instruments.yield_of(terms, report.price, settlement_date)
    return booking.record_trade(
        order,
        report,
        taken.trade_id,
        holdings.position_for(account.holdings, order.terms.instrument, taken.position_id),
        settlement_date=settlement_date,
        ytm=ytm,
        at_us=taken.at_us,
    )


def _released(order: Order, facts: list[Fact], at_us: int) -> Decided:
    """Releases the remaining reservation when execution ends, in the same append before the end."""
    released: list[Fact] = []
    for fact in facts:
        if isinstance(fact, Cancelled | Filled):
            reason = fact.reason if isinstance(fact, Cancelled) else None
            released = holdings.release(order, reason=reason, at_us=at_us)
    return Decided(released, facts, [])
