"""The kill switch: trading halted and resumed, for one tenant or for the whole engine.

Each tenant that was ever halted has a stream, and so has the engine. Placing checks both; accepted
orders are still executed, cancelled and settled. A halt that also stops execution is checked before an
order is sent: waiting orders wait on, orders at a venue continue.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact, from_us
from engine.kernel.reasons import check_reason
from engine.kernel.refusals import refused

ENGINE: Final = "hlt_engine"
"""The stream of the whole engine; no tenant has this name."""


def stream_of(tenant: str | None) -> str:
    """The stream of a tenant, or of the whole engine (None)."""
    return ENGINE if tenant is None else f"hlt_tenant_{tenant}"


# --- facts ---------------------------------------------------------------------------------------


class TradingHalted(Fact, frozen=True, array_like=True, gc=False):
    """New orders are refused from now on. `reason`: an operator's words, without personal data.

    With `stops_execution` orders are not sent to venues either.
    """

    reason: str
    at_us: int
    stops_execution: bool = False


class TradingResumed(Fact, frozen=True, array_like=True, gc=False):
    """New orders are accepted again."""

    reason: str
    at_us: int


HaltFact = TradingHalted | TradingResumed

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 2
"""Number of the state's shape: see `streams`."""


class Halt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whether trading is halted, the reason, since when; whether execution is stopped too."""

    is_halted: bool
    reason: str
    since_us: int
    stops_execution: bool = False


NEXT: Final[dict[tuple[bool, type[HaltFact]], bool]] = {
    (False, TradingHalted): True,
    (True, TradingResumed): False,
    (True, TradingHalted): True,
}
"""(is halted, fact) -> is halted. A halt may be repeated to stop execution as well."""

# --- decisions -----------------------------------------------------------------------------------


def halt(state: Halt | None, reason: str, *, stops_execution: bool = False, at_us: int) -> list[Fact]:
    """Halts trading, and execution if requested, once. Raises Refused `invalid_param` for a missing or
    too long reason.
    """
    check_reason(reason)
    if state and state.is_halted and (state.stops_execution or not stops_execution):
        return []
    return [TradingHalted(reason, at_us, stops_execution)]


def resume(state: Halt | None, reason: str, *, at_us: int) -> list[Fact]:
    """Resumes trading, if halted. Raises Refused as `halt` does."""
    check_reason(reason)
    return [TradingResumed(reason, at_us)] if state and state.is_halted else []


def check(engine: Halt | None, tenant: Halt | None) -> None:
    """Raises Refused `trading_halted` if either is halted. Clients do not see the reason."""
    for of, state in (("engine", engine), ("tenant", tenant)):
        if state is not None and state.is_halted:
            raise refused("trading_halted", halted=of, since=from_us(state.since_us))


def is_halted(engine: Halt | None, tenant: Halt | None) -> bool:
    """Whether no order of a tenant may be placed."""
    return any(state is not None and state.is_halted for state in (engine, tenant))


def stops_execution(engine: Halt | None, tenant: Halt | None) -> bool:
    """Whether no order of a tenant may be sent to a venue."""
    return any(state is not None and state.stops_execution for state in (engine, tenant))


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Halt | None, fact: HaltFact) -> Halt:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    is_halted = NEXT.get((state is not None and state.is_halted, type(fact)))
    if is_halted is None:
        raise UnknownFact(f"{type(fact).__name__} cannot follow on {state}")
    match fact:
        case TradingHalted(stops_execution=stops):
            if state is not None and state.is_halted and (state.stops_execution or not stops):
                raise UnknownFact(f"it is halted already: {state}")
            return Halt(is_halted, fact.reason, fact.at_us, stops)
        case TradingResumed():
            return Halt(is_halted, fact.reason, fact.at_us)
        case _:
            assert_never(fact)
