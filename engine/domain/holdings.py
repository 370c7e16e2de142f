"""An account's holdings: cash, positions, and their moves. See docs/money.md.

Part of the account's stream and state. Cash of a currency and units of an instrument are held in
*places*. The account's own are `settled`, `unsettled` and `reserved`; `fees` and `outside` (banks,
venues) are not. A fact moves amounts between places, as listed in MOVES, so its debits and credits sum
to zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple, assert_never, get_args

import msgspec
from msgspec.structs import replace

from engine.domain import pricing
from engine.domain.order import Order, Placed, Trade, TradeApplied, TradeRecorded
from engine.domain.payment import Payment
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, STEPS, UNITS, ZERO, zero_like

# --- facts ---------------------------------------------------------------------------------------


class CashDeposited(Fact, frozen=True):
    """Money was received."""

    deposit: str
    currency: str
    amount: Decimal
    at_us: int


class CashWithdrawn(Fact, frozen=True):
    """Reserved money was paid out."""

    withdrawal: str
    currency: str
    amount: Decimal
    at_us: int


class FundsReserved(Fact, frozen=True):
    """Cash was reserved for an order or a withdrawal, `subject`."""

    subject: str
    currency: str
    amount: Decimal
    at_us: int


class FundsReleased(Fact, frozen=True):
    """Cash that `subject` did not need was released."""

    subject: str
    currency: str
    amount: Decimal
    at_us: int


class UnitsReserved(Fact, frozen=True):
    """Units were reserved for a sell."""

    order: str
    instrument: str
    quantity: Decimal
    at_us: int


class UnitsReleased(Fact, frozen=True):
    """Units that a sell did not need were released."""

    order: str
    instrument: str
    quantity: Decimal
    at_us: int


class PositionOpened(Fact, frozen=True):
    """The first buy of an instrument, or the first since its last position closed."""

    position: str
    instrument: str
    currency: str
    decimal_precision: int
    at_us: int


class BuyBooked(Fact, frozen=True):
    """A buy's trade: reserved cash was exchanged for units, unsettled until `settlement_date`, and a
    fee.
    """

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date
    automatic_rollover: bool
    at_us: int


class SellBooked(Fact, frozen=True):
    """A sell's trade: reserved units were exchanged for cash, unsettled until `settlement_date`, less a
    fee.
    """

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date
    at_us: int


class BuyApplied(BuyBooked, frozen=True):
    """A buy's trade from a parked report: without a reservation, paid from available cash."""


class SellApplied(SellBooked, frozen=True):
    """A sell's trade from a parked report: its units are taken from the available ones."""


class BuySettled(Fact, frozen=True):
    """The units of a trade were delivered."""

    order: str
    trade: str
    position: str
    instrument: str
    quantity: Decimal
    at_us: int


class SellSettled(Fact, frozen=True):
    """The proceeds of a trade, less its fee, were paid."""

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    proceeds: Decimal
    at_us: int


class PositionClosed(Fact, frozen=True):
    """The position has no units left and every trade has settled."""

    position: str
    instrument: str
    at_us: int


HoldingsFact = (
    FundsReserved
    | BuyBooked
    | SellBooked
    | BuySettled
    | SellSettled
    | UnitsReserved
    | FundsReleased
    | UnitsReleased
    | CashDeposited
    | CashWithdrawn
    | PositionOpened
    | PositionClosed
    | BuyApplied
    | SellApplied
)
"""The most frequent first: branches are tried in this order."""
FACTS: Final = frozenset(get_args(HoldingsFact))


class Move(NamedTuple):
    """The fact's field `amount` of cash or units goes from `source` to `target`."""

    asset: str
    source: str
    target: str
    amount: str


MOVES: Final[dict[type[HoldingsFact], tuple[Move, ...]]] = {
    CashDeposited: (Move("cash", "outside", "settled", "amount"),),
    CashWithdrawn: (Move("cash", "reserved", "outside", "amount"),),
    FundsReserved: (Move("cash", "settled", "reserved", "amount"),),
    FundsReleased: (Move("cash", "reserved", "settled", "amount"),),
    UnitsReserved: (Move("units", "settled", "reserved", "quantity"),),
    UnitsReleased: (Move("units", "reserved", "settled", "quantity"),),
    BuyBooked: (
        Move("cash", "reserved", "outside", "notional"),
        Move("cash", "reserved", "fees", "fee"),
        Move("units", "outside", "unsettled", "quantity"),
    ),
    SellBooked: (
        Move("units", "reserved", "outside", "quantity"),
        Move("cash", "outside", "unsettled", "notional"),
        Move("cash", "unsettled", "fees", "fee"),
    ),
    BuyApplied: (
        Move("cash", "settled", "outside", "notional"),
        Move("cash", "settled", "fees", "fee"),
        Move("units", "outside", "unsettled", "quantity"),
    ),
    SellApplied: (
        Move("units", "settled", "outside", "quantity"),
        Move("cash", "outside", "unsettled", "notional"),
        Move("cash", "unsettled", "fees", "fee"),
    ),
    BuySettled: (Move("units", "unsettled", "settled", "quantity"),),
    SellSettled: (Move("cash", "unsettled", "settled", "proceeds"),),
}
"""Fact -> its moves of cash and units."""


