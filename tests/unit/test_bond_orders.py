"""Orders of a bond: interest is paid and earned for the date of settlement, and trades have a yield."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.domain.kind import SIMULATED
from engine.domain.order import ExecutionStarted, TradeRecorded
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.venues.port import ticket_of
from engine.venues.simulated import answers_to
from tests.support.engines.world import World
from tests.unit.test_interest_of_prices import BOND, CLEAN

TUESDAY, WEDNESDAY = date(2026, 9, 29), date(2026, 9, 30)


@pytest.fixture
def world() -> World:
    world = World()
    assert world.put("ins", replace(BOND, settlement_days=1)) == "ok"
    world.open()
    world.fund("10000.00")
    return world


def started(world: World, price: Price, today: date) -> ExecutionStarted:
    assert world.start("ord", price, today) == "ok"
    fact = world.facts[-1][2]
    assert isinstance(fact, ExecutionStarted)
    return fact


def traded(world: World, start: ExecutionStarted) -> TradeRecorded:
    for said in answers_to(SIMULATED, ticket_of(world.order().terms, start), world.now_us):
        world.report(replace(said, venue="sim"))
    (trade,) = [fact for _, _, fact in world.facts if isinstance(fact, TradeRecorded)]
    return trade


def test_a_buy_pays_the_interest_of_the_day_it_is_sent(world: World) -> None:
    buy = OrderRequest("buy", cash_amount=Decimal("5000.00"))
    assert world.place("ord", buy, price=CLEAN, today=TUESDAY) == "ok"
    assert world.order().terms.accrued_interest == Decimal(15)  # settles on 30 September: 90 of 360 days
    start = started(world, CLEAN, WEDNESDAY)
    assert start.accrued_interest == Decimal("15.16666667")
    assert start.quantity == Decimal("4.85")  # 4 975.00 / (1 010 + 15.16666667)
    trade = traded(world, start)
    assert trade.consideration == Decimal("4.85") * Decimal("1025.16666667")
    assert trade.notional == Decimal("4972.06")
    assert trade.ytm is not None
    assert Decimal("5.6") < trade.ytm < Decimal("5.8")  # 101 percent of par


def test_a_sell_brings_it_too(world: World) -> None:
    buy = OrderRequest("buy", cash_amount=Decimal("5000.00"))
    world.place("ord", buy, price=CLEAN, today=TUESDAY)
    traded(world, started(world, CLEAN, TUESDAY))
    sell = OrderRequest("sell", quantity=Decimal("4.85"))
    assert world.place("sell", sell, price=CLEAN, today=date(2026, 12, 22)) == "ok"
    # Settles on the ex date: the seller keeps the coupon, and pays the 7 days that are left.
    assert world.order("sell").terms.accrued_interest == Decimal("-1.16666667")


def test_the_interest_that_a_quote_brings_wins_for_that_quote(world: World) -> None:
    buy = OrderRequest("buy", cash_amount=Decimal("5000.00"))
    own = replace(CLEAN, accrued_interest=Decimal("14.5"), accrues=False)
    assert world.place("ord", buy, price=own, today=TUESDAY) == "ok"
    assert world.order().terms.accrued_interest == Decimal("14.5")
    assert started(world, CLEAN, TUESDAY).accrued_interest == Decimal(15)
