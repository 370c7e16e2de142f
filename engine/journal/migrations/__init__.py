"""The schemas of the journal's database as a chain of numbered scripts, run by alembic.

    versions/0001_first_release.py   the baseline, empty
    versions/NNNN_what_it_adds.py    from schema NNNN-1 to NNNN

A new journal is created by `schema` and `operations`, then `stamp`ed; an older one is `upgrade`d.
`tests/contract/test_migrations.py` checks that both lead to the same tables.

To change a table of the journal's database:

1. Change its definition in `engine/journal/schema.py` or `engine/registers/operations.py`.
2. Add the next script here. `add_columns` is enough for most; a new operational table needs an empty
   script, as `operations.migrate` creates what is missing.
3. Raise `schema.SCHEMA` to the script's number.

Scripts are frozen once released, and import nothing of the engine but this package: the definitions move
on, a script must not. A journal without operational tables, as a library application makes it, has only
its own tables changed. Under a prefix, all tables have it, alembic's `alembic_version` included: scripts
name tables without it, and go through the functions below.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory

_HERE: Final = Path(__file__).parent
_ONE_AT_A_TIME: Final = threading.Lock()
"""alembic's `op` is global to the process: two threads would share a journal."""


def latest() -> int:
    """The number of the last script."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return int(head)


def stamp(connection: sa.Connection, prefix: str = "") -> None:
    """Notes that this journal was created with the latest schema."""
    with _ONE_AT_A_TIME:
        command.stamp(_config(connection, prefix), "head")


def upgrade(connection: sa.Connection, schema: int, prefix: str = "") -> None:
    """Runs the scripts after `schema`, inside the caller's write transaction."""
    config = _config(connection, prefix)
    with _ONE_AT_A_TIME:
        if not sa.inspect(connection).has_table(version_table(prefix)):
            command.stamp(config, _revision(schema))  # the first release kept no such table
        command.upgrade(config, "head")


def statements(schema: int | None, tables: Collection[str], prefix: str = "") -> list[str]:
    """SQL of `upgrade` on PostgreSQL, or of `stamp` without `schema`. `tables` are those that exist."""
    config = _config(prefix=prefix, tables=tables)
    with _ONE_AT_A_TIME:
        if schema is None:
            command.stamp(config, "head", sql=True)
        else:
            if version_table(prefix) not in tables:
                command.stamp(config, _revision(schema), sql=True)
            command.upgrade(config, f"{_revision(schema)}:head", sql=True)
    buffer = config.output_buffer
    assert isinstance(buffer, StringIO)
    return [text.strip() for text in buffer.getvalue().split(";\n") if text.strip()]


def version_table(prefix: str) -> str:
    """The table that alembic keeps its number in."""
    return f"{prefix}alembic_version"


def add_columns(table: str, *columns: sa.Column[Any]) -> None:
    """For scripts: adds columns to a table, if this journal has the table."""
    if has_table(table):
        for column in columns:
            op.add_column(_prefix() + table, column)


def add_index(name: str, table: str, columns: list[str]) -> None:
    """For scripts: adds an index to a table, if this journal has the table."""
    if has_table(table):
        op.create_index(_prefix() + name, _prefix() + table, columns)


def has_table(table: str) -> bool:
    """For scripts: whether this journal has a table."""
    name = _prefix() + table
    if context.is_offline_mode():
        return name in context.config.attributes["tables"]
    return sa.inspect(op.get_bind()).has_table(name)


def _prefix() -> str:
    return str(context.config.attributes["prefix"])


def _revision(schema: int) -> str:
    return f"{schema:04}"


def _config(
    connection: sa.Connection | None = None, prefix: str = "", tables: Collection[str] = ()
) -> Config:
    config = Config(output_buffer=StringIO())
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes.update(connection=connection, prefix=prefix, tables=tables)
    return config
