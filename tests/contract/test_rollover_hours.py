"""A rollover whose market is closed: it waits, and is sent at the opening, before or after maturity."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.commands import decisions
from engine.domain.trading_hours import TradingHours
from tests.contract.test_rollovers import (
    FIRST,
    MONTH,
    Life,
    audited,
    holding,
    life,
    listed,
    receivable,
    rollover_of,
    rolls_on,
)
from tests.support.engines.desks import HOUR_US

__all__ = ["life"]

AFTERNOON = TradingHours("XSIF", "UTC", (("15:00", "16:00"),))
"""Closed at 14:30, the time of day of these days."""


def advanced(life: Life, by_us: int) -> None:
    life.shop.do(decisions.advance_clock, by_us=by_us)
    life.stop()
    life.start()


@pytest.mark.parametrize("is_late", [False, True])
def test_a_rollover_waits_for_its_market(life: Life, is_late: bool) -> None:
    listed(life, 0)
    account = holding(life)
    cash = life.total(account)
    listed(life, 1, trading_hours=AFTERNOON)
    life.until(rolls_on(0))
    life.settle()
    life.roll()
    life.execute()
    order = rollover_of(life, account)
    assert (order.terms.purpose, order.status, order.pending_reason) == (
        "rollover",
        "pending",
        "market_closed",
    )
    assert life.total(account) == cash
    if not is_late:
        advanced(life, HOUR_US)
        life.execute()
        assert rollover_of(life, account).status == "filled"
        advanced(life, 23 * HOUR_US)
    life.until(FIRST + MONTH)
    life.settle()
    life.serve(12)
    life.settle()
    assert life.position(account, "ins_b0").status == "closed"
    assert receivable(life) == 0
    if is_late:
        waiting = life.shop.desk.state(order.terms.order)
        balance = life.shop.desk.state(account).holdings.balance("USD")
        assert (waiting.status, balance.reserved) == ("pending", waiting.terms.cash_amount)
        advanced(life, HOUR_US)
        life.execute()
    assert life.position(account, "ins_b1").units.total > Decimal(0)
    assert life.shop.desk.state(account).holdings.balance("USD").reserved == 0
    assert audited(life) == []
