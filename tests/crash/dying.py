"""A life whose process dies at each named point after the other; another goes on each time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from engine.commands.decider import Decider
from tests.crash.points import Spring, Trap, before, decides
from tests.crash.processes import Crew

Points = Mapping[str, tuple[int, Callable[[Spring], None]]]
"""Point -> at which time of coming there it dies, and what sets the trap: in the order of a life."""
Live = Callable[[str, str, str | None, str], None]
"""(URL of the journal, of the views, point or None, the trap's file): a process until its end."""
ENDS_WITHIN_S = 60
IN_FULL_ON_POSTGRESQL = pytest.mark.parametrize(
    "journal_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)], indirect=True
)
"""On PostgreSQL by `make test-full`; the points of servicing are walked there each time."""


def unrecorded(decision: str) -> Callable[[Spring], None]:
    """It is decided, and not recorded."""
    return lambda spring: before(Decider, "_submit", spring, decides(decision))


def untold(decision: str) -> Callable[[Spring], None]:
    """It is recorded, and the follower does not know it."""
    return lambda spring: before(Decider, "settle", spring, decides(decision))


def set_trap(points: Points, point: str | None, marker: str) -> None:
    """Sets the trap of a point in this process; None: none."""
    if point is not None:
        times, set_it = points[point]
        set_it(Spring(Trap(point, times, marker)))


def die_at_each(live: Live, points: Points, journal_url: str, views_url: str, tmp_path: Path) -> None:
    """Dies at each point, and comes to an end without a trap; or an AssertionError."""
    died = []
    with Crew() as crew:
        for number, point in enumerate((*points, None)):
            process = crew.start(live, journal_url, views_url, point, str(tmp_path / f"{number}"))
            process.join(ENDS_WITHIN_S)
            died += [point] if process.exitcode == -signal.SIGKILL else []
        assert process.exitcode == 0
    assert died == list(points)
