"""Named points of the follower of rollovers, and a process that dies at one of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import engine.followers.rollovers
from engine.commands.decider import Decider
from projections.database import Views
from tests.crash.points import Spring, Trap, before, decides
from tests.support.engines.lives import open_life

MATURITY = date(2026, 4, 9)


def _unrecorded(decision: str) -> Callable[[Spring], None]:
    """It is decided, and not recorded."""
    return lambda spring: before(Decider, "_submit", spring, decides(decision))


def _untold(decision: str) -> Callable[[Spring], None]:
    """It is recorded, and the follower does not know it."""
    return lambda spring: before(Decider, "settle", spring, decides(decision))


def _between_page_and_checkpoint(spring: Spring) -> None:
    before(Views, "move", spring)


POINTS: dict[str, tuple[int, Callable[[Spring], None]]] = {
    "sell cancelled, not recorded": (1, _unrecorded("cancel_sell")),
    "sell cancelled, not known": (1, _untold("cancel_sell")),
    "rollover decided, not recorded": (2, _unrecorded("roll_over")),
    "rollover recorded, not known": (1, _untold("roll_over")),
    "rollovers recorded, not shown": (1, _between_page_and_checkpoint),
    "fill decided, not recorded": (1, _unrecorded("take_after")),
    "fill recorded, not known": (1, _untold("take_after")),
    "maturity paid, not recorded": (2, _unrecorded("apply_action")),
    "maturity paid, not known": (1, _untold("apply_action")),
}
"""Point -> at which time of coming there it dies, and what sets the trap: in the order of a life."""


def roll(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """The life of a process that rolls bills over, executes and pays, until it dies or all is done."""
    engine.followers.rollovers.ROLLED_BATCH = 2  # type: ignore[misc]
    if point is not None:
        times, set_trap = POINTS[point]
        set_trap(Spring(Trap(point, times, marker)))
    with open_life(journal_url, views_url) as life:
        for symbol in ("B0", "B1"):
            life.price(symbol, "98")
        life.roll(22)  # long enough for the lease of the dead
        for _ in range(20):
            life.execute()
            life.works.clock.now_s += 0.3
        life.until(MATURITY)
        for _ in range(8):
            life.settle()
            life.works.clock.now_s += 1
        life.serve(40)
        life.stop()
