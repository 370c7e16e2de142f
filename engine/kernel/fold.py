"""Folds: how a stream of facts becomes a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from engine.kernel.fingerprint import fingerprint

S = TypeVar("S", bound=msgspec.Struct)


class Fold(NamedTuple, Generic[S]):
    """The fold of one kind of stream: `evolve` receives None before the first fact.

    It handles the facts of its own streams, a union with a branch for each (`assert_never`), and raises
    UnknownFact for any other. `shape` is raised when the state's fields or their meaning change, and
    makes older snapshots void (tests/golden/shapes.txt). Streams that stay short have no snapshots.
    """

    name: str
    shape: int
    kind: type[S]
    evolve: Callable[[S | None, Any], S]
    is_long: bool = True

    @property
    def stored_name(self) -> str:
        """Name of its snapshots. It includes the state's shape, so those of another shape are never
        read.
        """
        return f"{self.name}@{self.shape}.{fingerprint(self.kind)}"


class Loaded(NamedTuple, Generic[S]):
    """A folded state, its version, and the time of the last fact; None, 0, 0 before the first."""

    state: S | None = None
    version: int = 0
    at_us: int = 0
