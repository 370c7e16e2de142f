"""Lanes of calls to a venue: width, order, errors, and the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from engine.followers.lanes import Called, Lanes
from engine.kernel.errors import LeaseLost


class Venue:
    """Notes its calls and the threads they came from; `gate` holds them up."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.came = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def call(self, order: str) -> None:
        self.calls.append(order)
        self.threads.add(threading.get_ident())
        self.came.release()
        assert self.gate.wait(20)

    def results(self, lanes: Lanes, count: int) -> list[Called]:
        for _ in range(count):
            assert self.done.acquire(timeout=20)
        return lanes.take()


@pytest.fixture
def venue() -> Iterator[Venue]:
    venue = Venue()
    yield venue
    venue.gate.set()


def put(lanes: Lanes, venue: Venue, *orders: str) -> None:
    """Puts calls of orders named after their account, such as `a1`."""
    for order in orders:
        lanes.put(order, order[0], partial(venue.call, order))


def lanes_of(venue: Venue, width: int, may_call: Callable[[], bool] = lambda: True) -> Lanes:
    return Lanes(width, venue.done.release, may_call)


def test_one_lane_calls_at_once_in_the_callers_thread(venue: Venue) -> None:
    lanes = lanes_of(venue, 1)
    venue.gate.set()
    put(lanes, venue, "a1", "b1")
    assert venue.threads == {threading.get_ident()}
    assert lanes.take() == [Called("a1", None, None), Called("b1", None, None)]
    assert lanes.take() == []


def test_accounts_side_by_side_up_to_the_width_and_each_in_order(venue: Venue) -> None:
    lanes = lanes_of(venue, 2)
    put(lanes, venue, "a1", "a2", "b1", "c1", "a3")
    assert venue.came.acquire(timeout=20)
    assert venue.came.acquire(timeout=20)
    assert sorted(venue.calls) == ["a1", "b1"]
    assert all(order in lanes for order in ("a1", "a2", "c1"))
    venue.gate.set()
    assert {one.order for one in venue.results(lanes, 5)} == {"a1", "a2", "a3", "b1", "c1"}
    assert [order for order in venue.calls if order[0] == "a"] == ["a1", "a2", "a3"]
    assert len(venue.threads) == 2
    assert "a1" not in lanes


def test_an_error_is_the_orders_own(venue: Venue) -> None:
    lanes = lanes_of(venue, 2)
    venue.gate.set()
    lanes.put("a1", "a", partial({}.__getitem__, "what"))
    put(lanes, venue, "a2")
    first, second = venue.results(lanes, 2)
    assert (first.order, type(first.error)) == ("a1", KeyError)
    assert second == Called("a2", None, None)


def test_a_process_that_may_have_lost_its_lease_calls_no_more(venue: Venue) -> None:
    is_held = [True]
    lanes = lanes_of(venue, 2, lambda: is_held[0])
    put(lanes, venue, "a1", "a2")
    assert venue.came.acquire(timeout=20)
    is_held[0] = False
    venue.gate.set()
    first, second = venue.results(lanes, 2)
    assert (first.error, type(second.error)) == (None, LeaseLost)
    assert venue.calls == ["a1"]


def test_closed_lanes_start_no_call(venue: Venue) -> None:
    lanes = lanes_of(venue, 2)
    put(lanes, venue, "a1", "a2")
    assert venue.came.acquire(timeout=20)
    lanes.close()
    venue.gate.set()
    assert [one.order for one in venue.results(lanes, 1)] == ["a1"]
    assert venue.calls == ["a1"]


def test_they_are_full_in_the_end(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.followers.lanes.VENUE_CALLS_MAX", 2)
    lanes = lanes_of(venue, 2)
    put(lanes, venue, "a1")
    assert not lanes.is_full
    put(lanes, venue, "a2")
    assert lanes.is_full
    venue.gate.set()
    venue.results(lanes, 2)
    assert not lanes.is_full
