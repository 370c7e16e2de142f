"""Business time, as a follower keeps it in memory between the facts that move it."""

from __future__ import annotations

from collections.abc import Callable

from engine.commands.desk import Desk
from engine.domain import clock
from engine.domain.clock import Clock


class BusinessClock:
    """Business time by the journal's offset, read again after each `move`."""

    def __init__(self, desk: Desk, now_us: Callable[[], int]) -> None:
        self._desk = desk
        self._now_us = now_us
        self._clock: Clock | None = None
        self._is_read = False

    def move(self) -> None:
        """Business time has moved."""
        self._is_read = False

    def now_us(self) -> int:
        """Business time now."""
        if not self._is_read:
            self._clock, self._is_read = self._desk.state(clock.STREAM), True
        return clock.business_time_us(self._clock, self._now_us())
