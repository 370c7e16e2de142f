"""The journal: appends, reads and folds facts.

    append   facts for several streams at once, each with an expected version
    stream   one stream, whole, to a version, or to a time
    read     all facts in the order of their offsets, page by page
    load     a stream folded into a state, from a snapshot when it is long

An `eventsourcing` application whose domain events are `Recorded` facts with text ids.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent, Tracking, Transcoder

from engine.journal import schema
from engine.journal.datastore import Datastore
from engine.journal.pages import Shard, StoredRow
from engine.journal.recorder import JournalApplicationRecorder
from engine.journal.store import upsert
from engine.journal.witness import Point, Witness
from engine.journal.writer import Append, Lease
from engine.kernel.chain import GENESIS
from engine.kernel.codec import Codec
from engine.kernel.errors import EngineError, JournalDamaged, Unrecordable, VersionConflict
from engine.kernel.fact import Envelope, Fact, Recorded, StreamAppend
from engine.kernel.fold import Fold, Loaded
from engine.kernel.limits import (
    APPEND_FACTS_MAX,
    COMMAND_FACTS,
    COMPANIONS,
    PAGE_FACTS,
    PAGE_FACTS_MAX,
    SNAPSHOT_EVERY,
    SNAPSHOT_RUNG,
    STATES_CACHED_MAX,
)

S = TypeVar("S", bound=msgspec.Struct)
_SEAL_BYTES: Final = 32


class Appended(NamedTuple):
    """The facts recorded by an append. `is_repeat`: its command had been recorded before, and these are
    the original facts.
    """

    facts: Sequence[Recorded]
    is_repeat: bool

    @property
    def offset(self) -> int:
        """The offset of the last fact."""
        return self.facts[-1].offset


class End(NamedTuple):
    """The end of a stream: version and offset; 0, 0 before its first fact."""

    version: int
    offset: int


PlacedFact = tuple[Fact, str, int]
"""(fact, stream, version)."""


class _FactMapper(Mapper[str]):
    """Maps facts to the library's stored events."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(transcoder=cast(Transcoder, JSONTranscoder()))
        self.codec = codec

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        name, body = self.codec.encode(domain_event.envelope, domain_event.fact)
        return StoredEvent(domain_event.stream, domain_event.version, name, body)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        envelope, fact = self.codec.decode(stored_event.topic, stored_event.state)
        offset = getattr(stored_event, "id", 0)  # only notifications carry their offset
        stream = str(stored_event.originator_id)
        return Recorded(fact, stream, stored_event.originator_version, offset, envelope)


