"""The simulated venue of the sandbox. Its answers are a pure function of order, price and time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final

from engine.domain.kind import SIMULATED
from engine.domain.pricing import quantity_for
from engine.domain.report import Report, ReportKind
from engine.kernel.limits import VENUE_REPORTS
from engine.kernel.values import EXACT
from engine.venues.port import (
    CancelTicket,
    Capabilities,
    Numbered,
    Ticket,
    VenueStatus,
    VenueUnavailable,
)

_HUNDREDTHS: Final = {
    "buy": {Decimal(5001): 0, Decimal(5002): 40, Decimal(5003): 100},
    "sell": {Decimal(20): 25},
}
"""Side -> cash amount of the buy or quantity of the sell -> percent of the quantity executed. Other
amounts are executed in full."""


def executed_quantity(ticket: Ticket) -> Decimal:
    """The units that the simulated venue executes: 0, a fraction in whole increments, or all."""
    asked = ticket.quantity if ticket.cash_amount is None else ticket.cash_amount
    percent = _HUNDREDTHS[ticket.side].get(asked, 100)
    if percent == 100:
        return ticket.quantity
    part = EXACT.multiply(ticket.quantity, Decimal(percent).scaleb(-2))
    return quantity_for(part, Decimal(1), ticket.trading_increment)


def answers_to(venue: str, ticket: Ticket, executed_at_us: int) -> list[Report]:
    """The simulated venue's reports of an order that was not cancelled in time: a pure function."""
    quantity = executed_quantity(ticket)
    ended = Report(venue, f"{ticket.venue_order}-ended", ticket.order, "ended")
    if not quantity:
        return [ended]
    trade = Report(
        venue,
        f"{ticket.venue_order}-trade",
        ticket.order,
        "trade",
        ticket.price,
        quantity,
        ticket.accrued_interest,
        executed_at_us,
    )
    return [trade, ended]


class _Held:
    """An order at the simulated venue and its reports."""

    def __init__(self, ticket: Ticket, due_us: int) -> None:
        self.ticket = ticket
        self.due_us = due_us
        self.cancels: set[str] = set()
        self.said: list[Report] = []
        self.is_over = False


class SimulatedVenue:
    """The venue of the sandbox: executes at the ticket's price, `delay_us` after the order began.

    A cancel before that moment succeeds, a later one is rejected. It has no storage: its reports follow
    from tickets, and tickets from the journal, so the same tickets after a crash give the same reports.
    Not thread-safe.
    """

    capabilities: Final = Capabilities()

    def __init__(self, now_us: Callable[[], int], delay_us: int = 0, name: str = SIMULATED) -> None:
        self._now_us = now_us
        self._delay_us = delay_us
        self._name = name
        self._held: dict[str, _Held] = {}
        self._due: list[tuple[int, str]] = []  # a heap
        self._feed: deque[tuple[Numbered, str]] = deque()
        self._number = 0

    @property
    def name(self) -> str:
        """Keys its reports."""
        return self._name

    def submit(self, ticket: Ticket) -> None:
        """Takes an order, once."""
        if ticket.venue_order not in self._held:
            due_us = ticket.started_at_us + self._delay_us
            self._held[ticket.venue_order] = _Held(ticket, due_us)
            heapq.heappush(self._due, (due_us, ticket.venue_order))

    def cancel(self, ticket: CancelTicket) -> None:
        """Cancels an order that is not executed yet. Raises VenueUnavailable for an unknown one."""
        held = self._held.get(ticket.venue_order)
        if held is None:
            raise VenueUnavailable("the venue has no such order", venue_order=ticket.venue_order)
        if ticket.reference in held.cancels:
            return
        held.cancels.add(ticket.reference)
        is_in_time = not held.is_over and ticket.asked_at_us < held.due_us
        if not is_in_time:
            self._execute_due()  # reports the execution before the answer about it
        kind: ReportKind = "cancelled" if is_in_time else "cancel_rejected"
        held.is_over = held.is_over or is_in_time
        self._say(held, Report(self._name, f"{ticket.reference}-{kind}", held.ticket.order, kind))

    def status(self, venue_order: str) -> VenueStatus:
        """The status of an order. A finished one is dropped once its reports were fetched."""
        self._execute_due()
        held = self._held.get(venue_order)
        if held is None:
            return VenueStatus("unknown")
        return VenueStatus("over" if held.is_over else "open", tuple(held.said))

    def reports(self, after: int) -> Sequence[Numbered]:
        """The reports after number `after`; those up to it are dropped."""
        self._execute_due()
        while self._feed and self._feed[0][0].number <= after:
            heard, venue_order = self._feed.popleft()
            held = self._held.get(venue_order)
            if held and held.is_over and held.said[-1] is heard.report:
                del self._held[venue_order]
        return [numbered for numbered, _ in islice(self._feed, VENUE_REPORTS)]

    def _execute_due(self) -> None:
        now_us = self._now_us()
        while self._due and self._due[0][0] <= now_us:
            due_us, venue_order = heapq.heappop(self._due)
            held = self._held.get(venue_order)
            if held and not held.is_over:
                held.is_over = True
                for report in answers_to(self._name, held.ticket, due_us):
                    self._say(held, report)

    def _say(self, held: _Held, report: Report) -> None:
        self._number += 1
        held.said.append(report)
        self._feed.append((Numbered(self._number, report), held.ticket.venue_order))
