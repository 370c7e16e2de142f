"""Calls to one venue: beside the follower and many at once where the venue allows it.

Each order has one call at a time, and the calls for one account are made in the order they were put. A
slow venue delays its own orders only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from engine.domain.report import Report
from engine.kernel.errors import LeaseLost
from engine.kernel.limits import VENUE_CALLS_MAX

Work = Callable[[], Sequence[Report] | None]
"""One call. It returns all reports of its order, or None if it did not ask for them."""


class Called(NamedTuple):
    """The result of an order's call: reports, or the error; with neither, the order was sent."""

    order: str
    reports: Sequence[Report] | None
    error: Exception | None


class Lanes:
    """Calls to one venue, at most `width` at once; with a width of 1 by `put` itself, in its thread.

    `on_called` is called in any thread when there is something to `take`; `may_call` before each call,
    which fails with LeaseLost if it says no. Only `put` and `take` are for the follower's thread; an
    order with a call under way is `in` the lanes.
    """

    def __init__(
        self, width: int, on_called: Callable[[], None], may_call: Callable[[], bool] = lambda: True
    ) -> None:
        self._width = width
        self._may_call = may_call
        self._on_called = on_called
        self._under_way: set[str] = set()
        self._called: deque[Called] = deque()
        self._waiting: dict[str, deque[tuple[str, Work]]] = {}  # account -> its calls, in order
        self._turn = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._is_closed = False

    def __contains__(self, order: str) -> bool:
        return order in self._under_way

    @property
    def is_full(self) -> bool:
        """Whether so many calls wait that no more should be put."""
        return len(self._under_way) >= VENUE_CALLS_MAX

    def put(self, order: str, account: str, work: Work) -> None:
        """Makes a call for an order that has none under way."""
        assert order not in self._under_way
        if self._width == 1:
            self._called.append(_call(order, work))
            return
        self._under_way.add(order)
        with self._turn:
            lane = self._waiting.get(account)
            if lane is not None:
                lane.append((order, work))
                return
            self._waiting[account] = deque([(order, work)])
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._width, thread_name_prefix="venue")
        self._threads.submit(partial(self._run, account))

    def take(self) -> list[Called]:
        """The results since the last time."""
        taken = []
        while self._called:
            one = self._called.popleft()
            self._under_way.discard(one.order)
            taken.append(one)
        return taken

    def close(self) -> None:
        """Starts no further call. One under way may still reach the venue: its outcome is unknown."""
        self._is_closed = True
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, account: str) -> None:
        """Makes an account's calls one after the other."""
        while not self._is_closed:
            with self._turn:
                lane = self._waiting[account]
                if not lane:
                    del self._waiting[account]
                    return
                order, work = lane.popleft()
            self._called.append(_call(order, work if self._may_call() else _refuse))
            self._on_called()


def _refuse() -> None:
    raise LeaseLost("this process has been silent: another one may send orders by now")


def _call(order: str, work: Work) -> Called:
    try:
        return Called(order, work(), None)
    except Exception as error:  # noqa: BLE001  whatever an adapter raises, the outcome is unknown
        return Called(order, None, error)
