"""Made-up worlds with lives of instruments: processes crash and conflict, each action comes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import ROUND_CEILING

import pytest

from engine.domain import distribution, position
from tests.laws.simulation.run import Simulation

LIVES, TORTURE_LIVES, CHUNK = 40, 2_000, 20
SEARCHED = 60
"""Worlds in which a broken build is looked for."""

Patch = pytest.MonkeyPatch


def run(seeds: range) -> Counter[str]:
    """The facts of all these worlds, by kind."""
    kinds: Counter[str] = Counter()
    for seed in seeds:
        simulation = Simulation(seed, has_lives=True)
        try:
            simulation.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        kinds += Counter(type(recorded.fact).__name__ for recorded in simulation.facts)
    return kinds


REACHED = (
    "ActionStarted", "CouponPaid", "DividendPaid", "PositionMatured", "PositionSplit",
    "RolloverReserved", "RolloverBooked", "RolloverPaid", "RolloverSkipped",
)  # fmt: skip


def test_every_action_comes_once_as_the_model_says() -> None:
    kinds = run(range(LIVES))
    assert min(kinds[name] for name in REACHED) > 0, kinds


@pytest.mark.torture
@pytest.mark.parametrize("first", range(LIVES, TORTURE_LIVES, 5 * CHUNK))
def test_many_worlds(first: int) -> None:
    run(range(first, min(first + 5 * CHUNK, TORTURE_LIVES)))


def income_is_paid_again(patch: Patch) -> None:
    patch.setattr(position, "_applied", lambda held, _: held.applied)


def income_is_rounded_up(patch: Patch) -> None:
    patch.setattr(distribution, "ROUND_FLOOR", ROUND_CEILING)


@pytest.mark.parametrize("broken", [income_is_paid_again, income_is_rounded_up])
def test_a_broken_rule_is_found(broken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        run(range(SEARCHED))
