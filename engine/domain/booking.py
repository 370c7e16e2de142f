"""Validation of a venue's report against its order, and the resulting trade. See docs/money.md."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final

from msgspec.structs import asdict

from engine.domain import fees, pricing
from engine.domain.order import Order, Placed, TradeApplied, TradeRecorded, can
from engine.domain.report import FAULTS, Report
from engine.kernel.limits import VENUE_CLOCK_US, VENUE_SETTLEMENT_DAYS
from engine.kernel.values import (
    CURRENCIES,
    EXACT,
    PRICE_PLACES,
    STEPS,
    UNITS,
    ZERO,
    at_scale,
    divide_half_even,
)


def contradiction(
    state: Order | None, report: Report, trade_date: date, at_us: int, price_band: Decimal | None = None
) -> str | None:
    """The fault of a venue's report that contradicts its order (see report.FAULTS), or None.

    `at_us`: when it came; `trade_date`: the day of its execution at the market; `price_band`: the part
    of the order's price by which a trade's may differ, None for any. Of a bust or a correction
    `busting.contradiction` tells the rest.
    """
    if state is None:
        return "unknown_order"
    if state.status in ("placed", "pending"):
        return "too_early"
    if state.venue not in (None, report.venue):
        return "wrong_venue"
    if not _is_about(state.terms, report):
        return "wrong_terms"
    if report.kind == "trade":
        is_late = not can(state, TradeRecorded)
        return "late" if is_late else trade_fault(state, report, trade_date, at_us, price_band)
    return None


def _is_about(terms: Placed, report: Report) -> bool:
    """Whether the terms that the venue names are the order's."""
    named = (
        (report.instrument, terms.instrument),
        (report.side, terms.side),
        (report.currency, terms.currency),
    )
    return all(said in (None, own) for said, own in named)


def trade_fault(
    state: Order, report: Report, trade_date: date, at_us: int, price_band: Decimal | None = None
) -> str | None:
    """The fault of a reported trade beside the trades of its order, or None; see `contradiction`."""
    fault = _fault_of_figures(state, report, trade_date, at_us)
    if fault is None and price_band is not None and _is_absurd(state, report, price_band):
        return "absurd_price"
    return fault


def _fault_of_figures(state: Order, report: Report, trade_date: date, at_us: int) -> str | None:
    quantity = _quantity(state, report)
    if quantity is None:
        return "malformed"
    if not _is_timely(state, report, at_us):
        return "wrong_time"
    days = 0 if report.settlement_date is None else (report.settlement_date - trade_date).days
    if not 0 <= days <= VENUE_SETTLEMENT_DAYS:
        return "wrong_settlement"
    found = (fault for fault, is_at_fault in _FAULTS if is_at_fault(state, report, quantity))
    return next(found, None)


def _is_timely(state: Order, report: Report, at_us: int) -> bool:
    """Whether it was executed between the order's placing and now, as far as two clocks agree."""
    executed_at_us = at_us if report.executed_at_us is None else report.executed_at_us
    return state.terms.at_us - VENUE_CLOCK_US <= executed_at_us <= at_us + VENUE_CLOCK_US


def _is_too_much(state: Order, _: Report, quantity: Decimal) -> bool:
    return EXACT.add(state.traded_quantity, quantity) > state.ordered


def _is_too_dear(state: Order, report: Report, _: Decimal) -> bool:
    net = state.terms.net_cash_amount
    return net is not None and _traded_notional(state, report) > net


def _is_worse(state: Order, report: Report, quantity: Decimal) -> bool:
    """Whether the price, or price and interest, are worse than the limit: its instruments bear none."""
    terms, limit = state.terms, state.terms.limit_price
    if limit is None:
        return False
    assert report.price is not None
    worth = EXACT.multiply(quantity, pricing.unit_price(limit, ZERO, terms.price_type, terms.par_value))
    meets = pricing.meets
    return not (
        meets(terms.side, limit, report.price)
        and meets(terms.side, worth, _consideration(state, report))
    )


def _is_absurd(state: Order, report: Report, band: Decimal) -> bool:
    """Whether the price differs from that at placing by more than a part of it, or price and interest
    from those at placing. A limit order has no such price, and its limit.
    """
    terms = state.terms
    if terms.limit_price is not None:
        return False
    assert report.price is not None
    assert report.quantity is not None
    unit = pricing.unit_price(terms.price, terms.accrued_interest, terms.price_type, terms.par_value)
    worth = EXACT.multiply(report.quantity, unit)
    pairs = (report.price, terms.price), (_consideration(state, report), worth)
    return any(abs(EXACT.subtract(said, own)) > EXACT.multiply(own, band) for said, own in pairs)


