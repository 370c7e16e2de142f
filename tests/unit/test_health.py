"""Reasons: since when they hold, what a source that fails or hangs is told as, and in which order."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

from engine.kernel import health
from engine.kernel.errors import Unavailable
from engine.kernel.health import REASONS, SEVERITIES, Finding, Health, Probe
from engine.kernel.limits import HEALTH_SILENT_S
from engine.kernel.wall import lasting


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now_us(self) -> int:
        return int(self.s * 1e6)

    def monotonic(self) -> float:
        return self.s


class Part:
    """A source whose findings a test sets."""

    def __init__(self, *found: Finding) -> None:
        self.found = found
        self.error: Exception | None = None

    def __call__(self) -> Iterator[Finding]:
        if self.error:
            raise self.error
        yield from self.found


def watched(part: Part, clock: Clock, code: str = "journal_unreadable") -> tuple[Health, Probe]:
    look = Probe("journal", part, code, now_us=clock.now_us, monotonic=clock.monotonic)
    one = Health()
    one.add(look)
    one.poll()
    return one, look


def test_a_reason_keeps_the_time_it_began_while_its_figures_move() -> None:
    clock, part = Clock(), Part(Finding("disk_low", "90 MB are free."))
    one, _ = watched(part, clock)
    clock.s += 60
    part.found = (Finding("disk_low", "80 MB are free."),)
    one.poll()
    (reason,) = one.reasons()
    assert (reason.since_us, reason.detail) == (1_000_000_000, "80 MB are free.")
    part.found = ()
    one.poll()
    assert one.reasons() == []
    part.found = (Finding("disk_low", "70 MB are free."),)
    one.poll()
    assert one.reasons()[0].since_us == clock.now_us()


def test_two_parts_of_one_code_are_told_apart() -> None:
    part = Part(Finding("views_behind", "a", "orders"), Finding("views_behind", "b", "events"))
    one, _ = watched(part, Clock())
    assert [reason.detail for reason in one.reasons()] == ["a", "b"]
    counted = {labels[0]: value for _, labels, value in one.samples()}
    assert counted == dict.fromkeys(REASONS, 0) | {"views_behind": 2}


@pytest.mark.parametrize("error", [Unavailable("secret words"), KeyError("secret words")])
def test_a_source_that_fails_is_its_own_reason(error: Exception) -> None:
    """And says nothing of the error's text, which may quote a client or a path."""
    clock, part = Clock(), Part()
    one, _ = watched(part, clock)
    part.error = error
    one.poll()
    (reason,) = one.reasons()
    assert (reason.code, reason.severity) == ("journal_unreadable", "critical")
    assert "secret" not in reason.detail
    assert not health.is_ready(one.reasons())


def test_a_source_that_hangs_holds_nobody_up_and_is_told() -> None:
    clock, going, stuck = Clock(), threading.Event(), threading.Event()

    def hang() -> Iterator[Finding]:
        stuck.set()
        going.wait(30)
        return iter(())

    look = Probe("journal", hang, "journal_unreadable", now_us=clock.now_us, monotonic=clock.monotonic)
    one = Health()
    one.add(look)
    thread = threading.Thread(target=one.poll)
    thread.start()
    assert stuck.wait(10)
    began_us = clock.now_us()
    assert one.reasons() == []
    clock.s += HEALTH_SILENT_S + 187
    (reason,) = one.reasons()
    assert (reason.code, reason.since_us) == ("journal_unreadable", began_us)
    assert reason.detail == "The journal has not answered for 3 min 12 s."
    going.set()
    thread.join(10)
    assert one.reasons() == []


def test_the_gravest_comes_first() -> None:
    part = Part(*(Finding(code, "x") for code in REASONS))
    one, _ = watched(part, Clock())
    order = [reason.severity for reason in one.reasons()]
    assert order == sorted(order, key=list(SEVERITIES).index)
    assert not health.is_ready(one.reasons())
    part.found = tuple(Finding(code, "x") for code, it in REASONS.items() if it.severity != "critical")
    one.poll()
    assert health.is_ready(one.reasons())


def test_every_reason_says_what_clients_notice_and_what_to_do() -> None:
    for code, known in REASONS.items():
        assert all(known), code
        assert not any(text.endswith(".") for text in known[1:]), code
        assert known.severity in SEVERITIES
        assert re.search(r"[^.?][.?]$", Finding(code, "x").what_to_do), code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"), (0.04, "0.0 s"), (9.96, "10.0 s"), (12.9, "12 s"), (60, "1 min 0 s"),
        (192, "3 min 12 s"), (7_500, "2 h 5 min"), (349_200, "4 d 1 h"),
    ],
)  # fmt: skip
def test_ages_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
