"""The message log of a FIX session."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel.limits import FIX_REPLAY_BYTES
from engine.venues.fix import log
from engine.venues.fix.log import Entry, MessageLog, entries, files, pack, recent
from engine.venues.fix.wire import time_of

MS = 1_000
DAY_US = 86_400_000_000
AT_US = time_of("20260312-14:30:00.250")
MESSAGE = b"8=FIX.4.4\x0135=8\x0110=000\x01"


def written(directory: Path, *moments: int, raw: bytes = MESSAGE) -> None:
    kept = MessageLog(directory)
    for at_us in moments:
        kept.append(at_us, "<", raw)
    kept.close()


@given(st.lists(st.tuples(st.sampled_from("<>"), st.binary(max_size=40)), max_size=8))
def test_messages_are_read_as_they_came(
    tmp_path_factory: pytest.TempPathFactory, messages: list
) -> None:
    directory = tmp_path_factory.mktemp("log")
    kept = MessageLog(directory)
    for direction, raw in messages:
        kept.append(AT_US, direction, raw)
    kept.close()
    assert recent(directory) == [Entry(AT_US, direction, raw) for direction, raw in messages]


def test_each_day_has_a_file(tmp_path: Path) -> None:
    written(tmp_path, AT_US, AT_US + DAY_US)
    days = {path.name.split(".")[0] for path in files(tmp_path)}
    assert days == {"messages-20260312", "messages-20260313"}
    assert [one.at_us for one in recent(tmp_path)] == [AT_US, AT_US + DAY_US]


def test_earlier_days_are_compressed_and_read_alike(tmp_path: Path) -> None:
    written(tmp_path, AT_US)
    pack(tmp_path, "20260313")
    assert [path.name for path in files(tmp_path)] == ["messages-20260312.log.gz"]
    assert recent(tmp_path) == [Entry(AT_US, "<", MESSAGE)]


def test_a_file_that_is_packed_before_it_is_read_is_read_all_the_same(tmp_path: Path) -> None:
    written(tmp_path, AT_US)
    (listed,) = files(tmp_path)
    pack(tmp_path, "20260313")
    assert list(entries(listed)) == [Entry(AT_US, "<", MESSAGE)]


def test_a_day_that_is_packed_twice_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, AT_US)
    pack(tmp_path, "20260313")
    written(tmp_path, AT_US + MS)  # the clock was set back
    assert [one.at_us for one in recent(tmp_path)] == [AT_US, AT_US + MS]
    pack(tmp_path, "20260313")
    assert [one.at_us for one in recent(tmp_path)] == [AT_US, AT_US + MS]


def test_a_pack_that_was_cut_off_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, AT_US)
    (tmp_path / "messages-20260312.log.gz.part").write_bytes(b"\x1f\x8bhalf")
    assert recent(tmp_path) == [Entry(AT_US, "<", MESSAGE)]
    pack(tmp_path, "20260313")
    assert recent(tmp_path) == [Entry(AT_US, "<", MESSAGE)]


@pytest.mark.parametrize("left", range(1, 25))
def test_a_line_that_a_power_cut_left_incomplete_harms_no_other(tmp_path: Path, left: int) -> None:
    written(tmp_path, AT_US, AT_US + MS)
    (path,) = files(tmp_path)
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(first + b"\n" + second[:left])
    assert [one.at_us for one in entries(path)] == [AT_US]
    written(tmp_path, AT_US + 2 * MS)
    assert recent(tmp_path)[0] == Entry(AT_US, "<", MESSAGE)
    assert recent(tmp_path)[-1] == Entry(AT_US + 2 * MS, "<", MESSAGE)


def test_a_start_reads_a_bounded_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FIX_REPLAY_BYTES", 100)
    written(tmp_path, *(AT_US + day * DAY_US for day in range(5)))
    assert [one.at_us for one in recent(tmp_path)][-1] == AT_US + 4 * DAY_US
    assert len(recent(tmp_path)) < 5
    assert FIX_REPLAY_BYTES > 1_000_000


def test_a_clock_that_steps_back_within_a_run_stays_in_order(tmp_path: Path) -> None:
    written(tmp_path, AT_US, AT_US - DAY_US)
    assert len(files(tmp_path)) == 1
    assert [one.at_us for one in recent(tmp_path)] == [AT_US, AT_US - DAY_US]
