"""Moves of accounts against orders and payments: the money half of an audit. Pure.

Inside an append the account's facts come first. Each move must be matched by the fact that causes it; a
move still unmatched at the end of the append has no cause.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, assert_never

from engine.domain import booking, fees, pricing
from engine.domain.account import Account, AccountClosed
from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuySettled,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    PositionClosed,
    PositionOpened,
    SellApplied,
    SellBooked,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.moves import MOVES, legs
from engine.domain.order import (
    Cancelled,
    CancelRejected,
    CancelRequested,
    ExecutionStarted,
    Filled,
    MadePending,
    Order,
    OrderFact,
    Placed,
    RolloverFunded,
    Settled,
    TradeApplied,
    TradeRecorded,
    TradeSettled,
)
from engine.domain.payment import (
    DepositCompleted,
    Payment,
    WithdrawalCompleted,
    WithdrawalFailed,
    WithdrawalOpened,
)
from engine.domain.position import Balance, Position
from engine.domain.report import ReportApplied
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
)
from engine.domain.trading_limits import OrderCounted
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, UNITS, ZERO

MoveKey = tuple[Any, ...]
"""(kind of the account's fact, account, subject, its other words without times)."""

_BOOKED: Final = (
    "order", "trade", "position", "instrument", "currency", "price", "quantity", "notional", "fee",
    "settlement_date",
)  # fmt: skip
_WORDS: Final[dict[type[Fact], Callable[[Any], tuple[Any, ...]]]] = {
    CashDeposited: attrgetter("deposit", "currency", "amount"),
    CashWithdrawn: attrgetter("withdrawal", "currency", "amount"),
    FundsReserved: attrgetter("subject", "currency", "amount"),
    FundsReleased: attrgetter("subject", "currency", "amount"),
    UnitsReserved: attrgetter("order", "instrument", "quantity"),
    UnitsReleased: attrgetter("order", "instrument", "quantity"),
    BuyBooked: attrgetter(*_BOOKED),
    SellBooked: attrgetter(*_BOOKED),
    BuyApplied: attrgetter(*_BOOKED),
    SellApplied: attrgetter(*_BOOKED),
    BuySettled: attrgetter("order", "trade", "position", "instrument"),
    SellSettled: attrgetter("order", "trade", "position", "instrument", "currency", "proceeds"),
    CouponPaid: attrgetter("coupon", "action", "instrument", "currency", "units", "amount"),
    DividendPaid: attrgetter("dividend", "action", "instrument", "currency", "units", "amount"),
    PositionMatured: attrgetter("position", "action", "instrument", "currency", "quantity", "amount"),
    PositionSplit: attrgetter("position", "action", "instrument", "quantity_after", "amount"),
    RolloverReserved: attrgetter("order", "position", "instrument", "quantity", "currency", "amount"),
    RolloverReleased: attrgetter("order", "position", "instrument", "quantity"),
    RolloverBooked: attrgetter(*_BOOKED),
    RolloverPaid: attrgetter(*_BOOKED),
}
"""Fact of an account -> the words that its cause must contain; the first is the cause's id."""
_MAY_BE_ZERO: Final = frozenset({"fee", "notional", "proceeds"})
_MAY_MOVE_NOTHING: Final = (PositionSplit, BuySettled)
"""Facts all of whose amounts may be 0: a split may leave no unit of a position, or of a trade."""
_APPLIED: Final = (BuyApplied, SellApplied)
_OF_POSITIONS: Final = (BuyBooked, SellBooked, *_APPLIED, BuySettled, SellSettled, PositionClosed)
_OWN: Final = frozenset({"settled", "unsettled", "reserved"})


class Inconsistency(Exception):
    """A violated invariant. `check` is one of `audit.CHECKS`."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(text)
        self.check = check


class Books:
    """The open append, and all reservations."""

    def __init__(self) -> None:
        self.reserved: dict[str, Decimal] = {}
        """Order or withdrawal -> amounts reserved for it in accounts, if not zero."""
        self.elsewhere: dict[tuple[str, str], Decimal] = {}
        """(asset, currency or instrument) -> total outside of accounts: fees, banks, venues."""
        self.held: dict[tuple[str, str], Decimal] = {}
        """The same inside accounts, summed from their states."""
        self._moved: dict[MoveKey, int] = {}
        self._touched: dict[tuple[str, str], tuple[int, Account]] = {}
        self._settling: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._applied: dict[tuple[str, str], tuple[int, str]] = {}
        self._delivered: dict[str, tuple[Position, Decimal]] = {}

    # --- accounts ---------------------------------------------------------------------------------

    def account(
        self, position: int, stream: str, before: Account | None, after: Account, fact: Any
    ) -> None:
        """One fact of an account. Raises Inconsistency."""
        kind = type(fact)
        if kind in MOVES:
            assert before is not None
            self._move(position, stream, before, after, fact)
        elif kind is OrderCounted:
            self._counted[fact.order] = position
        elif kind is AccountClosed and not after.holdings.is_empty:
            raise Inconsistency("reserved", "it is closed, and holds something")
        if kind is PositionOpened or kind in _OF_POSITIONS:
            assert before is not None
            self._touched[stream, fact.instrument] = position, after
            _check_position(before, fact)

    def _move(self, position: int, stream: str, before: Account, after: Account, fact: Any) -> None:
        words = _WORDS[type(fact)](fact)
        for move in MOVES[type(fact)]:
            amount = getattr(fact, move.amount)
            may_be_zero = move.amount in _MAY_BE_ZERO or isinstance(fact, _MAY_MOVE_NOTHING)
            if amount < 0 or (not amount and not may_be_zero):
                raise Inconsistency("negative", f"it moves {amount}")
        for asset, of, place, amount in legs(fact):
            key = asset, of
            if place not in _OWN:
                self.elsewhere[key] = EXACT.add(self.elsewhere.get(key, ZERO), amount)
            elif place == "reserved":
                self._reserve(words[0], amount)
        if hasattr(fact, "currency") and type(fact) is not BuySettled:
            of = fact.currency
            was = before.holdings.balance(of)
            self._balance("cash", of, was, after.holdings.balance(of), fact)
        if hasattr(fact, "instrument"):
            of, known = fact.instrument, before.holdings.positions.get(fact.instrument)
            units = known.units if known else Balance()
            if known is not None and type(fact) is BuySettled:
                self._delivered[fact.trade] = known, fact.quantity
            self._balance("units", of, units, after.holdings.positions[of].units, fact)
        done: MoveKey = (type(fact), stream, *words)
        if done in self._moved:
            raise Inconsistency("agreement", "the same move twice in one append")
        self._moved[done] = position

    def _balance(self, asset: str, of: str, before: Balance, after: Balance, fact: Fact) -> None:
        key = asset, of
        more = EXACT.subtract(after.total, before.total)
        held = self.held[key] = EXACT.add(self.held.get(key, ZERO), more)
        if EXACT.add(held, self.elsewhere.get(key, ZERO)):
            raise Inconsistency("sum", f"{asset} of {of} do not sum to 0 over all places")
        # Only a trade from a parked report may overdraw an account.
        least = after.available if isinstance(fact, _APPLIED) else min(before.available, ZERO)
        if after.available < least or after.unsettled < 0 or after.reserved < 0:
            raise Inconsistency(
                "negative",
                f"{asset} of {of}: {after.available} available, {after.unsettled} unsettled,"
                f" {after.reserved} reserved",
            )

    def _reserve(self, subject: str, amount: Decimal) -> None:
        rest = EXACT.add(self.reserved.get(subject, ZERO), amount)
        if rest:
            self.reserved[subject] = rest
        else:
            self.reserved.pop(subject, None)

    # --- orders and payments ----------------------------------------------------------------------

    def order(
        self,
        position: int,
        stream: str,
        before: Order | None,
        after: Order,
        fact: OrderFact,
        *,
        agrees: bool,
    ) -> None:
        """One fact of an order. Raises Inconsistency. With `agrees` its account is checked too."""
        if isinstance(fact, MadePending) and before and before.pending_reason == fact.reason:
            raise Inconsistency("terms", f"it waits for {fact.reason} already")
        due = self._due(position, stream, before, after, fact)
        if isinstance(fact, TradeApplied):
            self._apply(position, stream, fact.report, fact.trade)
        if agrees:
            self._meet(due)
            self._check_reserved(stream, after.reserved, after.status)

    def _due(
        self, position: int, stream: str, before: Order | None, after: Order, fact: OrderFact
    ) -> MoveKey | None:
        """The account's fact required in the same append. Raises Inconsistency."""
        due: MoveKey | None = None
        if isinstance(fact, Placed):
            self._counted.pop(stream, None)
            return _reservation(stream, after.terms)
        assert before is not None
        match fact:
            case TradeRecorded():
                due = _booking(stream, before, after, fact)
            case TradeSettled():
                due = self._settled(position, stream, before, after, fact)
            case Filled() | Cancelled():
                due = _release(stream, before, type(fact))
            case Settled():
                self._settling.pop(stream, None)
                if not _is_settled(after):
                    raise Inconsistency("reserved", "it is settled, and not all of its trades are")
            case ExecutionStarted(quantity=quantity) if quantity <= 0:
                raise Inconsistency("terms", f"the venue is asked for {quantity}")
            case ExecutionStarted() | MadePending() | CancelRequested() | CancelRejected():
                pass
            case RolloverFunded(amount=amount):
                due = (FundsReserved, after.terms.account, stream, after.terms.currency, amount)
            case _:
                assert_never(fact)
        return due

    def _settled(
        self, position: int, stream: str, before: Order, after: Order, fact: TradeSettled
    ) -> MoveKey:
        if after.status == "filled" and _is_settled(after):
            self._settling[stream] = position
        due = _settlement(stream, before, fact)
        held, quantity = self._delivered.pop(fact.trade, (None, ZERO))
        done = before.trade(fact.trade)
        if held is not None and done is not None:
            units = held.settling(done.terms.quantity, before.splits)
            if units != quantity or (not units and not held.scales):
                raise Inconsistency(
                    "agreement", f"{fact.trade} delivers {quantity} units, due are {units}"
                )
        return due

    def report(self, position: int, stream: str, fact: Fact) -> None:
        """One fact of a parked report."""
        if isinstance(fact, ReportApplied):
            self._apply(position, stream, stream, fact.trade)

    def _apply(self, position: int, stream: str, report: str, trade: str) -> None:
        """A parked report and its booked trade must refer to each other in one append."""
        if self._applied.pop((report, trade), None) is None:
            self._applied[report, trade] = position, stream

    def payment(self, stream: str, after: Payment, fact: Any, *, agrees: bool) -> None:
        """One fact of a deposit or a withdrawal. Raises Inconsistency."""
        if after.amount <= 0:
            raise Inconsistency("terms", f"it is of {after.amount}")
        kind = _PAID.get(type(fact))
        is_open = after.kind == "withdrawal" and after.status == "open"
        if agrees:
            if kind is not None:
                self._meet((kind, after.account, stream, after.currency, after.amount))
            self._check_reserved(stream, after.amount if is_open else ZERO, after.status)

    def _meet(self, due: MoveKey | None) -> None:
        if due is not None and self._moved.pop(due, None) is None:
            kind, account, subject, *words = due
            said = ", ".join(map(str, words))
            raise Inconsistency(
                "agreement", f"{account} has no {kind.__name__} of {said} for {subject} here"
            )

    def _check_reserved(self, stream: str, due: Decimal, status: str) -> None:
        reserved = self.reserved.get(stream, ZERO)
        if reserved != due:
            raise Inconsistency("reserved", f"it is {status} and needs {due}, reserved is {reserved}")

    # --- appends ----------------------------------------------------------------------------------

    def end_append(self, broken: Collection[str]) -> list[tuple[int, str, Inconsistency]]:
        """(position, stream, fault) of everything the append leaves unmatched.

        Streams in `broken` are skipped.
        """
        if not (self._moved or self._counted or self._touched or self._settling or self._applied):
            return []
        found: list[tuple[int, str, Inconsistency]] = []
        for (kind, account, subject, *_), position in self._moved.items():
            if subject not in broken:
                words = f"{kind.__name__} for {subject}, which does not say so"
                found.append((position, account, Inconsistency("agreement", words)))
        for order, position in self._counted.items():
            found.append((position, order, Inconsistency("agreement", "it is counted, and not placed")))
        for (account, instrument), (position, state) in self._touched.items():
            wrong = _half_closed(state.holdings.positions[instrument])
            if wrong:
                found.append((position, account, wrong))
        for order, position in self._settling.items():
            found.append(
                (position, order, Inconsistency("reserved", "all its trades are settled, and it is not"))
            )
        for (report, trade), (position, stream) in self._applied.items():
            words = f"{trade} is booked from {report}, and only one of the two says so"
            found.append((position, stream, Inconsistency("agreement", words)))
        self._moved, self._counted, self._touched, self._settling = {}, {}, {}, {}
        self._applied, self._delivered = {}, {}
        return [one for one in found if one[1] not in broken]


def _half_closed(held: Position) -> Inconsistency | None:
    is_closed, units = held.closed_at_us is not None, held.units.total
    is_over = bool(held.total_buy_trades) and not held.unsettled_trades and not units
    if is_closed == is_over and held.unsettled_trades >= 0:
        return None
    state = "closed" if is_closed else "open"
    text = f"{held.id} is {state} with {units} units and {held.unsettled_trades} trades to settle"
    return Inconsistency("holding", text)


_PAID: Final[dict[type[Fact], type[Fact]]] = {
    DepositCompleted: CashDeposited,
    WithdrawalOpened: FundsReserved,
    WithdrawalCompleted: CashWithdrawn,
    WithdrawalFailed: FundsReleased,
}


def _check_position(before: Account, fact: Any) -> None:
    known = before.holdings.positions.get(fact.instrument)
    is_open = known is not None and known.closed_at_us is None
    if type(fact) is PositionOpened:
        if is_open:
            raise Inconsistency("holding", f"{fact.position} is opened while another is open")
    elif not is_open or known is None or known.id != fact.position:
        raise Inconsistency("holding", f"{fact.position} is not open")


def _is_settled(order: Order) -> bool:
    return all(trade.status != "executed" or trade.is_late for trade in order.trades)


def _reservation(stream: str, terms: Placed) -> MoveKey:
    if terms.cash_amount is not None:
        net = terms.net_cash_amount
        quoted = fees.of_amount(terms.fee_rule, terms.cash_amount, UNITS[terms.currency])
        if net is None or net <= 0 or EXACT.subtract(terms.cash_amount, net) != quoted:
            raise Inconsistency("terms", f"{terms.cash_amount} less {quoted} in fees are not {net}")
        return FundsReserved, terms.account, stream, terms.currency, terms.cash_amount
    return UnitsReserved, terms.account, stream, terms.instrument, terms.quantity


def _booking(stream: str, before: Order, after: Order, trade: TradeRecorded) -> MoveKey:
    terms = before.terms
    if before.trade(trade.trade) is not None:
        raise Inconsistency("terms", f"{trade.trade} is recorded twice")
    is_applied = isinstance(trade, TradeApplied)
    if trade.quantity <= 0 or (after.traded_quantity > before.ordered and not is_applied):
        raise Inconsistency("terms", f"{after.traded_quantity} of {before.ordered} are traded")
    unit = pricing.unit_price(trade.price, trade.accrued_interest, terms.price_type, terms.par_value)
    if EXACT.multiply(trade.quantity, unit) != trade.consideration:
        raise Inconsistency("terms", f"{trade.trade} is not worth {trade.consideration}")
    if terms.notional_of(after.consideration) != after.traded_notional:
        raise Inconsistency("terms", f"all trades are not worth {after.traded_notional}")
    net = terms.net_cash_amount
    if net is not None and after.traded_notional > net and not is_applied:
        raise Inconsistency("terms", f"{after.traded_notional} of {net} are spent")
    due = booking.fees_at(terms, after.traded_notional)
    if after.charged != due:
        raise Inconsistency("terms", f"fees are {after.charged}, due are {due}")
    kinds = _APPLIED if is_applied else (BuyBooked, SellBooked)
    kind = kinds[0] if terms.side == "buy" else kinds[1]
    return (
        kind, terms.account, stream, trade.trade, trade.position, terms.instrument, terms.currency,
        trade.price, trade.quantity, trade.notional, trade.fee, trade.settlement_date,
    )  # fmt: skip


def _settlement(stream: str, before: Order, fact: TradeSettled) -> MoveKey:
    terms, trade = before.terms, before.trade(fact.trade)
    if trade is None or trade.status != "executed":
        raise Inconsistency("reserved", f"{fact.trade} is settled twice, or is none of its trades")
    done = trade.terms
    common = (terms.account, stream, fact.trade, done.position, terms.instrument)
    if terms.side == "buy":
        return BuySettled, *common
    return SellSettled, *common, terms.currency, EXACT.subtract(done.notional, done.fee)


def _release(stream: str, before: Order, kind: type[Fact]) -> MoveKey | None:
    terms, rest = before.terms, before.reserved
    if bool(before.trades) != (kind is Filled):
        raise Inconsistency("reserved", f"it is {kind.__name__} with {len(before.trades)} trades")
    if not rest:
        return None
    if terms.side == "buy":
        return FundsReleased, terms.account, stream, terms.currency, rest
    return UnitsReleased, terms.account, stream, terms.instrument, rest
