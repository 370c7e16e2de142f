"""The engine dies at named points of an order's way and is started again (F2)."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.crash.points import POINTS
from tests.crash.siege import Siege, besieged, place_in
from tests.served import Load, wait_until

DIES_WITHIN_S = 20.0


def die_at(siege: Siege, point: str, times: int) -> None:
    """A life under load that ends at the point, by its own hand."""
    program, siege.place.program = siege.place.program, [
        sys.executable, "-m", "tests.crash.points", point, str(times),
    ]  # fmt: skip
    served = siege.start()
    siege.place.program = program
    with served, Load(siege.clients, served.port, siege.accounts, threads=4):
        wait_until(point, lambda: served.process.poll() is not None, DIES_WITHIN_S)


@pytest.mark.parametrize("point", POINTS)
def test_every_order_comes_to_its_end_wherever_the_engine_died(
    journal_url: str, tmp_path: Path, point: str
) -> None:
    siege = besieged(place_in(tmp_path, journal_url), seed=len(point))
    die_at(siege, point, times=5)
    began_s = monotonic()
    siege.end_well(siege.start())
    print(f"{point}: all terminal and shown {monotonic() - began_s:.1f} s after the restart began")
    assert siege.problems(siege.place.views_url) == []
