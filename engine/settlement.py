"""Settlement: has every trade settled once its settlement date has come by the business clock.

It remembers nothing: what is due is asked of a view, which may lag behind the journal. A trade that is
listed although it has settled decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Final

from engine import clock, commands
from engine.desk import Command, Desk
from engine.follow import Breathe, Faults, Tenants, Timer
from engine.limits import SETTLE_BATCH, SETTLE_S

NAME: Final = "settlement"

Due = Callable[[date, int], Sequence[tuple[str, str]]]
"""(business date, limit) -> (order id, trade id) of filled orders' trades that settle by then, the
longest due first."""


class Settlement:
    """The acting part of the follower (see `follow.Acting`)."""

    offset: Final = None

    def __init__(
        self,
        desk: Desk,
        due: Due,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = Faults(NAME)
        self._desk = desk
        self._due = due
        self._now_us = now_us
        self._tenants = Tenants(desk.journal)
        self._looking = Timer(monotonic, SETTLE_S)

    def turn(self, breathe: Breathe) -> float:
        """Settles one batch of what is due. See `follow.Acting`."""
        if not self._looking.is_due:
            return self._looking.rest_s
        self._looking.restart()
        # Orders that stand still are listed first, again and again: they must not fill the batch.
        limit = SETTLE_BATCH + len(self.faults)
        rows = self._due(self.business_date(), limit)
        breathe()
        is_something_done = self._settle(rows)
        if is_something_done and len(rows) == limit:
            self._looking.hurry()
        return self._looking.rest_s

    def business_date(self) -> date:
        """Today, by the business clock as the journal has it now."""
        return clock.business_date(self._desk.state(clock.STREAM), self._now_us())

    def finish(self) -> None:
        """There is nothing to save."""

    def _settle(self, rows: Sequence[tuple[str, str]]) -> bool:
        """Whether any trade settled now."""
        is_something_done = False
        outcomes = self._desk.do_all([self._command(order, trade) for order, trade in rows])
        for (order, _), outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.faults.note(order, outcome)
            else:
                self.faults.clear(order)
                is_something_done |= bool(outcome.facts)
        return is_something_done

    def _command(self, order: str, trade: str) -> Command:
        decide = partial(commands.settle_trade, order=order, trade=trade)
        return Command(decide, self._tenants.of(order), NAME)
