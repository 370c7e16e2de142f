"""What an earlier release left is opened as it is: nothing is lost, rebuilt or answered otherwise.

What has changed since the second release is said here: `OUTDATED` names the views that are made again,
`ADDED` the keys that resources have got.
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine import installation
from engine.audit.auditing import AuditOptions, audit
from engine.config.settings import Settings, read_settings
from engine.installation import open_journal_datastore
from engine.registers.operations import define_operations
from projections import jobs
from projections.database import Views
from tests.support.engines.releases import SECOND, Release
from tests.support.servers.http_engine import running

NEW = {"actions", "rollovers", "scripts", "servicing"}
"""Views that there are since the second release."""
OUTDATED = [
    "accounts", "instruments", "orders", "balances", "positions", "events", "parked", "working",
]  # fmt: skip
"""Views whose shape has changed since the second release."""
JWKS = "/.well-known/jwks.json"
BEHIND = 2
"""Facts that came after the second release's views were last brought up."""
SCHEMA_CHANGED = True
"""Whether the tables of the journal's database have, since."""
NEW_TABLES = {"order_quotes"}
"""Operational tables that there are since."""
ADDED = {
    "/instruments": {
        "maturity_period", "coupon_frequency", "first_coupon_date", "issue_date", "ex_coupon_days",
        "trading_hours",
    },
    "/prices": {"dirty_bid", "dirty_ask", "stale_since"},
    "/accounts": {
        "splits", "rolled_from", "rolled_into", "limit_price", "time_in_force", "quote", "corrects",
        "expires_at", "script", "bid",
    },
    "/events": {"rolled_from", "rolled_into", "limit_price", "time_in_force", "quote", "corrects"},
}  # fmt: skip
"""Start of a path -> keys that its resources have got since."""


@pytest.fixture(params=["sqlite", "postgresql"])
def second(request: pytest.FixtureRequest) -> Release:
    """The second release's installation on each database in turn."""
    return SECOND[request.param]


@pytest.fixture
def settings(second: Release, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Where it stands, as it was left."""
    url = f"sqlite:///{tmp_path}/data/journal.db"
    if second is SECOND["postgresql"]:
        url = request.getfixturevalue("postgres_url")
    second.lay(url, tmp_path / "data")
    return read_settings(data=str(tmp_path / "data"), journal_url=url, environ={})


def checkpoints(views: Views) -> dict[str, tuple[str, int]]:
    """View -> its shape and how far it has come."""
    rows = views.query("SELECT view, shape, reached FROM view_checkpoints")
    return {view: (shape, reached) for view, shape, reached in rows}


def counts(settings: Settings) -> dict[str, int]:
    """Operational table of the second release -> how many rows it has."""
    with closing(open_journal_datastore(settings)) as datastore:
        return {
            table: datastore.store.query(f"SELECT count(*) FROM {table}")[0][0]
            for table in define_operations().metadata.tables.keys() - NEW_TABLES
        }


def untold(status: int, text: str) -> Any:
    """An answer without the texts of its errors, which are for people and may change."""
    if status < 400:
        text = re.sub(r'("code":"caught_up","detail":)"[^"]*"', r"\1", text)
        return re.sub(r'("days_to_maturity":)[0-9]+', r"\1", text)  # counts from today
    error = json.loads(text)
    return {name: error[name] for name in error if name not in {"detail", "request_id"}}


def as_then(path: str, text: str) -> str:
    """An answer of today without the keys that its resources have got since."""
    added: set[str] = set().union(*(keys for start, keys in ADDED.items() if path.startswith(start)))
    if not added:
        return text

    def without(resource: dict[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in resource.items() if name.rpartition(".")[2] not in added}

    def compact(one: str) -> str:
        return json.dumps(
            json.loads(one, object_hook=without), separators=(",", ":"), ensure_ascii=False
        )

    if text.startswith(("{", "[")):
        return compact(text)
    return re.sub(r"(?m)^data: (.+)$", lambda line: f"data: {compact(line[1])}", text)


def test_the_second_release_is_opened_as_it_was_left(second: Release, settings: Settings) -> None:
    before = counts(settings)
    empty = {table for table, count in before.items() if count == 0}
    assert empty == set()
    outcome = installation.migrate(settings).outcome
    assert outcome == ("updated" if SCHEMA_CHANGED else "already up to date")
    with closing(open_journal_datastore(settings)) as datastore:
        head = datastore.pages.head()
        assert (head.position, head.digest.hex()) == (second.facts, second.digest)
        assert audit(datastore, AuditOptions("all")).findings == []
    assert counts(settings) == before


def test_the_second_release_s_journal_answers_as_before(
    second: Release, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Views(settings.views_url)) as views:
        left = checkpoints(views)
        assert jobs.outdated(views) == OUTDATED
    reached = {left[view][1] for view in left.keys() - NEW}
    assert reached == {second.facts - BEHIND}
    with running(settings.journal_url, settings.data.parent) as engine:
        assert {name: left[name] for name in left if name not in OUTDATED}.items() <= (
            checkpoints(engine.views).items()
        )
        engine.project()
        client = engine.client("read", "operate", "admin", tenant=second.tenant)
        answers = second.answers()
        keys = json.loads(answers.pop(JWKS)[2])["keys"]
        shown = client.get(JWKS).json["keys"]  # a retired key is shown until its last token has expired
        assert shown == keys[: len(shown)] != []
        assert len(answers) > 200
        for path, (status, media, text) in answers.items():
            reply = client.get(path)
            assert (reply.status, reply.headers["Content-Type"]) == (status, media), path
            said = as_then(path, reply.body.decode())
            assert untold(reply.status, said) == untold(status, text), path
    assert "are rebuilt" not in caplog.text
