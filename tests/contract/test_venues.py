"""Execution at several venues: each order at its instrument's, and no venue's trouble is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from time import monotonic

import pytest

from engine.commands import decisions
from engine.domain.order_request import OrderRequest
from engine.domain.report import Report
from engine.followers.follow import Follower
from engine.venues.port import Capabilities, Ticket, VenueStatus
from engine.venues.registry import OpenVenues
from tests.support.engines.desks import INSTRUMENT, TENANT, TERMS
from tests.support.engines.following import ScriptedVenue, Works

OTHER = "ins_other"
MANY = Capabilities(concurrency=8)


def with_another(works: Works) -> Works:
    """The same with a second instrument."""
    works.shop.do(decisions.put_instrument, instrument=OTHER, terms=TERMS)
    return works


@pytest.fixture
def works(works: Works) -> Works:
    return with_another(works)


@pytest.fixture
def on_sqlite(on_sqlite: Works) -> Works:
    return with_another(on_sqlite)


def buys(works: Works, instrument: str = INSTRUMENT, account: str = "") -> str:
    shop, order = works.shop, works.shop.ids.new("ord")
    words = {"tenant": TENANT, "account": account or shop.open(), "instrument": instrument}
    request = OrderRequest("buy", Decimal("100.00"))
    shop.do(decisions.place_order, firm=shop.firm, order=order, order_request=request, **words)
    return order


def ends(venue: ScriptedVenue, order: str) -> tuple[Report, Report]:
    """A whole execution, with references that other venues use too."""
    trade = Report(venue.name, "x1", order, "trade", Decimal(100), Decimal("0.99"))
    return trade, Report(venue.name, "x2", order, "ended")


def test_each_order_is_executed_at_the_venue_of_its_instrument(works: Works) -> None:
    one, two = ScriptedVenue("one"), ScriptedVenue("two")
    here, there = buys(works), buys(works, OTHER)
    executing = works.execution(OpenVenues([one, two], {"*": "one", OTHER: "two"}))
    works.run(executing, turns=2)
    assert [[t.order for t in venue.tickets] for venue in (one, two)] == [[here], [there]]
    one.say(*ends(one, here))
    two.say(*ends(two, there))
    works.run(executing, turns=3)
    assert {works.order(order).venue for order in (here, there)} == {"one", "two"}
    assert {works.order(order).status for order in (here, there)} == {"filled"}


def test_another_venues_word_about_an_order_is_parked(works: Works) -> None:
    one, two = ScriptedVenue("one"), ScriptedVenue("two")
    order = buys(works)
    executing = works.execution(OpenVenues([one, two], {"*": "one"}))
    works.run(executing, turns=2)
    two.say(*ends(two, order))
    works.run(executing, turns=2)
    assert works.parked() == dict.fromkeys(("x1", "x2"), "wrong_venue")
    assert works.order(order).status == "executing"


def test_a_venue_that_is_out_of_order_delays_no_other(on_sqlite: Works) -> None:
    works, one, two = on_sqlite, ScriptedVenue("one"), ScriptedVenue("two")

    def fail(*_: object) -> None:
        raise ConnectionError("no route")

    one.on_submit = one.on_reports = fail
    here, there = buys(works), buys(works, OTHER)
    executing = works.execution(OpenVenues([one, two], {"*": "one", OTHER: "two"}))
    two.say(*ends(two, there))
    works.run(executing, turns=3)
    assert (works.order(here).status, works.order(there).status) == ("executing", "filled")
    assert set(executing.status().faults) == {"one", here}
    one.on_submit, one.on_reports = lambda ticket: None, lambda: None
    one.say(*ends(one, here))
    works.run(executing)
    assert (works.order(here).status, executing.status().faults) == ("filled", {})


def test_an_order_without_a_venue_stays_placed_and_is_shown(on_sqlite: Works) -> None:
    works, one = on_sqlite, ScriptedVenue("one")
    here, there = buys(works), buys(works, OTHER)
    executing = works.execution(OpenVenues([one], {INSTRUMENT: "one"}))
    works.run(executing)
    assert (works.order(here).status, works.order(there).status) == ("executing", "placed")
    assert "venue_of" in executing.status().faults[there]
    works.run(executing := works.execution(OpenVenues([one], {"*": "one"})))  # the setting was changed
    assert works.order(there).status == "executing"


def test_an_order_at_a_venue_that_was_taken_out_of_the_settings_is_shown(on_sqlite: Works) -> None:
    works, one = on_sqlite, ScriptedVenue("one")
    order = buys(works)
    works.run(executing := works.execution(one), turns=2)
    executing.end()
    executing = works.execution(ScriptedVenue("two"))
    works.run(executing)
    assert "the venue one" in executing.status().faults[order]


# --- many at once ---------------------------------------------------------------------------------


class SlowVenue(ScriptedVenue):
    """Each order waits until it is let through, and is counted meanwhile."""

    def __init__(self) -> None:
        super().__init__("slow", MANY)
        self.gate = threading.Event()
        self.came = threading.Semaphore(0)
        self.asked: list[str] = []
        self.on_submit = self._wait

    def _wait(self, ticket: Ticket) -> None:
        self.came.release()
        assert self.gate.wait(20)

    def status(self, venue_order: str) -> VenueStatus:
        self.asked.append(venue_order)
        return super().status(venue_order)


@pytest.fixture
def slow() -> Iterator[SlowVenue]:
    venue = SlowVenue()
    yield venue
    venue.gate.set()


def until(works: Works, follower: Follower, holds: Callable[[], object]) -> None:
    """Gives the follower turns until something holds that a thread of the venue brings about."""
    end_s = monotonic() + 20
    while not holds():
        assert monotonic() < end_s
        works.run(follower, turns=1, step_s=0.0)


def test_a_slow_venue_has_many_orders_at_once_and_each_account_in_order(
    on_sqlite: Works, slow: SlowVenue
) -> None:
    works = on_sqlite
    accounts = [works.shop.open("1000.00") for _ in range(3)]
    orders = [buys(works, account=account) for _ in range(3) for account in accounts]
    executing = works.execution(slow)
    works.run(executing, turns=2)
    for _ in accounts:
        assert slow.came.acquire(timeout=20)
    assert not slow.came.acquire(timeout=0.05)  # one of each account
    assert {works.order(order).status for order in orders} == {"executing"}
    slow.gate.set()
    until(works, executing, lambda: len(slow.tickets) == len(orders))
    sent = [ticket.order for ticket in slow.tickets]
    for n in range(len(accounts)):
        own = orders[n :: len(accounts)]
        assert [order for order in sent if order in own] == own


def test_an_order_on_its_way_is_neither_asked_about_nor_sent_again(
    on_sqlite: Works, slow: SlowVenue
) -> None:
    works = on_sqlite
    buys(works)
    executing = works.execution(slow)
    works.run(executing, turns=2)
    assert slow.came.acquire(timeout=20)
    works.run(executing, turns=30)  # 18 s go by, and each would be asked about after 5
    assert (slow.asked, len(slow.tickets)) == ([], 1)
    slow.gate.set()
    until(works, executing, lambda: slow.asked)
    assert len(slow.tickets) == 1


def test_a_cancel_asked_for_meanwhile_follows_the_order(on_sqlite: Works, slow: SlowVenue) -> None:
    works = on_sqlite
    account = works.shop.open()
    order = buys(works, account=account)
    executing = works.execution(slow)
    works.run(executing, turns=2)
    assert slow.came.acquire(timeout=20)
    works.shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=order)
    works.run(executing, turns=2)
    assert slow.cancels == []
    slow.gate.set()
    until(works, executing, lambda: slow.cancels)
    assert [cancel.venue_order for cancel in slow.cancels] == [order]