class Leg(NamedTuple):
    """`amount` (signed) arriving at `place`, of a currency's cash or an instrument's units (`of`)."""

    asset: str
    of: str
    place: str
    amount: Decimal


def legs(fact: Fact) -> list[Leg]:
    """All legs of a fact; none if it moves nothing. Per currency and instrument they sum to 0."""
    result: list[Leg] = []
    kind: Any = type(fact)
    for asset, source, target, name in MOVES.get(kind, ()):
        of, amount = getattr(fact, _KEYS[asset]), getattr(fact, name)
        result += [Leg(asset, of, source, EXACT.minus(amount)), Leg(asset, of, target, amount)]
    return result


_KEYS: Final = {"cash": "currency", "units": "instrument"}

# --- state ---------------------------------------------------------------------------------------


class Balance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cash of a currency or units of an instrument, by place.

    `settled` can be negative: unsettled cash may be spent and unsettled units sold, and both are debited
    here. `total` and `available` are negative while the account is overdrawn.
    """

    settled: Decimal = ZERO
    unsettled: Decimal = ZERO
    reserved: Decimal = ZERO

    @classmethod
    def zero(cls, step: Decimal) -> Balance:
        """Nothing, at the scale of `step`."""
        none = zero_like(step)
        return cls(none, none, none)

    @property
    def available(self) -> Decimal:
        """The amount that may be traded: all except the reserved."""
        return EXACT.add(self.settled, self.unsettled)

    @property
    def total(self) -> Decimal:
        """The total by trade date: executed trades count, settled or not."""
        return EXACT.add(self.available, self.reserved)

    @property
    def withdrawable(self) -> Decimal:
        """The amount that may be withdrawn: max(0, total - reserved - unsettled)."""
        return max(self.settled, zero_like(self.settled))


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Units of one instrument from the first buy until the last trade's settlement.

    `units.unsettled` counts units of all unsettled buy trades, even if sold since; `cost` is the cost of
    the units held, at trade prices without fees.
    """

    id: str
    instrument: str
    currency: str
    units: Balance
    opened_at_us: int
    modified_at_us: int
    cost: Decimal = ZERO
    total_buy_trades: int = 0
    unsettled_trades: int = 0
    automatic_rollover: bool = False
    closed_at_us: int | None = None

    @property
    def status(self) -> str:
        """`closed` after PositionClosed; before it `open` with units (or before the first trade),
        `closing` without.
        """
        if self.closed_at_us is not None:
            return "closed"
        return "open" if self.units.total or not self.total_buy_trades else "closing"

    @property
    def unsettled(self) -> Decimal:
        """Units held but not delivered: min(total, units of unsettled buy trades)."""
        total = self.units.total
        return max(zero_like(total), min(total, self.units.unsettled))

    @property
    def settled(self) -> Decimal:
        """Units held and delivered."""
        return EXACT.subtract(self.units.total, self.unsettled)

    @property
    def average_price(self) -> Decimal | None:
        """Average cost of the units held, 8 decimals; None without units."""
        return pricing.average_price(self.cost, self.units.total)


class Holdings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`cash` by currency; `positions` by instrument, the last of each, open or not."""

    cash: dict[str, Balance] = {}
    positions: dict[str, Position] = {}

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

    @property
    def lacking(self) -> dict[str, Decimal]:
        """Currency or instrument -> by how much available cash or units are below 0."""
        units = {of: position.units for of, position in self.positions.items()}
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
    """Reserves the cash of a buy or the units of a sell.

    Raises Refused `insufficient_funds` or `insufficient_units`.
    """
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
    position = state.positions.get(placed.instrument)
    available = position.units.available if position else ZERO
    if placed.quantity > available:
        raise refused(
            "insufficient_units",
            instrument=placed.instrument,
            required=placed.quantity,
            available=available,
        )
    return [UnitsReserved(placed.order, placed.instrument, placed.quantity, placed.at_us)]


def release(order: Order, *, at_us: int) -> list[Fact]:
    """Releases the part of an order's reservation that is no longer needed."""
    terms, amount = order.terms, order.reserved
    if not amount:
        return []
    if terms.side == "buy":
        return [FundsReleased(terms.order, terms.currency, amount, at_us)]
    return [UnitsReleased(terms.order, terms.instrument, amount, at_us)]


