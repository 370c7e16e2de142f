"""Prices that the simulated venue trades at."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from engine.domain.instrument import Instrument
from order_engine.tape import MarketTape
from tests.support.engines import splits
from tests.support.engines.splits import PRICE, world_of
from tests.support.engines.world import TODAY, World

NOW_US = int(datetime.combine(TODAY, time(15), UTC).timestamp()) * 1_000_000


def tape_of(world: World) -> MarketTape:
    security: Instrument = world.instrument("ins")
    price = replace(PRICE, at_us=NOW_US)
    desk = SimpleNamespace(state=lambda _: security)
    market = SimpleNamespace(
        latest=lambda _: price, since=lambda *_: [(1, SimpleNamespace(price=price))]
    )
    return MarketTape(cast(Any, desk), cast(Any, market), lambda: 0, lambda: NOW_US)


@pytest.mark.parametrize(("days", "is_traded"), [(0, False), (1, True)])
def test_between_ex_date_and_start_of_a_split_there_is_no_price(days: int, is_traded: bool) -> None:
    """It would be one of units of before, at which a resting order is executed on the ex date."""
    world = world_of(0)
    splits.announce(world, "split", 10, 1, ex_date=TODAY + timedelta(days=days))
    tape = tape_of(world)
    assert (tape.current("ins") is not None) == is_traded
    assert [posted.price is not None for posted in tape.since("ins", 0, 0)] == [is_traded]
