"""Accrued interest that a venue gives for a whole trade counts to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.kernel.values import plain
from tests.laws.runs import TERMS
from tests.support.engines.world import VENUE, World

PRICE = Price(Decimal(100), Decimal(100), 1)


def reported(world: World, units: str, total: str) -> str:
    """A trade at 100 with the interest of all its units."""
    words = {"price": Decimal(100), "quantity": Decimal(units), "accrued_total": Decimal(total)}
    return world.report(Report(VENUE, "x1", "ord", "trade", **words))


@pytest.mark.parametrize(
    ("units", "total", "unit", "notional"),
    [
        ("3", "1.00", "0.33333333", "301.00"),
        ("3", "-1.00", "-0.33333333", "299.00"),
        ("7", "0.01", "0.00142857", "700.01"),
        ("3", "0.005", "0.00166667", "300.01"),
        ("4", "1.65", "0.41250000", "401.65"),
        ("9", "0", "0.00000000", "900.00"),
    ],
)
def test_the_whole_trade_s_interest_is_paid(units: str, total: str, unit: str, notional: str) -> None:
    """Per unit it is shown to 8 decimals, half to even: 3 x 0.33333333 is not 1.00."""
    world = World()
    world.put("ins", TERMS["stock"])
    world.open()
    world.fund("1000.00")
    world.place("ord", OrderRequest("buy", Decimal("950.00")), price=PRICE)
    world.start("ord", PRICE)
    assert reported(world, units, total) == "ok"
    (trade,) = world.order("ord").trades
    assert (plain(trade.terms.accrued_interest), plain(trade.terms.notional)) == (unit, notional)


@pytest.mark.parametrize("total", ["-300", "-301", "0.000000001", "NaN"])
def test_an_impossible_total_is_parked(total: str) -> None:
    world = World()
    world.put("ins", TERMS["stock"])
    world.open()
    world.fund("1000.00")
    world.place("ord", OrderRequest("buy", Decimal("950.00")), price=PRICE)
    world.start("ord", PRICE)
    assert reported(world, "3", total) != "ok"
    assert world.order("ord").trades == ()
