"""Reading the journal: pages of the log, and streams, each fact checked against the digest chain."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from engine import chain
from engine.errors import JournalDamaged
from engine.names import NameTable
from engine.schema import Tables
from engine.sessions import Head
from engine.store import Store

_COLUMNS: Final = "position, version, name, stream, command, body, digest"


class StoredRow(NamedTuple):
    """One fact as it is stored, its name spelled out."""

    position: int
    version: int
    name: str
    stream: UUID | str
    command: bytes | None
    body: bytes
    digest: bytes


class Pages:
    """Reads one journal. Thread-safe.

    Reading checks: what comes back is what was appended, or JournalDamaged names the first position
    where it is not.
    """

    def __init__(self, store: Store, tables: Tables, names: NameTable) -> None:
        self._store = store
        self._names = names
        self._is_uuid = tables.stream_kind == "uuid"
        self._uuid_from_bytes = self._is_uuid and store.dialect == "sqlite"
        journal = tables.journal.name
        self._head_sql = f"SELECT position, digest FROM {tables.head}"
        self._page_sql = (
            f"SELECT {_COLUMNS} FROM {journal} WHERE position >= ? AND position <= ?"
            " ORDER BY position LIMIT ?"
        )
        # Facts that do not follow one another bring the digest before them along.
        self._scattered_sql = (
            f"SELECT {', '.join('fact.' + column for column in _COLUMNS.split(', '))}, before.digest"
            f" FROM {journal} AS fact LEFT JOIN {journal} AS before"
            " ON before.position = fact.position - 1"
        )

    def head(self) -> Head:
        """The last position (0 for an empty journal) and its digest."""
        position, digest = self._store.query(self._head_sql)[0]
        return Head(position, bytes(digest))

    def log(
        self, after: int, limit: int, *, stop: int | None = None, is_checked: bool = True
    ) -> list[StoredRow]:
        """At most `limit` facts with positions in (after, stop], in order, with no hole.

        Fewer only if the journal's head says that there are no more.
        """
        first = max(after, 0) + 1
        # The fact before the page comes along for its digest.
        rows = self._store.query(
            self._page_sql, (first - 1, _MAX if stop is None else stop, limit + (first > 1))
        )
        before = chain.GENESIS
        facts: list[StoredRow] = []
        start = first - (first > 1)
        for place, row in enumerate(rows, start):
            if row[0] != place:
                raise _missing(place)
            if place >= first:
                fact = self._row(row)
                if is_checked:
                    self._check(fact, before)
                facts.append(fact)
            before = row[6]
        last = start + len(rows) - 1
        if len(facts) < limit and (stop is None or last < stop):
            self._check_is_last(last)
        return facts

    def _check_is_last(self, position: int) -> None:
        """Raises if the head says that there is more, and there is not: the tail was cut."""
        following = position + 1
        if self.head().position > position and not self._store.query(
            self._page_sql, (following, following, 1)
        ):
            raise _missing(following)

    def log_of(
        self, names: Sequence[str], after: int, limit: int, stop: int | None = None
    ) -> list[StoredRow]:
        """As `log`, of the given stored names only."""
        codes = self._names.codes_of(set(names))
        if not codes:
            return []
        marks = ", ".join("?" * len(codes))
        return self._scattered(
            f" WHERE fact.name IN ({marks}) AND fact.position > ? AND fact.position <= ?"
            " ORDER BY fact.position LIMIT ?",
            [*codes, after, _MAX if stop is None else stop, limit],
        )

    def stream(
        self,
        stream: UUID | str,
        *,
        after: int | None = None,
        upto: int | None = None,
        is_descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredRow]:
        """The facts of one stream with versions in (after, upto], by version."""
        values: list[object] = [stream.bytes if self._uuid_from_bytes else stream]  # type: ignore[union-attr]
        where = " WHERE fact.stream = ?"
        if after is not None:
            where += " AND fact.version > ?"
            values.append(after)
        if upto is not None:
            where += " AND fact.version <= ?"
            values.append(upto)
        where += " ORDER BY fact.version" + (" DESC" if is_descending else "")
        if limit is not None:
            where += " LIMIT ?"
            values.append(limit)
        return self._scattered(where, values)

    def at(self, first: int, count: int) -> list[StoredRow]:
        """The facts at the positions from `first` on."""
        return self.log(first - 1, count)

    def _scattered(self, where: str, values: list[object]) -> list[StoredRow]:
        facts = []
        for *row, before in self._store.query(self._scattered_sql + where, values):
            fact = self._row(row)
            if before is None and fact.position > 1:
                raise _missing(fact.position - 1)
            self._check(fact, chain.GENESIS if before is None else before)
            facts.append(fact)
        return facts

    def _row(self, row: Sequence[object]) -> StoredRow:
        position, version, code, stream, command, body, digest = row
        if self._uuid_from_bytes:
            try:
                stream = UUID(bytes=stream)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                raise _damaged(position) from None
        name = self._names.by_code.get(code) or self._names.name_of(code, position)  # type: ignore[arg-type, call-overload]
        return StoredRow(position, version, name, stream, command, body, digest)  # type: ignore[arg-type]

    def _check(self, fact: StoredRow, before: bytes) -> None:
        position, version, name, stream, command, body, digest = fact
        try:
            key = stream.bytes if self._is_uuid else stream.encode()  # type: ignore[union-attr]
            content = chain.content(version, key, self._names.known[name][1], command or b"", body)
            expected = chain.link(before, position, content)
        except (AttributeError, TypeError, struct.error):  # SQLite keeps any type and size anywhere
            raise _damaged(position) from None
        if digest != expected:
            raise _damaged(position)


_MAX: Final = 2**62


def _damaged(position: object) -> JournalDamaged:
    return JournalDamaged(f"the fact at position {position} is not as recorded", position=position)


def _missing(position: int) -> JournalDamaged:
    return JournalDamaged(f"the fact at position {position} is missing", position=position)
