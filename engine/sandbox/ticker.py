"""The sandbox's clock: advances a business day at intervals, so that orders settle while one watches.

An idle sandbox pauses: after SANDBOX_REST_DAYS days without any other fact it waits for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from engine.commands import decisions
from engine.commands.desk import Command, Desk
from engine.domain.clock import ClockAdvanced
from engine.followers.acting import BlockedOrders, CheckCancelled, Timer
from engine.kernel.limits import SANDBOX_REST_DAYS

NAME: Final = "sandbox-day"
DAY_US: Final = 24 * 3600 * 1_000_000


class Ticker:
    """A follower (see `follow.Acting`) that advances one business day every `day_s` seconds."""

    offset: Final = None

    def __init__(
        self, desk: Desk, day_s: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.faults = BlockedOrders(NAME)
        self._desk = desk
        self._days = Timer(monotonic, day_s)
        self._days.restart()

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Advances the clock if due. See `follow.Acting`."""
        if self._days.is_due:
            self._days.restart()
            if not self.is_resting():
                check_cancelled()
                self._desk.do(Command(partial(decisions.advance_clock, by_us=DAY_US), None, NAME))
        return self._days.due_in_s

    def is_resting(self) -> bool:
        """Whether the last facts are all its own."""
        journal = self._desk.journal
        after = journal.head - SANDBOX_REST_DAYS
        if after < 0:
            return False
        return all(isinstance(one.fact, ClockAdvanced) for one in journal.read(after, SANDBOX_REST_DAYS))

    def finish(self) -> None:
        """No state to save."""
