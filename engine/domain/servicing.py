"""Facts of an account that follow from an instrument's life: coupons, dividends, maturity, splits and
rollovers. See docs/instruments.md.

The actions that cause them are in the instrument's stream: see `corporate_action`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final

from engine.domain.bookings import BuyBooked
from engine.kernel.fact import Fact


class CouponPaid(Fact, frozen=True):
    """A coupon was paid for `units`: those with a settlement date before its ex date."""

    coupon: str
    action: str
    position: str
    instrument: str
    currency: str
    units: Decimal
    amount: Decimal
    at_us: int


class DividendPaid(Fact, frozen=True):
    """A cash dividend was paid for `units`: those with a settlement date before its ex date."""

    dividend: str
    action: str
    position: str
    instrument: str
    currency: str
    units: Decimal
    amount: Decimal
    at_us: int


class PositionMatured(Fact, frozen=True):
    """The instrument was repaid, at maturity or by a call: all units were exchanged for cash.

    `quantity` of them were free, `pledged` reserved for a rollover; `rollover` is its order if that is
    still open. `ex_date`: the day of maturity or of the call.
    """

    action: str
    position: str
    instrument: str
    currency: str
    ex_date: date
    quantity: Decimal
    pledged: Decimal
    amount: Decimal
    rollover: str | None
    at_us: int


class PositionSplit(Fact, frozen=True):
    """The units were split, `units_to` for `units_from`; `amount` was paid for the lost `fraction`.

    `number` counts the instrument's splits, this one included. `unsettled_...` are the units of
    unsettled buys, a part of `quantity_...` unless sold since.
    """

    action: str
    position: str
    instrument: str
    currency: str
    number: int
    ex_date: date
    units_to: int
    units_from: int
    quantity_before: Decimal
    quantity_after: Decimal
    unsettled_before: Decimal
    unsettled_after: Decimal
    fraction: Decimal
    amount: Decimal
    at_us: int


class RolloverSet(Fact, frozen=True):
    """A customer chose whether a position rolls over at maturity."""

    position: str
    instrument: str
    automatic_rollover: bool
    at_us: int


class RolloverReserved(Fact, frozen=True):
    """Units that will mature were reserved for the rollover `order`, which may spend their face value,
    `amount`.
    """

    order: str
    position: str
    instrument: str
    quantity: Decimal
    currency: str
    amount: Decimal
    at_us: int


class RolloverReleased(Fact, frozen=True):
    """The rollover `order` ended without a trade: the units mature as cash."""

    order: str
    position: str
    instrument: str
    quantity: Decimal
    at_us: int


class RolloverBooked(BuyBooked, frozen=True):
    """A rollover's trade before the old position matures: paid from the cash that it will bring."""


class RolloverPaid(Fact, frozen=True):
    """The old position has matured, and its cash has paid for a trade of the rollover and its fee."""

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


class RolloverSkipped(Fact, frozen=True):
    """A position is not rolled over, for one of SKIPPED: it matures as cash."""

    position: str
    instrument: str
    reason: str
    at_us: int


SKIPPED: Final = (
    "no_bill",
    "missing_price",
    "below_minimum_amount",
    "below_minimum_quantity",
    "trading_rules",
    "quantity_too_large",
    "account_suspended",
    "account_closing",
    "account_overdrawn",
    "buy_order_forbidden",
    "currency_not_supported",
    "instrument_not_trading",
    "too_late",
    "unfilled",
)
"""Reasons why a position is not rolled over."""
