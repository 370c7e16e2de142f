"""The number of a FIX venue's next message, by the message log."""

from __future__ import annotations

import pytest

from engine.venues.fix.log import Direction, Entry
from engine.venues.fix.sequence import next_expected
from tests.support.fix.wire import encode, fields

CASES = {
    "nothing": ([], None),
    "only messages of ours": (["> 35=D 34=7"], None),
    "in order": (["< 35=A 34=1", "< 35=8 34=2", "< 35=8 34=3"], 4),
    "a log that begins later": (["< 35=8 34=41", "> 35=D 34=9", "< 35=8 34=42"], 43),
    "a logon ahead of what was missed": (["< 35=8 34=5", "< 35=A 34=9"], 6),
    "what was missed, sent again": (["< 35=8 34=5", "< 35=A 34=7", "< 35=8 34=6 43=Y"], 7),
    "a repetition of what is known": (["< 35=8 34=5", "< 35=8 34=3 43=Y"], 6),
    "a gap that is filled": (["< 35=8 34=5", "< 35=4 34=6 36=9 123=Y 43=Y"], 9),
    "a reset by a logon": (["< 35=8 34=5", "< 35=A 34=1 141=Y"], 2),
    "numbers that begin again with the day": (["< 35=8 34=900", "< 35=8 34=2"], 3),
    "a line that was cut off": (["< 35=8 34=5", "< cut"], 6),
}


def entry(said: str) -> Entry:
    way, _, text = said.partition(" ")
    direction: Direction = "<" if way == "<" else ">"
    return Entry(0, direction, b"8=FIX.4.4" if text == "cut" else encode(fields(text)))


@pytest.mark.parametrize("name", CASES)
def test_what_comes_next(name: str) -> None:
    log, expected = CASES[name]
    assert next_expected([entry(said) for said in log]) == expected
