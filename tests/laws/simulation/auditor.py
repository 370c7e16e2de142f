"""Every append as an operation of the integer model, which can do it too."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from engine.domain.account import AccountOpened
from engine.domain.clock import ClockAdvanced
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionStarted,
    ActionTerms,
    ScheduleFollowed,
)
from engine.domain.fees import FeeRule
from engine.domain.instrument import InstrumentListed
from engine.domain.order import (
    Cancelled,
    CancelRejected,
    CancelRequested,
    ExecutionStarted,
    Filled,
    MadePending,
    Placed,
    Settled,
    TradeRecorded,
    TradeSettled,
)
from engine.domain.order_quote import QuoteConsumed
from engine.domain.payment import (
    DepositCompleted,
    DepositFailed,
    DepositOpened,
    WithdrawalCompleted,
    WithdrawalFailed,
    WithdrawalOpened,
)
from engine.domain.report import ReportParked
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverSkipped,
)
from engine.kernel.fact import Recorded
from engine.kernel.values import ZERO
from tests.laws.agreement import model_currency, model_rule, scaled
from tests.support.models import model, values
from tests.support.models.records import Split

CENTS, TICKS = 2, 8


class Auditor(model.Model):
    """The model, and what the venue calls each trade: trade -> (venue, execution reference).

    `actions`: the terms of announced ones, `of`: their instruments; `quotes`: quote -> the order that
    used it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.references: dict[str, tuple[str, str]] = {}
        self.actions: dict[str, ActionTerms] = {}
        self.of: dict[str, str] = {}
        self.quotes: dict[str, str] = {}


def do(other: Auditor, append: Sequence[Recorded]) -> str:
    """What an append did, as the model's own operation."""
    for recorded in append:
        if isinstance(recorded.fact, SERVICED):
            return _serve(other, append)
        if isinstance(recorded.fact, InstrumentListed):
            return _do_beside_orders(other, recorded.stream, recorded.fact)
    if isinstance(append[-1].fact, QuoteConsumed):
        quote, append = append[-1].stream, append[:-1]
        assert quote not in other.quotes, f"{quote} is used twice"
        other.quotes[quote] = append[-1].stream
    stream, fact = append[-1].stream, append[-1].fact
    match fact:
        case Placed():
            assert fact.quote is None or other.quotes.get(fact.quote) == stream, (
                f"{fact.quote} is unused"
            )
            return _place(other, fact)
        case MadePending(reason):
            return other.make_pending(stream, reason)
        case ExecutionStarted():
            return _send(other, stream, fact)
        case TradeRecorded():
            other.references[fact.trade] = fact.venue, fact.execution_reference
            places = other.orders[stream].instrument.decimal_precision
            return other.record_trade(
                stream,
                venue=fact.venue,
                execution_reference=fact.execution_reference,
                price=scaled(fact.price, TICKS),
                quantity=scaled(fact.quantity, places),
                settlement_date=str(fact.settlement_date),
                is_ex=False,  # by the clock of the process that booked it
            )
        case Filled():
            return other.fill(stream)
        case Cancelled(reason):
            if reason != "requested":
                is_ours = other.orders[stream].status != "executing"
                return other.cancel(stream, reason) if is_ours else other.fill(stream, reason=reason)
            is_asked = other.orders[stream].cancel_requested
            return other.confirm_cancel(stream) if is_asked else other.request_cancel(stream)
        case CancelRequested():
            return other.request_cancel(stream)
        case CancelRejected():
            return other.reject_cancel(stream)
        case TradeSettled():
            return _settle(other, stream, append)
        case Settled():
            answer = _settle(other, stream, append[:-1])
            return other.settle_order(stream) if answer == values.OK else answer
        case ReportParked(report):
            return _park(other, report, _is_ex(other, append[-1]))
    return _do_beside_orders(other, stream, fact)


def _do_beside_orders(other: Auditor, stream: str, fact: Any) -> str:
    match fact:
        case DepositOpened() | WithdrawalOpened():
            kind = "deposit" if isinstance(fact, DepositOpened) else "withdrawal"
            amount = scaled(fact.amount, CENTS)
            return other.create_payment(stream, kind, fact.account, fact.currency, amount)
        case DepositCompleted() | WithdrawalCompleted():
            return other.end_payment(stream, "completed")
        case DepositFailed() | WithdrawalFailed():
            return other.end_payment(stream, "failed")
        case AccountOpened(account, _, base):
            return other.open_account(account, model_currency(base))
        case InstrumentListed(instrument, terms):
            step = scaled(terms.trading_increment, terms.decimal_precision)
            currency = model_currency(terms.trading_currency)
            par = scaled(terms.par_value, TICKS)
            return other.put_instrument(
                values.Instrument(instrument, currency, terms.decimal_precision, step, par_value=par)
            )
        case ActionAnnounced(action, terms):
            other.actions[action], other.of[action] = terms, stream
            return values.OK
        case ActionStarted(action):
            return _begin(other, stream, action)
        case RolloverSkipped(_, instrument, reason):
            return other.skip(stream, instrument, reason)
        case ClockAdvanced() | ScheduleFollowed():
            return values.OK
    raise AssertionError(f"nothing is known of {fact}")


