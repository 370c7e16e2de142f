"""`order-engine replay`: a stream's story, from the journal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.config.settings import read_settings
from engine.domain.order import Order, Settled
from engine.domain.stored import engine_codec
from engine.domain.streams import FOLDS, fold_of
from engine.history.history import read
from engine.history.story import read_story, tell
from engine.journal.journal import Journal
from engine.kernel.errors import Refused
from engine.sandbox.generate import GenerationPlan, fill
from order_engine.main import app
from tests.support.engines.prepared import install
from tests.support.servers.command import run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a small generated journal."""
    directory = tmp_path_factory.mktemp("replay")
    settings = read_settings(data=str(directory), environ={})
    install(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        fill(journal, GenerationPlan(60, 3, 2))
    return directory


@pytest.fixture
def journal(data: Path) -> Journal:
    with Journal(read_settings(data=str(data), environ={}).journal_url, engine_codec()) as opened:
        yield opened


def a_settled_order(journal: Journal) -> str:
    return next(one.stream for page in journal.pages() for one in page if isinstance(one.fact, Settled))


def test_an_orders_story_in_text(data: Path, journal: Journal) -> None:
    order = a_settled_order(journal)
    done = run("replay", order, "--data", data)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"order {order}"
    facts = [line.split()[4] for line in lines if re.match(r" *\d+ +\d+  2026-", line)]
    assert facts == [type(one.fact).__name__ for one in journal.stream(order)]
    state: Order = journal.load(fold_of(order), order).state
    assert f"as it stands after version {len(facts)}" in lines
    assert re.search(rf"^  fees +{state.fees}$", done.stdout, re.MULTILINE)


def test_an_accounts_story_as_json_adds_up(data: Path, journal: Journal) -> None:
    owner = journal.load(fold_of("ord_"), a_settled_order(journal)).state.terms.account
    document = json.loads(run("replay", owner, "--data", data, "--json").stdout)
    assert (document["kind"], document["stream"]) == ("account", owner)
    assert [fact["version"] for fact in document["facts"]] == list(range(1, len(document["facts"]) + 1))
    state: dict[str, object] = {}
    for fact in document["facts"]:
        for field, values in fact["changed"].items():
            assert state.get(field) == values["before"]
            state[field] = values["after"]
        assert {k: v for k, v in state.items() if v is not None} == {
            k: v for k, v in fact["state"].items() if v is not None
        }
    assert fact["state"] == document["state"]


def test_every_stream_has_a_story(journal: Journal) -> None:
    streams = {one.stream for page in journal.pages() for one in page}
    assert {stream[:3] for stream in streams} >= FOLDS.keys() - {"clk", "hlt", "quo", "scr", "whk"}
    for stream in streams:
        story = read_story(journal, stream)
        assert story == tell(stream, read(journal, stream, 0, story.version))
        assert all(told.said for told in story.told), stream


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        ("ord_1CWoxU9o4mDZrwmoTm7izz", "not_found"),
        ("ins_nothing", "not_found"),
        ("clk_engine", "not_found"),
        ("hlt_engine", "not_found"),
        ("ord_xx", "invalid_param"),
        ("ord_1CWoxU9o4mDZrwmoTm7i0O", "invalid_param"),
        ("ord_", "invalid_param"),
        ("trd_1CWoxU9o4mDZrwmoTm7iE6", "invalid_param"),
        ("../../etc/passwd", "invalid_param"),
        ("\x1b[2J", "invalid_param"),
        ("", "invalid_param"),
        ("ins_\ud800", "invalid_param"),
        ("ins_" + "x" * 300, "invalid_param"),
    ],
)
def test_what_has_no_story_is_refused_in_one_line(journal: Journal, stream: str, code: str) -> None:
    with pytest.raises(Refused) as error:
        read_story(journal, stream)
    assert error.value.code == code
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 220


def replayed(data: Path, *words: str) -> dict[str, Any]:
    """What `replay ... --json` answers."""
    done = CliRunner().invoke(app, ["replay", *words, "--data", str(data), "--json"])
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_an_order_as_it_was(data: Path, journal: Journal) -> None:
    order = a_settled_order(journal)
    whole = replayed(data, order)["facts"]
    for number, fact in enumerate(whole, 1):
        until = replayed(data, order, "--version", str(number))
        assert (until["version"], until["state"], until["facts"]) == (
            number, fact["state"], whole[:number]
        )  # fmt: skip
    at = [fact["at"] for fact in whole]
    then = replayed(data, order, "--asof", at[2])
    assert len(then["facts"]) == sum(time <= at[2] for time in at) < len(whole)
    last = replayed(data, order, "--last", "2")
    assert (last["facts"], last["state"]) == (whole[-2:], whole[-1]["state"])
    assert replayed(data, order, "--last", "99")["facts"] == whole


def test_an_orders_facts_have_the_legs_of_its_account(data: Path, journal: Journal) -> None:
    facts = replayed(data, a_settled_order(journal))["facts"]
    placed, *_, settled = facts
    assert [leg["place"] for leg in placed["legs"]] == ["settled", "reserved"]
    assert placed["legs"][0]["amount"] == f"-{placed['fields']['cash_amount']}"
    assert placed["legs"][0]["offset"] < placed["offset"]
    assert settled["legs"] == []
    assert all(fact["legs"] for fact in facts if fact["fact"].startswith("order.trade_"))


def test_each_field_by_the_fact_that_set_it(data: Path, journal: Journal) -> None:
    order = a_settled_order(journal)
    facts, known = replayed(data, order)["facts"], replayed(data, order, "--explain")
    assert known["set_by"].keys() == known["state"].keys()
    for field, fact in known["set_by"].items():
        version = fact["version"]
        assert {word: facts[version - 1][word] for word in fact} == fact
        assert field in facts[version - 1]["changed"] or known["state"][field] is None
        assert all(field not in later["changed"] for later in facts[version:])
    text = CliRunner().invoke(app, ["replay", order, "--explain", "--data", str(data)]).stdout
    assert text.startswith(f"order {order} as it stands after version {len(facts)}\n")
    assert re.search(r"^status +settled +Settled, version \d+, offset \d+, 2026-", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--version", "99"], "`version` must be at most "),
        (
            ["--asof", "2020-01-01T00:00:00Z"],
            "`asof` must not be before the first fact, which was",
        ),
        (["--asof", "yesterday"], "`asof` must be a time like 2026-03-12T14:30:00Z"),
        (
            ["--asof", "2026-03-12T14:30:00Z", "--version", "1"],
            "`asof` must not be given beside",
        ),
    ],
)
def test_what_never_was_is_refused(data: Path, journal: Journal, words: list[str], says: str) -> None:
    order = a_settled_order(journal)
    done = CliRunner().invoke(app, ["replay", order, *words, "--data", str(data)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: invalid_param: {says}")


def test_a_command_that_cannot_tell_says_why(data: Path, tmp_path: Path) -> None:
    unknown = run("replay", "ord_1CWoxU9o4mDZrwmoTm7izz", "--data", data, "--json")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert json.loads(unknown.stderr)["error"]["code"] == "not_found"
    nowhere = run("replay", "ord_1CWoxU9o4mDZrwmoTm7izz", "--data", tmp_path / "none")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert not (tmp_path / "none").exists()
