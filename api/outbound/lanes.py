"""Due deliveries of each webhook, and its concurrency."""

from __future__ import annotations

from collections.abc import Sequence

from engine.kernel.limits import (
    DUE_PAGE,
    DUE_POLL_S,
    WEBHOOK_AHEAD,
    WEBHOOK_BACKOFF_S,
    WEBHOOK_FAILURES,
    WEBHOOK_WIDTH,
)
from engine.registers.deliveries import Deliveries, Delivery

NARROW, WIDE = WEBHOOK_WIDTH


class Lane:
    """One webhook's lane. Its `width` (concurrent requests) grows with successes, and halves with
    failures; `cap` is its share of the total.

    `ready` are due deliveries, by number; `sent` those in flight, by resource: at most one for each.
    """

    def __init__(self, webhook: str, now_s: float) -> None:
        self.webhook = webhook
        self.cap = WIDE
        self.backoff_until_s = 0.0
        self.fed_until_s = 0.0
        self._width = NARROW
        self._failures = 0
        self._is_clear = False
        self.ready: dict[int, Delivery] = {}
        self.sent: dict[str, int] = {}
        self.look_s = now_s

    @property
    def width(self) -> int:
        """Concurrent requests."""
        return min(self._width, self.cap)

    @property
    def is_failing(self) -> bool:
        """Whether it has failed often enough to back off."""
        return self._failures > WEBHOOK_FAILURES

    @property
    def room(self) -> int:
        """How many deliveries can be handed out."""
        ahead = 1 if self.is_failing else WEBHOOK_AHEAD
        return max(0, ahead * self.width - len(self.sent))

    def wanted(self, now_s: float) -> int:
        """How many more deliveries may be enqueued; none before it has sent the existing ones.

        During back-off it first retries old deliveries, and gets new ones once per back-off: those
        enqueued may all wait behind failed ones.
        """
        if self.is_failing:
            if self.sent or max(self.backoff_until_s, self.fed_until_s) > now_s:
                return 0
            return max(0, NARROW - len(self.ready))
        most = 2 * WEBHOOK_AHEAD * self.width
        return most - len(self.ready) if len(self.ready) <= most // 2 else 0

    def feed(self, now_s: float) -> None:
        """Deliveries were enqueued for it."""
        self.fed_until_s = now_s + self._backoff_s

    def add(self, delivery: Delivery) -> None:
        """Adds a due delivery. Those beyond its capacity are read from the table later."""
        if len(self.ready) < 2 * DUE_PAGE:
            self.ready[delivery.seq] = delivery
        else:
            self.look_s = 0.0

    def poll_at(self, at_s: float) -> None:
        """A delivery will be due then."""
        self.look_s = min(self.look_s, at_s)

    def is_poll_due(self, now_s: float) -> bool:
        """Whether to poll the table now."""
        return self.look_s <= now_s and len(self.ready) < DUE_PAGE // 2

    def fill(self, deliveries: Deliveries, now_us: int, now_s: float) -> None:
        """Reads due deliveries from the table."""
        self._is_clear = False
        limit = DUE_PAGE + len(self.sent)
        found = deliveries.due(self.webhook, now_us, limit)
        under_way = set(self.sent.values())
        for delivery in found:
            if delivery.seq not in under_way:
                self.ready[delivery.seq] = delivery
        if len(found) == limit:
            self.look_s = now_s
            return
        self.look_s = now_s + DUE_POLL_S
        next_us = deliveries.next_due_us(self.webhook) if not found else None
        if next_us is not None and next_us > now_us:
            self.poll_at(now_s + (next_us - now_us) / 1_000_000)

    def take(self, most: int) -> list[Delivery]:
        """Deliveries to send, oldest first, limited by room and to free resources."""
        most, taken = min(most, self.room), list[Delivery]()
        for seq, delivery in self.ready.items():
            if len(taken) >= most:
                break
            if delivery.resource not in self.sent:
                self.sent[delivery.resource] = seq
                taken.append(delivery)
        for delivery in taken:
            del self.ready[delivery.seq]
        return taken

    def is_done(self, delivery: Delivery, *, has_succeeded: bool, now_s: float) -> bool:
        """Ends an attempt; False if it was not this lane's."""
        if not self.drop(delivery):
            return False
        if has_succeeded:
            self._width, self._failures, self.backoff_until_s = min(WIDE, self._width + 1), 0, 0.0
            return True
        self._width = max(NARROW, self._width // 2)
        self._failures += 1
        if self._backoff_s:
            self.backoff_until_s = now_s + self._backoff_s
        return True

    @property
    def _backoff_s(self) -> float:
        """Back-off after the current number of failures in a row, in seconds."""
        over = self._failures - WEBHOOK_FAILURES
        first_s, longest_s = WEBHOOK_BACKOFF_S
        return min(longest_s, first_s * 2.0 ** min(over, 30)) if over > 0 else 0.0

    def drop(self, delivery: Delivery) -> bool:
        """Removes a delivery in flight; whether it was."""
        if self.sent.get(delivery.resource) != delivery.seq:
            return False
        del self.sent[delivery.resource]
        return True

    def clear(self) -> bool:
        """Empties the lane of an inactive webhook; True the first time. It polls again once active."""
        was_clear, self._is_clear = self._is_clear, True
        self.ready.clear()
        self.look_s = 0.0
        return not was_clear


def shares(lanes: Sequence[Lane], room: int, first: int) -> list[Delivery]:
    """The deliveries to send: all that lanes have room for, or one of each in turn, from `first` on."""
    if sum(lane.room for lane in lanes) <= room:
        return [delivery for lane in lanes for delivery in lane.take(room)]
    chosen: list[Delivery] = []
    turning = [*lanes[first % len(lanes) :], *lanes[: first % len(lanes)]]
    while turning and len(chosen) < room:
        asked = turning[: room - len(chosen)]
        taken = [(lane, lane.take(1)) for lane in asked]
        chosen += [delivery for _, found in taken for delivery in found]
        turning = turning[len(asked) :] + [lane for lane, found in taken if found]
    return chosen
