"""Online backup of an installation's databases: each a consistent, verified copy.

The views are copied first. They derive from the journal, so a copy with a lag catches up by itself; one
ahead of its journal would have to be rebuilt.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.audit.auditing import AuditOptions, audit, file_faults
from engine.config.keys import sync_directory
from engine.config.settings import Settings
from engine.journal import sqlite
from engine.journal.datastore import Datastore, open_store
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel.errors import BadSettings, JournalDamaged, NotEmpty, NotSupported, Unavailable
from engine.kernel.limits import BACKUP_PAGES

JOURNAL: Final = "journal.db"
VIEWS: Final = "views.db"

ReportProgress = Callable[[int], None]
"""Progress callback: pages copied so far."""


@dataclass(frozen=True)
class BackedUp:
    """The verified result: every digest of the copy was checked."""

    target: str
    facts: int
    digest: str
    has_views: bool
    bytes: int


class Backup:
    """One backup of an installation, to the new directory `target`; `pages` are how many to copy.

    Raises NotSupported for a journal in PostgreSQL, NotEmpty for an existing target, BadSettings for one
    that cannot be created, Unavailable without room.
    """

    def __init__(self, settings: Settings, target: Path) -> None:
        journal = open_store(settings.journal_url)
        if not isinstance(journal, SqliteStore):
            raise NotSupported(
                "a journal in PostgreSQL is backed up with PostgreSQL's own tools, pg_dump or a base"
                " backup: docs/backup.md"
            )
        self._target = target.absolute()
        self._sources: list[tuple[str, SqliteStore]] = [(JOURNAL, journal)]
        views = open_store(settings.views_url)
        if isinstance(views, SqliteStore) and Path(views.path).exists():
            self._sources.insert(0, (VIEWS, views))
        _check_absent(self._target)
        if not Path(journal.path).exists():
            raise BadSettings(f"{journal.path}: there is no journal")
        self.pages = sum(store.query("PRAGMA page_count")[0][0] for _, store in self._sources)
        self._check_room()

    def run(self, report: ReportProgress = lambda _: None, *, pages: int = BACKUP_PAGES) -> BackedUp:
        """Runs the backup. Raises JournalDamaged, and leaves no files, if the copy is not sound."""
        draft = self._target.with_name(f"{self._target.name}.partial-{secrets.token_hex(4)}")
        try:
            draft.mkdir(mode=0o700)
            try:
                self._copy_all(draft, report, pages)
                done = self._proven(draft)
                sync_directory(draft)
                _check_absent(self._target)
                draft.rename(self._target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            sync_directory(self._target.parent)
        except OSError as error:
            raise BadSettings(f"{self._target} cannot be made: {error.strerror}") from error
        finally:
            for _, store in self._sources:
                store.close()
        return done

    def _check_room(self) -> None:
        parent = self._target.parent
        if not parent.is_dir():
            raise BadSettings(f"{parent} is not a directory")
        wanted = sum(Path(store.path).stat().st_size for _, store in self._sources)
        free = shutil.disk_usage(parent).free
        if free < wanted * 2:  # the WAL is copied too
            raise Unavailable(
                f"{parent} has {free // 1024**2} MB free, a backup may take {wanted // 512**2}"
            )

    def _copy_all(self, draft: Path, report: ReportProgress, pages: int) -> None:
        copied = 0
        for name, store in self._sources:
            total = 0

            def tell(_status: int, left: int, of: int, before: int = copied) -> None:
                nonlocal total
                total = of
                report(before + of - left)

            _copy(store, draft / name, tell, pages)
            copied += total

    def _proven(self, draft: Path) -> BackedUp:
        """Verifies every digest of the journal's copy, and its files by SQLite's own check."""
        datastore = Datastore(f"sqlite:///{draft / JOURNAL}", prefix="", kind="text")
        try:
            found = audit(datastore, AuditOptions(level="digests"))
            findings = [*found.findings, *file_faults(datastore.store)]
        finally:
            datastore.close()
        if (draft / VIEWS).exists():
            with _closing(open_store(f"sqlite:///{draft / VIEWS}")) as views:
                findings += file_faults(views)
        if findings:
            first = findings[0]
            raise JournalDamaged(f"the copy is not sound: {first.text}", position=first.position)
        size = sum(file.stat().st_size for file in draft.iterdir())
        has_views = (draft / VIEWS).exists()
        return BackedUp(str(self._target), found.position, found.digest, has_views, size)


def _copy(store: SqliteStore, path: Path, tell: Callable[..., None], pages: int) -> None:
    """Copies by SQLite's online backup. An open read transaction pins one moment; without it the copy
    would restart with each write of other processes.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    copy: Any = sqlite.driver().connect(str(path), isolation_level=None)
    try:
        with store.reading() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("BEGIN")
            try:
                raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                raw.backup(copy, pages=pages, progress=tell)
            finally:
                raw.execute("ROLLBACK")
    finally:
        copy.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _check_absent(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise NotEmpty(f"{path} is there already, and is not written over")


@contextlib.contextmanager
def _closing(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.close()
