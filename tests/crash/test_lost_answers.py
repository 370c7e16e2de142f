"""The answer of PostgreSQL is lost while it commits: the client is told what truly happened."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from eventsourcing.persistence import Tracking

from engine.journal.recorder import JournalProcessRecorder
from engine.journal.sessions import PostgresSession
from engine.journal.writer import Lease
from engine.kernel.errors import EngineError, LeaseLost, OutcomeUnknown, VersionConflict
from tests.crash.cutting_proxy import Cut, CuttingProxy, When
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import append_of, events, new_command, open_journal, write_group

LEASE = Lease("mover", 3)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres_url) as proxy:
        yield proxy


def hold_lease(journal: JournalProcessRecorder) -> None:
    with journal.datastore.store.writing() as connection:
        row = {"name": LEASE.name, "holder": "me", "epoch": LEASE.epoch, "beat": 0}
        connection.execute(journal.datastore.tables.leases.insert().values(row))


class Ledger:
    """What clients were told."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[bytes] = []
        self.unknown = 0

    def append(self, journal: JournalProcessRecorder, command: bytes, number: int, path: str) -> None:
        """One append over the given path, with its outcome noted. Even ones carry no command id."""
        try:
            done = journal.append(
                events(command),
                command=command if number % 2 else None,
                tracking=Tracking("view", number + 1) if path == "tracking" else None,
                lease=LEASE if path == "lease" else None,
            )
            self.acknowledged.append(Acknowledged(command, done.positions))
        except OutcomeUnknown:
            self.unknown += 1
        except EngineError:
            self.refused.append(command)


def anywhere(rng: random.Random, path: str) -> tuple[When, int]:
    """Where to cut an append over the given path."""
    if path != "plain":
        return rng.choice(("before", "after")), rng.randint(0, 1)
    return (rng.choice(("before", "after")), 0) if rng.random() < 0.6 else ("late", 0)


def run_cuts(
    url: str,
    proxy: CuttingProxy,
    cuts: int,
    where: Callable[[random.Random, str], tuple[When, int]] = anywhere,
) -> tuple[Ledger, list[str]]:
    """Appends through the proxy, cut each time; elsewhere others append in between."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ledger = Ledger()
    with open_journal(proxy.url) as ours, open_journal(url) as others:
        hold_lease(others)
        for number in range(cuts):
            path = ("plain", "tracking", "lease")[number % 3]
            for _ in range(2):  # after the second, we know where the head is
                ours.append(events(new_command()))
            command = new_command()
            proxy.cut = cut = Cut(command, *where(rng, path))
            if rng.random() < 0.5:
                cut.meanwhile = lambda: others.append(events(new_command()))
            asked = [(command, path), *((new_command(), "plain") for _ in range(3))]
            with ThreadPoolExecutor(4) as threads:  # they may share a transaction, or not
                for done in [
                    threads.submit(ledger.append, ours, each, number, its_path)
                    for each, its_path in asked
                ]:
                    done.result()
            assert cut.is_done.wait(10), "nothing was cut"
            if cut.late:
                proxy.release_late()
    print(f"{cuts} cuts: {len(ledger.acknowledged)} acknowledged, {ledger.unknown} unknown")
    return ledger, checker.check(url, ledger.acknowledged, ledger.refused)


@pytest.mark.parametrize("cuts", [20, pytest.param(50, marks=pytest.mark.torture)], ids="{}-cuts".format)
def test_a_lost_answer_does_not_change_the_outcome(
    postgres_url: str, proxy: CuttingProxy, cuts: int
) -> None:
    """Every append is acknowledged and there once; nobody conflicts with his own facts."""
    ledger, faults = run_cuts(postgres_url, proxy, cuts)
    assert faults == []
    assert (ledger.refused, ledger.unknown) == ([], 0)
    assert len(ledger.acknowledged) == 4 * cuts


def test_the_check_notices_when_doubts_are_not_looked_into(
    postgres_url: str, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without asking whether it happened, appends are refused that are there."""
    monkeypatch.setattr(PostgresSession, "digest_at", lambda *_: None)
    _, faults = run_cuts(postgres_url, proxy, 3, lambda _, path: ("after", int(path != "plain")))
    assert any("was refused, and is there" in fault for fault in faults)


@pytest.mark.parametrize("when", ["before", "after"])
def test_losers_of_a_group_do_not_shift_the_others_when_the_answer_is_lost(
    postgres_url: str, proxy: CuttingProxy, when: When
) -> None:
    """A conflict, a repeat and a lost lease settle once; the winners' positions are where they stand."""
    first, second, winner, other = (new_command() for _ in range(4))
    with open_journal(proxy.url) as journal:
        journal.append(events(first, 3), command=first)
        journal.append(events(second, stream="taken"), command=second)
        loser = append_of(journal, events(new_command(), stream="taken"))
        repeat = append_of(journal, events(new_command()), command=first)
        without_lease = append_of(journal, events(new_command()), lease=Lease("nobody", 1))
        group = [
            loser,
            append_of(journal, events(winner)),
            repeat,
            without_lease,
            append_of(journal, events(other)),
        ]
        # The first try meets the taken version; the second, without the losers, gets to COMMIT.
        proxy.cut = Cut(winner, when, place=1, time=2)
        write_group(journal, group)
        assert proxy.cut.is_done.is_set()
    assert isinstance(loser.error, VersionConflict)
    assert isinstance(without_lease.error, LeaseLost)
    assert (repeat.error, repeat.is_repeat, repeat.positions) == (None, True, range(1, 4))
    acks = [Acknowledged(winner, group[1].positions), Acknowledged(other, group[4].positions)]
    assert checker.check(postgres_url, acks) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_offset_alone_whose_answer_is_lost_is_not_called_stale(
    proxy: CuttingProxy, when: When
) -> None:
    """It may have moved by our own hand: moved, or an unknown outcome, but never StaleOffset."""
    with open_journal(proxy.url) as journal:
        proxy.cut = Cut(b"only-this-follower", when, place=1)
        append = append_of(journal, [], tracking=("only-this-follower", 7))
        write_group(journal, [append])
        assert proxy.cut.is_done.is_set()
        assert append.error is None or isinstance(append.error, OutcomeUnknown)
        if append.error is None:
            assert journal.max_tracking_id("only-this-follower") == 7
