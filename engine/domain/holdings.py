"""An account's holdings: cash, positions, and what orders do to them. See docs/money.md.

Part of the account's stream and state. `moves` lists what each fact moves from which place to which.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.domain import position
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
from engine.domain.moves import HoldingsFact
from engine.domain.order import Order, Placed, Trade, TradeApplied, TradeRecorded
from engine.domain.payment import Payment
from engine.domain.position import CASH_MOVES, Balance, Position, PositionFact, moved
from engine.domain.servicing import (
    SKIPPED,
    PositionMatured,
    RolloverBooked,
    RolloverReleased,
    RolloverReserved,
    RolloverSkipped,
)
from engine.kernel.fact import Fact
from engine.kernel.limits import ROLLOVERS_MAX
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, UNITS, ZERO

# --- state ---------------------------------------------------------------------------------------


class Holdings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`cash` by currency; `positions` by instrument, the last of each, open or not.

    `rollovers`: order -> the instrument whose maturity it reinvests.
    """

    cash: dict[str, Balance] = {}
    positions: dict[str, Position] = {}
    rollovers: dict[str, str] = {}

    def balance(self, currency: str) -> Balance:
        """The cash of a currency; zeros at scale if it never had any."""
        known = self.cash.get(currency)
        if known is None:
            known = Balance.zero(UNITS[currency])
        return known

    def held(self, instrument: str) -> Decimal:
        """The units of an instrument, by trade date."""
        known = self.positions.get(instrument)
        return known.units.total if known else ZERO

    def available(self, instrument: str) -> Decimal:
        """The units of an instrument that no order has reserved."""
        known = self.positions.get(instrument)
        return known.units.available if known else ZERO

    @property
    def lacking(self) -> dict[str, Decimal]:
        """Currency or instrument -> by how much available cash or units are below 0."""
        units = {of: held.units for of, held in self.positions.items()}
        free = {of: balance.available for of, balance in (self.cash | units).items()}
        return {of: EXACT.minus(available) for of, available in free.items() if available < 0}

    @property
    def is_empty(self) -> bool:
        """Whether there is no cash, no unit and no unsettled trade."""
        no_cash = not any(balance.total for balance in self.cash.values())
        return no_cash and all(known.status == "closed" for known in self.positions.values())


# --- decisions -----------------------------------------------------------------------------------


def pay(payment: Payment, *, at_us: int) -> list[Fact]:
    """Books a completed payment."""
    kind = CashDeposited if payment.kind == "deposit" else CashWithdrawn
    return [kind(payment.id, payment.currency, payment.amount, at_us)]


def release_withdrawal(payment: Payment, *, at_us: int) -> list[Fact]:
    """Releases the reservation of a failed withdrawal; a failed deposit has none."""
    if payment.kind == "deposit":
        return []
    return [FundsReleased(payment.id, payment.currency, payment.amount, at_us)]


def reserve_withdrawal(
    state: Holdings, withdrawal: str, currency: str, amount: Decimal, *, at_us: int
) -> list[Fact]:
    """Reserves withdrawable cash. Raises Refused `insufficient_funds`."""
    withdrawable = state.balance(currency).withdrawable
    if amount > withdrawable:
        raise refused(
            "insufficient_funds",
            purpose="withdrawal",
            currency=currency,
            required=amount,
            available=withdrawable,
        )
    return [FundsReserved(withdrawal, currency, amount, at_us)]


def reserve(state: Holdings, placed: Placed) -> list[Fact]:
    """Reserves the cash of a buy, the units of a sell, or those that a rollover reinvests.

    Raises Refused `insufficient_funds` or `insufficient_units`.
    """
    pledge = placed.rolled_from
    if pledge is not None:
        assert placed.cash_amount is not None
        reserved = RolloverReserved(
            order=placed.order,
            position=pledge.position,
            instrument=pledge.instrument,
            quantity=pledge.quantity,
            currency=placed.currency,
            amount=placed.cash_amount,
            at_us=placed.at_us,
        )
        return [reserved]
    if placed.cash_amount is not None:
        available = state.balance(placed.currency).available
        if placed.cash_amount > available:
            raise refused(
                "insufficient_funds",
                purpose="order",
                currency=placed.currency,
                required=placed.cash_amount,
                available=available,
            )
        return [FundsReserved(placed.order, placed.currency, placed.cash_amount, placed.at_us)]
    assert placed.quantity is not None
    held = state.positions.get(placed.instrument)
    available = held.units.available if held else ZERO
    if placed.quantity > available:
        raise refused(
            "insufficient_units",
            instrument=placed.instrument,
            required=placed.quantity,
            available=available,
        )
    return [UnitsReserved(placed.order, placed.instrument, placed.quantity, placed.at_us)]


def release(order: Order, *, reason: str | None = None, at_us: int) -> list[Fact]:
    """Releases the part of an order's reservation that is no longer needed. `reason`: why it ends
    without a trade.

    A rollover's units stay reserved for its trades until the maturity; without a trade they mature as
    cash, and are not rolled over again.
    """
    terms, amount, pledge = order.terms, order.reserved, order.terms.rolled_from
    if pledge is not None and order.awaits_receivable and not order.trades:
        position, instrument = pledge.position, pledge.instrument
        told = "account_closing" if reason == "account_closed" else reason
        told = told if told in SKIPPED else "unfilled"
        return [
            RolloverReleased(terms.order, position, instrument, pledge.quantity, at_us),
            RolloverSkipped(position, instrument, told, at_us),
        ]
    if not amount:
        return []
    if terms.side == "buy":
        return [FundsReleased(terms.order, terms.currency, amount, at_us)]
    return [UnitsReleased(terms.order, terms.instrument, amount, at_us)]


