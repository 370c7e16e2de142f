"""The worked example of docs/money.md: start with 1000.00, price 100, increment 0.01, fee 0.5 %."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.kernel.values import plain
from tests.support.engines.world import World
from tests.support.models.table import rows

PRICE = Price(Decimal(100), Decimal(100), 1)


def placed(cash: str = "1000.00") -> World:
    world = World()
    world.put("ins", Terms("Name", "SYM", "stock", "USD", issuer_country="US"))
    world.open()
    world.fund(cash)
    assert world.place("ord", OrderRequest("buy", Decimal("100.00")), price=PRICE) == "ok"
    return world


def filled() -> World:
    world = placed()
    world.start("ord", PRICE)
    assert world.trade("ord", "x1", "100", "0.99") == "ok"
    assert world.end("ord") == "ok"
    return world


def settled() -> World:
    world = filled()
    assert world.settle("ord", "trd_sim/x1") == "ok"
    return world


def part_traded() -> World:
    world = placed()
    world.start("ord", PRICE)
    assert world.trade("ord", "x1", "100", "0.39") == "ok"
    return world


def part_filled() -> World:
    world = part_traded()
    assert world.end("ord") == "ok"
    return world


def cancelled() -> World:
    world = placed()
    assert world.request_cancel("ord") == "ok"
    return world


def holding_ten() -> World:
    """Ten settled units and no cash: bought for exactly what there was, free of fees."""
    world = World()
    world.put("ins", Terms("Name", "SYM", "stock", "USD", issuer_country="US"))
    world.open()
    world.fund("1005.03")
    world.place("buy", OrderRequest("buy", Decimal("1005.03")), price=PRICE)
    world.start("buy", PRICE)
    assert world.trade("buy", "b1", "100", "10") == "ok"
    world.end("buy")
    world.settle("buy", "trd_sim/b1")
    left = world.account().holdings.balance("USD").total
    if left:
        world.pay("withdrawal", "wdr", "USD", left)
        world.complete("wdr")
    return world


def sold() -> World:
    world = holding_ten()
    assert world.place("ord", OrderRequest("sell", quantity=Decimal("10.00")), price=PRICE) == "ok"
    world.start("ord", PRICE)
    assert world.trade("ord", "s1", "100", "10") == "ok"
    assert world.end("ord") == "ok"
    return world


def sold_settled() -> World:
    world = sold()
    assert world.settle("ord", "trd_sim/s1") == "ok"
    return world


WAYS: dict[str, Callable[[], World]] = {
    "placed": placed,
    "filled": filled,
    "settled": settled,
    "40 % traded": part_traded,
    "40 % filled": part_filled,
    "cancelled": cancelled,
    "sell filled": sold,
    "sell settled": sold_settled,
}

WORKED = """
after       |total  |reserved|trading|withdrawal|position      |status   |fees|net   |traded
placed      |1000.00|100.00  |900.00 |900.00    |              |placed   |0.50|99.50 |0
filled      |900.50 |0.00    |900.50 |900.50    |0.99/0.00/0.99|filled   |0.50|99.50 |99.00
settled     |900.50 |0.00    |900.50 |900.50    |0.99/0.99/0.00|settled  |0.50|99.50 |99.00
40 % traded |960.80 |60.80   |900.00 |900.00    |0.39/0.00/0.39|executing|0.20|99.50 |39.00
40 % filled |960.80 |0.00    |960.80 |960.80    |0.39/0.00/0.39|filled   |0.20|99.50 |39.00
cancelled   |1000.00|0.00    |1000.00|1000.00   |              |cancelled|0.00|99.50 |0
sell filled |995.00 |0.00    |995.00 |0.00      |0.00/0.00/0.00|filled   |5.00|995.00|1000.00
sell settled|995.00 |0.00    |995.00 |995.00    |0.00/0.00/0.00|settled  |5.00|995.00|1000.00
"""


@pytest.mark.parametrize("row", rows(WORKED), ids=lambda row: row["after"])
def test_worked_example(row: dict[str, str]) -> None:
    world = WAYS[row["after"]]()
    cash, order = world.account().holdings.balance("USD"), world.order()
    position = world.account().holdings.positions.get("ins")
    units = (position.units.total, position.settled, position.unsettled) if position else ()
    seen = {
        "after": row["after"],
        "total": plain(cash.total),
        "reserved": plain(cash.reserved),
        "trading": plain(cash.available),
        "withdrawal": plain(cash.withdrawable),
        "position": "/".join(map(plain, units)),
        "status": order.status,
        "fees": plain(order.fees),
        "net": plain(order.net_cash_amount),
        "traded": plain(order.traded_notional),
    }
    assert seen == row
    world.check_conservation()


def test_the_position_of_the_sold_units_is_closing_and_then_closed() -> None:
    assert sold().account().holdings.positions["ins"].status == "closing"
    closed = sold_settled().account().holdings.positions["ins"]
    assert (closed.status, closed.average_price) == ("closed", None)
