"""Journals of earlier releases are upgraded, lose nothing, and answer as before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from typer.testing import CliRunner

from engine import installation
from engine.audit.auditing import AuditOptions, audit
from engine.config.settings import Settings, read_settings
from engine.domain.rounding import ROUNDINGS
from engine.journal import migrations, schema
from engine.journal.datastore import Datastore, open_store
from engine.kernel.errors import SchemaTooOld
from engine.registers import operations
from order_engine.main import app
from tests.support.engines.journals import open_journal
from tests.support.engines.releases import FIRST
from tests.support.servers.http_engine import running

UNTOLD = {"enforce_trading_rules", "days_to_maturity"}
"""Fields whose meaning or moment has moved on since."""


@pytest.fixture
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The first release's installation, as it was left."""
    url = f"sqlite:///{tmp_path}/data/journal.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    FIRST.lay(url, tmp_path / "data")
    return read_settings(data=str(tmp_path / "data"), journal_url=url, environ={})


on_both = pytest.mark.parametrize("first", ["sqlite", "postgresql"], indirect=True)


def differences(url: str) -> list[Any]:
    """What the database has otherwise than `schema` and `operations` define it."""
    tables = schema.define("", "text")
    wanted = [tables.metadata, operations.define_operations().metadata]
    known = {name for metadata in wanted for name in metadata.tables}
    store = open_store(url)
    try:
        with store.reading() as connection:
            context = MigrationContext.configure(
                connection,
                opts={"include_name": lambda name, kind, _: kind != "table" or name in known},
            )
            return list(compare_metadata(context, wanted))
    finally:
        store.close()


@on_both
def test_the_first_release_is_upgraded_to_the_tables_of_this_one(first: Settings) -> None:
    installation.make_tables(first)
    assert differences(first.journal_url) == []
    with_it = Datastore(first.journal_url, "", "text")
    try:
        head = with_it.pages.head()
        assert (head.position, head.digest.hex()) == (FIRST.facts, FIRST.digest)
    finally:
        with_it.close()
    assert installation.migrate(first, "live", adopts=True).outcome == "updated"
    assert installation.migrate(first).outcome == "already up to date"


def test_a_new_journal_has_the_tables_that_are_defined(journal_url: str, tmp_path: Path) -> None:
    settings = read_settings(data=str(tmp_path / "data"), journal_url=journal_url, environ={})
    assert installation.migrate(settings, "sandbox").outcome == "created"
    assert differences(journal_url) == []


def test_the_last_script_is_this_release_s_schema() -> None:
    assert migrations.latest() == schema.SCHEMA


def test_an_older_schema_is_not_opened_before_it_is_upgraded(journal_url: str) -> None:
    with open_journal(journal_url) as journal:
        meta = journal.datastore.tables.meta
        older = meta.update().where(meta.c.key == "schema").values(value="0")
        with journal.datastore.store.writing() as connection:
            connection.execute(older)
            with pytest.raises(SchemaTooOld, match="run `order-engine migrate`") as caught:
                schema.check(connection, journal.datastore.tables)
    assert caught.value.context == {"schema": 0, "needed": schema.SCHEMA}


def test_a_journal_under_a_prefix_has_a_chain_of_its_own(journal_url: str) -> None:
    """Beside the engine's own, whose tables of the same bare names stay as they are."""
    with open_journal(journal_url):
        datastore = Datastore(journal_url, "mine_", "text")
        try:
            assert datastore.migrate()
            tables, store = datastore.tables, datastore.store
            with store.writing() as connection:
                assert numbers(connection, "mine_") == numbers(connection) == [f"{schema.SCHEMA:04}"]
                for column in ("digest", "mac"):  # as schema 5 was
                    connection.exec_driver_sql(f"ALTER TABLE mine_tracking DROP COLUMN {column}")
                connection.exec_driver_sql("DROP TABLE mine_alembic_version")
                older = tables.meta.update().where(tables.meta.c.key == "schema").values(value="5")
                connection.execute(older)
            assert not datastore.migrate(), "upgraded, not created"
            with store.reading() as connection:
                assert numbers(connection, "mine_") == [f"{schema.SCHEMA:04}"]
                assert schema.check(connection, tables)["schema"] == str(schema.SCHEMA)
                columns = {one["name"] for one in sa.inspect(connection).get_columns("mine_tracking")}
            assert columns == {"follower", "position", "digest", "mac"}
        finally:
            datastore.close()


