"""Followers over the real desk, on both databases: execution, settlement, the sandbox's days.

F11: whatever a venue does, one effect for each execution reference, an unknown outcome stays `executing`
until the venue has been asked, and a contradiction is parked with nothing booked.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from threading import Event
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.commands.command import Command
from engine.commands.desk import Decision, DecisionContext, Desk, Outcome
from engine.config.settings import parse_duration_us
from engine.domain.clock import ClockAdvanced
from engine.domain.order import ExecutionStarted
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.followers import acting
from engine.followers.acting import BlockedOrders, Burst
from engine.followers.follow import Follower, Watch
from engine.journal.leases import is_dead, new_holder
from engine.journal.writer import Lease
from engine.kernel.errors import BadSettings, Contested, Unavailable
from engine.kernel.limits import BODY_BYTES_MAX, BURST_MIN, LEASE_S, RECONCILE_S, SANDBOX_REST_DAYS
from engine.registers.heartbeats import Part
from engine.sandbox import ticker
from engine.sandbox.ticker import DAY_US, Ticker
from engine.venues.port import Ticket, VenueStatus
from engine.venues.simulated import SimulatedVenue
from tests.support.engines.desks import HOUR_US, INSTRUMENT, TENANT, TERMS
from tests.support.engines.following import NOTHING, VENUE, ScriptedVenue, Works, due, orders_of, working

FULL = Decimal("0.99")  # what 99.50 buys at 100


def trade(of: str, reference: str = "x1", quantity: Decimal = FULL, **words: Any) -> Report:
    return Report(VENUE, reference, of, "trade", Decimal(100), quantity, **words)


def said(of: str, reference: str, kind: Any) -> Report:
    return Report(VENUE, reference, of, kind)


def kinds(works: Works, stream: str) -> list[str]:
    return [type(one.fact).__name__ for one in works.journal.stream(stream)]


# --- the path of one order ------------------------------------------------------------------------


def test_an_order_is_executed_and_settled(works: Works) -> None:
    account = works.shop.open()
    bought = works.shop.buy(account)
    venue = SimulatedVenue(works.now_us)
    works.run(works.execution(venue), works.settlement())
    assert kinds(works, bought) == [
        "Placed",
        "ExecutionStarted",
        "TradeRecorded",
        "Filled",
        "TradeSettled",
        "Settled",
    ]
    facts = works.journal.stream(bought)
    assert {one.envelope.tenant for one in facts} == {TENANT}
    assert [one.envelope.actor for one in facts[1:]] == ["execution"] * 3 + ["settlement"] * 2
    assert facts[1].envelope.cause == facts[0].offset
    assert works.shop.desk.state(account).holdings.balance("USD").total == Decimal("900.50")


def test_the_start_is_in_the_journal_before_the_venue_hears_of_the_order(on_sqlite: Works) -> None:
    works = on_sqlite
    venue, seen = ScriptedVenue(), []

    def look(ticket: Ticket) -> None:
        seen.append([type(one.fact) for one in works.journal.stream(ticket.order)][-1])

    venue.on_submit = look
    works.shop.buy(works.shop.open())
    works.run(works.execution(venue), turns=1)
    assert seen == [ExecutionStarted]


def test_a_page_of_orders_is_worked_through_together(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open("100000.00")
    works.shop.desk.do_all([works.shop.buying(account) for _ in range(300)])
    works.run(works.execution(SimulatedVenue(works.now_us), sets=NOTHING), turns=4)
    assert {state.status for _, state in orders_of(works.journal)} == {"filled"}


def test_without_a_fresh_price_an_order_waits_for_one(on_sqlite: Works) -> None:
    works = on_sqlite
    bought = works.shop.buy(works.shop.open())
    fresh = works.shop.prices.pop(TERMS.symbol)
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing)
    assert kinds(works, bought) == ["Placed", "MadePending"]
    works.shop.prices[TERMS.symbol] = Price(fresh.bid, fresh.ask, 1)  # known, and too old
    works.run(executing)
    assert works.order(bought).status == "pending"
    works.shop.prices[TERMS.symbol] = fresh
    works.run(executing)
    assert works.order(bought).status == "filled"


BILL = replace(TERMS, instrument_type="bill", maturity_date=date(2026, 4, 1))
CHANGED = {
    "matured": BILL,
    "below_minimum_quantity": replace(
        TERMS, enforce_trading_rules=True, minimum_trading_quantity=Decimal(1)
    ),
    "instrument_not_trading": replace(TERMS, trading_status="sell_only"),
}
"""Why an order that waited ends -> terms of the instrument when it is sent, 36 days later."""


@pytest.mark.parametrize("reason", CHANGED)
def test_an_order_that_waited_is_judged_again_when_it_is_sent(works: Works, reason: str) -> None:
    """A bill was bought 16 days after its maturity once, and 0.99 units of a minimum of 1."""
    shop = works.shop
    account = shop.open()
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=BILL)
    fresh = shop.prices.pop(TERMS.symbol)
    shop.prices[TERMS.symbol] = replace(fresh, at_us=fresh.at_us - HOUR_US - 1)
    bought = shop.buy(account)
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing)
    assert works.order(bought).status == "pending"
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=CHANGED[reason])
    shop.do(decisions.advance_clock, by_us=36 * DAY_US)
    shop.prices[TERMS.symbol] = fresh
    works.run(executing)
    known = works.order(bought)
    assert (known.status, known.cancelled_reason, known.trades) == ("cancelled", reason, ())
    assert shop.desk.state(account).holdings.balance("USD").available == Decimal("1000.00")


def test_a_matured_order_ends_though_no_price_comes_any_more(on_sqlite: Works) -> None:
    works, shop = on_sqlite, on_sqlite.shop
    account = shop.open()
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=BILL)
    bought = shop.buy(account)
    del shop.prices[TERMS.symbol]
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing)
    shop.do(decisions.advance_clock, by_us=36 * DAY_US)
    works.run(executing)
    assert works.order(bought).cancelled_reason == "matured"


def test_a_price_read_for_a_new_order_is_news_for_those_that_wait(on_sqlite: Works) -> None:
    works, news = on_sqlite, [0]
    account = works.shop.open()
    bought = works.shop.buy(account)
    fresh = works.shop.prices.pop(TERMS.symbol)
    works.shop.prices.refresh = lambda: news.pop() if news else 0  # type: ignore[method-assign]
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing, turns=1, step_s=0.1)
    works.shop.prices[TERMS.symbol] = fresh
    works.shop.buy(account)
    news.append(1)
    works.run(executing, turns=2, step_s=0.1)
    assert works.order(bought).status == "filled"


def test_a_waiting_order_is_not_ended_for_a_price_that_was_replaced(on_sqlite: Works) -> None:
    works, shop = on_sqlite, on_sqlite.shop
    account = shop.open()
    bought = shop.buy(account)
    fresh, recorded = shop.prices.pop(TERMS.symbol), list[Price]()

    def refresh() -> int:
        shop.prices.update((TERMS.symbol, price) for price in recorded)
        return len(recorded)

    shop.prices.refresh = refresh  # type: ignore[method-assign]
    executing = works.execution(SimulatedVenue(works.now_us))
    works.run(executing, turns=13, step_s=0.4)  # till all are tried, and prices were just looked for
    assert works.order(bought).status == "pending"
    shop.prices[TERMS.symbol] = replace(fresh, ask=Decimal(1_000_000))  # buys no unit
    recorded.append(fresh)
    works.run(executing, turns=3, step_s=0.4)
    assert works.order(bought).status == "filled"


@pytest.mark.parametrize("tenant", [None, TENANT])
def test_while_execution_is_halted_nothing_is_sent_and_what_is_sent_goes_on(
    works: Works, tenant: str | None
) -> None:
    account, venue = works.shop.open(), ScriptedVenue()
    sent, waiting = works.shop.buy(account), works.shop.buy(account)
    dear = works.shop.prices.pop(TERMS.symbol)
    executing = works.execution(venue)
    works.run(executing, turns=2)
    works.shop.prices[TERMS.symbol] = dear
    works.shop.start(sent)
    placed = works.shop.buy(account)
    works.shop.do(decisions.halt_trading, tenant=tenant, reason="why", stops_execution=True)
    venue.known[sent] = VenueStatus("open")
    venue.say(trade(sent), said(sent, "x2", "ended"))
    works.run(executing, works.execution(venue, holder="two"))  # and one that starts after it
    assert [works.order(one).status for one in (sent, waiting, placed)] == [
        "filled",
        "pending",
        "placed",
    ]
    assert venue.tickets == []
    asked = {"tenant": TENANT, "account": account, "order": waiting}
    works.shop.do(decisions.request_cancel, **asked)
    assert works.order(waiting).status == "cancelled"
    works.shop.do(decisions.resume_trading, tenant=tenant, reason="over")
    works.run(executing, turns=3, step_s=0.1)
    assert works.order(placed).status == "executing"
    assert [ticket.order for ticket in venue.tickets] == [placed]


def test_the_halt_of_another_tenant_or_of_new_orders_alone_sends_on(on_sqlite: Works) -> None:
    works, venue = on_sqlite, ScriptedVenue()
    bought = works.shop.buy(works.shop.open())
    works.shop.do(decisions.halt_trading, tenant="other", reason="why", stops_execution=True)
    works.shop.do(decisions.halt_trading, tenant=None, reason="why")
    works.run(works.execution(venue), turns=2)
    assert [ticket.order for ticket in venue.tickets] == [bought]


def test_what_never_reached_its_venue_is_not_sent_again_while_execution_is_halted(
    on_sqlite: Works,
) -> None:
    works, venue = on_sqlite, ScriptedVenue()
    bought = works.shop.buy(works.shop.open())
    works.shop.start(bought)  # and the process died before it was sent
    works.shop.do(decisions.halt_trading, tenant=None, reason="why", stops_execution=True)
    executing = works.execution(venue)
    works.run(executing, turns=4, step_s=RECONCILE_S)
    assert (venue.tickets, works.order(bought).status) == ([], "executing")
    works.shop.do(decisions.resume_trading, tenant=None, reason="over")
    works.run(executing, turns=4, step_s=RECONCILE_S)
    assert [ticket.order for ticket in venue.tickets] == [bought]


def test_a_cancel_reaches_the_venue_and_its_answer_the_order(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open()
    bought = works.shop.buy(account)
    executing = works.execution(SimulatedVenue(works.now_us, delay_us=10_000_000))
    works.run(executing, turns=2)
    works.shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=bought)
    assert works.order(bought).status == "executing"
    works.run(executing)
    assert (works.order(bought).status, works.order(bought).cancelled_reason) == (
        "cancelled",
        "requested",
    )
    assert works.shop.desk.state(account).holdings.balance("USD").available == Decimal("1000.00")


# --- F11: what venues do --------------------------------------------------------------------------


MISBEHAVIOUR: dict[str, tuple[Callable[[str], list[Report]], str, int, dict[str, str]]] = {
    "the same report again": (
        lambda of: [trade(of), trade(of), said(of, "x2", "ended"), trade(of)],
        "filled",
        1,
        {},
    ),
    "a fill after the end": (
        lambda of: [said(of, "x2", "ended"), trade(of)],
        "cancelled",
        0,
        {"x1": "late"},
    ),
    "a fill after the end of a part": (
        lambda of: [
            trade(of, quantity=Decimal("0.39")),
            said(of, "x2", "ended"),
            trade(of, "x3", Decimal("0.10")),
        ],
        "filled",
        1,
        {"x3": "late"},
    ),
    "more than ordered": (
        lambda of: [trade(of, quantity=Decimal("1.00"))],
        "executing",
        0,
        {"x1": "too_much"},
    ),
    "more than ordered, in two": (
        lambda of: [trade(of), trade(of, "x2", Decimal("0.01")), said(of, "x3", "ended")],
        "filled",
        1,
        {"x2": "too_much"},
    ),
    "of no order of ours": (
        lambda of: [trade("ord_of_somebody_else"), trade("what/is this", "x2")],
        "executing",
        0,
        {"x1": "unknown_order", "x2": "unknown_order"},
    ),
    "a cancel of its own": (lambda of: [said(of, "x1", "cancelled")], "cancelled", 0, {}),
}
"""What a venue reports -> the order's status, its trades, and what is parked for which reason."""


