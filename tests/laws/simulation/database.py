"""The journal's database in memory. Wherever a real one is asked, others go on first, and it may fail.

It promises what SQLite and PostgreSQL promise the appender and no more: unique keys, a lock on the head,
transactions that are there whole or not at all, reads of what is committed. What it answers when nothing
fails is compared with both of them in test_simulation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from engine.journal.append import Appender
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal, _Lru
from engine.journal.pages import FactFilter, Shard, StoredRow
from engine.journal.sessions import Head, Key, Session
from engine.journal.store import ConnectionBroken, Violation
from engine.journal.writer import Append, FactRow, Writer
from engine.kernel.chain import GENESIS
from engine.kernel.codec import Codec
from engine.kernel.errors import Unavailable
from engine.kernel.fold import Fold, Loaded
from engine.kernel.limits import STATES_CACHED_MAX


class Broken(BaseException):
    """Something that must hold does not. No handler for errors may swallow it."""


class Crash(BaseException):
    """The process that asked is gone."""


class Weather(Protocol):
    """What can happen to one process while it asks the database something."""

    def pause(self) -> None:
        """Others go on meanwhile. Raises Crash if this process dies of it."""

    def happens(self, fault: str) -> bool:
        """Whether a fault strikes now."""


class Statement(NamedTuple):
    """An insert that takes effect if it still finds the head where it believes it."""

    head: Head
    rows: Sequence[FactRow]
    digests: Sequence[bytes]


class Database:
    """What all processes share. `network`: statements whose sender has given them up."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.head = Head(0, GENESIS)
        self.rows: list[StoredRow] = []
        self.streams: dict[str, list[StoredRow]] = {}
        self.commands: dict[bytes, int] = {}
        self.names: dict[str, tuple[int, bytes]] = {}
        self.by_code: dict[int, str] = {}
        self.snapshots: dict[str, tuple[str, Loaded[Any]]] = {}
        self.holder: SimulatedSession | None = None
        self.network: list[Statement] = []
        self._keys: set[Key] = set()

    def learn(self, names: set[str]) -> None:
        """Gives numbers to new names."""
        for name in sorted(names - self.names.keys()):
            self.by_code[len(self.names) + 1] = name
            self.names[name] = (len(self.names) + 1, name.encode())

    def fits(self, statement: Statement) -> bool:
        """Whether the head is where it should be. Raises Violation for a key that is taken."""
        if statement.head != self.head:
            return False
        for row in statement.rows:
            if (row.stream, row.version) in self._keys:
                raise Violation(f"{row.stream} {row.version}")
            if row.command in self.commands:
                raise Violation(f"command {row.command!r}")
        return True

    def apply(self, statement: Statement) -> None:
        """Commits what fits."""
        position = self.head.position
        for row, digest in zip(statement.rows, statement.digests, strict=True):
            position += 1
            stream = str(row.stream)
            known = self.streams.setdefault(stream, [])
            if row.version != len(known) + 1:
                raise Broken(f"I7: version {row.version} of {stream} after {len(known)}")
            name = self.by_code[row.name]
            stored = (position, row.version, name, stream, row.command, row.body, digest)
            self.rows.append(stored)
            known.append(stored)
            self._keys.add((row.stream, row.version))
            if row.command:
                self.commands[row.command] = position
        self.head = Head(position, statement.digests[-1])

    def taken(self, keys: Sequence[Key]) -> set[Key]:
        return self._keys.intersection(keys)

    def deliver(self, place: int) -> None:
        """A statement arrives after all."""
        statement = self.network.pop(place)
        with contextlib.suppress(Violation):
            if self.fits(statement):
                self.apply(statement)


class SimulatedSession(Session):
    """One process's connection for appending."""

    def __init__(self, database: Database, weather: Weather) -> None:
        self._database = database
        self._weather = weather
        self._is_open = False
        self._staged: Statement | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._ask()
        assert self._database.holder is None, "two hold the head"
        self._database.holder = self
        self._is_open = True
        try:
            yield
            self._commit()
        finally:
            self._staged = None
            self._is_open = False
            self._database.holder = None

    def _commit(self) -> None:
        self._weather.pause()
        happens = self._weather.happens
        if happens("refused"):
            raise Unavailable("the commit was refused")
        is_broken = happens("broken")
        if is_broken and not happens("done"):
            raise ConnectionBroken("the connection broke before the commit arrived")
        if self._staged is not None:
            self._database.apply(self._staged)
        self._database.holder = None
        self._weather.pause()
        if is_broken:
            raise ConnectionBroken("the connection broke before the answer to the commit")
        if happens("unanswered"):
            raise Unavailable("the commit was done and failed all the same")

    def lock_head(self, seen: int = 0) -> tuple[Head, bytes | None]:
        self._ask()
        rows = self._database.rows
        return self._database.head, rows[seen - 1][6] if 0 < seen <= len(rows) else None

    def insert(self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes]) -> bool:
        return self.guess(head, rows, digests, ())

    def guess(
        self, head: Head, rows: Sequence[FactRow], digests: Sequence[bytes], taken: Sequence[Key]
    ) -> bool:
        statement = Statement(head, rows, digests)
        if self._is_open:
            self._ask()
            if self._database.fits(statement):
                self._staged = statement
            return self._staged is not None
        self._weather.pause()
        happens = self._weather.happens
        if happens("refused"):
            raise Unavailable("the database refuses")
        is_broken = happens("broken")
        if is_broken and not happens("done"):
            if happens("late"):
                self._database.network.append(statement)
            raise ConnectionBroken("the connection broke before the insert arrived")
        is_done = self._database.taken(taken) == set(taken) and self._database.fits(statement)
        if is_done:
            self._database.apply(statement)
        self._weather.pause()
        if is_broken:
            raise ConnectionBroken("the connection broke before the answer to the insert")
        return is_done

    def taken_keys(self, keys: Sequence[Key]) -> set[Key]:
        self._ask()
        return self._database.taken(keys)

    def digest_at(self, position: int) -> bytes | None:
        self._ask()
        rows = self._database.rows
        return rows[position - 1][6] if 0 < position <= len(rows) else None

    def last_position(self) -> int:
        self._ask()
        return len(self._database.rows)

    def recorded(self, command: bytes, count_max: int) -> range | None:
        self._ask()
        first = self._database.commands.get(command)
        if first is None:
            return None
        rows = self._database.rows
        end = next((row[0] for row in rows[first:] if row[4] is not None), len(rows) + 1)
        return range(first, end)

    def close(self) -> None:
        pass

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        raise NotImplementedError(statement)

    def _ask(self) -> None:
        self._weather.pause()
        if self._weather.happens("refused"):
            raise Unavailable("the database refuses")
        if self._weather.happens("broken"):
            raise ConnectionBroken("the connection broke")


