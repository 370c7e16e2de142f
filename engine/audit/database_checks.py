"""Database checks of `order-engine doctor`."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from engine.journal import sqlite
from engine.journal.postgres_store import APPLICATION
from engine.journal.schema import ENCODING, Tables
from engine.journal.sessions import Head
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel.chain import GENESIS
from engine.kernel.errors import (
    BadSettings,
    DiskFull,
    Inaccessible,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
)
from engine.kernel.files import regular
from engine.kernel.limits import READERS_MAX, SERVE_PROCESSES

WAL_LARGE: Final = 256 * 1024**2
"""16 MB is where checkpoints start; this size means that none succeeds."""
POSTGRES_OLDEST: Final = 15
"""Older versions are no longer maintained."""
CONNECTIONS: Final = 2 * READERS_MAX + 2
"""Connections of one process at most: a reading pool and a writing one, the appender, the listener."""
VIEWS_CONNECTIONS: Final = 2 * READERS_MAX
"""Connections to the views: two pools."""

WRITE_ROOM: Final = 64 * 1024
"""Free space that an append may need: a dozen pages in the log."""
WRITABLE: Final = "writable"
"""Name of the check whose fault prevents heartbeats."""
_UNWRITTEN: Final[tuple[tuple[type[Unavailable], str], ...]] = (
    (DiskFull, "make room: writes resume by themselves"),
    (Inaccessible, "let the engine's user write the file and its directory"),
    (Unavailable, "find what holds the file: a frozen process, or a program that has it open"),
)


class DatabaseFinding(NamedTuple):
    """The result of one check. Without advice it is good."""

    name: str
    value: str
    advice: str = ""
    is_fault: bool = False


def database_checks(store: Store, *, has_views: bool = False) -> Iterator[DatabaseFinding]:
    """The database's configuration; `has_views` if the same server also holds the views.

    Raises SchemaMissing without a journal, Unavailable and the like.
    """
    if isinstance(store, SqliteStore):
        return _sqlite_checks(store)
    return _postgres_checks(store, has_views=has_views)


def head_and_last(store: Store, tables: Tables) -> tuple[Head | None, Head]:
    """The head row, and the last fact's position and digest, both at one moment."""
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


def _sqlite_checks(store: SqliteStore) -> Iterator[DatabaseFinding]:
    version = ".".join(map(str, sqlite.version()))
    yield DatabaseFinding(
        "SQLite",
        f"{version} ({sqlite.driver().__name__.partition('.')[0]})",
        ""
        if sqlite.is_wal_safe()
        else "may corrupt a file that several processes write:"
        f" needs {'.'.join(map(str, sqlite.WAL_SAFE))} or newer, as in `pip install pysqlite3`",
    )
    # Opening the file would create it, or switch it to WAL: read its first bytes first.
    _check_wal(Path(store.path))
    wal = Path(store.path + "-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    yield DatabaseFinding("journal_mode", "wal")
    with store.reading() as connection:
        level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    is_full = level >= 2
    yield DatabaseFinding(
        "synchronous",
        {2: "full", 3: "extra"}.get(level, str(level)),
        "" if is_full else "a power cut would lose orders that were answered",
        is_fault=not is_full,
    )
    yield _written(store)
    yield DatabaseFinding(
        "WAL size",
        f"{wal_bytes / 1024**2:.1f} MB",
        "" if wal_bytes < WAL_LARGE else "some process reads without end: find and restart it",
    )


def _written(store: SqliteStore) -> DatabaseFinding:
    # A log with free space accepts a page even on a full disk, and only a commit would need more: so
    # space is tested with a file beside it, and the journal is not touched.
    try:
        with store.writing(), tempfile.TemporaryFile(dir=Path(store.path).parent) as file:
            file.write(bytes(WRITE_ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        advice = _UNWRITTEN[0][1] if is_full else _UNWRITTEN[1][1]
        return DatabaseFinding(WRITABLE, f"no: {store.path}: {error.strerror}", advice, is_fault=True)
    except Unavailable as error:
        advice = next(text for kind, text in _UNWRITTEN if isinstance(error, kind))
        return DatabaseFinding(WRITABLE, f"no: {error}", advice, is_fault=True)
    return DatabaseFinding(WRITABLE, "yes")


def _check_wal(path: Path) -> None:
    # Closing a file releases SQLite's locks on it in the whole process, so this process must not have
    # the journal open.
    try:
        with regular(path) as file:
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
    """Triggers protecting the append-only tables that are missing or disabled."""
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


def _postgres_checks(store: Store, *, has_views: bool) -> Iterator[DatabaseFinding]:
    shown = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    statement = (
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"  # noqa: S608
        " current_setting('max_connections')::int,"
        " (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " (SELECT count(*)::int FROM pg_stat_activity WHERE application_name = :ours),"
        " pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',"
        f" current_setting('server_encoding'), {shown}"
    )
    with store.reading() as connection:
        result = connection.execute(sa.text(statement), {"ours": APPLICATION})
        version, number, most, used, ours, is_read_only, encoding, *values = result.one()
    is_old = number // 10_000 < POSTGRES_OLDEST
    yield DatabaseFinding(
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
    yield DatabaseFinding(
        "encoding",
        encoding,
        f"some names cannot be kept: dump, and restore into a database with ENCODING '{ENCODING}'"
        if encoding != ENCODING
        else "",
        is_fault=encoding != ENCODING,
    )
    yield DatabaseFinding(
        WRITABLE,
        "no: it is a standby, or read-only" if is_read_only else "yes",
        "point --journal-url to the primary" if is_read_only else "",
        is_fault=is_read_only,
    )
    yield _connections(most, used, ours, has_views=has_views)


def _connections(most: int, used: int, ours: int, *, has_views: bool) -> DatabaseFinding:
    each = CONNECTIONS + VIEWS_CONNECTIONS * has_views
    needed, others = each * SERVE_PROCESSES, used - ours
    views = f" and {VIEWS_CONNECTIONS} to the views" * has_views
    return DatabaseFinding(
        "max_connections",
        f"{most}, {used} in use, {ours} by engines; one `serve` with all roles opens up to {needed}:"
        f" {SERVE_PROCESSES} processes, each {CONNECTIONS} to the journal{views}",
        "" if most - others >= needed else f"raise max_connections to {others + needed} or more",
    )


def _durable(settings: dict[str, str], name: str, advice: str) -> DatabaseFinding:
    is_off = settings[name] in {"off", "local"}
    return DatabaseFinding(name, settings[name], advice if is_off else "", is_fault=is_off)


def _bounded(settings: dict[str, str], name: str) -> DatabaseFinding:
    advice = "a frozen process could stop all writers: does a pooler drop connection options?"
    return DatabaseFinding(name, settings[name], advice if settings[name] == "0" else "")
