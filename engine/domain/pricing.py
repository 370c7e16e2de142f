"""What a unit costs, how many an amount buys, and at what average. See docs/money.md."""

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

    `at_us` is when the market said so. `accrued_interest` is per unit, in the trading currency. `unit`:
    what they are counted in (`instrument.unit_of`), None where that is not known.
    """

    bid: Decimal
    ask: Decimal
    at_us: int
    accrued_interest: Decimal = Decimal(0)
    unit: str | None = None


def quoted(price: Price | None, side: Side) -> Decimal:
    """What customers trade at: they buy at the ask and sell at the bid.

    Raises Refused `missing_price` when there is none, or none above 0.
    """
    if price is not None and is_quoted(price, side):
        return price.ask if side == "buy" else price.bid
    raise refused("missing_price")


def is_quoted(price: Price, side: Side) -> bool:
    """Whether customers can trade this side: a market may have an ask and no bid."""
    return (price.ask if side == "buy" else price.bid) > 0


def unit_price(
    price: Decimal, accrued_interest: Decimal, price_type: str, par_value: Decimal
) -> Decimal:
    """Price, or price / 100 x par value of `percent` prices, plus accrued interest per unit; exact."""
    if price_type == "percent":
        price = EXACT.scaleb(EXACT.multiply(price, par_value), _PERCENT)
    return EXACT.add(price, accrued_interest)


def quantity_for(amount: Decimal, unit: Decimal, increment: Decimal) -> Decimal:
    """amount / unit price, rounded down to a whole number of increments; 0 if it buys none."""
    steps = EXACT.divide_int(amount, EXACT.multiply(unit, increment))
    return EXACT.multiply(steps, increment)


def cost_after_buy(cost: Decimal, held: Decimal, price: Decimal, quantity: Decimal) -> Decimal:
    """The cost of the units held when `quantity` more are bought. Units below 0 have cost nothing: what
    makes them up costs nothing either."""
    if held < 0:
        cost, quantity = Decimal(0), max(EXACT.add(held, quantity), Decimal(0))
    return EXACT.add(cost, EXACT.multiply(price, quantity))


def cost_after_sell(cost: Decimal, left: Decimal, held: Decimal) -> Decimal:
    """The cost of the units that are left when `held` become `left`: their average does not change."""
    if left <= 0:
        return Decimal(0)
    return divide_half_even(EXACT.multiply(cost, left), held, STEPS[COST_PLACES])


def average_price(cost: Decimal, held: Decimal) -> Decimal | None:
    """Average cost of the units held, 8 decimals, half to even; None when there are none."""
    return divide_half_even(cost, held, STEPS[PRICE_PLACES]) if held > 0 else None
