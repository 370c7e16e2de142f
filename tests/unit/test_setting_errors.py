"""A setting that makes no sense: one code, one exit status, and where it was said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.config.settings import read_places, read_settings
from engine.config.settings_table import CONFIG, variable
from engine.kernel.errors import WrongUsage
from order_engine.main import app
from tests.support.engines.prepared import install

WRONG = {
    "price_max_age": "900", "port": "abc", "metrics_port": "70000", "roles": "cook", "kind": "dead",
    "allow_local_webhooks": "perhaps", "venue_delay": "1", "sandbox_day": "1", "fees": "0.5",
    "venues": "acme", "venue_of": "nowhere", "venue_price_band": "2%",
    "minimum_order_value": "USD=1.005", "limit_order": "XXZ=1", "limit_price_age": "5",
    "rate_client": "5", "streams_client": "x", "trusted_proxies": "proxy", "log": "loud",
    "log_requests": "x", "http_parser": "other", "price_jump_max": "2%", "nats_subject": "a b",
    "quote_lifetime": "61m", "quote_tolerance": "1%",
}  # fmt: skip
"""Setting -> a text that it cannot have."""
BESIDE = {"nats_subject": {"nats_url": "nats://h:1"}}


def command(words: list[str], env: dict[str, str], tmp_path: Path) -> Result:
    data = {variable("data"): str(tmp_path / "data")}
    return CliRunner(env=data | env).invoke(app, words)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("source", ["variable", "file"])
def test_it_says_where_and_what_was_said(name: str, source: str, tmp_path: Path) -> None:
    words = BESIDE.get(name, {}) | {name: WRONG[name]}
    env = {variable(one): text for one, text in words.items()}
    place = variable(name)
    if source == "file":
        file = tmp_path / "engine.toml"
        file.touch(0o600)
        file.write_text("".join(f"{one} = {json.dumps(text)}\n" for one, text in words.items()))
        env, place = {CONFIG: str(file)}, f"{name} in {file}"
    done = command(["config", "--json"], env, tmp_path)
    assert done.exit_code == 2
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "bad_settings"
    assert error["message"].startswith(place)
    assert WRONG[name] in error["message"]
    assert source == "variable" or variable(name) not in error["message"]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["--roles", "cook"], "--roles: no role 'cook'"),
        (["--venue-delay", "1"], "--venue-delay is"),
        (["--sandbox-day", "1ms"], "--sandbox-day: a day takes at least"),
        (["--data", " "], "--data is empty"),
    ],
)
def test_an_option_is_named_as_one(words: list[str], place: str, tmp_path: Path) -> None:
    done = command(["serve", *words], {}, tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: bad_settings: {place}")


def test_credentials_alone_are_not_blamed_on_the_url() -> None:
    with pytest.raises(
        WrongUsage, match=r"^ORDER_ENGINE_NATS_CREDENTIALS goes with ORDER_ENGINE_NATS_U"
    ):
        read_settings(environ={"ORDER_ENGINE_NATS_CREDENTIALS": "/c"})


def test_a_name_is_only_near_if_it_is(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"is no setting$"):
        read_settings(environ={"ORDER_ENGINE_COFFEE": "x"})
    file = tmp_path / "engine.toml"
    file.write_text("ORDER_ENGINE_PORT = 1\n")
    with pytest.raises(WrongUsage, match="'ORDER_ENGINE_PORT' is no setting; here it is port"):
        read_settings(config=str(file), environ={})


@pytest.mark.parametrize(
    "env",
    [
        {variable("key"): "abc"},
        {variable("journal_url"): "postgresql://u@h:99999/d"},
        {variable("views_url"): "postgresql://u@h:0/d"},
    ],
)
def test_config_refuses_what_serve_refuses(env: dict[str, str], tmp_path: Path) -> None:
    done = command(["config"], env, tmp_path)
    assert done.exit_code != 0, done.output
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(("kind", "age"), [("live", "15m"), ("sandbox", "24h")])
def test_config_shows_what_is_effective(kind: str, age: str, tmp_path: Path) -> None:
    install(read_settings(data=str(tmp_path / "data"), environ={}), kind)  # type: ignore[arg-type]
    rows = {
        row["setting"]: row
        for row in json.loads(command(["config", "--json"], {}, tmp_path).stdout)["settings"]
    }
    assert (rows["kind"]["value"], rows["kind"]["source"]) == (kind, "journal")
    assert rows["price_max_age"]["value"] == age
    assert rows["roles"]["value"].startswith("api,execution,settlement,")


@pytest.mark.parametrize(
    "env", [{"ORDER_ENGINE_PRT": "1"}, {"ORDER_ENGINE_FEES": "x"}, {"ORDER_ENGINE_PRICE_MAX_AGE": "900"}]
)
def test_trading_is_halted_whatever_else_is_wrong(env: dict[str, str], tmp_path: Path) -> None:
    install(read_settings(data=str(tmp_path / "data"), environ={}))
    (name,) = env
    for words in (["halt", "--reason", "x"], ["resume", "--reason", "x"]):
        done = command(words, env, tmp_path)
        assert done.exit_code == 0, done.output
        assert done.stderr.startswith(f"warning: {name}")
    done = command(["doctor", "--json"], env, tmp_path)
    first, *_ = json.loads(done.stdout)["checks"]
    assert (done.exit_code, first["name"], first["verdict"]) == (1, "settings", "fault")
    assert first["value"].startswith(name)


def test_the_file_still_says_which_journal(tmp_path: Path) -> None:
    """A wrong word beside it must not turn a halt to another journal."""
    file = tmp_path / "engine.toml"
    file.write_text('data = "/elsewhere"\nprt = 1\nfees = "x"\n')
    settings, wrong = read_places(environ={CONFIG: str(file)})
    assert (settings.data, wrong is not None) == (Path("/elsewhere"), True)
    file.write_text("data = \n")
    with pytest.raises(WrongUsage, match="is not TOML"):
        read_places(environ={CONFIG: str(file)})
