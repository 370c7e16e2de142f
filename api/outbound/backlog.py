"""The backlog of a webhook: events not enqueued yet, because its receiver is slower than they occur.

The journal is their queue. Only the next events of such a webhook are enqueued; the rest is one number,
its offset. So an unresponsive receiver costs no more than its attempts.
"""

from __future__ import annotations

from collections import deque

from engine.domain.webhook import Webhook
from engine.kernel.limits import BACKLOG_KEPT
from engine.registers.deliveries import NewDelivery


class Backlog:
    """One webhook's backlog. Its events up to `place` are enqueued; `first` are the next, in memory.

    `first` is complete up to the offset `read_to`; None: up to the router's. `webhook` is its state
    there.
    """

    __slots__ = ("first", "place", "read_to", "webhook")

    def __init__(self, webhook: Webhook, place: int, *, read_to: int | None = None) -> None:
        self.webhook = webhook
        self.place = place
        self.read_to = read_to
        self.first: deque[NewDelivery] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether it has no events up to the router's offset."""
        return self.read_to is None and not self.first

    def has_room(self, webhook: Webhook, offset: int) -> bool:
        """Whether the event at `offset` should be added. If not, it is read again in its turn."""
        if self.read_to is None and len(self.first) >= BACKLOG_KEPT:
            self.read_to, self.webhook = offset - 1, webhook
        return self.read_to is None

    def take(self, most: int) -> list[NewDelivery]:
        """The next events to enqueue."""
        taken = [self.first.popleft() for _ in range(min(most, len(self.first)))]
        if taken:
            self.place = taken[-1].event_offset
        return taken
