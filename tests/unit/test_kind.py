"""Live or sandbox: given the journal's kind, what may be declared, and what may be decided."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from engine.commands import decisions
from engine.commands.command import Decision, DecisionContext
from engine.commands.decisions import Firm
from engine.domain import kind
from engine.domain.clock import ClockAdvanced
from engine.domain.kind import SIMULATED, Declared, JournalKind, KindDeclared
from engine.domain.report import Report
from engine.kernel.errors import Refused, UnknownFact, WrongKind
from engine.kernel.ids import IdSource
from tests.support.engines.desks import Prices

FIRM = Firm(IdSource(), Prices({}), {}, 0)
REPORT = Report(SIMULATED, "x-1", "ord_1", "trade", Decimal(1), Decimal(1))


def test_a_kind_is_declared_once() -> None:
    assert kind.declare(None, "live", at_us=7) == [KindDeclared("live", 7)]
    assert kind.evolve(None, KindDeclared("live", 7)) == Declared("live", 7)
    assert kind.declare(Declared("live", 7), "live", at_us=9) == []


@pytest.mark.parametrize(("stored", "asked"), [("live", "sandbox"), ("sandbox", "live")])
def test_no_journal_becomes_the_other_kind(stored: JournalKind, asked: JournalKind) -> None:
    with pytest.raises(WrongKind, match="for ever"):
        kind.declare(Declared(stored, 7), asked, at_us=9)


@pytest.mark.parametrize("state", [None, Declared("live", 7)])
def test_other_facts_cannot_follow(state: Declared | None) -> None:
    second = KindDeclared("sandbox", 9) if state else ClockAdvanced(1, 1)
    with pytest.raises(UnknownFact):
        kind.evolve(state, second)


SANDBOXED: dict[str, Callable[[DecisionContext], Decision]] = {
    "the clock": lambda context: decisions.advance_clock(context, by_us=1),
    "an order sent to the simulated venue": lambda context: decisions.start_execution(
        context, firm=FIRM, order="ord_1", venue=SIMULATED
    ),
    "a report of the simulated venue": lambda context: decisions.take_report(
        context, firm=FIRM, report=REPORT
    ),
}


@pytest.mark.parametrize("what", SANDBOXED)
@pytest.mark.parametrize("state", [None, Declared("live", 7)])
def test_what_is_a_sandboxs_is_decided_in_no_other_journal(what: str, state: Declared | None) -> None:
    decision = SANDBOXED[what](DecisionContext(1, None))
    assert next(decision) == kind.STREAM
    with pytest.raises(Refused, match="exists in a sandbox only") as refused:
        decision.send(state)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("what", SANDBOXED)
def test_a_sandbox_decides_it(what: str) -> None:
    decision = SANDBOXED[what](DecisionContext(1, None))
    next(decision)
    asked: Any = decision.send(Declared("sandbox", 7))
    assert asked != kind.STREAM


def test_another_venue_is_nobodys_sandbox() -> None:
    decision = decisions.start_execution(
        DecisionContext(1, None), firm=FIRM, order="ord_1", venue="xlon"
    )
    assert next(decision) == "ord_1"
