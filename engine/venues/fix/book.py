"""The orders of a FIX venue as its messages tell: a fold, without a session.

    Book.sent(message)           a message went out
    Book.take(message, ...)      a message came in -> its meaning, and reports for the stream

Messages come again after a restart or a gap: reports that were given once are not given again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final

from engine.domain.report import Report
from engine.kernel.limits import FIX_ORDERS_MAX, VENUE_REPORTS
from engine.kernel.values import ZERO, total_of
from engine.venues.fix.reports import Fault, Heard, ending, heard, is_about, order_of
from engine.venues.fix.wire import Fields
from engine.venues.port import Numbered, Standing, Ticket

Tickets = Callable[[str], Ticket | None]
_SENT: Final = ("D", "F")
_ENDS: Final = ("ended", "cancelled")


class VenueOrder:
    """An order at the venue: units of its reported trades by reference, its reports, and how it stands.

    `rejected` says why the venue refused a message about it unread.
    """

    def __init__(self) -> None:
        self.ticket: Ticket | None = None
        self.units: dict[str, Decimal] = {}
        self.reports: list[Report] = []
        self.references: set[str] = set()
        self.standing: Standing = "open"
        self.sent: set[str] = set()  # ClOrdIDs
        self.rejected = ""


class Book:
    """All orders of the last messages, at most FIX_ORDERS_MAX, and the stream of reports.

    `tickets` finds the ticket of an order in the journal. Not thread-safe.
    """

    def __init__(self, venue: str, tickets: Tickets) -> None:
        self._venue = venue
        self._tickets = tickets
        self._orders: OrderedDict[str, VenueOrder] = OrderedDict()
        self._feed: deque[Numbered] = deque()
        self._number = 0

    def of(self, order: str, ticket: Ticket | None = None) -> VenueOrder:
        """An order, with its ticket if there is one; a new one if no message named it before.

        A `ticket` in hand saves a look into the journal.
        """
        known = self._known(order)
        known.ticket = ticket or known.ticket
        if known.ticket is None:
            known.ticket = self._tickets(order)
        return known

    def open_orders(self) -> list[str]:
        """Orders that were sent and are not over, as far as known."""
        return [
            name for name, one in self._orders.items() if name in one.sent and one.standing != "over"
        ]

    def sent(self, message: Fields) -> None:
        """Notes an order or a cancel request that went out, once or again."""
        values = dict(message)
        order = order_of(message)
        if order and values.get(35) in _SENT:
            self._known(order).sent.add(values[11])

    def take(self, message: Fields) -> Heard | Fault:
        """The meaning of a message that came in. Its reports join the stream, those of before do not."""
        name = order_of(message)
        known = self.of(name) if name else VenueOrder()
        told = heard(self._venue, message, known.ticket)
        if isinstance(told, Fault):
            known.rejected = told.text if told.code == "message_rejected" else known.rejected
            return told
        for report in told.reports:
            self._count(known, report)
        checked, fault = ending(told, self._venue, total_of(known.units.values()))
        if checked.is_status or known.standing != "over":  # old news may come again
            known.standing = checked.standing
        known.rejected = ""
        for report in checked.reports:
            self._say(known, report)
        return fault or checked

    def reports(self, after: int) -> Sequence[Numbered]:
        """The reports after number `after`, a bounded page; those up to it are dropped."""
        while self._feed and self._feed[0].number <= after:
            self._feed.popleft()
        return list(islice(self._feed, VENUE_REPORTS))

    def _known(self, order: str) -> VenueOrder:
        known = self._orders.get(order)
        if known is None:
            known = self._orders[order] = VenueOrder()
            if len(self._orders) > FIX_ORDERS_MAX:
                self._orders.popitem(last=False)
        return known

    def _count(self, known: VenueOrder, report: Report) -> None:
        """Counts the units of a new trade, and no longer those of one that is busted or corrected."""
        if report.execution_reference in known.references or not is_about(report, known.ticket):
            return
        if report.refers_to is not None:
            known.units.pop(report.refers_to, None)
        if report.kind in ("trade", "trade_correct"):
            known.units[report.execution_reference] = report.quantity or ZERO

    def _say(self, known: VenueOrder, report: Report) -> None:
        has_ended = any(one.kind in _ENDS for one in known.reports)
        if report.execution_reference in known.references or (report.kind in _ENDS and has_ended):
            return
        known.references.add(report.execution_reference)
        known.reports.append(report)
        self._number += 1
        self._feed.append(Numbered(self._number, report))
