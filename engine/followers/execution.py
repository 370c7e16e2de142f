"""Execution: sends orders to their venues, and records the venues' reports.

    Placed, or waiting no longer     -> ExecutionStarted is recorded, then the order is sent
    CancelRequested, ExpiryRequested -> the venue is asked to cancel
    the venue's reports              -> each is recorded once per (venue, execution reference)
    every order at the venue         -> its status is queried at start, and when it stays there

A missing answer leaves the outcome unknown: such an order stays `executing` until the venue's status for
its id is known. A failure of one order blocks that order only, and is reported. Waiting orders: see
`engine.followers.waiting`; the end of an order's time: `engine.followers.expiring`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeGuard

from engine.commands import decisions
from engine.commands.decisions import Firm
from engine.commands.desk import Command, Decision, DecisionContext, Desk, Outcome
from engine.domain.clock import ClockAdvanced
from engine.domain.halt import TradingResumed
from engine.domain.instrument import InstrumentChanged
from engine.domain.order import (
    TERMINAL,
    CancelRequested,
    ExecutionStarted,
    ExpiryRequested,
    Filled,
    Order,
    Placed,
)
from engine.domain.report import BUSTS, Report
from engine.followers.acting import (
    BlockedOrders,
    Burst,
    CheckCancelled,
    SavedOffset,
    Sweep,
    Timer,
    WorkingSet,
)
from engine.followers.business_clock import BusinessClock
from engine.followers.expiring import NO_EXPIRY, Expiring, ExpirySet
from engine.followers.sending import Sending
from engine.followers.waiting import Starting, Waiting
from engine.kernel import wall
from engine.kernel.errors import Refused, Unrecordable
from engine.kernel.fact import Recorded
from engine.kernel.ids import is_id
from engine.kernel.limits import (
    EXECUTION_BATCH,
    RECONCILE_S,
    RESTING_WALKS_MAX,
    VENUE_POLL_S,
)
from engine.kernel.process import EXECUTION
from engine.venues.port import EXECUTING
from engine.venues.registry import OpenVenues

OVER: Final = frozenset({"filled", *TERMINAL})
"""Statuses of an order whose execution has ended."""


class WorkingSets(NamedTuple):
    """Working sets of earlier pages: orders `placed` or `pending`, `executing`, and expiring."""

    waiting: WorkingSet
    at_venue: WorkingSet
    expiring: ExpirySet = NO_EXPIRY


HEARD_OF: Final = (CancelRequested, ExpiryRequested, TradingResumed, InstrumentChanged, ClockAdvanced)
"""Facts to act on, besides those of new orders."""

Following = tuple[Report, Sequence[Report]]
"""A report and the earlier trades of the same order."""


class Execution:
    """The acting part of the follower (see `follow.Acting`).

    `refresh` reads new prices; how many. `on_filled` is called with orders whose execution has ended.
    """

    def __init__(
        self,
        desk: Desk,
        firm: Firm,
        venues: OpenVenues,
        place: SavedOffset,
        sets: WorkingSets,
        *,
        refresh: Callable[[], int],
        on_filled: Callable[[Sequence[Order]], None] = lambda _: None,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = BlockedOrders(EXECUTION)
        self._desk = desk
        self._burst = Burst(desk)
        self._firm = firm
        self._sending = Sending(desk, venues, self.faults, monotonic)
        self._place = place
        self._business = BusinessClock(desk, now_us)
        self._expiring = Expiring(desk, sets.expiring, self.faults, self._business, monotonic)
        self._waiting = Waiting(
            desk,
            firm,
            sets.waiting,
            self._start,
            refresh=refresh,
            business=self._business,
            now_us=now_us,
            monotonic=monotonic,
        )
        self._on_filled = on_filled
        self._monotonic = monotonic
        self._stopped: set[str] = set()  # orders with a report that could not be recorded
        self._in_doubt: set[str] = set()  # orders with a request that was not answered
        self._heard_of = desk.journal.codec.names_of(HEARD_OF)
        self._hearing = Timer(monotonic, VENUE_POLL_S)
        self._met: dict[str, int] = {}  # order at the venue -> in how many walks on end
        self._met_before: dict[str, int] | None = None  # the same until the previous walk
        self._asking = Sweep(sets.at_venue, Timer(monotonic, RECONCILE_S))

    @property
    def offset(self) -> int:
        """The offset it has read to."""
        return self._place.offset

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """One page of facts, of reports and of each working set. See `follow.Acting`."""
        check_cancelled = self._sending.holding(check_cancelled)
        check_cancelled()
        is_busy = self._collect(check_cancelled)
        is_busy |= self._follow(check_cancelled)
        self._expiring.turn(check_cancelled)
        self._waiting.turn(self.offset, check_cancelled)
        self._ask(check_cancelled)
        is_busy |= self._listen(check_cancelled)
        timers = (self._hearing, self._asking, self._waiting, self._expiring)
        save_s = self._place.save_if_due()
        return 0.0 if is_busy else min(save_s, *(timer.due_in_s for timer in timers))

    def finish(self) -> None:
        """Saves its offset."""
        self._place.save()

    def close(self) -> None:
        """Sends nothing more, and ends the connections to all venues."""
        self._sending.close()

    # --- facts of the journal -------------------------------------------------------------------------

    def _follow(self, check_cancelled: CheckCancelled) -> bool:
        page, end = self._place.news(self._desk.news(of=self._heard_of))
        self._desk.follow(page)
        placed = [
            Starting(one.stream, one.fact.instrument, one.offset)
            for one in page
            if isinstance(one.fact, Placed)
        ]
        self._expiring.admit(page)
        self._hear(page)
        if placed:
            self._waiting.learn_prices()
            self._start(self._waiting.admit(placed), check_cancelled)
        self._reconcile(
            [one.stream for one in page if isinstance(one.fact, CancelRequested | ExpiryRequested)],
            check_cancelled,
        )
        has_moved = end > self.offset
        self._place.advance_to(end)
        return has_moved

    def _hear(self, page: Sequence[Recorded]) -> None:
        """Tells the waiting orders of all that may end their waiting, except prices."""
        kinds = {type(one.fact) for one in page}
        if ClockAdvanced in kinds:
            self._business.move()
        if TradingResumed in kinds:
            self._waiting.hurry()
        if InstrumentChanged in kinds:
            changed = {one.stream for one in page if isinstance(one.fact, InstrumentChanged)}
            self._waiting.look_at(changed)

    def _start(self, orders: Sequence[Starting], check_cancelled: CheckCancelled) -> None:
        """Records the start of all startable orders, then sends them to the venue."""
        for batch in batches(orders):
            outcomes = self._burst.do_all([self._start_command(one) for one in batch], check_cancelled)
            begun: list[tuple[Order, ExecutionStarted]] = []
            in_doubt: list[str] = []
            for one, outcome in zip(batch, outcomes, strict=True):
                order_id = one.order
                if not self._is_done(outcome, order_id):
                    continue
                self.faults.clear(order_id)
                order: Order | None = outcome.states.get(order_id)
                started = [new.fact for new in outcome.facts if isinstance(new.fact, ExecutionStarted)]
                if order and started:
                    begun.append((order, started[0]))
                elif order and order.status == EXECUTING:  # started before; it may not have been sent
                    in_doubt.append(order_id)
                elif order:
                    self._waiting.line_up(one, order)
            for order, fact in begun:
                check_cancelled()
                self._sending.send(order, fact)
            self._collect(check_cancelled)
            self._reconcile(in_doubt, check_cancelled)
            if begun:
                self._hearing.hurry()

    def _start_command(self, one: Starting) -> Command:
        decide = partial(
            decisions.start_execution, firm=self._firm, order=one.order, venue=self._sending.venue_of
        )
        return Command(decide, self._desk.tenants.of(one.order), EXECUTION, cause=one.cause)

    # --- the venue's reports --------------------------------------------------------------------------

    def _listen(self, check_cancelled: CheckCancelled) -> bool:
        if not self._hearing.is_due:
            return False
        self._hearing.restart()
        is_busy = self._sending.listen(lambda reports: self.take(reports, check_cancelled))
        if is_busy:
            self._hearing.hurry()
        return is_busy

    def take(self, reports: Sequence[Report], check_cancelled: CheckCancelled) -> None:
        """Books or parks reports, in order, each once. Also for venues that push reports.

        If one cannot be recorded, later ones of the same order wait until the venue is queried again.
        """
        trades: defaultdict[str, list[Report]] = defaultdict(list)
        for batch in batches_of_reports(reports):
            todo = []
            for report, is_recorded in self._keepable(batch):
                if report.order in self._stopped:
                    continue
                if not is_recorded:
                    todo.append((report, tuple(trades[report.order])))
                if report.kind == "trade" and is_id(report.order, "ord"):
                    trades[report.order].append(report)
            refused = self._take(todo, check_cancelled, may_park=False)
            for report, _ in self._take(refused, check_cancelled, may_park=True):
                self._stopped.add(report.order)

    def _keepable(self, reports: Sequence[Report]) -> Iterator[tuple[Report, bool]]:
        """Reports that can be recorded, and whether they are: after a restart all come again."""
        commands = {
            place: decisions.report_command_id(report)
            for place, report in enumerate(reports)
            if is_keepable(report.execution_reference)
        }
        known = self._desk.journal.recorded_commands([*commands.values()])
        for place, report in enumerate(reports):
            if place in commands:
                yield report, commands[place] in known
                continue
            error = Unrecordable("a report has a reference that no journal can keep")
            self.faults.show(report.order, error)
            self._stopped.add(report.order)

    def _take(
        self, todo: Sequence[Following], check_cancelled: CheckCancelled, *, may_park: bool
    ) -> list[Following]:
        """Returns those that were refused, or failed."""
        reports = [self._report_command(*one, may_park=may_park) for one in todo]
        outcomes = self._burst.do_all(reports, check_cancelled)
        left, filled = [], []
        for one, outcome in zip(todo, outcomes, strict=True):
            is_refused = isinstance(outcome, Refused) and not may_park
            if is_refused or not self._is_done(outcome, one[0].order):
                left.append(one)
            elif any(isinstance(recorded.fact, Filled) for recorded in outcome.facts):
                filled.append(outcome.states[one[0].order])
        if filled:
            self._on_filled(filled)
        return left

    def _report_command(self, report: Report, earlier: Sequence[Report], *, may_park: bool) -> Command:
        return Command(
            partial(take_after, firm=self._firm, report=report, earlier=earlier, may_park=may_park),
            self._desk.tenants.of(report.order),
            EXECUTION,
            id=decisions.report_command_id(report),
            is_repeatable=True,
        )

    def _reconcile(self, orders: Iterable[str], check_cancelled: CheckCancelled) -> None:
        """Asks the venues about orders, and repeats requests that these may have missed."""
        self._sending.reconcile(orders, check_cancelled)
        self._collect(check_cancelled)

    def _collect(self, check_cancelled: CheckCancelled) -> bool:
        """Takes the venues' answers to requests; whether there was any."""
        answers = self._sending.called(check_cancelled)
        reports: list[Report] = []
        for order_id, found, error in answers:
            if error:
                self.faults.show(order_id, error)  # still unknown: it stays as it is
                self._in_doubt.add(order_id)
            elif found is not None:
                self.faults.clear(order_id)
                self._in_doubt.discard(order_id)
                self._stopped.discard(order_id)  # all of its reports come again
                reports += found
            self._hearing.hurry()
        self.take(reports, check_cancelled)
        if answers and self._sending.has_room_again():
            self._waiting.hurry()
        return bool(answers)

    # --- working sets ---------------------------------------------------------------------------------

    def _ask(self, check_cancelled: CheckCancelled) -> None:
        """Queries all orders at the venue at start, then those that have been there for a whole walk;
        resting limit orders at growing intervals.
        """
        walks = self._asking.walks
        with self._asking.page(self._monotonic) as rows:
            orders = [row.order for row in rows]
            known, before = self._desk.remembered(orders), self._met_before
            due = [
                one
                for one in orders
                if before is None or one in self.faults or is_to_ask(known.get(one), before.get(one, 0))
            ]
            self._reconcile(due, check_cancelled)
            self._met.update((one, (before or {}).get(one, 0) + 1) for one in orders)
        if self._asking.walks > walks:
            self._unblock_ended()
            self._met_before, self._met = self._met, {}

    def _unblock_ended(self) -> None:
        """Clears orders that were blocked and whose end came another way: by a stream, or over HTTP."""
        for order_id in (self._in_doubt | self._stopped) - self._met.keys():
            order: Order | None = self._desk.state(order_id) if is_id(order_id, "ord") else None
            if order and order.status in OVER:
                self.faults.clear(order_id)
                self._in_doubt.discard(order_id)
                self._stopped.discard(order_id)

    def _is_done(self, outcome: Outcome | Exception, subject: str) -> TypeGuard[Outcome]:
        if isinstance(outcome, Exception):
            self.faults.note(subject, outcome)
            return False
        return True


