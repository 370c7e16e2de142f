"""Followers driven turn by turn: a clock that the test moves, working sets folded from the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from engine.commands.desk import Desk
from engine.domain import order
from engine.domain.order import Order, Placed
from engine.domain.report import Report
from engine.domain.routing import ANY
from engine.followers import settlement
from engine.followers.acting import Acting, SavedOffset
from engine.followers.execution import Execution, WorkingSets
from engine.followers.expiring import ExpirySet
from engine.followers.follow import Follower
from engine.followers.settlement import Fresh, Settlement
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel.process import EXECUTION, SETTLEMENT
from engine.venues.port import CancelTicket, Capabilities, Numbered, Ticket, Venue, VenueStatus
from engine.venues.registry import OpenVenues
from tests.support.engines.desks import Shop

VENUE = "sim"
NOTHING = WorkingSets(lambda limit, after: (), lambda limit, after: ())


class Clock:
    """Monotonic seconds, as the test has them pass."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Row(NamedTuple):
    offset: int
    order: str
    instrument: str


class DueRow(NamedTuple):
    order: str
    trade: str


def orders_of(journal: Journal) -> list[tuple[int, Order]]:
    """(offset of the first fact, state) of every order, from the journal's facts."""
    states: dict[str, Order] = {}
    firsts: dict[str, int] = {}
    for page in journal.pages():
        for one in page:
            if one.stream.startswith("ord_"):
                if isinstance(one.fact, Placed):
                    firsts[one.stream] = one.offset
                states[one.stream] = order.evolve(states.get(one.stream), one.fact)
    return [(firsts[name], state) for name, state in states.items()]


def working(journal: Journal, *statuses: str) -> Callable[[int, int], Sequence[Row]]:
    def rows(limit: int, after: int) -> Sequence[Row]:
        found = [
            Row(offset, state.terms.order, state.terms.instrument)
            for offset, state in orders_of(journal)
            if state.status in statuses and offset > after
        ]
        return sorted(found)[:limit]

    return rows


def expiring(journal: Journal) -> ExpirySet:
    def open_ones(offset_after: int, ends: Callable[[int], bool]) -> list[tuple[Row, int]]:
        return sorted(
            (Row(offset, state.terms.order, state.terms.instrument), state.terms.expires_at_us)
            for offset, state in orders_of(journal)
            if state.status in order.CANCELLABLE and offset > offset_after
            if state.terms.expires_at_us is not None and ends(state.terms.expires_at_us)
        )

    def rows(time_us: int, limit: int, after: int) -> Sequence[Row]:
        return [row for row, _ in open_ones(after, lambda end: end <= time_us)][:limit]

    def first(time_us: int) -> int | None:
        return min((end for _, end in open_ones(0, lambda end: end > time_us)), default=None)

    return ExpirySet(rows, first)


def due(journal: Journal) -> settlement.DueSet:
    def rows(business_date: date, limit: int, after: Any) -> Sequence[DueRow]:
        found = [
            (trade.terms.settlement_date, trade.terms.trade, state.terms.order)
            for _, state in orders_of(journal)
            for trade in state.trades
            if trade.status == "executed" and trade.terms.settlement_date <= business_date
        ]
        all_rows = [DueRow(of, trade) for _, trade, of in sorted(found)]
        return all_rows[all_rows.index(after) + 1 if after in all_rows else 0 :][:limit]

    return rows


class ScriptedVenue:
    """Answers as the test says, records its calls, and fails on request."""

    def __init__(self, name: str = VENUE, capabilities: Capabilities | None = None) -> None:
        self.name = name
        self.capabilities = capabilities or Capabilities()
        self.tickets: list[Ticket] = []
        self.cancels: list[CancelTicket] = []
        self.known: dict[str, VenueStatus] = {}
        self.feed: list[Numbered] = []
        self.on_submit: Callable[[Ticket], None] = lambda ticket: None
        self.on_reports: Callable[[], None] = lambda: None

    def submit(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)
        self.on_submit(ticket)
        self.known.setdefault(ticket.venue_order, VenueStatus("open"))

    def cancel(self, ticket: CancelTicket) -> None:
        self.cancels.append(ticket)

    def status(self, venue_order: str) -> VenueStatus:
        return self.known.get(venue_order, VenueStatus("unknown"))

    def reports(self, after: int) -> Sequence[Numbered]:
        self.on_reports()
        return [one for one in self.feed if one.number > after]

    def say(self, *reports: Report) -> None:
        for report in reports:
            self.feed.append(Numbered(len(self.feed) + 1, report))


@dataclass
class Works:
    """The followers of one shop, all in this thread."""

    shop: Shop
    clock: Clock = field(default_factory=Clock)
    fresh: Fresh = field(default_factory=Fresh)

    @property
    def journal(self) -> Journal:
        return self.shop.journal

    def leases(self, holder: str) -> Leases:
        datastore = self.journal.datastore
        return Leases(datastore.store, datastore.tables, holder, self.clock)

    def follower(self, name: str, begin: Callable[[Lease], Acting], holder: str = "one") -> Follower:
        return Follower(
            name,
            begin,
            self.leases(holder),
            self.journal,
            monotonic=self.clock,
            now_us=self.now_us,
            pause=lambda stopping, rest_s: None,
            jitter=lambda: 0.0,
        )

    def now_us(self) -> int:
        return self.shop.now_us()

    def execution(
        self, venue: Venue | OpenVenues, *, sets: WorkingSets | None = None, holder: str = "one"
    ) -> Follower:
        """Without `sets` the real ones, as they are at the moment they are asked. One venue has every
        instrument.
        """
        venues = venue if isinstance(venue, OpenVenues) else OpenVenues([venue], {ANY: venue.name})
        known = sets or WorkingSets(
            working(self.journal, "placed", "pending"),
            working(self.journal, "executing"),
            expiring(self.journal),
        )

        def begin(lease: Lease) -> Execution:
            return Execution(
                Desk(self.journal, now_us=self.now_us, lease=lease),
                self.shop.firm,
                venues,
                SavedOffset(self.journal, EXECUTION, lease, self.clock),
                known,
                refresh=self.shop.prices.refresh,
                on_filled=self.fresh.add,
                now_us=self.now_us,
                monotonic=self.clock,
            )

        return self.follower(EXECUTION, begin, holder)

    def settlement(self, *, rows: settlement.DueSet | None = None) -> Follower:
        def begin(lease: Lease) -> Settlement:
            desk = Desk(self.journal, now_us=self.now_us, lease=lease)
            known = rows or due(self.journal)
            return Settlement(desk, known, fresh=self.fresh, monotonic=self.clock)

        return self.follower(SETTLEMENT, begin)

    def run(self, *followers: Follower, turns: int = 12, step_s: float = 0.6) -> None:
        """Gives each so many turns, and advances time by `step_s` after each round."""
        for _ in range(turns):
            for follower in followers:
                follower.turn()
            self.clock.now_s += step_s

    def order(self, order_id: str) -> Order:
        state: Order = self.shop.desk.state(order_id)
        return state

    def parked(self) -> dict[str, str]:
        """Execution reference -> fault of every parked report."""
        return {
            one.fact.report.execution_reference: one.fact.fault
            for page in self.journal.pages()
            for one in page
            if type(one.fact).__name__ == "ReportParked"
        }
