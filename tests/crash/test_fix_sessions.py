"""A FIX venue against a scripted acceptor: two real processes, each killed and restarted."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fix.initiator import POINTS

pytestmark = pytest.mark.full
ROOT = Path(__file__).parents[2]
WITHIN_S = 60


class Counterparties:
    """The two processes, by turns alive and dead."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.venue: subprocess.Popen[str] | None = None
        self.engine: subprocess.Popen[str] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])

    def start_venue(self, name: str = "VENUE") -> None:
        self.venue = self.started("acceptor", self.directory / "venue", name)
        assert self.venue.stdout
        assert self.venue.stdout.readline() == "ready\n"

    def start_engine(self, *points: str) -> None:
        self.engine = self.started("initiator", self.directory / "engine", "VENUE", *points)

    def started(self, module: str, directory: Path, *words: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            f"tests.support.fix.{module}",
            self.port,
            str(directory),
            *words,
        ]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)

    def call(self, *words: Any) -> Any:
        """The engine's answer; None if it died."""
        assert self.engine
        assert self.engine.stdin
        assert self.engine.stdout
        try:
            self.engine.stdin.write(json.dumps(words) + "\n")
            self.engine.stdin.flush()
        except BrokenPipeError:
            return {"error": "dead"}
        line = self.engine.stdout.readline()
        return json.loads(line) if line else {"error": "dead"}

    def until(self, answer: Any, *words: Any) -> None:
        """Calls until the answer is this one, or an error with these words."""
        end, found = time.monotonic() + WITHIN_S, None
        while time.monotonic() < end:
            found = self.call(*words)
            if found == answer or (isinstance(answer, str) and answer in str(found)):
                return
            time.sleep(0.05)
        pytest.fail(f"{words}: {found}")

    def submit(self, order: str) -> None:
        self.until(None, "submit", order)

    def heard(self, count: int) -> list[tuple[str, str]]:
        """The first reports, as orders and kinds."""
        end, page = time.monotonic() + WITHIN_S, []
        while time.monotonic() < end:
            found = self.call("reports", 0)
            page = found if isinstance(found, list) else page
            if len(page) >= count:
                break
            time.sleep(0.05)
        return [(order, kind) for _, order, kind, _ in page]

    def book(self) -> dict[str, str]:
        """The venue's own book: order -> executed units."""
        path = self.directory / "venue" / "book.jsonl"
        noted = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        received = [one["order"] for one in noted if "symbol" in one]
        assert len(received) == len(set(received))
        return dict.fromkeys(received, "0") | {
            one["order"]: one["executed"] for one in noted if "executed" in one
        }

    def kill(self, process: subprocess.Popen[str] | None) -> None:
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe
                with contextlib.suppress(BrokenPipeError):  # it died with a call unread
                    pipe.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Counterparties]:
    both = Counterparties(tmp_path)
    yield both
    both.kill(both.engine)
    both.kill(both.venue)


@pytest.fixture
def running(both: Counterparties) -> Counterparties:
    both.start_venue()
    both.start_engine()
    return both


SCRIPTED = {
    "FILL": ("over", ["trade", "ended"]),
    "PARTS": ("over", ["trade", "trade", "ended"]),
    "REJECT": ("over", ["ended"]),
    "REST": ("open", []),
    "LOST": ("unknown", []),
    "TWICE": ("over", ["trade", "ended"]),
    "GARBAGE": ("over", ["trade", "ended"]),
    "OTHERS": ("over", ["trade", "ended"]),
}


def test_an_order_comes_to_the_end_that_the_venue_gives_it(running: Counterparties) -> None:
    for symbol in SCRIPTED:
        running.submit(f"ord_{symbol}")
        running.submit(f"ord_{symbol}")  # has no effect
    for symbol, (standing, kinds) in SCRIPTED.items():
        running.until([standing, kinds], "status", f"ord_{symbol}")
    assert running.book().keys() == {f"ord_{symbol}" for symbol in SCRIPTED if symbol != "LOST"}


def test_an_order_that_the_venue_never_had_is_sent_again(running: Counterparties) -> None:
    running.submit("ord_LOST")
    running.until(["unknown", []], "status", "ord_LOST")
    running.submit("ord_LOST")
    running.until(["over", ["trade", "ended"]], "status", "ord_LOST")
    assert running.book() == {"ord_LOST": "10.5000"}


def test_an_order_that_was_never_sent_is_known_as_such(running: Counterparties) -> None:
    running.until(["unknown", []], "status", "ord_FILL")
    assert running.book() == {}


