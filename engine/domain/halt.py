"""The kill switch: trading halted and resumed, for one tenant or for the whole engine.

A stream for each tenant that was ever halted, and one for the engine. Placing looks at both; what was
accepted before goes on: orders are executed, cancelled and settled as ever. A halt that stops execution
too is looked at before an order is sent: what waits goes on waiting, what a venue has goes on there.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact, from_us
from engine.kernel.reasons import check_reason
from engine.kernel.refusals import refused

ENGINE: Final = "hlt_engine"
"""The stream of the whole engine; no tenant's is named like it."""


def stream_of(tenant: str | None) -> str:
    """The stream of a tenant, or of the whole engine (None)."""
    return ENGINE if tenant is None else f"hlt_tenant_{tenant}"


# --- facts ---------------------------------------------------------------------------------------


class TradingHalted(Fact, frozen=True, array_like=True, gc=False):
    """New orders are refused from now on. `reason`: an operator's words, about no person.

    With `stops_execution` no order is sent to a venue either.
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
    """Whether trading is halted; why, and since when that is so; whether nothing is sent either."""

    is_halted: bool
    reason: str
    since_us: int
    stops_execution: bool = False


NEXT: Final[dict[tuple[bool, type[HaltFact]], bool]] = {
    (False, TradingHalted): True,
    (True, TradingResumed): False,
    (True, TradingHalted): True,
}
"""(is halted, fact) -> is halted. What is halted may be halted once more to stop execution as well."""

# --- decisions -----------------------------------------------------------------------------------


def halt(state: Halt | None, reason: str, *, stops_execution: bool = False, at_us: int) -> list[Fact]:
    """Halts trading, and execution if wanted, once. Raises Refused `invalid_param` for no reason, or
    one too long."""
    check_reason(reason)
    if state and state.is_halted and (state.stops_execution or not stops_execution):
        return []
    return [TradingHalted(reason, at_us, stops_execution)]


def resume(state: Halt | None, reason: str, *, at_us: int) -> list[Fact]:
    """Lets trading go on, if it is halted. Raises Refused as `halt` does."""
    check_reason(reason)
    return [TradingResumed(reason, at_us)] if state and state.is_halted else []


def check(engine: Halt | None, tenant: Halt | None) -> None:
    """Raises Refused `trading_halted` if one of them is. The reason is not the client's to know."""
    for of, state in (("engine", engine), ("tenant", tenant)):
        if state is not None and state.is_halted:
            raise refused("trading_halted", halted=of, since=from_us(state.since_us))


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
