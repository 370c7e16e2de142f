"""Corporate actions over HTTP: announced, corrected, withdrawn, listed, refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.servers.http_engine import TERMS, Engine, ok
from tests.support.servers.http_server import Client, Reply

STOCK = TERMS | {"instrument_type": "stock"}
ACTIONS = "/corporate-actions"
DIVIDEND: dict[str, Any] = {"action_type": "cash_dividend", "ex_date": "2100-03-12", "amount": "0.31"}
SPLIT: dict[str, Any] = {
    "action_type": "stock_split", "ex_date": "2100-03-15", "units_to": 3, "units_from": 2,
    "fraction_price": "33.5",
}  # fmt: skip


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


@pytest.fixture
def stock(engine: Engine, client: Client) -> str:
    """A stock of this test's own: actions are the same for all tenants."""
    instrument = f"ins_stock_{engine.tenant}"
    path = f"/instruments/{instrument}"
    ok(client.send("PUT", path, STOCK | {"symbol": f"S-{engine.tenant}"}), 201)
    return instrument


def announce(client: Client, instrument: str, body: dict[str, Any]) -> Reply:
    return client.post(ACTIONS, {"instrument": instrument, **body})


def test_an_action_is_announced_corrected_and_withdrawn(
    engine: Engine, client: Client, stock: str
) -> None:
    made = ok(announce(client, stock, DIVIDEND), 201)
    assert list(made) == [
        "id", "instrument", "action_type", "status", "ex_date", "record_date", "pay_date", "amount",
        "units_to", "units_from", "fraction_price", "source", "accounts", "total_amount", "created_at",
        "modified_at",
    ]  # fmt: skip
    assert (made["status"], made["source"], made["amount"]) == ("announced", "operator", "0.31000000")
    assert (made["record_date"], made["pay_date"]) == ("2100-03-11", "2100-03-12")
    path = f"{ACTIONS}/{made['id']}"
    engine.project()
    assert ok(client.get(path)) == made
    changed = ok(client.send("PUT", path, DIVIDEND | {"amount": "0.42"}))
    assert changed == made | {"amount": "0.42000000", "modified_at": changed["modified_at"]}
    engine.project()
    assert ok(client.send("PUT", path, DIVIDEND | {"amount": "0.42"})) == changed  # nothing changes
    withdrawn = ok(client.post(f"{path}/withdraw", {"reason": "entered twice"}))
    assert withdrawn == changed | {"status": "withdrawn", "modified_at": withdrawn["modified_at"]}
    engine.project()
    assert ok(client.get(path)) == withdrawn
    refused = client.post(f"{path}/withdraw", {"reason": "again"})
    assert (refused.status, refused.code) == (404, "not_found")
    deeds = [act["deed"] for act in ok(client.get("/acts")) if act["subject"] == made["id"]]
    assert deeds == ["action.withdrawn", "action.corrected", "action.announced"]


def test_actions_are_listed_by_instrument_status_and_type(
    engine: Engine, client: Client, stock: str
) -> None:
    ids = [ok(announce(client, stock, body), 201)["id"] for body in (DIVIDEND, SPLIT)]
    engine.project()
    ok(client.post(f"{ACTIONS}/{ids[0]}/withdraw", {"reason": "entered twice"}))
    engine.project()
    reader = engine.client("read", tenant=f"{engine.tenant}-other")
    for query, wanted in {
        "": ids[::-1],
        "&status=announced": ids[1:],
        "&status=withdrawn&status=completed": ids[:1],
        "&action_type=stock_split": ids[1:],
        "&action_type=stock_split&status=withdrawn": [],
        "&limit=1": ids[1:],
        f"&before={ids[1]}": ids[:1],
    }.items():
        rows = ok(reader.get(f"{ACTIONS}?instrument={stock}{query}"))
        assert [row["id"] for row in rows] == wanted, query
    assert reader.get(f"{ACTIONS}?before=cac_none").code == "invalid_param"


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "in the past": (DIVIDEND | {"ex_date": "2020-01-01"}, "invalid_param", "body.ex_date"),
    "paid before it": (DIVIDEND | {"pay_date": "2100-03-11"}, "invalid_param", "body.pay_date"),
    "paid much later": (DIVIDEND | {"pay_date": "2100-07-11"}, "invalid_param", "body.pay_date"),
    "without an amount": (DIVIDEND | {"amount": None}, "missing_param", "body.amount"),
    "of nothing": (DIVIDEND | {"amount": "0"}, "invalid_param", "body.amount"),
    "with a ratio": (DIVIDEND | {"units_to": 2}, "invalid_param", "body.units_to"),
    "a split that shrinks": (SPLIT | {"units_to": 1}, "invalid_param", "body.units_to"),
    "a coupon of a stock": (DIVIDEND | {"action_type": "coupon"}, "invalid_param", "body.action_type"),
    "of an unknown type": (DIVIDEND | {"action_type": "merger"}, "invalid_param", "body.action_type"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_action_is_refused_and_nothing_recorded(
    engine: Engine, client: Client, stock: str, name: str
) -> None:
    body, code, path = FAULTS[name]
    head = engine.journal.head
    reply = announce(client, stock, body)
    assert (reply.status, reply.code) == (400, code), reply.body
    assert path in [param["path"] for param in reply.json["params"]]
    assert engine.journal.head == head


def test_an_action_needs_its_instrument_and_a_day_of_its_own(client: Client, stock: str) -> None:
    unknown = announce(client, "ins_none", DIVIDEND)
    assert (unknown.status, unknown.code) == (400, "not_found")
    ok(announce(client, stock, DIVIDEND), 201)
    again = announce(client, stock, DIVIDEND | {"amount": "1"})
    assert (again.status, again.code) == (400, "invalid_param")
    assert again.json["params"][0]["path"] == "body.ex_date"


def test_only_an_admin_announces(engine: Engine, stock: str) -> None:
    reply = announce(engine.client("read", "trade", "operate"), stock, DIVIDEND)
    assert (reply.status, reply.code) == (403, "insufficient_scope")
