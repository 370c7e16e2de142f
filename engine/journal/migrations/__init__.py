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
its own tables changed. A journal under a prefix is made by one release and has no chain.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory

_HERE: Final = Path(__file__).parent
_ONE_AT_A_TIME: Final = threading.Lock()
"""alembic's `op` is global to the process: two threads would share a journal."""


def latest() -> int:
    """The number of the last script."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert head is not None
    return int(head)


def stamp(connection: sa.Connection) -> None:
    """Records that this journal was created with the latest schema."""
    with _ONE_AT_A_TIME:
        command.stamp(_config(connection), "head")


def upgrade(connection: sa.Connection, schema: int) -> None:
    """Runs the scripts after `schema`, inside the caller's write transaction."""
    config = _config(connection)
    with _ONE_AT_A_TIME:
        if not sa.inspect(connection).has_table("alembic_version"):
            command.stamp(config, f"{schema:04}")  # the first release had no version table
        command.upgrade(config, "head")


def add_columns(table: str, *columns: sa.Column[Any]) -> None:
    """For scripts: adds columns to a table, if this journal has the table."""
    if sa.inspect(op.get_bind()).has_table(table):
        for column in columns:
            op.add_column(table, column)


def add_index(name: str, table: str, columns: list[str]) -> None:
    """For scripts: adds an index to a table, if this journal has the table."""
    if sa.inspect(op.get_bind()).has_table(table):
        op.create_index(name, table, columns)


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
