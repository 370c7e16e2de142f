"""The table of settings: where a text comes from, what is refused, and that every setting is read."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.config.settings import Settings, environment_of, read_settings
from engine.config.settings_table import CONFIG, SETTINGS, variable
from engine.kernel.errors import BadSettings
from order_engine import discreet, serve
from order_engine.main import app

SAID = {
    "data": "/d", "journal_url": "postgresql://h/j", "views_url": "postgresql://h/v", "kind": "live",
    "key": "ab" * 32, "host": "::1", "port": "0", "roles": "api,execution", "metrics_port": "9464",
    "allow_local_webhooks": "true", "sandbox_day": "10s", "venue_delay": "2s",
    "venues": "acme=http,url=https://g.example", "venue_of": "bond=simulated", "venue_price_band": "0.3",
    "fees": "*=0.7%",
    "price_max_age": "5m", "price_jump_max": "0.2", "minimum_order_value": "USD=5",
    "quote_lifetime": "20s", "quote_tolerance": "0.05",
    "limit_order": "USD=7", "limit_account_day": "USD=8", "limit_tenant_day": "USD=9",
    "limit_price_age": "7s", "limit_duplicate_window": "8s", "rate_client": "1/1",
    "rate_address": "2/1", "rate_tokens": "3/1", "rate_failures": "4/1", "rate_errors": "5/1",
    "rate_health": "6/1", "streams_client": "7", "streams_tenant": "8",
    "trusted_proxies": "10.0.0.0/8", "http_parser": "python", "log": "json",
    "log_requests": "100", "seals_to": "/seals", "nats_url": "nats://h:1", "nats_stream": "s",
    "nats_subject": "t", "nats_credentials": "/c",
}  # fmt: skip
KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
FILES = {"journal_url_file", "views_url_file"}


def held(settings: Settings) -> object:
    """All that follows from the settings, of this process and of `serve`."""
    return dataclasses.replace(settings, given={}), dataclasses.replace(
        serve.plan_of(settings), settings=settings
    )


def toml(words: dict[str, str]) -> str:
    return "".join(f"{name} = {json.dumps(text)}\n" for name, text in words.items())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "engine.toml"
    path.touch(0o600)
    return path


def test_every_setting_is_said_here() -> None:
    assert SAID.keys() | FILES == {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("name", SAID)
def test_every_setting_does_something_from_either_source(name: str, file: Path) -> None:
    """Neither a variable nor a key of the file is read by nobody."""
    before = {"nats_url": "nats://other:1"} if name.startswith("nats_") else {}
    words = {**before, name: SAID[name]}
    by_variable = read_settings(environ={variable(one): text for one, text in words.items()})
    file.write_text(toml(words))
    by_file = read_settings(config=str(file), environ={})
    without = read_settings(environ={variable(one): text for one, text in before.items()})
    assert held(by_variable) == held(by_file)
    assert held(by_variable) != held(without)
    assert by_variable.given[name].source == "environment"
    assert by_file.given[name].source == "file"


def test_an_option_wins_over_the_variable_the_variable_over_the_file(file: Path) -> None:
    file.write_text(toml({"host": "1.1.1.1", "port": "1", "log": "json"}))
    settings = read_settings(
        config=str(file), options={"host": "3.3.3.3"},
        environ={"ORDER_ENGINE_HOST": "2.2.2.2", "ORDER_ENGINE_PORT": "2", "ORDER_ENGINE_LOG": ""},
    )  # fmt: skip
    plan = serve.plan_of(settings)
    assert (plan.host, plan.port, settings.log) == ("3.3.3.3", 2, "json")


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("ORDER_ENGINE_JOURNAL_ULR", "ORDER_ENGINE_JOURNAL_URL"),
        ("ORDER_ENGINE_RATE_CLIENTS", "ORDER_ENGINE_RATE_CLIENT"),
        ("ORDER_ENGINE_PRT", "ORDER_ENGINE_PORT"),
    ],
)
def test_a_slip_in_a_variable_is_refused_with_the_nearest_name(slip: str, meant: str) -> None:
    with pytest.raises(BadSettings, match=f"{slip} is no setting; the nearest one is {meant}"):
        read_settings(environ={slip: "x"})


def test_nothing_is_read_but_what_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a variable in small letters, nor a `.env` file, nor the real environment."""
    (tmp_path / ".env").write_text("ORDER_ENGINE_HOST=192.0.2.1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDER_ENGINE_PORT", "1")
    settings = read_settings(environ={"order_engine_log_requests": "5"})
    assert (settings.given, settings.log_every) == ({}, 0)


def test_variables_of_others_are_none_of_ours() -> None:
    read_settings(environ={"ORDER_ENGINE_TEST_PG": "x", "ORDER": "x", "PGPASSFILE": "/x"})


