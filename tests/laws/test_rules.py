"""Laws that random runs of the rules must keep. A failure prints the steps that led to it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain import servicing
from engine.domain.corporate_action import ActionFact
from engine.domain.moves import MOVES
from engine.domain.script import ScriptFact
from engine.domain.stored import STORED
from engine.kernel.fact import Fact
from tests.laws.limit_runs import LimitRun
from tests.laws.runs import Run, with_steps

FEW, FEW_LONG, MANY = 250, 75, 2_000
"""Runs of few and of many steps in `make test`, and of either under `make torture`: others each time.

Mutants are caught by 120 runs that are always the same (see test_mutants.py).
"""
LAW = settings(
    max_examples=FEW,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**40)
SHORT, LONG = 25, 100


@LAW
@given(SEEDS)
def test_what_was_decided_evolves_keeps_the_invariants_and_folds_from_stored_bytes(seed: int) -> None:
    keep_three_laws(seed)


@pytest.mark.torture
@settings(LAW, max_examples=MANY)
@given(SEEDS)
def test_the_same_three_laws_hold_in_two_thousand_runs(seed: int) -> None:
    keep_three_laws(seed)


def keep_three_laws(seed: int) -> None:
    """Three laws over the same run."""
    with with_steps(Run(seed)) as run:
        run.go(SHORT)  # the world checks I3-I6 after every single fact
        run.world.check_conservation()
        run.model.check()
        assert run.world.states == run.world.stored
        for state in run.world.states.values():
            assert restored(state) == state


@LAW
@given(SEEDS)
def test_doing_it_twice_decides_nothing(seed: int) -> None:
    do_it_twice(seed)


@pytest.mark.torture
@settings(LAW, max_examples=MANY)
@given(SEEDS)
def test_doing_it_twice_decides_nothing_in_two_thousand_runs(seed: int) -> None:
    do_it_twice(seed)


def do_it_twice(seed: int) -> None:
    with with_steps(Run(seed, twice=True)) as run:
        run.go(SHORT)


def restored(state: Any) -> Any:
    """A state by way of a snapshot: plain values, then back by its type."""
    plain = msgspec.to_builtins(state, builtin_types=(Decimal, date, bytes))
    return msgspec.convert(plain, type(state), builtin_types=(Decimal, date, bytes))


@settings(LAW, max_examples=FEW_LONG)
@given(SEEDS)
def test_the_integer_model_agrees_after_a_hundred_steps(seed: int) -> None:
    agree_with_the_model(seed)


@pytest.mark.torture
@settings(LAW, max_examples=MANY)
@given(SEEDS)
def test_the_integer_model_agrees_in_two_thousand_runs(seed: int) -> None:
    agree_with_the_model(seed)


def agree_with_the_model(seed: int) -> None:
    with with_steps(Run(seed)) as run:
        run.go(LONG)
        run.agree()


@settings(LAW, max_examples=FEW_LONG)
@given(SEEDS)
def test_the_integer_model_agrees_about_busts_limits_and_reports_booked_by_hand(seed: int) -> None:
    agree_about_busts(seed)


@pytest.mark.torture
@settings(LAW, max_examples=MANY)
@given(SEEDS)
def test_the_integer_model_agrees_about_busts_in_two_thousand_runs(seed: int) -> None:
    agree_about_busts(seed)


def agree_about_busts(seed: int) -> None:
    with with_steps(LimitRun(seed, twice=True)) as run:
        run.go(LONG)
        run.agree()


def test_random_runs_reach_every_fact_of_orders_and_holdings() -> None:
    """The laws prove little of what the runs never do."""
    seen: set[type[Fact]] = set()
    for seed in range(150):
        run = LimitRun(seed)
        run.go(LONG)
        seen |= {type(fact) for _, _, fact in run.world.facts}
    names = {kind.__name__ for kind in seen}
    never = {"AccountClosing", "AccountClosed", "ReportBooked", "ReportRejected", "ClockAdvanced"}
    never |= {"TradingHalted", "TradingResumed", "OrderCounted", "KindDeclared"}
    never |= {kind.__name__ for kind in (*get_args(ActionFact), *get_args(ScriptFact))}
    never |= {kind.__name__ for kind in MOVES if kind.__module__ == servicing.__name__}
    never |= {"RolloverSet", "RolloverSkipped", "RolloverFunded"}
    ours = {kind.__name__ for name, kind in STORED.items() if not name.startswith("webhook.")}
    assert ours - names == never