def test_f11_contradictions_are_parked_and_repeats_do_nothing(works: Works) -> None:
    accounts = {what: works.shop.open() for what in MISBEHAVIOUR}
    orders = {what: works.shop.buy(account) for what, account in accounts.items()}
    venue = ScriptedVenue()
    executing = works.execution(venue)
    works.run(executing, turns=2)
    told = [
        msgspec.structs.replace(report, execution_reference=f"{what}/{report.execution_reference}")
        for what, (reports, *_) in MISBEHAVIOUR.items()
        for report in reports(orders[what])
    ]
    venue.say(*told)
    works.run(executing)
    venue.say(*told)  # and all of it once more
    works.run(executing)
    for what, (_, status, trades, _) in MISBEHAVIOUR.items():
        known = works.order(orders[what])
        assert (known.status, len(known.trades)) == (status, trades), what
        held = works.shop.desk.state(accounts[what]).holdings
        units = sum((one.terms.quantity for one in known.trades), Decimal(0))
        assert held.held(known.terms.instrument) == units, what
        paid = sum((one.terms.notional + one.terms.fee for one in known.trades), Decimal(0))
        assert held.balance("USD").total == Decimal("1000.00") - paid, what
    assert works.parked() == {
        f"{what}/{reference}": fault
        for what, (*_, parked) in MISBEHAVIOUR.items()
        for reference, fault in parked.items()
    }
    assert executing.status().faults == {}


