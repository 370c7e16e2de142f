"""Whether a journal is live or a sandbox: one fact, for ever. One stream for the whole engine.

All sandbox-only features check it: the simulated venue, the movable clock, generated clients, payments
completed by the client that created them.
"""

from __future__ import annotations

from typing import Final, Literal, assert_never, get_args

import msgspec

from engine.kernel.errors import UnknownFact, WrongKind
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused

JournalKind = Literal["live", "sandbox"]
KINDS: Final[tuple[JournalKind, ...]] = get_args(JournalKind)
STREAM: Final = "knd_engine"
SIMULATED: Final = "simulated"
"""Name of the simulated venue, which exists in sandboxes only."""

# --- facts ---------------------------------------------------------------------------------------


class KindDeclared(Fact, frozen=True, array_like=True, gc=False):
    """The kind of the journal was declared, for good."""

    kind: JournalKind
    at_us: int


KindFact = KindDeclared
FACTS: Final = frozenset({KindDeclared})

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class Declared(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The kind of the journal, and since when it is known."""

    kind: JournalKind
    since_us: int


# --- decisions -----------------------------------------------------------------------------------


def declare(state: Declared | None, kind: JournalKind, *, at_us: int) -> list[Fact]:
    """Declares the kind, once. Raises WrongKind for a journal of the other."""
    if state is None:
        return [KindDeclared(kind, at_us)]
    if state.kind != kind:
        raise WrongKind(f"this journal is {WORDS[state.kind]} for ever, and cannot be {WORDS[kind]}")
    return []


WORDS: Final[dict[JournalKind, str]] = {"live": "live", "sandbox": "a sandbox"}


def check_sandbox(state: Declared | None, what: str) -> None:
    """Raises Refused `not_found` outside a sandbox, where `what` does not exist."""
    if state is None or state.kind != "sandbox":
        raise refused("not_found", f"{what} exists in a sandbox only.")


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Declared | None, fact: KindFact) -> Declared:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    if state is not None or type(fact) not in FACTS:
        raise UnknownFact(f"{type(fact).__name__} cannot follow on {state}")
    match fact:
        case KindDeclared():
            return Declared(fact.kind, fact.at_us)
        case _:
            assert_never(fact)
