"""The tables of freshness: every pair is decided, and the caches do what the tables say."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, get_args

import pytest

from engine.commands import entries
from engine.commands.command import Command
from engine.commands.entries import Cache, Entry, Pending, Reads, State
from engine.commands.freshness import ACTIONS, EVENTS, STATUSES, TRUST, Action, Event, Status, Trust
from engine.commands.reference_cache import ReferenceCache
from engine.commands.state_cache import StateCache
from engine.domain.clock import ClockAdvanced
from engine.domain.halt import TradingResumed
from engine.domain.payment import DepositOpened
from engine.kernel.fact import Envelope, Fact, Recorded
from engine.kernel.fold import Loaded
from engine.kernel.limits import CONTESTED_FOR, REFERENCE_FRESH_S, REFERENCE_STALE_S

KNOWN = 5
"""Version of the cached stream before each event."""
ENVELOPE = Envelope(1)
COMMAND = Command(lambda _: iter(()), None, "x")  # type: ignore[arg-type, return-value]
CACHES: dict[str, Callable[[], Cache[Any]]] = {
    "clk_1": lambda: ReferenceCache(lambda: 0.0),
    "dep_1": StateCache,
}
"""A stream of each cache."""
FIRST_FACTS: dict[str, Fact] = {
    "clk_1": ClockAdvanced(1, 1),
    "dep_1": DepositOpened("dep_1", "acc_1", "USD", Decimal(1), None, 1),
}


def at(version: int) -> State:
    return Loaded(None, version, 1)


def pending() -> Pending:
    return Pending(COMMAND, ENVELOPE, {})


def status_of(entry: Entry | None) -> Status:
    return entry.status if entry else "absent"


class Stream:
    """A cache with one stream at version KNOWN, brought into a status by events."""

    def __init__(self, name: str, status: Status, *, is_new: bool = False) -> None:
        self.name = name
        self.cache = CACHES[name]()
        self.pending = pending()
        if status == "absent":
            return
        is_ahead = status in ("ahead", "overtaken")
        if not is_new:
            self.cache.learn(name, at(KNOWN - is_ahead), 0.0)
        if is_ahead:
            self.cache.submit(name, self.pending, at(KNOWN))
        if status in ("overtaken", "stale"):
            self.follow(KNOWN + 2)
        assert self.status == status

    @property
    def status(self) -> Status:
        return status_of(self.cache.get(self.name))

    def learn(self, version: int) -> None:
        self.cache.learn(self.name, at(version), 0.0)

    def follow(self, version: int, fact: Fact | None = None) -> None:
        known = fact or FIRST_FACTS[self.name]
        self.cache.follow(Recorded(known, self.name, version, version, ENVELOPE))

    def record(self) -> None:
        if entry := self.cache.get(self.name):
            entry.record(self.pending if entry.tip else pending(), at(KNOWN))

    def fail(self) -> None:
        if entry := self.cache.get(self.name):
            self.cache.fail(self.name, entry)


HAPPENS: dict[str, Callable[[Stream], object]] = {
    "read, newer": lambda on: on.learn(KNOWN + 9),
    "read, same": lambda on: on.learn(KNOWN),
    "read, older": lambda on: on.learn(KNOWN - 2),
    "submitted": lambda on: on.cache.submit(on.name, pending(), at(KNOWN + 1)),
    "recorded": Stream.record,
    "failed": Stream.fail,
    "failed, first": Stream.fail,
    "fact, next": lambda on: on.follow(KNOWN + 1),
    "fact, later": lambda on: on.follow(KNOWN + 3),
    "forgotten": lambda on: on.cache.forget(on.name),
}
"""Event -> how it comes to a cache."""
IGNORED = {"read, same", "read, older", "fact, next"}
"""Of these, what the table says of an absent stream cannot come about as `HAPPENS` has it: any read of
it is news, and a fact after the first does not begin it."""
NEW = ("ahead", "overtaken")
"""Statuses that a stream without any recorded state can have."""


def test_every_pair_is_decided() -> None:
    statuses = set(get_args(Status))
    assert set(STATUSES) == statuses
    assert set(TRUST) == set(ACTIONS) == set(get_args(Trust))
    assert {event.name for event in EVENTS} == HAPPENS.keys()
    for row in (*(event.next for event in EVENTS), *ACTIONS.values()):
        assert row.keys() == statuses
    assert {status for event in EVENTS for status in event.next.values()} == statuses
    assert {action for row in ACTIONS.values() for action in row.values()} == set(get_args(Action)) - {
        "read its facts"
    }


def test_what_is_stale_or_absent_is_never_decided_on() -> None:
    for row in ACTIONS.values():
        assert row["absent"] == row["stale"] == "reload"
        assert row["ahead"] == row["overtaken"] == "use"


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_cache_does_what_the_table_says(name: str, status: Status, event: Event) -> None:
    is_new = event.name == "failed, first"
    if is_new and status not in NEW:
        return
    stream = Stream(name, status, is_new=is_new)
    HAPPENS[event.name](stream)
    if status == "absent" and event.name in IGNORED:
        assert stream.status == ("absent" if event.name == "fact, next" else "current")
    else:
        assert stream.status == event.next[status]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_the_table_is_what_the_caches_run_on(event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another row the same event leads elsewhere."""
    before: Status = "ahead" if "failed" in event.name or event.name == "recorded" else "current"
    stream = Stream("dep_1", before, is_new=event.name == "failed, first")
    other: Status = "overtaken" if event.next[before] != "overtaken" else "stale"
    (constant,) = (name for name, found in vars(entries).items() if found is event)
    monkeypatch.setattr(entries, constant, event._replace(next=dict.fromkeys(STATUSES, other)))
    HAPPENS[event.name](stream)
    assert stream.status == other


