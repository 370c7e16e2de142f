"""Orders and reports around a split: in whose units they count, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from engine.domain import split, trading
from engine.domain.corporate_action import ActionCompleted
from engine.domain.order_request import OrderRequest
from engine.kernel.errors import Refused, Unavailable
from tests.support.engines import splits
from tests.support.engines.splits import (
    AFTER,
    FREE,
    PRICE,
    buy,
    position,
    sell,
    trades,
    world_of,
)
from tests.support.engines.world import TODAY, World
from tests.support.models.table import rows


def executing_sell(world: World) -> None:
    world.place("ord", OrderRequest("sell", quantity=Decimal(4)), price=PRICE, fee=FREE)
    world.start("ord", PRICE)


def executing_buy(world: World) -> None:
    world.place("ord", OrderRequest("buy", Decimal(400)), price=PRICE, fee=FREE)
    world.start("ord", PRICE)


def waiting_sell(world: World) -> None:
    world.place("ord", OrderRequest("sell", quantity=Decimal(4)), price=PRICE, fee=FREE)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (executing_sell, "at its venue"),
        (executing_buy, "at its venue"),
        (waiting_sell, "4 units are reserved"),
    ],
)
def test_the_split_waits_for_the_end_of_the_accounts_orders(
    happens: Callable[[World], None], reason: str
) -> None:
    world = world_of(0)
    trades(world, "+10 b1")
    happens(world)
    splits.begin(world, 2, 1)
    assert splits.apply(world) == "invalid_request"
    assert reason in str(world.refused)
    if world.order().status == "executing":
        world.trade("ord", "x1", "100", "4")
        world.end("ord")
    else:
        assert world.start("ord", PRICE) == "ok"
        assert world.order().cancelled_reason == "corporate_action"
    assert splits.apply(world) == "ok"


# --- orders around the date -------------------------------------------------------------------------

AROUND = """
when                   |place                 |sent
before the ex date     |ok                    |executing
on the ex date         |instrument_not_trading|cancelled corporate_action
started                |instrument_not_trading|cancelled corporate_action
applied                |ok                    |cancelled corporate_action
completed              |ok                    |cancelled corporate_action
started, holding none  |ok                    |cancelled corporate_action
"""


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("row", rows(AROUND), ids=lambda row: row["when"])
def test_orders_around_the_date(row: dict[str, str], side: str) -> None:
    world = world_of(0)
    when, holds = row["when"], "none" not in row["when"]
    if holds:
        trades(world, "+10 b1")
    elif side == "sell":
        return
    asked = (
        OrderRequest("buy", Decimal(400)) if side == "buy" else OrderRequest("sell", quantity=Decimal(4))
    )
    assert world.place("waits", asked, price=PRICE, fee=FREE) == "ok"
    splits.announce(world, "split", 2, 1, ex_date=AFTER if when.startswith("before") else TODAY)
    if when.split(",")[0] in ("started", "applied", "completed"):
        splits.start(world, "split")
    if when in ("applied", "completed"):
        world.start("waits", PRICE)
        assert splits.apply(world) == "ok"
    if when == "completed":
        done = ActionCompleted("split", 1, Decimal(0), world.now_us)
        world.record("instrument", "ins", done)
    assert world.place("new", asked, price=PRICE, fee=FREE) == row["place"]
    if world.refused:
        assert "A split of the instrument is due" in str(world.refused)
    world.start("waits", PRICE)
    order = world.order("waits")
    assert " ".join(filter(None, (order.status, order.cancelled_reason))) == row["sent"]
    world.check_reserved()


def test_an_order_sent_after_a_split_counts_in_its_units() -> None:
    world = world_of(0)
    splits.begin(world, 2, 1)
    buy(world, "b1", "4", settled=False)
    assert (world.order("b1").splits, position(world).splits) == (1, 1)
    assert splits.apply(world) == "nothing"


def test_a_position_ahead_of_its_instrument_is_read_again() -> None:
    """The account was split by another process, and the instrument here is that of a moment ago."""
    world = world_of(0)
    former = world.instrument("ins")
    trades(world, "+10 b1")
    splits.begin(world, 2, 1)
    splits.apply(world)
    with pytest.raises(Unavailable):
        split.awaits(former, position(world), TODAY)


# --- reports of other units ---------------------------------------------------------------------------


def test_a_trade_of_an_order_sent_before_opens_a_position_that_is_split_then() -> None:
    """Made on the eve of the split, reported after it has begun."""
    world = world_of(0)
    executing_buy(world)
    splits.begin(world, 2, 1, ex_date=AFTER)
    assert world.trade("ord", "x1", "100", "4") == "ok"
    world.end("ord")
    assert position(world).splits == 0
    assert splits.apply(world) == "ok"
    assert position(world).units.total == 8


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize(("to", "from_"), [(10, 1), (1, 10)])
@pytest.mark.parametrize("asked", [executing_buy, executing_sell])
def test_a_trade_on_the_ex_date_is_of_units_of_after(
    asked: Callable[[World], None], to: int, from_: int, is_begun: bool
) -> None:
    """Booked in units of before it was split once more: ten units became a hundred."""
    world = world_of(0)
    trades(world, "+10 b1")
    asked(world)
    if is_begun:
        splits.begin(world, to, from_)
    else:
        splits.announce(world, "split", to, from_, ex_date=TODAY)
    held = position(world).units.total
    assert world.trade("ord", "x1", "100", "3") == "parked"
    parked = world.states["parked", "sim/x1"]
    assert (parked.fault, position(world).units.total) == ("split", held)
    with pytest.raises(Refused, match="a split lies between"):
        check_bookable(world, parked, world.account(), world.order("ord"), TODAY)
    world.end("ord")
    world.check_reserved()


def test_a_late_report_of_former_units_is_not_booked() -> None:
    """Parked before or after the split: four units of then are eight of now, so nobody can book them."""
    world = world_of(0)
    trades(world, "+10 b1")
    assert world.trade("b1", "late", "100", "4") == "parked"
    splits.begin(world, 2, 1)
    splits.apply(world)
    parked = world.states["parked", "sim/late"]
    order, account = world.order("b1"), world.account()
    with pytest.raises(Refused, match="a split lies between") as refusal:
        check_bookable(world, parked, account, order)
    assert refusal.value.code == "report_not_bookable"
    sell(world, "s1", "20", settled=True)  # nothing is held any more
    with pytest.raises(Refused, match="a split lies between"):
        check_bookable(world, parked, world.account(), order)


def check_bookable(
    world: World, parked: object, account: object, order: object, trade_date: date = AFTER
) -> None:
    security = world.instrument("ins")
    trading.check_bookable(parked, account, order, security, trade_date)  # type: ignore[arg-type]


def test_a_trade_in_other_units_than_the_position_is_parked() -> None:
    """It cannot happen while the split waits for orders; if it does, nothing wrong is booked."""
    world = world_of(0)
    trades(world, "+10 b1")
    executing_buy(world)
    splits.begin(world, 2, 1)
    action = world.instrument("ins").servicing.actions[0]
    for fact in split.apply(action, position(world), [], at_us=world.now_us):
        world.record("account", "acc", fact)
    assert world.trade("ord", "x1", "100", "4") == "parked"
    assert world.states["parked", "sim/x1"].fault == "split"
    assert position(world).units.total == 20
