"""The execution dies at each named point of a script, also after the order's end: nothing is lost or
repeated.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions, scripts
from engine.commands.desk import Desk
from engine.commands.scripts import NewScript
from engine.domain.clock import ClockAdvanced
from engine.domain.order import ExecutionStarted, Filled, TradeBusted, TradeRecorded
from engine.domain.report import ReportParked
from engine.domain.script import ScriptPlayed, ScriptTaken, Step
from engine.venues.simulated import SimulatedVenue
from order_engine.prompting import JournalPrompter
from tests.crash.dying import Points, die_at_each, set_trap, unrecorded, untold
from tests.crash.points import before_checkpoint
from tests.support.checkers import invariants
from tests.support.engines.lives import DAY_US, Life, open_life
from tests.support.engines.prepared import views_beside

STEPS = (
    Step("trade", percent=Decimal(40)),
    Step("duplicate", of=1),
    Step("trade", price_change=Decimal(-1)),
    Step("ended"),
    Step("trade", quantity=Decimal("0.01")),
    Step("bust", of=1, after_us=3 * DAY_US),
)
POINTS: Points = {
    "taken, not recorded": (1, unrecorded("start_execution")),
    "taken, the venue has not heard of it": (1, untold("start_execution")),
    "executed, not recorded": (1, unrecorded("take_after")),
    "executed, not known": (1, untold("take_after")),
    "late fill not parked": (1, unrecorded("take_after")),
    "late fill parked, not known": (1, untold("take_after")),
    "not shown": (1, before_checkpoint),
    "bust not recorded": (1, unrecorded("take_after")),
    "bust recorded, not known": (1, untold("take_after")),
    "played, not recorded": (1, unrecorded("end_script")),
    "played, not known": (1, untold("end_script")),
}
ESSENTIAL = (
    "taken, the venue has not heard of it",
    "late fill parked, not known",
    "bust not recorded",
    "played, not recorded",
)
"""Points on PostgreSQL: what follows does not depend on the database."""


def perform(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """The life of a process that executes until the script is played; days pass once the order is over.

    Its working sets come from the journal, so only the view of scripts has to be shown.
    """
    set_trap(POINTS, point, marker)
    with open_life(journal_url, views_url) as life:
        works = life.works
        prompter = JournalPrompter(Desk(works.journal, now_us=works.now_us), life.views)
        life.execution = works.execution(SimulatedVenue(works.now_us, prompter=prompter))
        for _ in range(60):
            life.runner.catch_up()
            life.execution.turn()
            works.clock.now_s += 1
            if life.facts(Filled) and life.facts(ReportParked) and not life.facts(ClockAdvanced):
                life.shop.do(decisions.advance_clock, by_us=3 * DAY_US)
            if life.facts(ScriptPlayed):
                break
        life.execution.end()


def prepared(life: Life) -> str:
    account = life.shop.open()
    new = [NewScript("scr_1", ("account", account), STEPS)]
    life.shop.do(scripts.write_scripts, new=new, by="cli_test")
    life.order(account, "buy", "100.00")
    life.stop()
    return account


def test_a_script_is_played_once_wherever_it_died(journal_url: str, tmp_path: Path) -> None:
    views_url = views_beside(journal_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        prepared(life)
    is_sqlite = journal_url.startswith("sqlite")
    points = POINTS if is_sqlite else {name: POINTS[name] for name in ESSENTIAL}
    die_at_each(perform, points, journal_url, views_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        for once in (ExecutionStarted, ScriptTaken, ScriptPlayed, TradeBusted, Filled):
            assert len(life.facts(once)) == 1, once
        assert [str(one.quantity) for one in life.facts(TradeRecorded)] == ["0.39", "0.60"]
        assert [one.fault for one in life.facts(ReportParked)] == ["late"]
        assert audit(life.works.journal.datastore, AuditOptions()).findings == []
    assert invariants.check(journal_url) == []