def _place(other: Auditor, fact: Placed) -> str:
    rule = model_rule(FeeRule(fact.fee_rate, fact.fee_minimum), fact.currency, fact.rounding)
    price, where = scaled(fact.price, TICKS), (fact.order, fact.account, fact.instrument)
    if fact.rolled_from is not None:
        of = fact.rolled_from.instrument
        words: dict[str, Any] = {"price": price, "rule": rule, "beside_sells": True}
        return other.roll(fact.order, fact.account, of, fact.instrument, **words)
    if fact.cash_amount is not None:
        return other.place_buy(
            *where,
            cash_amount=scaled(fact.cash_amount, CENTS),
            price=price,
            rule=rule,
            automatic_rollover=fact.automatic_rollover,
        )
    assert fact.quantity is not None
    quantity = scaled(fact.quantity, fact.decimal_precision)
    return other.place_sell(*where, quantity=quantity, price=price, rule=rule)


def _send(other: Auditor, stream: str, fact: ExecutionStarted) -> str:
    """An order is sent in the units that its process knew: those of a moment ago or, where clocks
    differ, of after a split that should have ended it. A buy has cash alone; units of a position fit.
    """
    order = other.orders[stream]
    of, order.splits = order.instrument.id, fact.splits
    begun = other.splits[of]
    other.splits[of] = begun[: fact.splits]
    price, accrued = scaled(fact.price, TICKS), scaled(fact.accrued_interest, TICKS)
    answer = other.start_execution(stream, price=price, accrued=accrued)
    other.splits[of] = begun
    return answer


SERVICED = CouponPaid | DividendPaid | PositionMatured | PositionSplit


def _begin(other: Auditor, of: str, action: str) -> str:
    terms = other.actions[action]
    if terms.units_to is None or terms.units_from is None:
        return values.OK
    price = scaled(terms.fraction_price or ZERO, TICKS)
    split = Split(action, str(terms.ex_date), terms.units_to, terms.units_from, price)
    return other.start_split(of, split)


def _serve(other: Auditor, append: Sequence[Recorded]) -> str:
    """An action comes to an account; what is due by a redemption is paid in the same append."""
    answers: set[str] = set()
    for account, fact in ((one.stream, one.fact) for one in append):
        if not isinstance(fact, SERVICED):
            continue
        of, terms = fact.instrument, other.actions[fact.action]
        if isinstance(fact, PositionSplit):
            answers.add(other.apply_split(account, of))
            continue
        assert terms.amount is not None
        amount, ex_date = Fraction(terms.amount) / terms.divisor, str(terms.ex_date)
        if isinstance(fact, PositionMatured):
            answers.add(other.mature(fact.action, account, of, date=ex_date, amount=amount))
        else:
            kind = "coupon_payment" if isinstance(fact, CouponPaid) else "dividend"
            answers.add(other.pay(fact.action, account, of, kind, ex_date=ex_date, amount=amount))
    return answers.pop() if len(answers) == 1 else f"several answers: {answers}"


def _settle(other: Auditor, order: str, append: Sequence[Recorded]) -> str:
    settled = append[-1].fact
    assert isinstance(settled, TradeSettled)
    return other.settle_trade(order, *other.references[settled.trade])


def _is_ex(other: Auditor, parked: Recorded) -> bool:
    """Whether a trade may have been made on the ex date of a split that has not begun.

    The day at the market may be the one before; a trade that is booked says nothing, as clocks differ.
    """
    order = other.orders.get(parked.fact.report.order)
    if order is None or parked.fact.fault != "split":
        return False
    of = order.instrument.id
    begun = {one.action for one in other.splits[of]}
    return any(
        terms.units_to is not None
        and action not in begun
        and terms.ex_date <= parked.envelope.business_date
        for action, terms in other.actions.items()
        if other.of.get(action) == of
    )


def _park(other: Auditor, report: Any, is_ex: bool) -> str:
    match report.kind:
        case "trade":
            known = other.orders.get(report.order)
            places = known.instrument.decimal_precision if known else 8
            return other.record_trade(
                report.order,
                venue=report.venue,
                execution_reference=report.execution_reference,
                price=scaled(report.price, TICKS),
                quantity=scaled(report.quantity, places),
                is_ex=is_ex or None,
            )
        case "ended":
            return other.fill(report.order)
        case "cancelled":
            return other.confirm_cancel(report.order)
    return other.reject_cancel(report.order)
