"""`--live`, `--sandbox` and neither, at every command: what a journal is, and what that forbids."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from engine.commands.declaring import declared, write
from engine.config.settings import Settings, read_settings
from engine.domain.clock import STREAM, ClockAdvanced
from engine.domain.halt import TradingHalted
from engine.domain.kind import JournalKind
from engine.domain.stored import engine_codec
from engine.followers.follow import Follower
from engine.installation import open_journal_datastore
from engine.journal.journal import Journal
from engine.kernel.fact import StreamAppend
from order_engine.main import app
from tests.support.engines.prepared import install, make_tables
from tests.support.engines.releases import FIRST
from tests.support.models.facts import envelope

ORDER = "ord_1C8xWqVdPq4oKgXcY2mN7R"
ASIDE = {"migrate", "restore", "demo", "config", "fix log"}
"""Commands that have no journal to ask, or make it."""
MAKING = {"generate", "sandbox"}
"""Commands that make a sandbox where there is no journal."""
WORDS: dict[str, list[str]] = {
    "client create": ["--tenant", "t", "--scope", "read"], "client disable": ["cli_x"],
    "client rotate": ["cli_x"],
    "import instruments": ["FILE"], "import prices": ["PRICES"],
    "import actions": ["ACTIONS"], "sandbox play": ["FILE"], "outlet resend": ["--after", "0"],
    "replay": [ORDER], "rebuild": ["--all"], "verify": ["--all"], "rollback": ["--all"],
    "retry": ["orders", ORDER], "halt": ["--status"], "resume": ["--reason", "x"], "dump": ["-"],
    "backup": ["TARGET"], "evidence": [ORDER], "journal accept-loss": ["--reason", "x", "--yes"],
    "person name": ["emp-1", "Ada", "--tenant", "t"], "person show": ["emp-1", "--tenant", "t"],
    "person erase": ["emp-1", "--tenant", "t"],
}  # fmt: skip
"""What a command needs beside --data."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data=str(tmp_path / "data"), environ={})


