"""Fork safety: locks held by threads that the child lacks, connections that belong to the parent.

An owner of such resources registers once, by `register_forkable(self)`. Children that exec are not
affected.
"""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """An owner of locks or connections."""

    def before_fork(self) -> None:
        """Runs in the parent just before the fork; other threads continue meanwhile."""

    def after_fork(self) -> None:
        """Runs in the child, in its only thread. Must neither block nor touch a connection."""


_forkables: WeakSet[Any] = WeakSet()


def register_forkable(forkable: Forkable) -> None:
    """Notifies `forkable` of every fork as long as it lives."""
    _forkables.add(forkable)


def _before() -> None:
    for forkable in list(_forkables):
        forkable.before_fork()


def _after() -> None:
    for forkable in list(_forkables):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_child=_after)
