"""Leases: one holder, a higher epoch for each next one, no clock compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.kernel.errors import LeaseLost
from engine.kernel.fact import StreamAppend
from engine.kernel.limits import LEASE_S
from tests.support.engines.prepared import make_journal
from tests.support.models.facts import CODEC, Opened, envelope


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    make_journal(journal_url)
    journal = Journal(journal_url, CODEC)
    yield journal
    journal.close()


def leases(journal: Journal, holder: str, clock: Clock) -> Leases:
    return Leases(journal.datastore.store, journal.datastore.tables, holder, clock)


def test_one_holds_and_the_other_waits_until_the_first_falls_silent(journal: Journal) -> None:
    clock = Clock()
    first, second = leases(journal, "first", clock), leases(journal, "second", clock)
    held = first.take("execution")
    assert held is not None
    assert held.epoch == 1
    for _ in range(5):  # a beating holder keeps it, however long
        assert second.take("execution") is None
        clock.now += LEASE_S * 0.9
        assert first.beat(held)
    assert second.take("execution") is None
    clock.now += LEASE_S
    taken = second.take("execution")
    assert taken is not None
    assert taken.epoch == 2
    assert not first.beat(held)


def test_a_stale_holder_records_nothing(journal: Journal) -> None:
    clock = Clock()
    first, second = leases(journal, "first", clock), leases(journal, "second", clock)
    held = first.take("execution")
    journal.append([StreamAppend("ord_1", 0, [Opened("a")])], envelope(1), lease=held)
    second.take("execution")
    clock.now += LEASE_S
    assert second.take("execution")
    with pytest.raises(LeaseLost):
        journal.append([StreamAppend("ord_1", 1, [Opened("b")])], envelope(2), lease=held)
    assert journal.head == 1


def test_a_lease_given_back_is_free_at_once(journal: Journal) -> None:
    clock = Clock()
    first, second = leases(journal, "first", clock), leases(journal, "second", clock)
    held = first.take("settlement")
    assert held
    first.release(held)
    taken = second.take("settlement")
    assert taken is not None
    assert taken.epoch == 2
    assert second.take("execution") is not None  # names do not touch each other


def test_who_could_not_give_a_lease_back_has_it_again_at_once(journal: Journal) -> None:
    """The database was away: waiting for itself to fall silent cost every follower five seconds."""
    clock = Clock()
    first = leases(journal, "first", clock)
    held = first.take("execution")
    assert held is not None
    again = first.take("execution")
    assert again is not None
    assert again.epoch == held.epoch + 1
    assert not first.beat(held)
