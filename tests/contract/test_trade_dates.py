"""The trade date in orders and trades: the market's local date, by the venue's clock within reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.kernel.fact import to_us
from tests.support.engines.desks import INSTRUMENT, TERMS, Shop, open_shop

LATE_US = to_us(datetime(2026, 3, 12, 15, 30, tzinfo=UTC))
"""Half past midnight of Friday in Tokyo."""
DAY_US = 24 * 3_600_000_000


class Wall:
    """Wall time that a test sets."""

    us = LATE_US

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def shop(journal_url: str, wall: Wall) -> Iterator[Shop]:
    with open_shop(journal_url, is_sandbox=True) as shop:
        shop.desk._decider._now_us = wall
        yield shop


def test_after_midnight_in_tokyo_it_is_the_next_day(shop: Shop) -> None:
    order = started(shop)
    shop.report(order, "x1", "trade", price=Decimal(100), quantity=Decimal("0.5"))
    known = shop.desk.state(order)
    assert known.terms.settlement_date == known.trades[0].terms.settlement_date == date(2026, 3, 16)


def started(shop: Shop) -> str:
    """A buy at the venue, of an instrument that settles in Tokyo after one day."""
    account = shop.open()
    tokyo = replace(TERMS, issuer_country="JP", settlement_days=1)
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=tokyo)
    order = shop.buy(account)
    shop.start(order)
    return order


@pytest.mark.parametrize(
    ("executed_at_us", "settles"),
    [
        pytest.param(LATE_US + DAY_US // 2, date(2026, 3, 16), id="while it was under way"),
        pytest.param(LATE_US - 60_000_000, date(2026, 3, 16), id="by a clock behind ours"),
        pytest.param(LATE_US + 4 * DAY_US + 60_000_000, date(2026, 3, 18), id="by a clock ahead"),
    ],
)
def test_a_report_that_comes_days_later_is_dated_by_its_execution(
    shop: Shop, wall: Wall, executed_at_us: int, settles: date
) -> None:
    order = started(shop)
    wall.us += 4 * DAY_US
    shop.report(
        order,
        "x1",
        "trade",
        price=Decimal(100),
        quantity=Decimal("0.5"),
        executed_at_us=executed_at_us,
    )
    assert shop.desk.state(order).trades[0].terms.settlement_date == settles


def test_the_market_goes_by_business_time(shop: Shop) -> None:
    account = shop.open()
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=replace(TERMS, issuer_country="JP"))
    shop.do(decisions.advance_clock, by_us=timedelta(days=3) // timedelta(microseconds=1))
    order = shop.desk.state(shop.buy(account))
    assert order.terms.settlement_date == date(2026, 3, 16)
