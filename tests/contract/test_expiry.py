"""Orders whose time is over: waiting ones are cancelled, venues are asked to cancel the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.domain.instrument import Terms, unit_of
from engine.domain.order import ExpiryRequested
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.trading_hours import TradingHours
from engine.kernel.limits import EXPIRY_REQUESTS_MAX, EXPIRY_S, RECONCILE_S
from engine.venues.port import Capabilities, VenueStatus
from tests.support.engines.desks import HOUR_US, TENANT, THURSDAY_US, Shop
from tests.support.engines.following import NOTHING, VENUE, ScriptedVenue, Works

NEW_YORK = TradingHours("XNYS", "America/New_York", (("09:30", "16:00"),))
TO_CLOSE_US = 5 * HOUR_US + HOUR_US // 2
"""From Thursday 14:30 UTC to 16:00 in New York, which is on summer time."""
SECOND_US = 1_000_000
LIMITS = Capabilities(frozenset({"market", "limit"}), frozenset({"day", "gtc"}))


def put(shop: Shop, name: str, *, is_priced: bool = True) -> str:
    terms = Terms(name, name.upper(), "stock", "USD", trading_hours=NEW_YORK)
    shop.do(decisions.put_instrument, instrument=f"ins_{name}", terms=terms)
    if is_priced:
        price = Price(Decimal(100), Decimal(100), THURSDAY_US, unit=unit_of(terms))
        shop.prices[terms.symbol] = price
    return f"ins_{name}"


def buy(shop: Shop, account: str, instrument: str, **words: Any) -> str:
    words = {"order_type": "limit", "limit_price": Decimal(98), **words}
    order = shop.ids.new("ord")
    shop.do(
        decisions.place_order,
        firm=shop.firm,
        tenant=TENANT,
        account=account,
        order=order,
        instrument=instrument,
        order_request=OrderRequest("buy", Decimal(10), **words),
    )
    return order


def advance(shop: Shop, by_us: int) -> None:
    shop.do(decisions.advance_clock, by_us=by_us)


def standing(works: Works, order: str) -> str:
    state = works.order(order)
    return f"{state.status} {state.cancelled_reason or ''}".strip()


def answer(venue: ScriptedVenue, order: str, kind: Any) -> None:
    """The venue's answer to the last request to cancel an order."""
    asked = [one for one in venue.cancels if one.venue_order == order][-1]
    venue.say(Report(VENUE, f"{asked.reference}-{kind}", order, kind))


def test_a_session_ends(works: Works) -> None:
    """Two orders that are in force for the day, and one until it is cancelled."""
    shop, venue = works.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    day, gtc, other = (
        buy(shop, account, traded),
        buy(shop, account, traded, time_in_force="gtc"),
        buy(shop, account, put(shop, "unpriced", is_priced=False)),
    )
    works.run(executing)
    assert {standing(works, one) for one in (day, gtc, other)} == {"executing"}  # none needs a price
    advance(shop, TO_CLOSE_US - SECOND_US)
    works.run(executing)
    assert not venue.cancels
    shop.do(decisions.halt_trading, tenant=TENANT, reason="a test", stops_execution=True)
    advance(shop, SECOND_US)
    works.run(executing)
    assert {one.venue_order for one in venue.cancels} == {day, other}
    assert {standing(works, one) for one in (day, gtc, other)} == {"executing"}
    answer(venue, day, "cancelled")
    venue.say(Report(VENUE, "t", other, "trade", Decimal(98), Decimal("0.1")))
    answer(venue, other, "cancelled")
    works.run(executing)
    assert [standing(works, one) for one in (day, gtc, other)] == [
        "cancelled expired", "executing", "filled"
    ]  # fmt: skip
    assert not executing.status().faults


def test_trades_of_a_resting_order_settle_on_their_own_dates(works: Works) -> None:
    """They settled when the order ended, however many weeks later."""
    shop, venue = works.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing, settling = works.execution(venue), works.settlement()
    order = buy(shop, account, traded, time_in_force="gtc")
    works.run(executing)
    trade = Report(VENUE, "t", order, "trade", Decimal(98), Decimal("0.04"))
    venue.say(trade)
    works.run(executing, settling)
    assert [one.status for one in works.order(order).trades] == ["executed"]
    advance(shop, 7 * 24 * HOUR_US)
    works.run(executing, works.settlement())  # one that has not read the clock yet
    assert [one.status for one in works.order(order).trades] == ["settled"]
    assert standing(works, order) == "executing"
    position = shop.desk.state(account).holdings.positions[traded]
    assert (position.units.total, position.units.unsettled) == (Decimal("0.04"), 0)
    venue.say(replace(trade, execution_reference="u", quantity=Decimal("0.06")))
    venue.say(Report(VENUE, "end", order, "ended"))
    works.run(executing)
    assert standing(works, order) == "filled"
    advance(shop, 7 * 24 * HOUR_US)
    works.run(works.settlement())
    assert standing(works, order) == "settled"


def test_what_has_settled_by_its_end_is_settled_then(works: Works) -> None:
    shop, venue = works.shop, ScriptedVenue(capabilities=LIMITS)
    order = buy(shop, shop.open(), put(shop, "traded"), time_in_force="gtc")
    executing, settling = works.execution(venue), works.settlement()
    works.run(executing)
    venue.say(Report(VENUE, "t", order, "trade", Decimal(98), Decimal("0.04")))
    works.run(executing)
    advance(shop, 7 * 24 * HOUR_US)
    works.run(executing, settling)
    venue.say(Report(VENUE, "end", order, "ended"))
    works.run(executing)
    assert standing(works, order) == "settled"


