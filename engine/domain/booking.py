"""Validation of a venue's report against its order, and the resulting trade. See docs/money.md."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from msgspec.structs import asdict

from engine.domain import fees, pricing
from engine.domain.order import Order, Placed, TradeApplied, TradeRecorded, can
from engine.domain.report import FAULTS, Report
from engine.kernel.values import CURRENCIES, EXACT, PRICE_PLACES, STEPS, UNITS, ZERO, at_scale


def contradiction(state: Order | None, report: Report) -> str | None:
    """The fault of a venue's report that contradicts its order (see report.FAULTS), or None."""
    if state is None:
        return "unknown_order"
    if state.status in ("placed", "pending"):
        return "too_early"
    if state.venue not in (None, report.venue):
        return "wrong_venue"
    if report.kind == "trade":
        return _trade_contradiction(state, report)
    if report.kind == "cancelled" and state.status == "executing" and not state.cancel_requested:
        return "not_requested"
    return None


def _trade_contradiction(state: Order, report: Report) -> str | None:
    terms = state.terms
    if not can(state, TradeRecorded):
        return "late"
    quantity = _quantity(state, report)
    if quantity is None:
        return "malformed"
    if _is_too_large(state, report, quantity):
        return "too_large"
    if EXACT.add(state.traded_quantity, quantity) > state.ordered:
        return "too_much"
    net = terms.net_cash_amount
    return "too_dear" if net is not None and _traded_notional(state, report) > net else None


def _quantity(state: Order, report: Report) -> Decimal | None:
    """The units of a reported trade; None if malformed."""
    quantity = at_scale(report.quantity, state.terms.decimal_precision)
    price = at_scale(report.price, PRICE_PLACES)
    interest = at_scale(report.accrued_interest, PRICE_PLACES, signed=True)
    if not quantity or not price or interest is None:
        return None
    return quantity if _unit_price(state, report) > ZERO else None


def unbookable(state: Order | None, report: Report) -> str | None:
    """The reason why a report cannot be booked even if a person confirms it, or None."""
    if state is None or state.status in ("placed", "pending"):
        return FAULTS["unknown_order" if state is None else "too_early"]
    if state.venue not in (None, report.venue):
        return FAULTS["wrong_venue"]
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


def _traded_notional(state: Order, report: Report) -> Decimal:
    """The order's traded notional, once the report is booked."""
    return state.terms.notional_of(EXACT.add(state.consideration, _consideration(state, report)))


def apply_trade(trade: TradeRecorded, report: str) -> TradeApplied:
    """The same trade, booked from the parked `report`."""
    return TradeApplied(**asdict(trade), report=report)


def _consideration(state: Order, report: Report) -> Decimal:
    assert report.quantity is not None
    return EXACT.multiply(report.quantity, _unit_price(state, report))


def _unit_price(state: Order, report: Report) -> Decimal:
    assert report.price is not None
    terms = state.terms
    return pricing.unit_price(report.price, report.accrued_interest, terms.price_type, terms.par_value)


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
        accrued_interest=report.accrued_interest,
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
