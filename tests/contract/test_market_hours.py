"""Orders wait for their market, and are sent at its opening in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.domain import trading_hours
from engine.domain.instrument import Terms, unit_of
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.trading_hours import TradingHours
from engine.followers import waiting
from engine.followers.business_clock import BusinessClock
from engine.kernel.errors import Refused, Unavailable
from engine.kernel.limits import WAITING_ALL_S
from engine.venues.simulated import SimulatedVenue
from tests.support.engines.desks import HOUR_US, TENANT, TERMS, THURSDAY_US, Shop
from tests.support.engines.following import (
    NOTHING,
    VENUE,
    Row,
    ScriptedVenue,
    WorkingSets,
    Works,
    working,
)

TOKYO = TradingHours("XJPX", "Asia/Tokyo", (("09:00", "11:30"), ("12:30", "15:30")))
NEW_YORK = TradingHours("XNYS", "America/New_York", (("09:30", "16:00"),))
MINUTE_US = HOUR_US // 60
TO_TOKYO_US = 9 * HOUR_US + 30 * MINUTE_US
"""From Thursday 14:30 UTC to Friday 09:00 in Tokyo."""


def put(shop: Shop, name: str, hours: TradingHours | None = TOKYO, **words: Any) -> str:
    """An instrument with hours, and a price at which it can be traded."""
    terms = Terms(name, name.upper(), "stock", "USD", trading_hours=hours, **words)
    shop.do(decisions.put_instrument, instrument=f"ins_{name}", terms=terms)
    shop.prices[terms.symbol] = Price(Decimal(100), Decimal(100), THURSDAY_US, unit=unit_of(terms))
    return f"ins_{name}"


def buy(shop: Shop, account: str, instrument: str, **words: Any) -> str:
    order = shop.ids.new("ord")
    shop.do(
        decisions.place_order,
        firm=shop.firm,
        tenant=TENANT,
        account=account,
        order=order,
        instrument=instrument,
        order_request=OrderRequest("buy", Decimal(10)),
        **words,
    )
    return order


def advance(shop: Shop, by_us: int) -> None:
    shop.do(decisions.advance_clock, by_us=by_us)


def standing(works: Works, order: str) -> str:
    state = works.order(order)
    reason = state.cancelled_reason or (state.pending_reason if state.status == "pending" else "")
    return f"{state.status} {reason}".strip()


def sent(venue: ScriptedVenue) -> list[str]:
    return [ticket.order for ticket in venue.tickets]


def test_orders_are_sent_at_the_opening_in_the_order_of_arrival(works: Works) -> None:
    """Two instruments, three accounts, and an order that arrives just when the market opens."""
    shop, venue = works.shop, ScriptedVenue()
    accounts = [shop.open() for _ in range(3)]
    one, two = put(shop, "one"), put(shop, "two")
    executing = works.execution(venue)
    early = [buy(shop, accounts[n % 3], (one, two)[n % 2]) for n in range(6)]
    works.run(executing)
    early += [buy(shop, accounts[n % 3], (two, one)[n % 2]) for n in range(6)]
    works.run(executing)
    assert {standing(works, order) for order in early} == {"pending market_closed"}
    assert executing.status().faults == {}  # to wait for a market is no fault
    assert sent(venue) == []
    advance(shop, TO_TOKYO_US)
    late = [buy(shop, accounts[0], two), buy(shop, accounts[1], one)]
    works.run(executing)
    assert sent(venue) == [*early, *late]
    facts = works.journal.stream(early[0])
    assert [type(one.fact).__name__ for one in facts] == ["Placed", "MadePending", "ExecutionStarted"]


def test_an_open_market_does_not_wait_for_a_closed_one(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account = shop.open()
    tokyo, new_york, always = put(shop, "tokyo"), put(shop, "york", NEW_YORK), put(shop, "any", None)
    executing = works.execution(venue)
    orders = [buy(shop, account, name) for name in (tokyo, new_york, tokyo, always)]
    works.run(executing)
    assert sent(venue) == [orders[1], orders[3]]
    advance(shop, 2 * HOUR_US)  # 16:30 UTC: New York to 20:00, Tokyo not yet
    assert sent(venue) == [orders[1], orders[3]]
    more = buy(shop, account, new_york)
    works.run(executing)
    assert sent(venue)[-1] == more


def test_a_market_opens_and_closes_by_the_business_clock(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    executing = works.execution(venue)
    orders = []
    for by_us, is_sent in (
        (1, False),  # Thursday, 23:30 in Tokyo
        (TO_TOKYO_US - MINUTE_US, False),  # Friday, 08:59
        (MINUTE_US, True),  # 09:00
        (2 * HOUR_US + 30 * MINUTE_US, False),  # 11:30: lunch
        (HOUR_US, True),  # 12:30
        (3 * HOUR_US, False),  # 15:30
        (24 * HOUR_US, False),  # Saturday
        (41 * HOUR_US + 30 * MINUTE_US, True),  # Monday, 09:00
    ):
        advance(shop, by_us)
        orders.append(buy(shop, account, tokyo))
        works.run(executing)
        assert sent(venue) == (orders if is_sent else sent(venue)), by_us
        assert (orders[-1] in sent(venue)) == is_sent, by_us


def test_the_trade_date_of_a_waiting_order_is_that_of_the_opening(on_sqlite: Works) -> None:
    shop = on_sqlite.shop
    account, order = shop.open(), ""
    order = buy(shop, account, put(shop, "tokyo", issuer_country="JP"))  # Thursday night in Tokyo
    placed = on_sqlite.order(order).terms
    assert placed.settlement_date == date(2026, 3, 17)  # of Friday, two days
    hours_too_late = put(shop, "bond", maturity_date=date(2026, 3, 17), issuer_country="JP")
    with pytest.raises(Refused) as refused:
        buy(shop, account, hours_too_late)
    assert refused.value.code == "instrument_too_close_to_maturity"


def test_a_trade_is_of_the_day_where_the_instrument_is_traded(on_sqlite: Works) -> None:
    """At the opening in Tokyo it is still Thursday in New York, the currency's own market."""
    works, shop = on_sqlite, on_sqlite.shop
    account, tokyo = shop.open(), put(shop, "tokyo")
    order = buy(shop, account, tokyo)
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing)
    advance(shop, TO_TOKYO_US)
    works.run(executing)
    (trade,) = works.order(order).trades
    assert trade.terms.settlement_date == works.order(order).terms.settlement_date
    assert trade.terms.settlement_date == date(2026, 3, 17)


