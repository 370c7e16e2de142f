"""Corporate actions over HTTP: announced, corrected, withdrawn, listed, refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import servicing
from engine.commands.desk import Desk
from tests.support.servers.http_engine import TERMS, Engine, an_account, buying, ok
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
    for instrument in ("ins_none", "", "acc_1", "ins_"):
        unknown = announce(client, instrument, DIVIDEND)
        assert (unknown.status, unknown.code) == (400, "not_found")
    ok(announce(client, stock, DIVIDEND), 201)
    again = announce(client, stock, DIVIDEND | {"amount": "1"})
    assert (again.status, again.code) == (400, "invalid_param")
    assert again.json["params"][0]["path"] == "body.ex_date"


def test_only_an_admin_announces(engine: Engine, stock: str) -> None:
    reply = announce(engine.client("read", "trade", "operate"), stock, DIVIDEND)
    assert (reply.status, reply.code) == (403, "insufficient_scope")


def test_a_dividend_is_told_and_stands_in_the_ledger(engine: Engine, client: Client, stock: str) -> None:
    """From its announcement to its payment: action, event, stream, ledger, history, audit."""
    ok(client.post("/prices", [{"symbol": f"S-{engine.tenant}", "bid": "100", "ask": "100"}]), 201)
    account = an_account(client)
    order = ok(client.post(f"/accounts/{account}/orders", buying("500") | {"instrument": stock}), 201)
    engine.execute(order["id"], ["4.00"])
    today = date.fromisoformat(ok(client.get("/sandbox/clock"))["business_date"])
    ex_date = (today + timedelta(days=1)).isoformat()
    made = ok(announce(client, stock, DIVIDEND | {"ex_date": ex_date}), 201)
    noon = datetime.fromisoformat(f"{made['pay_date']}T12:00:00+00:00")  # in New York it is that day
    ahead = noon - datetime.fromisoformat(ok(client.get("/sandbox/clock"))["business_time"])
    hours = int(ahead / timedelta(hours=1))
    ok(client.post("/sandbox/clock", {"advance": f"P{hours // 24}DT{hours % 24}H"}))
    engine.desk = Desk(engine.journal)  # one that has not read the clock yet
    words = {"instrument": stock, "action": made["id"]}
    engine.act(servicing.start_action, **words)
    engine.act(servicing.apply_action, ids=engine.services.firm.ids, account=account, **words)
    engine.act(servicing.complete_action, accounts=1, amount=Decimal("1.24"), **words)
    engine.project()
    done = ok(client.get(f"{ACTIONS}/{made['id']}"))
    assert (done["status"], done["accounts"], done["total_amount"]) == ("completed", 1, "1.24")
    (event,) = ok(client.get("/events?name=dividend.paid"))
    assert event["resource"]["resource_type"] == "dividend"
    paid = event["data"]
    assert (paid["units"], paid["amount"], paid["action"]) == ("4.00", "1.24", made["id"])
    assert paid["payment_date"] == made["pay_date"]
    resource = event["resource"]["id"]
    assert ok(client.get(f"/events?resource[id]={resource}")) == [event]
    stream = client.get(f"/events/stream?after=0&follow=false&resource[id]={resource}")
    assert stream.body.count(b'"name":"dividend.paid"') == 1
    (row,) = ok(client.get(f"/accounts/{account}/transactions?transaction_types=dividend"))
    assert (row["cash_amount"], row["reference"]) == ("1.24", resource)
    newest = ok(client.get(f"/accounts/{account}/history?limit=1"))[0]
    assert newest["name"] == "account.dividend_paid.1"
    assert newest["cash_balances"][0]["total"] == "599.22"
    assert audit(engine.journal.datastore, AuditOptions()).findings == []


def test_webhooks_take_the_names_of_an_instrument_s_life(engine: Engine, client: Client) -> None:
    names = ["coupon.paid", "dividend.paid", "position.matured", "position.split"]
    url = f"https://{engine.tenant}.example.com/life"
    assert ok(client.post("/webhooks", {"url": url, "events": names}), 201)["events"] == names
