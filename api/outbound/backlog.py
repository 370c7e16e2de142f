"""Events of a webhook that have no delivery yet, as its receiver takes fewer than happen.

The journal is their queue. What is put down for such a webhook is what it is about to be sent; for the
rest there is one number, its place. So a receiver that takes nothing costs as little as its attempts do.
"""

from __future__ import annotations

from collections import deque

from engine.domain.webhook import Webhook
from engine.kernel.limits import BACKLOG_KEPT
from engine.registers.deliveries import NewDelivery


class Backlog:
    """One webhook's. All it wants up to `place` has been put down; `first` are the next, in memory.

    `read_to` is the offset up to which `first` is whole; None while it is so up to where the router is.
    `webhook` is as it was there.
    """

    __slots__ = ("first", "place", "read_to", "webhook")

    def __init__(self, webhook: Webhook, place: int, *, read_to: int | None = None) -> None:
        self.webhook = webhook
        self.place = place
        self.read_to = read_to
        self.first: deque[NewDelivery] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, as far as the router has come."""
        return self.read_to is None and not self.first

    def has_room(self, webhook: Webhook, offset: int) -> bool:
        """Whether the event at `offset` is to be added. If not, it is read again when its turn comes."""
        if self.read_to is None and len(self.first) >= BACKLOG_KEPT:
            self.read_to, self.webhook = offset - 1, webhook
        return self.read_to is None

    def take(self, most: int) -> list[NewDelivery]:
        """The next that are to be put down."""
        taken = [self.first.popleft() for _ in range(min(most, len(self.first)))]
        if taken:
            self.place = taken[-1].event_offset
        return taken