def position_for(state: Holdings, instrument: str, fresh: str) -> str:
    """The id of the position for a trade: the last one unless it is closed, else `fresh`."""
    known = state.positions.get(instrument)
    return known.id if known and known.status != "closed" else fresh


def book(state: Holdings, order: Order, trade: TradeRecorded) -> list[Fact]:
    """Moves the cash, the fee and the units of one trade; a first buy opens the position."""
    terms = order.terms
    is_applied, booked = isinstance(trade, TradeApplied), []
    known = state.positions.get(terms.instrument)
    if known is None or known.id != trade.position:
        booked.append(
            PositionOpened(
                trade.position, terms.instrument, terms.currency, terms.decimal_precision, trade.at_us
            )
        )
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
    bought = BuyApplied if is_applied else BuyBooked
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
    settled: list[Fact] = [
        BuySettled(*common, done.quantity, at_us)
        if terms.side == "buy"
        else SellSettled(*common, terms.currency, EXACT.subtract(done.notional, done.fee), at_us)
    ]
    position = state.positions[terms.instrument]
    if position.unsettled_trades == 1 and not position.units.total:
        settled.append(PositionClosed(position.id, position.instrument, at_us))
    return settled


# --- evolve --------------------------------------------------------------------------------------

_OfInstrument = (
    PositionOpened
    | BuyBooked
    | SellBooked
    | BuySettled
    | SellSettled
    | UnitsReserved
    | UnitsReleased
    | PositionClosed
)
"""Facts that a position records."""


def evolve(state: Holdings, fact: HoldingsFact) -> Holdings:
    """The holdings after a fact of FACTS."""
    cash, positions = state.cash, state.positions
    moves = _CASH_MOVES.get(type(fact))
    if moves:
        of: Any = fact
        cash = cash | {of.currency: _moved(state.balance(of.currency), moves, fact)}
    match fact:
        case FundsReserved() | FundsReleased() | CashDeposited() | CashWithdrawn():
            pass
        case _:
            position = _note(positions.get(fact.instrument), fact)
            units = _moved(position.units, _UNIT_MOVES.get(type(fact), ()), fact)
            position = replace(position, units=units, modified_at_us=fact.at_us)
            positions = positions | {fact.instrument: position}
    return Holdings(cash, positions)


def _moves_of(asset: str) -> dict[type[Fact], tuple[Move, ...]]:
    """The moves of one asset."""
    parts = {kind: tuple(move for move in moves if move.asset == asset) for kind, moves in MOVES.items()}
    return {kind: moves for kind, moves in parts.items() if moves}


_CASH_MOVES: Final = _moves_of("cash")
_UNIT_MOVES: Final = _moves_of("units")


def _moved(balance: Balance, moves: Iterable[Move], fact: Fact) -> Balance:
    places = {
        "settled": balance.settled,
        "unsettled": balance.unsettled,
        "reserved": balance.reserved,
        "fees": ZERO,
        "outside": ZERO,
    }
    for _, source, target, name in moves:
        amount = getattr(fact, name)
        places[source] = EXACT.subtract(places[source], amount)
        places[target] = EXACT.add(places[target], amount)
    return Balance(places["settled"], places["unsettled"], places["reserved"])


def _note(position: Position | None, fact: _OfInstrument) -> Position:
    """A position after a fact, except for the move of its units."""
    if isinstance(fact, PositionOpened):
        units, at_us = Balance.zero(STEPS[fact.decimal_precision]), fact.at_us
        return Position(fact.position, fact.instrument, fact.currency, units, at_us, at_us)
    if position is None:
        raise UnknownFact(f"no position has {type(fact).__name__} before it is opened")
    match fact:
        case BuyBooked(price=price, quantity=quantity, automatic_rollover=wanted):
            return replace(
                position,
                cost=pricing.cost_after_buy(position.cost, position.units.total, price, quantity),
                total_buy_trades=position.total_buy_trades + 1,
                unsettled_trades=position.unsettled_trades + 1,
                automatic_rollover=position.automatic_rollover or wanted,
            )
        case SellBooked(quantity=quantity):
            held = position.units.total
            return replace(
                position,
                cost=pricing.cost_after_sell(position.cost, EXACT.subtract(held, quantity), held),
                unsettled_trades=position.unsettled_trades + 1,
            )
        case BuySettled() | SellSettled():
            return replace(position, unsettled_trades=position.unsettled_trades - 1)
        case PositionClosed():
            return replace(position, closed_at_us=fact.at_us)
        case UnitsReserved() | UnitsReleased():
            return position
        case _:
            assert_never(fact)
