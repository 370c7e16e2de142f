"""F18, the battery: whatever state journal and views are found in, no answer from it is wrong.

Each state says what clients are answered, which reason health gives, and what mends it; the table here
and the one in docs/reliability.md are held to one another.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from engine.audit.database_checks import database_checks
from engine.domain.stored import engine_codec
from engine.journal import journal as journals
from engine.journal import sqlite
from engine.journal.datastore import open_store
from engine.journal.journal import Journal
from engine.journal.sqlite_store import SqliteStore
from engine.kernel.errors import DiskFull, EngineError, Unavailable, ViewsDamaged
from engine.kernel.fact import Recorded
from engine.kernel.health import REASONS
from order_engine.main import app
from projections import rebuild
from projections.database import CHECKPOINTS, FOLDS, META, Views
from projections.quarantine import QUARANTINE, RELEASED
from projections.rebuild import RebuildRequest
from projections.registry import VIEWS
from projections.runner import Runner
from tests.support.engines.prepared import make_journal
from tests.support.models.random_facts import contents, folded, random_facts, write
from tests.support.servers.postgres import GivenServer, PostgresServer

EVERY = [view.name for view in VIEWS]
OBJECTS = sorted(
    {
        name
        for view in VIEWS
        for table in (*view.tables, CHECKPOINTS, FOLDS, META, QUARANTINE, RELEASED)
        for name in (
            table.name,
            *(f"{table.name}_{suffix}" for suffix in table.indexes),
            *([f"sqlite_autoindex_{table.name}_1"] if table.columns[table.key] != "integer" else []),
        )
    }
)
"""Every table and index of the views, as SQLite names them."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Journal, list[Recorded]]]:
    """A journal of a random run, and a views file that shows it, to be copied."""
    folder = tmp_path_factory.mktemp("house")
    url = f"sqlite:///{folder}/journal.db"
    make_journal(url)
    with Journal(url, engine_codec()) as journal:
        facts = random_facts(5, 200)
        write(journal, facts)
        views = Views(f"sqlite:///{folder}/views.db")
        Runner(journal, views).catch_up()
        views.close()
        yield folder, journal, facts


@contextlib.contextmanager
def copied(house: tuple[Path, Journal, list[Recorded]], folder: Path) -> Iterator[Path]:
    """The views file, in one piece."""
    source, target = house[0] / "views.db", folder / "views.db"
    connection: Any = sqlite.driver().connect(source)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    target.write_bytes(source.read_bytes())
    yield target


def spoil(file: Path, name: str, content: Callable[[int], bytes]) -> None:
    """Overwrites the root page of a table or index."""
    connection: Any = sqlite.driver().connect(file)
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with file.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(content(size))


def test_the_list_of_objects_is_whole(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path
) -> None:
    with copied(house, tmp_path) as file:
        connection: Any = sqlite.driver().connect(file)
        kinds = ("view_rebuilds", "view_kept", "view_standing")
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        connection.close()
    assert {name for name in found if not any(kind in name for kind in kinds)} == set(OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_bad_page_is_mended_by_whoever_meets_it(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path, name: str
) -> None:
    """Lists were 503 for ever, the log named the journal, and `rebuild --all` failed too."""
    _, journal, facts = house
    with copied(house, tmp_path) as file:
        spoil(file, name, bytes)
        views = Views(f"sqlite:///{file}")
        try:
            for _ in range(3):
                with contextlib.suppress(ViewsDamaged):
                    shown = contents(views)
                    Runner(journal, views).catch_up()
                    if (shown := contents(views)) == folded(facts):
                        break
            assert shown == folded(facts)
            assert views.unfinished() == []
        finally:
            views.close()
    assert journal.datastore.damage.mark is None


@pytest.mark.parametrize("name", ["view_checkpoints", "view_orders", "view_orders_account", "view_meta"])
@pytest.mark.parametrize("content", [bytes, os.urandom], ids=["zeros", "noise"])
def test_rebuild_mends_a_bad_page(
    house: tuple[Path, Journal, list[Recorded]],
    tmp_path: Path,
    name: str,
    content: Callable[[int], bytes],
) -> None:
    _, journal, facts = house
    if name not in OBJECTS:
        name = next(one for one in OBJECTS if one.startswith(name))
    with copied(house, tmp_path) as file:
        spoil(file, name, content)
        views = Views(f"sqlite:///{file}")
        try:
            assert rebuild.run(journal, views, RebuildRequest("rebuild", EVERY)).state == "done"
            assert contents(views) == folded(facts)
        finally:
            views.close()


FILES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda file: [
        Path(f"{file}{end}").unlink(missing_ok=True) for end in ("", "-wal", "-shm")
    ],
    "emptied": lambda file: file.write_bytes(b""),
    "no database at all": lambda file: file.write_bytes(b"nothing of the kind " * 500),
    "cut in the middle": lambda file: os.truncate(file, file.stat().st_size // 2),
    "of a newer release": lambda file: statement(
        file, "UPDATE view_meta SET value = '99' WHERE word = 'schema'"
    ),
    "of another program": lambda file: statement(
        file, "DROP TABLE view_checkpoints", "CREATE TABLE view_checkpoints (view TEXT, something TEXT)"
    ),
    "without one of its tables": lambda file: statement(file, "DROP TABLE view_orders"),
}
"""What can become of a views file while nobody has it open."""


def statement(file: Path, *statements: str) -> None:
    connection: Any = sqlite.driver().connect(file)
    for one in statements:
        connection.execute(one)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("by", ["a start", "rebuild"])
def test_a_start_and_a_rebuild_mend_any_file(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path, what: str, by: str
) -> None:
    _, journal, facts = house
    with copied(house, tmp_path) as file:
        FILES[what](file)
        views = Views(f"sqlite:///{file}")
        try:
            if by == "rebuild":
                rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))
            else:
                with contextlib.suppress(ViewsDamaged):
                    Runner(journal, views).catch_up()
                Runner(journal, views).catch_up()
            assert contents(views) == folded(facts)
        finally:
            views.close()


