"""Orders, from being placed to their last trade's settlement. See docs/lifecycle.md.

Cash and units do not move here: the account's facts of the same append move them.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from engine.domain import checks, pricing
from engine.domain.checks import OrderCase
from engine.domain.fees import FeeRule
from engine.domain.instrument import Instrument
from engine.domain.order_request import Limit, OrderRequest, OrderType, Pledge, TimeInForce
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.rounding import CURRENT, RoundingName, modes_of
from engine.domain.script import Play
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import EXPIRY_REQUESTS_MAX
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, UNITS, ZERO, Side, round_to

# --- facts ---------------------------------------------------------------------------------------


class Placed(Fact, frozen=True):
    """An order was accepted: the request, and everything the decision depended on.

    A buy has `cash_amount` and `net_cash_amount` (less the quoted fee), a sell has `quantity`, as has a
    buy at a limit, which fixes it. `price`
    is the ask or bid at acceptance, `settlement_date` the one of a trade that day, `request` a keyed
    digest of the request for comparing a repeated idempotency key. `rounding` is one of
    `rounding.ROUNDINGS`, fixed for the order's life; `rolled_from`: what a rollover reinvests.

    An order with a `limit_price` is decided on it, and has it as its `price` too. Its `time_in_force` is
    `day` or `gtc`; `expires_at_us`, in business time, ends it. `quote`: the one that it consumed. `bid`:
    the one at acceptance above the limit of a sell, which then counts against trading limits.
    """

    order: str
    account: str
    purpose: str
    side: Side
    instrument: str
    instrument_type: str
    symbol: str
    name: str
    currency: str
    cash_amount: Decimal | None
    net_cash_amount: Decimal | None
    quantity: Decimal | None
    fee_rate: Decimal
    fee_minimum: Decimal
    price: Decimal
    accrued_interest: Decimal
    price_at_us: int
    price_type: str
    par_value: Decimal
    trading_increment: Decimal
    decimal_precision: int
    settlement_date: date
    automatic_rollover: bool
    request: bytes | None
    at_us: int
    rounding: RoundingName = "half_up"
    rolled_from: Pledge | None = None
    limit_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    expires_at_us: int | None = None
    quote: str | None = None
    bid: Decimal | None = None

    @property
    def order_type(self) -> OrderType:
        """`market` or `limit`."""
        return "market" if self.limit_price is None else "limit"

    @property
    def amount(self) -> Decimal:
        """The requested amount, which is reserved: cash of a buy, units of a sell."""
        amount = self.quantity if self.cash_amount is None else self.cash_amount
        assert amount is not None
        return amount

    def spends(self, quantity: Decimal, notional: Decimal, fee: Decimal) -> Decimal:
        """The part of the requested amount that trades of these figures spend."""
        return quantity if self.side == "sell" else EXACT.add(notional, fee)

    @property
    def fee_rule(self) -> FeeRule:
        """The rule of its fees."""
        return FeeRule(self.fee_rate, self.fee_minimum, modes_of(self.rounding).fees)

    def notional_of(self, consideration: Decimal) -> Decimal:
        """The exact worth of trades, rounded to the amount paid."""
        modes = modes_of(self.rounding)
        mode = modes.buy if self.side == "buy" else modes.sell
        return round_to(consideration, UNITS[self.currency], mode)


class MadePending(Fact, frozen=True):
    """The order waits to be sent, for one of WAITS."""

    reason: str
    at_us: int


class ExecutionStarted(Fact, frozen=True):
    """The order was sent to the venue, for at most `quantity` units at the current price.

    `splits`: how often the instrument was split before; `script`: by which the simulated venue executes.
    """

    venue: str
    venue_order: str
    price: Decimal
    accrued_interest: Decimal
    quantity: Decimal
    at_us: int
    splits: int = 0
    script: Play | None = None


class TradeRecorded(Fact, frozen=True):
    """The venue executed `quantity` units; `notional` and `fee` are its shares of the order's.

    `price` in the instrument's price type; `accrued_interest` per unit; `consideration` is the exact
    total worth, `notional` its rounded share.
    """

    trade: str
    position: str
    venue: str
    execution_reference: str
    price: Decimal
    quantity: Decimal
    accrued_interest: Decimal
    consideration: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date
    executed_at_us: int
    counterparty: str | None
    execution_broker: str | None
    ytm: Decimal | None
    at_us: int


class TradeApplied(TradeRecorded, frozen=True):
    """A trade booked from the parked `report`, which contradicts the order: late, too many, too
    expensive.

    Its cash or units come from the available, never from the reserved amount.
    """

    report: str = ""


class TradeCorrected(TradeRecorded, frozen=True):
    """The trade that the venue reports in place of `corrects`, which was busted before it in the same
    append.

    `reserved` of its cash or units come from the reservation, the rest from the available. `report`: the
    parked report that it was booked from.
    """

    corrects: str = ""
    reserved: Decimal = ZERO
    report: str | None = None


class TradeBusted(Fact, frozen=True):
    """The venue has cancelled a trade, or is about to correct it.

    The amounts are those by which the order's totals exceed the totals of the remaining trades: by
    rounding `notional` and `fee` may differ from the trade's own. `reserved` goes back into the
    reservation. `position` has lost or got back the units; `busted_at_us` by the venue's clock.
    """

    trade: str
    position: str
    venue: str
    execution_reference: str
    quantity: Decimal
    consideration: Decimal
    notional: Decimal
    fee: Decimal
    reserved: Decimal
    busted_at_us: int
    report: str | None
    at_us: int


class Filled(Fact, frozen=True):
    """The execution ended, complete or partial; the unused reservation is released."""

    at_us: int


class TradeSettled(Fact, frozen=True):
    """Cash and units of one trade have been exchanged."""

    trade: str
    at_us: int


class Settled(Fact, frozen=True):
    """All trades have settled."""

    at_us: int


class CancelRequested(Fact, frozen=True):
    """The venue was asked to cancel. `request` as in Placed."""

    request: bytes | None
    at_us: int


class CancelRejected(Fact, frozen=True):
    """The venue refused to cancel."""

    at_us: int


class ExpiryRequested(Fact, frozen=True):
    """The order's time is over: the venue was asked to cancel it."""

    at_us: int


