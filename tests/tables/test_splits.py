"""Splits by hand: what a position of 100-dollar units becomes, and what its settlements move."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.domain import instrument, split
from engine.domain import position as positions
from engine.domain.order_request import OrderRequest
from engine.domain.position import Balance
from engine.domain.pricing import Price
from engine.domain.servicing import PositionSplit
from engine.kernel.errors import Refused
from engine.kernel.limits import HELD_BEFORE_MIN
from engine.kernel.values import plain
from tests.support.engines import splits
from tests.support.engines.splits import (
    AFTER,
    buy,
    position,
    sell,
    settle,
    trades,
    world_of,
)
from tests.support.engines.world import TODAY
from tests.support.models.table import rows

TABLE = """
before               |split |places|units |unsettled|average     |cash |status
+10 b1               |2:1 30|0     |20    |0        |50.00000000 |0.00 |open
+10 b1               |3:2 30|0     |15    |0        |66.66666667 |0.00 |open
+11 b1               |3:2 30|0     |16    |0        |68.75000000 |15.00|open
+11 b1               |3:2 30|1     |16.5  |0.0      |66.66666667 |0.00 |open
+25 b1               |1:10 9|0     |2     |0        |1250.00000000|4.50|open
+20 b1               |1:7 99|2     |2.85  |0.00     |701.75438596|0.70 |open
+3 b1                |1:7 99|0     |0     |0        |none        |42.42|closed
+3 b1                |1:7 0 |0     |0     |0        |none        |0.00 |closed
10 b1                |2:1 30|0     |20    |20       |50.00000000 |0.00 |open
+10 b1, 5 b2         |3:2 30|0     |22    |7        |68.18181818 |15.00|open
+10 b1, -4 s1        |3:2 30|0     |9     |0        |66.66666667 |0.00 |open
10 b1, -10 s1        |2:1 30|0     |0     |0        |none        |0.00 |closing
10 b1, -7 s1         |1:2 30|0     |1     |1        |300.00000000|15.00|open
+2 b1, 3 b2, 3 b3    |1:2 30|0     |4     |3        |200.00000000|0.00 |open
3 b1                 |1:7 99|0     |0     |0        |none        |42.42|closing
"""


@pytest.mark.parametrize("row", rows(TABLE), ids=lambda row: f"{row['before']} {row['split']}")
def test_what_a_position_becomes(row: dict[str, str]) -> None:
    world = world_of(int(row["places"]))
    trades(world, row["before"])
    cash, cost = world.account().holdings.balance("USD").total, position(world).cost
    ratio, price = row["split"].split(" ")
    splits.begin(world, *map(int, ratio.split(":")), price)
    assert splits.apply(world) == "ok"
    held = position(world)
    seen = {
        "units": plain(held.units.total),
        "unsettled": plain(held.unsettled),
        "average": "none" if held.average_price is None else plain(held.average_price),
        "cash": plain(world.account().holdings.balance("USD").total - cash),
        "status": held.status,
    }
    assert seen == {name: row[name] for name in seen}
    assert held.cost == (cost if held.units.total else 0)
    assert splits.apply(world) == "nothing"
    world.check_conservation()


def test_what_later_settlements_move() -> None:
    """Each trade keeps its figures and settles its own share; the last buy settles what is left."""
    world = world_of(0)
    trades(world, "+2 b1, 3 b2, 3 b3, 3 b4, -5 s1")
    splits.begin(world, 1, 2, "10")
    assert splits.apply(world) == "ok"
    assert (position(world).units.total, position(world).units.unsettled) == (3, 4)
    buy(world, "b5", "7", settled=False)
    assert [settle(world, name) for name in ("b2", "b5", "b3", "b4")] == [1, 7, 1, 2]
    assert [world.order(name).trades[0].terms.quantity for name in ("b2", "b4")] == [3, 3]
    world.settle("s1", "trd_sim/s1")
    assert (position(world).units, position(world).unsettled_trades) == (Balance(Decimal(10)), 0)


def test_two_splits_while_a_trade_is_unsettled() -> None:
    world = world_of(0)
    trades(world, "7 b1, 7 b2")
    splits.begin(world, 1, 2, action="one")
    splits.begin(world, 3, 1, action="two")
    assert splits.apply(world, "two") == "invalid_request"  # the first one first
    assert [splits.apply(world, action) for action in ("one", "two")] == ["ok", "ok"]
    assert (position(world).units.total, position(world).splits) == (21, 2)
    assert [settle(world, name) for name in ("b1", "b2")] == [9, 12]


def test_a_position_without_units_left_closes_with_its_last_settlement() -> None:
    world = world_of(0)
    trades(world, "3 b1")
    splits.begin(world, 1, 7, "99")
    splits.apply(world)
    assert settle(world, "b1") == 0
    assert position(world).status == "closed"
    buy(world, "b2", "5", settled=True)
    assert (position(world).average_price, position(world).splits) == (100, 1)


def test_bought_again_while_nothing_is_left_it_costs_what_was_paid() -> None:
    world = world_of(0)
    trades(world, "3 b1")
    splits.begin(world, 1, 7)
    splits.apply(world)
    buy(world, "b2", "5", settled=False)
    assert position(world).average_price == 100


# --- who has to wait --------------------------------------------------------------------------------


def test_a_position_below_zero_waits() -> None:
    world = world_of(0)
    trades(world, "+10 b1")
    splits.begin(world, 2, 1)
    below = replace(position(world), units=Balance(Decimal(-3)))
    action = world.instrument("ins").servicing.actions[0]
    with pytest.raises(Refused, match="lacks 3 units"):
        split.apply(action, below, [], at_us=1)


def test_more_units_than_can_be_booked_are_refused() -> None:
    world = world_of(0)
    trades(world, "+10 b1")
    splits.begin(world, 1000, 1)
    most = replace(position(world), units=Balance(Decimal(10**14)))
    with pytest.raises(Refused, match="100000000000000000 units have more than 15 digits"):
        split.apply(world.instrument("ins").servicing.actions[0], most, [], at_us=1)


def test_nothing_is_split_before_the_start_and_where_nothing_is_held() -> None:
    world = world_of(0)
    splits.announce(world, "split", 2, 1)
    action = world.instrument("ins").servicing.actions[0]
    assert split.apply(action, None, [], at_us=1) == []
    trades_before = world_of(0)
    trades(trades_before, "+10 b1")
    assert split.apply(action, position(trades_before), [], at_us=1) == []
    sell(trades_before, "s1", "10", settled=True)
    later = replace(action.terms, ex_date=TODAY + timedelta(days=2))
    started = replace(action, terms=later, is_started=True, number=1)
    assert split.apply(started, position(trades_before), [], at_us=1) == []


def test_a_closed_position_is_split_for_what_is_paid_on_the_last_days_of_its_trades() -> None:
    """Ten units, delivered on the ex date before the split came: 15 have a dividend of that day."""
    world = world_of(2)
    trades(world, "+10 b1")
    world.today = TODAY + timedelta(days=4)
    sell(world, "s1", "10", settled=True)
    ex_date = TODAY + timedelta(days=5)
    splits.begin(world, 3, 2, ex_date=ex_date)
    assert (position(world).status, position(world).entitled(ex_date)) == ("closed", 10)
    with pytest.raises(Refused, match="split has to split the position before"):
        split.check_applied(world.instrument("ins"), position(world), ex_date)
    request = OrderRequest("buy", Decimal(100))
    assert world.place("b2", request, price=splits.PRICE) == "instrument_not_trading"
    assert splits.apply(world) == "ok"
    assert (position(world).status, position(world).entitled(ex_date)) == ("closed", 15)
    assert splits.apply(world) == "nothing"
    assert world.place("b2", request, price=splits.PRICE) == "ok"
    world.check_conservation()


# --- prices -------------------------------------------------------------------------------------------


def test_quotes_of_before_count_as_none() -> None:
    world = world_of(0)
    unit = world.instrument("ins").unit
    splits.begin(world, 2, 1)
    security, since = world.instrument("ins"), world.now_us
    quoted = {
        "before": Price(Decimal(100), Decimal(101), since - 1, unit=unit),
        "before, received after": Price(Decimal(100), Decimal(101), since - 1, unit=security.unit),
        "after, of former units": Price(Decimal(100), Decimal(101), since + 1, unit=unit),
        "of the first release": Price(Decimal(100), Decimal(101), since - 1),
    }
    assert {name: instrument.price_of(security, one) for name, one in quoted.items()} == dict.fromkeys(
        quoted
    )
    now = Price(Decimal(50), Decimal(51), since, unit=security.unit)
    assert instrument.price_of(security, now) == now


# --- entitlement --------------------------------------------------------------------------------------

ENTITLED = """
ex date  |before|after
day 0    |7     |7
day 2    |4     |8
day 4    |10    |20
"""


def test_a_payment_goes_by_the_units_of_its_ex_date() -> None:
    """Bought 7 settled, 3 more that settle on day 3, and 3 sold that settle on day 1; split on day 2."""
    day = [TODAY + timedelta(days=days) for days in range(5)]
    world = world_of(0)
    trades(world, "+7 b1, 6 b2, -3 s1")
    held = replace(
        position(world),
        dated=tuple(
            replace(position(world).dated[0], day=day[of], units=Decimal(units))
            for of, units in ((1, -3), (3, 6))
        ),
    )
    before = [held.entitled(on) for on in (day[0], day[2], day[4])]
    splits.begin(world, 2, 1, ex_date=day[2])
    action = world.instrument("ins").servicing.actions[0]
    fact = split.apply(action, held, [], at_us=9)[0]
    assert isinstance(fact, PositionSplit)
    after = positions.evolve(held, fact)
    seen = [after.entitled(on) for on in (day[0], day[2], day[4])]
    table = [(Decimal(row["before"]), Decimal(row["after"])) for row in rows(ENTITLED)]
    assert list(zip(before, seen, strict=True)) == table


def test_a_payment_before_two_splits_goes_by_the_units_of_its_ex_date() -> None:
    one, two = AFTER, AFTER + timedelta(days=3)
    world = world_of(0)
    trades(world, "+7 b1")
    splits.begin(world, 2, 1, action="one", ex_date=one)
    splits.begin(world, 5, 1, action="two", ex_date=two)
    splits.apply(world, "one")
    splits.apply(world, "two")
    entitled = [position(world).entitled(on) for on in (one - timedelta(days=1), one, two)]
    assert entitled == [7, 14, 70]


def test_a_payment_before_many_splits_goes_by_the_units_of_its_ex_date() -> None:
    """A split a day while a dividend waits for its payment, which may be 90 days after its ex date."""
    world, count = world_of(0), HELD_BEFORE_MIN + 2
    trades(world, "+7 b1")
    for number in range(count):
        day, action = AFTER + timedelta(days=number), f"split{number}"
        splits.begin(world, 2, 1, action=action, ex_date=day)
        assert splits.apply(world, action) == "ok"
    days = range(-1, count)
    entitled = [position(world).entitled(AFTER + timedelta(days=number)) for number in days]
    assert entitled == [7 * 2 ** (number + 1) for number in days]


def test_what_settles_later_is_left_out_rounded_up_and_so_are_sells() -> None:
    """1 for 2: of 7 settled and 3 unsettled units 5 are left; 3 of before count as 2, so 3 are paid."""
    later = date(2026, 4, 1)
    for units, entitled in ((3, 3), (-3, 6)):
        world = world_of(0)
        trades(world, "+10 b1")
        dated = (replace(position(world).dated[0], day=later, units=Decimal(units)),)
        held = replace(position(world), dated=dated)
        splits.begin(world, 1, 2)
        fact = split.apply(world.instrument("ins").servicing.actions[0], held, [], at_us=9)[0]
        after = positions.evolve(held, fact)  # type: ignore[arg-type]
        assert after.entitled(TODAY) == entitled
