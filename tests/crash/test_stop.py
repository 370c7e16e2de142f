"""SIGTERM under load drops no request (F16)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from tests.crash.siege import Siege, place_in
from tests.support.checkers import invariants
from tests.support.servers.served import STOPPED_WITHIN_S, Load, Served


def stopped_under_load(
    journal_url: str, tmp_path: Path, stop: Callable[[Served], object], times: int
) -> tuple[list[str], float]:
    """What went wrong for clients, and how long the slowest stop took."""
    siege = Siege(place_in(tmp_path, journal_url), seed=16)
    found: list[str] = []
    slowest_s = 0.0
    for _ in range(times):
        before = len(siege.clients.exchanges)
        with (
            siege.start() as served,
            Load(siege.clients, served.port, siege.accounts, threads=8) as load,
        ):
            assert load.answered.wait(10)
            Event().wait(0.3)
            signalled_s = monotonic()
            stop(served)
            slowest_s = max(slowest_s, monotonic() - signalled_s)
        for place, one in enumerate(siege.clients.exchanges[before:], before):
            if one.status is None and one.sent_s < signalled_s:
                found.append(f"dropped: {one}, sent {signalled_s - one.sent_s:.4f} s before the stop")
            if one.status is None or one.status >= 500:
                # Without a word of success there must be nothing: such a request may be sent elsewhere.
                siege.clients.exchanges[place] = replace(one, is_definite=True)
        siege.clients.open_writes.clear()
        found += [
            f"answered {one}" for one in siege.clients.exchanges[before:] if (one.status or 0) >= 500
        ]
    print(f"{times} stops, {len(siege.clients.exchanges)} writes, the slowest took {slowest_s:.2f} s")
    return found + invariants.check(journal_url, exchanges=siege.clients.exchanges), slowest_s


def test_a_stop_under_load_drops_no_request(journal_url: str, tmp_path: Path) -> None:
    """All that was sent before is answered; what was not answered after it was not done either."""
    found, slowest_s = stopped_under_load(journal_url, tmp_path, Served.stop, times=1)
    assert found == []
    assert slowest_s < STOPPED_WITHIN_S


def test_a_stop_that_drops_requests_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """The control: ended without a goodbye. A busy machine may be between two requests each time."""
    for _ in range(20):
        found, _ = stopped_under_load(sqlite_url, tmp_path, Served.kill, times=1)
        if any(fault.startswith("dropped") for fault in found):
            return
    pytest.fail("requests were dropped, and nobody noticed")
