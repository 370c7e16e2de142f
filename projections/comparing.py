"""Compares rebuilt tables with the live ones, row by row, and finds the facts behind a difference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from engine.journal.journal import Journal
from engine.kernel.limits import FINDINGS_SHOWN_MAX
from projections.database import Views
from projections.jobs import Findings, RowDifference
from projections.shadow import Shadow
from projections.tables import Table
from projections.view import View

_BEGIN: Final = {
    "sqlite": ("BEGIN",),
    "postgresql": (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        # Both sides are in key order. The new one has no statistics yet, and a hash join would spill to
        # files.
        "SET LOCAL enable_hashjoin = off",
        "SET LOCAL max_parallel_workers_per_gather = 0",  # the other cores are for serving processes
    ),
}


@contextlib.contextmanager
def snapshot(views: Views) -> Iterator[sa.Connection]:
    """A connection with a snapshot of the database."""
    with views.store.reading() as connection:
        for statement in _BEGIN[views.store.dialect]:
            connection.exec_driver_sql(statement)
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


class Difference(NamedTuple):
    """A row that is missing, extra or changed, and its stream, if known."""

    view: str
    table: Table
    what: str
    key: Any
    stream: str


class Compared(NamedTuple):
    """Tables compared at `offset`: their views, the number of rows and of differences, and the first
    ones.
    """

    views: list[str]
    offset: int
    rows: int
    differing: int
    first: list[Difference]


def compare(connection: sa.Connection, shadow: Shadow, selected: Sequence[View]) -> Compared:
    """Compares a shadow with the live tables of `selected`, both at the same offset."""
    rows, differing = 0, 0
    first: list[Difference] = []
    for view in selected:
        for table in view.tables:
            pair = _Pair(connection, table, shadow.tables[table.name])
            ours, found = pair.count()
            rows += ours
            differing += found
            if found and len(first) < FINDINGS_SHOWN_MAX:
                keys = pair.differing(FINDINGS_SHOWN_MAX - len(first))
                first += [Difference(view.name, table, *one) for one in keys]
    return Compared([view.name for view in selected], shadow.offset, rows, differing, first)


def explain(journal: Journal, compared: Compared) -> Findings:
    """Adds the facts behind each difference. Call it outside a snapshot: long streams take long.

    Raises JournalDamaged if such a fact differs from what was recorded.
    """
    shown = [_finding(journal, compared.offset, one) for one in compared.first]
    return Findings(compared.views, compared.rows, compared.differing, shown)


class _Pair:
    """A live table and its rebuilt counterpart."""

    def __init__(self, connection: sa.Connection, live: Table, ours: Table) -> None:
        self._connection = connection
        self._table = live
        key = live.key
        others = [name for name in live.columns if name != key]
        self._sides = f"{ours.name} AS ours LEFT JOIN {live.name} AS live ON live.{key} = ours.{key}"
        self._differs = " OR ".join([f"live.{key} IS NULL", *(f"live.{n} <> ours.{n}" for n in others)])
        self._wrong = f"FROM {self._sides} WHERE {self._differs}"
        self._extra = (
            f"FROM {live.name} AS live LEFT JOIN {ours.name} AS ours ON live.{key} = ours.{key}"
            f" WHERE ours.{key} IS NULL"
        )

    def count(self) -> tuple[int, int]:
        """The number of expected rows, and of differing, missing and extra ones."""
        key = self._table.key
        statement = (
            f"SELECT count(*), count(live.{key}), count(*) FILTER (WHERE {self._differs})"
            f" FROM {self._sides}"
        )
        ours, known, wrong = self._connection.exec_driver_sql(statement).one()
        live = self._connection.exec_driver_sql(f"SELECT count(*) FROM {self._table.name}").scalar_one()
        return ours, wrong + live - known

    def differing(self, limit: int) -> list[tuple[str, Any, str]]:
        """(what, key, stream) of some differences, in key order."""
        key, stream = self._table.key, self._table.stream
        found = []
        for side, name in ((self._wrong, "ours"), (self._extra, "live")):
            of = f"{name}.{stream}" if stream else "''"
            missing = "live" if name == "ours" else "ours"
            statement = (
                f"SELECT {name}.{key}, {of}, {missing}.{key} IS NULL {side}"
                f" ORDER BY {name}.{key} LIMIT {limit:d}"
            )
            for value, where, is_alone in self._connection.exec_driver_sql(statement):
                what = ("missing" if name == "ours" else "extra") if is_alone else "changed"
                found.append((what, value, where))
        return sorted(found, key=lambda one: str(one[1]))[:limit]


def _finding(journal: Journal, upto: int, difference: Difference) -> RowDifference:
    view, table, what, key, stream = difference
    first, last = 0, 0
    if table.keys_per_fact or not table.stream:  # the key identifies the fact
        offset = key // (table.keys_per_fact or 1) if isinstance(key, int) else 0
        facts = journal.read(offset - 1, 1) if 0 < offset <= upto else []
        if facts:
            stream, first, last = facts[0].stream, offset, offset
    if stream and not table.keys_per_fact:
        known = [fact.offset for fact in journal.stream(stream) if fact.offset <= upto]
        first, last = (known[0], known[-1]) if known else (0, 0)
    return RowDifference(view, table.name, str(key), what, stream, first, last)


def row_count(views: Views, table: Table) -> int:
    """How many rows a table has."""
    return int(views.query(f"SELECT count(*) FROM {table.name}")[0][0])
