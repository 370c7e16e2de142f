"""The role `webhooks`: enqueues deliveries of events for subscribed webhooks, and sends them.

    journal --read_of--> Router --one transaction--> deliveries --due--> Lane --submit--> Sender
                                        ^                                                  |
                                        +---------------------- outcome -------------------+

One turn records outcomes, new deliveries and the offset in one transaction, and hands due deliveries to
the sender. Each webhook has its own lane, which limits its concurrency, so that an unresponsive receiver
does not slow the others.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from api.outbound.bodies import Bodies, delivery_id
from api.outbound.lanes import Lane, shares
from api.outbound.router import RoutedEvents, Router
from api.outbound.sender import Done, Message, Sender
from engine.commands import decisions
from engine.commands.desk import Command, Desk
from engine.domain.attempts import IS_GONE, OUTCOMES, after
from engine.domain.webhook import GONE
from engine.followers.acting import BlockedOrders, CheckCancelled, Timer, saved_point
from engine.journal.journal import Journal
from engine.journal.writer import Lease
from engine.kernel import wall
from engine.kernel.limits import (
    BODY_AWAITED_US,
    DELIVERIES_KEPT_US,
    LEASE_S,
    NOTES_AT_ONCE,
    NOTES_COUNTED_S,
    NOTES_PACE_S,
    OFFSET_SAVE_S,
    SENDER_STOP_S,
    VIEW_POLL_S,
    WEBHOOK_AHEAD,
    WEBHOOKS_AT_ONCE,
)
from engine.kernel.meters import Sample
from engine.kernel.process import WEBHOOKS
from engine.registers.deliveries import AttemptNote, Deliveries, Delivery, DeliveryBatch
from engine.registers.endpoints import Endpoint, Endpoints
from projections.database import Views

_LOG: Final = logging.getLogger("order_engine.webhooks")
_REFRESH_S: Final = 10.0
"""Interval at which URLs and secrets are re-read, in case their fact was missed."""
_SWEEP_S: Final = 60.0


class Post:
    """The sender with its results; it survives changes of the lease. Close it when done.

    `ring` wakes the follower; `make` creates the sender on first use.
    """

    def __init__(
        self,
        ring: Callable[[], None],
        make: Callable[[Callable[[int], None]], Sender],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.under_way = 0
        self._ring = ring
        self._is_rung = False
        self._monotonic = monotonic
        self._counted, self._since_s = 0, monotonic()
        self._gathers = False
        self._make = make
        self._sender: Sender | None = None

    def submit(self, messages: Sequence[Message]) -> None:
        """Starts sending messages."""
        if self._sender is None:
            self._sender = self._make(self._on_done)
        self.under_way += len(messages)
        self._sender.submit(messages)

    def take(self) -> list[Done]:
        """Results since the last call."""
        self._is_rung = False
        done = self._sender.take() if self._sender else []
        self.under_way -= len(done)
        self._count(len(done))
        self.outcomes.update(one.attempt.outcome for one in done if one.attempt)
        return done

    def withdraw(self, webhook: str | None = None) -> None:
        """Cancels messages not sent yet, to one webhook or all."""
        if self._sender:
            self._sender.withdraw(webhook)

    def close(self) -> None:
        """Ends the sender."""
        if self._sender:
            self._sender.close()

    def samples(self) -> Iterator[Sample]:
        """For `engine.runtime.metrics`."""
        for outcome, count in sorted(self.outcomes.items()):
            yield "webhook_attempts", (outcome,), count
        yield "webhook_attempts_under_way", (), self.under_way

    def _count(self, done: int) -> None:
        """Decides whether to batch results: under load a pause pays off."""
        self._counted += done
        took_s = self._monotonic() - self._since_s
        if took_s >= NOTES_COUNTED_S:
            self._gathers = self._counted / took_s > NOTES_AT_ONCE / NOTES_PACE_S
            self._counted, self._since_s = 0, self._monotonic()

    def _on_done(self, count: int) -> None:
        # One wake-up until results are taken, and one for many under load: a commit costs the same.
        if not self._is_rung and (count >= NOTES_AT_ONCE or not self._gathers):
            self._is_rung = True
            self._ring()


class Tools(NamedTuple):
    """The couriers' dependencies, shared by all leases."""

    journal: Journal
    views: Views
    deliveries: Deliveries
    endpoints: Endpoints
    bodies: Bodies
    post: Post
    now_us: Callable[[], int] = wall.now_us
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Courier:
    """Acts for webhooks under a lease (see `acting.Acting`)."""

    def __init__(self, tools: Tools, desk: Desk, lease: Lease) -> None:
        self.faults = BlockedOrders(WEBHOOKS)
        self._journal = tools.journal
        self.offset = self._saved = saved_point(tools.journal, WEBHOOKS).offset
        self._desk = desk
        self._lease = lease
        self._views, self._deliveries = tools.views, tools.deliveries
        self._endpoints, self._bodies, self._post = tools.endpoints, tools.bodies, tools.post
        self._now_us, self._monotonic, self._jitter = tools.now_us, tools.monotonic, tools.jitter
        self._lanes: dict[str, Lane] = {}
        self._known: dict[str, Endpoint] = {}
        self._postponed: list[tuple[int, int]] = []
        self._first = 0  # index of the lane served first
        self._saving = Timer(self._monotonic, OFFSET_SAVE_S)
        self._refreshing = Timer(self._monotonic, _REFRESH_S)
        self._sweeping = Timer(self._monotonic, _SWEEP_S)
        self._refresh()
        places = self._deliveries.places()
        self._router = Router(tools.journal, self.offset, [*self._known], places)
        self._post.withdraw()  # left from an earlier lease: the new holder sends them again
        self._post.take()

    # --- a turn -----------------------------------------------------------------------------------

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Records results, and hands out due deliveries. See `acting.Acting`."""
        check_cancelled()
        notes = self._notes(self._post.take())
        lanes = self._active_lanes()
        route = self._route(lanes)
        due = self._record(notes, route)
        if route.has_changed or self._refreshing.is_due:
            self._refresh()
        for delivery in due:
            self._lane(delivery.webhook).add(delivery)
        if route.has_changed:
            lanes = self._active_lanes()
        self._hand_out(lanes)
        if self._sweeping.is_due:
            self._sweeping.restart()
            self._deliveries.sweep(self._now_us() - DELIVERIES_KEPT_US)
        return 0.0 if route.has_more else self._until_poll_s(lanes)

    def _route(self, lanes: Sequence[Lane]) -> RoutedEvents:
        """The deliveries to enqueue: new events, and as much of backlogs as their lanes take."""
        now_s = self._monotonic()
        wanted = {lane.webhook: lane.wanted(now_s) for lane in lanes}
        # A failing webhook gets new events through its backlog, and so no more than its lane takes.
        full = {lane.webhook for lane in lanes if lane.is_failing or not wanted[lane.webhook]}
        route = self._router.route(self.offset, self._views.offset("events"), full)
        self.offset = route.end
        for webhook, most in wanted.items():
            if most:
                route.new.extend(self._router.more(webhook, most, route.end))
        fed = {new.webhook for new in route.new}
        for lane in lanes:
            if lane.webhook in fed:
                lane.feed(now_s)
        return route

    def finish(self) -> None:
        """Waits briefly for answers in flight and records them; unrecorded deliveries are sent again."""
        deadline = self._monotonic() + SENDER_STOP_S
        pause = threading.Event()
        nothing = RoutedEvents(self.offset, [], [], has_changed=False, has_more=False)
        self._saving.hurry()
        self._post.withdraw()
        while True:
            self._record(self._notes(self._post.take()), nothing)
            if not self._post.under_way or self._monotonic() > deadline:
                return
            pause.wait(VIEW_POLL_S)

    def _record(self, notes: list[AttemptNote], route: RoutedEvents) -> list[Delivery]:
        """Writes a batch; returns the deliveries that became due. Mere offsets are saved at times."""
        postponed, self._postponed = self._postponed, []
        places = self._router.moved()
        turn = DeliveryBatch(
            self._saved, self.offset, notes, route.new, route.deleted, postponed, places
        )
        if not turn.has_rows and (turn.start == turn.end or not self._saving.is_due):
            return []
        if turn.end != turn.start:
            turn.seal = self._journal.witness.sealed(WEBHOOKS, self._journal.point(turn.end))
        due = self._deliveries.record(self._lease, turn, now_us=self._now_us())
        self._saved = turn.end
        self._saving.restart()
        return due

    def _until_poll_s(self, lanes: Sequence[Lane]) -> float:
        """Seconds until a lane polls again. Answers and facts cause a wake-up, views do not."""
        now_s = self._monotonic()
        looks = [max(0.0, max(lane.look_s, lane.backoff_until_s) - now_s) for lane in lanes if lane.room]
        looks += [
            lane.backoff_until_s - now_s
            for lane in lanes
            if lane.backoff_until_s > now_s and (lane.ready or self._router.has_backlog(lane.webhook))
        ]
        looks += [
            lane.fed_until_s - now_s
            for lane in lanes
            if lane.fed_until_s > now_s and self._router.has_backlog(lane.webhook)
        ]
        if any(self._router.has_backlog(lane.webhook) and lane.wanted(now_s) for lane in lanes):
            return 0.0
        waits = VIEW_POLL_S if self._router.is_behind(self.offset) else LEASE_S
        if self._post.under_way:
            waits = min(waits, NOTES_PACE_S)
        return min([*looks, waits, self._saving.due_in_s if self._saved != self.offset else LEASE_S])

    # --- answers ----------------------------------------------------------------------------------

    def _notes(self, done: list[Done]) -> list[AttemptNote]:
        """The next state of each attempted delivery. A receiver that answered 410 is first disabled by a
        fact.
        """
        notes = []
        now_us = self._now_us()
        for delivery, attempt in done:
            lane = self._lanes.get(delivery.webhook)
            if lane is None:
                continue  # of an earlier lease
            if attempt is None:
                lane.drop(delivery)
                continue
            is_taken = attempt.outcome == "succeeded"
            if not lane.is_done(delivery, has_succeeded=is_taken, now_s=self._monotonic()):
                continue
            follows = after(attempt, delivery.tries + 1, now_us=now_us, jitter=self._jitter())
            if follows.due_us is not None:
                lane.poll_at(self._monotonic() + (follows.due_us - now_us) / 1_000_000)
            notes.append(AttemptNote(delivery, attempt, follows))
            if follows.status == "failed":
                self._tell(delivery, f"gave up after {delivery.tries + 1} attempts", attempt.outcome)
            if attempt.status == IS_GONE:
                self._disable(delivery)
        return notes

    def _disable(self, delivery: Delivery) -> None:
        decide = partial(decisions.disable_webhook, webhook=delivery.webhook, reason=GONE)
        outcome = self._desk.do(
            Command(decide, delivery.tenant, WEBHOOKS, cause=delivery.event_offset or None)
        )
        if outcome.facts:
            self._tell(delivery, "is disabled: its receiver has answered 410", "http")

    @staticmethod
    def _tell(delivery: Delivery, what: str, outcome: str) -> None:
        # Ids only: a URL may be a password.
        _LOG.warning("%s (%s): %s (%s)", delivery.webhook, delivery.tenant, what, outcome)

    # --- due deliveries -------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._refreshing.restart()
        self._known = {one.webhook: one for one in self._endpoints.all()}

    def _lane(self, webhook: str) -> Lane:
        lane = self._lanes.get(webhook)
        if lane is None:
            lane = self._lanes[webhook] = Lane(webhook, self._monotonic())
        return lane

    def _active_lanes(self) -> list[Lane]:
        """The lanes of active webhooks, each with its share of the total concurrency."""
        active = self._router.active() & self._known.keys()
        for webhook in self._lanes.keys() - active:
            if self._lanes[webhook].clear():
                self._post.withdraw(webhook)
        lanes = [self._lane(webhook) for webhook in sorted(active)]
        for lane in lanes:
            lane.cap = max(1, WEBHOOKS_AT_ONCE // len(lanes))
        return lanes

    def _hand_out(self, lanes: Sequence[Lane]) -> None:
        """Hands due deliveries to the sender."""
        now_s, now_us = self._monotonic(), self._now_us()
        for lane in lanes:
            if lane.is_poll_due(now_s):
                lane.fill(self._deliveries, now_us, now_s)
        self._first += 1
        room = WEBHOOK_AHEAD * max(WEBHOOKS_AT_ONCE, len(lanes)) - self._post.under_way
        wanting = [lane for lane in lanes if lane.ready and lane.backoff_until_s <= now_s]
        chosen = shares(wanting, room, self._first)
        if chosen:
            self._post.submit(self._messages(chosen, now_us))

    def _messages(self, chosen: list[Delivery], now_us: int) -> list[Message]:
        bodies = self._bodies.of(chosen)
        messages = []
        for delivery in chosen:
            lane = self._lanes[delivery.webhook]
            endpoint, event = self._known.get(delivery.webhook), bodies.get(delivery.seq)
            if endpoint is None or event is None:
                lane.drop(delivery)
                self._postponed.append((delivery.seq, now_us + BODY_AWAITED_US))
                continue
            keys = endpoint.keys_at(now_us)
            message_id = delivery_id(delivery)
            messages.append(
                Message(delivery, message_id, event[0], endpoint.url, keys, event[1], lane.width)
            )
        return messages
