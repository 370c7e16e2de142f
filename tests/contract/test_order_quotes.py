"""Quotes of orders on both databases: kept, purged, and used by one order among many at once."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from threading import Barrier, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from engine.commands import decisions
from engine.commands.desk import Command, Outcome
from engine.config.settings import Settings
from engine.domain.order import Placed
from engine.domain.order_quote import OrderQuote, QuoteConsumed
from engine.domain.order_request import OrderRequest
from engine.history.story import read_story
from engine.journal.datastore import open_store
from engine.journal.store import Store
from engine.kernel.errors import EngineError
from engine.kernel.limits import ORDER_QUOTE_KEPT_US, ORDER_QUOTES_MAX
from engine.registers import order_quotes
from engine.registers.operations import define_operations
from engine.registers.order_quotes import OrderQuotes
from tests.golden.samples import SAMPLES
from tests.support.checkers import invariants
from tests.support.engines.desks import INSTRUMENT, TENANT, Shop, codes, open_shop

TABLES = define_operations()
NOW_US = 1_700_000_000_000_000
PLACED = SAMPLES["order.placed.1"]


@pytest.fixture
def store(installed: Settings) -> Iterator[Store]:
    store = open_store(installed.journal_url)
    yield store
    store.close()


def quote(name: str, account: str = "acc_1", at_us: int = NOW_US) -> OrderQuote:
    assert isinstance(PLACED, Placed)
    terms = replace(PLACED, order=f"quo_{name}", account=account, at_us=at_us)
    return OrderQuote(terms, "money 100 USD", at_us + 30)


def kept(store: Store) -> set[str]:
    with store.reading() as connection:
        return set(connection.execute(sa.select(TABLES.order_quotes.c.id)).scalars())


def test_a_quote_is_found_as_it_was_given_by_its_own_account_alone(store: Store) -> None:
    register = OrderQuotes(store, TABLES)
    register.keep("acme", quote("a"))
    assert register.find("acme", "acc_1", "quo_a") == quote("a")
    for tenant, account, name in (
        ("other", "acc_1", "quo_a"), ("acme", "acc_2", "quo_a"), ("acme", "acc_1", "quo_b"),
        ("acme", "acc_1", "\u0661"), ("acme", "acc_1", ""),
    ):  # fmt: skip
        assert register.find(tenant, account, name) is None


def test_a_row_of_another_release_is_no_quote(store: Store) -> None:
    register = OrderQuotes(store, TABLES)
    register.keep("acme", quote("a"))
    with store.writing() as connection:
        connection.execute(TABLES.order_quotes.update().values(body=b'{"terms":1}'))
    assert register.find("acme", "acc_1", "quo_a") is None


def test_expired_quotes_are_purged_and_an_account_has_so_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_quotes, "ORDER_QUOTES_MAX", 3)
    register = OrderQuotes(store, TABLES)
    register.keep("acme", quote("other", "acc_2"))
    for name in "abcde":
        register.keep("acme", quote(name))
    assert kept(store) == {"quo_c", "quo_d", "quo_e", "quo_other"}
    register.keep("acme", quote("f", at_us=NOW_US + 30 + ORDER_QUOTE_KEPT_US))
    assert kept(store) == {"quo_d", "quo_e", "quo_f", "quo_other"}
    register.keep("acme", quote("g", at_us=NOW_US + 31 + ORDER_QUOTE_KEPT_US))
    assert kept(store) == {"quo_f", "quo_g"}
    assert ORDER_QUOTES_MAX > 3


def test_many_quotes_at_once_are_kept_and_purged_once(store: Store) -> None:
    """Each of four writers purges what the others would purge too."""
    register, start = OrderQuotes(store, TABLES), Barrier(4)
    for number in range(40):
        register.keep("acme", quote(f"old{number}", f"acc_{number % 3}"))
    later_us = NOW_US + 31 + ORDER_QUOTE_KEPT_US
    faults: list[Exception] = []

    def keep(writer: int) -> None:
        start.wait(30)
        try:
            for number in range(10):
                register.keep("acme", quote(f"new{writer}{number}", f"acc_{writer}", later_us))
        except EngineError as error:
            faults.append(error)

    threads = [Thread(target=keep, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert kept(store) == {f"quo_new{writer}{number}" for writer in range(4) for number in range(10)}


# --- many orders with one quote -------------------------------------------------------------------


def quoted(shop: Shop, account: str, cash: str = "10.00") -> OrderQuote:
    words: dict[str, Any] = {"firm": shop.firm, "tenant": TENANT, "account": account}
    request = OrderRequest("buy", Decimal(cash))
    outcome = shop.do(
        decisions.quote_order,
        quote=shop.ids.new("quo"),
        instrument=INSTRUMENT,
        order_request=request,
        **words,
    )
    assert isinstance(outcome.value, OrderQuote)
    assert not outcome.facts
    return outcome.value


def using(shop: Shop, account: str, known: OrderQuote, key: str = "") -> Command:
    """A buy that names a quote, not yet handed in."""
    return shop.command(
        decisions.place_order,
        key,
        firm=shop.firm,
        tenant=TENANT,
        account=account,
        order=shop.ids.new("ord"),
        instrument=INSTRUMENT,
        order_request=OrderRequest("buy", Decimal("10.00"), quote=known.id),
        quote=known,
    )


def test_of_a_hundred_orders_of_two_desks_one_uses_the_quote(shop: Shop, journal_url: str) -> None:
    """Two sets of caches on one journal, as two processes have them."""
    account, start = shop.open("5000.00"), Barrier(2)
    known = quoted(shop, account)
    answers: list[Outcome | Exception] = []

    def buy() -> None:
        with open_shop(journal_url) as one:
            buys = [using(one, account, known) for _ in range(50)]
            start.wait(30)
            answers.extend(one.desk.do_all(buys))

    threads = [Thread(target=buy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes(answers) == {"Outcome": 1, "quote_already_consumed": 99}
    facts = [one.fact for one in shop.journal.read()]
    (placed,) = [fact for fact in facts if isinstance(fact, Placed)]
    (consumed,) = [fact for fact in facts if isinstance(fact, QuoteConsumed)]
    assert (placed.quote, consumed.order) == (known.id, placed.order)
    (told,) = read_story(shop.journal, known.id).told
    assert (told.state["order"], told.state["cash"]) == (placed.order, str(known.cash))
    assert invariants.check(journal_url) == []


def test_a_repeated_key_answers_as_the_first_time_although_the_quote_is_used(shop: Shop) -> None:
    account = shop.open("5000.00")
    known = quoted(shop, account)
    first = shop.desk.do(using(shop, account, known, "key"))
    expired = replace(known, expires_at_us=0)
    for later in (known, expired, None):
        command = using(shop, account, known, "key")
        again = shop.desk.do(replace(command, decide=replaced(command, later)))
        assert again.is_repeat
        assert [fact.offset for fact in again.facts] == [fact.offset for fact in first.facts]


def replaced(command: Command, quote: OrderQuote | None) -> Any:
    """The command's decision with what has become of the quote's row."""
    decide: Any = command.decide
    return lambda context: decide.func(context, **{**decide.keywords, "quote": quote})
