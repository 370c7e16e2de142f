"""Settlement: has every trade settled once its settlement date has come by the business clock.

It remembers nothing: what is due is asked of a view, which may lag behind the journal. A trade that is
listed although it has settled decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any, Final, Protocol

from engine import clock, commands, wall
from engine.acting import Breathe, Burst, Faults, Timer
from engine.desk import Command, Desk
from engine.limits import SETTLE_BATCH, SETTLE_S

NAME: Final = "settlement"


class Due(Protocol):
    """A trade of a filled order that is to be settled."""

    @property
    def order(self) -> str: ...
    @property
    def trade(self) -> str: ...


DueSet = Callable[[date, int, Any], Sequence[Due]]
"""(business date, limit, a row or None) -> trades that settle by then, after that row."""


class Settlement:
    """The acting part of the follower (see `follow.Acting`)."""

    offset: Final = None

    def __init__(
        self,
        desk: Desk,
        due: DueSet,
        *,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = Faults(NAME)
        self._desk = desk
        self._burst = Burst(desk)
        self._due = due
        self._now_us = now_us
        self._looking = Timer(monotonic, SETTLE_S)
        self._settled: set[str] = set()
        self._after: Due | None = None  # the end of a full page: orders that stand still come first

    def turn(self, breathe: Breathe) -> float:
        """Settles one batch of what is due. See `follow.Acting`."""
        if not self._looking.is_due:
            return self._looking.rest_s
        self._looking.restart()
        rows = self._due(self.business_date(), SETTLE_BATCH, self._after)
        self._settle(rows, breathe)
        self._after = rows[-1] if len(rows) == SETTLE_BATCH else None
        if self._after:
            self._looking.hurry()
        return self._looking.rest_s

    def business_date(self) -> date:
        """Today, by the business clock as the journal has it now."""
        return clock.business_date(self._desk.state(clock.STREAM), self._now_us())

    def finish(self) -> None:
        """There is nothing to save."""

    def _settle(self, rows: Sequence[Due], breathe: Breathe) -> None:
        # The view may not know yet what was settled a moment ago.
        self._settled &= {row.trade for row in rows}
        todo = [row for row in rows if row.trade not in self._settled]
        outcomes = self._burst.do_all([self._command(row) for row in todo], breathe)
        for row, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.faults.note(row.order, outcome)
            else:
                self._settled.add(row.trade)
                self.faults.clear(row.order)

    def _command(self, row: Due) -> Command:
        decide = partial(commands.settle_trade, order=row.order, trade=row.trade)
        return Command(decide, self._desk.tenants.of(row.order), NAME)
