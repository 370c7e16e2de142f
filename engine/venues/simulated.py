"""The simulated venue of the sandbox. Its answers follow from order, script, price and time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Container, Sequence
from decimal import Decimal
from itertools import count, islice
from typing import Final, Protocol

from engine.domain.kind import SIMULATED
from engine.domain.pricing import quantity_for
from engine.domain.report import Report, ReportKind
from engine.kernel.limits import RECONCILE_S, VENUE_REPORTS, WAITING_S
from engine.kernel.values import EXACT
from engine.venues.port import (
    CancelTicket,
    Capabilities,
    Numbered,
    SentOrder,
    Ticket,
    VenueStatus,
    VenueUnavailable,
)
from engine.venues.resting import Resting, Tape, meets
from engine.venues.scripted import Due, is_silent, reports_of, times_out

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


def answers_to(
    venue: str, ticket: Ticket, executed_at_us: int, price: Decimal | None = None
) -> list[Report]:
    """The simulated venue's reports of an order that was not cancelled in time: a pure function.

    `price` defaults to the ticket's.
    """
    quantity = executed_quantity(ticket)
    ended = Report(venue, f"{ticket.venue_order}-ended", ticket.order, "ended")
    if not quantity:
        return [ended]
    trade = Report(
        venue,
        f"{ticket.venue_order}-trade",
        ticket.order,
        "trade",
        ticket.price if price is None else price,
        quantity,
        ticket.accrued_interest,
        executed_at_us,
    )
    return [trade, ended]


class Prompter(Protocol):
    """The journal, as far as the venue has to know it for its scripts."""

    def ahead_us(self) -> int:
        """Business time minus wall time."""

    def unplayed(self, known: Container[str]) -> Sequence[SentOrder]:
        """Orders whose execution is over and whose script is not played, except the known; a page."""

    def cancels(self, order: str) -> Sequence[CancelTicket]:
        """All requests to cancel an order."""

    def played(self, script: str, order: str) -> None:
        """Records, once, that all reports of a script have been taken. Raises Unavailable."""


class _Held:
    """An order at the simulated venue, its reports so far and those to come, by number.

    `unread`: how many reports have not been fetched.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.cancels: set[str] = set()
        self.said: list[Report] = []
        self.due: dict[int, Due] = {}
        self.is_over = False
        self.unread = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing comes of it any more, and everything was fetched."""
        return self.is_over and not self.due and not self.unread


class SimulatedVenue:
    """The venue of the sandbox: executes at the ticket's price, `delay_us` after the order began, or by
    the order's script. A limit order that does not meet that price rests until one of the `tape` does.

    Without a script a cancel before that moment succeeds, a later one is rejected. It has no storage:
    its reports follow from tickets, and tickets from the journal, so the same tickets after a crash give
    the same reports. Orders with reports to come after their end are found again by the `prompter`. Not
    thread-safe.
    """

    capabilities: Final = Capabilities(frozenset({"market", "limit"}), frozenset({"day", "gtc"}))

    def __init__(
        self,
        now_us: Callable[[], int],
        delay_us: int = 0,
        name: str = SIMULATED,
        prompter: Prompter | None = None,
        tape: Tape | None = None,
    ) -> None:
        self._now_us = now_us
        self._delay_us = delay_us
        self._name = name
        self._prompter = prompter
        self._resting = Resting(tape) if tape else None
        self._matched_us: int | None = None
        self._held: dict[str, _Held] = {}
        self._numbers = count(1)
        self._due: list[tuple[int, int, str]] = []  # heaps of (time, number, order): in wall time
        self._due_in_business: list[tuple[int, int, str]] = []
        self._feed: deque[tuple[Numbered, str]] = deque()
        self._number = 0
        self._played: dict[str, str] = {}  # script -> order, to be recorded
        self._asked_us: int | None = None

    @property
    def name(self) -> str:
        """Keys its reports."""
        return self._name

    def submit(self, ticket: Ticket) -> None:
        """Takes an order, once. Raises VenueUnavailable if its script has a timeout."""
        if ticket.venue_order not in self._held:
            self._hold(ticket, self._cancels(ticket))
            if times_out(ticket):
                raise VenueUnavailable("no answer, by the order's script")

    def _cancels(self, ticket: Ticket) -> Sequence[CancelTicket]:
        if self._prompter is None or ticket.script is None:
            return ()  # it was asked about: at most one request is open
        return self._prompter.cancels(ticket.order)

    def _hold(self, ticket: Ticket, cancels: Sequence[CancelTicket]) -> None:
        """Plans the reports of an order that was, or will be, asked to be cancelled."""
        held = self._held[ticket.venue_order] = _Held(ticket)
        if ticket.script is not None:
            self._plan(held, reports_of(self._name, ticket, ticket.script))
        elif meets(ticket, ticket.price):
            self._execute(held, ticket.price, ticket.started_at_us)
        elif self._resting is not None:
            self._resting.add(ticket)
            self._matched_us = None
        for request in cancels:
            self.cancel(request)

    def _execute(self, held: _Held, price: Decimal, at_us: int) -> None:
        """Plans the execution of an order that meets a price."""
        due_us = at_us + self._delay_us
        reports = answers_to(self._name, held.ticket, due_us, price)
        self._plan(held, [Due(due_us, one, one.kind == "ended") for one in reports])

    def _match(self) -> None:
        """Plans the execution of resting orders that new prices meet."""
        self._matched_us = self._now_us()
        for match in self._resting.match() if self._resting else ():
            self._execute(self._held[match.ticket.venue_order], match.price, match.at_us)

    def _plan(self, held: _Held, planned: Sequence[Due]) -> None:
        for due in planned:
            number = next(self._numbers)
            held.due[number] = due
            heap = self._due_in_business if due.is_business else self._due
            heapq.heappush(heap, (due.at_us, number, held.ticket.venue_order))

    def cancel(self, ticket: CancelTicket) -> None:
        """Cancels an order that is not executed yet. Raises VenueUnavailable for an unknown one."""
        held = self._held.get(ticket.venue_order)
        if held is None:
            raise VenueUnavailable("the venue has no such order", venue_order=ticket.venue_order)
        if ticket.reference not in held.cancels:
            held.cancels.add(ticket.reference)
            self._ask(held, ticket)

    def _ask(self, held: _Held, request: CancelTicket) -> None:
        """Has a request answered: as the script says, or `cancelled` unless the execution is over."""
        self._match()
        for number, due in list(held.due.items()):
            if not due.is_business and due.at_us <= request.asked_at_us:
                self._say(held, held.due.pop(number))
        if is_silent(held.ticket):
            return
        script = held.ticket.script
        answers = reports_of(self._name, held.ticket, script, request) if script else []
        if not answers:
            kind: ReportKind = "cancel_rejected" if held.is_over else "cancelled"
            report = Report(self._name, f"{request.reference}-{kind}", held.ticket.order, kind)
            answers = [Due(request.asked_at_us, report, kind == "cancelled")]
        if any(answer.is_end for answer in answers):
            held.due.clear()
            if self._resting is not None:
                self._resting.remove(held.ticket)
        self._plan(held, answers)
        self._say_due()

    def close(self) -> None:
        """Nothing to end: it has no connection."""

    def status(self, venue_order: str) -> VenueStatus:
        """The status of an order. A finished one is dropped once its reports were fetched."""
        self._say_due()
        held = self._held.get(venue_order)
        if held is None:
            return VenueStatus("unknown")
        return VenueStatus("over" if held.is_over else "open", tuple(held.said))

    def reports(self, after: int) -> Sequence[Numbered]:
        """The reports after number `after`; those up to it are dropped."""
        self._resume()
        self._say_due()
        while self._feed and self._feed[0][0].number <= after:
            _, venue_order = self._feed.popleft()
            held = self._held[venue_order]
            held.unread -= 1
            if held.is_done:
                self._drop(held)
        self._note_played()
        return [numbered for numbered, _ in islice(self._feed, VENUE_REPORTS)]

    def _resume(self) -> None:
        """Takes orders again that have reports to come after their end, after a restart."""
        now_us = self._now_us()
        if self._prompter is None:
            return
        if self._asked_us is not None and abs(now_us - self._asked_us) < RECONCILE_S * 1_000_000:
            return
        for sent in self._prompter.unplayed(self._held):
            self._hold(*sent)
        self._asked_us = now_us

    def _drop(self, held: _Held) -> None:
        del self._held[held.ticket.venue_order]
        if held.ticket.script is not None and self._prompter is not None:
            self._played[held.ticket.script.script] = held.ticket.order

    def _note_played(self) -> None:
        while self._played and self._prompter is not None:
            script, order = next(iter(self._played.items()))
            self._prompter.played(script, order)
            del self._played[script]

    def _say_due(self) -> None:
        now_us = self._now_us()
        if self._matched_us is None or abs(now_us - self._matched_us) >= WAITING_S * 1_000_000:
            self._match()
        self._say_until(self._due, now_us)
        if self._due_in_business:
            ahead_us = self._prompter.ahead_us() if self._prompter else 0
            self._say_until(self._due_in_business, now_us + ahead_us)

    def _say_until(self, heap: list[tuple[int, int, str]], now_us: int) -> None:
        while heap and heap[0][0] <= now_us:
            _, number, venue_order = heapq.heappop(heap)
            held = self._held.get(venue_order)
            due = held.due.pop(number, None) if held else None
            if held and due:
                self._say(held, due)

    def _say(self, held: _Held, due: Due) -> None:
        self._number += 1
        held.said.append(due.report)
        held.is_over = held.is_over or due.is_end
        held.unread += 1
        self._feed.append((Numbered(self._number, due.report), held.ticket.venue_order))
