"""Storage call N fails, for N = 1, 2, 3 ... until the scenario runs through: never half an append."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import psycopg
import pytest
from eventsourcing.persistence import Tracking

from engine.journal import append, sqlite
from engine.journal.postgres_store import PostgresStore
from engine.journal.recorder import JournalProcessRecorder
from engine.journal.sqlite_store import SqliteStore
from engine.journal.writer import Append, Lease
from engine.kernel.errors import EngineError, LeaseLost, OutcomeUnknown, StaleOffset, VersionConflict
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import events, new_command, open_journal

Kind = Literal["refused", "unanswered", "broken"]
"""The call did nothing; it was done and its answer lost; as that, and the connection is gone."""


class Faults:
    """Counts storage calls, and fails those from `first` on, `count` of them."""

    def __init__(self) -> None:
        self.calls = 0
        self.failing = range(0)
        self.kind: Kind = "refused"

    def fail(self, first: int, count: int, kind: Kind) -> None:
        """Starts to count anew."""
        self.calls, self.failing, self.kind = 0, range(first, first + count), kind

    @property
    def were_met(self) -> bool:
        """Whether the failing calls were reached."""
        return self.calls >= self.failing.start


class FailingConnection:
    """A driver's connection whose calls fail when it is their turn."""

    def __init__(self, raw: Any, faults: Faults, error: Callable[[str], Exception]) -> None:
        self._raw = raw
        self._faults = faults
        self._error = error

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        faults = self._faults
        faults.calls += 1
        if faults.calls not in faults.failing:
            return self._raw.execute(*args, **kwargs)
        if faults.kind != "refused":
            with contextlib.suppress(Exception):
                self._raw.execute(*args, **kwargs)
        if faults.kind == "broken":
            self._raw.close()
        raise self._error("disk I/O error")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@pytest.fixture(autouse=True)
def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing restarts here that a retry would have to wait for."""
    pauses = (0.0,) * len(append.APPEND_RETRY_PAUSES_S)
    monkeypatch.setattr(append, "APPEND_RETRY_PAUSES_S", pauses)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Between every writing session and its driver."""
    faults = Faults()
    raw_writing, raw_connection = SqliteStore.raw_writing, PostgresStore.raw_connection

    @contextlib.contextmanager
    def failing_writing(self: SqliteStore) -> Iterator[Any]:
        with raw_writing(self) as raw:
            yield FailingConnection(raw, faults, sqlite.driver().OperationalError)

    def failing_connection(self: PostgresStore) -> Any:
        return FailingConnection(raw_connection(self), faults, psycopg.OperationalError)

    monkeypatch.setattr(SqliteStore, "raw_writing", failing_writing)
    monkeypatch.setattr(PostgresStore, "raw_connection", failing_connection)
    return faults


class Clients:
    """Appends of every sort, and what was answered."""

    def __init__(self, journal: JournalProcessRecorder) -> None:
        self._journal = journal
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[bytes] = []
        self.unknown: list[bytes] = []
        self.mistaken: list[EngineError] = []

    def run(self, number: int) -> None:
        """One of each; `number` makes offsets grow."""
        self._append(expected=())
        self._append(expected=())  # PostgreSQL: in one statement, as nobody else appended
        self._append(expected=(), lease=Lease("mover", 3))
        self._append(expected=(), tracking=Tracking("view", number))
        self._append(expected=(LeaseLost,), lease=Lease("mover", 2))
        self._append(expected=(VersionConflict,), stream="taken")
        self._repeat()

    def _append(
        self, *, expected: tuple[type[EngineError], ...], stream: str | None = None, **more: Any
    ) -> None:
        command = new_command()
        self._noted(
            command,
            expected,
            lambda: self._journal.append(events(command, stream=stream), **more),
        )

    def _repeat(self) -> None:
        command = new_command()
        for _ in range(2):
            self._noted(command, (), lambda: self._journal.append(events(command, 3), command=command))

    def _noted(
        self, command: bytes, expected: tuple[type[EngineError], ...], append: Callable[[], Append]
    ) -> None:
        try:
            done = append()
            assert not expected, f"it was to fail with {expected}"
            self.acknowledged.append(Acknowledged(command, done.positions))
        except OutcomeUnknown:
            self.unknown.append(command)
        except EngineError as error:
            if isinstance(error, (VersionConflict, StaleOffset, LeaseLost)):
                self.mistaken += [error] * (not isinstance(error, expected))
            self.refused.append(command)


@pytest.mark.parametrize(
    ("database", "kind"),
    [
        ("sqlite", "refused"),
        ("sqlite", "unanswered"),
        ("postgres", "refused"),
        ("postgres", "unanswered"),
        ("postgres", "broken"),
    ],
)
@pytest.mark.parametrize(
    ("count", "step"),
    [(1, 1), (40, 5), pytest.param(40, 1, marks=pytest.mark.torture)],
    ids=["1-in-a-row", "40-in-a-row", "40-in-a-row-from-each"],
)
def test_never_half_an_append_whichever_storage_call_fails(
    request: pytest.FixtureRequest, faults: Faults, database: str, kind: Kind, count: int, step: int
) -> None:
    """What is acknowledged is there, what is refused is not, and the next append works at once."""
    journal_url: str = request.getfixturevalue(f"{database}_url")
    unknown = 0
    with open_journal(journal_url) as journal:
        with journal.datastore.store.writing() as connection:
            lease = {"name": "mover", "holder": "me", "epoch": 3, "beat": 0}
            connection.execute(journal.datastore.tables.leases.insert().values(lease))
        journal.append(events(new_command(), stream="taken"))
        for first in itertools.count(1, step):
            clients = Clients(journal)
            faults.fail(first, count, kind)
            clients.run(first)
            if not faults.were_met:
                break
            faults.fail(0, 0, kind)
            command = new_command()
            done = journal.append(events(command))
            acks = [*clients.acknowledged, Acknowledged(command, done.positions)]
            # A command that was refused first and then repeated is there by right.
            there = {ack.command for ack in acks} | set(clients.unknown)
            refused = [each for each in clients.refused if each not in there]
            assert checker.check(journal_url, acks, refused) == [], f"call {first} failed"
            assert clients.mistaken == [], f"call {first} failed"
            unknown += len(clients.unknown)
        assert clients.unknown == []
    print(f"{database}: {first - 1} calls, {kind}, {count} in a row: {unknown} unknown")