def is_to_ask(order: Order | None, walks: int) -> bool:
    """Whether an order that was met in so many walks on end is queried in the next one.

    A limit order may rest for months: it is queried after 1, 2, 4 ... walks, and each RESTING_WALKS_MAX,
    unless it was asked to be cancelled.
    """
    if order is None or order.terms.limit_price is None or order.awaits_cancel:
        return walks > 0
    return walks > 0 and (walks & (walks - 1) == 0 or walks % RESTING_WALKS_MAX == 0)


def take_after(
    context: DecisionContext, *, firm: Firm, report: Report, earlier: Sequence[Report], may_park: bool
) -> Decision:
    """`commands.take_report`, after the trades reported `earlier` are booked or parked.

    They are decided together, for one commit. If a trade were not recorded, the later end of the
    execution would close the order without it, so Refused is raised.
    """
    for trade in earlier:
        known: Order | None = yield trade.order
        if known and not known.knows(trade) and (yield decisions.parked_report_id(trade)) is None:
            raise Refused("invalid_request", "an earlier report of this order could not be recorded")
    return (yield from decisions.take_report(context, firm=firm, report=report, may_park=may_park))


def is_keepable(text: str) -> bool:
    """Whether it can be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def batches_of_reports(reports: Iterable[Report]) -> Iterator[Sequence[Report]]:
    """Slices of at most EXECUTION_BATCH. A bust reads more than other reports, which would overtake it:
    later ones of its order come in the next slice.
    """
    batch: list[Report] = []
    busted: set[str] = set()
    for report in reports:
        if len(batch) == EXECUTION_BATCH or report.order in busted:
            yield batch
            batch, busted = [], set()
        batch.append(report)
        if report.kind in BUSTS:
            busted.add(report.order)
    if batch:
        yield batch


def batches(things: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Slices of at most EXECUTION_BATCH."""
    return (things[at : at + EXECUTION_BATCH] for at in range(0, len(things), EXECUTION_BATCH))
