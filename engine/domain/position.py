"""Positions: units of one instrument held by an account, by place. See docs/money.md."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from engine.domain import pricing
from engine.domain.bookings import (
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    BuySettled,
    PositionClosed,
    PositionOpened,
    Reversal,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.cost import after_trade
from engine.domain.moves import MOVES, Move
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
    RolloverSet,
    RolloverSkipped,
)
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import ACTIONS_APPLIED_MAX, DATED_KEPT_MIN, ENTITLEMENT_DAYS, HELD_BEFORE_MIN
from engine.kernel.values import EXACT, STEPS, ZERO, divide_to, total_of, zero_like


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


class Dated(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Units bought less units sold by the trades that settle on a day, as contracted."""

    day: date
    units: Decimal


class HeldBefore(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Units and dated trades just before a split or a redemption of `ex_date`."""

    ex_date: date
    total: Decimal
    dated: tuple[Dated, ...]


class Scale(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A split: each unit of earlier orders became `units_to` / `units_from`."""

    units_to: int
    units_from: int


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Units of one instrument from the first buy until the last trade's settlement.

    `units.unsettled` counts units of all unsettled buy trades, even if sold since; `cost` is the cost of
    the units held, at trade prices without fees. `dated`: by settlement date what trades of the
    instrument brought (sells: took), those of earlier positions included; `before`: the same before the
    last splits and redemptions. `splits` counts the instrument's splits that its units went through;
    `scales` are the last of them, those since the oldest unsettled buy. `applied`: the last corporate
    actions it had. `rollover`: the order that reinvests it; `rolled_from` and `rolled_into` name
    positions. `events`: how many it had.
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
    unsettled_buys: int = 0
    dated: tuple[Dated, ...] = ()
    before: tuple[HeldBefore, ...] = ()
    splits: int = 0
    scales: tuple[Scale, ...] = ()
    applied: tuple[str, ...] = ()
    rollover: str | None = None
    is_rollover_skipped: bool = False
    rolled_from: tuple[str, ...] = ()
    rolled_into: str | None = None
    events: int = 1

    @property
    def status(self) -> str:
        """`closed` after PositionClosed; before it `open` with units (or before the first trade),
        `closing` without.
        """
        if self.closed_at_us is not None:
            return "closed"
        has_traded = self.total_buy_trades or self.unsettled_trades
        return "open" if self.units.total or not has_traded else "closing"

    @property
    def awaits_rollover(self) -> bool:
        """Whether its maturity is to be reinvested, and nothing is decided about it yet."""
        return self.automatic_rollover and self.rollover is None and not self.is_rollover_skipped

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

    def entitled(self, ex_date: date) -> Decimal:
        """Units that have a coupon or dividend of `ex_date`: those held by trades that settle before it,
        whether or not their settlement is recorded yet. Negative if more was sold than held.
        """
        total, dated = self.units.total, self.dated
        former = next((one for one in self.before if ex_date < one.ex_date), None)
        if former is not None:
            total, dated = former.total, former.dated
        later = total_of(one.units for one in dated if one.day >= ex_date)
        return EXACT.subtract(total, later)

    def settling(self, quantity: Decimal, splits: int) -> Decimal:
        """The units that a buy's settlement moves: the trade's `quantity` after later splits, for an
        order sent when the instrument had `splits`; for the last unsettled buy, all that is left.
        """
        if not self.scales:
            return quantity
        if self.unsettled_buys == 1:
            return self.units.unsettled
        known_from = self.splits - len(self.scales)
        for scale in self.scales[max(0, splits - known_from) :]:
            quantity = scaled(quantity, scale.units_to, scale.units_from, quantity, ROUND_FLOOR)
        return quantity


# --- evolve ---------------------------------------------------------------------------------------

ServicingFact = (
    CouponPaid
    | DividendPaid
    | PositionMatured
    | PositionSplit
    | RolloverSet
    | RolloverReserved
    | RolloverReleased
    | RolloverPaid
    | RolloverSkipped
)
PositionFact = (
    PositionOpened
    | BuyBooked
    | SellBooked
    | BuySettled
    | SellSettled
    | UnitsReserved
    | UnitsReleased
    | PositionClosed
    | BuyBusted
    | SellBusted
    | ServicingFact
)
"""Facts that a position records."""


def _moves_of(asset: str) -> dict[type[Fact], tuple[Move, ...]]:
    """The moves of one asset."""
    parts = {kind: tuple(move for move in moves if move.asset == asset) for kind, moves in MOVES.items()}
    return {kind: moves for kind, moves in parts.items() if moves}


CASH_MOVES: Final = _moves_of("cash")
UNIT_MOVES: Final = _moves_of("units")


def moved(balance: Balance, moves: Iterable[Move], fact: Fact) -> Balance:
    """The balance after the moves of a fact."""
    places = {
        "settled": balance.settled,
        "unsettled": balance.unsettled,
        "reserved": balance.reserved,
        "fees": ZERO,
        "outside": ZERO,
        "receivable": ZERO,
    }
    for _, source, target, name in moves:
        amount = getattr(fact, name)
        places[source] = EXACT.subtract(places[source], amount)
        places[target] = EXACT.add(places[target], amount)
    return Balance(places["settled"], places["unsettled"], places["reserved"])


def evolve(position: Position | None, fact: PositionFact) -> Position:
    """A position after a fact. Raises UnknownFact for one before it is opened."""
    if isinstance(fact, PositionOpened):
        return _opened(position, fact)
    if position is None:
        raise UnknownFact(f"no position has {type(fact).__name__} before it is opened")
    after = _noted(position, fact)
    units = moved(position.units, UNIT_MOVES.get(type(fact), ()), fact)
    return replace(after, units=units, modified_at_us=fact.at_us)


def _opened(former: Position | None, fact: PositionOpened) -> Position:
    units, at_us = Balance.zero(STEPS[fact.decimal_precision]), fact.at_us
    fresh = Position(fact.position, fact.instrument, fact.currency, units, at_us, at_us)
    if former is None:
        return replace(fresh, splits=fact.splits)
    # Units of the former one can be reserved and lacking, 0 in total: a sell at its venue holds them.
    kept = {"dated": former.dated, "before": former.before, "applied": former.applied}
    return replace(fresh, units=former.units, splits=fact.splits, **kept)


def _noted(position: Position, fact: PositionFact) -> Position:
    """A position after a fact, except for the move of its units."""
    match fact:
        case BuyBooked(quantity=quantity, automatic_rollover=wanted):
            return replace(
                position,
                cost=cost_after(position.cost, position.units.total, fact),
                total_buy_trades=position.total_buy_trades + 1,
                unsettled_trades=position.unsettled_trades + 1,
                unsettled_buys=position.unsettled_buys + 1,
                automatic_rollover=position.automatic_rollover or wanted,
                dated=_dated(position.dated, fact.settlement_date, quantity),
            )
        case SellBooked(quantity=quantity):
            return replace(
                position,
                cost=cost_after(position.cost, position.units.total, fact),
                unsettled_trades=position.unsettled_trades + 1,
                dated=_dated(position.dated, fact.settlement_date, EXACT.minus(quantity)),
            )
        case BuySettled() | SellSettled():
            of_buys = position.unsettled_buys - isinstance(fact, BuySettled)
            left = position.unsettled_trades - 1
            return replace(position, unsettled_trades=left, unsettled_buys=of_buys)
        case BuyBusted() | SellBusted():
            return _busted(position, fact)
        case PositionClosed():
            position = replace(position, closed_at_us=fact.at_us, events=position.events + 1)
        case PositionOpened() | UnitsReserved() | UnitsReleased():
            pass
        case _:
            position = _serviced(position, fact)
    return position


def cost_after(cost: Decimal, held: Decimal, trade: BuyBooked | SellBooked) -> Decimal:
    """The cost of the units held after a trade, when `held` units had `cost` before it."""
    if isinstance(trade, BuyCorrected | SellCorrected):
        return trade.cost
    _, cost = after_trade(held, cost, trade)
    return cost


def _busted(position: Position, fact: Reversal) -> Position:
    """A position after a trade was cancelled by its venue. `total_buy_trades` counts it all the same."""
    is_buy, was_due = isinstance(fact, BuyBusted), not fact.is_settled
    units = EXACT.minus(fact.quantity) if is_buy else fact.quantity
    return replace(
        position,
        cost=fact.cost,
        unsettled_trades=position.unsettled_trades - was_due,
        unsettled_buys=position.unsettled_buys - (was_due and is_buy),
        dated=tuple(one for one in _dated(position.dated, fact.settlement_date, units) if one.units),
    )


def _serviced(position: Position, fact: ServicingFact) -> Position:
    """The same for the facts of an instrument's life."""
    match fact:
        case CouponPaid() | DividendPaid():
            position = replace(position, applied=_applied(position, fact.action))
        case PositionMatured() | PositionSplit():
            position = _reorganised(position, fact)
        case RolloverSet(automatic_rollover=wanted):
            position = replace(position, automatic_rollover=wanted)
        case RolloverReserved(order=order):
            position = replace(position, rollover=order)
        case RolloverReleased():
            position = replace(position, rollover=None)
        case RolloverSkipped():
            position = replace(position, is_rollover_skipped=True, events=position.events + 1)
        case RolloverPaid():
            pass
        case _:
            assert_never(fact)
    return position


def _reorganised(position: Position, fact: PositionMatured | PositionSplit) -> Position:
    """A position after its units were redeemed or split. Its cost is that of the units held."""
    total, dated = position.units.total, position.dated
    applied, events = _applied(position, fact.action), position.events + 1
    before = _before(position.before, HeldBefore(fact.ex_date, total, dated))
    if isinstance(fact, PositionMatured):
        return replace(position, cost=ZERO, before=before, dated=(), applied=applied, events=events)
    to, from_ = fact.units_to, fact.units_from
    step = fact.quantity_after
    # What settles after the split is excluded from later entitlements: rounded up, it never pays more.
    kept = [
        Dated(one.day, scaled(one.units, to, from_, step, ROUND_CEILING))
        for one in dated
        if one.day >= fact.ex_date
    ]
    return replace(
        position,
        cost=position.cost if fact.quantity_after else ZERO,
        before=before,
        dated=tuple(kept),
        splits=fact.number,
        scales=(*(position.scales if position.unsettled_buys else ()), Scale(to, from_)),
        applied=applied,
        events=events,
    )


def scaled(units: Decimal, to: int, from_: int, like: Decimal, mode: str) -> Decimal:
    """`units` x to / from, rounded by `mode` to the scale of `like`. Units sold are below 0."""
    if units < 0:
        mirrored = ROUND_FLOOR if mode == ROUND_CEILING else ROUND_CEILING
        return EXACT.minus(scaled(EXACT.minus(units), to, from_, like, mirrored))
    step = Decimal(1).scaleb(int(like.as_tuple().exponent))
    return divide_to(EXACT.multiply(units, Decimal(to)), Decimal(from_), step, mode)


def _dated(known: tuple[Dated, ...], day: date, units: Decimal) -> tuple[Dated, ...]:
    """The dated trades with another; those long before the newest are dropped."""
    if known and known[-1].day == day:
        return (*known[:-1], Dated(day, EXACT.add(known[-1].units, units)))
    if not known or known[-1].day < day:
        oldest = day - timedelta(days=ENTITLEMENT_DAYS)
        recent = known[-DATED_KEPT_MIN:]
        return (*(one for one in known if one.day > oldest or one in recent), Dated(day, units))
    by_day = {one.day: one.units for one in known}
    by_day[day] = EXACT.add(by_day.get(day, zero_like(units)), units)
    return tuple(Dated(*one) for one in sorted(by_day.items()))


def _before(known: tuple[HeldBefore, ...], last: HeldBefore) -> tuple[HeldBefore, ...]:
    """Units held before the last splits and redemptions, with another entry: all that a payment of an
    earlier ex date may still need, else it would count in units of after a split.
    """
    oldest = last.ex_date - timedelta(days=ENTITLEMENT_DAYS)
    recent = known[-HELD_BEFORE_MIN + 1 :]
    return (*(one for one in known if one.ex_date > oldest or one in recent), last)


def _applied(position: Position, action: str) -> tuple[str, ...]:
    return (*position.applied[-ACTIONS_APPLIED_MAX + 1 :], action)
