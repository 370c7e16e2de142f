"""What others on the machine can see of a running engine: its command lines and its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from engine.config.settings import Settings, read_settings
from engine.installation import migrate, open_installation, opened_datastore, opened_journal
from engine.kernel.errors import BadSettings
from order_engine import discreet
from order_engine.main import app
from projections.database import Views
from tests.flow.test_serve import Served, wait_until
from tests.support.servers.command import PASSWORD, environment, run
from tests.support.servers.forked import run_forked


@pytest.fixture
def account(postgres_url: str) -> str:
    """The URL of the database with a user who has a password in it."""
    url = sa.make_url(postgres_url)
    name = f"joe_{url.database}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    return url.set(username=name, password=PASSWORD).render_as_string(hide_password=False)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # gone
        return ""


def test_no_process_shows_a_password(account: str, tmp_path: Path) -> None:
    """Neither the parent, which was given it on its command line, nor a child."""
    words = ["--sandbox", "--port", "0", "--data", str(tmp_path / "data")]
    words += ["--journal-url", account, f"--views-url={account}"]
    with Served(tmp_path, *words) as served:
        served.port()
        wait_until(lambda: len(served.children()) == 3, "all children")
        pids = [served.process.pid, *served.children()]
        shown = [command_line(pid) for pid in pids]
        assert all("serve" in line for line in shown)
        assert "--sandbox" in shown[0]
        assert PASSWORD not in "".join(shown)
    assert PASSWORD not in served.log


def test_a_password_comes_from_a_file_or_from_pgpass(account: str, tmp_path: Path) -> None:
    url, pgpass = tmp_path / "url", tmp_path / "pgpass"
    for path in (url, pgpass):
        path.touch(0o600)
    parsed = sa.make_url(account)
    url.write_text(account)
    data = ["--data", str(tmp_path / "data")]
    done = run("migrate", "--live", *data, "--journal-url-file", url)
    assert (done.returncode, done.stderr) == (0, "")
    pgpass.write_text(f"{parsed.host}:{parsed.port}:*:{parsed.username}:{PASSWORD}\n")
    bare = f"postgresql://{parsed.username}@{parsed.host}:{parsed.port}/{parsed.database}"
    done = run("doctor", *data, "--journal-url", bare, PGPASSFILE=str(pgpass))
    assert f"journal: {bare}" in done.stdout
    assert "kind: live" in done.stdout


# --- files ----------------------------------------------------------------------------------------


def modes(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in place.rglob("*")}


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    """In a directory that was there before, too: journal, WAL, locks, views, key, backup, dump."""
    data = tmp_path / "data"
    data.mkdir(0o700)
    before = os.umask(0)
    try:
        settings = read_settings(data=str(data), environ={})
        migrate(settings, "sandbox")
        views = Views(settings.views_url)
        with closing(open_installation(settings)) as opened, closing(views):
            opened.clients.create("acme", ["read"])
            views.offsets()
            found = modes(data)
    finally:
        os.umask(before)
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "views.db", "master.key"} <= set(found)
    assert {name: mode for name, mode in found.items() if mode & 0o077} == {}


def test_a_process_makes_nothing_for_others(tmp_path: Path) -> None:
    """Also what libraries make."""
    data = tmp_path / "data"
    data.mkdir(0o700)
    for words in (
        ["migrate", "--sandbox"], ["generate", "--orders", "1", "--accounts", "1"],
        ["dump", str(data / "dump")], ["backup", str(data / "backup")],
    ):  # fmt: skip
        code, _, errors = run_forked([*words, "--data", str(data)], environment(), umask=0)
        assert code == 0, errors
    assert {name: mode for name, mode in modes(data).items() if mode & 0o077} == {}


def test_a_process_begins_with_a_strict_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "order_engine", "doctor"])
    before = os.umask(0)
    try:
        discreet.begin()
    finally:
        found = os.umask(before)
    assert found == 0o077


def entered(
    opening: Callable[[Settings], AbstractContextManager[object]],
) -> Callable[[Settings], object]:
    return lambda settings: opening(settings).__enter__()


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o770, 0o711])
def test_an_open_data_directory_is_refused_like_an_open_key(mode: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(data, f"sqlite:///{data}/journal.db")
    migrate(settings, "sandbox")
    data.chmod(mode)
    for opening in (migrate, open_installation, entered(opened_journal), entered(opened_datastore)):
        with pytest.raises(BadSettings, match=f"run `chmod 700 {data}`"):
            opening(settings)
    done = CliRunner().invoke(app, ["doctor", "--data", str(data)])
    assert done.exit_code == 1
    assert f"directory: {data} is open to others  -> it holds clients' data: run" in done.output
    data.chmod(0o700)
    assert migrate(settings).kind == "sandbox"
