"""Tables beside the live ones, filled from the journal by one process while the live ones serve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from engine.journal.journal import Journal
from engine.journal.store import allow_time
from engine.kernel.errors import Unrecordable
from engine.kernel.fact import Recorded
from engine.kernel.limits import REBUILD_STATES_MAX
from projections import folds
from projections.database import Views, tables_beside
from projections.folding import CannotWrite, Page, Past, Write, advance
from projections.folds import Folded
from projections.quarantine import QUARANTINE, release
from projections.tables import Row, Table
from projections.view import View

OLD: Final = "old"
"""Suffix of previous tables; those of a rebuild have its number."""
GONE: Final = "gone"
"""Suffix of obsolete tables, dropped after the swap."""


_FORMER: Final = "former"
"""Suffix of older previous tables, which make room."""


class Shadow:
    """Tables of some views beside the live ones, which show the journal up to `offset`.

    `also` runs in the transaction of each page, with its last offset. Up to `late` rows that follow a
    state are deferred and written once for several pages: see `flush`.
    """

    def __init__(
        self,
        journal: Journal,
        views: Views,
        selected: Sequence[View],
        suffix: str,
        also: Callable[[sa.Connection, Shadow, int], None] | None = None,
        *,
        late: int = 0,
    ) -> None:
        self.selected = tuple(selected)
        self.tables: Mapping[str, Table] = {
            table.name: table.named(f"{table.name}__{suffix}")
            for view in selected
            for table in view.tables
        }
        self.offset = 0
        self.faults: dict[tuple[str, str], Row] = {}
        self.states: dict[str, Folded[Any]] = {}
        self._store = views.store
        self._past = Past(journal, views)
        self._also = also
        self._late = late
        self._waiting: dict[str, dict[Any, Row]] = {name: {} for name in self.tables}

    # --- tables -----------------------------------------------------------------------------------

    def create(self) -> None:
        """Creates the tables without indexes."""
        with self._store.writing() as connection:
            for table in self.tables.values():
                connection.exec_driver_sql(table.bare(self._store.dialect))

    def index(self) -> None:
        """Creates their indexes, each in its own transaction, so that others can write in between."""
        for table in self.tables.values():
            for statement in table.indexing():
                with self._writing() as connection:
                    connection.exec_driver_sql(statement)
            if self._store.dialect == "postgresql":  # else it has no statistics, and plans badly
                with self._writing() as connection:
                    connection.exec_driver_sql(f"ANALYZE {table.name}")

    # --- rows -------------------------------------------------------------------------------------

    def advance(self, facts: Sequence[Recorded], end: int) -> None:
        """Folds facts up to offset `end` (the last may have been skipped), in its own transactions."""
        while facts:
            page, done = advance(facts, self._fold, self._write)
            self._take(page)
            facts = facts[len(done) :]
        self.offset = end

    def advance_inside(self, connection: sa.Connection, facts: Sequence[Recorded]) -> None:
        """The same in the caller's transaction, which must be rolled back if this raises CannotWrite."""
        page = self._fold(facts, ())
        self._put(connection, page, page.rendered(), facts)
        self._take(page)
        self.offset = facts[-1].offset

    def _fold(self, facts: Sequence[Recorded], blamed: Sequence[CannotWrite]) -> Page:
        page = Page(self.selected, self.faults.keys())
        page.fold(facts, self.states, self._past.load, blamed)
        return page

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction on unread tables, which need not be durable when it ends.

        They are durable before they are read: the swap's commit waits for the log up to it.
        """
        with self._store.writing() as connection:
            allow_time(connection)  # an index of a large table takes minutes
            if self._store.dialect == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def _write(self, page: Page, facts: Sequence[Recorded]) -> None:
        writes = page.rendered()  # no database resource is held meanwhile
        with self._writing() as connection:
            self._put(connection, page, writes, facts)

    def _put(
        self, connection: sa.Connection, page: Page, writes: Sequence[Write], facts: Sequence[Recorded]
    ) -> None:
        try:
            with self._store.translating():
                for write in writes:
                    self._put_rows(connection, write, facts[0].offset)
        except Unrecordable as error:
            if self._late:  # the row may be of an earlier page, with no bad fact in this one
                raise
            raise CannotWrite(page.views_of(facts[0]), error) from error
        if self._also:
            self.faults |= page.faults
            self._also(connection, self, facts[-1].offset)

    def _put_rows(self, connection: sa.Connection, write: Write, start: int) -> None:
        table, waiting = self.tables[write.table.name], self._waiting[write.table.name]
        place = list(table.columns).index(table.key)
        for key in write.deletes:
            waiting.pop(key, None)
        for row in write.upserts:
            waiting.pop(row[place], None)
            waiting[row[place]] = row
        due = [waiting.pop(key) for key in [*islice(waiting, max(0, len(waiting) - self._late))]]
        # Rows whose first fact is in this page cannot exist yet.
        is_new = table.key == "first_offset"
        new = [row for row in due if is_new and row[place] >= start]
        table.replace(connection, [row for row in due if not is_new or row[place] < start])
        table.remove(connection, write.deletes)
        table.add(connection, [*new, *write.inserts])

    def flush(self) -> None:
        """Writes the deferred rows. Raises Unrecordable for one that cannot be stored."""
        with self._writing() as connection:
            for name, waiting in self._waiting.items():
                self.tables[name].replace(connection, [*waiting.values()])
                waiting.clear()

    def _take(self, page: Page) -> None:
        self.faults |= page.faults
        folds.keep_states(self.states, page.states, most=REBUILD_STATES_MAX)

    # --- changing places --------------------------------------------------------------------------

    def make_room(self, connection: sa.Connection) -> None:
        """Renames older previous tables away, unless they are these tables."""
        for live, table in self.tables.items():
            old = f"{live}__{OLD}"
            if table.name != old and old in tables_beside(connection, table.named(live)):
                connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {live}__{_FORMER}")

    def put_in_place(self, connection: sa.Connection, put_aside: str) -> None:
        """Gives these tables the names of the live ones, and renames those."""
        for live, table in self.tables.items():
            connection.exec_driver_sql(f"ALTER TABLE {live} RENAME TO {live}__{GONE}")
            connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {live}")
            if put_aside != GONE:
                connection.exec_driver_sql(f"ALTER TABLE {live}__{GONE} RENAME TO {live}__{put_aside}")
        for view in self.selected:
            bad = {row[2]: row[5] for row in self.faults.values() if row[1] == view.name}
            release(connection, view.name, self.offset, bad)
        QUARANTINE.write(connection, list(self.faults.values()))


def throw_away(views: Views, selected: Sequence[View]) -> None:
    """Drops the tables that rebuilds left beside those of some views, except the kept ones."""
    for view in selected:
        for table in view.tables:
            with views.store.writing() as connection:
                for name in tables_beside(connection, table):
                    if name != f"{table.name}__{OLD}":
                        connection.exec_driver_sql(f"DROP TABLE {name}")


def packed_faults(faults: Sequence[Row]) -> bytes:
    """Rows of the quarantine as stored in `view_kept`."""
    return msgspec.json.encode(faults)


def unpacked_faults(packed: bytes) -> dict[tuple[str, str], Row]:
    """The inverse of `packed_faults`, by view and stream."""
    rows = msgspec.json.decode(packed, type=list[tuple[str, str, str, str, str, int, str]])
    return {(row[1], row[2]): row for row in rows}