def _quantity(state: Order, report: Report) -> Decimal | None:
    """The units of a reported trade; None if malformed."""
    quantity = at_scale(report.quantity, state.terms.decimal_precision)
    price = at_scale(report.price, PRICE_PLACES)
    given = report.accrued_interest if report.accrued_total is None else report.accrued_total
    if not quantity or not price or at_scale(given, PRICE_PLACES, signed=True) is None:
        return None
    return quantity if _consideration(state, report) > ZERO else None


def unbookable(state: Order | None, report: Report) -> str | None:
    """The reason why a report cannot be booked even if a person confirms it, or None."""
    if state is None or state.status in ("placed", "pending"):
        return FAULTS["unknown_order" if state is None else "too_early"]
    if state.venue not in (None, report.venue):
        return FAULTS["wrong_venue"]
    if report.kind == "trade_bust":
        return None
    quantity = _quantity(state, report)
    if quantity is None:
        return FAULTS["malformed"]
    return FAULTS["too_large"] if _is_too_large(state, report, quantity) else None


def _is_too_large(state: Order, report: Report, quantity: Decimal) -> bool:
    """Whether the order's traded units or money would exceed the digits of an amount."""
    units = EXACT.add(state.traded_quantity, quantity)
    if at_scale(units, state.terms.decimal_precision) is None:
        return True
    return at_scale(_traded_notional(state, report), CURRENCIES[state.terms.currency]) is None


_FAULTS: Final = (
    ("too_large", _is_too_large),
    ("too_much", _is_too_much),
    ("worse_than_limit", _is_worse),
    ("too_dear", _is_too_dear),
)
"""Fault of a well-formed trade -> its check. The first that holds counts."""


def _traded_notional(state: Order, report: Report) -> Decimal:
    """The order's traded notional, once the report is booked."""
    return state.terms.notional_of(EXACT.add(state.consideration, _consideration(state, report)))


def apply_trade(trade: TradeRecorded, report: str) -> TradeApplied:
    """The same trade, booked from the parked `report`."""
    return TradeApplied(**asdict(trade), report=report)


def _consideration(state: Order, report: Report) -> Decimal:
    """The exact worth of a trade: its units at their clean price, and their interest."""
    assert report.quantity is not None
    assert report.price is not None
    terms, total = state.terms, report.accrued_total
    accrued = report.accrued_interest if total is None else ZERO
    unit = pricing.unit_price(report.price, accrued, terms.price_type, terms.par_value)
    return EXACT.add(EXACT.multiply(report.quantity, unit), total or ZERO)


def _interest_of(report: Report) -> Decimal:
    """Accrued interest per unit, 8 decimals half to even if the venue gives that of all units."""
    if report.accrued_total is None:
        return report.accrued_interest
    assert report.quantity is not None
    return divide_half_even(report.accrued_total, report.quantity, STEPS[PRICE_PLACES])


def is_worth(trade: TradeRecorded, terms: Placed) -> bool:
    """Whether a trade's consideration is that of its price and interest, as exactly as that is known."""
    unit = pricing.unit_price(trade.price, trade.accrued_interest, terms.price_type, terms.par_value)
    rest = EXACT.subtract(trade.consideration, EXACT.multiply(trade.quantity, unit))
    return 2 * abs(rest) <= EXACT.multiply(trade.quantity, STEPS[PRICE_PLACES])


def record_trade(
    state: Order,
    report: Report,
    trade: str,
    position: str,
    *,
    settlement_date: date,
    ytm: Decimal | None,
    at_us: int,
) -> TradeRecorded:
    """One execution, from a report that is new (`knows`) and without contradiction.

    `ytm`: its yield in percent a year.
    """
    terms = state.terms
    assert report.quantity is not None
    assert report.price is not None
    worth = _consideration(state, report)
    total = _traded_notional(state, report)
    return TradeRecorded(
        trade=trade,
        position=position,
        venue=report.venue,
        execution_reference=report.execution_reference,
        price=report.price,
        quantity=report.quantity.quantize(STEPS[terms.decimal_precision], context=EXACT),
        accrued_interest=_interest_of(report),
        consideration=worth,
        notional=EXACT.subtract(total, state.traded_notional),
        fee=EXACT.subtract(fees_at(terms, total), state.charged),
        settlement_date=settlement_date,
        executed_at_us=at_us if report.executed_at_us is None else report.executed_at_us,
        counterparty=report.counterparty,
        execution_broker=report.execution_broker,
        ytm=ytm,
        at_us=at_us,
    )


def fees_at(terms: Placed, traded_notional: Decimal) -> Decimal:
    """All fees of an order with this traded notional."""
    step = UNITS[terms.currency]
    if terms.cash_amount is None or terms.net_cash_amount is None:
        return fees.of_sell(terms.fee_rule, traded_notional, step)
    return fees.of_buy(
        terms.fee_rule,
        cash_amount=terms.cash_amount,
        net_cash_amount=terms.net_cash_amount,
        traded_notional=traded_notional,
        step=step,
    )