class RolloverFunded(Fact, frozen=True):
    """The old position has matured while the rollover is open: its cash is reserved from now on."""

    amount: Decimal
    at_us: int


class Cancelled(Fact, frozen=True):
    """The order ended without a trade, for one of REASONS; its reservation is released.

    `request` as in Placed.
    """

    reason: str
    request: bytes | None
    at_us: int


_Later = (
    MadePending
    | ExecutionStarted
    | TradeRecorded
    | TradeApplied
    | TradeCorrected
    | TradeBusted
    | Filled
    | TradeSettled
    | Settled
    | CancelRequested
    | CancelRejected
    | Cancelled
    | RolloverFunded
    | ExpiryRequested
)
OrderFact = Placed | _Later

WAITS: Final = {
    "price_too_old": "a fresh price",
    "market_closed": "the opening of its market",
    "pre_trade_check": "a check before it is traded",
    "account_suspended": "the end of its account's suspension",
}
"""Reasons for which an accepted order waits to be sent -> what it waits for."""
REASONS: Final = (
    "requested",
    "unfilled",
    "venue_rejected",
    "below_minimum_quantity",
    "instrument_not_trading",
    "expired",
    "account_closed",
    "matured",
    "below_minimum_amount",
    "trading_rules",
    "account_overdrawn",
    "corporate_action",
    "quantity_too_large",
)

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 8
"""Number of the state's shape: see `streams`."""


