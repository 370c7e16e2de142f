"""The business clock: wall time plus the sandbox's advance. One stream for the whole engine.

It drives business dates, settlement, maturity and expiry. Price age, tokens, keys and the times of facts
use wall time.
"""

from __future__ import annotations

from datetime import date
from typing import Final, assert_never

import msgspec

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact, day_of
from engine.kernel.limits import CLOCK_AHEAD_MAX_US, CLOCK_STEP_MAX_US
from engine.kernel.refusals import invalid

STREAM: Final = "clk_engine"

# --- facts ---------------------------------------------------------------------------------------


class ClockAdvanced(Fact, frozen=True):
    """Business time moved `by_us` microseconds further ahead of wall time, for good."""

    by_us: int
    at_us: int


ClockFact = ClockAdvanced
FACTS: Final[frozenset[type[ClockFact]]] = frozenset({ClockAdvanced})

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class Clock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`ahead_us`: business time minus wall time, microseconds."""

    ahead_us: int
    modified_at_us: int


def business_time_us(state: Clock | None, at_us: int) -> int:
    """Business time at a wall time, microseconds since the epoch."""
    return at_us + (state.ahead_us if state else 0)


def business_date(state: Clock | None, at_us: int) -> date:
    """The business day at a wall time, in UTC."""
    return day_of(business_time_us(state, at_us))


# --- decisions -----------------------------------------------------------------------------------


def advance(state: Clock | None, by_us: int, *, at_us: int) -> list[Fact]:
    """Moves business time forward. Raises Refused `invalid_param` for backward or too far."""
    if not 0 < by_us <= CLOCK_STEP_MAX_US:
        raise invalid("advance", "invalid_value", "must be more than nothing and at most 366 days")
    if (state.ahead_us if state else 0) + by_us > CLOCK_AHEAD_MAX_US:
        raise invalid(
            "advance", "invalid_value", "must leave business time at most 100 years ahead of wall time"
        )
    return [ClockAdvanced(by_us, at_us)]


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Clock | None, fact: ClockFact) -> Clock:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    if type(fact) not in FACTS:
        raise UnknownFact(f"the clock has no {type(fact).__name__}")
    match fact:
        case ClockAdvanced():
            return Clock((state.ahead_us if state else 0) + fact.by_us, fact.at_us)
        case _:
            assert_never(fact)
