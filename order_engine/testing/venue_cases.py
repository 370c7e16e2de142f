"""The cases that every venue adapter passes. See docs/venues.md.

Write a `Counterparty` for your adapter, then run each case, here with pytest:

    @pytest.mark.parametrize("name", CASES)
    def test_my_venue(name: str) -> None:
        CASES[name](MyCounterparty())

A case needs a counterparty of its own. Each fails by an AssertionError with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Final, Protocol

from msgspec.structs import replace

from engine.domain.report import Report
from engine.domain.routing import NAME
from engine.kernel.wall import now_us
from engine.venues.port import CancelTicket, Ticket, Venue, VenueStatus

ORDERS: Final = tuple(f"ord_1C8xWqVdPq4oKgXcY2mN7{letter}" for letter in "ABCDEFGH")


class Counterparty(Protocol):
    """The other side of an adapter, for a test. It keeps its orders while adapters are opened anew."""

    def open(self) -> Venue:
        """An adapter, as the engine opens it after a start. Called several times in some cases."""

    def execute(self, order: str) -> None:
        """Trades all units of an open order and ends it."""

    def heard(self) -> Sequence[Report]:
        """All reports so far, in their order, by whichever way they reach the engine: `reports` of the
        adapter opened last, or posted.
        """

    def orders(self) -> Sequence[str]:
        """Our id of each order that it has received, one entry for each time it counted as new."""

    def losing(self) -> AbstractContextManager[object] | None:
        """Meanwhile requests arrive, and answers are lost. None where no answer can be lost: the venue
        runs in the same process.
        """


def ticket(order: str, quantity: str = "2.00", **words: object) -> Ticket:
    """A buy at 100, as the engine sends one now."""
    made = Ticket(
        venue_order=order,
        order=order,
        instrument="ins_case",
        symbol="CASE",
        side="buy",
        quantity=Decimal(quantity),
        price=Decimal(100),
        accrued_interest=Decimal(0),
        trading_increment=Decimal("0.01"),
        cash_amount=Decimal("201.00"),
        started_at_us=now_us(),
        account="acc_case",
        currency="USD",
    )
    return replace(made, **words)


def _about(counterparty: Counterparty, order: str) -> list[Report]:
    return [report for report in counterparty.heard() if report.order == order]


def _kinds(reports: Sequence[Report]) -> list[str]:
    """Kinds of reports, without those that change nothing."""
    return [report.kind for report in reports if report.kind != "accepted"]


def _traded(reports: Sequence[Report]) -> Decimal:
    trades = {one.execution_reference: one.quantity for one in reports if one.kind == "trade"}
    return sum((quantity or Decimal(0) for quantity in trades.values()), Decimal(0))


def _standing(venue: Venue, order: str) -> str:
    found = venue.status(order)
    assert isinstance(found, VenueStatus), f"status returns a VenueStatus, not {type(found).__name__}"
    return found.standing


def _fails(venue: Venue, order: str) -> bool:
    try:
        venue.submit(ticket(order))
    except Exception:  # noqa: BLE001  any error will do
        return True
    return False


# --- cases ----------------------------------------------------------------------------------------


def has_a_name_and_capabilities(counterparty: Counterparty) -> None:
    """Its name is one that settings can have, the same after a restart."""
    venue, again = counterparty.open(), counterparty.open()
    assert NAME.fullmatch(venue.name), f"{venue.name!r} is no name of a venue"
    assert venue.name == again.name, "the name is stored with each report: it never changes"
    assert "market" in venue.capabilities.order_types, "the engine sends market orders"
    assert venue.capabilities.concurrency >= 1


def executes_an_order(counterparty: Counterparty) -> None:
    """An order trades in full and ends, and every report names venue and order."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    reports = _about(counterparty, ORDERS[0])
    assert _traded(reports) == 2, f"2.00 units were sent, and {_traded(reports)} reported"
    assert _kinds(reports)[-1:] == ["ended"], "the last report ends the execution"
    assert {report.venue for report in reports} == {venue.name}
    references = [report.execution_reference for report in reports]
    assert len({*references}) == len(references), "each report has a reference of its own"
    assert _standing(venue, ORDERS[0]) in {"over", "unknown"}


