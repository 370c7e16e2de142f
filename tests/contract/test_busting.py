"""Busts on a journal that others write at the same time. On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands.desk import Desk
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.kernel.errors import Unavailable
from tests.support.checkers import invariants
from tests.support.engines.desks import INSTRUMENT, Shop


@pytest.fixture
def shop(shop: Shop, journal_url: str) -> Iterator[Shop]:
    """At its end the books are audited."""
    yield shop
    assert invariants.check(journal_url) == []
    assert audit(shop.journal.datastore, AuditOptions()).findings == []


def average(shop: Shop, account: str) -> Decimal | None:
    price: Decimal | None = shop.desk.state(account).holdings.positions[INSTRUMENT].average_price
    return price


def test_a_bust_of_a_busy_account_is_booked_once(shop: Shop) -> None:
    """Orders of the account are placed and executed meanwhile; what came since is read on."""
    account = shop.open("100000.00")
    order = shop.buy(account)
    shop.start(order)
    shop.report(order, "x", "trade", price=Decimal(50), quantity=Decimal("0.50"))
    shop.report(order, "end", "ended")

    def buy_ten(_: int) -> None:
        for _ in range(10):
            shop.execute(shop.buy(account))

    def bust(_: int) -> None:
        """The account may always be faster, on a busy machine: who reports tries again."""
        while True:
            with suppress(Unavailable):
                shop.report(order, "bust", "trade_bust", refers_to="x")
                return

    with ThreadPoolExecutor(6) as pool:
        busy = [pool.submit(buy_ten, n) for n in range(3)]
        busts = [pool.submit(bust, n) for n in range(3)]
        for one in (*busy, *busts):
            one.result()
    assert [trade.status for trade in shop.desk.state(order).trades] == ["busted"]
    held = shop.desk.state(account).holdings.positions[INSTRUMENT]
    assert (str(held.units.total), average(shop, account)) == ("29.70", Decimal(100))


def test_another_desk_counts_what_this_one_has_recorded(shop: Shop, journal_url: str) -> None:
    account = shop.open("10000.00")
    order, other = shop.buy(account, "2000.00"), shop.buy(account, "2000.00")
    for one, price in ((order, "100"), (other, "120")):
        shop.start(one)
        shop.report(one, f"{price}-x", "trade", price=Decimal(price), quantity=Decimal(10))
    with Journal(journal_url, engine_codec()) as journal:
        there = Shop(Desk(journal, now_us=shop.now_us), shop.prices, now_us=shop.now_us)
        words = {"price": Decimal(80), "quantity": Decimal(10)}
        there.report(order, "fix", "trade_correct", refers_to="100-x", **words)
        assert average(there, account) == Decimal(100)
        shop.report(other, "bust", "trade_bust", refers_to="120-x")
        assert average(shop, account) == Decimal(80)
        there.report(order, "bust again", "trade_bust", refers_to="fix")
    shop.report(other, "more", "trade", price=Decimal(100), quantity=Decimal(1))
    assert average(shop, account) == Decimal(100)
