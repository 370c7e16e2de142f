"""A new fact is forgotten nowhere: each has a branch, or is named here as one that says nothing there.

What mypy can hold it holds: `NEXT` and `STORED` are made of the facts of unions, and the folds end with
`assert_never`. These tests hold that the unions are whole, and what is chosen by tables.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
from msgspec.structs import replace

from engine.audit import audit_causes as causes
from engine.audit import audit_servicing
from engine.domain import (
    account,
    bookings,
    clock,
    corporate_action,
    halt,
    holdings,
    instrument,
    moves,
    order,
    payment,
    report,
    script,
    servicing,
    webhook,
)
from engine.domain.moves import MOVES
from engine.domain.stored import EVENTS, PARTS, STORED
from engine.domain.streams import FOLDS
from engine.history import history
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from projections.folds import PREFIXES
from projections.registry import VIEWS
from projections.view import View
from projections.views import balances, events
from tests.golden.samples import SAMPLES
from tests.support.checkers import invariants_life

Kinds = frozenset[type[Fact]]


def facts_of(prefix: str) -> Kinds:
    """The union that the fold of these streams takes."""
    union = get_type_hints(FOLDS[prefix].evolve)["fact"]
    return frozenset(get_args(union) or (union,))


ALL: Kinds = frozenset(STORED.values())
LIFE: tuple[ModuleType, ...] = (account, order, instrument, payment, report, webhook)
"""Aggregates with a table (status, fact) -> status."""

NO_EVENT: Kinds = frozenset(
    {
        account.AccountChanged, account.AccountClosing, account.OrderCounted,
        bookings.CashDeposited, bookings.CashWithdrawn, bookings.FundsReserved, bookings.FundsReleased,
        bookings.UnitsReserved, bookings.UnitsReleased, bookings.BuyBooked, bookings.SellBooked,
        bookings.BuySettled, bookings.SellSettled,
        order.CancelRequested, order.CancelRejected,
        payment.DepositOpened, payment.WithdrawalOpened,
        instrument.InstrumentListed, instrument.InstrumentChanged,
        report.ReportParked, report.ReportBooked, report.ReportRejected, report.BookingRequested,
        report.ReportApplied, bookings.BuyApplied, bookings.SellApplied,
        servicing.RolloverSet, servicing.RolloverReserved, servicing.RolloverReleased,
        servicing.RolloverBooked, servicing.RolloverPaid,
        bookings.BuyCorrected, bookings.SellCorrected, bookings.BuyBusted, bookings.SellBusted,
        order.RolloverFunded, order.ExpiryRequested, *get_args(corporate_action.ActionFact),
        *get_args(script.ScriptFact),
    }
)  # fmt: skip
"""Facts of which nobody is told. They change nothing that CONTRACT 6 names an event for."""

UNREAD: dict[str, Kinds] = {
    "accounts": frozenset({account.OrderCounted}),
    "balances": frozenset(
        {
            account.AccountSuspended, account.AccountActivated, account.AccountClosing,
            account.AccountClosed, account.OrderCounted, bookings.UnitsReserved,
            bookings.UnitsReleased, bookings.BuySettled, bookings.PositionOpened,
            bookings.PositionClosed, servicing.RolloverSet, servicing.RolloverReserved,
            servicing.RolloverReleased, servicing.RolloverBooked, servicing.RolloverSkipped,
        }
    ),
    "positions": (facts_of("acc") - moves.FACTS)
    | {bookings.CashDeposited, bookings.CashWithdrawn, bookings.FundsReserved, bookings.FundsReleased},
    "events": NO_EVENT - facts_of("ins") - facts_of("rep") - facts_of("scr"),
    "servicing": facts_of("acc")
    - {
        servicing.CouponPaid, servicing.DividendPaid, servicing.PositionMatured, servicing.PositionSplit
    },
    "rollovers": (facts_of("acc") - moves.FACTS)
    | {bookings.CashDeposited, bookings.CashWithdrawn, bookings.FundsReserved, bookings.FundsReleased},
    "actions": frozenset(
        {
            instrument.InstrumentListed, instrument.InstrumentChanged, corporate_action.ScheduleFollowed,
        }
    ),
}  # fmt: skip
"""View -> facts of its streams that leave its rows as they are."""


def test_every_stored_fact_is_in_the_union_of_one_fold() -> None:
    unions = [facts_of(prefix) for prefix in dict.fromkeys(FOLDS) if prefix != "wdr"]
    assert sum(map(len, unions)) == len(ALL)
    assert frozenset().union(*unions) == ALL


@pytest.mark.parametrize("prefix", FOLDS)
def test_every_fold_ends_with_assert_never(prefix: str) -> None:
    source = inspect.getsource(inspect.getmodule(FOLDS[prefix].evolve))  # type: ignore[arg-type]
    assert "assert_never(fact)" in source.rpartition("# --- evolve")[2]


@pytest.mark.parametrize("module", LIFE, ids=lambda module: module.__name__)
def test_every_transition_is_folded(module: Any) -> None:
    """At run time too: none ends in `assert_never`, and each leaves the status that the table says."""
    opened = {kind: fold for fold in FOLDS.values() for kind in facts_of(_prefix(fold.name))}
    samples = {type(fact): fact for fact in SAMPLES.values()}
    for (before, kind), after in module.NEXT.items():
        evolve = opened[kind].evolve
        state = None if before is None else replace(_begun(module, evolve, samples), status=before)
        assert after in {evolve(state, samples[kind]).status, None}, (before, kind)
    unknown = next(iter(ALL - facts_of(_prefix(opened[kind].name))))
    with pytest.raises(UnknownFact):
        evolve(state, samples[unknown])


def test_every_holding_is_folded() -> None:
    """Each fact of holdings changes them, on a position that is open."""
    samples: dict[type[Fact], Any] = {type(fact): fact for fact in SAMPLES.values()}
    opened = holdings.Holdings()
    for kind in (bookings.PositionOpened, bookings.BuyBooked, bookings.BuyBooked):
        opened = holdings.evolve(opened, samples[kind])
    for kind in moves.FACTS:
        if kind is not bookings.PositionOpened:
            fact: Any = samples[kind]
            assert holdings.evolve(opened, fact) != opened, kind


@pytest.mark.parametrize("kind", [clock.ClockAdvanced, order.Filled])
def test_a_fact_of_another_stream_is_refused(kind: type[Fact]) -> None:
    fact: Any = next(fact for fact in SAMPLES.values() if type(fact) is kind)
    for prefix in ("clk", "hlt", "acc", "ord", "dep", "ins", "rep", "whk"):
        if kind not in facts_of(prefix):
            with pytest.raises(UnknownFact):
                FOLDS[prefix].evolve(None, fact)


def test_tables_of_moves_are_whole() -> None:
    still = {bookings.PositionOpened, bookings.PositionClosed, servicing.RolloverSet}
    assert MOVES.keys() == moves.FACTS - still - {servicing.RolloverSkipped}
    assert history.OWNERS.keys() == causes.WORDS.keys() | audit_servicing.CAUSED == MOVES.keys()
    assert not causes.WORDS.keys() & audit_servicing.CAUSED
    assert causes.PAID.keys() == facts_of("dep") - {payment.DepositOpened, payment.DepositFailed}
    assert halt.NEXT.keys() == {
        (False, halt.TradingHalted), (True, halt.TradingHalted), (True, halt.TradingResumed)
    }  # fmt: skip


def test_what_leaves_or_enters_an_account_stands_in_its_ledger() -> None:
    """A line for each fact that changes the total of a balance."""
    own = {"settled", "unsettled", "reserved"}
    changing = {
        kind
        for kind, moves in MOVES.items()
        if any(m.asset == "cash" and len({m.source, m.target} & own) == 1 for m in moves)
    }
    assert balances.LINES.keys() == changing


def test_every_fact_of_the_views_has_an_event_or_none() -> None:
    known = frozenset().union(*map(facts_of, PREFIXES))
    untold = known - EVENTS.keys() - NO_EVENT
    assert not untold, f"neither in EVENTS (engine/domain/stored.py) nor in NO_EVENT (here): {untold}"
    assert EVENTS.keys() | NO_EVENT == known
    assert not EVENTS.keys() & NO_EVENT
    assert events.KINDS.keys() == EVENTS.keys()


def test_the_independent_checker_knows_every_transition_of_an_order() -> None:
    """A copy on purpose; a pair that it lacks would be called damage."""
    names = {kind: stored.split(".")[1] for stored, kind in STORED.items()}
    ours: dict[str, dict[str, str]] = {}
    for (before, kind), after in order.NEXT.items():
        ours.setdefault(before or "", {})[names[kind]] = after
    known = {before: after for before, after in invariants_life.NEXT["order"].items() if after}
    assert known == ours


def test_every_event_names_its_resource() -> None:
    """An event of a trade or a position has the id in its fact; each other is of its own stream."""
    for kind, event in EVENTS.items():
        resource = event.partition(".")[0]
        if resource in PARTS:
            assert resource in kind.__struct_fields__, kind
        else:
            stored = next(name for name, fact in STORED.items() if fact is kind)
            assert stored.partition(".")[0] == resource, kind


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_fact_of_a_view_changes_its_rows_or_is_named_here(view: View) -> None:
    known = frozenset().union(*map(facts_of, view.streams))
    unread = UNREAD.get(view.name, frozenset())
    assert view.reads | unread == known, view.reads ^ known
    assert not view.reads & unread


def _prefix(name: str) -> str:
    return next(prefix for prefix, fold in FOLDS.items() if fold.name == name)


def _begun(module: Any, evolve: Any, samples: dict[type[Fact], Fact]) -> Any:
    first = next(kind for before, kind in module.NEXT if before is None)
    return evolve(None, samples[first])
