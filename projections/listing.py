"""Queries on a view's table: one row, or a page of rows, newest first, by the first fact's offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from engine.journal.store import Column
from engine.kernel.refusals import invalid
from projections.tables import Table


class Reader(Protocol):
    """The query interface of views: see `database.Views`."""

    @property
    def shapes(self) -> Mapping[str, str]:
        """View -> the required shape of its tables."""

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a reading statement with `?` for each value."""

    def check(self, view: str, stream: str = "", owner: str = "") -> int:
        """The offset of the view. Raises ViewQuarantined, ViewBehind."""

    def withheld(self, view: str, column: str = "", owner: str = "") -> int:
        """The number of withheld streams. Raises ViewBehind."""

    def is_ours(self, view: str) -> bool:
        """Whether its tables have this release's shape."""


class Shown(NamedTuple):
    """A resource, rendered except for its personal words."""

    id: str
    body: bytes


class Listed(NamedTuple):
    """A page of resources, newest first; `has_more` if older ones follow.

    `withheld` counts the owner's resources that the view cannot show (see `projections.quarantine`).
    """

    rows: list[Shown]
    has_more: bool
    withheld: int = 0


class RowScope(NamedTuple):
    """Rows visible to one owner, by `account` or `tenant`; without a column, all."""

    view: str
    column: str = ""
    owner: str = ""

    def where(self) -> Where:
        """The scope as a condition on a table."""
        return Where().equal(self.column, self.owner) if self.column else Where()


class Where:
    """Conditions on columns, joined by AND. A filter of None is omitted.

    Column names are the program's own; values are always bound.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.values: list[Any] = []

    def equal(self, column: str, value: Any) -> Where:
        return self._compare(column, "=", value)

    def at_least(self, column: str, value: int | None) -> Where:
        return self._compare(column, ">=", value)

    def at_most(self, column: str, value: int | None) -> Where:
        return self._compare(column, "<=", value)

    def below(self, column: str, value: int | None) -> Where:
        return self._compare(column, "<", value)

    def among(self, column: str, values: Sequence[str | int] | None) -> Where:
        """One of `values`; an empty sequence matches no row."""
        if values is not None:
            self.words.append(f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0")
            self.values += values
        return self

    def literally(self, words: str) -> Where:
        """A literal SQL condition, such as that of a partial index."""
        self.words.append(words)
        return self

    def _compare(self, column: str, sign: str, value: Any) -> Where:
        if value is not None:
            self.words.append(f"{column} {sign} ?")
            self.values.append(value)
        return self

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self.words)}" if self.words else ""


class Single(NamedTuple):
    """One resource: `wanted` matches at most one row of `table`, which follows the state of `stream`.

    `owner` is the asking account or tenant; none: visible to all.
    """

    view: str
    table: Table
    stream: str
    wanted: Where
    owner: str = ""

    def columns(self, shape: str) -> tuple[Column, Column, Column]:
        """SQL expressions: the view's offset, null if it must not be read; the offset from which the
        stream is in quarantine; the row's body.
        """
        ours = "view = ? AND shape = ? AND reached >= rebuilt_to"
        reached = f"(SELECT reached FROM view_checkpoints WHERE {ours})"
        waits = "(SELECT bad_offset FROM view_quarantine WHERE view = ? AND stream = ?"
        waits += " AND ? IN ('', account, tenant))"
        body = f"(SELECT body FROM {self.table.name}{self.wanted})"
        return (
            (reached, (self.view, shape)),
            (waits, (self.view, self.stream, self.owner)),
            (body, self.wanted.values),
        )


def list_rows(
    views: Reader, table: Table, wanted: Where, *, scope: RowScope, before: str | None, limit: int
) -> Listed:
    """A page of matching rows, in descending key order, without withheld ones.

    `before` is the id of a row within `scope`. Raises Refused `invalid_param` for any other, ViewBehind.
    """
    withheld = views.withheld(*scope)
    if withheld:
        wanted.literally(
            f"{table.stream} NOT IN (SELECT stream FROM view_quarantine WHERE view = '{scope.view}')"
        )
    if before is not None:
        within = scope.where()
        known = Where().equal("id", before)
        known.words += within.words
        known.values += within.values
        rows = views.query(f"SELECT {table.key} FROM {table.name}{known}", known.values)
        if not rows:
            raise invalid("query.before", "invalid_value", "names nothing in this list")
        wanted.below(table.key, rows[0][0])
    return page_of(views, table, wanted, limit)._replace(withheld=withheld)


def page_of(views: Reader, table: Table, wanted: Where, limit: int) -> Listed:
    """A page of matching rows, in descending key order."""
    statement = f"SELECT id, body FROM {table.name}{wanted} ORDER BY {table.key} DESC LIMIT ?"
    rows = views.query(statement, [*wanted.values, limit + 1])
    return Listed([Shown(*row) for row in rows[:limit]], len(rows) > limit)
