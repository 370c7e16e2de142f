"""Points of the chain that are kept outside of the journal: their seals, the verdict, the trail."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest

from engine.journal.witness import START, Point, Trail, Verdict, Witness, judge, last_common, thinned

OURS = Witness("aa" * 16, b"k" * 32)


def point(offset: int, past: str = "ours") -> Point:
    return Point(offset, sha256(f"{past} {offset}".encode()).digest())


KEPT = point(17)
MAC = OURS.mac("views", KEPT)
JUDGED: dict[str, tuple[Verdict, Point, bytes | None, bytes | None]] = {
    "the fact is there": ("good", KEPT, MAC, KEPT.digest),
    "the journal ends before it": ("gone", KEPT, MAC, None),
    "another fact is there": ("gone", KEPT, MAC, point(17, "other").digest),
    "before the first fact": ("good", START, None, None),
    "no seal": ("foreign", KEPT, None, None),
    "an empty seal": ("foreign", KEPT, b"", KEPT.digest),
    "of another follower": ("foreign", KEPT, OURS.mac("outlet", KEPT), None),
    "of another journal": ("foreign", KEPT, Witness("bb" * 16, b"k" * 32).mac("views", KEPT), None),
    "under another key": ("foreign", KEPT, Witness("aa" * 16, b"x" * 32).mac("views", KEPT), None),
    "of another offset": ("foreign", KEPT, OURS.mac("views", KEPT._replace(offset=18)), None),
    "of another digest": ("foreign", KEPT, OURS.mac("views", point(17, "other")), None),
    "a changed seal": ("foreign", KEPT, bytes([MAC[0] ^ 1]) + MAC[1:], None),
}


@pytest.mark.parametrize("what", JUDGED)
def test_the_verdict(what: str) -> None:
    verdict, kept, mac, there = JUDGED[what]
    assert judge(OURS, "views", kept, mac, there) == verdict


def test_the_seal_is_for_ever() -> None:
    """Another form would call every view of an earlier release another journal's."""
    assert MAC.hex() == "cb2146247d64631e0c35469d62660599eace4a7fa0dca260e31c172d896859da"


def test_a_thinned_trail_is_dense_near_its_end_and_short() -> None:
    points = [point(n) for n in range(1, 5_001)]
    kept = [one.offset for one in thinned(points)]
    assert kept[-4:] == [4997, 4998, 4999, 5000]
    assert len(kept) < 30
    assert kept[0] == 1
    gaps = [(5_000 - a, b - a) for a, b in pairwise(kept)]
    assert all(gap <= distance for distance, gap in gaps)


def test_a_trail_stays_bounded_and_names_the_last_common_position() -> None:
    trail = Trail()
    for n in range(1, 20_001):
        trail.note(n, point(n).digest)
        trail.note(n // 2, b"older")  # changes nothing
    assert trail.last == point(20_000)
    assert len(trail.points()) < 300
    for end in (19_999, 19_990, 19_000, 12_000, 100, 1, 0):
        there = {n: point(n).digest for n in range(1, end + 1)}
        common = last_common(trail.points(), there.get)
        assert common <= end
        assert end - common <= 20_000 - end
    trail.forget()
    assert (trail.last, trail.points()) == (START, [START])


def test_a_past_that_differs_from_the_first_fact_on_shares_nothing() -> None:
    assert last_common([point(3), START, point(9)], lambda n: point(n, "other").digest) == 0
