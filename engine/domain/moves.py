"""Moves of cash and units: which fact takes how much from which place to which. See docs/money.md.

Cash of a currency and units of an instrument are held in *places*. An account's own are `settled`,
`unsettled` and `reserved`; `fees` and `outside` (banks, venues) are not, nor is `receivable`: cash that
rollovers have spent before their old positions brought it, negative until then. A fact moves amounts
between places, as listed in MOVES, so its debits and credits sum to zero.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, NamedTuple, get_args

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
    PositionClosed,
    PositionOpened,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
    RolloverSet,
    RolloverSkipped,
)
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT

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
    | BuyCorrected
    | SellCorrected
    | BuyBusted
    | SellBusted
    | CouponPaid
    | DividendPaid
    | PositionMatured
    | PositionSplit
    | RolloverSet
    | RolloverReserved
    | RolloverReleased
    | RolloverBooked
    | RolloverPaid
    | RolloverSkipped
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
    BuyCorrected: (
        Move("cash", "reserved", "settled", "reserved"),
        Move("cash", "settled", "outside", "notional"),
        Move("cash", "settled", "fees", "fee"),
        Move("units", "outside", "unsettled", "quantity"),
    ),
    SellCorrected: (
        Move("units", "reserved", "settled", "reserved"),
        Move("units", "settled", "outside", "quantity"),
        Move("cash", "outside", "unsettled", "notional"),
        Move("cash", "unsettled", "fees", "fee"),
    ),
    BuyBusted: (
        Move("cash", "outside", "settled", "notional"),
        Move("cash", "fees", "settled", "fee"),
        Move("cash", "settled", "reserved", "reserved"),
        Move("units", "unsettled", "settled", "unsettled"),
        Move("units", "settled", "outside", "quantity"),
    ),
    SellBusted: (
        Move("cash", "unsettled", "settled", "unsettled"),
        Move("cash", "settled", "outside", "notional"),
        Move("cash", "fees", "settled", "fee"),
        Move("units", "outside", "settled", "quantity"),
        Move("units", "settled", "reserved", "reserved"),
    ),
    BuySettled: (Move("units", "unsettled", "settled", "quantity"),),
    SellSettled: (Move("cash", "unsettled", "settled", "proceeds"),),
    CouponPaid: (Move("cash", "outside", "settled", "amount"),),
    DividendPaid: (Move("cash", "outside", "settled", "amount"),),
    PositionMatured: (
        Move("units", "settled", "outside", "quantity"),
        Move("units", "reserved", "outside", "pledged"),
        Move("cash", "outside", "settled", "amount"),
    ),
    PositionSplit: (
        Move("units", "unsettled", "settled", "unsettled_before"),
        Move("units", "settled", "outside", "quantity_before"),
        Move("units", "outside", "settled", "quantity_after"),
        Move("units", "settled", "unsettled", "unsettled_after"),
        Move("cash", "outside", "settled", "amount"),
    ),
    RolloverReserved: (Move("units", "settled", "reserved", "quantity"),),
    RolloverReleased: (Move("units", "reserved", "settled", "quantity"),),
    RolloverBooked: (
        Move("cash", "receivable", "outside", "notional"),
        Move("cash", "receivable", "fees", "fee"),
        Move("units", "outside", "unsettled", "quantity"),
    ),
    RolloverPaid: (
        Move("cash", "settled", "receivable", "notional"),
        Move("cash", "settled", "receivable", "fee"),
    ),
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