class Trade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution; `status` is `executed`, `settled` or `busted`.

    `report` is the parked report it was booked from, None if it did not contradict the order; one that
    `is_late` came after the execution ended, and the order's `settled` does not wait for it. `corrects`
    is a busted trade; `busted_by` the reference of the venue's report that busted this one.
    """

    terms: TradeRecorded
    status: str
    settled_at_us: int | None
    modified_at_us: int
    report: str | None = None
    is_late: bool = False
    corrects: str | None = None
    busted_by: str | None = None


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of an order.

    `ordered` is the units sent to the venue; `consideration` the exact worth of the remaining trades,
    those not busted; `traded_notional` and `charged` are their rounded totals of it and of the fees.
    `drawn` is what they took of the reservation.
    """

    terms: Placed
    status: str
    modified_at_us: int
    venue: str | None = None
    venue_order: str | None = None
    ordered: Decimal = ZERO
    trades: tuple[Trade, ...] = ()
    consideration: Decimal = ZERO
    traded_quantity: Decimal = ZERO
    traded_notional: Decimal = ZERO
    charged: Decimal = ZERO
    cancel_requested: bool = False
    cancelled_reason: str | None = None
    filled_at_us: int | None = None
    settled_at_us: int | None = None
    cancelled_at_us: int | None = None
    pending_reason: str | None = None
    splits: int = 0
    is_funded: bool = False
    drawn: Decimal = ZERO
    is_expiring: bool = False

    @property
    def remaining(self) -> tuple[Trade, ...]:
        """Its trades that were not busted."""
        return tuple([trade for trade in self.trades if trade.status != "busted"])

    @property
    def awaits_receivable(self) -> bool:
        """Whether it spends cash that the old position has not brought yet."""
        return self.terms.purpose == ROLLOVER and not self.is_funded

    @property
    def rolled_into(self) -> str | None:
        """The position that a rollover has bought."""
        is_rollover = self.terms.rolled_from is not None and self.remaining
        return self.remaining[-1].terms.position if is_rollover else None

    @property
    def fees(self) -> Decimal:
        """The quoted fee while a buy waits for its first trade, then the sum charged to its trades."""
        cash_amount, net = self.terms.cash_amount, self.terms.net_cash_amount
        if cash_amount is None or net is None or self.remaining or self.status in _FILLED:
            return self.charged
        return EXACT.subtract(cash_amount, cash_amount if self.status == "cancelled" else net)

    @property
    def net_cash_amount(self) -> Decimal | None:
        """Fixed for a buy; for a sell the proceeds of its trades after fees, None before the first."""
        if self.terms.side == "buy" or not self.trades:
            return self.terms.net_cash_amount
        return EXACT.subtract(self.traded_notional, self.charged)

    @property
    def reserved(self) -> Decimal:
        """The amount reserved in the account: cash of a buy, units of a sell; 0 after execution, and for
        a rollover before its cash has come.
        """
        if self.status not in CANCELLABLE or self.awaits_receivable:
            return ZERO
        return EXACT.subtract(self.terms.amount, self.drawn)

    @property
    def awaits_cancel(self) -> bool:
        """Whether its venue has been asked to cancel it, by its client or at its expiry, and has not
        answered.
        """
        return self.cancel_requested or self.is_expiring

    @property
    def is_cancellable(self) -> bool:
        """Whether a cancel request would have an effect."""
        is_open = self.status in CANCELLABLE and not self.cancel_requested
        return is_open and not self.awaits_receivable

    def knows(self, report: Report) -> bool:
        """Whether the execution of `report` is already booked."""
        key = (report.venue, report.execution_reference)
        booked = ((t.terms.venue, (t.terms.execution_reference, t.busted_by)) for t in self.trades)
        return any(venue == key[0] and key[1] in references for venue, references in booked)

    def executed_as(self, report: Report) -> Trade | None:
        """The trade that a bust or correction refers to."""
        key = (report.venue, report.refers_to)
        return next(
            (t for t in self.trades if (t.terms.venue, t.terms.execution_reference) == key), None
        )

    def trade(self, trade: str) -> Trade | None:
        """One of its trades by id."""
        return next((known for known in self.trades if known.terms.trade == trade), None)


ROLLOVER: Final = "rollover"
"""The purpose of an order that reinvests a maturing position."""
CANCELLABLE: Final = ("placed", "pending", "executing")
TERMINAL: Final = ("settled", "cancelled")
_FILLED: Final = ("filled", "settled")

