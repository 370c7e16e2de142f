"""Views made again by the commands and over HTTP, beside an engine that serves."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine.config.settings import Settings, read_settings
from engine.followers.acting import BlockedOrders
from engine.installation import open_journal
from engine.journal.datastore import open_store
from engine.sandbox.generate import GenerationPlan, fill
from order_engine.main import app
from order_engine.tending import Rebuilding, Telling
from projections import jobs, rebuild
from projections.database import Views
from projections.jobs import Job
from projections.rebuild import RebuildRequest
from projections.runner import Runner
from tests.support.engines.prepared import install
from tests.support.engines.releases import FIRST
from tests.support.models.random_facts import contents
from tests.support.servers.command import on_terminal, run
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation with a small generated journal, shown by its views."""
    settings = read_settings(data=str(tmp_path_factory.mktemp("rebuild")), environ={})
    install(settings)
    views = Views(settings.views_url)
    with closing(open_journal(settings)) as journal:
        fill(journal, GenerationPlan(60, 3, 2))
        Runner(journal, views).catch_up()
    views.close()
    return settings


@pytest.fixture
def views(settings: Settings) -> Iterator[Views]:
    opened = Views(settings.views_url)
    yield opened
    opened.close()


def command(*words: str, settings: Settings) -> Result:
    """A command, without a process of its own."""
    return CliRunner().invoke(app, [*words, "--data", str(settings.data)])


def spoil(views: Views) -> str:
    """Makes the row of an order wrong; its id."""
    order = str(views.query("SELECT id FROM view_orders ORDER BY first_offset")[3][0])
    with views.writing() as connection:
        connection.exec_driver_sql("UPDATE view_orders SET status = 'spoilt' WHERE id = ?", (order,))
    return order


# --- commands -------------------------------------------------------------------------------------


def test_a_rebuild_says_what_it_did(settings: Settings, views: Views) -> None:
    before = contents(views)
    head = views.offset("orders")
    done = run("rebuild", "orders", "--data", settings.data)
    assert done.returncode == 0, done.stderr
    rows = len(before["view_orders"])
    assert re.fullmatch(
        rf"rebuilt orders: {head} facts in [0-9.]+ s, [0-9 ]+ facts/s\n"
        rf"compared {rows} rows with the live ones: all are equal\n",
        done.stdout,
    )
    assert f"folding: {head} of {head} facts, " in done.stderr
    assert "swapping" in done.stderr
    every = command("rebuild", "--all", "--json", settings=settings)
    assert every.exit_code == 0, every.output
    assert json.loads(every.stdout)["views"] == list(views.views)
    assert contents(views) == before


def test_verify_finds_a_wrong_row_and_rebuild_mends_it(settings: Settings, views: Views) -> None:
    before = contents(views)
    order = spoil(views)
    found = command("verify", "orders", settings=settings)
    assert found.exit_code == 1
    assert "1 differ" in found.stdout
    assert re.search(rf"orders +view_orders +\d+ +changed +{order} +\d+-\d+\n", found.stdout)
    every = json.loads(command("verify", "--all", "--json", settings=settings).stdout)
    (one,) = every["findings"]["shown"]
    assert (one["stream"], one["what"]) == (order, "changed")
    mended = command("rebuild", "orders", "--keep-old", settings=settings)
    assert (mended.exit_code, "1 differ" in mended.stdout) == (0, True)
    assert contents(views) == before
    assert command("verify", "--all", settings=settings).exit_code == 0
    back = command("rollback", "orders", settings=settings)
    assert (back.exit_code, back.stdout.startswith("rolled back orders: ")) == (0, True)
    assert contents(views) != before
    assert command("rebuild", "orders", settings=settings).exit_code == 0
    assert contents(views) == before


def test_what_cannot_be_done_is_one_coded_line(settings: Settings) -> None:
    known = "known are accounts, instruments"
    for words, code, says in (
        (("rebuild", "nothing"), 2, f"bad_settings: no view 'nothing'; {known}"),
        (("verify", "orders", "Orders"), 2, "bad_settings: no view 'Orders'"),
        (("rollback",), 2, f"bad_settings: name views, or --all; {known}"),
        (("rebuild", "orders", "--all"), 2, "bad_settings: name views, or --all"),
        (("faults", "nothing"), 2, "bad_settings: no view 'nothing'"),
        (("retry", "nothing", "ord_1"), 2, "bad_settings: no view 'nothing'"),
        (("retry", "orders", "ord_1"), 1, "not_found: The journal has no stream ord_1."),
        (("rollback", "events"), 1, "nothing_kept: no former tables of events are kept"),
    ):
        done = command(*words, settings=settings)
        assert (done.exit_code, done.stdout) == (code, ""), words
        assert f"error: {says}" in done.stderr, words


