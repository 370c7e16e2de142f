"""What is ready to be sent to each webhook, and how much of it at once."""

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
    """One webhook's. Its `width`, requests at once, grows while it answers, and halves when it fails;
    `cap` is its part of what all may have.

    `ready` are deliveries that are due, by number; `sent` those under way, by resource: of one resource
    there is never more than one.
    """

    def __init__(self, webhook: str, now_s: float) -> None:
        self.webhook = webhook
        self.cap = WIDE
        self.rests_until_s = 0.0
        self.fed_until_s = 0.0
        self._width = NARROW
        self._failures = 0
        self._is_clear = False
        self.ready: dict[int, Delivery] = {}
        self.sent: dict[str, int] = {}
        self.look_s = now_s

    @property
    def width(self) -> int:
        """Requests at once."""
        return min(self._width, self.cap)

    @property
    def is_failing(self) -> bool:
        """Whether it has failed so often that it is given rests."""
        return self._failures > WEBHOOK_FAILURES

    @property
    def room(self) -> int:
        """How many can be handed out, if there are so many."""
        ahead = 1 if self.is_failing else WEBHOOK_AHEAD
        return max(0, ahead * self.width - len(self.sent))

    def wanted(self, now_s: float) -> int:
        """How many more may be put down for it; none while it has not sent what it has.

        One that is given rests is tried again first with what it was sent before, and given more once
        in a rest: what is put down for it may all wait behind what has failed.
        """
        if self.is_failing:
            if self.sent or max(self.rests_until_s, self.fed_until_s) > now_s:
                return 0
            return max(0, NARROW - len(self.ready))
        most = 2 * WEBHOOK_AHEAD * self.width
        return most - len(self.ready) if len(self.ready) <= most // 2 else 0

    def feed(self, now_s: float) -> None:
        """Something was put down for it."""
        self.fed_until_s = now_s + self._rest_s

    def add(self, delivery: Delivery) -> None:
        """It is due. What does not fit is found in the table later."""
        if len(self.ready) < 2 * DUE_PAGE:
            self.ready[delivery.seq] = delivery
        else:
            self.look_s = 0.0

    def look_at(self, at_s: float) -> None:
        """Something is due then."""
        self.look_s = min(self.look_s, at_s)

    def wants_look(self, now_s: float) -> bool:
        """Whether it is time to look at the table."""
        return self.look_s <= now_s and len(self.ready) < DUE_PAGE // 2

    def fill(self, deliveries: Deliveries, now_us: int, now_s: float) -> None:
        """Looks at the table."""
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
            self.look_at(now_s + (next_us - now_us) / 1_000_000)

    def take(self, most: int) -> list[Delivery]:
        """Some to send, the oldest first: as there is room, and of resources that are free."""
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
        """Notes the end of an attempt; False if it was not ours."""
        if not self.drop(delivery):
            return False
        if has_succeeded:
            self._width, self._failures, self.rests_until_s = min(WIDE, self._width + 1), 0, 0.0
            return True
        self._width = max(NARROW, self._width // 2)
        self._failures += 1
        if self._rest_s:
            self.rests_until_s = now_s + self._rest_s
        return True

    @property
    def _rest_s(self) -> float:
        """How long a rest is after so many failures in a row."""
        over = self._failures - WEBHOOK_FAILURES
        first_s, longest_s = WEBHOOK_BACKOFF_S
        return min(longest_s, first_s * 2.0 ** min(over, 30)) if over > 0 else 0.0

    def drop(self, delivery: Delivery) -> bool:
        """It is not under way any more; whether it was."""
        if self.sent.get(delivery.resource) != delivery.seq:
            return False
        del self.sent[delivery.resource]
        return True

    def clear(self) -> bool:
        """Nothing more is to be sent there; True the first time. It looks again once it may."""
        was_clear, self._is_clear = self._is_clear, True
        self.ready.clear()
        self.look_s = 0.0
        return not was_clear


def shares(lanes: Sequence[Lane], room: int, first: int) -> list[Delivery]:
    """What to send: all that lanes have room for, or one of each in turn; `first` goes round."""
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
