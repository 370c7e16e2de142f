"""Requests to venues and their answers: orders, cancels, questions about orders, streams of reports.

Nothing is recorded here, and a missing answer leaves the outcome unknown: the venue is asked about that
order before anything is sent to it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from engine.commands.desk import Desk
from engine.domain import halt
from engine.domain.instrument import Instrument
from engine.domain.order import ExecutionStarted, Order
from engine.domain.report import Report
from engine.followers.acting import BlockedOrders, CheckCancelled
from engine.followers.lanes import Called, Lanes
from engine.kernel.errors import EngineError
from engine.kernel.limits import LEASE_S, VENUE_CONCURRENCY_MAX
from engine.venues.port import EXECUTING, Venue, VenueRequest, request_of, ticket_of
from engine.venues.registry import OpenVenues


class VenueBusy(EngineError):
    """So many orders wait for the venue's answers that no other one is started there."""

    code = "venue_busy"


class Sending:
    """The requests of one follower to all venues. `faults` has an entry for each order or venue that
    failed; a venue's fault delays no other venue.
    """

    def __init__(
        self,
        desk: Desk,
        venues: OpenVenues,
        faults: BlockedOrders,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._venues = venues
        self._desk = desk
        self._faults = faults
        self._monotonic = monotonic
        self._held_until_s = 0.0
        ring = desk.journal.datastore.bell.ring
        self._lanes = {
            venue.name: Lanes(
                min(venue.capabilities.concurrency, VENUE_CONCURRENCY_MAX), ring, self._is_held
            )
            for venue in venues
        }
        self._read = dict.fromkeys(self._lanes, 0)  # venue -> number of its last report
        self._is_awaited = False  # an order was not started because its venue was busy
        self._again: set[str] = set()  # orders to ask about once their call has ended

    def holding(self, check_cancelled: CheckCancelled) -> CheckCancelled:
        """The same check, after which requests may be made for a while: the lease is held."""

        def check() -> None:
            check_cancelled()
            self._held_until_s = self._monotonic() + LEASE_S / 2

        return check

    def _is_held(self) -> bool:
        return self._monotonic() < self._held_until_s

    def venue_of(self, instrument: Instrument, order: Order) -> str | None:
        """The venue of a new order; None if it takes no such order. Raises NoVenue, VenueBusy."""
        found = self._venues.of(instrument)
        if not found.capabilities.takes(order.terms):
            return None
        venue = found.name
        if self._lanes[venue].is_full:
            self._is_awaited = True
            raise VenueBusy(f"the venue {venue} is slow: the order is sent once it has answered others")
        return venue

    def has_room_again(self) -> bool:
        """Whether orders that found a venue busy should be tried again; True once."""
        if self._is_awaited and not any(lanes.is_full for lanes in self._lanes.values()):
            self._is_awaited = False
            return True
        return False

    def close(self) -> None:
        """Sends nothing more, and ends the connections to all venues."""
        for lanes in self._lanes.values():
            lanes.close()
        self._venues.close()

    def send(self, order: Order, started: ExecutionStarted) -> None:
        """Sends an order whose start is recorded."""
        ticket, venue = ticket_of(order.terms, started), self._venues.named(started.venue)

        def submit() -> None:
            venue.submit(ticket)

        self._lanes[venue.name].put(ticket.order, ticket.account, submit)

    def reconcile(self, orders: Iterable[str], check_cancelled: CheckCancelled) -> None:
        """Asks the venues about orders, and repeats requests that these have not had."""
        for order_id in orders:
            check_cancelled()
            try:
                self._ask(order_id)
            except Exception as error:  # noqa: BLE001  sorted by `note`
                self._faults.note(order_id, error)

    def _ask(self, order_id: str) -> None:
        if any(order_id in lanes for lanes in self._lanes.values()):
            self._again.add(order_id)
            return
        order: Order | None = self._desk.state(order_id)
        if order is None or order.status != EXECUTING or order.venue is None:
            return
        venue = self._venues.named(order.venue)
        request = request_of(order, self._desk.journal.stream(order_id))
        if request and not self._lanes[venue.name].is_full:
            account = order.terms.account
            self._lanes[venue.name].put(order_id, account, partial(self._settled_with, venue, request))

    def _settled_with(self, venue: Venue, request: VenueRequest) -> Sequence[Report]:
        standing, reports = venue.status(request.ticket.venue_order)
        if standing == "unknown":
            if self._is_halted(request.ticket.order):
                return reports  # it never arrived, and must not now: it is queried again
            venue.submit(request.ticket)
        if request.cancel and standing != "over":
            venue.cancel(request.cancel)
        return reports

    def _is_halted(self, order_id: str) -> bool:
        """Whether a halt stops sending orders of the order's tenant."""
        tenant = halt.stream_of(self._desk.tenants.of(order_id))
        return halt.stops_execution(self._desk.state(halt.ENGINE), self._desk.state(tenant))

    def called(self, check_cancelled: CheckCancelled) -> list[Called]:
        """The results of calls since the last time, of all venues."""
        found = [one for lanes in self._lanes.values() for one in lanes.take()]
        again = [one.order for one in found if one.order in self._again]
        self._again.difference_update(again)
        self.reconcile(again, check_cancelled)
        return found

    def listen(self, take: Callable[[Sequence[Report]], None]) -> bool:
        """Reads a page of each venue's stream of reports; whether there was any."""
        is_busy = False
        for venue in self._venues:
            try:
                page = venue.reports(self._read[venue.name])
            except Exception as error:  # noqa: BLE001  its orders are asked about one by one
                self._faults.show(venue.name, error)
                continue
            self._faults.clear(venue.name)
            if page:
                take([report for _, report in page])
                self._read[venue.name] = page[-1].number
                is_busy = True
        return is_busy
