"""Waking one thread, or an event loop, from another thread: once for all that has come meanwhile.

A wake-up carries no message: the woken side looks for work, and sees all that was there before the ring.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class ThreadWakeup:
    """Wakes one thread that waits. Several rings before it looks are one. Cheaper than a Condition."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._is_ringing = False

    def ring(self) -> None:
        """For one thread at a time."""
        if not self._is_ringing:
            self._is_ringing = True
            self._lock.release()

    def wait(self, timeout_s: float = -1) -> bool:
        """Whether it rang within `timeout_s` seconds; a negative one is no limit."""
        has_rung = self._lock.acquire(timeout=timeout_s)
        if has_rung:  # else a ring of this moment stands for the next wait
            self._is_ringing = False
        return has_rung


class LoopWakeup:
    """Has an event loop call `answer`, once for all rings before that. A closed loop ignores them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[], None]) -> None:
        self._loop = loop
        self._answer = answer
        self._is_ringing = False

    def ring(self) -> None:
        """For any thread."""
        if not self._is_ringing:
            self._is_ringing = True
            with suppress(RuntimeError):  # the loop is closed: its callers are gone
                self._loop.call_soon_threadsafe(self._come)

    def _come(self) -> None:
        self._is_ringing = False
        self._answer()
