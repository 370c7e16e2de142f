"""`order-engine`, as processes: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from engine.journal.schema import SCHEMA
from order_engine.main import app
from tests.crash.processes import Crew
from tests.support.servers.command import (
    COMMAND,
    KEY,
    PASSWORD,
    ROOT,
    Done,
    environment,
    on_terminal,
    run,
    run_anew,
    run_without_rights,
)
from tests.support.servers.forked import command_forked
from tests.support.servers.postgres import PostgresServer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def place(data: Path, journal_url: str) -> list[str]:
    """The options for a fresh installation, on each database."""
    url = sa.make_url(journal_url)
    if url.get_backend_name() == "postgresql" and url.password is None:
        url = url.set(password=PASSWORD)
    return ["--data", str(data), "--journal-url", url.render_as_string(hide_password=False)]


def as_json(done: Done) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


# --- help and usage -------------------------------------------------------------------------------


def helped(*words: str) -> Result:
    """What `--help` says, without a process of its own."""
    return CliRunner().invoke(app, [*words, "--help"], prog_name="order-engine")


def test_help_in_a_process_is_the_same() -> None:
    done = run_anew("client", "create", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == helped("client", "create").stdout.split()  # two columns narrower


def test_help_shows_every_command_with_examples() -> None:
    assert set(commands_of()) >= {"migrate", "doctor", "client", "import"}
    leaves = [
        (name, *rest) for name in commands_of() for rest in [(sub,) for sub in commands_of(name)] or [()]
    ]
    assert {("client", "create"), ("import", "instruments"), ("import", "prices")} <= set(leaves)
    for words in leaves:
        done = helped(*words)
        assert (done.exit_code, done.stderr) == (0, "")
        assert f"Examples:\n    order-engine {' '.join(words)}" in done.stdout
        assert ("--json" in done.stdout) == (words != ("serve",))  # it serves, and answers nothing


def commands_of(*words: str) -> list[str]:
    overview = helped(*words).stdout
    return re.findall(r"^  ([a-z-]+)  ", overview.partition("Commands:")[2], re.MULTILINE)


def test_version_is_one_line() -> None:
    assert re.fullmatch(r"order-engine \d+\.\d+\.\d+\n", run_anew("--version").stdout)


def test_help_loads_no_database_driver() -> None:
    slow = "{'sqlalchemy', 'psycopg', 'cryptography', 'rich'}"
    code = f"import sys, order_engine.main; print({slow} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "words", [["nope"], ["migrate", "--nope"], ["doctor", "extra"], ["migrate", "--data"]]
)
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    done = run_anew(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


# --- migrate --------------------------------------------------------------------------------------


def test_migrate_says_what_it_did_and_can_be_repeated(place: list[str], data: Path) -> None:
    first = run_anew("migrate", "--sandbox", *place)
    assert (first.returncode, first.stderr) == (0, "")
    assert re.match(
        rf"created: schema {SCHEMA}, journal id [0-9a-f]{{32}}\n"
        r"kind        sandbox, for ever\njournal  ",
        first.stdout,
    )
    assert f"master key  {data}/master.key\nKeep a copy" in first.stdout
    key = (data / "master.key").read_bytes()
    again = run("migrate", "--sandbox", *place)
    assert again.returncode == 0
    assert again.stdout.startswith(first.stdout.splitlines()[0].replace("created", "already up to date"))
    assert "Keep a copy" not in again.stdout
    assert (data / "master.key").read_bytes() == key
    assert data.stat().st_mode & 0o777 == 0o700


def test_migrate_answers_with_one_json_document(place: list[str], data: Path) -> None:
    first, again = (as_json(run("migrate", "--sandbox", "--json", *place)) for _ in range(2))
    assert first["outcome"] == "created"
    assert first["schema"] == SCHEMA
    assert (first["key"], first["key_created"]) == (f"{data}/master.key", True)
    assert again == {**first, "outcome": "already up to date", "key_created": False}


def test_eight_at_once_make_one_journal_with_one_key(place: list[str], data: Path) -> None:
    words = ["migrate", "--sandbox", "--json", *place]
    files = [(data.with_name(f"out-{n}"), data.with_name(f"err-{n}")) for n in range(8)]
    with Crew() as crew:
        crew.finish(
            *[crew.start(command_forked, words, environment(), str(out), str(err)) for out, err in files]
        )
    outputs = [(out.read_text(), err.read_text()) for out, err in files]
    assert [error for _, error in outputs] == [""] * 8
    answers = [json.loads(answer) for answer, _ in outputs]
    assert sorted(answer["outcome"] for answer in answers) == ["already up to date"] * 7 + ["created"]
    assert sum(answer["key_created"] for answer in answers) == 1
    assert len({answer["journal_id"] for answer in answers}) == 1
    assert run("doctor", "--json", *place).returncode in {0, 1}
    assert not [path.name for path in data.iterdir() if re.fullmatch(r"master\.key\..*", path.name)]


def test_the_environment_gives_directory_url_and_key(sqlite_url: str, data: Path) -> None:
    variables = {
        "ORDER_ENGINE_DATA": str(data),
        "ORDER_ENGINE_JOURNAL_URL": sqlite_url,
        "ORDER_ENGINE_KEY": KEY,
    }
    answer = as_json(run("migrate", "--sandbox", "--json", **variables))
    assert answer["place"] == sa.make_url(sqlite_url).database
    assert answer["key"] == "ORDER_ENGINE_KEY"
    assert not (data / "master.key").exists()
    assert run("doctor", **variables).returncode == 0


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_with_a_good_journal_on_sqlite(data: Path) -> None:
    run("migrate", "--sandbox", "--data", data)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    done = run_anew("doctor", "--data", data)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok      journal_mode: wal\nok      synchronous: full\n" in done.stdout
    assert "fault  " not in done.stdout
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_doctor_finds_nothing_wrong_with_a_good_journal_on_postgresql(data: Path) -> None:
    server = PostgresServer("fsync=on", "full_page_writes=on")
    try:
        url = sa.make_url(server.create_database()).set(password=PASSWORD)
        place = ["--data", str(data), "--journal-url", url.render_as_string(hide_password=False)]
        run("migrate", "--sandbox", *place)
        report = as_json(run_anew("doctor", "--json", *place))
    finally:
        server.close()
    values = {check["name"]: check["value"] for check in report["checks"]}
    assert [check for check in report["checks"] if check["verdict"] == "fault"] == []
    assert values["journal"] == f"postgresql://{url.username}@{url.host}:{url.port}/{url.database}"
    assert (values["lock_timeout"], values["idle_in_transaction_session_timeout"]) == ("4s", "2s")
    assert values["fsync"] == values["full_page_writes"] == values["synchronous_commit"] == "on"


def test_doctor_ends_with_1_on_a_fault_and_writes_nothing(data: Path) -> None:
    done = run("doctor", "--data", data)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"fault   journal: there is no journal at {data}/journal.db: name it" in done.stdout
    assert not data.exists()


def test_doctor_shows_a_table_on_a_terminal(data: Path) -> None:
    run("migrate", "--sandbox", "--data", data)
    output = on_terminal("doctor", "--data", str(data))
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert re.search(r"check +verdict +value", output)
    assert re.search(r"journal_mode +ok +wal", output)
    assert "All 20 checks are ok." in output or "warning" in output
    assert "Usage" in on_terminal("doctor", "--help")


# --- what cannot work -----------------------------------------------------------------------------


def test_a_url_that_makes_no_sense_is_one_line_on_stderr_or_one_json_object(data: Path) -> None:
    place = ["--data", str(data), "--journal-url", f"postgres:/joe:{PASSWORD}@h"]
    done = run("migrate", "--sandbox", *place)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: bad_settings: [^\n]+\n", done.stderr)
    done = run("migrate", "--sandbox", "--json", *place)
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr)["error"]["code"] == "bad_settings"
    assert not data.exists()
    report = as_json(run("doctor", "--json", *place))
    assert report["verdict"] == "fault"


def test_an_answer_that_cannot_be_written_is_an_error_too() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "--version"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: unavailable: No space left on device\n")


@pytest.mark.parametrize("is_mute", [False, True])
def test_a_postgresql_that_does_not_answer_is_unavailable_soon(data: Path, *, is_mute: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not is_mute:
            server.close()
        place = [
            "--data",
            str(data),
            "--journal-url",
            f"postgresql://joe:{PASSWORD}@127.0.0.1:{port}/db",
        ]
        with ThreadPoolExecutor(2) as threads:  # most of it is waiting
            migrated, examined = threads.map(
                lambda words: run(*words, *place), (("migrate", "--live"), ("doctor",))
            )
    assert migrated.returncode == examined.returncode == 1
    assert migrated.stderr.startswith(f"error: unavailable: postgresql://joe@127.0.0.1:{port}/db: ")
    assert f"fault   journal: postgresql://joe@127.0.0.1:{port}/db: " in examined.stdout
    assert not (data / "master.key").exists()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """An empty directory that `run_without_rights` may read and enter, not write."""
    base = Path(tempfile.mkdtemp(prefix="order-engine-"))  # pytest's own are closed to other users
    base.chmod(0o755)
    directory = base / "data"
    directory.mkdir()
    directory.chmod(0o500)
    if os.geteuid() == 0:  # then it is `nobody` who runs the command
        os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(base)


def test_a_read_only_directory_is_bad_settings_and_nothing_is_half_written(read_only: Path) -> None:
    done = run_without_rights("migrate", "--live", "--data", read_only)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: inaccessible: [^\n]*Permission denied: let the engine[^\n]*\n", done.stderr
    )
    assert list(read_only.iterdir()) == []
    report = as_json(run_without_rights("doctor", "--json", "--data", read_only))
    faults = {check["name"] for check in report["checks"] if check["verdict"] == "fault"}
    assert faults == {"master key", "fsync time", "journal"}


def test_on_postgresql_too_a_read_only_directory_leaves_nothing(
    read_only: Path, postgres_url: str
) -> None:
    place = ["--data", str(read_only), "--journal-url", postgres_url]
    done = run_without_rights("migrate", "--live", *place)
    assert re.fullmatch(r"error: bad_settings: [^\n]*master.key [^\n]*Permission denied\n", done.stderr)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regclass('journal')").fetchone() == (None,)
