"""Quotes: their order, their authors, and jumps that wait for another client. On both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.config.settings import Settings
from engine.domain.quote import Quote
from engine.journal.datastore import open_store
from engine.journal.store import Store
from engine.kernel.errors import Refused
from engine.kernel.wall import now_us
from engine.registers.market import Market, Symbols
from engine.registers.operations import define_operations

S = 1_000_000
TABLES = define_operations()
MONEY, PERCENT = "money 100 USD", "percent 100 USD"
FIFTH = Decimal("0.2")


@pytest.fixture
def store(installed: Settings) -> Iterator[Store]:
    store = open_store(installed.journal_url)
    yield store
    store.close()


def quote(bid: str, ask: str | None = None, at_us: int | None = None, **words: Any) -> Quote:
    known = {"author": "cli_one", "unit": MONEY} | words
    return Quote("SYM", Decimal(bid), Decimal(ask or bid), at_us, **known)


def bid(market: Market) -> str:
    known = market.latest("SYM")
    return str(known.bid) if known else "none"


# --- order ----------------------------------------------------------------------------------------


def test_a_fast_clock_holds_nobody_up(store: Store) -> None:
    here, there = Market(store, TABLES), Market(store, TABLES)
    (fast,) = here.put([quote("10", at_us=now_us() + 20 * S)])
    assert fast.stated_us is not None
    assert fast.at_us is not None
    assert fast.at_us < fast.stated_us
    there.put([quote("6", at_us=now_us())])
    here.refresh()
    assert (bid(here), bid(there)) == ("6", "6")
    started = Market(store, TABLES)
    started.refresh()
    assert bid(started) == "6"
    assert here.as_of("SYM", now_us()) == here.quote("SYM")


def test_what_was_posted_since_is_read_by_time_then_by_arrival(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, then_us = Market(store, TABLES), now_us() - 60 * S
    for price, at in (("1", 0), ("3", 2), ("2", 1), ("4", 2), ("5", 3)):
        here.put([quote(price, at_us=then_us + at * S)])
    here.put([replace(quote("9", at_us=then_us + S), symbol="OTHER")])
    monkeypatch.setattr("engine.registers.market.QUOTES_MAX", 2)
    found, at_us, number = [], then_us, 1
    while page := here.since("SYM", at_us, number):
        number, last = page[-1]
        assert last.at_us is not None
        found.append([str(one.bid) for _, one in page])
        at_us = last.at_us
    assert found == [["2", "3"], ["4", "5"]]


def test_a_slow_process_holds_nobody_up(store: Store) -> None:
    """Without a timestamp a quote is of when the database received it, whatever its process believes."""
    slow, right = Market(store, TABLES, lambda: now_us() - 30 * S), Market(store, TABLES)
    right.put([quote("10")])
    slow.put([quote("6")])
    right.refresh()
    expected = "6" if store.dialect == "postgresql" else "10"  # SQLite has its callers' clock
    assert (bid(slow), bid(right)) == (expected, expected)


def test_what_the_first_release_recorded_is_known_and_may_count(store: Store) -> None:
    columns = {"symbol": "SYM", "quality": "realtime", "bid": "7", "ask": "8", "accrued_interest": "0.5"}
    with store.writing() as connection:
        connection.execute(TABLES.prices.insert().values(**columns, at_us=5, recorded_us=6))
    market = Market(store, TABLES)
    market.refresh()
    known = market.quote("SYM")
    assert known is not None
    assert (known.author, known.unit, known.price.accrued_interest) == (None, None, Decimal("0.5"))


def test_interest_counts_for_its_own_quote_alone(store: Store) -> None:
    here = Market(store, TABLES)
    given = [
        quote("99", accrued_interest=Decimal("1.25")),
        quote("98"),
        quote("97", accrued_interest=Decimal(0)),
        quote("98"),
        quote("99", accrued_interest=Decimal("-0.75")),
        quote("99", unit=PERCENT),
    ]
    counted = [one.accrued_interest for new in given for one in here.put([new])]
    assert [str(each) for each in counted] == ["1.25", "None", "0", "None", "-0.75", "None"]
    fresh = Market(store, TABLES)
    fresh.refresh()
    assert fresh.quote("SYM") == here.quote("SYM")
    assert here.latest("SYM").accrues


# --- jumps ----------------------------------------------------------------------------------------


@pytest.fixture
def market(store: Store) -> Market:
    market = Market(store, TABLES, jump_max=FIFTH)
    market.put([quote("100")])
    return market


JUMPS = {
    "up": [quote("120.01")],
    "down": [quote("79.99")],
    "the ask alone": [quote("100", "121")],
    "the bid alone": [quote("79", "100")],
    "by interest": [quote("100", accrued_interest=Decimal("20.01"))],
    "in small steps of one request": [quote("119"), quote("140")],
    "by way of 0": [quote("0"), quote("1")],
    "by way of another unit": [quote("100", unit=PERCENT)],
    "by a new par value": [quote("100", unit="money 1000 USD")],
    "by way of another symbol": [quote("100", unit=f"{MONEY} 2")],
}


@pytest.mark.parametrize("steps", JUMPS.values(), ids=JUMPS)
def test_a_jump_waits(market: Market, store: Store, steps: list[Quote]) -> None:
    if steps[0].bid:
        recorded = market.put(steps)
    else:
        recorded = [one for step in steps for one in market.put([step])]
    assert [one.is_waiting for one in recorded] == [False] * (len(steps) - 1) + [True]
    other = Market(store, TABLES, jump_max=FIFTH)
    other.refresh()
    assert other.quote("SYM") == market.quote("SYM") != recorded[-1]
    assert other.waiting() == [recorded[-1]]
    confirmed = other.confirm("SYM", "cli_two")
    market.refresh()
    assert (market.quote("SYM"), market.waiting()) == (confirmed, [])
    assert (confirmed.author, confirmed.confirmed_by) == ("cli_one", "cli_two")


@pytest.mark.parametrize("step", ["120", "80", "100"])
def test_a_step_of_the_allowed_size_counts(market: Market, step: str) -> None:
    market.put([quote(step)])
    assert (bid(market), market.waiting()) == (step, [])


def test_small_steps_make_no_large_one_within_a_minute(store: Store) -> None:
    """100, 119, 141, ...: one client would be at 99002.50 after forty requests."""
    clock = Moved()
    market = Market(store, TABLES, clock, jump_max=FIFTH)
    market._received_us = lambda connection: clock()  # type: ignore[method-assign]
    market.put([quote("100")])
    market.put([quote("119")])
    assert market.put([quote("121")])[0].is_waiting
    clock.us += 59 * S
    # A price of a minute ago that was recorded just now is no price of a minute ago.
    market.put([quote("140", at_us=clock.us - 59 * S - 1)])
    assert market.put([quote("121")])[0].is_waiting
    clock.us += 2 * S
    market.put([quote("121")])
    assert (bid(market), market.waiting()) == ("121", [])
    assert market.put([quote("143")])[0].is_waiting


def test_a_new_symbol_of_a_priced_instrument_is_no_way_round(store: Store) -> None:
    market, symbols = Market(store, TABLES, jump_max=FIFTH), Symbols(store, TABLES)
    for symbol in ("SYM", "NEW"):
        assert symbols.claim(symbol, "ins_one")
    assert symbols.claim("OTHER", "ins_two")
    market.put([quote("100")])
    first, other = (
        market.put([replace(quote(price), symbol=symbol)])[0]
        for symbol, price in (("NEW", "99002.50"), ("OTHER", "7"))
    )
    assert (first.is_waiting, other.is_waiting) == (True, False)
    market.confirm("NEW", "cli_two")
    assert not market.put([replace(quote("99002.51"), symbol="NEW")])[0].is_waiting


def test_what_the_first_release_recorded_is_no_measure_after_a_change_of_the_symbol(
    store: Store,
) -> None:
    market = Market(store, TABLES, jump_max=FIFTH)
    market.put([quote("100", unit=None)])
    assert not market.put([quote("101", unit=None)])[0].is_waiting
    assert market.put([quote("101", unit=f"{MONEY} 2")])[0].is_waiting
    assert not market.put([quote("102")])[0].is_waiting


def test_after_a_confirmed_jump_prices_go_on_from_there(store: Store) -> None:
    market = Market(store, TABLES, jump_max=FIFTH)
    market.put([quote("100")])
    market.put([quote("200")])
    market.confirm("SYM", "cli_two")
    for step in ("201", "199", "230"):
        market.put([quote(step)])
        assert bid(market) == step
    assert market.put([quote("100")])[0].is_waiting


class Moved:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.us = now_us()

    def __call__(self) -> int:
        return self.us


def test_an_older_quote_neither_counts_nor_waits(market: Market) -> None:
    market.put([quote("500", at_us=now_us() - 60 * S)])
    assert (bid(market), market.waiting()) == ("100", [])


def test_without_a_bound_everything_counts_at_once(store: Store) -> None:
    free = Market(store, TABLES)
    free.put([quote("100")])
    free.put([quote("99002.50")])
    assert (bid(free), free.waiting()) == ("99002.50", [])


def test_the_newest_jump_waits_and_a_price_in_reach_clears_it(market: Market) -> None:
    market.put([quote("150")])
    market.put([quote("151")])
    assert [str(one.bid) for one in market.waiting(["SYM"])] == ["151"]
    assert market.waiting(["OTHER"]) == []
    market.put([quote("105")])
    assert (bid(market), market.waiting()) == ("105", [])
    with pytest.raises(Refused) as caught:
        market.confirm("SYM", "cli_two")
    assert caught.value.code == "not_found"


def test_nobody_confirms_alone_nor_what_has_changed(market: Market) -> None:
    market.put([quote("150")])
    market.put([quote("9900")])
    for by, words, code in (
        ("cli_one", {}, "same_client"),
        ("cli_two", {"bid": Decimal(150)}, "price_changed"),
        ("cli_two", {"bid": Decimal(9900), "ask": Decimal(9901)}, "price_changed"),
    ):
        with pytest.raises(Refused) as caught:
            market.confirm("SYM", by, **words)  # type: ignore[arg-type]
        assert caught.value.code == code
    assert bid(market) == "100"
    assert market.confirm("SYM", "cli_one", may_be_author=True).confirmed_by == "cli_one"
    assert bid(market) == "9900"


def test_many_confirm_at_once_and_one_does(market: Market, store: Store) -> None:
    market.put([quote("150")])
    gate = threading.Barrier(4)

    def confirm(number: int) -> str:
        own = Market(store, TABLES, jump_max=FIFTH)
        gate.wait()
        try:
            own.confirm("SYM", f"cli_{number}")
        except Refused as error:
            return error.code
        return bid(own)

    with ThreadPoolExecutor(4) as threads:
        answers = sorted(threads.map(confirm, range(4)))
    assert answers == ["150", "not_found", "not_found", "not_found"]