def test_projections_are_listed_with_what_waits_in_them(settings: Settings, views: Views) -> None:
    head = views.offset("orders")
    lines = command("projections", settings=settings).stdout.splitlines()
    assert len(lines) == 1 + len(views.views)
    count = views.query("SELECT count(*) FROM view_orders")[0][0]
    assert count > 60
    assert re.match(rf"orders +live +{head} +0 +{count} +{views.shapes['orders']}", lines[4])
    assert command("faults", settings=settings).stdout == "no faults\n"
    order = str(views.query("SELECT id FROM view_orders")[0][0])
    with views.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO view_quarantine VALUES (?, 'orders', ?, 'acc_1', 't', 9, 'KeyError: no')",
            (f"orders {order}", order),
        )
    views.report_blocked("execution", {"ord_1": "unavailable: the venue is mute"})
    document = json.loads(command("projections", "--json", settings=settings).stdout)
    assert {one["name"] for one in document if one["state"] == "quarantined"} == {"orders"}
    text = command("faults", settings=settings).stdout
    assert re.search(rf"orders +{order} +9 +KeyError: no\n", text)
    assert re.search(r"execution +ord_1 +unavailable: the venue is mute\n", text)
    retried = command("retry", "orders", order, settings=settings)
    assert (retried.exit_code, retried.stdout) == (0, f"{order} in orders: folded\n")
    for name in ("orders", "events"):
        again = command("retry", name, order, settings=settings)
        assert (again.exit_code, again.stdout, "nothing of it waits" in again.stderr) == (1, "", True)
    views.report_blocked("execution", {})
    assert command("faults", "--json", settings=settings).stdout.split() == [
        "{",
        '"views":',
        "[],",
        '"followers":',
        "[]",
        "}",
    ]


def test_on_a_terminal_there_is_a_bar(settings: Settings) -> None:
    output = on_terminal("rebuild", "orders", "--data", str(settings.data))
    assert "facts/s" in output
    assert "all are equal" in output


# --- who takes up what was asked for --------------------------------------------------------------


class Errand:
    """A rebuild in a thread, in place of a process."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.thread = threading.Thread(target=work)
        self.thread.start()

    def ended(self) -> int | None:
        return None if self.thread.is_alive() else 0

    def stop(self) -> None:
        self.thread.join()


def test_what_was_asked_for_is_done_once(settings: Settings, views: Views) -> None:
    begun = []

    def start(job: Job) -> Errand:
        begun.append(job.number)

        def work() -> None:
            with closing(open_journal(settings)) as journal:
                wanted = RebuildRequest(
                    job.kind, job.names, keeps_old=bool(job.keeps_old), number=job.number
                )
                rebuild.run(journal, views, wanted)

        return Errand(work)

    job = jobs.ask(views, "rebuild", ["parked"], keeps_old=True)
    rebuilding = Rebuilding(views, start)  # type: ignore[arg-type]
    while jobs.jobs(views)[0].state != "done":
        rebuilding._polling.hurry()
        rebuilding.turn(lambda: None)
    rebuilding.finish()
    assert begun == [job.number]
    assert views.query("SELECT view FROM view_kept") == [("parked",)]


def test_only_an_older_shape_asks_for_a_rebuild(settings: Settings, views: Views) -> None:
    def tables_have(shape: str) -> list[str]:
        with views.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE view_checkpoints SET shape = ? WHERE view = 'parked'", (shape,)
            )
        return jobs.outdated(views)

    ours = views.shapes["parked"]
    numbers = [int(number) for number in re.split(r"[/.]", ours)]
    first, second, third = numbers
    assert tables_have(f"{first - 1}/{second}.{third}") == ["parked"]
    assert tables_have(f"{first}/{second - 1}.{third + 9}") == ["parked"]
    assert tables_have(f"{first}/{second}.{third + 9}") == []
    assert tables_have(f"{first + 9}/{second}.{third}") == []
    assert tables_have(ours) == []


def test_orders_that_stand_still_are_told_to_all(views: Views) -> None:
    class Acting:
        offset = 7

        def __init__(self) -> None:
            self.faults = BlockedOrders("execution")

        def turn(self, _: Any) -> float:
            return 1.5

        def finish(self) -> None:
            pass

    acting = Acting()
    telling = Telling("execution", acting, views)
    views.report_blocked("execution", {"ord_0": "left by who was killed"})
    assert telling.turn(lambda: None) == 1.5
    assert views.standing() == []
    acting.faults.show("ord_1", ValueError("no"))
    telling.turn(lambda: None)
    assert [(one.follower, one.subject, one.error) for one in views.standing()] == [
        ("execution", "ord_1", "ValueError: no")
    ]
    acting.faults.clear("ord_1")
    telling.turn(lambda: None)
    assert views.standing() == []


def test_verify_and_other_readers_leave_views_that_nothing_vouches_for(tmp_path: Path) -> None:
    """Those of the first release have no seals: `verify` emptied them, and called that a pass."""
    data = tmp_path / "data"
    FIRST.lay(f"sqlite:///{data}/journal.db", data)
    settings = read_settings(data=str(data), environ={})
    assert command("migrate", "--sandbox", settings=settings).exit_code == 0
    before = stored_rows(data / "views.db")
    for words in (["projections"], ["faults"], ["doctor"], ["verify", "--all"], ["verify", "orders"]):
        done = command(*words, settings=settings)
        assert "are rebuilt" not in done.output, words
        left = {table: rows for table, rows in stored_rows(data / "views.db").items() if table in before}
        assert left == before, words
    assert sum(map(len, before.values())) > 0


def stored_rows(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Table -> its rows, of the views' own; of any release. Checkpoints without their seals."""
    with closing(open_store(f"sqlite:///{file}", is_disposable=True)) as store:
        names = store.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in names if name.startswith("view_")]
        columns = {
            name: "view, shape, reached" if name == "view_checkpoints" else "*" for name in tables
        }
        begun = {"view_checkpoints": " WHERE reached > 0"}  # views that the release had
        return {
            name: sorted(
                store.query(f"SELECT {columns[name]} FROM {name}{begun.get(name, '')}"), key=repr
            )
            for name in tables
            if name not in {"view_rebuilds", "view_meta", "view_kept"}
        }


