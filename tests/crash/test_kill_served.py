"""`kill -9` of the served engine at random moments under load (F1)."""

from __future__ import annotations

import secrets
from pathlib import Path
from time import monotonic

import pytest

from tests import invariants
from tests.crash.points import Trap
from tests.crash.siege import LOAD_AT_MOST_S, Siege, place_in
from tests.served import READY_WITHIN_S

LONG_S = 2.5
"""Now and then a life is long enough for what runs in the background to have begun."""


@pytest.fixture
def seed() -> int:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return seed


@pytest.mark.parametrize(
    "kills", [10, pytest.param(500, marks=pytest.mark.torture)], ids="{}-kills".format
)
def test_nothing_answered_is_lost_to_kill_9(
    journal_url: str, tmp_path: Path, seed: int, kills: int
) -> None:
    """No manual step between a kill and the next answer; in the end all books agree."""
    siege = Siege(place_in(tmp_path, journal_url), seed)
    began_s = monotonic()
    for number in range(kills):
        siege.kill_under_load(siege.start(), LONG_S if number % 5 == 4 else LOAD_AT_MOST_S)
        if number % 5 == 4:
            assert siege.problems() == [], f"after kill {number + 1}"
    took_s = siege.end_well(siege.start())
    assert siege.problems(siege.place.views_url) == []
    print(
        f"{kills} kills in {monotonic() - began_s:.0f} s, {len(siege.clients.told)} writes asked,"
        f" ready after {max(siege.ready_after_s):.1f} s at most, all terminal {took_s:.1f} s after"
    )
    assert max(siege.ready_after_s) < READY_WITHIN_S


def test_a_build_that_answers_before_it_commits_is_noticed(
    sqlite_url: str, tmp_path: Path, seed: int
) -> None:
    """The control: within a few kills an answered order is missing."""
    siege = Siege(place_in(tmp_path, sqlite_url), seed)
    siege.kill_under_load(siege.start())
    siege.place.trap = Trap("answer before commit", 0, "")
    for _ in range(10):
        siege.kill_under_load(siege.start())
        found = invariants.check(siege.place.journal_url, told=siege.clients.told)
        if any(fault.startswith("I1") for fault in found):
            siege.bury()
            return
    pytest.fail("answered before commit, and nobody noticed")
