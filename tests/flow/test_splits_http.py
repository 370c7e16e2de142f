"""A split over HTTP: prices, orders, position, ledger, event, settlement and history around it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import servicing
from engine.commands.desk import Desk
from tests.support.servers.http_engine import TERMS, Engine, an_account, buying, ok, selling
from tests.support.servers.http_server import Client

STOCK = TERMS | {"instrument_type": "stock", "settlement_days": 1}


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


def price(client: Client, symbol: str, at: str) -> None:
    """A quote in the units of now; the second client confirms what jumps."""
    ok(client.post("/prices", [{"symbol": symbol, "bid": at, "ask": at}]), 201)


def position(client: Client, account: str) -> dict[str, Any]:
    (found,) = ok(client.get(f"/accounts/{account}/positions"))
    return dict(found)


def test_a_split_is_seen_everywhere(engine: Engine, client: Client) -> None:
    instrument, symbol = f"ins_split_{engine.tenant}", f"SP-{engine.tenant}"
    ok(client.send("PUT", f"/instruments/{instrument}", STOCK | {"symbol": symbol}), 201)
    price(client, symbol, "100")
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    placed = ok(client.post(orders, buying("500") | {"instrument": instrument}), 201)
    engine.execute(placed["id"], ["4.03"])
    today = date.fromisoformat(ok(client.get("/sandbox/clock"))["business_date"])
    ex_date = today + timedelta(days=3)
    terms = {"ex_date": ex_date.isoformat(), "units_to": 1, "units_from": 2, "fraction_price": "180"}
    action = ok(
        client.post(
            "/corporate-actions", {"instrument": instrument, "action_type": "reverse_split", **terms}
        ),
        201,
    )["id"]
    engine.project()
    before = position(client, account)
    ok(client.post("/sandbox/clock", {"advance": "P4D"}))  # the next day in every zone
    engine.desk = Desk(engine.journal)  # one that has not read the clock yet
    one = selling("1.00") | {"instrument": instrument}
    refused = client.post(orders, one)
    assert (refused.status, refused.code) == (400, "instrument_not_trading")
    assert "A split of the instrument is due" in refused.json["detail"]
    words = {"instrument": instrument, "action": action}
    engine.act(servicing.start_action, **words)
    assert ok(client.get(f"/prices?symbol={symbol}")) == []
    engine.act(servicing.apply_action, ids=engine.services.firm.ids, account=account, **words)
    engine.act(servicing.complete_action, accounts=1, amount=Decimal("0.90"), **words)
    engine.project()
    after = position(client, account)
    assert (before["total"], before["unsettled"]) == ("4.03", "4.03")
    assert (after["total"], after["unsettled"], after["total_buy_trades"]) == ("2.01", "2.01", 1)
    assert after["average_price"] == "200.49751244"  # 403 for 2.01 units
    (row,) = ok(client.get(f"/accounts/{account}/transactions?transaction_types=split"))
    assert (row["cash_amount"], row["reference"]) == ("0.90", after["id"])
    (event,) = ok(client.get(f"/events?resource[id]={after['id']}&name=position.split"))
    assert (event["sequence"], event["data"]) == (2, after)
    missing = client.post(orders, one)
    assert (missing.status, missing.code) == (400, "missing_price")
    price(client, symbol, "200")
    ok(client.post(orders, one), 201)
    trade = ok(client.get(f"{orders}/{placed['id']}"))["trades"][0]
    assert (trade["quantity"], trade["status"]) == ("4.03", "executed")
    engine.settle(placed["id"])
    engine.project()
    settled = position(client, account)
    assert (settled["settled"], settled["unsettled"]) == ("2.01", "0.00")
    trade = ok(client.get(f"{orders}/{placed['id']}"))["trades"][0]
    assert (trade["quantity"], trade["status"]) == ("4.03", "settled")
    history = ok(client.get(f"/accounts/{account}/history?limit=10"))
    (entry,) = [one for one in history if one["name"] == "account.position_split.1"]
    assert (entry["fields"]["quantity_before"], entry["fields"]["quantity_after"]) == ("4.03", "2.01")
    (settled_at,) = [
        one
        for one in ok(client.get(f"{orders}/{placed['id']}/history"))
        if one["name"] == "order.trade_settled.1"
    ]
    moved = {leg["place"]: leg["amount"] for leg in settled_at["legs"]}
    assert moved == {"unsettled": "-2.01", "settled": "2.01"}
    assert audit(engine.journal.datastore, AuditOptions()).findings == []
