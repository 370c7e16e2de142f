"""Named points of the follower of rollovers, and a process that dies at one of them."""

from __future__ import annotations

from datetime import date

import engine.followers.rollovers
from tests.crash.dying import Points, set_trap, unrecorded, untold
from tests.crash.points import before_checkpoint
from tests.support.engines.lives import open_life

MATURITY = date(2026, 4, 9)


POINTS: Points = {
    "sell cancelled, not recorded": (1, unrecorded("cancel_sell")),
    "sell cancelled, not known": (1, untold("cancel_sell")),
    "rollover decided, not recorded": (2, unrecorded("roll_over")),
    "rollover recorded, not known": (1, untold("roll_over")),
    "rollovers recorded, not shown": (1, before_checkpoint),
    "fill decided, not recorded": (1, unrecorded("take_after")),
    "fill recorded, not known": (1, untold("take_after")),
    "maturity paid, not recorded": (2, unrecorded("apply_action")),
    "maturity paid, not known": (1, untold("apply_action")),
}


def roll(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """The life of a process that rolls bills over, executes and pays, until it dies or all is done."""
    engine.followers.rollovers.ROLLED_BATCH = 2  # type: ignore[misc]
    set_trap(POINTS, point, marker)
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