@pytest.fixture
def undeclared(settings: Settings) -> Settings:
    """A journal of the first release, whose clock was moved."""
    make_tables(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        journal.append([StreamAppend(STREAM, 0, [ClockAdvanced(1, 1)])], envelope(1))
    return settings


def call(*words: str, settings: Settings, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--data", str(settings.data)], input=answer)


def kind_at(settings: Settings) -> str | None:
    with closing(open_journal_datastore(settings)) as datastore:
        return declared(datastore)


def commands() -> list[str]:
    top = get_command(app)
    found = []
    for name, command in getattr(top, "commands", {}).items():
        inner = getattr(command, "commands", None)
        found += [name] if inner is None else [f"{name} {one}" for one in inner]
    return sorted(set(found) - ASIDE)


@pytest.fixture
def first(settings: Settings) -> Settings:
    """The first release's installation, of its schema."""
    FIRST.lay(settings.journal_url, settings.data)
    return settings


def said_to(name: str, settings: Settings, tmp_path: Path) -> Result:
    """The command with what it needs."""
    listing, prices = tmp_path / "listing", tmp_path / "prices"
    listing.write_text("name,symbol,instrument_type,trading_currency\n")
    prices.write_text("symbol,bid,ask\n")
    actions = tmp_path / "actions.csv"
    actions.write_text("symbol,action_type,ex_date\n")
    places = {"FILE": str(listing), "PRICES": str(prices), "ACTIONS": str(actions)}
    places["TARGET"] = str(tmp_path / "target")
    words = [places.get(word, word) for word in WORDS.get(name, [])]
    return call(*name.split(), *words, settings=settings)


@pytest.mark.parametrize(
    ("made", "name"),
    [*(("first", name) for name in commands()), *(("undeclared", name) for name in ("doctor", "halt"))],
)
def test_no_command_but_migrate_works_on_an_undeclared_journal(
    made: str, name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    settings: Settings = request.getfixturevalue(made)
    done = said_to(name, settings, tmp_path)
    assert done.exit_code == 2, done.output
    assert "migrate --live" in done.output + done.stderr
    assert "run `order-engine migrate`" not in done.output + done.stderr  # refused without a kind
    assert kind_at(settings) is None


@pytest.mark.parametrize("name", sorted({*commands()} - MAKING))
def test_without_a_journal_every_command_says_so(
    name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    done = said_to(name, settings, tmp_path)
    assert done.exit_code == (1 if name == "doctor" else 2), done.output
    told = done.output + done.stderr
    assert f"there is no journal at {settings.data}/journal.db: name it with --data" in told
    assert "unable to open" not in told
    assert "run `order-engine migrate`" not in told
    assert not settings.data.exists()


def test_an_older_schema_of_a_known_kind_can_be_backed_up(first: Settings, tmp_path: Path) -> None:
    with closing(open_journal_datastore(first)) as datastore, datastore.store.writing() as connection:
        assert write(connection, datastore, "live", at_us=1)
    refused = call("audit", settings=first)
    assert (refused.exit_code, "schema_too_old" in refused.stderr) == (1, True)
    done = call("backup", str(tmp_path / "copy"), settings=first)
    assert done.exit_code == 0, done.output + done.stderr
    assert f"verified  {FIRST.facts + 1} facts" in done.output


def test_the_manual_s_upgrade_from_the_first_release(
    first: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.data.chmod(0o755)
    manual = (Path(__file__).parents[2] / "docs" / "upgrades.md").read_text()
    chapter = manual.split("## Upgrade from the first release")[1].split("\n## ")[0]
    lines = [line[2:] for line in chapter.splitlines() if line.startswith("$ ")]
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    monkeypatch.setattr("order_engine.serve._serve_api", lambda *_: True)
    ended = []
    for line in lines:
        words = shlex.split(
            line.replace("/var/lib/order-engine", str(first.data))
            .replace("/backups/first-release", str(tmp_path / "copy"))
            .replace("--live", "--sandbox")  # as this one was, so that nobody has to be asked
        )
        if words[0] == "order-engine":
            done = CliRunner().invoke(app, words[1:])
            ended.append((words[1], done.exit_code))
        else:
            subprocess.run(words, check=True)
    assert ended == [("migrate", 0), ("audit", 0), ("serve", 0)]
    assert kind_at(first) == "sandbox"
    assert (tmp_path / "copy" / "journal.db").exists()


@pytest.mark.parametrize("word", ["--live", "--no-sandbox", "--sandbox"])
def test_serving_declares_no_journal_that_is_there(
    word: str, undeclared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is for a journal that is made; what is there is asked about by `migrate`."""
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    assert call("serve", word, settings=undeclared).exit_code == 2
    assert kind_at(undeclared) is None


@pytest.mark.parametrize("made", ["live", "sandbox"])
@pytest.mark.parametrize("said", [["serve", "--live"], ["serve", "--sandbox"], ["serve", "--no-sandbox"],
                                  ["sandbox"], ["generate"], ["migrate", "--live", "--yes"],
                                  ["migrate", "--sandbox", "--yes"]])  # fmt: skip
def test_a_flag_that_contradicts_the_journal_ends_with_2(
    made: JournalKind, said: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    monkeypatch.setattr("order_engine.serve._serve_api", lambda *_: True)
    install(settings, made)
    is_of_live = bool({"--live", "--no-sandbox"} & {*said})
    words = [*said, "--orders", "0"] if said == ["generate"] else said
    done = call(*words, settings=settings)
    assert done.exit_code == (0 if is_of_live == (made == "live") else 2), done.output + done.stderr
    assert kind_at(settings) == made


@pytest.mark.parametrize("words", [["serve"], ["client", "list"], ["migrate"], ["seal", "now"]])
def test_without_a_journal_nothing_is_made_without_a_kind(words: list[str], settings: Settings) -> None:
    done = call(*words, settings=settings)
    assert done.exit_code == 2
    assert "there is no journal" in done.stderr
    assert "migrate --live" in done.stderr
    assert not settings.data.exists()


def test_a_journal_of_the_first_release_is_asked_about(undeclared: Settings) -> None:
    done = call("migrate", "--live", settings=undeclared)
    assert done.exit_code == 2
    assert "clock advances: 1\n" in done.stderr
    assert "trades of the simulated venue: none\n" in done.stderr
    assert "migrate --live --yes" in done.stderr  # nobody is at this standard input
    assert kind_at(undeclared) is None
    assert call("migrate", "--live", "--yes", settings=undeclared).exit_code == 0
    assert kind_at(undeclared) == "live"


@pytest.mark.parametrize(("answer", "kind"), [("y", "live"), ("n", None), ("", None)])
def test_at_a_terminal_the_answer_decides(
    answer: str, kind: str | None, undeclared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_engine.kind.can_answer", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
    call("migrate", "--live", settings=undeclared)
    assert kind_at(undeclared) == kind


def test_one_that_was_used_as_a_sandbox_becomes_one_without_a_question(undeclared: Settings) -> None:
    assert call("migrate", "--sandbox", settings=undeclared).exit_code == 0
    assert kind_at(undeclared) == "sandbox"


def test_one_without_a_trace_of_a_sandbox_does_not(settings: Settings) -> None:
    make_tables(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        journal.append([StreamAppend("hlt_engine", 0, [TradingHalted("why", 1)])], envelope(1))
    done = call("migrate", "--sandbox", settings=settings)
    assert done.exit_code == 2
    assert "migrate --sandbox --yes" in done.stderr


def test_doctor_shows_the_kind(settings: Settings) -> None:
    install(settings, "live")
    assert "kind: live, for ever" in call("doctor", settings=settings).stdout


@pytest.mark.parametrize("roles", ["execution", "execution,settlement"])
def test_every_role_is_accepted_in_a_live_journal(
    roles: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A role with nothing to do says so, and stays."""
    caplog.set_level("INFO")
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    ran: list[list[str]] = []

    def run_all(followers: list[Follower], _: object) -> list[str]:
        ran.append([one.name for one in followers])
        return []

    monkeypatch.setattr("engine.runtime.supervise.run_all", run_all)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    install(settings, "live")
    assert call("serve", "--roles", roles, settings=settings).exit_code == 0
    beside = ["settlement", "rollovers", "servicing"]
    assert ran == [beside if "settlement" in roles else []]
    first, *_ = [
        record.getMessage() for record in caplog.records if record.name.startswith("order_engine")
    ]
    assert first.startswith("this journal is live: ")
    assert "execution: idle" in caplog.text


@pytest.mark.parametrize(("host", "is_warned"), [("0.0.0.0", True), ("10.0.0.1", True), ("::1", False)])
def test_plain_http_that_others_can_reach_is_warned_about(
    host: str,
    is_warned: bool,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    monkeypatch.setattr("order_engine.serve._serve_api", lambda *_: True)
    install(settings, "live")
    assert call("serve", "--host", host, settings=settings).exit_code == 0
    assert ("PLAIN HTTP" in caplog.text) == is_warned
    monkeypatch.setenv("ORDER_ENGINE_HOST", host)
    assert ("encryption: " in call("doctor", settings=settings).stdout) == is_warned
