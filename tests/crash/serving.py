"""Named points of the servicing follower, and a process that dies at one of them."""

from __future__ import annotations

import engine.followers.servicing
import projections.serviced
from tests.crash.dying import Points, set_trap, unrecorded, untold
from tests.crash.points import before_checkpoint
from tests.support.engines.lives import open_life

POINTS: Points = {
    "coupon announced, not recorded": (1, unrecorded("announce_due")),
    "coupon announced": (1, untold("announce_due")),
    "coupon started, not recorded": (1, unrecorded("start_action")),
    "coupon started, nobody paid": (1, untold("start_action")),
    "payment decided, not recorded": (2, unrecorded("apply_action")),
    "payment recorded, not known": (1, untold("apply_action")),
    "payments recorded, not shown": (1, before_checkpoint),
    "all paid, not completed": (1, unrecorded("complete_action")),
    "coupon completed, not known": (1, untold("complete_action")),
    "sell cancelled, not recorded": (1, unrecorded("cancel_waiting")),
    "sell cancelled, not known": (1, untold("cancel_waiting")),
    "redemption decided, not recorded": (2, unrecorded("apply_action")),
    "redemption recorded, not known": (1, untold("apply_action")),
    "all redeemed, not completed": (1, unrecorded("complete_action")),
    "redemption completed, not known": (1, untold("complete_action")),
}
SPLIT_POINTS: Points = {
    "buy cancelled, not recorded": (1, unrecorded("cancel_waiting")),
    "buy cancelled, not known": (1, untold("cancel_waiting")),
    "split started, not recorded": (1, unrecorded("start_action")),
    "split started, nobody split": (1, untold("start_action")),
    "split decided, not recorded": (2, unrecorded("apply_action")),
    "split recorded, not known": (1, untold("apply_action")),
    "all split, not completed": (1, unrecorded("complete_action")),
    "split completed, not known": (1, untold("complete_action")),
}
"""The same in the order of a split."""


def serve(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """The life of a process that services instruments until it dies, or has nothing to do."""
    for module in (engine.followers.servicing, projections.serviced):
        module.SERVED_BATCH = 2  # type: ignore[attr-defined]
    set_trap({**POINTS, **SPLIT_POINTS}, point, marker)
    with open_life(journal_url, views_url) as life:
        life.serve(80)
        life.stop()
