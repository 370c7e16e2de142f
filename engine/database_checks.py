"""What `order-engine doctor` asks the databases themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from engine import sqlite
from engine.chain import GENESIS
from engine.errors import BadSettings, JournalDamaged, SchemaMissing
from engine.limits import READERS_MAX
from engine.schema import Tables
from engine.sessions import Head
from engine.sqlite_store import SqliteStore
from engine.store import Store

WAL_LARGE: Final = 256 * 1024**2
"""16 MB is where checkpoints start; this much means that none gets through."""
POSTGRES_OLDEST: Final = 15
"""Older ones get no more fixes."""
CONNECTIONS: Final = 2 * READERS_MAX + 2
"""What one process may open: two pools, the writer, the listener."""


class Finding(NamedTuple):
    """One thing a database said about itself. Without advice all is well."""

    name: str
    value: str
    advice: str = ""
    is_fault: bool = False


def database_checks(store: Store) -> Iterator[Finding]:
    """How the database is set up. Raises SchemaMissing where there is none, Unavailable and the like."""
    return _sqlite_checks(store) if isinstance(store, SqliteStore) else _postgres_checks(store)


def head_and_last(store: Store, tables: Tables) -> tuple[Head | None, Head]:
    """The head row, and the last fact's position and digest, both as of one moment."""
    journal, head = tables.journal.name, tables.head.name
    rows = store.query(
        "SELECT head.position, head.digest, fact.position, fact.digest"  # noqa: S608  names are ours
        f" FROM (SELECT 1) AS one LEFT JOIN {head} AS head ON TRUE"
        f" LEFT JOIN {journal} AS fact ON fact.position = (SELECT max(position) FROM {journal})"
    )
    position, digest, last, last_digest = rows[0]
    return (
        None if position is None else Head(position, bytes(digest)),
        Head(0, GENESIS) if last is None else Head(last, bytes(last_digest)),
    )


# --- SQLite ---------------------------------------------------------------------------------------


def _sqlite_checks(store: SqliteStore) -> Iterator[Finding]:
    version = ".".join(map(str, sqlite.version()))
    yield Finding(
        "SQLite",
        f"{version} ({sqlite.driver().__name__.partition('.')[0]})",
        ""
        if sqlite.is_wal_safe()
        else "may corrupt a file that several processes write:"
        f" needs {'.'.join(map(str, sqlite.WAL_SAFE))} or newer, as in `pip install pysqlite3`",
    )
    # Opening the file would create it, or switch it to WAL: look at its first bytes before.
    _check_wal(Path(store.path))
    wal = Path(store.path + "-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    yield Finding("journal_mode", "wal")
    with store.reading() as connection:
        level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    is_full = level >= 2
    yield Finding(
        "synchronous",
        {2: "full", 3: "extra"}.get(level, str(level)),
        "" if is_full else "a power cut would lose orders that were answered",
        is_fault=not is_full,
    )
    yield Finding(
        "WAL size",
        f"{wal_bytes / 1024**2:.1f} MB",
        "" if wal_bytes < WAL_LARGE else "some process reads without end: find and restart it",
    )


def _check_wal(path: Path) -> None:
    # Closing a file frees SQLite's locks on it in the whole process, so this is for a process that has
    # no journal open beside.
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except FileNotFoundError:
        raise SchemaMissing(f"there is no journal yet: {path}") from None
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        raise SchemaMissing(f"there is no journal yet: {path} is empty")
    if not header.startswith(b"SQLite format 3\0"):
        raise JournalDamaged(f"{path} is not a SQLite database")
    if header[18:20] != b"\x02\x02":  # the format's write and read version: 2 is WAL
        raise BadSettings(f"{path} is not in WAL mode: `order-engine migrate` switches it")


def missing_triggers(store: Store, tables: Tables) -> list[str]:
    """Those triggers that keep the journal append-only which are not there, or do nothing."""
    journal = tables.journal.name
    if store.dialect == "sqlite":
        wanted = {f"{journal}_no_update", f"{journal}_no_delete"}
        statement = (
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?"
            " AND sql LIKE '%RAISE(ABORT%'"
        )
    else:
        wanted = {f"{journal}_append_only"}
        statement = (
            "SELECT tgname::text FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid"
            " WHERE tgrelid = to_regclass(?) AND tgenabled IN ('O', 'A')"
            " AND (tgtype & 58) = 58"  # before update, delete and truncate
            " AND prosrc LIKE '%%RAISE EXCEPTION%%'"
        )
    return sorted(wanted - {row[0] for row in store.query(statement, [journal])})


# --- PostgreSQL -----------------------------------------------------------------------------------

_SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)


def _postgres_checks(store: Store) -> Iterator[Finding]:
    shown = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    statement = (
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"  # noqa: S608
        " current_setting('max_connections')::int,"
        f" (SELECT sum(numbackends)::int FROM pg_stat_database), {shown}"
    )
    with store.reading() as connection:
        version, number, most, used, *values = connection.execute(sa.text(statement)).one()
    is_old = number // 10_000 < POSTGRES_OLDEST
    yield Finding(
        "PostgreSQL",
        version,
        f"gets no more fixes: move to {POSTGRES_OLDEST} or newer" if is_old else "",
    )
    settings = dict(zip(_SETTINGS, values, strict=True))
    yield _durable(settings, "fsync", "a power cut may corrupt the database: set fsync = on")
    yield _durable(settings, "full_page_writes", "a power cut may tear pages: set full_page_writes = on")
    yield _durable(settings, "synchronous_commit", "a power cut would lose orders that were answered")
    yield _bounded(settings, "lock_timeout")
    yield _bounded(settings, "idle_in_transaction_session_timeout")
    yield Finding(
        "max_connections",
        f"{most}, {used} in use",
        "" if most - used >= CONNECTIONS else f"one process may open {CONNECTIONS}: raise it",
    )


def _durable(settings: dict[str, str], name: str, advice: str) -> Finding:
    is_off = settings[name] in {"off", "local"}
    return Finding(name, settings[name], advice if is_off else "", is_fault=is_off)


def _bounded(settings: dict[str, str], name: str) -> Finding:
    advice = "a frozen process could stop all writers: does a pooler drop connection options?"
    return Finding(name, settings[name], advice if settings[name] == "0" else "")
