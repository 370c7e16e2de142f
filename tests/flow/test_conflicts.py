"""Many who want the same: one account's cash (F6), one idempotency key (F8).

Each row has a control: a desk that is broken in one place, which the same test must notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from hashlib import sha256
from itertools import repeat
from threading import Barrier, Thread
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.commands.command import new_command_id
from engine.commands.decider import Decider
from engine.commands.desk import Command, Outcome
from engine.commands.entries import Reads
from engine.domain import bookings, holdings, idempotency
from engine.domain.order import Placed
from engine.domain.order_request import OrderRequest
from engine.journal.journal import Journal
from engine.journal.writer import Append
from engine.kernel.fact import Recorded
from tests.support.checkers import invariants
from tests.support.engines.desk_clients import DeskClient
from tests.support.engines.desks import INSTRUMENT, TENANT, Shop, codes, open_shop

BUYS, CASH = 200, "1234.56"
ACCEPTED = 12  # floor(1234.56 / 100.00)


# --- F6: one account's cash -----------------------------------------------------------------------


def conflict(shop: Shop, journal_url: str) -> list[str]:
    """200 buys of 100.00 at once, of an account that the desk has seen before."""
    account, client = shop.open(CASH), DeskClient()
    answers = client.ask(shop.desk, [shop.buying(account) for _ in range(BUYS)])
    return faults(answers, client, journal_url)


def faults(answers: Sequence[Outcome | Exception], client: DeskClient, journal_url: str) -> list[str]:
    """What is wrong with the answers, and with the journal."""
    wanted = {"Outcome": ACCEPTED, "insufficient_funds": BUYS - ACCEPTED}
    found = invariants.check(journal_url, exchanges=client.exchanges)
    return found if codes(answers) == wanted else [f"answered: {dict(codes(answers))}", *found]


def test_as_many_buys_are_accepted_as_there_is_cash(shop: Shop, journal_url: str) -> None:
    assert conflict(shop, journal_url) == []


def test_also_of_an_account_opened_in_the_same_moment(shop: Shop, journal_url: str) -> None:
    """Opening, deposit and its completion are answered, and 200 buys handed in, by a desk of its own."""
    shop.open("0")
    account, payment = shop.ids.new("acc"), shop.ids.new("dep")
    words = {"tenant": TENANT, "account": account}
    first = [
        shop.command(decisions.open_account, base_currency="USD", funding_currencies=(), **words),
        shop.command(
            decisions.create_payment, payment=payment, kind="deposit", currency="USD",
            amount=Decimal(CASH), **words,
        ),
        shop.command(decisions.end_payment, payment=payment, is_completed=True, **words),
    ]  # fmt: skip
    for command in first:
        shop.desk.do(command)
    client = DeskClient()
    with open_shop(journal_url) as fresh:
        answers = client.ask(fresh.desk, [fresh.buying(account) for _ in range(BUYS)])
    assert faults(answers, client, journal_url) == []


def test_three_desks_at_once_accept_no_more(shop: Shop, journal_url: str) -> None:
    """Three sets of caches on one journal, each with its writer and its share of the buys."""
    account, start = shop.open(CASH), Barrier(3)
    clients = [DeskClient() for _ in range(3)]
    answers: list[Outcome | Exception] = []

    def buy(client: DeskClient, count: int) -> None:
        with open_shop(journal_url) as one:
            buys = [one.buying(account) for _ in range(count)]
            start.wait(30)
            answers.extend(client.ask(one.desk, buys))

    threads = [Thread(target=buy, args=(t, n)) for t, n in zip(clients, (67, 67, 66), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everyone = DeskClient()
    everyone.exchanges = [one for client in clients for one in client.exchanges]
    assert faults(answers, everyone, journal_url) == []


def refused_after_deposit(shop: Shop, other: Shop) -> list[str]:
    """A deposit is answered by one desk, then the other is asked to spend it; 20 times."""
    account, found = shop.open("0"), []
    for _ in range(20):
        assert codes(shop.desk.do_all([shop.buying(account)])) == {"insufficient_funds": 1}
        other.deposit(account, "100.00")
        found += [
            str(answer)
            for answer in shop.desk.do_all([shop.buying(account)])
            if not isinstance(answer, Outcome)
        ]
    return found


def test_nobody_is_refused_after_a_deposit_was_answered(shop: Shop, journal_url: str) -> None:
    with open_shop(journal_url) as other:
        assert refused_after_deposit(shop, other) == []
    assert invariants.check(journal_url) == []


# --- F6: controls ---------------------------------------------------------------------------------


def test_a_desk_that_does_not_look_at_the_cash_is_noticed(
    shop: Shop, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reserve(_: object, placed: Placed) -> list[object]:
        assert placed.cash_amount is not None
        return [bookings.FundsReserved(placed.order, "USD", placed.cash_amount, placed.at_us)]

    monkeypatch.setattr(holdings, "reserve", reserve)
    found = conflict(shop, journal_url)
    assert any("I5" in fault and "available" in fault for fault in found), found


def test_a_desk_that_refuses_by_what_it_remembers_is_noticed(
    shop: Shop, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stands(_: object, decided: Any, streams: Sequence[str], reads: Reads) -> Any:
        yield from ()
        reads.versions |= {stream: decided.read[stream].version for stream in streams}
        return True

    monkeypatch.setattr(Decider, "_stands", stands)
    with open_shop(journal_url) as other:
        assert len(refused_after_deposit(shop, other)) == 20


# --- F8: one key ----------------------------------------------------------------------------------


def keyed(shop: Shop, account: str, key: str, cash: str = "100.00", tenant: str = TENANT) -> Command:
    """A buy with an idempotency key, as a client sends it: coming again, its digest is compared."""
    request = sha256(f"{account} {cash}".encode()).digest()

    def check_repeat(facts: Sequence[Recorded]) -> None:
        first = next(one for one in facts if isinstance(one.fact, Placed))
        idempotency.check_repeat(
            first.fact.request, request, first_at_us=first.envelope.at_us, at_us=first.envelope.at_us
        )

    return Command(
        partial(
            decisions.place_order, firm=shop.firm, tenant=tenant, account=account,
            order=shop.ids.new("ord"), instrument=INSTRUMENT,
            order_request=OrderRequest("buy", Decimal(cash), request=request),
        ),
        tenant, "cli_test", idempotency.command_id([tenant, account, "orders", key], b"secret"),
        is_repeatable=True, check_repeat=check_repeat,
    )  # fmt: skip


def one_key(
    shop: Shop, journal_url: str, keyed: Callable[..., Command] = keyed, times: int = 100
) -> list[str]:
    """The same buy with the same key `times` at once, between others, later, and at a fresh desk."""
    account, client = shop.open("100000.00"), DeskClient()
    same = [keyed(shop, account, "one key") for _ in range(times)]
    others = [keyed(shop, account, f"key {number}") for number in range(10)]
    answers = client.ask(shop.desk, [*others, *same], keys=[*range(10), *repeat("one key", times)])
    answers += client.ask(shop.desk, [keyed(shop, account, "one key")], keys=["one key"])
    with open_shop(journal_url) as fresh:  # remembers nothing, as after a crash
        answers += client.ask(fresh.desk, [keyed(fresh, account, "one key")], keys=["one key"])
    books = invariants.books(journal_url, exchanges=client.exchanges)
    orders = books.count("order.placed")
    found = [] if orders == 11 else [f"{orders} orders, wanted are 11"]
    wrong = [answer for answer in answers if not isinstance(answer, Outcome)]
    repeats = sum(isinstance(answer, Outcome) and answer.is_repeat for answer in answers)
    found += [] if repeats == times + 1 else [f"{repeats} repeats"]
    return [*found, *map(repr, wrong), *books.problems]


def test_one_key_is_one_order_and_one_answer(shop: Shop, journal_url: str) -> None:
    assert one_key(shop, journal_url) == []


def test_one_key_at_two_desks_at_once_is_one_order(shop: Shop, journal_url: str) -> None:
    account, start = shop.open("100000.00"), Barrier(2)
    clients = [DeskClient() for _ in range(2)]

    def buy(client: DeskClient) -> None:
        with open_shop(journal_url) as one:
            for number in range(10):
                buys = [keyed(one, account, str(number)) for _ in range(5)]
                start.wait(30)
                client.ask(one.desk, buys, keys=[number] * 5)

    threads = [Thread(target=buy, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exchanges = [one for client in clients for one in client.exchanges]
    assert [one for one in exchanges if not one.is_done] == []
    books = invariants.books(journal_url, exchanges=exchanges)
    assert books.problems == []
    assert books.count("order.placed") == 10


@pytest.mark.parametrize("is_known", [True, False], ids=["same-desk", "fresh-desk"])
def test_another_request_with_the_key_is_refused(shop: Shop, journal_url: str, is_known: bool) -> None:
    account = shop.open()
    with open_shop(journal_url) as fresh:
        later = shop if is_known else fresh
        together = [keyed(shop, account, "k"), keyed(shop, account, "k", cash="50.00")]
        assert codes(shop.desk.do_all(together)) == {"Outcome": 1, "idempotency_key_conflict": 1}
        answers = later.desk.do_all([keyed(later, account, "k", cash="50.00")])
        assert codes(answers) == {"idempotency_key_conflict": 1}
    books = invariants.books(journal_url)
    assert (books.problems, books.count("order.placed")) == ([], 1)


def test_a_key_that_was_refused_may_be_used_again(shop: Shop, journal_url: str) -> None:
    """A refusal records nothing, so the key is still free."""
    account = shop.open("99.99")
    assert codes(shop.desk.do_all([keyed(shop, account, "k")] * 3)) == {"insufficient_funds": 3}
    shop.deposit(account, "0.01")
    answers = shop.desk.do_all([keyed(shop, account, "k") for _ in range(3)])
    assert codes(answers) == {"Outcome": 3}
    books = invariants.books(journal_url)
    assert (books.problems, books.count("order.placed")) == ([], 1)


def test_what_comes_again_gets_its_first_answer_though_it_would_be_refused_now(
    shop: Shop, journal_url: str
) -> None:
    account = shop.open("100.00")
    first = shop.desk.do(keyed(shop, account, "k"))
    shop.execute(next(stream for stream in first.states if stream.startswith("ord_")))
    shop.do(decisions.change_account, tenant=TENANT, account=account, status="suspended", flags={})
    with open_shop(journal_url) as fresh:
        for one in (shop, fresh):
            again = one.desk.do(keyed(one, account, "k"))
            assert again.is_repeat
            assert again.offset == first.offset
            order = next(stream for stream in first.states if stream.startswith("ord_"))
            assert again.states[order] == first.states[order]


def test_tenants_do_not_share_keys(shop: Shop, journal_url: str) -> None:
    """The same key of another tenant is another command, and its own account's."""
    mine, theirs = shop.open(), shop.ids.new("acc")
    words = {"tenant": "another", "account": theirs}
    shop.do(decisions.open_account, base_currency="USD", funding_currencies=(), **words)
    payment = shop.ids.new("dep")
    shop.do(
        decisions.create_payment, payment=payment, kind="deposit", currency="USD",
        amount=Decimal("1000.00"), **words,
    )  # fmt: skip
    shop.do(decisions.end_payment, payment=payment, is_completed=True, **words)
    both = [keyed(shop, mine, "k"), keyed(shop, theirs, "k", tenant="another")]
    answers = shop.desk.do_all(both)
    assert codes(answers) == {"Outcome": 2}
    assert not any(isinstance(answer, Outcome) and answer.is_repeat for answer in answers)
    assert codes(shop.desk.do_all([keyed(shop, theirs, "k")])) == {"not_found": 1}
    books = invariants.books(journal_url)
    assert (books.problems, books.count("order.placed")) == ([], 2)


# --- F8: controls ---------------------------------------------------------------------------------


def test_a_desk_that_ignores_keys_is_noticed(shop: Shop, journal_url: str) -> None:
    def keyless(*args: object) -> Command:
        command = keyed(*args)  # type: ignore[arg-type]
        return replace(command, id=new_command_id(), is_repeatable=False, check_repeat=None)

    found = one_key(shop, journal_url, keyless, times=5)
    assert any(fault.startswith("I2: the key one key was answered in") for fault in found), found


def test_a_group_that_keeps_what_rests_on_a_loser_is_noticed(
    shop: Shop, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buys rest on repeats that record nothing: recorded all the same, versions would have holes.

    Two checks stand before that: what it rests on, and the version that it extends.
    """
    account = shop.open("100000.00")
    shop.desk.do(keyed(shop, account, "k"))
    monkeypatch.setattr(Append, "is_void", property(lambda _: False))
    monkeypatch.setattr(Journal, "_extended", lambda *_: [])
    with open_shop(journal_url) as fresh:  # does not know that the key was used
        fresh.desk.state(account)
        fresh.desk.do_all([keyed(fresh, account, name) for name in ("k", "a", "b", "c")])
    assert any("I7" in fault for fault in invariants.check(journal_url))
