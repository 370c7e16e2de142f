"""The published cases over FIX, against a market that is a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from engine.domain.report import Report
from engine.kernel import wall
from engine.venues.fix.config import config_of
from engine.venues.fix.session import FixVenue
from engine.venues.port import Ticket, Venue, VenueUnavailable
from order_engine.testing.venue_cases import CASES, ORDERS, ticket
from tests.crash.markets import ROOT, free_port, whole_lines

pytestmark = pytest.mark.full
WITHIN_S, QUIET_S = 20.0, 0.3


class Market:
    """The other side of a FIX adapter. What is sent twice it counts as new only once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.venue: FixVenue | None = None
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        words = [
            sys.executable,
            "-m",
            "tests.support.fix.market",
            str(self.port),
            str(self.folder / "m"),
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()
        for one in (self.process.stdin, self.process.stdout):
            assert one
            one.close()

    def close(self) -> None:
        if self.venue:
            self.venue.close()
        self.kill()

    def ticket(self, order: str) -> Ticket | None:
        """The journal's: the tickets that the cases make, as old as the test."""
        return ticket(order, started_at_us=self.began_us) if order in ORDERS else None

    began_us = wall.now_us()

    def open(self) -> Venue:
        """The adapter as after a restart: the process before is gone, and its session with it."""
        if self.venue:
            self.venue.close()
        words = {"host": "127.0.0.1", "port": str(self.port), "sender": "US", "target": "MARKET"}
        self.venue = FixVenue("acme", config_of(words), self.folder / "e", self.ticket)
        self.until_logged_on()
        return self.venue

    def until_logged_on(self) -> None:
        end_s = monotonic() + WITHIN_S
        while monotonic() < end_s:
            with contextlib.suppress(VenueUnavailable):
                assert self.venue
                self.venue.reports(0)
                return
            sleep(0.02)
        pytest.fail("no session")

    def execute(self, order: str) -> None:
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"execute {order}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()
        self.heard()

    def heard(self) -> Sequence[Report]:
        """All reports, once nothing more has come for a while."""
        assert self.venue
        found: Sequence[Report] = []
        since_s = monotonic()
        while monotonic() - since_s < QUIET_S:
            page = [one.report for one in self.venue.reports(0)]
            since_s = monotonic() if len(page) != len(found) else since_s
            found = page
            sleep(0.02)
        return found

    def orders(self) -> Sequence[str]:
        self.heard()
        noted = [json.loads(line) for line in whole_lines(self.folder / "m" / "market.jsonl")]
        return [said["order"] for what, said in noted if what == "order"]

    def losing(self) -> None:
        """A message that was sent is in the session's store, and is sent again: no answer is lost."""


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    market = Market(tmp_path)
    yield market
    market.close()


@pytest.mark.parametrize("name", CASES)
def test_fix_passes_the_published_cases(market: Market, name: str) -> None:
    CASES[name](market)


@pytest.mark.parametrize("name", CASES)
def test_it_passes_them_after_the_market_died(market: Market, name: str) -> None:
    """Its session goes on where it was."""
    market.open()
    market.kill()
    market.start()
    CASES[name](market)


def test_two_processes_never_write_one_session_s_files(market: Market) -> None:
    market.open()
    words = {"host": "127.0.0.1", "port": str(market.port), "sender": "US", "target": "MARKET"}
    other = FixVenue("acme", config_of(words), market.folder / "e", market.ticket)
    with pytest.raises(VenueUnavailable, match="another process"):
        other.reports(0)
    assert market.venue
    market.venue.close()
    market.venue = other
    market.until_logged_on()
