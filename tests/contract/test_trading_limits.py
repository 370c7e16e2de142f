"""Limits of trading on a real journal: exact for an account, whoever writes or has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Thread

import pytest

from engine.commands import decisions
from engine.commands.command import Outcome
from engine.commands.tally import Tally, start_of_day
from engine.domain.trading_limits import Limits, OrderCounted
from engine.kernel.errors import Refused
from tests.support.checkers import invariants
from tests.support.engines.desks import Shop, codes, open_shop

DAY_US = 86_400_000_000


@pytest.fixture
def shop(journal_url: str) -> Iterator[Shop]:
    with open_shop(journal_url, is_sandbox=True) as shop:
        yield shop


def test_an_accounts_day_is_exact_at_three_desks(shop: Shop, journal_url: str) -> None:
    account = shop.open("100000.00")
    limits = Limits(account_day={"USD": Decimal("1250.00")})
    answers: list[Outcome | Exception] = []
    together = Barrier(3)

    def hammer() -> None:
        with open_shop(journal_url, is_sandbox=True) as own:
            own.limits = limits
            together.wait()
            for _ in range(4):
                answers.extend(own.desk.do_all([own.buying(account) for _ in range(8)]))

    threads = [Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = codes(answers)
    told.pop("Unavailable", None)  # overtaken too often: nothing was recorded
    assert told["Outcome"] == 12
    assert set(told) == {"Outcome", "account_daily_limit"}
    assert invariants.check(journal_url) == []


def test_what_was_ordered_outlives_the_process_and_the_snapshot(shop: Shop, journal_url: str) -> None:
    account = shop.open("100000.00")
    shop.limits = Limits(account_day={"USD": Decimal(21_000)}, duplicate_window_us=DAY_US)
    for n in range(1, 121):  # 240 facts and more: there is a snapshot
        shop.buy(account, f"{100 + n}.00")
    with open_shop(journal_url, is_sandbox=True) as other:
        other.limits = shop.limits
        refused = other.desk.do_all([other.buying(account, "220.00"), other.buying(account)])
        assert codes(refused) == {"duplicate_order": 1, "Outcome": 1}
        day = other.desk.state(account).activity
        assert day.worth == {"USD": sum(100 + Decimal(n) for n in range(1, 121)) + 100}
        other.do(decisions.advance_clock, by_us=DAY_US)
        assert codes(other.desk.do_all([other.buying(account, "20000.00")])) == {"Outcome": 1}


def test_nothing_is_counted_while_nothing_is_limited(shop: Shop) -> None:
    account = shop.open()
    shop.limits = Limits(order={"USD": Decimal(500)}, tenant_day={"USD": Decimal(500)})
    shop.buy(account)
    assert not any(isinstance(fact.fact, OrderCounted) for fact in shop.journal.stream(account))


def test_the_same_key_again_is_no_duplicate(shop: Shop) -> None:
    account = shop.open()
    shop.limits = Limits(duplicate_window_us=DAY_US)
    first, second = (shop.desk.do(shop.buying(account, key="k")) for _ in range(2))
    assert second.is_repeat
    assert [fact.offset for fact in second.facts] == [fact.offset for fact in first.facts]
    with pytest.raises(Refused, match="has just placed the same") as refused:
        shop.desk.do(shop.buying(account, key="another"))
    assert refused.value.context["order"] in first.states


def test_a_tenants_day_is_found_in_the_journal(shop: Shop) -> None:
    account = shop.open("10000.00")
    journal = shop.journal
    for _ in range(2):
        for _ in range(3):
            shop.buy(account)
        shop.do(decisions.advance_clock, by_us=DAY_US)
    today = journal.read(journal.head - 1, 1)[0].envelope.business_date
    assert today is not None
    shop.buy(account)
    tally = Tally({"USD": Decimal("250.00")})
    tomorrow = today + timedelta(1)
    assert start_of_day(journal, today) == 0  # within a page
    tally.follow(journal.read())
    assert tally.known("tenant", "USD") == 100
    shop.tally = tally
    told = codes(shop.desk.do_all([shop.buying(account) for _ in range(3)]))
    assert told == {"Outcome": 1, "tenant_daily_limit": 2}
    assert start_of_day(journal, tomorrow) <= journal.head
