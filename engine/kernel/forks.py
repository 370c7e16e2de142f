"""What must not cross a fork: locks that nobody will release, connections that are the parent's.

A thing that holds such says so once, by `register_forkable(self)`. Children that exec are not concerned.
"""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """What can be told about forks."""

    def before_fork(self) -> None:
        """In the parent, just before; other threads go on meanwhile."""

    def after_fork(self) -> None:
        """In the child, whose only thread this is. May neither wait nor touch a connection."""


_forkables: WeakSet[Any] = WeakSet()


def register_forkable(forkable: Forkable) -> None:
    """Has `thing` told of every fork as long as it lives."""
    _forkables.add(forkable)


def _before() -> None:
    for forkable in list(_forkables):
        forkable.before_fork()


def _after() -> None:
    for forkable in list(_forkables):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_child=_after)