def test_orders_that_wait_are_cancelled(works: Works) -> None:
    shop, venue = works.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    advance(shop, TO_CLOSE_US)  # closed until Friday
    day, gtc = buy(shop, account, traded), buy(shop, account, traded, time_in_force="gtc")
    market = buy(shop, account, traded, order_type="market", limit_price=None)
    works.run(executing)
    shop.do(decisions.halt_trading, tenant=TENANT, reason="a test", stops_execution=True)
    advance(shop, 24 * HOUR_US - SECOND_US)  # Friday's session has come and is nearly over
    works.run(executing)
    assert {standing(works, one) for one in (day, gtc, market)} == {"pending"}
    advance(shop, SECOND_US)
    works.run(executing)
    assert [standing(works, one) for one in (day, gtc, market)] == [
        "cancelled expired", "pending", "pending"
    ]  # fmt: skip
    assert not venue.tickets


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_view_that_lags_or_a_memory_that_is_lost(on_sqlite: Works, is_restarted: bool) -> None:
    """Without the view the order's fact is enough; after a restart the view is."""
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue, sets=None if is_restarted else NOTHING)
    order = buy(shop, account, traded)
    works.run(executing)
    assert standing(works, order) == "executing"
    if is_restarted:
        executing.stop()
        works.clock.now_s += 60
        executing = works.execution(venue)
        works.run(executing)
    advance(shop, TO_CLOSE_US)
    works.run(executing)
    assert [one.venue_order for one in venue.cancels[:1]] == [order]


def test_a_venue_that_refuses_is_asked_again_later_and_not_for_ever(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    order = buy(shop, account, traded)
    works.run(executing)
    advance(shop, TO_CLOSE_US)
    for times in range(1, EXPIRY_REQUESTS_MAX + 3):
        works.run(executing, turns=3)
        asked = [one for one in works.journal.stream(order) if isinstance(one.fact, ExpiryRequested)]
        assert len(asked) == min(times, EXPIRY_REQUESTS_MAX)
        if times <= EXPIRY_REQUESTS_MAX:
            answer(venue, order, "cancel_rejected")
        works.run(executing, turns=3)
        assert not works.order(order).is_expiring
        works.clock.now_s += EXPIRY_S
    assert len({one.reference for one in venue.cancels}) == EXPIRY_REQUESTS_MAX
    (fault,) = executing.status().faults.values()
    assert "not_cancelled" in fault
    venue.say(Report(VENUE, "end", order, "ended", reason="expired"))
    works.run(executing)
    works.clock.now_s += EXPIRY_S
    works.run(executing)
    assert standing(works, order) == "cancelled expired"
    assert not executing.status().faults


def test_a_fill_wins_against_the_request(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue(capabilities=LIMITS)
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    order = buy(shop, account, traded)
    works.run(executing)
    advance(shop, TO_CLOSE_US)
    works.run(executing)
    venue.say(
        Report(VENUE, "t", order, "trade", Decimal(98), works.order(order).ordered),
        Report(VENUE, "e", order, "ended"),
    )
    answer(venue, order, "cancel_rejected")
    venue.known[order] = VenueStatus("over")
    works.run(executing)
    assert standing(works, order) == "filled"
    works.clock.now_s += EXPIRY_S
    works.run(executing)
    assert len({one.reference for one in venue.cancels}) == 1


def test_resting_orders_are_asked_about_ever_more_rarely(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue(capabilities=LIMITS)
    asked: list[str] = []
    known_status = venue.status

    def status(venue_order: str) -> VenueStatus:
        asked.append(venue_order)
        return known_status(venue_order)

    venue.status = status  # type: ignore[method-assign]
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    works.run(executing, turns=1)  # the first walk, which asks about all
    limit = buy(shop, account, traded)
    market = buy(shop, account, traded, order_type="market", limit_price=None)
    for _ in range(20):
        works.run(executing, turns=2, step_s=0.1)
        works.clock.now_s += RECONCILE_S
    assert (asked.count(limit), asked.count(market)) == (5, 18)
    shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=limit)
    works.run(executing, turns=2, step_s=0.1)
    before = asked.count(limit)
    for _ in range(3):
        works.clock.now_s += RECONCILE_S
        works.run(executing, turns=2, step_s=0.1)
    assert asked.count(limit) == before + 3


def test_without_a_price_it_is_sent_at_the_opening(on_sqlite: Works) -> None:
    """Market orders of the instrument wait on for a price."""
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue(capabilities=LIMITS)
    account, unpriced = shop.open(), put(shop, "unpriced")
    executing = works.execution(venue)
    advance(shop, TO_CLOSE_US)
    market = buy(shop, account, unpriced, order_type="market", limit_price=None)
    limit = buy(shop, account, unpriced)
    del shop.prices["UNPRICED"]
    works.run(executing)
    assert {works.order(one).pending_reason for one in (market, limit)} == {"market_closed"}
    advance(shop, 17 * HOUR_US + HOUR_US // 2)  # Friday, 09:30 in New York
    works.run(executing)
    assert [standing(works, one) for one in (market, limit)] == ["pending", "executing"]
    assert works.order(market).pending_reason == "price_too_old"


def test_a_venue_without_limit_orders_gets_none(on_sqlite: Works) -> None:
    works, shop, venue = on_sqlite, on_sqlite.shop, ScriptedVenue()
    account, traded = shop.open(), put(shop, "traded")
    executing = works.execution(venue)
    order = buy(shop, account, traded)
    works.run(executing)
    assert standing(works, order) == "cancelled venue_rejected"
    assert not venue.tickets
    assert not executing.status().faults