def test_an_order_that_may_not_wait_records_nothing(works: Works) -> None:
    shop = works.shop
    account, tokyo = shop.open(), put(shop, "tokyo")
    head = works.journal.head
    with pytest.raises(Refused) as refused:
        buy(shop, account, tokyo, may_wait=False)
    assert (refused.value.code, refused.value.context["opens"]) == (
        "instrument_not_trading",
        "2026-03-13T00:00:00Z",
    )
    assert works.journal.head == head
    assert not works.shop.desk.state(account).holdings.balance("USD").reserved
    advance(shop, TO_TOKYO_US)
    assert works.order(buy(shop, account, tokyo, may_wait=False)).status == "placed"


# --- nothing is polled ----------------------------------------------------------------------------


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every order whose start was decided, in order."""
    orders: list[str] = []
    decide = decisions.start_execution

    def counting(*words: Any, order: str, **more: Any) -> Any:
        orders.append(order)
        return decide(*words, order=order, **more)

    monkeypatch.setattr(decisions, "start_execution", counting)
    return orders


def test_orders_of_a_closed_market_are_left_alone(on_sqlite: Works, decided: list[str]) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    orders = [buy(shop, account, tokyo) for _ in range(3)]
    executing = works.execution(venue)
    works.run(executing, turns=4)
    del decided[:]
    works.run(executing, turns=60, step_s=WAITING_ALL_S / 4)
    assert decided == []
    assert executing.turn() <= WAITING_ALL_S
    advance(shop, TO_TOKYO_US)
    works.run(executing)
    assert list(dict.fromkeys(decided)) == orders  # a decision may be made again


def test_the_turn_after_which_a_market_opens_is_known(on_sqlite: Works) -> None:
    """The follower sleeps until the opening at most, and no longer than its other work allows."""
    works, shop = on_sqlite, on_sqlite.shop
    account, tokyo = shop.open(), put(shop, "tokyo")
    buy(shop, account, tokyo)
    business = BusinessClock(shop.desk, lambda: THURSDAY_US)
    known = waiting.Waiting(
        shop.desk, shop.firm, NOTHING.waiting, lambda orders, check: None, refresh=lambda: 0,
        business=business, now_us=lambda: THURSDAY_US, monotonic=works.clock,
    )  # fmt: skip
    order = replace(
        works.order(buy(shop, account, tokyo)), status="pending", pending_reason="market_closed"
    )
    known.turn(0, lambda: None)
    known.line_up(waiting.Starting("ord_1", tokyo, 5), order)
    advance(shop, TO_TOKYO_US - 250_000)
    business.move()
    assert known.due_in_s == pytest.approx(0.25)


# --- what changes meanwhile -----------------------------------------------------------------------


def _changed(**words: Any) -> Callable[[Works, str], None]:
    def then(works: Works, instrument: str) -> None:
        terms = works.shop.desk.state(instrument).terms
        works.shop.do(decisions.put_instrument, instrument=instrument, terms=replace(terms, **words))

    return then


def _advanced(by_us: int) -> Callable[[Works, str], None]:
    return lambda works, _: advance(works.shop, by_us)


def _suspended_then_opened(works: Works, _: str) -> None:
    change = partial(works.shop.do, decisions.change_account, tenant=TENANT, flags={})
    account = works.order(_ORDERS[0]).terms.account
    change(account=account, status="suspended")
    advance(works.shop, TO_TOKYO_US)


_ORDERS: list[str] = []
DAY_US = 24 * HOUR_US
MATURING = date(2026, 4, 1)
MEANWHILE: dict[str, tuple[Callable[[Works, str], None], str]] = {
    "nothing": (_advanced(1), "pending market_closed"),
    "not traded": (_changed(trading_status="not_trading"), "cancelled instrument_not_trading"),
    "sells only": (_changed(trading_status="sell_only"), "cancelled instrument_not_trading"),
    "always open": (_changed(trading_hours=None), "executing"),
    "hours of New York": (_changed(trading_hours=NEW_YORK), "executing"),
    "an earlier opening": (
        _changed(trading_hours=replace(TOKYO, sessions=(("08:00", "15:30"),))),
        "pending market_closed",
    ),
    "matures before it could settle": (_changed(maturity_date=date(2026, 3, 17)), "cancelled matured"),
    "days that jump over sessions": (_advanced(DAY_US), "pending market_closed"),
    "jumps past maturity": (_advanced(30 * DAY_US), "cancelled matured"),
    "a suspended account": (_suspended_then_opened, "pending account_suspended"),
    "a larger minimum": (
        _changed(enforce_trading_rules=True, minimum_trading_quantity=Decimal(1)),
        "cancelled below_minimum_quantity",
    ),
}


@pytest.mark.parametrize("name", MEANWHILE)
def test_what_happens_while_an_order_waits_for_its_market(on_sqlite: Works, name: str) -> None:
    works, shop = on_sqlite, on_sqlite.shop
    account, tokyo = shop.open(), put(shop, "tokyo", maturity_date=MATURING, issuer_country="JP")
    order = buy(shop, account, tokyo)
    _ORDERS[:] = [order]
    executing = works.execution(ScriptedVenue())
    works.run(executing)
    assert standing(works, order) == "pending market_closed"
    then, expected = MEANWHILE[name]
    then(works, tokyo)
    works.run(executing)
    assert standing(works, order) == expected
    is_over = expected.startswith("cancelled")
    assert bool(works.order(order).reserved) != is_over


def test_an_order_waits_for_a_price_of_the_opening(on_sqlite: Works) -> None:
    """The last price is of yesterday: the order waits on, and is sent with the first new one."""
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    orders = [buy(shop, account, tokyo)]
    executing = works.execution(venue)
    works.run(executing)
    fresh = shop.prices["TOKYO"]
    shop.prices["TOKYO"] = replace(fresh, at_us=fresh.at_us - HOUR_US - MINUTE_US)
    advance(shop, TO_TOKYO_US)
    works.run(executing)
    assert standing(works, orders[0]) == "pending price_too_old"
    orders.append(buy(shop, account, tokyo))
    works.run(executing)
    shop.prices["TOKYO"] = fresh
    orders.append(buy(shop, account, tokyo))  # after the price: it does not overtake
    works.run(executing)
    assert sent(venue) == orders


def test_a_halt_over_the_opening_keeps_the_order_of_arrival(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo, always = shop.open(), put(shop, "tokyo"), put(shop, "any", None)
    executing = works.execution(venue)
    orders = [buy(shop, account, tokyo), buy(shop, account, always), buy(shop, account, tokyo)]
    shop.do(decisions.halt_trading, tenant=None, reason="drill", stops_execution=True)
    works.run(executing)
    advance(shop, TO_TOKYO_US)
    works.run(executing)
    assert sent(venue) == []
    shop.do(decisions.resume_trading, tenant=None, reason="over")
    orders += [buy(shop, account, always), buy(shop, account, tokyo)]
    works.run(executing)
    assert sent(venue) == orders


def test_another_process_goes_on_in_the_same_order(works: Works) -> None:
    """The first one dies with orders waiting; the market opens; new orders are in the journal."""
    shop, venue = works.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    orders = [buy(shop, account, tokyo) for _ in range(4)]
    first = works.execution(venue)
    works.run(first)
    first.end()
    advance(shop, TO_TOKYO_US)
    orders += [buy(shop, account, tokyo) for _ in range(4)]
    second = works.execution(venue, holder="two")
    works.run(second)
    assert sent(venue) == orders


def test_orders_that_the_view_lacks_are_not_forgotten(on_sqlite: Works) -> None:
    """The working set shows nothing of the last second: what arrived then is remembered."""
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    whole, until = working(works.journal, "placed", "pending"), [0]

    def lagging(limit: int, after: int) -> list[Row]:
        return [row for row in whole(limit, after) if row.offset <= until[0]]

    executing = works.execution(venue, sets=WorkingSets(lagging, NOTHING.at_venue))
    orders = [buy(shop, account, tokyo) for _ in range(3)]
    works.run(executing)
    until[0] = works.journal.head
    orders += [buy(shop, account, tokyo) for _ in range(3)]
    works.run(executing)
    advance(shop, TO_TOKYO_US)
    orders.append(buy(shop, account, tokyo))
    works.run(executing)
    assert sent(venue) == orders


def test_new_orders_are_sent_while_the_view_cannot_be_read(on_sqlite: Works) -> None:
    """The follower starts over again and again; the order of arrival is kept as far as it is known."""
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()

    def broken(limit: int, after: int) -> list[Row]:
        raise Unavailable("the views cannot be read")

    account, always = shop.open(), put(shop, "any", None)
    executing = works.execution(venue, sets=WorkingSets(broken, NOTHING.at_venue))
    orders = [buy(shop, account, always) for _ in range(3)]
    works.run(executing)
    assert executing.state == "failing"
    orders.append(buy(shop, account, always))
    works.run(executing)
    assert sent(venue) == orders


@pytest.mark.parametrize("before_us", [1_500_000, 500_000, 0])
def test_what_arrives_about_the_opening_is_not_ahead(on_sqlite: Works, before_us: int) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, tokyo = shop.open(), put(shop, "tokyo")
    executing = works.execution(venue)
    orders = [buy(shop, account, tokyo)]
    works.run(executing)
    advance(shop, TO_TOKYO_US - before_us)
    orders.append(buy(shop, account, tokyo))
    works.run(executing)
    assert sent(venue) == ([] if before_us else orders)
    assert works.order(orders[1]).status == {1_500_000: "pending", 500_000: "placed"}.get(
        before_us, "executing"
    )
    if before_us:
        advance(shop, before_us)
        orders.append(buy(shop, account, tokyo))
        works.run(executing)
        assert sent(venue) == orders


def test_the_next_opening_is_that_of_the_hours(on_sqlite: Works) -> None:
    """The sentence of a refusal names it, whatever the instrument's country."""
    shop = on_sqlite.shop
    account = shop.open()
    with pytest.raises(Refused, match="closed until 2026-03-13T00:00:00Z; without `Prefer: no-wait`"):
        buy(shop, account, put(shop, "one", issuer_country="GB"), may_wait=False)
    assert trading_hours.is_open(NEW_YORK, THURSDAY_US)
    assert TERMS.trading_hours is None


# --- expired at the venue -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "traded", "then"),
    [
        ("expired", "", "cancelled expired"),
        ("expired", "0.04", "filled"),
        ("unfilled", "", "cancelled unfilled"),
        ("venue_rejected", "", "cancelled venue_rejected"),
        ("gone with the wind", "", "cancelled unfilled"),  # a word that no client knows
    ],
)
def test_a_venue_ends_an_open_order_unasked(works: Works, reason: str, traded: str, then: str) -> None:
    shop, venue = works.shop, ScriptedVenue()
    account = shop.open()
    order = buy(shop, account, put(shop, "any", None))
    executing = works.execution(venue)
    works.run(executing, turns=2)
    if traded:
        venue.say(Report(VENUE, "x1", order, "trade", Decimal(100), Decimal(traded)))
    venue.say(Report(VENUE, "x2", order, "ended", reason=reason))
    venue.say(Report(VENUE, "x2", order, "ended", reason=reason))  # twice changes nothing
    works.run(executing)
    assert standing(works, order) == then
    assert works.parked() == {}
    cash = shop.desk.state(account).holdings.balance("USD")
    assert cash.reserved == 0
    assert cash.total == (Decimal("995.97") if traded else Decimal("1000.00"))