def position_for(state: Holdings, instrument: str, fresh: str) -> str:
    """The id of the position for a trade: the last one unless it is closed, else `fresh`."""
    known = state.positions.get(instrument)
    return known.id if known and known.status != "closed" else fresh


def opening(state: Holdings, order: Order, position: str, at_us: int) -> list[Fact]:
    """Opens the position of a trade, unless it is open."""
    terms, known = order.terms, state.positions.get(order.terms.instrument)
    if known is not None and known.id == position:
        return []
    opened = PositionOpened(
        position,
        terms.instrument,
        terms.currency,
        terms.decimal_precision,
        at_us,
        order.splits,
    )
    return [opened]


def book(state: Holdings, order: Order, trade: TradeRecorded) -> list[Fact]:
    """Moves the cash, the fee and the units of one trade; a first buy opens the position."""
    terms = order.terms
    is_applied = isinstance(trade, TradeApplied)
    booked = opening(state, order, trade.position, trade.at_us)
    if terms.side == "sell":
        sold = SellApplied if is_applied else SellBooked
        sale = sold(
            order=terms.order,
            trade=trade.trade,
            position=trade.position,
            instrument=terms.instrument,
            currency=terms.currency,
            price=trade.price,
            quantity=trade.quantity,
            notional=trade.notional,
            fee=trade.fee,
            settlement_date=trade.settlement_date,
            at_us=trade.at_us,
        )
        return [*booked, sale]
    bought = BuyApplied if is_applied else RolloverBooked if order.awaits_receivable else BuyBooked
    purchase = bought(
        order=terms.order,
        trade=trade.trade,
        position=trade.position,
        instrument=terms.instrument,
        currency=terms.currency,
        price=trade.price,
        quantity=trade.quantity,
        notional=trade.notional,
        fee=trade.fee,
        settlement_date=trade.settlement_date,
        automatic_rollover=terms.automatic_rollover,
        at_us=trade.at_us,
    )
    return [*booked, purchase]


def settle(state: Holdings, order: Order, trade: Trade, *, at_us: int) -> list[Fact]:
    """Settles one trade; the last one of an empty position closes it."""
    terms, done = order.terms, trade.terms
    common = (terms.order, done.trade, done.position, terms.instrument)
    held = state.positions[terms.instrument]
    settled: list[Fact] = [
        BuySettled(*common, held.settling(done.quantity, order.splits), at_us)
        if terms.side == "buy"
        else SellSettled(*common, terms.currency, EXACT.subtract(done.notional, done.fee), at_us)
    ]
    if held.unsettled_trades == 1 and not held.units.total:
        settled.append(PositionClosed(held.id, held.instrument, at_us))
    return settled


# --- evolve --------------------------------------------------------------------------------------

_OfCash = FundsReserved | FundsReleased | CashDeposited | CashWithdrawn


def evolve(state: Holdings, fact: HoldingsFact) -> Holdings:
    """The holdings after a fact of FACTS."""
    cash, positions, rollovers = state.cash, state.positions, state.rollovers
    moves = CASH_MOVES.get(type(fact))
    if moves:
        of: Any = fact
        cash = cash | {of.currency: moved(state.balance(of.currency), moves, fact)}
    if not isinstance(fact, _OfCash):
        instrument = fact.instrument
        positions = positions | {instrument: position.evolve(positions.get(instrument), fact)}
        if rollovers or isinstance(fact, RolloverReserved):
            positions, rollovers = _rolled(positions, rollovers, fact)
    elif rollovers and isinstance(fact, FundsReleased):
        rollovers = _without(rollovers, fact.subject)
    return Holdings(cash, positions, rollovers)


def _rolled(
    positions: dict[str, Position], rollovers: dict[str, str], fact: PositionFact
) -> tuple[dict[str, Position], dict[str, str]]:
    """Positions that name each other, and the open rollovers, after a fact."""
    match fact:
        case RolloverReserved():
            kept = dict(list(rollovers.items())[-ROLLOVERS_MAX + 1 :])
            return positions, kept | {fact.order: fact.instrument}
        case RolloverReleased():
            return positions, _without(rollovers, fact.order)
        case PositionMatured(rollover=None):
            ended = [order for order, instrument in rollovers.items() if instrument == fact.instrument]
            for order in ended:
                rollovers = _without(rollovers, order)
        case BuyBooked() if fact.order in rollovers:
            old, new = positions[rollovers[fact.order]], positions[fact.instrument]
            links = dict.fromkeys((*new.rolled_from, old.id))
            new = replace(new, rolled_from=tuple(links)[-ROLLOVERS_MAX:])
            old = replace(old, rolled_into=new.id)
            return positions | {old.instrument: old, new.instrument: new}, rollovers
    return positions, rollovers


def _without(rollovers: dict[str, str], order: str) -> dict[str, str]:
    return {known: instrument for known, instrument in rollovers.items() if known != order}
