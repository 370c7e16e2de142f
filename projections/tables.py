"""Tables of the views, defined once for both databases: creation, and bulk writes.

Columns are `integer` (eight bytes), `text` (compared by bytes) or `bytes`, and never null: comparing and
binding nulls differs between databases, and "" or 0 serve as well. Amounts are text, inside bodies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from engine.kernel.limits import VIEW_ROWS_PER_STATEMENT

Row = tuple[Any, ...]
"""Values in the order of a table's columns."""

_TYPES: Final = {
    "sqlite": {"integer": "INTEGER", "text": "TEXT", "bytes": "BLOB"},
    "postgresql": {"integer": "bigint", "text": 'text COLLATE "C"', "bytes": "bytea"},
}
MARKS: Final = {"sqlite": "?", "postgresql": "%s"}
"""Each driver's placeholder."""
_COPIED_FROM: Final = 50
"""Number of rows from which PostgreSQL's COPY, with one more round trip, is faster than an insert."""
_COPIED_AS: Final = {"integer": "int8", "text": "text", "bytes": "bytea"}
_ARRAYS: Final = {"integer": "bigint[]", "text": "text[]", "bytes": "bytea[]"}


@dataclass(frozen=True, eq=False)
class Table:
    """A table: column -> type, its primary key, and indexes as `name -> columns [WHERE ...]`.

    `stream` is the column with the stream that feeds a row; without one the key is the offset of one of
    its facts. Rows of a single fact have `keys_per_fact` possible keys, from its offset times that on;
    it is 0 for rows that follow a state.
    """

    name: str
    columns: Mapping[str, str]
    key: str
    indexes: Mapping[str, str]
    stream: str = ""
    keys_per_fact: int = 0

    def named(self, name: str) -> Table:
        """The same table under another name, with indexes named after it, which keep their names in a
        rename.
        """
        return replace(self, name=name)

    def creation(self, dialect: str) -> list[str]:
        """Statements that create it with its indexes, if missing."""
        return [self.bare(dialect), *self.indexing()]

    def bare(self, dialect: str) -> str:
        """The statement that creates it without indexes, if missing."""
        types = _TYPES[dialect]
        columns = [f"{name} {types[kind]} NOT NULL" for name, kind in self.columns.items()]
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)}, PRIMARY KEY ({self.key}))"

    def indexing(self) -> list[str]:
        """Statements that create its indexes, if missing."""
        statements = []
        for suffix, words in self.indexes.items():
            unique = "UNIQUE " * suffix.startswith("unique")
            columns_of, _, condition = words.partition(" WHERE ")
            where = f" WHERE {condition}" if condition else ""
            statements.append(
                f"CREATE {unique}INDEX IF NOT EXISTS {self.name}_{suffix}"
                f" ON {self.name} ({columns_of}){where}"
            )
        return statements

    def write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Upserts the rows."""
        names = list(self.columns)
        changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != self.key)
        end = f" ON CONFLICT ({self.key}) DO UPDATE SET {changes}"
        self._insert(connection, rows, end)

    def add(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Inserts rows with new keys."""
        if connection.dialect.name == "postgresql" and len(rows) >= _COPIED_FROM:
            self._copy(connection, rows)
        else:
            self._insert(connection, rows, "")

    def replace(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """As `write`, for unread tables: faster on PostgreSQL, by deleting and inserting all rows."""
        if connection.dialect.name == "postgresql" and len(rows) >= _COPIED_FROM:
            place = list(self.columns).index(self.key)
            self.remove(connection, [row[place] for row in rows])
            self._copy(connection, rows)
        else:
            self.write(connection, rows)

    def remove(self, connection: sa.Connection, keys: Sequence[Any]) -> None:
        """Deletes the rows with these keys, if they exist."""
        if not keys:
            return
        start = f"DELETE FROM {self.name} WHERE {self.key}"
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"{start} = ?", [(key,) for key in keys])
        else:
            # Planned for these keys each time. A generic plan, made while the table was small, scans the
            # table, and for each row all the keys.
            kind = _ARRAYS[self.columns[self.key]]
            raw: Any = connection.connection.driver_connection
            raw.execute(f"{start} = ANY(%s::{kind})", (list(keys),), prepare=False)

    def _insert(self, connection: sa.Connection, rows: Sequence[Row], end: str) -> None:
        # Through the driver's own connection, in the same transaction: on SQLite SQLAlchemy would take
        # as long for a row as writing it.
        raw: Any = connection.connection.driver_connection
        start = f"INSERT INTO {self.name} ({', '.join(self.columns)})"
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(self.columns))
            if rows:
                raw.executemany(f"{start} VALUES ({marks}){end}", self._bindable(rows))
            return
        arrays = ", ".join(f"%s::{_ARRAYS[kind]}" for kind in self.columns.values())
        # WHERE true: without it the parser takes ON CONFLICT for a join condition.
        statement = f"{start} SELECT * FROM unnest({arrays}) WHERE true{end}"
        for part in _parts(rows):
            columns = tuple(map(list, zip(*part, strict=True)))
            raw.execute(statement, columns)

    def _copy(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        # Through the driver's own connection, in the same transaction.
        raw: Any = connection.connection.driver_connection
        statement = f"COPY {self.name} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([_COPIED_AS[kind] for kind in self.columns.values()])
            for row in rows:
                copy.write_row(row)

    def _bindable(self, rows: Sequence[Row]) -> Iterable[Row]:
        # The driver searches an adapter for `bytes` before binding, but not for bytearray.
        *_, last = self.columns.values()
        if last != "bytes":
            return rows
        return ((*row[:-1], bytearray(row[-1])) for row in rows)


def _parts(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    for start in range(0, len(rows), VIEW_ROWS_PER_STATEMENT):
        yield rows[start : start + VIEW_ROWS_PER_STATEMENT]
