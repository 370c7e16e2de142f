"""A backup while a real engine serves under load: sound, of one moment, and it starts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.audit import auditing
from engine.audit.auditing import AuditOptions
from engine.commands import declaring
from engine.config.settings import Settings, read_settings
from engine.domain.stored import engine_codec
from engine.installation import open_journal_datastore
from engine.journal import sqlite
from engine.journal.journal import Journal
from engine.kernel.errors import BadSettings, JournalDamaged, NotEmpty, NotSupported
from engine.transfer.backup import JOURNAL, VIEWS, Backup
from order_engine.main import app
from projections.database import Views
from projections.runner import Runner
from tests.contract.test_dumps import filled, settings_for
from tests.crash.siege import Siege, place_in
from tests.support.checkers import checker, invariants
from tests.support.servers.served import Load, views_are_current, wait_until


def settings_of(data: Path) -> Settings:
    return read_settings(data=str(data), environ={})


def everything(views: Views) -> dict[str, list[tuple[object, ...]]]:
    return {
        table.name: sorted(views.query(f"SELECT * FROM {table.name}"), key=repr)
        for view in views.views.values()
        for table in view.tables
    }


def test_a_backup_under_load_is_sound_and_its_views_catch_up(sqlite_url: str, tmp_path: Path) -> None:
    """Writers go on meanwhile; the copy is of one moment, and what was answered before is in it."""
    siege = Siege(place_in(tmp_path, sqlite_url), seed=6)
    place, target = siege.place, tmp_path / "backup"
    settings = read_settings(
        data=str(place.data), journal_url=sqlite_url, views_url=place.views_url, environ={}
    )
    heads = []
    with siege.start() as served, contextlib.ExitStack() as stack:
        wait_until("the views follow", lambda: views_are_current(place), 10)
        load = stack.enter_context(Load(siege.clients, served.port, siege.accounts, threads=4))
        assert load.answered.wait(10)
        before = checker.head(sqlite_url)

        def wait_for_writes(_: int) -> None:
            """Between any two pieces somebody writes, so a copy of more than one moment would show."""
            heads.append(checker.head(sqlite_url))
            assert len(heads) < 1_000, "it starts over with each write"
            for _ in range(2_000):
                if checker.head(sqlite_url) > heads[-1]:
                    return
            raise AssertionError("writers wait for the backup")

        done = Backup(settings, target).run(wait_for_writes, pages=16)
        after = checker.head(sqlite_url)
    assert before <= done.facts < after
    assert heads[-1] - heads[0] > len(heads) - 2 > 3
    (target / "master.key").write_text((place.data / "master.key").read_text())
    (target / "master.key").chmod(0o600)
    copy = settings_of(target)
    assert invariants.check(copy.journal_url) == []
    datastore = open_journal_datastore(copy)
    found = auditing.audit(datastore, AuditOptions())
    datastore.close()
    assert (found.findings, found.digest) == ([], done.digest)
    with Journal(copy.journal_url, engine_codec()) as journal:
        views, fresh = Views(copy.views_url), Views(f"sqlite:///{tmp_path}/fresh.db")
        assert 0 < max(views.offsets().values()) <= journal.head
        assert Runner(journal, views).catch_up() == journal.head
        Runner(journal, fresh).catch_up()
        assert everything(views) == everything(fresh)
        views.close()
        fresh.close()


# --- what is refused ------------------------------------------------------------------------------


def test_nothing_is_written_over_and_nothing_half_is_left(tmp_path: Path) -> None:
    settings = filled(settings_for(tmp_path / "data"), 3)
    (tmp_path / "there").mkdir()
    with pytest.raises(NotEmpty):
        Backup(settings, tmp_path / "there")
    with pytest.raises(BadSettings):
        Backup(settings, tmp_path / "nowhere" / "target")
    with pytest.raises(BadSettings):
        Backup(settings_for(tmp_path), tmp_path / "target")
    appears = Backup(settings, tmp_path / "target")
    (tmp_path / "target").touch()  # meanwhile, by somebody else
    with pytest.raises(NotEmpty):
        appears.run()
    assert (tmp_path / "target").read_bytes() == b""

    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Backup(settings, tmp_path / "cut").run(fail, pages=1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "target", "there"]


def test_a_damaged_journal_is_not_backed_up(tmp_path: Path) -> None:
    settings = filled(settings_for(tmp_path / "data"), 3)
    connection = sqlite.driver().connect(f"{settings.data}/journal.db")
    connection.execute("DROP TRIGGER journal_no_update")
    connection.execute("UPDATE journal SET body = x'00' WHERE position = 7")
    connection.commit()
    connection.close()
    with pytest.raises(JournalDamaged) as caught:
        Backup(settings, tmp_path / "target").run()
    assert caught.value.context["position"] == 7
    assert not (tmp_path / "target").exists()


def test_the_command(tmp_path: Path, postgres_url: str) -> None:
    settings = filled(settings_for(tmp_path / "data"), 3)
    Views(settings.views_url).close()
    words = ["backup", str(tmp_path / "target"), "--data", str(settings.data), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["facts"] == checker.head(settings.journal_url)
    assert {one.name for one in (tmp_path / "target").iterdir()} == {JOURNAL, VIEWS}
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "target" / JOURNAL).stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, json.loads(again.stderr)["error"]["code"]) == (1, "not_empty")
    declaring.make(postgres_url, "live")
    elsewhere = CliRunner().invoke(app, ["backup", str(tmp_path / "pg"), "--journal-url", postgres_url])
    assert elsewhere.exit_code == 1
    assert elsewhere.stderr.startswith("error: not_supported: a journal in PostgreSQL is backed up with")
    with pytest.raises(NotSupported):
        Backup(settings_for(tmp_path / "data", postgres_url), tmp_path / "pg")
