"""F18 over HTTP: what clients are answered while acknowledged facts are gone, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from engine.domain.clock import STREAM, ClockAdvanced
from engine.domain.stored import engine_codec
from engine.journal.damage import WENT_BACK
from engine.journal.journal import Journal
from engine.kernel.ids import IdSource
from order_engine.main import app
from tests.support.engines.rewinding import rewind_journal
from tests.support.models.facts import append
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running
from tests.support.servers.served import wait_until

IDS = IdSource()
WITHIN_S = 1.0
"""In which every process stops writing."""


def command(engine_dir: Path, url: str, *words: str) -> Result:
    place = ["--data", str(engine_dir / "data"), "--journal-url", url]
    return CliRunner().invoke(app, [*words, *place])


def last_act(engine: Engine) -> dict[str, Any]:
    """The newest row of the register."""
    store = engine.journal.datastore.store
    row = store.query("SELECT deed, actor, reason, context FROM acts ORDER BY id DESC LIMIT 1")[0]
    return dict(zip(("deed", "actor", "reason", "context"), row, strict=True))


def test_writes_and_reads_say_so_until_an_operator_goes_on(journal_url: str, tmp_path: Path) -> None:
    """Put back under a running engine: orders were answered 201 from states that are gone."""
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        account = an_account(client)
        orders = f"/accounts/{account}/orders"
        kept = ok(client.post(orders, buying("10.00")), 201)["id"]
        engine.project()
        common = engine.journal.head
        lost = ok(client.post(orders, buying("20.00")), 201)["id"]
        engine.project()
        rewind_journal(journal_url, common)
        wait_until("it is known", lambda: engine.journal.datastore.damage.mark is not None, WITHIN_S * 5)
        for path, body in (
            (orders, buying("5.00")),
            ("/accounts", {"name": "B", "base_currency": "USD"}),
        ):
            refused = client.post(path, body)
            assert (refused.status, refused.code) == (503, "journal_went_back")
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json["context"] == {"position": common}
            assert f"after position {common} " in refused.json["detail"]
        for path in (orders, f"{orders}/{lost}", f"{orders}/{kept}", f"/accounts/{account}", "/events",
                     f"/accounts/{account}/cash-balances"):  # fmt: skip
            assert (client.get(path).status, client.get(path).code) == (503, "journal_went_back"), path
        assert client.get("/acts").status == 200
        engine.services.health.poll()
        ready = engine.connect().get("/health/ready")
        assert (ready.status, ready.json["status"]) == (503, "not_ready")
        reasons = {one["code"]: one for one in ready.json["reasons"]}
        assert f"position {common} " in reasons[WENT_BACK]["detail"]
        assert engine.journal.head == common

        told = command(tmp_path, journal_url, "doctor")
        assert "accept-loss" in told.output
        audited = command(tmp_path, journal_url, "audit")
        assert audited.exit_code == 1, audited.output
        assert f"position {common}: lost: The journal went back" in audited.output
        assert "journal accept-loss" in audited.output
        assert not {"Clean.", "damage"} & set(audited.output.split())
        document = json.loads(command(tmp_path, journal_url, "audit", "--json").stdout)
        assert (document["verdict"], document["writes_stopped"]) == ("went_back", True)
        assert [(one["check"], one["position"]) for one in document["findings"]] == [("lost", common)]
        reopened = command(tmp_path, journal_url, "audit", "--reopen")
        assert (reopened.exit_code, "journal accept-loss" in reopened.output) == (1, True)
        assert "error: journal_went_back" in reopened.output
        assert client.post(orders, buying("5.00")).status == 503, "a sound journal is no whole one"
        done = command(
            tmp_path, journal_url, "journal", "accept-loss", "--reason", "failover", "--yes", "--json"
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["common_position"] == common
        act = last_act(engine)
        assert (act["deed"], act["actor"], act["reason"]) == (
            "loss.accepted",
            "command line",
            "failover",
        )
        again = command(tmp_path, journal_url, "journal", "accept-loss", "--reason", "x", "--yes")
        assert (again.exit_code, "nothing is to be accepted" in again.output) == (1, True)

        wait_until("writes go on", lambda: client.post(orders, buying("5.00")).status == 201, 3)
        wait_until("ready", lambda: engine.connect().get("/health/ready").status == 200, 5)
        engine.project()
        found = [one["id"] for one in ok(client.get(orders))]
        assert kept in found
        assert lost not in found
        assert client.get(f"{orders}/{lost}").status == 404
        versions = [one.version for one in engine.journal.stream(account)]
        assert versions == [*range(1, len(versions) + 1)]


ABSENT: dict[str, tuple[str, Callable[[str, str], str], Any]] = {
    "an order": ("GET", lambda account, order: f"/accounts/{account}/orders/{order}", None),
    "its history": ("GET", lambda account, order: f"/accounts/{account}/orders/{order}/history", None),
    "its evidence": ("GET", lambda account, order: f"/accounts/{account}/orders/{order}/evidence", None),
    "a deposit": (
        "GET",
        lambda account, _: f"/accounts/{account}/deposits/{IDS.new('dep')}",
        None,
    ),
    "an id of a webhook": ("GET", lambda *_: f"/webhooks/{IDS.new('whk')}", None),
    "a cancel": ("POST", lambda account, _: f"/accounts/{account}/orders/{IDS.new('ord')}/cancel", {}),
    "an id in a body": (
        "POST",
        lambda account, _: f"/accounts/{account}/orders",
        buying("1.00") | {"instrument": IDS.new("ins")},
    ),
}
"""What asks for something that is not there, and would be answered `not_found`."""


@pytest.mark.parametrize("what", ABSENT)
def test_nothing_is_not_found_before_the_journal_is_compared(
    sqlite_url: str, tmp_path: Path, what: str
) -> None:
    """An older copy that has grown past what was there: a request comes before the next look does."""
    method, path, body = ABSENT[what]
    with running(sqlite_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        account = an_account(client)
        common = engine.journal.head
        lost = ok(client.post(f"/accounts/{account}/orders", buying("20.00")), 201)["id"]
        gone = engine.journal.head
        rewind_journal(sqlite_url, common)
        with Journal(sqlite_url, engine_codec()) as other:
            for n in range(gone - common + 1):
                append(other, n, STREAM, n, ClockAdvanced(1, 1))
        answer = client.send(method, path(account, lost), body)
        assert (answer.status, answer.code) == (503, "journal_went_back"), answer.body
        assert answer.json["context"] == {"position": common}


def test_the_command_asks_before_it_does_anything(sqlite_url: str, tmp_path: Path) -> None:
    with running(sqlite_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        an_account(client)
        engine.project()
        rewind_journal(sqlite_url, 1)
        asked = command(tmp_path, sqlite_url, "journal", "accept-loss", "--reason", "x")
        assert asked.exit_code == 1
        assert "are lost permanently" in asked.output
        assert "Continue? [y/N]" in asked.output
        for reason in ("", " ", "x" * 201, "a\x1b[31mb", "a\nb", "a\u202eb"):
            said = command(tmp_path, sqlite_url, "journal", "accept-loss", "--yes", "--reason", reason)
            assert (said.exit_code, "characters, none of them hidden" in said.output) == (1, True)
        engine.journal.datastore.damage.refresh()
        assert engine.journal.datastore.damage.mark is not None
        assert engine.views.offset("accounts") > 1, "nothing is emptied"
