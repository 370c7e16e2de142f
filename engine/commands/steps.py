"""Requests of a command's handling to its driver: blocking calls, and waits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from engine.commands.command import Outcome


class Call(NamedTuple):
    """Blocking work. The driver sends back its result, or throws in its error."""

    work: Callable[[], Any]


class Awaited:
    """Something that commands wait for: an append, or a catch-up. `waiters` are called once."""

    __slots__ = ("is_settled", "waiters")

    def __init__(self) -> None:
        self.is_settled = False
        self.waiters: list[Callable[[], None]] = []

    def settle(self) -> None:
        """Wakes the waiters."""
        self.is_settled = True
        waiters, self.waiters = self.waiters, []
        for resume in waiters:
            resume()


class Wait(NamedTuple):
    """The command continues once all of these are settled."""

    pending: Sequence[Awaited]


Steps = Generator[Call | Wait, Any, Outcome]


def wait_for(pending: Sequence[Awaited], resume: Callable[[], None]) -> bool:
    """Has `resume` called once all are settled; False if they are already, and it will not be."""
    open_ones = [one for one in pending if not one.is_settled]
    if len(open_ones) == 1:
        open_ones[0].waiters.append(resume)
        return True
    left = len(open_ones)

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            resume()

    for one in open_ones:
        one.waiters.append(count_down)
    return bool(open_ones)