def test_f11_a_reference_used_for_two_orders_has_one_effect_and_shows(works: Works) -> None:
    account = works.shop.open()
    first, second = works.shop.buy(account), works.shop.buy(account)
    venue = ScriptedVenue()
    executing = works.execution(venue, sets=NOTHING)
    works.run(executing, turns=2)
    venue.say(trade(first), trade(second), said(second, "x2", "ended"))
    works.run(executing)
    assert [len(works.order(one).trades) for one in (first, second)] == [1, 0]
    assert works.order(second).status == "executing"  # not closed without what may be its trade
    assert list(executing.status().faults) == [second]


def test_f11_a_fill_after_a_confirmed_cancel_is_parked(works: Works) -> None:
    account = works.shop.open()
    bought = works.shop.buy(account)
    venue = ScriptedVenue()
    executing = works.execution(venue)
    works.run(executing, turns=2)
    works.shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=bought)
    works.run(executing, turns=2)
    venue.say(said(bought, venue.cancels[0].reference, "cancelled"), trade(bought))
    works.run(executing)
    assert works.order(bought).status == "cancelled"
    assert works.parked() == {"x1": "late"}
    assert works.shop.desk.state(account).holdings.balance("USD").total == Decimal("1000.00")


def test_f11_after_a_timeout_the_outcome_is_unknown_until_the_venue_is_asked(works: Works) -> None:
    venue = ScriptedVenue()
    executing = works.execution(venue)
    works.run(executing, turns=1)
    bought = works.shop.buy(works.shop.open())

    def execute_and_fail(ticket: Ticket) -> None:
        reports = (trade(bought), said(bought, "x2", "ended"))
        venue.known[ticket.venue_order] = VenueStatus("over", reports)
        raise TimeoutError("no answer")

    venue.on_submit = execute_and_fail
    works.run(executing, turns=1)
    assert works.order(bought).status == "executing"
    assert executing.status().faults == {bought: "TimeoutError: no answer"}
    works.run(executing)
    assert (works.order(bought).status, len(works.order(bought).trades)) == ("filled", 1)
    assert len(venue.tickets) == 1
    assert executing.status().faults == {}


