"""Named points of the servicing follower, and a process that dies at one of them."""

from __future__ import annotations

from collections.abc import Callable

import engine.followers.servicing
import projections.serviced
from engine.commands.decider import Decider
from projections.database import Views
from tests.crash.points import Spring, Trap, before, decides
from tests.support.engines.lives import open_life


def _unrecorded(decision: str) -> Callable[[Spring], None]:
    """It is decided, and not recorded."""
    return lambda spring: before(Decider, "_submit", spring, decides(decision))


def _untold(decision: str) -> Callable[[Spring], None]:
    """It is recorded, and the follower does not know it."""
    return lambda spring: before(Decider, "settle", spring, decides(decision))


def _between_page_and_checkpoint(spring: Spring) -> None:
    before(Views, "move", spring)


POINTS: dict[str, tuple[int, Callable[[Spring], None]]] = {
    "coupon announced, not recorded": (1, _unrecorded("announce_due")),
    "coupon announced": (1, _untold("announce_due")),
    "coupon started, not recorded": (1, _unrecorded("start_action")),
    "coupon started, nobody paid": (1, _untold("start_action")),
    "payment decided, not recorded": (2, _unrecorded("apply_action")),
    "payment recorded, not known": (1, _untold("apply_action")),
    "payments recorded, not shown": (1, _between_page_and_checkpoint),
    "all paid, not completed": (1, _unrecorded("complete_action")),
    "coupon completed, not known": (1, _untold("complete_action")),
    "sell cancelled, not recorded": (1, _unrecorded("cancel_waiting")),
    "sell cancelled, not known": (1, _untold("cancel_waiting")),
    "redemption decided, not recorded": (2, _unrecorded("apply_action")),
    "redemption recorded, not known": (1, _untold("apply_action")),
    "all redeemed, not completed": (1, _unrecorded("complete_action")),
    "redemption completed, not known": (1, _untold("complete_action")),
}
"""Point -> at which time of coming there it dies, and what sets the trap: in the order of a life."""
SPLIT_POINTS: dict[str, tuple[int, Callable[[Spring], None]]] = {
    "buy cancelled, not recorded": (1, _unrecorded("cancel_waiting")),
    "buy cancelled, not known": (1, _untold("cancel_waiting")),
    "split started, not recorded": (1, _unrecorded("start_action")),
    "split started, nobody split": (1, _untold("start_action")),
    "split decided, not recorded": (2, _unrecorded("apply_action")),
    "split recorded, not known": (1, _untold("apply_action")),
    "all split, not completed": (1, _unrecorded("complete_action")),
    "split completed, not known": (1, _untold("complete_action")),
}
"""The same in the order of a split."""


def serve(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """The life of a process that services instruments until it dies, or has nothing to do."""
    for module in (engine.followers.servicing, projections.serviced):
        module.SERVED_BATCH = 2  # type: ignore[attr-defined]
    if point is not None:
        times, set_trap = (POINTS | SPLIT_POINTS)[point]
        set_trap(Spring(Trap(point, times, marker)))
    with open_life(journal_url, views_url) as life:
        life.serve(80)
        life.stop()
