"""Unit prices, quantities for an amount, and average costs. See docs/money.md."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from engine.kernel.refusals import refused
from engine.kernel.values import COST_PLACES, EXACT, PRICE_PLACES, STEPS, Side, divide_half_even

PriceType = Literal["percent", "money"]
_PERCENT: Final = -2


class Price(msgspec.Struct, frozen=True):
    """A quote of an instrument: bid and ask at most 8 decimals, in money or in percent of par value.

    `at_us` is the market's time. `accrued_interest` is per unit, in the trading currency; a price that
    `accrues` is clean, and gets the interest of its instrument's schedule (`instrument.with_interest`).
    `unit`: that of the prices (`instrument.unit_of`), None if unknown.
    """

    bid: Decimal
    ask: Decimal
    at_us: int
    accrued_interest: Decimal = Decimal(0)
    unit: str | None = None
    accrues: bool = False


def at_limit(limit: Decimal, at_us: int) -> Price:
    """The price that a limit order is decided on: its limit, on both sides, without interest."""
    return Price(limit, limit, at_us)


def quoted(price: Price | None, side: Side) -> Decimal:
    """The customer's price: the ask of a buy, the bid of a sell.

    Raises Refused `missing_price` if there is none above 0.
    """
    if price is not None and is_quoted(price, side):
        return price.ask if side == "buy" else price.bid
    raise refused("missing_price")


def is_quoted(price: Price, side: Side) -> bool:
    """Whether this side can be traded: a market may have an ask and no bid."""
    return (price.ask if side == "buy" else price.bid) > 0


def unit_price(
    price: Decimal, accrued_interest: Decimal, price_type: str, par_value: Decimal
) -> Decimal:
    """Price, or price / 100 x par value of `percent` prices, plus accrued interest per unit; exact."""
    if price_type == "percent":
        price = EXACT.scaleb(EXACT.multiply(price, par_value), _PERCENT)
    return EXACT.add(price, accrued_interest)


def meets(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Whether a price is the limit or better."""
    return price <= limit if side == "buy" else price >= limit


def quantity_for(amount: Decimal, unit: Decimal, increment: Decimal) -> Decimal:
    """amount / unit price, rounded down to a whole number of increments; 0 if it buys none."""
    steps = EXACT.divide_int(amount, EXACT.multiply(unit, increment))
    return EXACT.multiply(steps, increment)


def cost_after_buy(cost: Decimal, held: Decimal, price: Decimal, quantity: Decimal) -> Decimal:
    """The cost of the units held after buying `quantity` more. Negative holdings have no cost, and
    neither have the units that offset them.
    """
    if held < 0:
        cost, quantity = Decimal(0), max(EXACT.add(held, quantity), Decimal(0))
    return EXACT.add(cost, EXACT.multiply(price, quantity))


def cost_after_sell(cost: Decimal, left: Decimal, held: Decimal) -> Decimal:
    """The cost of the units left when `held` become `left`: the average does not change."""
    if left <= 0:
        return Decimal(0)
    return divide_half_even(EXACT.multiply(cost, left), held, STEPS[COST_PLACES])


def average_price(cost: Decimal, held: Decimal) -> Decimal | None:
    """Average cost of the units held, 8 decimals, half to even; None without units."""
    return divide_half_even(cost, held, STEPS[PRICE_PLACES]) if held > 0 else None
