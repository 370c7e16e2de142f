"""Random lives of instruments: the integer model agrees with the rules, and finds what is broken."""

from __future__ import annotations

import pytest

from tests.laws.lives import Life
from tests.laws.market_runs import MarketLife
from tests.laws.runs import with_steps
from tests.laws.test_audit import audited
from tests.support.checkers.invariants import judge
from tests.support.models.stored_rows import sealed, written

LIVES, MANY, CHUNK, STEPS = 100, 1_000, 25, 200
"""Lives in `make test`, and under `make torture`; each a seed."""


CLOSED_BEFORE_THE_SPLIT = (243, 444)
"""Lives in which a position is closed when a split of its last trades' days comes to it."""


def agree(seeds: range, *, twice: bool = False) -> None:
    for seed in seeds:
        with with_steps(Life(seed, twice=twice)) as life:
            life.go(STEPS)  # the world checks I3-I6 after every single fact
            life.agree()


@pytest.mark.parametrize("first", range(0, LIVES, CHUNK))
def test_the_integer_model_agrees_after_two_hundred_steps(first: int) -> None:
    agree(range(first, first + CHUNK))


@pytest.mark.torture
@pytest.mark.parametrize("first", range(LIVES, MANY, 9 * CHUNK))
def test_the_integer_model_agrees_in_a_thousand_lives(first: int) -> None:
    agree(range(first, min(first + 9 * CHUNK, MANY)))


def test_money_and_units_are_conserved_at_every_step() -> None:
    for seed in range(10):
        with with_steps(Life(seed)) as life:
            for _ in range(STEPS):
                life.go(1)
                life.agree()


def test_what_came_to_an_account_comes_once() -> None:
    agree(range(2 * LIVES, 2 * LIVES + CHUNK), twice=True)


def test_neither_the_audit_nor_the_independent_checker_accuses_a_life() -> None:
    for seed in (*range(10), *CLOSED_BEFORE_THE_SPLIT):
        life = Life(seed)
        life.go(STEPS)
        facts = list(written(life.world))
        assert audited(facts).findings == [], f"seed {seed}"
        assert judge(sealed(facts)).problems == [], f"seed {seed}"


def test_the_integer_model_agrees_about_lives_in_which_trades_are_busted() -> None:
    for seed in range(CHUNK):
        with with_steps(MarketLife(seed, twice=True)) as life:
            life.go(STEPS)
            life.agree()


REACHED = {
    "ActionAnnounced", "ActionStarted", "CouponPaid", "DividendPaid", "PositionMatured", "PositionSplit",
    "RolloverSet", "RolloverReserved", "RolloverReleased", "RolloverBooked", "RolloverPaid",
    "RolloverSkipped", "RolloverFunded", "PositionClosed",
}  # fmt: skip
WAITED = ("pay", "split", "redeem")


def test_random_lives_reach_every_fact_of_an_instruments_life() -> None:
    """The laws prove little of what the lives never do."""
    seen: set[str] = set()
    waited: set[str] = set()
    for seed in range(40):
        life = Life(seed)
        life.go(STEPS)
        seen |= {type(fact).__name__ for _, _, fact in life.world.facts}
        waited |= {step.split()[0] for step in life.steps if step.endswith("-> waits")}
    assert seen >= REACHED
    assert waited >= set(WAITED)