NEXT: Final[dict[tuple[str | None, type[OrderFact]], str]] = {
    (None, Placed): "placed",
    ("placed", MadePending): "pending",
    ("placed", ExecutionStarted): "executing",
    ("placed", Cancelled): "cancelled",
    ("pending", MadePending): "pending",
    ("pending", ExecutionStarted): "executing",
    ("pending", Cancelled): "cancelled",
    ("executing", TradeRecorded): "executing",
    ("executing", TradeSettled): "executing",
    ("executing", CancelRequested): "executing",
    ("executing", CancelRejected): "executing",
    ("executing", Filled): "filled",
    ("executing", Cancelled): "cancelled",
    ("filled", TradeSettled): "filled",
    ("filled", Settled): "settled",
    ("executing", TradeApplied): "executing",
    ("filled", TradeApplied): "filled",
    ("settled", TradeApplied): "settled",
    ("settled", TradeSettled): "settled",
    ("cancelled", TradeApplied): "cancelled",
    ("cancelled", TradeSettled): "cancelled",
    ("placed", RolloverFunded): "placed",
    ("pending", RolloverFunded): "pending",
    ("executing", RolloverFunded): "executing",
    ("executing", TradeBusted): "executing",
    ("filled", TradeBusted): "filled",
    ("settled", TradeBusted): "settled",
    ("cancelled", TradeBusted): "cancelled",
    ("executing", TradeCorrected): "executing",
    ("filled", TradeCorrected): "filled",
    ("settled", TradeCorrected): "settled",
    ("cancelled", TradeCorrected): "cancelled",
    ("executing", ExpiryRequested): "executing",
}
"""(status, fact) -> status. Missing pairs cannot happen: a repeated or late decision finds no entry and
has no effect."""

# --- decisions -----------------------------------------------------------------------------------


def place(
    order_request: OrderRequest,
    security: Instrument,
    asked: OrderCase,
    price: Price | None,
    fee: FeeRule,
    *,
    net: Decimal | None,
    order: str,
    account: str,
    at_us: int,
    limit: Limit | None = None,
    bid: Decimal | None = None,
    session_ends_us: int | None = None,
) -> Placed:
    """Accepts an order. `net` is the cash that a buy may trade. One with a `limit` has it as its
    `price`; `bid`: the last of the market, whatever its age; `session_ends_us`: the end of one that is
    in force for the day, in business time.

    `account` checks permission and funds. Raises Refused as `checks.check` does, or `missing_price`.
    """
    checks.check(asked)
    quoted = pricing.quoted(price, order_request.side)
    assert price is not None
    terms, is_buy = security.terms, order_request.side == "buy"
    return Placed(
        order=order,
        account=account,
        purpose=order_request.purpose,
        side=order_request.side,
        instrument=security.id,
        instrument_type=terms.instrument_type,
        symbol=terms.symbol,
        name=terms.name,
        currency=terms.trading_currency,
        cash_amount=asked.amount if is_buy else None,
        net_cash_amount=net,
        quantity=None if is_buy and limit is None else asked.quantity,
        fee_rate=fee.rate,
        fee_minimum=fee.minimum,
        price=quoted,
        accrued_interest=price.accrued_interest,
        price_at_us=price.at_us,
        price_type=terms.price_type,
        par_value=terms.par_value,
        trading_increment=terms.trading_increment,
        decimal_precision=terms.decimal_precision,
        settlement_date=asked.settlement_date,
        automatic_rollover=order_request.automatic_rollover,
        request=order_request.request,
        at_us=at_us,
        rounding=CURRENT,
        rolled_from=order_request.rolled_from,
        limit_price=limit.price if limit else None,
        time_in_force=limit.time_in_force if limit else None,
        expires_at_us=session_ends_us if limit and limit.time_in_force == "day" else None,
        quote=order_request.quote,
        bid=bid if limit and bid and not is_buy and bid > limit.price else None,
    )


def make_pending(state: Order, reason: str, *, at_us: int) -> list[Fact]:
    """Lets an order wait for one of WAITS; no facts if it already waits for it."""
    if not can(state, MadePending) or state.pending_reason == reason:
        return []
    return [MadePending(reason, at_us)]