def numbers(connection: sa.Connection, prefix: str = "") -> list[str]:
    """What alembic notes of a journal."""
    text = f"SELECT version_num FROM {prefix}alembic_version"
    return [str(row[0]) for row in connection.exec_driver_sql(text)]


def test_applications_that_start_at_once_stamp_once(journal_url: str) -> None:
    stores = [Datastore(journal_url, "mine_", "text") for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(Datastore.migrate, stores)) == [False, False, False, True]
        with stores[0].store.reading() as connection:
            assert numbers(connection, "mine_") == [f"{schema.SCHEMA:04}"]
    finally:
        for one in stores:
            one.close()


def run_sql(settings: Settings) -> None:
    """What an administrator does with what `migrate --sql` prints."""
    url = {"ORDER_ENGINE_JOURNAL_URL": settings.journal_url}
    words = ["migrate", "--sql", "--data", str(settings.data)]
    printed = CliRunner().invoke(app, words, env=url)
    assert printed.exit_code == 0, printed.output
    with psycopg.connect(settings.journal_url, autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert CliRunner().invoke(app, words, env=url).stdout == "-- already up to date\n"
    assert differences(settings.journal_url) == []


def test_a_new_journal_by_sql(postgres_url: str, tmp_path: Path) -> None:
    settings = read_settings(data=str(tmp_path / "data"), journal_url=postgres_url, environ={})
    run_sql(settings)
    assert not settings.data.exists(), "nothing but printed"
    assert installation.migrate(settings, "sandbox", adopts=True).key_created
    installation.open_installation(settings).close()
    datastore = Datastore(postgres_url, "", "text")
    try:
        with datastore.store.reading() as connection:
            assert numbers(connection) == [f"{schema.SCHEMA:04}"]
            assert connection.exec_driver_sql("SELECT count(*) FROM journal").scalar_one() == 1
    finally:
        datastore.close()


@pytest.mark.parametrize("first", ["postgresql"], indirect=True)
def test_the_first_release_is_upgraded_by_sql(first: Settings) -> None:
    run_sql(first)
    assert installation.migrate(first, "live", adopts=True).outcome == "updated"
    with installation.opened_datastore(first) as datastore:
        assert audit(datastore, AuditOptions("all")).findings == []


def test_sqlite_is_told_that_sql_is_for_postgresql(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["migrate", "--sql", "--data", str(tmp_path / "data")])
    assert (done.exit_code, "migrate --sql is for PostgreSQL" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "data").exists()


@on_both
def test_the_first_release_s_journal_answers_as_before(first: Settings) -> None:
    with running(first.journal_url, first.data.parent) as engine:
        engine.project()
        client = engine.client("read", "operate", tenant=FIRST.tenant)
        answers = FIRST.answers()
        assert len(answers) > 30
        for path, told in answers.items():
            reply = client.send("GET", path)
            assert reply.status == 200, (path, reply.body)
            assert list(lost(told, reply.json, path)) == []


@on_both
def test_the_first_release_s_books_are_clean_by_the_rounding_of_its_time(
    first: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by no other: some of its trades would be rounded otherwise today."""
    installation.make_tables(first)
    datastore = Datastore(first.journal_url, "", "text")
    try:
        assert audit(datastore, AuditOptions("all")).findings == []
        monkeypatch.setitem(ROUNDINGS, "half_up", ROUNDINGS["directed"])
        found = {finding.check for finding in audit(datastore, AuditOptions("all")).findings}
    finally:
        datastore.close()
    assert found == {"terms"}


def lost(told: Any, now: Any, path: str) -> Iterator[str]:
    """Where an answer says something else than it did; new keys are none of that."""
    if isinstance(told, dict) and isinstance(now, dict):
        for key, value in told.items():
            if key not in UNTOLD:
                yield from lost(value, now.get(key), f"{path} {key}")
    elif isinstance(told, list) and isinstance(now, list) and len(told) == len(now):
        for n, (one, other) in enumerate(zip(told, now, strict=True)):
            yield from lost(one, other, f"{path} {n}")
    elif told != now:
        yield f"{path}: {now!r} in place of {told!r}"


def test_threads_make_journals_side_by_side(tmp_path: Path) -> None:
    """Alembic keeps what it works on for the whole process."""
    settings = [Settings(tmp_path / f"{n}", f"sqlite:///{tmp_path}/{n}.db") for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda one: installation.migrate(one, "sandbox"), settings))
    assert {one.outcome for one in made} == {"created"}
    assert len({one.journal_id for one in made}) == 8
