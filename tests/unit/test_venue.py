"""The simulated venue: what it answers, when, and that a crash changes none of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.venues.port import CancelTicket, Ticket, VenueUnavailable
from engine.venues.simulated import SimulatedVenue
from tests.support.models.table import rows

STARTED_US = 1_000_000
DELAY_US = 500


def ticket(venue_order: str = "v1", **words: Any) -> Ticket:
    terms: dict[str, Any] = {
        "venue_order": venue_order,
        "order": f"ord_{venue_order}",
        "instrument": "ins",
        "symbol": "SYM",
        "side": "buy",
        "quantity": Decimal("0.99"),
        "price": Decimal(100),
        "accrued_interest": Decimal("0.5"),
        "trading_increment": Decimal("0.01"),
        "cash_amount": Decimal("100.00"),
        "started_at_us": STARTED_US,
    }
    return Ticket(**terms | words)


class Clock:
    now_us = STARTED_US

    def __call__(self) -> int:
        return self.now_us


def opened(delay_us: int = 0) -> tuple[SimulatedVenue, Clock]:
    clock = Clock()
    return SimulatedVenue(clock, delay_us), clock


def reports_of(venue: SimulatedVenue, after: int = 0) -> list[str]:
    """Kinds of the reports, with the quantity where there is one."""
    reports = [numbered.report for numbered in venue.reports(after)]
    return [f"{r.kind} {r.quantity}" if r.quantity is not None else r.kind for r in reports]


ANSWERS = """
side|asked  |quantity|increment|answers
buy |100.00 |0.99    |0.01     |trade 0.99, ended
buy |5001   |49.75   |0.01     |ended
buy |5001.00|49.75   |0.01     |ended
buy |5001.01|49.75   |0.01     |trade 49.75, ended
buy |5002.00|49.77   |0.01     |trade 19.90, ended
buy |5002   |0.99    |0.01     |trade 0.39, ended
buy |5002   |2       |1        |ended
buy |5003.00|49.78   |0.01     |trade 49.78, ended
buy |20.00  |0.19    |0.01     |trade 0.19, ended
sell|20     |20      |0.01     |trade 5.00, ended
sell|20.00  |20.00   |1        |trade 5, ended
sell|20.00  |20.00   |8        |ended
sell|5001   |5001    |0.01     |trade 5001, ended
sell|0.123  |0.123   |0.01     |trade 0.123, ended
"""


@pytest.mark.parametrize("row", rows(ANSWERS), ids=lambda row: f"{row['side']} {row['asked']}")
def test_answers_by_value(row: dict[str, str]) -> None:
    venue, _ = opened()
    venue.submit(
        ticket(
            side=row["side"],
            cash_amount=Decimal(row["asked"]) if row["side"] == "buy" else None,
            quantity=Decimal(row["quantity"]),
            trading_increment=Decimal(row["increment"]),
        )
    )
    assert ", ".join(reports_of(venue)) == row["answers"]


def test_a_trade_is_at_the_tickets_price_and_names_its_order() -> None:
    venue, _ = opened()
    venue.submit(ticket())
    trade, ended = (numbered.report for numbered in venue.reports(0))
    assert (trade.price, trade.accrued_interest) == (Decimal(100), Decimal("0.5"))
    assert (trade.venue, trade.order, trade.executed_at_us) == ("simulated", "ord_v1", STARTED_US)
    assert trade.execution_reference.startswith("v1")
    assert trade.execution_reference != ended.execution_reference


def test_submitting_twice_executes_once() -> None:
    venue, _ = opened()
    venue.submit(ticket())
    first = list(venue.reports(0))
    venue.submit(ticket())
    assert list(venue.reports(0)) == first


def test_a_delay_holds_the_reports_back() -> None:
    venue, clock = opened(DELAY_US)
    venue.submit(ticket())
    assert (reports_of(venue), venue.status("v1").standing) == ([], "open")
    clock.now_us = STARTED_US + DELAY_US - 1
    assert reports_of(venue) == []
    clock.now_us += 1
    assert reports_of(venue) == ["trade 0.99", "ended"]
    assert venue.status("v1").standing == "over"


def test_a_cancel_before_the_execution_stops_it_and_one_after_is_rejected() -> None:
    for asked_at_us, answers in (
        (STARTED_US + DELAY_US - 1, ["cancelled"]),
        (STARTED_US + DELAY_US, ["trade 0.99", "ended", "cancel_rejected"]),
    ):
        venue, clock = opened(DELAY_US)
        venue.submit(ticket())
        clock.now_us = asked_at_us
        for _ in range(2):  # asked again under the same reference, it is answered once
            venue.cancel(CancelTicket("v1", "v1.3", asked_at_us))
        clock.now_us = STARTED_US + 10 * DELAY_US
        assert reports_of(venue) == answers


def test_a_cancel_that_arrives_after_the_reports_went_out_is_rejected() -> None:
    venue, clock = opened(DELAY_US)
    venue.submit(ticket())
    clock.now_us = STARTED_US + DELAY_US
    assert reports_of(venue) == ["trade 0.99", "ended"]
    venue.cancel(CancelTicket("v1", "v1.3", STARTED_US + 1))
    assert reports_of(venue) == ["trade 0.99", "ended", "cancel_rejected"]


def test_a_restarted_venue_says_the_same_of_the_same_tickets() -> None:
    first, clock = opened(DELAY_US)
    first.submit(ticket())
    first.submit(ticket("v2", cash_amount=Decimal(5002)))
    clock.now_us += 10 * DELAY_US
    again = SimulatedVenue(clock, DELAY_US)
    again.submit(ticket("v2", cash_amount=Decimal(5002)))
    again.submit(ticket())
    for order in ("v1", "v2"):
        assert first.status(order) == again.status(order) != ("unknown", ())


def test_it_knows_no_order_that_it_was_not_given() -> None:
    venue, _ = opened()
    assert venue.status("v1").standing == "unknown"
    with pytest.raises(VenueUnavailable):
        venue.cancel(CancelTicket("v1", "v1.3", STARTED_US))


def test_what_was_fetched_is_forgotten() -> None:
    venue, _ = opened()
    for n in range(3):
        venue.submit(ticket(f"v{n}"))
    numbers = [numbered.number for numbered in venue.reports(0)]
    assert numbers == sorted(set(numbers))
    assert len(venue.reports(numbers[1])) == len(numbers) - 2
    assert venue.status("v0").standing == "unknown"
    assert venue.status("v1").standing == "over"
    assert venue.reports(numbers[-1]) == []