@pytest.mark.parametrize(
    ("symbol", "standing", "kinds"),
    [("REST", "over", ["cancelled"]), ("KEEP", "open", ["cancel_rejected"])],
)
def test_a_cancel_is_answered(
    running: Counterparties, symbol: str, standing: str, kinds: list[str]
) -> None:
    order = f"ord_{symbol}"
    running.submit(order)
    running.until(["open", []], "status", order)
    running.until(None, "cancel", order)
    running.until(None, "cancel", order)  # has no effect
    running.until([standing, kinds], "status", order)


def test_units_that_were_not_reported_end_nothing(running: Counterparties) -> None:
    running.submit("ord_SILENT")
    running.until("10.5000 executed, 0 reported", "status", "ord_SILENT")
    assert running.heard(0) == []


def test_a_bust_is_reported_after_its_trade(running: Counterparties) -> None:
    running.submit("ord_BUST")
    assert running.heard(3) == [("ord_BUST", kind) for kind in ("trade", "ended", "trade_bust")]


def test_a_venue_that_dies_between_the_order_and_its_answer_is_asked(running: Counterparties) -> None:
    running.submit("ord_FILL")
    running.submit("ord_CRASH")
    assert running.venue
    assert running.venue.wait(WITHIN_S) == 9
    running.kill(running.venue)
    running.until("connecting", "status", "ord_CRASH")
    running.start_venue()
    running.until("10.5000 executed, 0 reported", "status", "ord_CRASH")
    running.submit("ord_CRASH")
    running.submit("ord_PARTS")
    running.until(["over", ["trade", "trade", "ended"]], "status", "ord_PARTS")
    assert running.book() == dict.fromkeys(("ord_FILL", "ord_CRASH", "ord_PARTS"), "10.5000")


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_engine_sends_once_and_hears_once(both: Counterparties, point: str) -> None:
    both.start_venue()
    both.start_engine(point)
    found = None
    while found != {"error": "dead"}:
        found = both.call("submit", "ord_FILL")
        time.sleep(0.02)
    both.kill(both.engine)
    both.start_engine()
    both.until("[", "status", "ord_FILL")
    if both.call("status", "ord_FILL")[0] == "unknown":  # it never left
        both.submit("ord_FILL")
    both.until(["over", ["trade", "ended"]], "status", "ord_FILL")
    assert both.heard(2) == [("ord_FILL", "trade"), ("ord_FILL", "ended")]
    assert both.book() == {"ord_FILL": "10.5000"}


def test_both_killed_and_started_keep_their_numbers(running: Counterparties) -> None:
    orders = []
    for turn in range(3):
        order = f"ord_PARTS_{turn}"
        running.submit(order)
        running.until(["over", ["trade", "trade", "ended"]], "status", order)
        orders.append(order)
        running.kill(running.venue)
        running.kill(running.engine)
        running.start_venue()
        running.start_engine()
    expected = [(one, kind) for one in orders for kind in ("trade", "trade", "ended")]
    assert running.heard(len(expected)) == expected
    assert running.book() == dict.fromkeys(orders, "10.5000")


def test_messages_that_a_power_cut_took_from_the_log_are_sent_again(running: Counterparties) -> None:
    """QuickFIX's files count them as received."""
    running.submit("ord_FILL")
    running.until(["over", ["trade", "ended"]], "status", "ord_FILL")
    running.kill(running.engine)
    (log,) = (running.directory / "engine").glob("messages-*.log")
    lines = log.read_bytes().splitlines(keepends=True)
    whole = next(number for number, line in enumerate(lines) if b"\x01150=F\x01" in line)
    log.write_bytes(b"".join(lines[:whole]) + lines[whole][:40])
    running.start_engine()
    assert running.heard(2) == [("ord_FILL", "trade"), ("ord_FILL", "ended")]
    assert running.book() == {"ord_FILL": "10.5000"}


def test_no_order_waits_for_a_session(both: Counterparties) -> None:
    both.start_engine()
    both.until("connecting", "submit", "ord_FILL")
    both.start_venue()
    both.until([], "reports", 0)
    assert both.book() == {}


def test_another_comp_id_is_refused(both: Counterparties) -> None:
    both.start_venue("OTHER")
    both.start_engine()
    both.until("connecting", "reports", 0)
    both.until("connecting", "submit", "ord_FILL")
    assert both.book() == {}


@pytest.mark.parametrize("side", ["engine", "venue"])
def test_a_sequence_number_too_low_is_told_and_nothing_is_sent(
    running: Counterparties, side: str
) -> None:
    running.submit("ord_FILL")
    running.until(["over", ["trade", "ended"]], "status", "ord_FILL")
    running.kill(running.engine)
    running.kill(running.venue)
    shutil.rmtree(running.directory / side / "store")
    running.start_venue()
    running.start_engine()
    running.until("MsgSeqNum too low", "submit", "ord_PARTS")
    running.until("MsgSeqNum too low", "status", "ord_FILL")
    assert running.book() == {"ord_FILL": "10.5000"}
