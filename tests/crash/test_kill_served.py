"""`kill -9` of the served engine at random moments under load (F1)."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests.crash.points import Trap
from tests.crash.siege import LOAD_AT_MOST_S, Siege, place_in
from tests.support.checkers import invariants
from tests.support.servers.served import READY_WITHIN_S, Place

LONG_S = 2.5
"""Now and then a life is long enough for what runs in the background to have begun."""


@pytest.fixture
def seed() -> int:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return seed


def besiege(place: Place, seed: int, kills: int) -> list[str]:
    """Kills again and again, ends well, and says what was wrong."""
    siege = Siege(place, seed)
    began_s = monotonic()
    found: list[str] = []
    for number in range(1, kills + 1):
        is_long = number % 5 == kills % 5
        siege.kill_under_load(siege.start(), LONG_S if is_long else LOAD_AT_MOST_S)
        if is_long:
            found += [f"after kill {number}: {problem}" for problem in siege.problems()]
    took_s = siege.end_well(siege.start())
    ready_s = max(siege.ready_after_s)
    print(
        f"{place.journal_url[:6]}: {kills} kills in {monotonic() - began_s:.0f} s,"
        f" {len(siege.clients.exchanges)} writes asked, ready after {ready_s:.1f} s at most,"
        f" all terminal {took_s:.1f} s after the last"
    )
    found += [f"ready after {ready_s:.1f} s"] * (ready_s > READY_WITHIN_S)
    return found + siege.problems(place.views_url)


@pytest.mark.parametrize(
    "kills", [3, pytest.param(500, marks=pytest.mark.torture)], ids="{}-kills".format
)
def test_nothing_answered_is_lost_to_kill_9(
    sqlite_url: str, postgres_url: str, tmp_path: Path, seed: int, kills: int
) -> None:
    """No manual step between a kill and the next answer; in the end all books agree.

    Both databases at the same time: most of it is waiting.
    """
    places = []
    for name, url in (("sqlite", sqlite_url), ("postgresql", postgres_url)):
        (tmp_path / name).mkdir()
        places.append(place_in(tmp_path / name, url))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(besiege, places, (seed, seed + 1), (kills, kills))) == [[], []]


def test_a_build_that_answers_before_it_commits_is_noticed(
    sqlite_url: str, tmp_path: Path, seed: int
) -> None:
    """The control: after the first kill an answered order is missing."""
    siege = Siege(place_in(tmp_path, sqlite_url), seed)
    siege.kill_under_load(siege.start())
    siege.place.traps = [Trap("answer before commit", 0, "")]
    siege.clients.open_writes.clear()  # asked again, they would wait for a build that records nothing
    siege.kill_under_load(siege.start())
    siege.bury()
    found = invariants.check(siege.place.journal_url, exchanges=siege.clients.exchanges)
    assert any(fault.startswith("I1") for fault in found), found