@pytest.mark.parametrize("what", ["deleted", "replaced by an older copy"])
def test_a_file_that_is_swapped_below_open_connections_is_noticed(
    house: tuple[Path, Journal, list[Recorded]],
    tmp_path: Path,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API went on reading the unlinked file after the projections had made a new one."""
    monkeypatch.setattr("engine.journal.sqlite_store.FILE_CHECK_S", 0.0)
    _, journal, facts = house
    with copied(house, tmp_path) as file:
        reader, writer = Views(f"sqlite:///{file}"), Views(f"sqlite:///{file}")
        try:
            assert contents(reader) == folded(facts)
            if what == "deleted":
                FILES["deleted"](file)
            else:
                older = tmp_path / "older.db"
                before = Views(f"sqlite:///{older}")
                before.close()
                older.replace(file)
            for _ in range(3):
                with contextlib.suppress(ViewsDamaged):
                    Runner(journal, writer).catch_up()
            for _ in range(3):
                with contextlib.suppress(ViewsDamaged):
                    found = contents(reader)
            assert found == folded(facts)
            assert reader.offsets() == writer.offsets()
        finally:
            reader.close()
            writer.close()


def test_a_start_removes_what_no_name_leads_to_any_more(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path
) -> None:
    """Whoever deletes the views under a running engine leaves copies of clients' data."""
    _, journal, facts = house
    file = tmp_path / "views.db"
    kept = {"views.db", "views.db-writer", "views.db.backup", "views.db.0123456Z", "journal.db.01234567"}
    stale = {
        "views.db.01234567",
        "views.db.01234567-wal",
        "views.db.89abcdef-shm",
        "views.db.89abcdef.link",
    }
    views = [Views(f"sqlite:///{file}")]
    try:
        Runner(journal, views[0]).catch_up()
        for is_link in (False, True):
            if is_link:
                store: Any = views[0].store
                with store.turn():
                    store.renew()
                assert file.is_symlink()
            for name in {*stale, *kept} - {"views.db"}:
                (tmp_path / name).touch()
            views += [Views(f"sqlite:///{file}") for _ in range(3)]
            with ThreadPoolExecutor(3) as starts:
                list(starts.map(Views.check_file, views[-3:]))
            Runner(journal, views[-1]).catch_up()
            left = {one.name for one in tmp_path.iterdir()}
            assert not left & stale, is_link
            assert kept <= left
            for one in views:
                with contextlib.suppress(ViewsDamaged):
                    contents(one)
                assert contents(one) == folded(facts), is_link
    finally:
        for one in views:
            one.close()


def test_views_in_postgresql_whose_tables_are_gone(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropped, or of a newer release: made again, whoever meets it."""
    monkeypatch.setattr("projections.database.VIEWS_RETRY_S", 0.0)
    journals.migrate(postgres_url)
    with Journal(postgres_url, engine_codec()) as journal:
        facts = random_facts(5, 60)
        write(journal, facts)
        views = Views(postgres_url)
        try:
            Runner(journal, views).catch_up()
            for broken in (
                "DROP TABLE view_orders",
                "DROP TABLE view_checkpoints",
                "ALTER TABLE view_balances DROP COLUMN body",
            ):
                with views.store.writing() as connection:
                    connection.exec_driver_sql(broken)
                for _ in range(3):
                    with contextlib.suppress(EngineError):
                        contents(views)
                        Runner(journal, views).catch_up()
                assert contents(views) == folded(facts), broken
            with views.writing() as connection:
                connection.exec_driver_sql("UPDATE view_meta SET value = '99' WHERE word = 'schema'")
        finally:
            views.close()
        views = Views(postgres_url)
        try:
            Runner(journal, views).catch_up()
            assert contents(views) == folded(facts)
        finally:
            views.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_in_another_encoding_is_refused(
    postgres_server: PostgresServer | GivenServer, tmp_path: Path, encoding: str
) -> None:
    """A Cyrillic name was a 500. `migrate` refuses it, and `doctor` names one that is used already."""
    url = postgres_server.create_database()
    name = sa.make_url(url).database
    server = sa.make_url(url).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}")
        locale = "LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' {locale}")
    try:
        refused = CliRunner().invoke(
            app, ["migrate", "--sandbox", "--data", str(tmp_path / "data"), "--journal-url", url]
        )
        assert refused.exit_code == 1
        assert f"keeps text in {encoding}" in refused.output
        assert "ENCODING 'UTF8'" in refused.output
        store = open_store(url)
        (found,) = [one for one in database_checks(store) if one.name == "encoding"]
        store.close()
        assert (found.value, found.is_fault) == (encoding, True)
    finally:
        postgres_server.drop_database(url)


def test_utf8_is_no_fault(postgres_url: str) -> None:
    store = open_store(postgres_url)
    (found,) = [one for one in database_checks(store) if one.name == "encoding"]
    store.close()
    assert (found.value, found.advice) == ("UTF8", "")


# --- what is not the file's fault -----------------------------------------------------------------


def test_a_views_file_that_cannot_be_written_is_made_again(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory can: a restored copy that belongs to another user, say."""
    _, journal, facts = house
    with copied(house, tmp_path) as file:
        statement(file, "UPDATE view_checkpoints SET reached = 0 WHERE view = 'orders'")
        prepare = SqliteStore._prepare

        def read_only(self: SqliteStore, raw: Any, record: object) -> None:
            prepare(self, raw, record)
            if self._target == str(file):
                raw.execute("PRAGMA query_only=ON")  # says what a read-only file says

        monkeypatch.setattr(SqliteStore, "_prepare", read_only)
        views = Views(f"sqlite:///{file}")
        try:
            Runner(journal, views).catch_up()
            assert contents(views) == folded(facts)
        finally:
            views.close()
        assert file.is_symlink()


def test_a_full_disk_changes_nothing_and_passes(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path
) -> None:
    """What is shown stays as it was, and nothing is made again."""
    _, journal, facts = house
    views = Views(f"sqlite:///{tmp_path}/views.db")
    try:
        runner = Runner(journal, views, page=40)
        runner.run_once()
        before = contents(views)
        limit(views, "page_count")
        with pytest.raises(DiskFull):
            runner.catch_up()
        shown = contents(views)
        reached = min(views.offsets().values())
        assert shown == folded(facts[:reached])
        assert shown.keys() == before.keys()
        limit(views, "1073741823")
        runner.catch_up()
        assert contents(views) == folded(facts)
        assert not (tmp_path / "views.db").is_symlink()
    finally:
        views.close()


def limit(views: Views, pages: str) -> None:
    """Has the file grow no further: SQLite says the same as on a full disk."""
    with views.store.writing() as connection:
        if pages == "page_count":
            pages = str(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one()


def test_a_file_that_another_program_holds_is_not_made_again(
    house: tuple[Path, Journal, list[Recorded]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads go on meanwhile, and the rest when it lets go."""
    monkeypatch.setattr("engine.journal.sqlite_store.WRITE_WAIT_S", 0.2)
    _, journal, facts = house
    with copied(house, tmp_path) as file:
        views = Views(f"sqlite:///{file}")
        views.reset("orders")
        holder: Any = sqlite.driver().connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(Unavailable, match=r"views\.db.*locked"):
                Runner(journal, views).catch_up()
            assert views.offset("balances") == len(facts)
            holder.execute("ROLLBACK")
            Runner(journal, views).catch_up()
            assert contents(views) == folded(facts)
            assert not file.is_symlink()
        finally:
            holder.close()
            views.close()


# --- the table ------------------------------------------------------------------------------------

_WENT_BACK = (
    "503 `journal_went_back` to writes and to reads of facts",
    "`journal_went_back`",
    "the right journal in its place, or `journal accept-loss`",
)
_AGAIN = (
    "503 `views_damaged`, then `view_behind` until it is whole; orders and single resources continue",
    "`views_made_again`",
    "the process that detects it; a start; `rebuild --all`",
)
STATES: dict[str, tuple[tuple[str, str, str], str]] = {
    "an older journal under newer views": (
        _WENT_BACK,
        "tests/contract/test_checkpoints.py::test_newer_views_over_an_older_journal",
    ),
    "a journal that grew again past the views": (
        _WENT_BACK,
        "tests/contract/test_checkpoints.py::test_a_journal_that_grew_again_past_the_checkpoint",
    ),
    "a journal put back under running engines": (
        _WENT_BACK,
        "tests/flow/test_went_back.py::test_writes_and_reads_say_so_until_an_operator_goes_on",
    ),
    "a journal regrown with other versions": (
        _WENT_BACK,
        "tests/contract/test_went_back.py::test_a_journal_that_has_grown_again_is_another_one",
    ),
    "64 random bytes in a WAL after `kill -9`": (
        _WENT_BACK,
        "tests/crash/test_went_back_served.py::test_a_start_over_a_journal_that_went_back",
    ),
    "a bad page in any table or index of the views": (
        _AGAIN,
        "tests/crash/test_foreign_states.py::test_a_bad_page_is_mended_by_whoever_meets_it",
    ),
    "views deleted while they are served": (
        _AGAIN,
        "tests/crash/test_went_back_served.py::test_views_that_are_deleted_while_they_are_served",
    ),
    "views emptied, cut, of a newer release, of another program, no database at all": (
        _AGAIN,
        "tests/crash/test_foreign_states.py::test_a_start_and_a_rebuild_mend_any_file",
    ),
    "tables of the views dropped in PostgreSQL": (
        _AGAIN,
        "tests/crash/test_foreign_states.py::test_views_in_postgresql_whose_tables_are_gone",
    ),
    "a views file that cannot be written": (
        _AGAIN,
        "tests/crash/test_foreign_states.py::test_a_views_file_that_cannot_be_written_is_made_again",
    ),
    "views of another journal, or that its key does not vouch for": (
        (
            "503 `view_behind` to lists until they are whole; orders and single resources continue",
            "`views_made_again`",
            "itself, with a line in the log",
        ),
        "tests/contract/test_checkpoints.py::test_views_that_nothing_vouches_for_are_made_again",
    ),
    "the disk of the views full": (
        (
            "503 `view_behind` to lists of what is newer; orders and single resources continue",
            "`views_behind`",
            "room on the disk",
        ),
        "tests/crash/test_foreign_states.py::test_a_full_disk_changes_nothing_and_passes",
    ),
    "views locked by another program": (
        (
            "503 `view_behind` to lists of what is newer; orders and single resources continue",
            "`views_behind`",
            "that program's end",
        ),
        "tests/crash/test_foreign_states.py::test_a_file_that_another_program_holds_is_not_made_again",
    ),
    "a PostgreSQL database in another encoding": (
        ("nothing: `migrate` refuses it", "`doctor`: `encoding`", "a database in UTF8"),
        "tests/crash/test_foreign_states.py::test_a_database_in_another_encoding_is_refused",
    ),
}
"""State -> (what clients get, the reason in health, what mends it), and the test that shows it."""
ROOT = Path(__file__).parents[2]


def test_the_table_in_the_docs_is_this_one() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    missing = [
        state for state, (words, _) in STATES.items() if f"| {' | '.join((state, *words))} |" not in page
    ]
    assert missing == []


def test_every_state_has_a_test_that_is_there() -> None:
    for place in (place for _, place in STATES.values()):
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), place


def test_every_reason_is_one_that_health_knows() -> None:
    named = {word for words, _ in STATES.values() for word in words[1].split("`")[1::2]} - {
        "doctor",
        "encoding",
    }
    assert named <= REASONS.keys()
