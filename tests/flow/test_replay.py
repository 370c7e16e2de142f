"""`order-engine replay` and `rebuild`: a stream's story, and views made again, from the journal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.errors import Refused
from engine.generate import Plan, fill
from engine.installation import migrate
from engine.journal import Journal
from engine.order import Order, Settled
from engine.settings import read_settings
from engine.stored import engine_codec
from engine.story import read_story, tell
from engine.streams import FOLDS, fold_of
from projections.database import Views
from projections.runner import Runner
from tests.command import run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a small generated journal."""
    directory = tmp_path_factory.mktemp("replay")
    settings = read_settings(data=str(directory), environ={})
    migrate(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        fill(journal, Plan(60, 3, 2))
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
    facts = [line.split()[5] for line in lines if re.match(r" *\d+ +\d+  2026-", line)]
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
    assert {stream[:3] for stream in streams} >= FOLDS.keys() - {"clk", "hlt"}
    for stream in streams:
        story = read_story(journal, stream)
        assert story == tell(stream, journal.stream(stream), fold_of(stream))
        assert all(step.said for step in story.steps), stream


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
    assert len(str(error.value)) < 200


def test_a_command_that_cannot_tell_says_why(data: Path, tmp_path: Path) -> None:
    unknown = run("replay", "ord_1CWoxU9o4mDZrwmoTm7izz", "--data", data, "--json")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert json.loads(unknown.stderr)["error"]["code"] == "not_found"
    nowhere = run("replay", "ord_1CWoxU9o4mDZrwmoTm7izz", "--data", tmp_path / "none")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert not (tmp_path / "none").exists()


# --- rebuild --------------------------------------------------------------------------------------


def rows(views: Views, name: str) -> list[tuple[object, ...]]:
    return [
        row
        for table in views.views[name].tables
        for row in sorted(views.query(f"SELECT * FROM {table.name}"))
    ]


def test_views_are_rebuilt_as_they_were(data: Path, journal: Journal) -> None:
    settings = read_settings(data=str(data), environ={})
    views = Views(settings.views_url)
    head = Runner(journal, views).catch_up()
    before = {name: rows(views, name) for name in views.views}
    with views.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM view_orders")
    done = run("rebuild", "orders", "--data", data)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"rebuilt orders: {head} facts in [0-9.]+ s\n", done.stdout)
    assert rows(views, "orders") == before["orders"]
    every = CliRunner().invoke(app, ["rebuild", "--all", "--data", str(data), "--json"])
    assert every.exit_code == 0, every.output
    assert json.loads(every.stdout)["views"] == list(views.views)
    assert {name: rows(views, name) for name in views.views} == before
    views.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "there is no view 'nothing'; there are accounts, "),
        (["orders", "Orders"], "there is no view 'Orders'; there are accounts, "),
        ([], "name views, or --all; there are accounts, "),
        (["orders", "--all"], "name views, or --all; there are accounts, "),
    ],
)
def test_wrong_names_are_wrong_usage(data: Path, words: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["rebuild", *words, "--data", str(data)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: bad_settings: {says}")
    assert "working" in done.stderr