def test_what_a_venue_tells_again_after_a_restart_costs_one_look(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each report was a command of its own: a restart took a minute for two thousand of them."""
    venue = ScriptedVenue()
    account = works.shop.open()
    orders = [works.shop.buy(account) for _ in range(3)]
    works.run(works.execution(venue))
    told = [
        Report(VENUE, f"{order}-{number}", order, "trade", Decimal(100), Decimal("0.01"))
        for order in orders
        for number in range(20)
    ]
    for report in told:
        venue.say(report)
    works.run(works.execution(venue))
    assert [len(works.order(order).trades) for order in orders] == [20] * 3
    decided: list[int] = []
    do_all = Burst.do_all

    def counted(burst: Burst, commands: Any, check: Any) -> Any:
        decided.append(len(commands))
        return do_all(burst, commands, check)

    monkeypatch.setattr(Burst, "do_all", counted)
    again = works.execution(venue)
    works.run(again)
    assert sum(decided) == 0
    late = Report(VENUE, "new", orders[0], "trade", Decimal(100), Decimal("0.01"))
    venue.say(late)
    works.run(again)
    assert len(works.order(orders[0]).trades) == 21


def test_f11_an_order_that_never_arrived_is_handed_in_again(works: Works) -> None:
    bought = works.shop.buy(works.shop.open())
    venue = ScriptedVenue()
    failures = [TimeoutError("no answer")]

    def fail_once(ticket: Ticket) -> None:
        if failures:
            raise failures.pop()

    venue.on_submit = fail_once
    works.run(works.execution(venue))
    assert works.order(bought).status == "executing"
    assert len(venue.tickets) == 2
    assert venue.tickets[0] == venue.tickets[1]


def test_a_lost_report_is_found_by_asking(on_sqlite: Works) -> None:
    works = on_sqlite
    bought = works.shop.buy(works.shop.open())
    venue = ScriptedVenue()
    executing = works.execution(venue)
    works.run(executing, turns=2)
    venue.known[bought] = VenueStatus("over", (trade(bought), said(bought, "x2", "ended")))
    works.run(executing)
    assert works.order(bought).status == "filled"


class Listening(SimulatedVenue):
    """The simulated venue; `asked` is about which orders."""

    def __init__(self, works: Works, delay_us: int = 0) -> None:
        super().__init__(works.now_us, delay_us)
        self.asked: list[str] = []

    def status(self, venue_order: str) -> VenueStatus:
        self.asked.append(venue_order)
        return super().status(venue_order)


def test_a_working_set_ahead_of_the_page_has_nobody_asked_twice(
    on_sqlite: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The set showed orders whose page had not come; started from it, each was taken for one in doubt
    # when it did, and execution stood still for seconds while the venue was asked about all of them.
    works, venue = on_sqlite, Listening(on_sqlite)
    monkeypatch.setattr(acting, "PAGE_FACTS", 6)
    account = works.shop.open("10000.00")
    works.shop.desk.do_all([works.shop.buying(account) for _ in range(20)])
    works.run(works.execution(venue), turns=20)
    assert {state.status for _, state in orders_of(works.journal)} == {"filled"}
    assert venue.asked == []


def test_a_working_set_that_lags_behind_has_nobody_asked_twice(on_sqlite: Works) -> None:
    works, venue = on_sqlite, Listening(on_sqlite, delay_us=60_000_000)
    account = works.shop.open("10000.00")
    works.shop.desk.do_all([works.shop.buying(account) for _ in range(20)])
    rows = working(works.journal, "placed")(20, 0)
    works.run(works.execution(venue, sets=NOTHING._replace(waiting=lambda *_: rows)), turns=30)
    assert {state.status for _, state in orders_of(works.journal)} == {"executing"}
    assert venue.asked == []


def test_only_what_stays_at_the_venue_is_asked_about(on_sqlite: Works) -> None:
    works, venue = on_sqlite, ScriptedVenue()
    asked: list[str] = []
    venue.status = lambda order: asked.append(order) or VenueStatus("open")  # type: ignore[method-assign]
    executing = works.execution(venue)
    works.run(executing, turns=1)  # the walk of the beginning, which finds nothing
    bought = works.shop.buy(works.shop.open())
    works.run(executing, turns=1, step_s=RECONCILE_S)
    works.run(executing, turns=1, step_s=RECONCILE_S - 0.1)
    assert asked == []
    works.run(executing, turns=2)
    assert asked == [bought]


def test_the_end_is_not_taken_while_a_trade_before_it_cannot_be_recorded(on_sqlite: Works) -> None:
    works = on_sqlite
    bought = works.shop.buy(works.shop.open())
    other = works.shop.buy(works.shop.open())
    venue = ScriptedVenue()
    executing = works.execution(venue, sets=NOTHING)
    works.run(executing, turns=2)
    venue.say(trade(bought, counterparty="x" * BODY_BYTES_MAX), said(bought, "x2", "ended"))
    venue.say(trade(other, "y1"), trade("ord_?", "\ud800"), said(other, "y2", "ended"))
    works.run(executing)
    venue.say(said(bought, "x3", "ended"))  # nor when it comes later
    works.run(executing)
    assert works.order(bought).status == "executing"
    assert works.order(other).status == "filled"
    assert set(executing.status().faults) == {bought, "ord_?"}


def test_a_silent_feed_stops_nobody(on_sqlite: Works) -> None:
    works = on_sqlite
    venue = ScriptedVenue()

    def fail() -> None:
        raise ConnectionError("gone")

    venue.on_reports = fail
    executing = works.execution(venue)
    bought = works.shop.buy(works.shop.open())
    works.run(executing)
    assert works.order(bought).status == "executing"
    assert (executing.state, executing.status().faults) == (
        "running",
        {VENUE: "ConnectionError: gone"},
    )


# --- crashes and leases ---------------------------------------------------------------------------


def test_a_page_done_twice_is_done_once(works: Works) -> None:
    account = works.shop.open()
    bought = [works.shop.buy(account) for _ in range(3)]
    venue = ScriptedVenue()
    works.run(works.execution(venue, sets=NOTHING), turns=1)  # its offset is not saved: it just ends
    head = works.journal.head
    works.clock.now_s += 10 * LEASE_S
    second = works.execution(venue, holder="two")
    works.run(second, turns=2, step_s=LEASE_S)
    works.run(second)
    assert second.state == "running"
    assert works.journal.head == head
    assert [ticket.order for ticket in venue.tickets] == bought


def test_who_lost_the_lease_sends_nothing_and_records_nothing(works: Works) -> None:
    account = works.shop.open()
    first_venue, second_venue = ScriptedVenue(), ScriptedVenue()
    first, second = works.execution(first_venue), works.execution(second_venue, holder="two")
    first.turn()
    second.turn()
    assert (first.state, second.state) == ("running", "waiting for lease")
    works.clock.now_s += LEASE_S
    second.turn()  # the first has frozen meanwhile
    assert second.state == "running"
    bought = works.shop.buy(account)
    first._beats.restart(LEASE_S)  # it does not find out by beating, but by recording
    first.turn()
    assert first.state == "waiting for lease"
    assert first_venue.tickets == []
    works.run(second)
    assert [ticket.order for ticket in second_venue.tickets] == [bought]
    assert kinds(works, bought).count("ExecutionStarted") == 1


def test_connections_end_with_the_lease_and_with_the_work(on_sqlite: Works) -> None:
    """Else a venue with one session for each client refuses the next holder."""
    works, ended = on_sqlite, []
    first, second = works.execution(ScriptedVenue()), works.execution(ScriptedVenue(), holder="two")
    first._let_go, second._let_go = partial(ended.append, "first"), partial(ended.append, "second")
    works.run(first, second, turns=1)
    assert ended == []
    works.clock.now_s += LEASE_S
    second.turn()
    works.shop.buy(works.shop.open())
    first.turn()
    assert ended == ["first"]
    second.end()
    assert ended == ["first", "second"]


def test_a_beat_that_finds_the_lease_gone_ends_the_work(on_sqlite: Works) -> None:
    works = on_sqlite
    first, second = works.execution(ScriptedVenue()), works.execution(ScriptedVenue(), holder="two")
    works.run(first, second, turns=1)
    works.clock.now_s += LEASE_S
    second.turn()
    works.shop.buy(works.shop.open())
    first.turn()
    assert first.state == "waiting for lease"


def test_told_to_stop_it_ends_between_two_orders_and_the_next_goes_on(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open()
    bought = [works.shop.buy(account) for _ in range(3)]
    venue = ScriptedVenue()
    first = works.execution(venue)
    venue.on_submit = lambda ticket: first.stop()
    first.turn()
    first.end()
    assert len(venue.tickets) == 1
    second = works.execution(venue, holder="two")
    works.run(second)  # at once: the lease was given back
    assert sorted(ticket.order for ticket in venue.tickets) == bought


def test_back_off_ends_when_the_database_is_back(on_sqlite: Works) -> None:
    """The bell rings when it is connected again. Errors of another kind have their back-off."""
    executing = on_sqlite.execution(ScriptedVenue())
    waits: list[str] = []

    class Bell:
        poll_s, rings = 0.5, 0

        def wait(self, since: int, timeout_s: float | None = None) -> None:
            waits.append(f"until the bell rings after {since}, at most {timeout_s} s")

        def ring(self) -> None: ...
        def listen(self) -> None: ...
        def unlisten(self) -> None: ...

    faults = [RuntimeError("bad luck"), Unavailable("the database is away")]

    def begin(_: Lease) -> Any:
        if not faults:
            executing.stop()
        raise faults.pop() if faults else Unavailable("away")

    executing._begin, executing._bell = begin, Bell()
    executing._pause = lambda _, rest_s: waits.append(f"{rest_s} s")
    executing.run()
    assert waits == ["0.1 s", "until the bell rings after 0, at most 0.1 s", "0.2 s"]


def test_it_starts_over_with_back_off_and_gives_others_a_chance(on_sqlite: Works) -> None:
    works = on_sqlite
    faults = [RuntimeError("bad luck")] * 3

    def begin(lease: Lease) -> Any:
        if faults:
            raise faults.pop()
        return works_begin(lease)

    executing = works.execution(ScriptedVenue())
    works_begin, executing._begin = executing._begin, begin
    rests = [executing.turn() for _ in range(3)]
    assert rests == [0.1, 0.2, 0.4]
    assert executing.state == "failing"
    assert executing.status().error == "RuntimeError: bad luck"
    assert works.leases("two").take("execution") is not None
    works.clock.now_s += LEASE_S  # the other falls silent
    executing.turn()
    works.clock.now_s += LEASE_S
    executing.turn()
    assert (executing.state, executing.status().error) == ("running", None)


def test_who_does_not_follow_the_journal_is_not_woken_by_it(on_sqlite: Works) -> None:
    works, rests, turns = on_sqlite, [], []

    class Keeping:
        faults, offset = acting.BlockedOrders("keeping"), None

        def turn(self, _: Any) -> float:
            turns.append(works.shop.buy(works.shop.open()))  # the bell rings
            return 600.0

        def finish(self) -> None:
            pass

    def pause(stopping: Event, rest_s: float) -> None:
        rests.append(rest_s)
        stopping.set()

    Follower("keeping", lambda _: Keeping(), None, works.journal, is_woken=False, pause=pause).run()
    assert (len(turns), rests) == (1, [600.0])


def test_the_lease_of_a_process_that_is_known_to_be_gone_is_free(on_sqlite: Works) -> None:
    works = on_sqlite
    mine, other = works.leases(new_holder()), works.leases("elsewhere:1:ab")
    for name, leases in (("execution", mine), ("settlement", other)):
        assert leases.take(name)
    gone = re.sub(r":\d+:", f":{_pid_of_nobody()}:", new_holder())
    assert works.leases(gone).take("sandbox-day")
    third = works.leases("three")
    third.release_dead(is_dead)
    names = ("execution", "settlement", "sandbox-day")
    assert [name for name in names if third.take(name)] == ["sandbox-day"]


def _pid_of_nobody() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_database_shows_how_followers_are(works: Works) -> None:
    watch = Watch(works.journal.datastore, ["execution", "settlement"], works.clock)
    assert [(one.holder, one.is_held, one.behind) for one in watch.poll()] == [(None, False, None)] * 2
    works.shop.buy(works.shop.open())
    executing = works.execution(ScriptedVenue())
    works.run(executing)
    shown = watch.poll()[0]
    assert (shown.is_held, shown.behind, shown.head) == (True, 0, works.journal.head)
    works.clock.now_s += LEASE_S
    assert watch.poll()[0].is_held is False
    executing.turn()
    assert watch.poll()[0].is_held is True
    executing.end()
    assert watch.poll()[0].holder is None


def test_who_is_overtaken_each_time_tries_with_less_at_once(on_sqlite: Works) -> None:
    shop = on_sqlite.shop
    account = shop.open("100000.00")
    rival = Desk(shop.journal, now_us=shop.now_us)
    burst = Burst(shop.desk)

    def overtaken(decide: Any, context: DecisionContext) -> Decision:
        changes = yield from decide(context)
        if burst.size > BURST_MIN:
            rival.do(shop.buying(account, "10.00"))
        return changes

    commands = [shop.buying(account) for _ in range(3)]
    hindered = [msgspec.structs.replace(one, decide=partial(overtaken, one.decide)) for one in commands]
    outcomes = burst.do_all(hindered, lambda: None)
    assert [len(one.facts) for one in outcomes if isinstance(one, Outcome)] == [2, 2, 2]


def test_an_account_that_others_keep_writing_holds_up_nobody_else(on_sqlite: Works) -> None:
    """Its commands ended the whole follower, and with it the orders of all others."""
    shop = on_sqlite.shop
    busy, quiet = shop.open("100000.00"), shop.open()
    rival = Desk(shop.journal, now_us=shop.now_us)
    burst = Burst(shop.desk)

    def overtaken(decide: Any, context: DecisionContext) -> Decision:
        changes = yield from decide(context)
        rival.do(shop.buying(busy, "10.00"))
        return changes

    def hindered(command: Command) -> Command:
        return msgspec.structs.replace(command, decide=partial(overtaken, command.decide))

    commands = [hindered(shop.buying(busy)), shop.buying(quiet), hindered(shop.buying(busy))]
    outcomes = burst.do_all(commands, lambda: None)
    assert [type(one) for one in outcomes] == [Contested, Outcome, Contested]
    faults = BlockedOrders("execution")
    assert faults.note_all(["first", "second", "third"], outcomes) == [False, True, False]
    assert sorted(faults.shown()) == ["first", "third"]
    for outcome in burst.do_all([shop.buying(busy), shop.buying(quiet)], lambda: None):
        assert isinstance(outcome, Outcome)


# --- settlement and the clock ---------------------------------------------------------------------


def test_what_is_not_due_waits_for_the_business_date(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open()
    terms = TERMS.__class__("Later", "LATE", "bond", "USD", settlement_days=1)
    works.shop.do(decisions.put_instrument, instrument="ins_bond", terms=terms)
    known = works.shop.prices[TERMS.symbol]
    works.shop.prices["LATE"] = replace(known, unit=works.shop.desk.state("ins_bond").unit)
    bought = works.shop.buy(account)
    followers = works.execution(SimulatedVenue(works.now_us)), works.settlement()
    works.run(*followers)
    assert works.order(bought).status == "filled"
    works.shop.do(decisions.advance_clock, by_us=DAY_US)
    followers[1].end()
    works.run(works.settlement())  # one that has not read the clock yet
    assert works.order(bought).status == "settled"


def test_a_leap_of_the_clock_blocks_no_order(on_sqlite: Works) -> None:
    """Decisions go by a clock of half a second ago, and refused to settle it: a fault that healed."""
    works = on_sqlite
    account = works.shop.open()
    works.shop.execute(works.shop.buy(account))
    terms = replace(TERMS, settlement_days=1)
    works.shop.do(decisions.put_instrument, instrument="ins_bond", terms=terms)
    bought = works.shop.buy(account)
    works.shop.execute(bought)
    settling = works.settlement()
    works.run(settling, turns=2)  # it settles the first, and has read the clock
    works.shop.do(decisions.advance_clock, by_us=DAY_US)
    works.run(settling, turns=2)
    assert settling.status().faults == {}
    settling.end()
    works.run(works.settlement(), turns=2)
    assert works.order(bought).status == "settled"


def test_what_was_just_filled_is_settled_before_any_view_has_it(on_sqlite: Works) -> None:
    works = on_sqlite
    bought = works.shop.buy(works.shop.open())
    executing, settling = works.execution(SimulatedVenue(works.now_us)), works.settlement(rows=_none)
    works.run(executing, settling, turns=2)
    assert works.order(bought).status == "settled"


def test_what_was_just_filled_and_is_not_due_is_left_to_the_view(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open()
    terms = msgspec.structs.replace(TERMS, settlement_days=1)
    works.shop.do(decisions.put_instrument, instrument="ins_bond", terms=terms)
    bought = works.shop.buy(account)
    executing, settling = works.execution(SimulatedVenue(works.now_us)), works.settlement(rows=_none)
    works.run(executing, settling, turns=4)
    assert (works.order(bought).status, works.fresh.take(10)) == ("filled", [])
    assert settling.status().faults == {}


def _none(*_: Any) -> list[Any]:
    return []


def test_a_set_that_lags_behind_settles_nothing_twice(on_sqlite: Works) -> None:
    works = on_sqlite
    account = works.shop.open()
    bought = works.shop.buy(account)
    works.shop.execute(bought)
    settling = works.settlement()
    rows = due(works.journal)(works.order(bought).trades[0].terms.settlement_date, 10, None)
    stale = works.settlement(rows=lambda business_date, limit, after: rows)
    works.run(settling)
    settling.end()
    head = works.journal.head
    works.run(stale)
    assert works.journal.head == head
    assert works.order(bought).status == "settled"


def ticking(works: Works) -> Follower:
    def begin(lease: Lease) -> Ticker:
        desk = Desk(works.journal, now_us=works.now_us, lease=lease)
        return Ticker(desk, 10.0, monotonic=works.clock)

    return works.follower(ticker.NAME, begin)


def test_a_business_day_passes_every_so_often_until_nothing_else_happens(on_sqlite: Works) -> None:
    works = on_sqlite
    works.shop.open()
    clock = ticking(works)
    works.run(clock, turns=11, step_s=1.0)
    assert _days(works) == 1
    works.run(clock, turns=2 * SANDBOX_REST_DAYS, step_s=10.0)
    assert _days(works) == SANDBOX_REST_DAYS
    works.shop.open()
    works.run(clock, turns=3, step_s=10.0)
    assert _days(works) > SANDBOX_REST_DAYS


def _days(works: Works) -> int:
    return sum(isinstance(one.fact, ClockAdvanced) for page in works.journal.pages() for one in page)


@pytest.mark.parametrize(
    ("text", "us"), [("10s", 10_000_000), ("2m", 120_000_000), ("1h", 3_600_000_000), ("50ms", 50_000)]
)
def test_durations(text: str, us: int) -> None:
    assert parse_duration_us(text, "--sandbox-day") == us


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", "01s", "1 s", "1S", "\u0661s", "1s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadSettings, match="--sandbox-day"):
        parse_duration_us(text, "--sandbox-day")


def test_a_follower_says_at_once_how_it_is_and_when_it_is_stuck(on_sqlite: Works) -> None:
    """Without a database, by its own clock: this is what its heartbeat carries."""
    now_s, seen = [100.0], []

    class Working:
        offset = None
        faults = acting.BlockedOrders("part")

        def turn(self, check_cancelled: acting.CheckCancelled) -> float:
            for _ in range(2):
                now_s[0] += 7
                seen.append(follower.vital().busy_s)
                check_cancelled()
            now_s[0] += 12
            seen.append(follower.vital().busy_s)
            raise Unavailable("no /path/of/mine")

        def finish(self) -> None:
            pass

    follower = Follower("part", lambda _: Working(), None, on_sqlite.journal, monotonic=lambda: now_s[0])
    assert follower.vital() == Part("part", "waiting")
    follower.turn()
    assert seen == [7.0, 7.0, 12.0], "a breath between pieces of work is a sign of life"
    now_s[0] += 30
    said = "unavailable: no /path/of/mine"
    assert follower.vital() == Part("part", "failing", 30.0, 0.0, "unavailable", said)