def trades_are_exact(counterparty: Counterparty) -> None:
    """Prices and quantities are decimals with every digit, times are microseconds of now."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0], "1234567.89"))
    counterparty.execute(ORDERS[0])
    trades = [report for report in _about(counterparty, ORDERS[0]) if report.kind == "trade"]
    assert _traded(trades) == Decimal("1234567.89")
    for trade in trades:
        assert isinstance(trade.price, Decimal)
        assert isinstance(trade.quantity, Decimal)
        if trade.executed_at_us is not None:
            assert abs(trade.executed_at_us - now_us()) < 60_000_000, "executed within a minute"


def a_limit_order_is_executed_at_its_limit_or_better(counterparty: Counterparty) -> None:
    """If the venue takes limit orders: one that meets 100 trades, one below is cancelled."""
    venue = counterparty.open()
    if "limit" not in venue.capabilities.order_types:
        return
    words = {"order_type": "limit", "time_in_force": min(venue.capabilities.times_in_force)}
    for order, limit in zip(ORDERS, ("100.50", "99"), strict=False):
        venue.submit(ticket(order, limit_price=Decimal(limit), **words))
    counterparty.execute(ORDERS[0])
    venue.cancel(CancelTicket(ORDERS[1], f"{ORDERS[1]}.3", now_us()))
    met, below = _about(counterparty, ORDERS[0]), _about(counterparty, ORDERS[1])
    assert _traded(met) == 2
    prices = [report.price for report in met if report.price is not None]
    assert max(prices) <= Decimal("100.50"), "it is executed worse than its limit"
    assert _kinds(below) == ["cancelled"], "nothing is executed at 99 while the market is at 100"


def a_repeated_submit_is_one_order(counterparty: Counterparty) -> None:
    """The engine repeats a submit whose outcome it does not know."""
    venue = counterparty.open()
    for _ in range(3):
        venue.submit(ticket(ORDERS[0]))
    counterparty.open().submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    assert list(counterparty.orders()).count(ORDERS[0]) == 1, "it was sent again as a new order"
    assert _traded(_about(counterparty, ORDERS[0])) == 2


def a_repeat_after_the_end_is_no_new_order(counterparty: Counterparty) -> None:
    """A submit may be repeated late: its answer was lost, and the order is over meanwhile."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    before = _about(counterparty, ORDERS[0])
    venue.submit(ticket(ORDERS[0]))
    assert _about(counterparty, ORDERS[0]) == before, "it reported more"
    assert _standing(venue, ORDERS[0]) in {"over", "unknown"}, "it is open again"
    assert list(counterparty.orders()).count(ORDERS[0]) == 1


def an_unknown_order_is_unknown(counterparty: Counterparty) -> None:
    """And only that: the engine sends such an order again."""
    venue = counterparty.open()
    assert _standing(venue, ORDERS[0]) == "unknown"
    venue.submit(ticket(ORDERS[0]))
    assert _standing(venue, ORDERS[0]) == "open"
    assert _standing(venue, ORDERS[1]) == "unknown"


def a_cancel_in_time_ends_the_order(counterparty: Counterparty) -> None:
    """Its answer is a report, once for each request."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0]))
    for _ in range(2):
        venue.cancel(CancelTicket(ORDERS[0], f"{ORDERS[0]}.3", now_us()))
    assert _kinds(_about(counterparty, ORDERS[0])) == ["cancelled"]
    assert _standing(venue, ORDERS[0]) in {"over", "unknown"}


def a_cancel_after_the_execution_is_rejected(counterparty: Counterparty) -> None:
    """The trade stands, and the cancel's answer says so."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    venue.cancel(CancelTicket(ORDERS[0], f"{ORDERS[0]}.3", now_us()))
    kinds = _kinds(_about(counterparty, ORDERS[0]))
    assert sorted(kinds) == ["cancel_rejected", "ended", "trade"], f"it reported {kinds}"