BAD_FILES = {
    "a slip": ('jurnal_url = "x"', "'jurnal_url' is no setting; the nearest one is journal_url"),
    "a table": ('[rate]\nclient = "1/1"', "'rate' is no setting"),
    "a float": ("price_jump_max = 0.2", "price_jump_max is text, a whole number"),
    "a date": ("log = 2026-01-01", "log is text, a whole number"),
    "no TOML": ("log = ", "is not TOML"),
    "no text": ("\udcff", "is not TOML"),
    "a value": ('log = "loud"', "log in .* is json or text"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_refused(what: str, file: Path) -> None:
    content, meant = BAD_FILES[what]
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadSettings, match=meant):
        read_settings(environ={CONFIG: str(file)})


def test_a_file_has_lists_tables_numbers_and_truth(file: Path) -> None:
    file.write_text(
        'port = 0\nallow_local_webhooks = true\nroles = ["api", "settlement"]\n'
        'limit_order = {USD = "7", EUR = "8"}\nfees = ["*=0.7%", "bond=0.1%"]\n'
    )
    settings = read_settings(config=str(file), environ={})
    plan = serve.plan_of(settings)
    assert (plan.port, plan.allow_local, plan.roles) == (0, True, ("api", "settlement"))
    assert settings.limits is not None
    assert set(settings.limits.order) == {"USD", "EUR"}
    assert len(settings.fees) == 2


@pytest.mark.parametrize("name", [one.name for one in SETTINGS if one.is_secret])
def test_a_file_with_a_secret_is_closed_to_others(name: str, file: Path) -> None:
    file.write_text(toml({name: SAID[name]}))
    file.chmod(0o640)
    with pytest.raises(BadSettings, match="chmod 600"):
        read_settings(config=str(file), environ={})


@pytest.mark.parametrize("name", ["journal_url", "views_url"])
def test_a_url_comes_from_a_private_file(name: str, tmp_path: Path) -> None:
    url, holder = tmp_path / "url", variable(f"{name}_file")
    url.touch(0o600)
    url.write_text("postgresql://joe:secret@h/db\n")
    assert getattr(read_settings(environ={holder: str(url)}), name) == "postgresql://joe:secret@h/db"
    with pytest.raises(BadSettings, match="either"):
        read_settings(environ={holder: str(url), variable(name): "postgresql://h/x"})
    url.chmod(0o644)
    with pytest.raises(BadSettings, match=f"chmod 600 {url}") as caught:
        read_settings(environ={holder: str(url)})
    assert "secret" not in str(caught.value)
    url.chmod(0o600)
    url.write_text("")
    with pytest.raises(BadSettings, match="one line"):
        read_settings(environ={holder: str(url)})


@pytest.mark.parametrize("name", ["config", "journal_url_file", "views_url_file"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "missing"])
def test_what_is_no_file_is_refused_at_once(name: str, kind: str, tmp_path: Path) -> None:
    """And never waited for."""
    path = tmp_path / "pipe"
    path = {"device": Path("/dev/zero"), "directory": tmp_path}.get(kind, path)
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    with pytest.raises(BadSettings, match=f"{path} (cannot be read)"):
        read_settings(environ={variable(name): str(path)})


def test_children_are_told_what_the_parent_knows(file: Path, tmp_path: Path) -> None:
    """Whatever becomes of the files meanwhile; a child is told by its environment alone."""
    url = tmp_path / "url"
    url.touch(0o600)
    url.write_text("postgresql://joe:secret@h/db")
    file.write_text(toml({"price_max_age": "5m", "journal_url_file": str(url)}))
    parent = read_settings(environ={CONFIG: str(file)}, options={"log": "json"})
    environ = environment_of(parent, {CONFIG: str(file), "PGPASSFILE": "/x"})
    file.unlink()
    url.unlink()
    child = read_settings(environ=environ)
    assert environ["PGPASSFILE"] == "/x"
    assert (child.journal_url, child.price_max_age_us, child.log) == (
        "postgresql://joe:secret@h/db", 300_000_000, "json"
    )  # fmt: skip


def test_config_shows_what_holds_who_said_so_and_no_secret(file: Path) -> None:
    file.write_text(toml({"journal_url": "postgresql://joe:canary@h/db", "rate_client": "5/1"}))
    environ = {
        variable("key"): KEY,
        variable("nats_url"): "nats://joe:canary@h:1",
        CONFIG: str(file),
    }
    done = CliRunner(env=environ).invoke(app, ["config", "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["setting"]: row for row in json.loads(done.stdout)["settings"]}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert (rows["journal_url"]["value"], rows["journal_url"]["source"]) == (
        "postgresql://joe@h/db",
        "file",
    )
    assert (rows["rate_client"]["value"], rows["rate_client"]["default"]) == ("5/1", "60000/60")
    assert rows["port"]["source"] == "default"
    assert rows["key"]["source"] == "environment"
    plain = CliRunner(env=environ).invoke(app, ["config"])
    for output in (done.output, plain.output):
        assert "canary" not in output
        assert KEY not in output


@pytest.mark.parametrize(
    ("words", "kept", "said"),
    [
        (["serve", "--journal-url", "postgresql://j:p@h/d"], ["serve"], ["ORDER_ENGINE_JOURNAL_URL"]),
        (["serve", "--views-url=postgresql://j:p@h/d"], ["serve"], ["ORDER_ENGINE_VIEWS_URL"]),
        (["--journal-url", "postgresql://h/d?user=j&password=p"], [], ["ORDER_ENGINE_JOURNAL_URL"]),
        (["--journal-url", "postgresql://j@h/d"], ["--journal-url", "postgresql://j@h/d"], []),
        (["--journal-url", "sqlite:////a/b@c.db"], ["--journal-url", "sqlite:////a/b@c.db"], []),
        (["--journal-url"], ["--journal-url", ""], []),
    ],
)  # fmt: skip
def test_a_password_is_taken_off_the_command_line(
    words: list[str], kept: list[str], said: list[str]
) -> None:
    left, moved = discreet.without_passwords(words)
    assert (left, list(moved)) == (kept, said)
