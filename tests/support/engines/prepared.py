"""Journals and installations that are made once for a process, and copied for each test.

To make one takes 35 ms of processor time on SQLite and 140 ms on PostgreSQL; to copy one 1 and 30 ms.
Copies have one `journal_id`, and installations one key. Tests of making journals make their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa

from engine import installation
from engine.commands import declaring
from engine.config.settings import Settings
from engine.domain.kind import JournalKind
from engine.journal import journal as journals
from tests.support.servers.postgres import create_database, drop_database, is_untouched, set_aside

JOURNAL: Final = "journal.db"
_TEMPLATES: Final[list[tuple[str, str]]] = []
"""(server, URL of a database on it that is copied)."""
_numbers: Final = count(1)


class Prepared:
    """The result of `make` in a data directory and in a journal's database.

    `make` is given both, and closes what it opens. On SQLite the journal is `JOURNAL` in the directory.
    """

    def __init__(self, make: Callable[[Path, str], None]) -> None:
        self._make = make
        self._made: dict[str, tuple[dict[str, bytes], str]] = {}

    def copy(self, data: Path, url: str) -> None:
        """Puts it into `data` and to `url`, where there must be no journal."""
        place = sa.make_url(url)
        server = _server_of(url)
        if server not in self._made:
            self._made[server] = self._prepare(server)
        files, template = self._made[server]
        for name, content in files.items():
            file = Path(str(place.database)) if name == JOURNAL else data / name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_bytes(content)
        if server:
            set_aside(server, url)
            create_database(server, str(place.database), like=str(sa.make_url(template).database))

    def _prepare(self, server: str) -> tuple[dict[str, bytes], str]:
        """File -> content, and the URL of the database that is to be copied."""
        with tempfile.TemporaryDirectory(prefix="order-engine-") as name:
            folder, url = Path(name), f"sqlite:///{name}/{JOURNAL}"
            if server:
                url = create_database(server, f"order_engine_prepared_{os.getpid()}_{next(_numbers)}")
                _TEMPLATES.append((server, url))
            self._make(folder, url)
            files = {file.name: file.read_bytes() for file in folder.iterdir() if file.stat().st_size}
            assert not [file for file in files if file.endswith("-wal")], "left open"
            return files, url


def drop_templates() -> None:
    """Drops the databases that copies were made of."""
    while _TEMPLATES:
        drop_database(*_TEMPLATES.pop())


# --- empty ones -----------------------------------------------------------------------------------


def make_journal(url: str, kind: JournalKind | None = None) -> None:
    """A journal alone at `url`; what is there already stays as it is."""
    if not _is_there(url):
        _journal(kind).copy(Path(), url)


def install(settings: Settings, kind: JournalKind = "sandbox") -> None:
    """An installation, as `installation.migrate` makes it; what is there already is given to it."""
    has_own = settings.master_key or settings.key_file.exists() or _is_there(settings.journal_url)
    if has_own:
        installation.migrate(settings, kind, adopts=True)
    else:
        _installation(kind).copy(settings.data, settings.journal_url)


def make_tables(settings: Settings) -> None:
    """Tables without a journal's kind, as `installation.make_tables` makes them."""
    if _is_there(settings.journal_url):
        installation.make_tables(settings)
    else:
        _tables().copy(settings.data, settings.journal_url)


@cache
def _tables() -> Prepared:
    return Prepared(lambda data, url: installation.make_tables(Settings(data, url)))


@cache
def _journal(kind: JournalKind | None) -> Prepared:
    def make(_: Path, url: str) -> None:
        if kind is None:
            journals.migrate(url)
        else:
            declaring.make(url, kind)

    return Prepared(make)


@cache
def _installation(kind: JournalKind) -> Prepared:
    def make(data: Path, url: str) -> None:
        installation.migrate(Settings(data, url), kind)

    return Prepared(make)


def _server_of(url: str) -> str:
    """URL of the PostgreSQL server, empty for SQLite."""
    place = sa.make_url(url)
    is_file = place.get_backend_name() == "sqlite"
    return "" if is_file else place.set(database="postgres").render_as_string(hide_password=False)


def _is_there(url: str) -> bool:
    server = _server_of(url)
    if not server:
        return Path(str(sa.make_url(url).database)).exists()
    if is_untouched(server, url):
        return False  # without a connection, which takes 10 ms
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('journal_meta') IS NOT NULL").fetchone()
    return bool(found and found[0])


def views_beside(journal_url: str, tmp_path: Path) -> str:
    """Views in a file of their own, or in the journal's own database."""
    return f"sqlite:///{tmp_path}/views.db" if journal_url.startswith("sqlite") else journal_url
