"""The engine dies at named points of an order's way and is started again (F2)."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.crash.points import IN_BACKGROUND, IN_MAIN
from tests.crash.siege import besieged, place_in
from tests.served import Load, wait_until

DIES_WITHIN_S = 20.0


def trapped(point: str, times: int, marker: Path) -> list[str]:
    """The real program with one trap in it."""
    return [sys.executable, "-m", "tests.crash.points", point, str(times), str(marker)]


@pytest.mark.parametrize("point", IN_MAIN)
def test_every_order_comes_to_its_end_wherever_the_engine_died(
    journal_url: str, tmp_path: Path, point: str
) -> None:
    """The main process dies, and is started again by whoever runs it."""
    siege, marker = besieged(place_in(tmp_path, journal_url), seed=len(point)), tmp_path / "sprung"
    sound, siege.place.program = siege.place.program, trapped(point, 5, marker)
    with (
        siege.start() as served,
        Load(siege.clients, served.port, siege.accounts, threads=4),
    ):
        wait_until(point, lambda: served.process.poll() is not None, DIES_WITHIN_S)
    assert marker.exists()
    siege.place.program = sound
    began_s = monotonic()
    siege.end_well(siege.start())
    print(f"{point}: all terminal and shown {monotonic() - began_s:.1f} s after the restart began")
    assert siege.problems(siege.place.views_url) == []


@pytest.mark.parametrize("point", IN_BACKGROUND)
def test_every_order_comes_to_its_end_wherever_the_background_died(
    journal_url: str, tmp_path: Path, point: str
) -> None:
    """What acts in the background dies and is started again by the main process, which goes on."""
    siege, marker = besieged(place_in(tmp_path, journal_url), seed=len(point)), tmp_path / "sprung"
    siege.place.program = trapped(point, 3, marker)
    served = siege.start()
    with served:
        with Load(siege.clients, served.port, siege.accounts, threads=2):
            wait_until(point, marker.exists, DIES_WITHIN_S)
        began_s = monotonic()
        siege.end_well(served)
    print(f"{point}: all terminal and shown {monotonic() - began_s:.1f} s after the death")
    assert siege.clients.open_wishes == []
    assert siege.problems(siege.place.views_url) == []
