"""Tables beside the live ones, filled from the journal by one process while the live ones serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from engine.errors import Unrecordable
from engine.fact import Recorded
from engine.journal import Journal
from engine.limits import REBUILD_STATES_MAX
from projections import folds
from projections.database import QUARANTINE, Views, tables_beside
from projections.folding import CannotWrite, Page, Past, advance
from projections.folds import Folded
from projections.tables import Row, Table
from projections.view import View

OLD: Final = "old"
"""Suffix of tables that were put aside; those of a rebuild have its number."""
GONE: Final = "gone"
"""Suffix of tables that nobody wants any more; they are thrown away after the swap."""


_FORMER: Final = "former"
"""Suffix of tables that were put aside before, and make room."""


class Shadow:
    """Tables of some views beside the live ones, which show the journal up to `offset`.

    `also` is done in the transaction of each page, with the offset that it comes to.
    """

    def __init__(
        self,
        journal: Journal,
        views: Views,
        selected: Sequence[View],
        suffix: str,
        also: Callable[[sa.Connection, Shadow, int], None] | None = None,
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

    # --- tables -----------------------------------------------------------------------------------

    def create(self) -> None:
        """Makes the tables, without their indexes."""
        with self._store.writing() as connection:
            for table in self.tables.values():
                connection.exec_driver_sql(table.bare(self._store.dialect))

    def index(self) -> None:
        """Makes their indexes, each in a transaction of its own: others write in between."""
        for table in self.tables.values():
            for statement in table.indexing():
                with self._store.writing() as connection:
                    connection.exec_driver_sql(statement)
            if self._store.dialect == "postgresql":  # else it knows nothing of them, and plans badly
                with self._store.writing() as connection:
                    connection.exec_driver_sql(f"ANALYZE {table.name}")

    # --- rows -------------------------------------------------------------------------------------

    def advance(self, facts: Sequence[Recorded], end: int) -> None:
        """Folds facts, of which `end` is the last or was left out, in transactions of its own."""
        while facts:
            page, done = advance(facts, self._fold, self._write)
            self._take(page)
            facts = facts[len(done) :]
        self.offset = end

    def advance_inside(self, connection: sa.Connection, facts: Sequence[Recorded]) -> None:
        """The same in the caller's transaction, which must not go on if this raises CannotWrite."""
        page = self._fold(facts, ())
        self._put(connection, page, facts)
        self._take(page)
        self.offset = facts[-1].offset

    def _fold(self, facts: Sequence[Recorded], blamed: Sequence[CannotWrite]) -> Page:
        page = Page(self.selected, self.faults.keys())
        page.fold(facts, self.states, self._past.load, blamed)
        return page

    def _write(self, page: Page, facts: Sequence[Recorded]) -> None:
        with self._store.writing() as connection:
            self._put(connection, page, facts)

    def _put(self, connection: sa.Connection, page: Page, facts: Sequence[Recorded]) -> None:
        try:
            for write in page.rendered():
                table = self.tables[write.table.name]
                new, known = _new(table, write.kept, facts[0].offset)
                table.write(connection, known)
                table.remove(connection, write.gone)
                table.add(connection, [*new, *write.added])
        except Unrecordable as error:
            raise CannotWrite(page.views_of(facts[0]), error) from error
        if self._also:
            self.faults |= page.faults
            self._also(connection, self, facts[-1].offset)

    def _take(self, page: Page) -> None:
        self.faults |= page.faults
        folds.keep_states(self.states, page.states, most=REBUILD_STATES_MAX)

    # --- changing places --------------------------------------------------------------------------

    def make_room(self, connection: sa.Connection) -> None:
        """Moves away what was put aside before, unless it is these tables."""
        for live, table in self.tables.items():
            old = f"{live}__{OLD}"
            if table.name != old and old in tables_beside(connection, table.named(live)):
                connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {live}__{_FORMER}")

    def put_in_place(self, connection: sa.Connection, put_aside: str) -> None:
        """Gives these tables the names of the live ones, and the live ones' others."""
        for live, table in self.tables.items():
            connection.exec_driver_sql(f"ALTER TABLE {live} RENAME TO {live}__{GONE}")
            connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {live}")
            if put_aside != GONE:
                connection.exec_driver_sql(f"ALTER TABLE {live}__{GONE} RENAME TO {live}__{put_aside}")
        for view in self.selected:
            connection.execute(
                sa.text("DELETE FROM view_quarantine WHERE view = :view"), {"view": view.name}
            )
        QUARANTINE.write(connection, list(self.faults.values()))


def _new(table: Table, rows: Sequence[Row], start: int) -> tuple[list[Row], Sequence[Row]]:
    """Rows that cannot be there yet, since their first fact is of this page, and the others."""
    if table.key != "first_offset":
        return [], rows
    place = list(table.columns).index(table.key)
    return (
        [row for row in rows if row[place] >= start],
        [row for row in rows if row[place] < start],
    )


def throw_away(views: Views, selected: Sequence[View]) -> None:
    """Drops the tables that rebuilds have left beside those of some views, but for the kept ones."""
    for view in selected:
        for table in view.tables:
            with views.store.writing() as connection:
                for name in tables_beside(connection, table):
                    if name != f"{table.name}__{OLD}":
                        connection.exec_driver_sql(f"DROP TABLE {name}")


def packed_faults(faults: Sequence[Row]) -> bytes:
    """Rows of the quarantine as `view_kept` has them."""
    return msgspec.json.encode(faults)


def unpacked_faults(packed: bytes) -> dict[tuple[str, str], Row]:
    """The inverse of `packed_faults`, by view and stream."""
    rows = msgspec.json.decode(packed, type=list[tuple[str, str, str, str, str, int, str]])
    return {(row[1], row[2]): row for row in rows}
