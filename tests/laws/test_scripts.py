"""Law of scripts: however often the venue is asked, and wherever it is killed, its reports are the same.

Reports are distinct by their references; whether one comes again is no matter.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.domain.report import Report
from engine.domain.script import DAY_US, KINDS, Play, Step
from engine.venues.port import CancelTicket, SentOrder, Ticket, VenueUnavailable
from engine.venues.simulated import SimulatedVenue
from tests.unit.test_venue import STARTED_US, ticket

SECOND_US, END_S = 1_000_000, 40


@dataclass
class Prompter:
    """A journal of one order."""

    sent: SentOrder
    is_over: bool = False
    played_by: list[str] = field(default_factory=list)

    def ahead_us(self) -> int:
        return 0

    def unplayed(self, known: Container[str]) -> Sequence[SentOrder]:
        is_known = self.sent.ticket.venue_order in known
        return [] if is_known or not self.is_over or self.played_by else [self.sent]

    def cancels(self, order: str) -> Sequence[CancelTicket]:
        return self.sent.cancels

    def played(self, script: str, order: str) -> None:
        self.played_by.append(script)


class Way(NamedTuple):
    """When the venue is asked, killed, and asked to cancel, in seconds from the order's start."""

    polls: frozenset[int]
    kills: frozenset[int]
    cancel_s: int | None


ALWAYS = Way(frozenset(range(END_S)), frozenset(), None)


def heard(
    steps: Sequence[Step], way: Way, kind: type[SimulatedVenue] = SimulatedVenue
) -> tuple[list[Report], Prompter]:
    """Distinct reports in the order in which they came first. All are recorded when they were read."""
    sent = ticket(script=Play("scr_1", tuple(steps), 0))
    prompter = Prompter(SentOrder(sent, ()))
    now_us, number, reports = STARTED_US, 0, dict[str, Report]()

    def begin() -> SimulatedVenue:
        return kind(lambda: now_us, prompter=prompter)

    venue = begin()
    submit(venue, sent)
    for second in range(END_S + 1):
        now_us = STARTED_US + second * SECOND_US
        if second == way.cancel_s and not prompter.is_over:
            request = CancelTicket(sent.venue_order, f"{sent.venue_order}.3", now_us)
            prompter.sent = SentOrder(sent, (request,))
            if second not in way.kills:
                venue.cancel(request)
        if second in way.kills:
            venue, number = begin(), 0
            if not prompter.is_over:  # the execution asks about it, and it is unknown
                submit(venue, sent)
        if second in way.polls or second in (way.cancel_s, END_S):
            for found in venue.reports(number):
                number = found.number
                reports.setdefault(found.report.execution_reference, found.report)
                assert reports[found.report.execution_reference] == found.report
                prompter.is_over |= found.report.kind in ("ended", "cancelled")
            venue.reports(number)
    return list(reports.values()), prompter


def submit(venue: SimulatedVenue, sent: Ticket) -> None:
    try:
        venue.submit(sent)
    except VenueUnavailable:
        assert any(step.kind == "timeout" for step in sent.script.steps)  # type: ignore[union-attr]


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    """Steps as they can be written, of less than a day."""
    steps: list[Step] = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        kind = draw(st.sampled_from(list(KINDS)))
        on_cancel = kind == "cancel_rejected" or draw(st.booleans())
        targets = [n for n, one in enumerate(steps, 1) if one.kind in KINDS[kind].of]
        targets = [n for n in targets if on_cancel or not steps[n - 1].on_cancel]
        if KINDS[kind].of and not targets:
            continue
        timed = "after" in KINDS[kind].fields
        words: dict[str, Any] = {"of": draw(st.sampled_from(targets))} if targets else {}
        after_us = draw(st.integers(0, 12)) * SECOND_US if timed else 0
        steps.append(Step(kind, after_us=after_us, on_cancel=on_cancel and timed, **words))
        assert number >= len(steps)
    return steps


SECONDS = st.frozensets(st.integers(0, END_S - 20), max_size=12)
WAYS = st.builds(Way, SECONDS, SECONDS, st.none() | st.integers(1, 15))


@given(scripts(), WAYS)
def test_reports_are_the_same_whatever_the_way(steps: list[Step], way: Way) -> None:
    wanted, known = heard(steps, ALWAYS._replace(cancel_s=way.cancel_s))
    if not known.sent.cancels:  # the execution was over before
        way = way._replace(cancel_s=None)
    found, prompter = heard(steps, way)
    assert sorted(found, key=key) == sorted(wanted, key=key)
    assert prompter.played_by in ([], ["scr_1"])


def key(report: Report) -> str:
    return report.execution_reference


@given(scripts())
def test_reports_come_at_their_times(steps: list[Step]) -> None:
    """An end may be followed by more, and a repeat may come before what it repeats."""
    found, _ = heard(steps, ALWAYS)
    due_us: dict[int, int] = {}
    for number, step in enumerate(steps, 1):
        of = step.of if step.kind == "duplicate" and step.of else number
        if not step.on_cancel:
            due_us[of] = min(step.after_us, due_us.get(of, step.after_us))
    due = [due_us[int(one.execution_reference.rpartition("-")[2])] for one in found]
    assert due == sorted(due)


@given(scripts(), st.integers(1, 3))
def test_days_count_by_the_business_clock_alone(steps: list[Step], days: int) -> None:
    """Steps of days come when the clock was moved, however late it is by the wall clock."""
    moved = [
        replace(step, after_us=days * DAY_US) if "when" in KINDS[step.kind].fields else step
        for step in steps
        if not step.on_cancel
    ]
    found, _ = heard(moved, ALWAYS)
    assert found == []


class ForgetsOrders(SimulatedVenue):
    """A broken build, for control: orders that are over are not looked for after a start."""

    def _resume(self) -> None:
        return


class ForgetsRequests(SimulatedVenue):
    """Another one: what was asked before a start is not known."""

    def _cancels(self, ticket: Ticket) -> Sequence[CancelTicket]:
        return ()


@pytest.mark.parametrize(("broken", "killed_s"), [(ForgetsOrders, 10), (ForgetsRequests, 5)])
def test_a_broken_venue_is_noticed(broken: type[SimulatedVenue], killed_s: int) -> None:
    """A request at 3 s is refused at 4 s, executed at 7 s; the end at 9 s is followed by a trade."""
    steps = [
        Step("cancel_rejected", after_us=SECOND_US, on_cancel=True),
        Step("trade", after_us=4 * SECOND_US, on_cancel=True),
        Step("ended", after_us=9 * SECOND_US),
        Step("trade", after_us=12 * SECOND_US),
    ]
    way = Way(ALWAYS.polls, frozenset({killed_s}), 3)
    wanted, _ = heard(steps, ALWAYS._replace(cancel_s=3))
    assert len(wanted) == 4
    assert sorted(heard(steps, way)[0], key=key) == sorted(wanted, key=key)
    assert len(heard(steps, way, broken)[0]) < len(wanted)
