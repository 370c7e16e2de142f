"""Rewinding a journal by some facts, as a restored backup or a failover to a late replica does."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa

from engine.journal import sqlite
from engine.kernel.chain import GENESIS


def execute_behind(url: str, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Statements with `?` behind the engine's back, in one transaction."""
    if url.startswith("sqlite"):
        connection: Any = sqlite.driver().connect(sa.make_url(url).database, timeout=10)
    else:
        connection = psycopg.connect(url)
    try:
        for statement, values in statements:
            words = statement if url.startswith("sqlite") else statement.replace("?", "%s")
            connection.execute(words, values)
        connection.commit()
    finally:
        connection.close()


def rewind_journal(url: str, position: int) -> None:
    """The journal ends at `position` again; its triggers are as they were."""
    is_sqlite = url.startswith("sqlite")
    if is_sqlite:
        connection: Any = sqlite.driver().connect(sa.make_url(url).database, timeout=10)
        mark = "?"
        trigger = "SELECT sql FROM sqlite_schema WHERE name = 'journal_no_delete'"
        again = connection.execute(trigger).fetchone()[0]
        connection.execute("DROP TRIGGER journal_no_delete")
    else:
        connection, mark = psycopg.connect(url), "%s"
        again = "ALTER TABLE journal ENABLE TRIGGER journal_append_only"
        connection.execute("ALTER TABLE journal DISABLE TRIGGER journal_append_only")
    try:
        connection.execute(f"DELETE FROM journal WHERE position > {mark}", (position,))
        found = connection.execute(
            f"SELECT digest FROM journal WHERE position = {mark}", (position,)
        ).fetchone()
        digest = found[0] if found else GENESIS
        connection.execute(
            f"UPDATE journal_head SET position = {mark}, digest = {mark}", (position, digest)
        )
        connection.execute(again)
        connection.commit()
    finally:
        connection.close()
