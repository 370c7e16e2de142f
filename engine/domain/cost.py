"""The cost of the units of an instrument, counted anew from the trades that remain after a bust.

A corrected trade counts at the place of the one it corrects, as if it had been reported so at first.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from engine.domain import pricing
from engine.domain.bookings import (
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    Reversal,
    SellBooked,
    SellBusted,
    SellCorrected,
)
from engine.domain.servicing import PositionMatured, PositionSplit
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, ZERO

Trade = BuyBooked | SellBooked
Correction = BuyCorrected | SellCorrected
KINDS: Final = (BuyBooked, SellBooked, BuyBusted, SellBusted, PositionSplit, PositionMatured)
"""Facts of an account that the cost of its units follows from."""


def counted_anew(facts: Iterable[Fact], instrument: str) -> Decimal:
    """The cost of the units of an instrument after all `facts` of an account, at trade prices without
    fees.
    """
    of = [fact for fact in facts if getattr(fact, "instrument", None) == instrument]
    corrections = {fact.corrects: fact for fact in of if isinstance(fact, Correction)}
    busted = {fact.trade for fact in of if isinstance(fact, Reversal)}
    held = cost = ZERO
    for fact in of:
        if isinstance(fact, PositionSplit):
            held = EXACT.add(held, EXACT.subtract(fact.quantity_after, fact.quantity_before))
            cost = cost if fact.quantity_after else ZERO
        elif isinstance(fact, PositionMatured):
            held = cost = ZERO
        elif isinstance(fact, Trade) and not isinstance(fact, Correction):
            last = _corrected(fact, corrections)
            if last.trade not in busted:
                held, cost = after_trade(held, cost, last)
    return cost


def _corrected(trade: Trade, corrections: dict[str, Correction]) -> Trade:
    """The trade as it was last corrected."""
    while trade.trade in corrections:
        trade = corrections[trade.trade]
    return trade


def after_trade(held: Decimal, cost: Decimal, trade: Trade) -> tuple[Decimal, Decimal]:
    """(units held, their cost) after a trade, from those before it."""
    if isinstance(trade, BuyBooked):
        after = EXACT.add(held, trade.quantity)
        return after, pricing.cost_after_buy(cost, held, trade.price, trade.quantity)
    after = EXACT.subtract(held, trade.quantity)
    return after, pricing.cost_after_sell(cost, after, held)


def with_cost(facts: list[Fact], past: Iterable[Fact], instrument: str) -> list[Fact]:
    """Busts and corrections of an instrument, each with the cost of the units held after it."""
    known, result = list(past), []
    for fact in facts:
        if isinstance(fact, Reversal | Correction):
            cost = counted_anew([*known, fact], instrument)
            fact = replace(fact, cost=cost)  # noqa: PLW2901
        known.append(fact)
        result.append(fact)
    return result
