"""The desk: many commands at once, several desks on one journal, repeats and refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from threading import Event
from typing import Any

import msgspec
import pytest

from engine.commands import decisions
from engine.commands.desk import Decision, DecisionContext, Outcome
from engine.journal.append import Appender
from engine.kernel.errors import Refused
from tests.support.checkers import checker
from tests.support.engines.desks import INSTRUMENT, TENANT, Shop, codes


def balance(shop: Shop, account: str) -> tuple[str, str]:
    known = shop.desk.state(account).holdings.balance("USD")
    return str(known.total), str(known.reserved)


def test_an_order_lives(shop: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    assert balance(shop, account) == ("1000.00", "100.00")
    shop.execute(order)
    assert balance(shop, account) == ("900.50", "0.00")
    shop.settle(order)
    known = shop.desk.state(order)
    assert (known.status, known.traded_quantity, known.fees) == (
        "settled",
        Decimal("0.99"),
        Decimal("0.50"),
    )
    assert [recorded.version for recorded in shop.journal.stream(order)] == list(range(1, 7))


def test_conflicting_buys_get_exactly_what_there_is(shop: Shop, journal_url: str) -> None:
    account = shop.open("1050.00")
    answers = shop.desk.do_all([shop.buying(account) for _ in range(30)])
    assert codes(answers) == {"Outcome": 10, "insufficient_funds": 20}
    assert codes(answers[:10]) == {"Outcome": 10}
    assert balance(shop, account) == ("1050.00", "1000.00")
    assert checker.problems(*checker.read(journal_url)) == []


def test_two_desks_share_an_account(shop: Shop, other: Shop) -> None:
    account = shop.open("1000.00")
    answers: list[Outcome | Exception] = []
    for _ in range(3):
        for one in (shop, other):
            answers += one.desk.do_all([one.buying(account) for _ in range(2)])
    assert codes(answers) == {"Outcome": 10, "insufficient_funds": 2}


def test_what_is_decided_on_an_account_that_moved_on_is_decided_again(shop: Shop, other: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    words = {"tenant": TENANT, "account": account, "flags": {}}
    other.do(decisions.change_account, status="closed", **words)
    shop.start(order)  # its desk knows the account as it was, and starting does not change it
    known = shop.desk.state(order)
    assert (known.status, known.cancelled_reason) == ("cancelled", "account_closed")


def test_a_thread_decides_while_another_waits_for_its_commit(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shop.open(), shop.open()
    is_writing, is_decided, write = Event(), Event(), Appender.write

    def slowly(self: Appender, group: Any) -> None:
        is_writing.set()
        assert is_decided.wait(5)
        write(self, group)

    def observed(decide: Any, context: DecisionContext) -> Decision:
        changes = yield from decide(context)
        is_decided.set()
        return changes

    monkeypatch.setattr(Appender, "write", slowly)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(shop.desk.do, shop.buying(first))
        assert is_writing.wait(5)
        command = shop.buying(second)
        shop.desk.do(msgspec.structs.replace(command, decide=partial(observed, command.decide)))
        assert len(answer.result(5).facts) == 2


def test_threads_that_share_a_desk_each_get_their_own_answers(shop: Shop) -> None:
    accounts = [shop.open() for _ in range(4)]

    def buy(account: str) -> set[str]:
        commands = [[shop.buying(account, "10.00") for _ in range(3)] for _ in range(10)]
        answers = [answer for three in commands for answer in shop.desk.do_all(three)]
        assert codes(answers) == {"Outcome": 30}
        return {fact.stream for one in answers if isinstance(one, Outcome) for fact in one.facts}

    with ThreadPoolExecutor(4) as pool:
        streams = list(pool.map(buy, accounts))
    for account, own in zip(accounts, streams, strict=True):
        assert own & set(accounts) == {account}


def test_nobody_is_refused_after_a_deposit_elsewhere(shop: Shop, other: Shop) -> None:
    account = shop.open("0")
    assert codes(shop.desk.do_all([shop.buying(account)])) == {"insufficient_funds": 1}
    other.deposit(account, "100.00")
    assert codes(shop.desk.do_all([shop.buying(account)])) == {"Outcome": 1}


def test_the_same_command_is_one_order(shop: Shop, other: Shop) -> None:
    account = shop.open("100.00")
    answers = shop.desk.do_all([shop.buying(account, key="k") for _ in range(10)])
    answers += shop.desk.do_all([shop.buying(account, key="k")])
    answers += other.desk.do_all([other.buying(account, key="k")])
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert [outcome.is_repeat for outcome in outcomes] == [False] + [True] * 11
    assert len({outcome.offset for outcome in outcomes}) == 1
    placed = {repr(sorted(outcome.states.items())[-1]) for outcome in outcomes}
    assert len(placed) == 1


def test_a_change_elsewhere_is_seen_before_it_is_refused(shop: Shop, other: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    other.execute(order)
    with pytest.raises(Refused, match="filled"):
        shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=order)


def test_a_report_is_judged_by_the_order_as_it_is(shop: Shop, other: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    other.report(order, "too soon", "ended")
    shop.start(order)
    trade = {"price": Decimal(100), "quantity": Decimal("0.50")}
    other.report(order, "x", "trade", **trade)
    assert [trade.terms.execution_reference for trade in other.desk.state(order).trades] == ["x"]


def test_a_deposit_is_judged_by_the_account_as_it_is(shop: Shop, other: Shop) -> None:
    account = shop.open()
    other.buy(account)
    words = {"tenant": TENANT, "account": account}
    shop.do(decisions.change_account, status="suspended", flags={}, **words)
    with pytest.raises(Refused) as refused:
        other.deposit(account, "1.00")
    assert refused.value.code == "deposit_forbidden"


def test_an_order_may_know_more_than_a_cached_account(shop: Shop, other: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    other.buy(account)
    shop.execute(order)
    other.settle(order)
    assert other.desk.state(order).status == "settled"


def test_other_tenants_see_nothing(shop: Shop) -> None:
    account = shop.open()
    order = shop.buy(account)
    with pytest.raises(Refused, match="No such order"):
        shop.do(decisions.request_cancel, tenant="another", account=account, order=order)


def test_a_long_account_is_snapshotted_while_it_is_warm(shop: Shop, other: Shop) -> None:
    account = shop.open("100000.00")
    for _ in range(5):
        shop.desk.do_all([shop.buying(account, "2.00") for _ in range(50)])
    table = shop.journal.datastore.tables.snapshots
    with shop.journal.datastore.store.reading() as connection:
        versions = connection.execute(table.select()).all()
    assert [row.stream for row in versions] == [account]
    assert other.desk.state(account) == shop.desk.state(account)


def test_what_does_not_exist_is_not_found(shop: Shop) -> None:
    account = shop.open()
    shop.prices.clear()
    with pytest.raises(Refused) as refused:
        shop.buy(account)
    assert refused.value.code == "missing_price"
    assert INSTRUMENT in str(shop.desk.state(INSTRUMENT))