def start_execution(
    state: Order,
    asked: OrderCase,
    price: Price | None,
    venue: str,
    venue_order: str,
    *,
    is_open: bool = True,
    at_us: int,
    splits: int = 0,
    script: Play | None = None,
) -> list[Fact]:
    """Sends it to a venue: a buy for the units that the current price allows, after so many `splits`.

    Cancelled instead if it would now be refused (see `checks.CHECKS`); while its market is closed, or
    without a price, it waits.
    """
    if not can(state, ExecutionStarted):
        return []
    reason = checks.failed(asked)
    if reason:
        return cancel(state, reason, at_us=at_us)
    if not is_open:
        return make_pending(state, "market_closed", at_us=at_us)
    if price is None or asked.quantity is None or not pricing.is_quoted(price, state.terms.side):
        return make_pending(state, "price_too_old", at_us=at_us)
    quoted, accrued = pricing.quoted(price, state.terms.side), price.accrued_interest
    return [ExecutionStarted(venue, venue_order, quoted, accrued, asked.quantity, at_us, splits, script)]


def is_expired(state: Order, business_time_us: int) -> bool:
    """Whether the time for which it is in force is over."""
    return state.terms.expires_at_us is not None and state.terms.expires_at_us <= business_time_us


def expire(state: Order, asked_before: int, *, at_us: int) -> list[Fact]:
    """Ends an order whose time is over: at once if no venue has it, else by asking the venue to cancel.

    A venue that refuses is asked EXPIRY_REQUESTS_MAX times at most; `asked_before`: how often it was.
    """
    if not can(state, ExpiryRequested):
        return cancel(state, "expired", at_us=at_us)
    is_asked = state.awaits_cancel or asked_before >= EXPIRY_REQUESTS_MAX
    return [] if is_asked else [ExpiryRequested(at_us)]


def fill(state: Order, reason: str = "unfilled", *, at_us: int) -> list[Fact]:
    """Ends the venue's execution: filled with any trade, else cancelled for `reason`. It is settled
    too, if all its trades are.
    """
    if not can(state, Filled):
        return []
    if not state.remaining:
        return [Cancelled(reason, None, at_us)]
    filled = Filled(at_us)
    return [filled, *settle(evolve(state, filled), at_us=at_us)]


def settle_trade(state: Order, trade: str, business_date: date, *, at_us: int) -> list[TradeSettled]:
    """Settles one trade on its own date, whether its order still executes or not.

    Raises Refused `not_found`, or `invalid_request` before its settlement date.
    """
    known = state.trade(trade)
    if known is None:
        raise refused("not_found", "The order has no such trade.")
    if known.status != "executed" or not can(state, TradeSettled):
        return []
    due = known.terms.settlement_date
    if business_date < due:
        raise refused("invalid_request", f"The trade settles on {due}, not before.", settlement_date=due)
    return [TradeSettled(trade, at_us)]


def settle(state: Order, *, at_us: int) -> list[Settled]:
    """Settles a filled order whose trades have all settled, except late ones."""
    open_trades = any(trade.status == "executed" and not trade.is_late for trade in state.trades)
    return [Settled(at_us)] if can(state, Settled) and not open_trades else []


def request_cancel(state: Order, *, at_us: int, request: bytes | None = None) -> list[Fact]:
    """Cancels at once if no venue has the order, else asks the venue to cancel.

    Raises Refused `order_cancel_forbidden` when the execution is over, and for a rollover whose old
    position has not matured: the units are not the customer's to take back.
    """
    if state.status == "cancelled" or state.cancel_requested:
        return []
    if state.awaits_receivable:
        assert state.terms.rolled_from is not None
        raise refused("order_cancel_forbidden", position=state.terms.rolled_from.position)
    if can(state, CancelRequested):
        return [CancelRequested(request, at_us)]
    if not can(state, Cancelled):
        raise refused("order_cancel_forbidden", status=state.status)
    return [Cancelled("requested", request, at_us)]


def reject_cancel(state: Order, *, at_us: int) -> list[Fact]:
    """Records the venue's refusal to cancel; it may be asked again."""
    return [CancelRejected(at_us)] if state.awaits_cancel and can(state, CancelRejected) else []


def cancel(state: Order, reason: str, *, at_us: int) -> list[Fact]:
    """Ends an order that is not at a venue, for an internal reason (see REASONS)."""
    with_venue = can(state, CancelRequested)
    return [Cancelled(reason, None, at_us)] if can(state, Cancelled) and not with_venue else []