class SimulatedPages:
    """Reads what is committed."""

    def __init__(self, database: Database, weather: Weather) -> None:
        self._database = database
        self._weather = weather

    def head(self) -> Head:
        self._ask()
        return self._database.head

    def log(self, after: int, limit: int, **_: Any) -> list[StoredRow]:
        self._ask()
        return self._database.rows[after : after + limit]

    def shard(
        self, after: int, stop: int, of: Shard, wanted: FactFilter | None = None
    ) -> list[StoredRow]:
        self._ask()
        rows = [row for row in self._database.rows[after:stop] if str(row[3])[:3] in of.prefixes]
        return [row for row in rows if wanted is None or wanted(row[3], row[1], row[2])]

    def stream(self, stream: str, *, after: int = 0, upto: int | None = None) -> list[StoredRow]:
        self._ask()
        return self._database.streams.get(stream, [])[after:upto]

    def position_of(self, command: bytes) -> int | None:
        self._ask()
        return self._database.commands.get(command)

    def _ask(self) -> None:
        self._weather.pause()
        if self._weather.happens("unreadable"):
            raise Unavailable("the database cannot be read")


class UnthreadedWriter(Writer[Append]):
    """The writer's queue and groups; whoever drives it says when it writes, and how many."""

    def __init__(self, write: Callable[[Sequence[Append]], None], weather: Weather) -> None:
        super().__init__(write, "unthreaded")
        self._weather = weather

    def queue(self, job: Append) -> None:
        if self._weather.happens("full"):
            raise Unavailable("too many appends are waiting")
        self._queue.append(job)

    def wake(self) -> None:
        """There is no thread to wake."""

    @property
    def waiting(self) -> int:
        """Appends in the queue."""
        return len(self._queue)

    def write(self, count: int) -> None:
        """Writes the next `count` appends as one group."""
        self._settle([self._queue.popleft() for _ in range(count)])


class _Names:
    """`names.NameTable` on the shared names."""

    def __init__(self, database: Database) -> None:
        self.known, self.by_code = database.names, database.by_code
        self.learn = database.learn


class SimulatedDatastore:
    """A `Datastore` of the simulated parts; how facts become rows is the real one's."""

    rows, row, key = Datastore.rows, Datastore.row, Datastore.key
    stream_id, submit = Datastore.stream_id, Datastore.submit
    kind = "text"

    def __init__(self, database: Database, weather: Weather, pause: Any) -> None:
        translating = contextlib.nullcontext
        self.store = SimpleNamespace(dialect=database.dialect, translating=translating)
        self.names = _Names(database)
        self.pages = SimulatedPages(database, weather)
        appender = Appender(self.store, SimulatedSession(database, weather))  # type: ignore[arg-type]
        appender._pause = pause
        self.writer = UnthreadedWriter(appender.write, weather)


class SimulatedJournal(Journal):
    """A `Journal` that is not opened but put together. Snapshots are kept as they are."""

    def __init__(self, datastore: SimulatedDatastore, database: Database, codec: Codec) -> None:
        self.codec = codec
        self.datastore = datastore  # type: ignore[assignment]
        self._database = database
        self._ends = _Lru(STATES_CACHED_MAX)

    def _snapshot(self, fold: Fold[Any], stream: str, upto: int | None = None) -> Loaded[Any] | None:
        name, known = self._database.snapshots.get(stream, ("", Loaded()))
        is_in_time = upto is None or known.version <= upto
        return known if name == fold.name and is_in_time else None

    def keep_state(self, fold: Fold[Any], stream: str, loaded: Loaded[Any]) -> None:
        self._database.snapshots[stream] = (fold.name, loaded)

    era = 0

    def check_sound(self) -> None:
        """Nobody damages it."""

    def close(self) -> None:
        """Nothing was opened."""