def test_a_reader_of_all_facts_knows_that_a_stream_begins() -> None:
    cache = StateCache()
    first = Recorded(FIRST_FACTS["dep_1"], "dep_1", 1, 1, ENVELOPE)
    assert not cache.follow(first)
    assert status_of(cache.get("dep_1")) == "absent"
    assert cache.follow(first, begins=True)
    assert (status_of(cache.get("dep_1")), cache.version("dep_1")) == ("current", 1)
    assert not cache.follow(first, begins=True)


@pytest.mark.parametrize("name", CACHES)
def test_a_fact_that_the_state_cannot_be_given_makes_it_stale(name: str) -> None:
    stream = Stream(name, "current")
    stream.follow(KNOWN + 1, TradingResumed("why", 1))
    assert stream.status == "stale"


def test_of_two_appends_under_way_the_last_one_counts() -> None:
    stream = Stream("dep_1", "ahead")
    second = pending()
    stream.cache.submit("dep_1", second, at(KNOWN + 1))
    entry = stream.cache.get("dep_1")
    assert entry is not None
    entry.record(stream.pending, at(KNOWN))
    assert (entry.status, entry.recorded.version, entry.loaded.version) == ("ahead", KNOWN, KNOWN + 1)
    entry.record(second, at(KNOWN + 1))
    assert (entry.status, entry.recorded.version) == ("current", KNOWN + 1)


def test_appends_of_an_entry_that_was_replaced_change_nothing() -> None:
    stream = Stream("dep_1", "ahead")
    former = stream.cache.get("dep_1")
    assert former is not None
    stream.learn(KNOWN + 9)
    stream.cache.fail("dep_1", former)
    former.record(stream.pending, at(KNOWN))
    assert (stream.status, stream.cache.version("dep_1")) == ("current", KNOWN + 9)


# --- how far an entry is trusted ------------------------------------------------------------------


def caught_up() -> Reads:
    reads = Reads()
    reads.has_caught_up = True
    return reads


def having_read(stream: str) -> Reads:
    reads = Reads()
    reads.versions[stream] = KNOWN
    return reads


@pytest.mark.parametrize(
    ("stream", "reads", "action"),
    [
        ("acc_1", Reads(), "catch up"),
        ("acc_1", caught_up(), "use"),
        ("acc_1", having_read("acc_1"), "use"),
        ("dep_1", Reads(), "reload"),
        ("dep_1", caught_up(), "reload"),
        ("dep_1", having_read("dep_1"), "use"),
        ("dep_1", having_read("acc_1"), "reload"),
    ],
)
def test_after_a_conflict(stream: str, reads: Reads, action: Action) -> None:
    cache = StateCache()
    known = cache.learn(stream, at(KNOWN), cache.begin_read(stream))
    assert cache.find(stream, Reads()) is known
    cache.contest([stream])
    found = cache.find(stream, reads)
    assert ("use" if found is known else found) == action
    for _ in range(CONTESTED_FOR):
        cache.found_unchanged(stream)
    assert cache.find(stream, Reads()) is known


def test_a_read_that_a_catch_up_passed_is_covered_by_none() -> None:
    cache = StateCache()
    as_of = cache.begin_read("acc_1")
    cache.catch_up(9, ())
    cache.learn("acc_1", at(KNOWN), as_of)
    cache.contest(["acc_1"])
    assert cache.find("acc_1", caught_up()) == cache.find("acc_1", Reads()) == "reload"


def test_a_reader_of_all_facts_contests_nothing() -> None:
    cache = StateCache()
    known = cache.learn("acc_1", at(KNOWN), 0)
    cache.follows_all = True
    cache.contest(["acc_1"])
    assert cache.find("acc_1", Reads()) is known


def test_a_reference_expires_by_age() -> None:
    now = [100.0]
    cache = ReferenceCache(lambda: now[0])
    known = cache.learn("hlt_engine", at(0), cache.begin_read("hlt_engine"))
    now[0] += REFERENCE_FRESH_S - 0.1
    assert cache.find("hlt_engine", Reads()) is known
    now[0] += 0.2
    assert cache.find("hlt_engine", Reads()) == "reload"
    cache.begin_read("hlt_engine")  # by one command; the others go on meanwhile
    assert cache.find("hlt_engine", Reads()) is known
    now[0] += REFERENCE_STALE_S - REFERENCE_FRESH_S
    assert cache.find("hlt_engine", Reads()) == "reload"
    assert cache.find("hlt_engine", having_read("hlt_engine")) is known


@pytest.mark.parametrize("name", CACHES)
def test_the_least_recently_used_is_dropped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "STATES_CACHED_MAX", 2)
    cache = CACHES[name]()
    for number in (1, 2, 1, 3):
        stream = f"{name[:3]}_{number}"
        if isinstance(cache.find(stream, Reads()), str):
            cache.learn(stream, at(KNOWN), 0.0)
    assert [status_of(cache.get(f"{name[:3]}_{number}")) for number in (1, 2, 3)] == [
        "current", "absent", "current",
    ]  # fmt: skip
