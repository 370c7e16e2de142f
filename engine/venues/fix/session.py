"""A FIX 4.4 venue: submit, cancel, status and reports, over one session.

Execution's threads send messages, and read the inbox into the book. A message is in the log before it
counts as received; QuickFIX holds a lock of its own while it calls back, and takes ours: nothing
here calls QuickFIX while it holds ours.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from engine.kernel import wall
from engine.kernel.limits import FIX_ANSWER_S, VENUE_REPORTS
from engine.venues.fix import messages
from engine.venues.fix.book import Book, Tickets, VenueOrder
from engine.venues.fix.config import FixConfig, config_of
from engine.venues.fix.initiator import Initiator, installed
from engine.venues.fix.log import Direction, MessageLog, recent
from engine.venues.fix.reports import Fault, Heard
from engine.venues.fix.sequence import next_expected
from engine.venues.fix.tables import FAULTS, ORDER_TYPES, UNDERSTOOD
from engine.venues.fix.wire import Fields, Garbled, decode
from engine.venues.port import (
    CancelTicket,
    Capabilities,
    Numbered,
    Ticket,
    VenueStatus,
    VenueUnavailable,
)
from engine.venues.registry import Site

_CAPABILITIES: Final = Capabilities(
    order_types=frozenset(ORDER_TYPES), times_in_force=frozenset({"day"}), concurrency=32
)


def open_venue(site: Site) -> FixVenue:
    """The venue of a setting. Raises BadSettings, also without QuickFIX."""
    installed()
    config = config_of(site.options)
    return FixVenue(site.name, config, site.directory, site.ticket, now_us=site.now_us)


class FixVenue:
    """A venue behind FIX. It logs on at the first call, and stays so until `close`. Thread-safe.

    `directory` keeps messages, sequence numbers and the message log; `ticket` finds an order's ticket in
    the journal.
    """

    def __init__(
        self,
        name: str,
        config: FixConfig,
        directory: Path,
        ticket: Tickets,
        *,
        now_us: Callable[[], int] = wall.now_us,
    ) -> None:
        self._name = name
        self._config = config
        self._directory = directory
        self._now_us = now_us
        self._lock = threading.Condition()
        self._opening = threading.Lock()
        self._session: Initiator | None = None
        self._book = Book(name, ticket)
        self._answers: dict[str, Heard | Fault | None] = {}
        self._faults: deque[str] = deque(maxlen=VENUE_REPORTS)
        self._logons_asked = 0
        self._asked = 0
        self._cancels: set[str] = set()  # requests sent since the last logon
        self._cancels_logon = 0
        self._since_us = now_us()  # orders of before were sent by an earlier process, if at all

    @property
    def name(self) -> str:
        """Keys its reports."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """Market orders, and limit orders for the day: a report DoneForDay ends any order."""
        return _CAPABILITIES

    def submit(self, ticket: Ticket) -> None:
        """Sends an order, once; again only after the venue said that it does not know it."""
        session = self._logged_on()
        with self._lock:
            order = self._read().of(ticket.venue_order, ticket)
            is_sent = self._may_be_sent(ticket, order)
            if is_sent and order.standing != "unknown":
                return
            if order.rejected:
                raise VenueUnavailable(order.rejected)
            order.standing = "open"
        session.send(messages.new_order(ticket, self._config.agreed, is_repeated=is_sent))

    def cancel(self, ticket: CancelTicket) -> None:
        """Requests a cancel, once in each session: a request of an earlier one may have been lost."""
        session = self._logged_on()
        with self._lock:
            order = self._read().of(ticket.venue_order)
            if order.ticket is None:
                raise VenueUnavailable("the journal has no such order", venue_order=ticket.venue_order)
            if session.logons != self._cancels_logon:
                self._cancels, self._cancels_logon = set(), session.logons
            if ticket.reference in self._cancels:
                return
            is_repeated = ticket.reference in order.sent
            self._cancels.add(ticket.reference)
        session.send(messages.cancel_request(order.ticket, ticket, is_repeated=is_repeated))

    def status(self, venue_order: str) -> VenueStatus:
        """Asks the venue; without a question if the order was never sent. Raises VenueUnavailable."""
        session = self._logged_on()
        with self._lock:
            order = self._read().of(venue_order)
            ticket = order.ticket
            if ticket is None:
                raise VenueUnavailable("the journal has no such order", venue_order=venue_order)
            if not self._may_be_sent(ticket, order):
                return VenueStatus("unknown")
            request = self._next_request(venue_order)
            self._answers[request] = None
        try:
            session.send(messages.status_request(ticket, request))
            answer = self._answer(request)
        finally:
            with self._lock:
                del self._answers[request]
        if isinstance(answer, Fault):
            raise VenueUnavailable(answer.text)
        return VenueStatus(answer.standing, tuple(order.reports))

    def reports(self, after: int) -> Sequence[Numbered]:
        """The reports of messages since the start of the log that is read again; see `log.recent`.

        Raises VenueUnavailable while there is no session, or for a fault of a message.
        """
        session = self._opened()
        with self._lock:
            page = self._read().reports(after)
            fault = self._faults.popleft() if self._faults and not page else ""
        session.sync()
        if session.is_logged_on and session.logons != self._logons_asked:
            self._logons_asked = session.logons
            self._ask_about_open_orders(session)
        if page:
            return page
        if fault or not session.is_logged_on:
            raise VenueUnavailable(fault or session.state)
        return page

    def close(self) -> None:
        """Logs out."""
        with self._opening:
            if self._session:
                self._session.stop()
                self._session = None

    # --- the session ----------------------------------------------------------------------------------

    def _opened(self) -> Initiator:
        with self._opening:
            if self._session is None:
                log = MessageLog(self._directory)
                kept = recent(self._directory)
                with self._lock:
                    for one in kept:
                        with suppress(Garbled):  # the end of a line that was cut off
                            self._replay(one.direction, one.raw)
                self._session = Initiator(self._config, self._directory, log, self._lock, self._now_us)
                self._session.start(next_expected(kept))
            return self._session

    def _logged_on(self) -> Initiator:
        session = self._opened()
        if not session.is_logged_on:
            raise VenueUnavailable(session.state)
        return session

    def _replay(self, direction: Direction, raw: bytes) -> None:
        message = decode(raw)
        if direction == ">":
            self._book.sent(message)
        else:
            self._take(message)

    def _may_be_sent(self, ticket: Ticket, order: VenueOrder) -> bool:
        """Whether the order may have gone out: the log says so, or it is of an earlier process.

        The machine may have lost the end of the log since.
        """
        return ticket.venue_order in order.sent or ticket.started_at_us < self._since_us

    # --- messages -------------------------------------------------------------------------------------

    def _read(self) -> Book:
        """The book, after all messages of the inbox. Called with the lock."""
        session = self._session
        while session and session.inbox:
            direction, raw = session.inbox.popleft()
            try:
                self._replay(direction, raw)
            except Garbled as error:  # QuickFIX let it pass; it is in the message log
                self._faults.append(f"{FAULTS['garbled']}: {error}")
        return self._book

    def _take(self, message: Fields) -> None:
        if dict(message).get(35) not in UNDERSTOOD:
            return
        told = self._book.take(message)
        if isinstance(told, Fault):
            self._faults.append(told.text)
        for request in self._requests_answered(message, told):
            self._answers[request] = told

    def _requests_answered(self, message: Fields, told: Heard | Fault) -> list[str]:
        """The waiting requests that a message answers: by their id, or any of the order's."""
        values = dict(message)
        given = values.get(790)
        if given in self._answers:
            return [given]
        is_answer = isinstance(told, Heard) and (told.is_status or told.standing == "unknown")
        if given or not is_answer:
            return []
        return [one for one in self._answers if one.startswith(f"{told.order}-")]

    def _answer(self, request: str) -> Heard | Fault:
        """The answer to a request. Raises VenueUnavailable after FIX_ANSWER_S."""
        end = time.monotonic() + FIX_ANSWER_S
        with self._lock:
            while True:
                self._read()
                answer = self._answers[request]
                if answer:
                    return answer
                left = end - time.monotonic()
                if left <= 0:
                    raise VenueUnavailable(f"the venue did not answer within {FIX_ANSWER_S:g} s")
                self._lock.wait(left)

    def _next_request(self, venue_order: str) -> str:
        self._asked += 1
        return f"{venue_order}-{self._now_us()}-{self._asked}"

    def _ask_about_open_orders(self, session: Initiator) -> None:
        """After a logon; the answers come as messages like any other."""
        with self._lock:
            asked = [
                (ticket, self._next_request(one))
                for one in self._read().open_orders()
                if (ticket := self._book.of(one).ticket)
            ]
        for ticket, request in asked:
            session.send(messages.status_request(ticket, request))