def a_restart_loses_nothing(counterparty: Counterparty) -> None:
    """After a restart the engine asks about each order, and sends what the venue never had."""
    counterparty.open().submit(ticket(ORDERS[0]))
    venue = counterparty.open()
    if _standing(venue, ORDERS[0]) == "unknown":
        venue.submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    found = {report.execution_reference: report for report in venue.status(ORDERS[0]).reports}
    found |= {report.execution_reference: report for report in counterparty.heard()}
    assert _traded([*found.values()]) == 2
    assert sorted(_kinds([*found.values()])) == ["ended", "trade"]
    assert list(counterparty.orders()).count(ORDERS[0]) == 1


def the_stream_of_reports_resumes(counterparty: Counterparty) -> None:
    """Numbers increase; a page begins after the number it is asked for."""
    venue = counterparty.open()
    for order in ORDERS[:3]:
        venue.submit(ticket(order))
        counterparty.execute(order)
    page = list(venue.reports(0))
    numbers = [one.number for one in page]
    assert numbers == sorted({*numbers}), f"numbers increase, each once: {numbers}"
    if page:
        middle = numbers[len(numbers) // 2]
        rest = [one.number for one in venue.reports(middle)]
        assert rest == [number for number in numbers if number > middle], "nothing is left out or early"


def many_at_once_are_kept_apart(counterparty: Counterparty) -> None:
    """As many calls at once as its capabilities say."""
    venue = counterparty.open()
    with ThreadPoolExecutor(min(venue.capabilities.concurrency, len(ORDERS))) as threads:
        list(threads.map(venue.submit, [ticket(order) for order in ORDERS]))
    assert sorted(counterparty.orders()) == sorted(ORDERS)
    for order in ORDERS:
        counterparty.execute(order)
        assert _traded(_about(counterparty, order)) == 2


def a_closed_adapter_makes_room_for_another(counterparty: Counterparty) -> None:
    """Execution closes an adapter when it stops or loses its lease; then another process opens one."""
    venue = counterparty.open()
    venue.submit(ticket(ORDERS[0]))
    venue.close()
    venue.close()
    again = counterparty.open()
    if _standing(again, ORDERS[0]) == "unknown":
        again.submit(ticket(ORDERS[0]))
    counterparty.execute(ORDERS[0])
    assert _traded(_about(counterparty, ORDERS[0])) == 2
    assert list(counterparty.orders()).count(ORDERS[0]) == 1


def a_lost_answer_is_an_error_and_no_second_order(counterparty: Counterparty) -> None:
    """The outcome is unknown: `submit` raises, `status` tells, nothing is sent twice."""
    venue, losing = counterparty.open(), counterparty.losing()
    if losing is None:
        return
    with losing:
        assert _fails(venue, ORDERS[0]), "submit returned although no answer came: it must raise"
    assert _standing(venue, ORDERS[0]) == "open", "the order had arrived"
    venue.submit(ticket(ORDERS[0]))
    assert list(counterparty.orders()).count(ORDERS[0]) == 1


CASES: Final[dict[str, Callable[[Counterparty], None]]] = {
    case.__name__: case
    for case in (
        has_a_name_and_capabilities,
        executes_an_order,
        trades_are_exact,
        a_limit_order_is_executed_at_its_limit_or_better,
        a_repeated_submit_is_one_order,
        a_repeat_after_the_end_is_no_new_order,
        an_unknown_order_is_unknown,
        a_cancel_in_time_ends_the_order,
        a_cancel_after_the_execution_is_rejected,
        a_restart_loses_nothing,
        the_stream_of_reports_resumes,
        many_at_once_are_kept_apart,
        a_closed_adapter_makes_room_for_another,
        a_lost_answer_is_an_error_and_no_second_order,
    )
}
"""Name -> case."""
