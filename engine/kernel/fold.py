"""Folds: how a stream of facts becomes a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from engine.kernel.fingerprint import fingerprint

S = TypeVar("S", bound=msgspec.Struct)


class Fold(NamedTuple, Generic[S]):
    """How a stream becomes a state: `evolve` is given None before the first fact.

    It takes the facts of its own streams, a union with a branch for each (`assert_never`), and raises
    UnknownFact for any other.
    `shape` is raised when the state's fields or their meaning change, and makes older snapshots void
    (tests/golden/shapes.txt). A stream that is never long has none, and is not asked for one.
    """

    name: str
    shape: int
    kind: type[S]
    evolve: Callable[[S | None, Any], S]
    is_long: bool = True

    @property
    def stored_name(self) -> str:
        """Name of its snapshots. With the state's make in it, none of another make is ever read."""
        return f"{self.name}@{self.shape}.{fingerprint(self.kind)}"


class Loaded(NamedTuple, Generic[S]):
    """A folded state, the version it stands at, and that fact's time; None, 0, 0 before the first."""

    state: S | None = None
    version: int = 0
    at_us: int = 0
