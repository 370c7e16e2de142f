"""Reading the journal: pages of the log, and streams, each fact verified against the digest chain."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple
from uuid import UUID

from engine.journal.names import NameTable
from engine.journal.schema import Tables
from engine.journal.sessions import Head
from engine.journal.store import Column, Store
from engine.journal.witness import Trail
from engine.kernel import chain
from engine.kernel.errors import EngineError, JournalDamaged, JournalWentBack
from engine.kernel.limits import VERSION_MAX

_COLUMNS: Final = "position, version, name, stream, command, body, digest"


StoredRow = tuple[int, int, str, UUID | str, bytes | None, bytes, bytes]
"""(position, version, name, stream, command, body, digest): a fact as stored, its name spelled out.

A plain tuple: a page of the log makes thousands, and any class costs as much as fetching the row.
"""


class Shard(NamedTuple):
    """Shard `k` (from 0) of `n` of the streams whose ids begin with one of `prefixes` (3 characters).

    The database assigns streams to shards; all facts of a stream are in the same one.
    """

    prefixes: Sequence[str]
    k: int = 0
    n: int = 1


_SHARD_OF: Final = {
    # A random suffix of an id, which SQLite's own functions turn into a number fastest.
    "sqlite": "(unicode(substr(fact.stream, -1)) + coalesce(unicode(substr(fact.stream, -4)), 0)) % ?",
    "postgresql": "mod(hashtext(fact.stream) & 2147483647, ?)",
}


FactFilter = Callable[[Any, int, str], bool]
"""A filter of facts by stored stream id, version and stored name."""


class Pages:
    """Reads one journal. Thread-safe.

    Reads verify: the result is what was appended, or JournalDamaged names the first bad position.
    """

    def __init__(
        self,
        store: Store,
        tables: Tables,
        names: NameTable,
        on_damage: Callable[[int | None, str], None] = lambda *_: None,
        trail: Trail | None = None,
    ) -> None:
        self._store = store
        self._on_damage = on_damage
        self._trail = trail or Trail()
        self._names = names
        self._is_uuid = tables.stream_kind == "uuid"
        self._uuid_from_bytes = self._is_uuid and store.dialect == "sqlite"
        journal = tables.journal.name
        self._head_sql = f"SELECT position, digest FROM {tables.head}"
        self._page_sql = (
            f"SELECT {_COLUMNS} FROM {journal} WHERE position >= ? AND position <= ?"
            " ORDER BY position LIMIT ?"
        )
        self._count_sql = f"SELECT count(*) FROM {journal} WHERE position > ? AND position <= ?"
        self._snapshot_sql = (
            f"SELECT version, body FROM {tables.snapshots.name} WHERE stream = ? AND name = ?"
            " AND version <= ? ORDER BY version DESC LIMIT 1"
        )
        last = f"FROM {journal} WHERE stream = ? ORDER BY version DESC LIMIT 1"
        self._end_sql = (f"(SELECT version {last})", f"(SELECT position {last})")
        self._versions_sql = (
            f"SELECT stream, max(version) FROM {journal} WHERE stream IN {{}} GROUP BY stream"
        )
        self._command_sql = f"SELECT position FROM {journal} WHERE command = ?"
        self._commands_sql = f"SELECT command FROM {journal} WHERE command IN {{}}"
        # Non-consecutive facts need the digest of their predecessor too.
        columns = ", ".join("fact." + column for column in _COLUMNS.split(", "))
        self._plain_sql = f"SELECT {columns} FROM {journal} AS fact"
        self._scattered_sql = (
            f"SELECT {columns}, before.digest FROM {journal} AS fact LEFT JOIN {journal} AS before"
            " ON before.position = fact.position - 1"
        )

    def head(self) -> Head:
        """The last position (0 for an empty journal) and its digest."""
        position, digest = self._store.query(self._head_sql)[0]
        return Head(position, bytes(digest))

    def is_sound(self, position: int) -> bool:
        """Whether a fact exists and is as recorded; marks the journal if not."""
        try:
            return bool(self.log(position - 1, 1, stop=position))
        except JournalDamaged:
            return False

    def log(
        self,
        after: int,
        limit: int,
        *,
        stop: int | None = None,
        is_checked: bool = True,
        wanted: FactFilter | None = None,
        expected: bytes | None = None,
    ) -> list[StoredRow]:
        """At most `limit` facts with positions in (after, stop], in order, without gaps.

        Fewer only at the journal's head. Facts not `wanted` are skipped unverified. `expected` is the
        known digest at `after`: raises JournalWentBack if the journal has another one, or none.
        """
        try:
            return self._log(after, limit, stop, is_checked=is_checked, wanted=wanted, expected=expected)
        except JournalDamaged as error:
            self._report(error)
            raise

    def _log(
        self,
        after: int,
        limit: int,
        stop: int | None,
        *,
        is_checked: bool,
        wanted: FactFilter | None = None,
        expected: bytes | None = None,
    ) -> list[StoredRow]:
        first = max(after, 0) + 1
        # The fact before the page is needed for its digest.
        rows = self._store.query(
            self._page_sql, (first - 1, _MAX if stop is None else stop, limit + (first > 1))
        )
        before = chain.GENESIS
        if first > 1 and rows:
            if rows[0][0] != first - 1:
                raise _missing(first - 1)
            before = bytes(rows.pop(0)[6])
        elif first > 1 and expected is not None:
            self._check_is_last(first - 2)  # the head proves that it existed: then it is missing
            raise _gone(after)
        if expected is not None and before != expected:
            raise _gone(after)
        try:
            facts = self._page(rows, first, before, is_checked=is_checked, wanted=wanted)
        except JournalDamaged:
            for place, row in enumerate(rows, first):  # again, slowly: find the first fault
                self._page([row], place, before, is_checked=is_checked)
                before = row[6]
            raise
        last = first + len(rows) - 1
        if len(rows) < limit and (stop is None or last < stop):
            self._check_is_last(last)
        return facts

    def _page(
        self,
        rows: Sequence[tuple[Any, ...]],
        first: int,
        before: bytes,
        *,
        is_checked: bool,
        wanted: FactFilter | None = None,
    ) -> list[StoredRow]:
        if rows and (rows[0][0] != first or rows[-1][0] - first != len(rows) - 1):
            raise _missing(next(n for n, row in enumerate(rows, first) if row[0] != n))
        befores = [before, *(row[6] for row in rows)][: len(rows)]
        if wanted is not None:
            chosen = [self._is_wanted(row, wanted) for row in rows]
            rows, befores = list(compress(rows, chosen)), list(compress(befores, chosen))
        facts = self._named(rows)
        if is_checked:
            self._check(facts, befores)
            if facts:
                self._trail.note(facts[-1][0], facts[-1][6])
        return facts

    def _is_wanted(self, row: tuple[Any, ...], wanted: FactFilter) -> bool:
        position, version, code, stream, *_ = row
        name = self._names.by_code.get(code) or self._names.name_of(code, position)
        return wanted(stream, version, name)

    def shard(
        self, after: int, stop: int, of: Shard, wanted: FactFilter | None = None
    ) -> list[StoredRow]:
        """The facts of a shard with positions in (after, stop], where `stop` is at most the head.

        Gaps are detected across all shards; digests of other shards' facts, and of those not `wanted`,
        are not verified.
        """
        where = (
            f" WHERE fact.position > ? AND fact.position <= ? AND substr(fact.stream, 1, 3) IN"
            f" {_marks(of.prefixes)}"
        )
        values: list[object] = [after, stop, *of.prefixes]
        if of.n > 1:
            where += f" AND {_SHARD_OF[self._store.dialect]} = ?"
            values += [of.n, of.k]
        rows = self._store.query(self._scattered_sql + where + " ORDER BY fact.position", values)
        if wanted is not None:
            rows = [row for row in rows if self._is_wanted(row, wanted)]
        try:
            facts = self._linked(rows)
            is_whole = self._store.query(self._count_sql, (after, stop)) == [(stop - after,)]
        except JournalDamaged:
            self.log(after, stop - after, stop=stop)  # find the first fault, in any stream
            raise
        if not is_whole:
            self.log(after, stop - after, stop=stop)
        return facts

    def _check_is_last(self, position: int) -> None:
        """Raises if the head is past `position`: the tail is missing."""
        following = position + 1
        if self.head().position > position and not self._store.query(
            self._page_sql, (following, following, 1)
        ):
            raise _missing(following)

    def log_of(
        self,
        names: Sequence[str],
        after: int,
        limit: int,
        stop: int | None = None,
        *,
        is_checked: bool = True,
    ) -> list[StoredRow]:
        """As `log`, limited to the given stored names."""
        codes = self._names.codes_of(set(names))
        if not codes:
            return []
        marks = ", ".join("?" * len(codes))
        where = (
            f" WHERE fact.name IN ({marks}) AND fact.position > ? AND fact.position <= ?"
            " ORDER BY fact.position LIMIT ?"
        )
        values: list[object] = [*codes, after, _MAX if stop is None else stop, limit]
        if is_checked:
            return self._scattered(where, values)
        return self._named(self._store.query(self._plain_sql + where, values))

    def stream(
        self,
        stream: UUID | str,
        *,
        after: int | None = None,
        upto: int | None = None,
        names: Sequence[str] | None = None,
        is_descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredRow]:
        """The facts of one stream with versions in (after, upto], by version; limited to `names`."""
        values: list[object] = [stream.bytes if self._uuid_from_bytes else stream]  # type: ignore[union-attr]
        where = " WHERE fact.stream = ?"
        if after is not None:
            where += " AND fact.version > ?"
            values.append(after)
        if upto is not None:
            where += " AND fact.version <= ?"
            values.append(upto)
        if names is not None:
            codes = self._names.codes_of(set(names))
            where += f" AND fact.name IN {_marks(codes)}"
            values += codes
        where += " ORDER BY fact.version" + (" DESC" if is_descending else "")
        if limit is not None:
            where += " LIMIT ?"
            values.append(limit)
        return self._scattered(where, values)

    def end_of(self, stream: str) -> tuple[Column, Column]:
        """SQL expressions: version and position of a stream's last fact, null if it has none.

        They read only an index; the fact itself is not verified.
        """
        version, position = self._end_sql
        return (version, (stream,)), (position, (stream,))

    def versions(self, streams: Sequence[str]) -> dict[str, int]:
        """The last version of each of these streams, without empty ones; facts are not verified."""
        found: dict[str, int] = {}
        for start in range(0, len(streams), _MARKS_MAX):
            some = streams[start : start + _MARKS_MAX]
            words = self._versions_sql.format(_marks(some))
            found.update(self._store.query(words, list(some)))
        return found

    def snapshot(self, stream: str, name: str, upto: int | None = None) -> tuple[int, bytes] | None:
        """Version and body of the newest snapshot of that name up to version `upto`, if any."""
        rows = self._store.query(
            self._snapshot_sql, (stream, name, VERSION_MAX if upto is None else upto)
        )
        return (rows[0][0], bytes(rows[0][1])) if rows else None

    def recorded_commands(self, commands: Sequence[bytes]) -> set[bytes]:
        """Commands among these that a fact names."""
        found: set[bytes] = set()
        for start in range(0, len(commands), _MARKS_MAX):
            some = commands[start : start + _MARKS_MAX]
            rows = self._store.query(self._commands_sql.format(_marks(some)), some)
            found.update(bytes(row[0]) for row in rows)
        return found

    def position_of(self, command: bytes) -> int | None:
        """Position of a command's first fact, if recorded."""
        rows = self._store.query(self._command_sql, [command])
        return rows[0][0] if rows else None

    def at(self, positions: Sequence[int]) -> list[StoredRow]:
        """The facts at these ascending positions."""
        found: list[StoredRow] = []
        for start in range(0, len(positions), _MARKS_MAX):
            some = positions[start : start + _MARKS_MAX]
            where = f" WHERE fact.position IN {_marks(some)} ORDER BY fact.position"
            rows = self._scattered(where, list(some))
            if len(rows) != len(some):
                raise _missing(min(set(some) - {row[0] for row in rows}))
            found += rows
        return found

    def _scattered(self, where: str, values: list[object]) -> list[StoredRow]:
        rows = self._store.query(self._scattered_sql + where, values)
        try:
            return self._linked(rows)
        except JournalDamaged as error:
            self._report(error)
            raise

    def _linked(self, rows: Sequence[tuple[Any, ...]]) -> list[StoredRow]:
        """Verified facts from rows that include the predecessor's digest."""
        facts = self._named(rows)
        befores = [chain.GENESIS if row[0] == 1 and row[7] is None else row[7] for row in rows]
        self._check(facts, befores)
        for fact in facts[:1] + facts[-1:]:  # streams are read from either end
            self._trail.note(fact[0], fact[6])
        return facts

    def _report(self, error: JournalDamaged) -> None:
        """Marks the journal, after a second check confirms the damage: that stops every writer."""
        position = error.context.get("position")
        if not isinstance(position, int):
            return
        try:
            self._log(position - 1, 1, position, is_checked=True)
        except JournalDamaged:
            self._on_damage(position, str(error))
        except EngineError:
            pass  # the check failed; the next reader repeats it

    def _named(self, rows: Sequence[tuple[Any, ...]]) -> list[StoredRow]:
        by_code, name_of = self._names.by_code, self._names.name_of
        if self._uuid_from_bytes:
            rows = [(p, v, n, _uuid(s, p), c, b, d) for p, v, n, s, c, b, d, *_ in rows]
        return [(p, v, by_code.get(n) or name_of(n, p), s, c, b, d) for p, v, n, s, c, b, d, *_ in rows]

    def _check(self, facts: Sequence[StoredRow], befores: Sequence[bytes | None]) -> None:
        known, is_uuid, expected = self._names.known, self._is_uuid, chain.digest
        for (position, version, name, stream, command, body, digest), before in zip(
            facts, befores, strict=True
        ):
            try:
                key = stream.bytes if is_uuid else stream.encode()  # type: ignore[union-attr]
                name_bytes = known[name][1]
                if before is None:
                    raise _missing(position - 1)
                if digest == expected(before, position, version, key, name_bytes, command or b"", body):
                    continue
            except (AttributeError, TypeError, struct.error):
                pass  # SQLite stores any type and size in any column
            raise _damaged(position)


_MAX: Final = 2**62
_MARKS_MAX: Final = 1_000
"""Values of one statement: both databases allow far more."""


def _marks(values: Sequence[object]) -> str:
    """`(?, ?, ?)`; for an empty sequence, a list that matches nothing."""
    return f"({', '.join('?' * len(values)) or 'NULL'})"


def _uuid(key: bytes, position: int) -> UUID:
    try:
        return UUID(bytes=key)
    except (TypeError, ValueError):
        raise _damaged(position) from None


def _damaged(position: object) -> JournalDamaged:
    return JournalDamaged(f"the fact at position {position} is not as recorded", position=position)


def _gone(position: int) -> JournalWentBack:
    return JournalWentBack(f"the fact at position {position} is not the one that was there")


def _missing(position: int) -> JournalDamaged:
    return JournalDamaged(f"the fact at position {position} is missing", position=position)