def test_verify_is_no_pass_for_views_that_it_could_not_compare(tmp_path: Path) -> None:
    """Nor does it say so when some were compared: whoever asked for all would take it for all."""
    settings = read_settings(data=str(tmp_path), environ={})
    install(settings)
    with closing(open_journal(settings)) as journal, closing(Views(settings.views_url)) as views:
        fill(journal, GenerationPlan(20, 2, 1))
        found = command("verify", "--all", settings=settings)
        assert (found.exit_code, "fill them with `order-engine rebuild --all`" in found.stdout) == (
            1,
            True,
        )
        Runner(journal, views).catch_up()
        assert command("verify", "--all", settings=settings).exit_code == 0
        views.forget(["orders"])
        found = command("verify", "--all", settings=settings)
        assert (found.exit_code, "fill them with `order-engine rebuild orders`" in found.stdout) == (
            1,
            True,
        )
        assert command("verify", "events", settings=settings).exit_code == 0


# --- over HTTP ------------------------------------------------------------------------------------


def test_a_rebuild_is_asked_for_watched_and_done(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client)
    ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)
    engine.project()
    asked = client.post("/projections/orders/rebuild", {"keep_old": True})
    job = ok(asked, 202)
    assert (job["state"], job["views"], job["kind"]) == ("waiting", ["orders"], "rebuild")
    again = client.post("/projections/events/verify", {})
    assert (again.status, again.code) == (409, "rebuild_running")
    rebuild.run(
        engine.journal,
        engine.views,
        RebuildRequest("rebuild", ["orders"], keeps_old=True, number=job["number"]),
    )
    shown = {one["name"]: one for one in ok(client.get("/projections"))}
    assert shown["orders"]["rebuild"]["state"] == "done"
    assert shown["orders"]["rebuild"]["percent"] == 100
    assert shown["orders"]["kept_offset"] == shown["orders"]["offset"] == engine.journal.head
    assert (shown["events"]["state"], shown["events"]["behind_facts"]) == ("live", 0)
    assert shown["orders"]["rows"] >= 1
    assert client.post("/projections/nothing/rebuild", {}).status == 404
    assert client.post("/projections/orders/rebuild", {"keep": True}).code == "invalid_param"


def test_faults_are_listed_shown_by_health_and_tried_again(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client)
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
    engine.project()
    views = engine.views
    engine.leave_out("orders", order, account)
    views.report_blocked("execution", {order: "unavailable: no"})
    (fault,) = ok(client.get("/projections/orders/faults"))
    assert (fault["stream"], fault["offset"], fault["fault"]) == (order, 5, "KeyError: what?")
    assert client.get(f"/accounts/{account}/orders/{order}").code == "view_quarantined"
    assert client.get(f"/accounts/{account}/orders").headers["Withheld-Resources"] == "1"
    engine.services.health.poll()
    health = ok(client.get("/health/ready"))
    assert {one["code"] for one in health["reasons"]} == {"view_quarantined", "orders_standing"}
    assert health["followers"]["execution"]["faults"] == 1
    assert order not in json.dumps(health), "health is open to all"
    retried = client.post(f"/projections/orders/faults/{order}/retry", {})
    assert ok(retried) == {"view": "orders", "stream": order, "flows": True}
    assert ok(client.get("/projections/orders/faults")) == []
    assert ok(client.get(f"/accounts/{account}/orders"))
    views.report_blocked("execution", {})
    for stream, says in ((order, "nothing of it waits"), ("ord_none", "The journal has no stream")):
        refused = client.post(f"/projections/orders/faults/{stream}/retry", {})
        assert (refused.status, refused.code, says in refused.json["detail"]) == (404, "not_found", True)
    deeds = [act["deed"] for act in ok(client.get("/acts"))]
    assert deeds.count("fault.retried") == 1, "what was refused is no act"