class Journal(Application[str]):
    """One journal of facts. Thread-safe. Close it when done, or use it in a `with`.

    Raises SchemaMissing or SchemaTooNew on opening; Unavailable, OutcomeUnknown, JournalDamaged and
    Unrecordable from any use.
    """

    name = "journal"
    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": "engine.journal.recorder",
        "JOURNAL_PREFIX": "",
        "ORIGINATOR_ID_TYPE": "text",
        "CREATE_TABLE": "no",
    }

    def __init__(self, url: str, codec: Codec, secret: bytes = b"") -> None:
        """Opens the journal. `secret` seals points of it that are stored elsewhere: see `witness`."""
        self.codec = codec
        super().__init__({**self.env, "JOURNAL_URL": url})
        self.recorder: JournalApplicationRecorder
        self.datastore: Datastore = self.recorder.datastore
        with self.datastore.store.reading() as connection:
            self.meta = schema.check(connection, self.datastore.tables)
        self.witness = Witness(self.meta["journal_id"], secret)
        self._ends: _Lru[str, tuple[int, int]] = _Lru(STATES_CACHED_MAX)
        self.datastore.damage.on_era.append(self._ends.clear)

    @property
    def era(self) -> int:
        """The current era; data cached in an earlier one is invalid: see `damage`."""
        return self.datastore.damage.era

    def construct_mapper(self) -> Mapper[str]:
        """The library's mapper, with our codec."""
        return _FactMapper(self.codec)

    # --- appending --------------------------------------------------------------------------------

    def append(
        self,
        appends: Sequence[StreamAppend],
        envelope: Envelope,
        *,
        tracking: Tracking | None = None,
        lease: Lease | None = None,
    ) -> Appended:
        """Records all the facts, in the order given, or none.

        `envelope.command` is required: if it has been recorded before, nothing is added and the original
        facts are returned. `envelope.at_us` is raised to the latest time in the streams. Raises
        VersionConflict, StaleOffset, LeaseLost.
        """
        latest_us = max(self._time_at(one.stream, one.expected_version) for one in appends)
        if latest_us > envelope.at_us:
            envelope = msgspec.structs.replace(envelope, at_us=latest_us)
        command, facts, bodies = self._encoded(appends, envelope)
        events = [
            StoredEvent(stream, version, name, body)
            for (_, stream, version), (name, body) in zip(facts, bodies, strict=True)
        ]
        done = self.recorder.append(
            events, command=command, tracking=tracking, lease=lease, taken=self._extended(appends)
        )
        if not done.is_repeat:
            for _, stream, version in facts:
                self._ends.put(stream, (version, envelope.at_us))
        return self.appended(done, facts, envelope)

    def submit(
        self,
        appends: Sequence[StreamAppend],
        envelope: Envelope,
        done: Callable[[], None],
        *,
        after: Sequence[Append] = (),
        unchanged: Sequence[tuple[str, int]] = (),
        lease: Lease | None = None,
        era: int | None = None,
    ) -> tuple[Append, Sequence[PlacedFact]]:
        """As `append`, without waiting: `done` is called in another thread when it is settled.

        Nothing is written before `flush`. `after` are earlier appends that this decision depends on: if
        one of them is not recorded, this one fails with VersionConflict. It also fails if one of
        `unchanged`, streams only read, is past its given version, or if another `era` has begun.
        `envelope.at_us` must not be before the latest time of the streams. Pass the returned values to
        `appended` for the outcome.
        """
        command, facts, bodies = self._encoded(appends, envelope)
        if len(facts) > APPEND_FACTS_MAX:
            raise Unrecordable(f"one append is at most {APPEND_FACTS_MAX} facts")
        keys = {one.stream: self.datastore.key(one.stream) for one in appends}
        row = self.datastore.row
        first: bytes | None = command
        rows = []
        for (_, stream, version), (name, body) in zip(facts, bodies, strict=True):
            rows.append(row(keys[stream], version, name, body, first))
            first = None  # stored with the first fact only
        vacant = [(stream, version + 1) for stream, version in unchanged]
        append = Append(
            rows,
            command=command,
            lease=lease,
            after=after,
            vacant=vacant,
            taken=self._extended(appends),
            era=era,
        )
        self.datastore.submit(append, done)
        return append, facts

    def _extended(self, appends: Sequence[StreamAppend]) -> list[tuple[Any, int]]:
        """The last facts of the streams that appends extend: they must exist."""
        return [
            (self.datastore.key(one.stream)[0], one.expected_version)
            for one in appends
            if one.expected_version
        ]

    def flush(self) -> None:
        """Starts writing the submitted appends, as one group if possible."""
        self.datastore.flush()

    def appended(self, append: Append, facts: Sequence[PlacedFact], envelope: Envelope) -> Appended:
        """The facts recorded by a settled append. Raises its error. Reads only repeated ones."""
        if append.error is not None:
            raise append.error
        if append.is_repeat:
            assert append.command is not None
            known = self._of_command(append.command, append.first, append.count)
            return Appended(known, is_repeat=True)
        recorded = [
            Recorded(fact, stream, version, offset, envelope)
            for (fact, stream, version), offset in zip(facts, append.positions, strict=True)
        ]
        return Appended(recorded, is_repeat=False)

    def _encoded(
        self, appends: Sequence[StreamAppend], envelope: Envelope
    ) -> tuple[bytes, list[PlacedFact], list[tuple[str, bytes]]]:
        """The command, the facts with stream and version, and for each (stored name, body)."""
        command = envelope.command
        if command is None:
            raise Unrecordable("an append needs a command id")
        facts: list[PlacedFact] = []
        bodies: list[tuple[str, bytes]] = []
        for one in appends:
            for version, fact in enumerate(one.facts, one.expected_version + 1):
                # The first fact has the command in a column.
                bodies.append(self.codec.encode(envelope, fact, has_command=bool(bodies)))
                facts.append((fact, one.stream, version))
        return command, facts, bodies

    def check_sound(self) -> None:
        """Raises JournalDamaged or JournalWentBack if any process has marked the journal."""
        self.datastore.damage.check()

    def learn_names(self) -> None:
        """Assigns numbers to all fact names now, so that appends need not wait for it."""
        self.datastore.names.learn(set(self.codec.names))

    def recorded(self, command: bytes) -> Sequence[Recorded]:
        """The facts recorded by a command; empty if none."""
        first = self.datastore.pages.position_of(command)
        count = COMMAND_FACTS if first else 0
        while first:
            facts = self._of_command(command, first, count)
            if len(facts) < count or count == PAGE_FACTS_MAX:
                return facts
            count = min(count * 10, PAGE_FACTS_MAX)
        return []

    def recorded_commands(self, commands: Sequence[bytes]) -> set[bytes]:
        """Commands among these that recorded anything, by one statement."""
        return self.datastore.pages.recorded_commands(commands)

    def _of_command(self, command: bytes, first: int, count: int) -> list[Recorded]:
        facts = self._decoded(self.datastore.pages.log(first - 1, count))
        end = next((n for n, fact in enumerate(facts) if fact.envelope.command != command), len(facts))
        return facts[:end]

    def _time_at(self, stream: str, version: int) -> int:
        """The time of a stream's version. Raises VersionConflict if it does not exist."""
        if version == 0:
            return 0
        known = self._ends.get(stream)
        if known and known[0] == version:
            return known[1]
        facts = self.stream(stream, after=version - 1, version=version)
        if not facts:
            raise VersionConflict(f"{stream} has not come to version {version}", stream=stream)
        at_us = facts[0].envelope.at_us
        self._ends.put(stream, (version, at_us))
        return at_us

    # --- reading ----------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The offset of the last fact, 0 for an empty journal."""
        return self.datastore.pages.head().position

    def stream(
        self,
        stream: str,
        *,
        after: int = 0,
        version: int | None = None,
        at_us: int | None = None,
    ) -> list[Recorded]:
        """The facts of a stream after version `after`, up to `version` or up to the time `at_us`."""
        facts = self._decoded(self.datastore.pages.stream(stream, after=after, upto=version))
        for expected, fact in enumerate(facts, after + 1):
            if fact.version != expected:
                raise JournalDamaged(
                    f"{stream} has version {fact.version} in place of {expected}",
                    position=fact.offset,
                )
        if at_us is not None:  # times never decrease within a stream
            facts = [fact for fact in facts if fact.envelope.at_us <= at_us]
        return facts

    def end(self, stream: str) -> End:
        """Version and offset of a stream's last fact, read from an index."""
        pages = self.datastore.pages
        version, offset = self.datastore.store.values(pages.end_of(stream))
        return End(version or 0, offset or 0)

    def versions(self, streams: Sequence[str]) -> dict[str, int]:
        """The last version of each of these streams, without empty ones, read from an index."""
        return self.datastore.pages.versions(streams)

    def last(self, stream: str) -> Recorded | None:
        """The last fact of a stream, None if it does not exist."""
        rows = self.datastore.pages.stream(stream, is_descending=True, limit=1)
        return self._decoded(rows)[0] if rows else None

    def version_at(self, stream: str, at_us: int) -> int:
        """The version of a stream at a time, 0 before its first fact."""
        last = self.last(stream)
        low, high = 0, last.version if last else 0  # times never decrease within a stream
        while low < high:
            middle = (low + high + 1) // 2
            (fact,) = self.stream(stream, after=middle - 1, version=middle)
            if fact.envelope.at_us <= at_us:
                low = middle
            else:
                high = middle - 1
        return low

    def of_kinds(self, stream: str, kinds: Iterable[type[Fact]], upto: int) -> list[Recorded]:
        """The facts of these kinds in a stream, up to version `upto`."""
        names = self.codec.names_of(kinds)
        return self._decoded(self.datastore.pages.stream(stream, upto=upto, names=names))

    def companions(self, facts: Sequence[Recorded]) -> list[Recorded]:
        """The facts of other streams recorded before these in the same appends.

        An append lists accounts first: for an order's facts these are its moves of money.
        """
        found: list[Recorded] = []
        open_ends = {one.envelope.command: one.offset for one in reversed(facts)}
        width = COMPANIONS  # few: stored next to the rows just read, cheaper than an index
        while open_ends:
            spans = (range(max(1, first - width), first) for first in open_ends.values())
            rows = self.datastore.pages.at(sorted({position for span in spans for position in span}))
            before = {one.offset: one for one in self._decoded(rows)}
            for command, first in [*open_ends.items()]:
                start, lowest = first, max(1, first - width)
                while start > lowest and before[start - 1].envelope.command == command:
                    start -= 1
                found += (before[position] for position in range(start, first))
                if start > lowest or start == 1:
                    del open_ends[command]
                else:
                    open_ends[command] = start
            width *= 2
        streams = {fact.stream for fact in facts}
        return sorted((one for one in found if one.stream not in streams), key=lambda one: one.offset)

    def read(
        self,
        after: int = 0,
        limit: int = PAGE_FACTS,
        *,
        is_checked: bool = True,
        wanted: Callable[[str, int, str], bool] | None = None,
        expected: bytes | None = None,
    ) -> list[Recorded]:
        """At most `limit` facts with offsets over `after`, in order, without gaps.

        `wanted` filters by (stream, version, stored name): other facts are skipped undecoded, but count
        for the limit. `expected` is the known digest at `after`: raises JournalWentBack if the journal
        has another one, or none.

        `is_checked=False` skips digest verification, for facts just verified: about twice as fast, but a
        changed byte that still decodes goes unnoticed.
        """
        if not 0 < limit <= PAGE_FACTS_MAX:
            raise ValueError(f"a page has 1 to {PAGE_FACTS_MAX} facts")
        return self._decoded(
            self.datastore.pages.log(
                after, limit, is_checked=is_checked, wanted=wanted, expected=expected
            )
        )

    def page(self, after: Point, limit: int) -> tuple[list[Recorded], list[bytes]]:
        """The facts after a stored point, with the digest of each.

        Raises JournalWentBack if the journal has another fact at the point, or none.
        """
        rows = self.datastore.pages.log(after.offset, limit, expected=after.digest)
        return self._decoded(rows), [row[-1] for row in rows]

    def point(self, offset: int) -> Point:
        """The point at an offset. Raises JournalDamaged if the fact is missing."""
        digest = self.datastore.damage.digest_at(offset) if offset else GENESIS
        if digest is None:
            raise JournalDamaged(f"the fact at position {offset} is missing", position=offset)
        return Point(offset, digest)

    def read_shard(
        self,
        after: int,
        stop: int,
        of: Shard,
        *,
        wanted: Callable[[str, int, str], bool] | None = None,
    ) -> list[Recorded]:
        """The facts of a shard with offsets over `after`, up to `stop`, in order, without gaps.

        `stop` is at most the head. Facts of other streams are counted, so that none is missing, but not
        verified. `wanted`: see `read`.
        """
        return self._decoded(self.datastore.pages.shard(after, stop, of, wanted))

    def read_of(
        self, names: Sequence[str], after: int, limit: int = PAGE_FACTS, *, stop: int
    ) -> list[Recorded]:
        """At most `limit` facts of these stored names, in order: offsets over `after`, up to `stop`.

        Their digests are not verified; full reads do that: see `read`.
        """
        return self._decoded(self.datastore.pages.log_of(names, after, limit, stop, is_checked=False))

    def pages(self, after: int = 0, *, page: int = PAGE_FACTS) -> Iterator[list[Recorded]]:
        """The log up to its current end, page by page."""
        head = self.head
        while after < head:
            facts = self.read(after, min(page, head - after))
            yield facts
            after = facts[-1].offset

    def _decoded(self, rows: Sequence[StoredRow]) -> list[Recorded]:
        decode = self.codec.decode
        facts = []
        try:
            for position, version, name, stream, command, body, _ in rows:
                envelope, fact = decode(name, body, command)
                facts.append(Recorded(fact, stream, version, position, envelope))  # type: ignore[arg-type]
        except JournalDamaged as error:
            raise type(error)(f"position {position}: {error}", position=position) from error
        return facts

    # --- states -----------------------------------------------------------------------------------

    def load(self, fold: Fold[S], stream: str, known: Loaded[S] | None = None) -> Loaded[S]:
        """The current state of a stream; reads only facts newer than `known`."""
        start = known or (self._snapshot(fold, stream) if fold.is_long else None) or Loaded()
        facts = self.stream(stream, after=start.version)
        loaded = _folded(fold, start, facts)
        if fold.is_long and len(facts) >= SNAPSHOT_EVERY and loaded.state is not None:
            with suppress(EngineError):  # a snapshot can be recreated from the facts at any time
                self.keep_state(fold, stream, loaded)
        return loaded

    def load_at(
        self, fold: Fold[S], stream: str, *, version: int | None = None, at_us: int | None = None
    ) -> Loaded[S]:
        """The past state of a stream at a version or a time.

        A long stream is folded from the last snapshot before it, storing a snapshot at each
        SNAPSHOT_RUNG on the way, so that later calls fold less.
        """
        if at_us is not None:
            version = self.version_at(stream, at_us)
        if not fold.is_long or version is None:
            return _folded(fold, Loaded(), self.stream(stream, version=version))
        loaded = self._snapshot(fold, stream, version) or Loaded[S]()
        while loaded.version < version:
            rung = (loaded.version // SNAPSHOT_RUNG + 1) * SNAPSHOT_RUNG
            facts = self.stream(stream, after=loaded.version, version=min(rung, version))
            if not facts:
                break
            loaded = _folded(fold, loaded, facts)
            if loaded.version == rung:
                with suppress(EngineError):  # a snapshot can be recreated from the facts at any time
                    self.keep_state(fold, stream, loaded)
        return loaded

    def _snapshot(self, fold: Fold[S], stream: str, upto: int | None = None) -> Loaded[S] | None:
        """The snapshot of a stream, if there is one of this shape bound to an existing fact."""
        kept = self.datastore.pages.snapshot(stream, fold.stored_name, upto)
        if kept is None:
            return None
        version, body = kept
        rows = self.datastore.pages.stream(stream, after=version - 1, upto=version)
        seal, packed = body[:_SEAL_BYTES], body[_SEAL_BYTES:]
        if not rows or seal != _seal(_digest(rows[0]), packed):
            return None
        state = self.codec.unpack_state(packed, fold.kind)
        return Loaded(state, version, self._decoded(rows)[0].envelope.at_us)

    def keep_state(self, fold: Fold[S], stream: str, loaded: Loaded[S]) -> None:
        """Stores a state as a snapshot, so that `load` need not read the facts before it.

        One of each SNAPSHOT_RUNG versions is kept for `load_at`. Processes that store the same one at
        once replace each other's row; only older ones are deleted, so that none waits for another in a
        circle.
        """
        table, version = self.datastore.tables.snapshots, loaded.version
        rung = version - version % SNAPSHOT_RUNG
        older = (table.c.stream == stream, table.c.version >= rung, table.c.version < version)
        rows = self.datastore.pages.stream(stream, after=version - 1, upto=version)
        assert loaded.state is not None
        packed = self.codec.pack_state(loaded.state)
        row = {
            "stream": stream,
            "version": version,
            "name": fold.stored_name,
            "body": _seal(_digest(rows[0]), packed) + packed,
        }
        with self.datastore.store.writing() as connection:
            connection.execute(table.delete().where(*older))
            upsert(connection, table, row)


def _folded(fold: Fold[S], start: Loaded[S], facts: Sequence[Recorded]) -> Loaded[S]:
    state, version, at_us = start
    for recorded in facts:
        state = fold.evolve(state, recorded.fact)
        version, at_us = recorded.version, recorded.envelope.at_us
    return Loaded(state, version, at_us)


def _digest(row: StoredRow) -> bytes:
    return row[-1]


def _seal(digest: bytes, packed: bytes) -> bytes:
    """Binds a snapshot to the fact after which it was taken; altered or misplaced ones are ignored."""
    return sha256(digest + packed).digest()


K = TypeVar("K")
V = TypeVar("V")


class _Lru(Generic[K, V]):
    """A bounded mapping that evicts the least recently used entry."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._size_max:
                self._entries.popitem(last=False)


def migrate(url: str) -> bool:
    """Creates the engine's own journal at `url` if missing; True if it did."""
    datastore = Datastore(url, Journal.env["JOURNAL_PREFIX"], "text")
    try:
        return datastore.migrate()
    finally:
        datastore.close()