def can(state: Order, kind: type[Fact]) -> bool:
    """Whether a fact of this kind can follow."""
    return (state.status, kind) in NEXT


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Order | None, fact: OrderFact) -> Order:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    status = NEXT.get((state.status if state else None, type(fact)))
    if status is None:
        raise UnknownFact(f"an order has no {type(fact).__name__} here")
    if isinstance(fact, Placed):
        return Order(fact, status, fact.at_us)
    assert state is not None
    return _moved(replace(state, status=status, modified_at_us=fact.at_us), fact)


def _moved(state: Order, fact: _Later) -> Order:
    """The fields that a fact changes besides the status."""
    match fact:
        case MadePending():
            state = replace(state, pending_reason=fact.reason)
        case ExecutionStarted():
            state = replace(
                state,
                venue=fact.venue,
                venue_order=fact.venue_order,
                ordered=fact.quantity,
                splits=fact.splits,
            )
        case TradeRecorded() | TradeBusted() | TradeSettled():
            state = _traded(state, fact)
        case Filled():
            state = replace(state, filled_at_us=fact.at_us, cancel_requested=False, is_expiring=False)
        case Settled():
            state = replace(state, settled_at_us=fact.at_us)
        case CancelRequested() | CancelRejected():
            state = replace(state, cancel_requested=isinstance(fact, CancelRequested), is_expiring=False)
        case ExpiryRequested():
            state = replace(state, is_expiring=True)
        case RolloverFunded():
            state = replace(state, is_funded=True)
        case Cancelled():
            state = replace(
                state,
                cancelled_reason=fact.reason,
                cancelled_at_us=fact.at_us,
                cancel_requested=False,
                is_expiring=False,
            )
        case _:
            assert_never(fact)
    return state


def _traded(state: Order, fact: TradeRecorded | TradeBusted | TradeSettled) -> Order:
    """The same for the facts of trades."""
    match fact:
        case TradeRecorded():
            state = replace(
                state,
                trades=(*state.trades, _executed(state, fact)),
                consideration=EXACT.add(state.consideration, fact.consideration),
                traded_quantity=EXACT.add(state.traded_quantity, fact.quantity),
                traded_notional=EXACT.add(state.traded_notional, fact.notional),
                charged=EXACT.add(state.charged, fact.fee),
                drawn=EXACT.add(state.drawn, _drawn(state, fact)),
            )
        case TradeBusted():
            state = replace(
                state,
                trades=tuple([_busted(known, fact) for known in state.trades]),
                consideration=EXACT.subtract(state.consideration, fact.consideration),
                traded_quantity=EXACT.subtract(state.traded_quantity, fact.quantity),
                traded_notional=EXACT.subtract(state.traded_notional, fact.notional),
                charged=EXACT.subtract(state.charged, fact.fee),
                drawn=EXACT.subtract(state.drawn, fact.reserved),
            )
        case TradeSettled():
            state = replace(state, trades=tuple([_settled(known, fact) for known in state.trades]))
    return state


def _drawn(state: Order, fact: TradeRecorded) -> Decimal:
    """The part of a trade's cash or units that comes from the reservation."""
    if isinstance(fact, TradeCorrected):
        return fact.reserved
    if isinstance(fact, TradeApplied):
        return ZERO
    return state.terms.spends(fact.quantity, fact.notional, fact.fee)


def _executed(state: Order, fact: TradeRecorded) -> Trade:
    terms = fact
    if type(fact) is not TradeRecorded:
        terms = TradeRecorded(*[getattr(fact, name) for name in TradeRecorded.__struct_fields__])
    known = Trade(terms, "executed", None, fact.at_us)
    if isinstance(fact, TradeApplied):
        return replace(known, report=fact.report, is_late=state.status != "executing")
    if isinstance(fact, TradeCorrected):
        is_late = state.status in TERMINAL
        return replace(known, report=fact.report, is_late=is_late, corrects=fact.corrects)
    return known


def _busted(known: Trade, fact: TradeBusted) -> Trade:
    if known.terms.trade != fact.trade:
        return known
    busted_by = fact.execution_reference
    return replace(known, status="busted", modified_at_us=fact.at_us, busted_by=busted_by)


def _settled(known: Trade, fact: TradeSettled) -> Trade:
    if known.terms.trade != fact.trade:
        return known
    return replace(known, status="settled", settled_at_us=fact.at_us, modified_at_us=fact.at_us)
