"""The account's fact that a fact of an order or a payment asks for, in the same append. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from engine.audit.inconsistency import Inconsistency
from engine.domain import booking, fees
from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    BuySettled,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.order import (
    ROLLOVER,
    Filled,
    Order,
    Placed,
    RolloverFunded,
    Trade,
    TradeApplied,
    TradeBusted,
    TradeCorrected,
    TradeRecorded,
    TradeSettled,
)
from engine.domain.payment import (
    DepositCompleted,
    WithdrawalCompleted,
    WithdrawalFailed,
    WithdrawalOpened,
)
from engine.domain.position import Position
from engine.domain.servicing import RolloverBooked, RolloverReleased, RolloverReserved
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, UNITS, ZERO

MoveKey = tuple[Any, ...]
"""(kind of the account's fact, account, subject, its other words without times)."""

_BOOKED: Final = (
    "order", "trade", "position", "instrument", "currency", "price", "quantity", "notional", "fee",
    "settlement_date",
)  # fmt: skip
_CORRECTED: Final = (*_BOOKED, "corrects", "reserved")
_BUSTED: Final = (
    "order", "trade", "position", "instrument", "currency", "quantity", "notional", "fee", "reserved",
    "settlement_date", "is_settled",
)  # fmt: skip
WORDS: Final[dict[type[Fact], Callable[[Any], tuple[Any, ...]]]] = {
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
    BuyCorrected: attrgetter(*_CORRECTED),
    SellCorrected: attrgetter(*_CORRECTED),
    BuyBusted: attrgetter(*_BUSTED),
    SellBusted: attrgetter(*_BUSTED),
    BuySettled: attrgetter("order", "trade", "position", "instrument"),
    SellSettled: attrgetter("order", "trade", "position", "instrument", "currency", "proceeds"),
    RolloverReserved: attrgetter("order", "position", "instrument", "quantity", "currency", "amount"),
    RolloverReleased: attrgetter("order", "position", "instrument", "quantity"),
    RolloverBooked: attrgetter(*_BOOKED),
}
"""Fact of an account -> the words that its cause must contain; the first is the cause's id."""
PAID: Final[dict[type[Fact], type[Fact]]] = {
    DepositCompleted: CashDeposited,
    WithdrawalOpened: FundsReserved,
    WithdrawalCompleted: CashWithdrawn,
    WithdrawalFailed: FundsReleased,
}


"""Fact of a payment -> that of its account."""


def is_settled(order: Order) -> bool:
    return all(trade.status != "executed" or trade.is_late for trade in order.trades)


def reservation(stream: str, terms: Placed) -> MoveKey:
    if terms.cash_amount is not None:
        net = terms.net_cash_amount
        quoted = fees.of_amount(terms.fee_rule, terms.cash_amount, UNITS[terms.currency])
        if net is None or net <= 0 or EXACT.subtract(terms.cash_amount, net) != quoted:
            raise Inconsistency("terms", f"{terms.cash_amount} less {quoted} in fees are not {net}")
        pledge = terms.rolled_from
        if (pledge is not None) != (terms.purpose == ROLLOVER):
            raise Inconsistency("terms", f"a {terms.purpose} reinvests {pledge}")
        if pledge is not None:
            return (
                RolloverReserved, terms.account, stream, pledge.position, pledge.instrument,
                pledge.quantity, terms.currency, terms.cash_amount,
            )  # fmt: skip
        return FundsReserved, terms.account, stream, terms.currency, terms.cash_amount
    return UnitsReserved, terms.account, stream, terms.instrument, terms.quantity


def booked_as(stream: str, before: Order, after: Order, trade: TradeRecorded) -> MoveKey:
    terms = before.terms
    if before.trade(trade.trade) is not None:
        raise Inconsistency("terms", f"{trade.trade} is recorded twice")
    is_applied = isinstance(trade, TradeApplied)
    if isinstance(trade, TradeCorrected):
        is_applied = trade.report is not None
        _check_correction(before, trade)
    if trade.quantity <= 0 or (after.traded_quantity > before.ordered and not is_applied):
        raise Inconsistency("terms", f"{after.traded_quantity} of {before.ordered} are traded")
    if not booking.is_worth(trade, terms):
        raise Inconsistency("terms", f"{trade.trade} is not worth {trade.consideration}")
    net = terms.net_cash_amount
    if net is not None and after.traded_notional > net and not is_applied:
        raise Inconsistency("terms", f"{after.traded_notional} of {net} are spent")
    _check_totals(after)
    bought = RolloverBooked if before.awaits_receivable else BuyBooked
    kinds = (BuyApplied, SellApplied) if is_applied else (bought, SellBooked)
    if isinstance(trade, TradeCorrected):
        kinds = BuyCorrected, SellCorrected
    kind = kinds[0] if terms.side == "buy" else kinds[1]
    key = (
        kind, terms.account, stream, trade.trade, trade.position, terms.instrument, terms.currency,
        trade.price, trade.quantity, trade.notional, trade.fee, trade.settlement_date,
    )  # fmt: skip
    return (*key, trade.corrects, trade.reserved) if isinstance(trade, TradeCorrected) else key


def busted_as(stream: str, before: Order, after: Order, fact: TradeBusted) -> MoveKey:
    terms, known = before.terms, before.trade(fact.trade)
    if known is None or known.status == "busted":
        raise Inconsistency("terms", f"{fact.trade} is busted twice, or is none of its trades")
    done = known.terms
    if (fact.quantity, fact.consideration) != (done.quantity, done.consideration):
        raise Inconsistency("terms", f"{fact.trade} was of {done.quantity} units")
    _check_totals(after)
    back = terms.spends(fact.quantity, fact.notional, fact.fee)
    _check_drawn(before, fact.reserved, min(back, before.drawn))
    return (
        BuyBusted if terms.side == "buy" else SellBusted, terms.account, stream, fact.trade,
        fact.position, terms.instrument, terms.currency, fact.quantity, fact.notional, fact.fee,
        fact.reserved, done.settlement_date, known.status == "settled",
    )  # fmt: skip


def _check_correction(before: Order, trade: TradeCorrected) -> None:
    """It is in place of a trade that the same report busted."""
    wrong = before.trade(trade.corrects)
    if wrong is None or wrong.busted_by != trade.execution_reference:
        raise Inconsistency("terms", f"{trade.trade} corrects {trade.corrects}, which it did not bust")
    needed = before.terms.spends(trade.quantity, trade.notional, trade.fee)
    _check_drawn(before, trade.reserved, min(needed, before.reserved))


def _check_drawn(before: Order, reserved: Decimal, due: Decimal) -> None:
    """A bust gives back to a reservation, and a correction draws on it, while the order executes."""
    due = due if before.status == "executing" else ZERO
    if reserved != due:
        raise Inconsistency("reserved", f"{reserved} is reserved or drawn, due are {due}")


def due_of(before: Order, trade: Trade, held: Position) -> Decimal:
    """The part of a trade that a bust takes out of what is to settle."""
    done = trade.terms
    if trade.status == "settled":
        return ZERO
    if before.terms.side == "buy":
        return held.settling(done.quantity, before.splits)
    return EXACT.subtract(done.notional, done.fee)


def _check_totals(order: Order) -> None:
    """An order's rounded totals are those of its remaining trades."""
    terms = order.terms
    if terms.notional_of(order.consideration) != order.traded_notional:
        raise Inconsistency("terms", f"all trades are not worth {order.traded_notional}")
    due = booking.fees_at(terms, order.traded_notional) if order.remaining else ZERO
    if order.charged != due:
        raise Inconsistency("terms", f"fees are {order.charged}, due are {due}")


def settlement(stream: str, before: Order, fact: TradeSettled) -> MoveKey:
    terms, trade = before.terms, before.trade(fact.trade)
    if trade is None or trade.status != "executed":
        raise Inconsistency("reserved", f"{fact.trade} is settled twice, or is none of its trades")
    done = trade.terms
    common = (terms.account, stream, fact.trade, done.position, terms.instrument)
    if terms.side == "buy":
        return BuySettled, *common
    return SellSettled, *common, terms.currency, EXACT.subtract(done.notional, done.fee)


def funding(stream: str, order: Order, fact: RolloverFunded) -> MoveKey | None:
    """The reservation of what a rollover may still spend once its position has matured."""
    if not fact.amount:
        return None
    return FundsReserved, order.terms.account, stream, order.terms.currency, fact.amount


def release(stream: str, before: Order, kind: type[Fact]) -> MoveKey | None:
    terms, rest = before.terms, before.reserved
    if bool(before.remaining) != (kind is Filled):
        raise Inconsistency("reserved", f"it is {kind.__name__} with {len(before.remaining)} trades")
    pledge = terms.rolled_from
    if pledge is not None and before.awaits_receivable and not before.trades:
        return (
            RolloverReleased, terms.account, stream, pledge.position, pledge.instrument,
            pledge.quantity,
        )  # fmt: skip
    if not rest:
        return None
    if terms.side == "buy":
        return FundsReleased, terms.account, stream, terms.currency, rest
    return UnitsReleased, terms.account, stream, terms.instrument, rest
