"""Rollovers over HTTP: the setting of a position, its cut-off, and the bills that are bought next."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from engine.commands import rollovers, servicing
from engine.commands.desk import Desk
from engine.domain.instrument import Terms, pays_on
from engine.domain.rollover import cutoff_us, rolls_on
from engine.kernel.fact import from_us
from engine.kernel.times import rfc3339
from tests.support.servers.http_engine import Client, Engine, an_account, ok

BILL: dict[str, Any] = {
    "instrument_type": "bill",
    "trading_currency": "USD",
    "issuer_country": "US",
    "maturity_period": "3m",
    "supports_automatic_rollover": True,
    "settlement_days": 0,
}
BILL_TERMS = {name: BILL[name] for name in ("instrument_type", "trading_currency", "issuer_country")}


def listed(client: Client, bill: str, price: str | None = "98", **terms: Any) -> None:
    words = BILL | {"name": f"Bill {bill}", "symbol": bill.upper()} | terms
    ok(client.send("PUT", f"/instruments/ins_{bill}", words), 201)
    if price:
        ok(client.post("/prices", [{"symbol": words["symbol"], "bid": price, "ask": price}]), 201)


def bought(engine: Engine, client: Client, account: str, bill: str, **words: Any) -> str:
    """A position in a bill, by its address."""
    body = {"instrument": f"ins_{bill}", "order_type": "market", "side": "buy", "cash_amount": "100"}
    order = ok(client.post(f"/accounts/{account}/orders", body | words), 201)["id"]
    engine.execute(order, ["1.01"], price="98")
    engine.project()
    positions = ok(client.get(f"/accounts/{account}/positions"))
    return f"/accounts/{account}/positions/{positions[0]['id']}"


def advance(engine: Engine, client: Client, days: int) -> None:
    """Days pass. The engine's desk may have read the clock a moment before: another takes its place."""
    ok(client.post("/sandbox/clock", {"advance": f"P{days}D"}))
    engine.desk = Desk(engine.journal)


def shown(position: dict[str, Any]) -> tuple[Any, ...]:
    names = ("automatic_rollover", "can_update_automatic_rollover", "automatic_rollover_cutoff")
    return tuple(position[name] for name in names)


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


@pytest.fixture
def account(client: Client) -> str:
    return an_account(client)


def test_the_setting_until_its_cut_off(engine: Engine, client: Client, account: str) -> None:
    clock = ok(client.get("/sandbox/clock"))
    matures = date.fromisoformat(clock["business_date"]) + timedelta(days=60)
    listed(client, "near", maturity_date=matures.isoformat())
    at = bought(engine, client, account, "near")
    locked_us = cutoff_us(Terms("", "", maturity_date=matures, **BILL_TERMS))
    assert locked_us is not None
    cutoff = rfc3339(locked_us)
    assert shown(ok(client.get(at))) == (False, True, cutoff)
    changed = ok(client.send("PUT", at, {"automatic_rollover": True}))
    assert shown(changed) == (True, True, cutoff)
    assert changed == ok(client.get(at))
    engine.project()
    assert [changed] == ok(client.get(f"/accounts/{account}/positions"))
    same = client.send("PUT", at, {"automatic_rollover": True})
    assert ok(same) == changed
    assert ok(client.send("PUT", at, {"automatic_rollover": False}))["automatic_rollover"] is False
    ok(client.send("PUT", at, {"automatic_rollover": True}))
    left = from_us(locked_us) - datetime.fromisoformat(clock["business_time"])
    ok(client.post("/sandbox/clock", {"advance": f"P{left.days}DT{left.seconds // 3600 + 1}H"}))
    refused = client.send("PUT", at, {"automatic_rollover": False})
    assert (refused.status, refused.code) == (409, "rollover_locked")
    assert cutoff in refused.json["detail"]
    engine.project()
    assert shown(ok(client.get(at))) == (True, False, cutoff)
    assert shown(ok(client.get(f"/accounts/{account}/positions"))[0]) == (True, False, cutoff)
    assert ok(client.send("PUT", at, {"automatic_rollover": True}))["automatic_rollover"] is True


def test_what_has_no_rollover(engine: Engine, client: Client, account: str) -> None:
    listed(client, "plain", maturity_date="2049-07-15", supports_automatic_rollover=False)
    at = bought(engine, client, account, "plain")
    assert shown(ok(client.get(at))) == (False, False, None)
    refused = client.send("PUT", at, {"automatic_rollover": True})
    assert (refused.status, refused.code) == (400, "invalid_param")
    assert refused.json["params"][0]["code"] == "not_supported"
    for body in ({}, {"automatic_rollover": "yes"}, {"automatic_rollover": None}):
        assert client.send("PUT", at, body).status == 400
    rival = engine.client(tenant="rival")
    assert rival.send("PUT", at, {"automatic_rollover": False}).status == 404
    none = f"/accounts/{account}/positions/pos_none"
    assert client.send("PUT", none, {"automatic_rollover": False}).code == "not_found"


def test_a_closed_position(engine: Engine, client: Client, account: str) -> None:
    listed(client, "sold", maturity_date="2049-07-15")
    at = bought(engine, client, account, "sold", automatic_rollover=True)
    sell = {"instrument": "ins_sold", "order_type": "market", "side": "sell", "quantity": "1.01"}
    order = ok(client.post(f"/accounts/{account}/orders", sell), 201)["id"]
    engine.execute(order, ["1.01"], price="98")
    engine.project()
    for one in ok(client.get(f"/accounts/{account}/orders")):
        engine.settle(one["id"])
    assert shown(ok(client.get(at))) == (True, False, None)
    assert client.send("PUT", at, {"automatic_rollover": False}).code == "invalid_param"
    assert bought(engine, client, account, "sold") != at
    followed = client.send("PUT", at, {"automatic_rollover": False})
    assert (followed.status, followed.json["params"][0]["code"]) == (400, "not_changeable")


def test_the_bills_on_the_run(engine: Engine, client: Client) -> None:
    """The latest of each period and currency that is issued, traded and priced: an instrument's body."""
    words: dict[str, Any] = {"issuer_country": "JE", "settlement_days": 1}
    far = {"maturity_date": "2049-10-14"}
    listed(client, "je1", **words, maturity_date="2049-07-15")
    listed(client, "je2", **words, **far)
    listed(client, "je3", **words, **far, issue_date="2049-07-15")
    listed(client, "je4", None, **words, maturity_date="2049-11-15")
    listed(client, "je5", **words, maturity_date="2049-11-15", trading_status="sell_only")
    listed(client, "je6", **words, maturity_date="2020-11-15")
    listed(client, "je7", **words, maturity_date="2049-11-15", maturity_period="1m")
    listed(client, "je8", **words, **far, trading_currency="EUR")
    listed(client, "je9", None, **words, **far, maturity_period="12m")
    engine.project()
    shown = ok(client.get("/bills/otr?issuer_country=JE"))
    assert [one["id"] for one in shown] == ["ins_je7", "ins_je8", "ins_je2"]
    assert shown[0] == ok(client.get("/instruments/ins_je7"))
    assert ok(client.get("/bills/otr?issuer_country=GL")) == []
    assert client.get("/bills/otr").code == "missing_param"
    assert client.get("/bills/otr?issuer_country=").status == 400
    assert engine.connect().get("/bills/otr?issuer_country=JE").status == 401


def test_a_rollover_is_shown(engine: Engine, client: Client, account: str) -> None:
    """The order, both positions, ledger, balances and events, before and after the maturity."""
    today = date.fromisoformat(ok(client.get("/sandbox/clock"))["business_date"])
    matures = today + timedelta(days=40)
    words: dict[str, Any] = {"issuer_country": "IS", "settlement_days": 0}
    listed(client, "is1", **words, maturity_date=matures.isoformat())
    listed(client, "is2", **words, maturity_date=(matures + timedelta(days=90)).isoformat())
    at = bought(engine, client, account, "is1", automatic_rollover=True)
    terms = Terms("", "", maturity_date=matures, **BILL_TERMS | {"issuer_country": "IS"})
    day = rolls_on(terms)
    assert day is not None
    advance(engine, client, (day - today).days)
    order = engine.services.firm.ids.new("ord")
    engine.act(
        rollovers.roll_over,
        firm=engine.services.firm,
        account=account,
        instrument="ins_is1",
        order=order,
        bills=["ins_is2"],
    )
    path = f"/accounts/{account}/orders/{order}"
    shown_order = ok(client.get(path))
    old = ok(client.get(at))
    assert (shown_order["purpose"], shown_order["rolled_from"], shown_order["rolled_into"]) == (
        "rollover", old["id"], None,
    )  # fmt: skip
    assert (shown_order["cash_amount"], shown_order["is_cancellable"]) == ("101.00", False)
    assert client.post(f"{path}/cancel").code == "order_cancel_forbidden"
    assert (old["reserved"], old["available_for_trading"]) == ("1.01", "0.00")
    cash = ok(client.get(f"/accounts/{account}/cash-balances"))
    engine.execute(order, ["1.02"], price="98")
    assert ok(client.get(f"/accounts/{account}/cash-balances")) == cash
    new = ok(client.get(path))["rolled_into"]
    advance(engine, client, (pays_on(terms, matures) - day).days)
    for one in orders_of(engine, client, account):
        engine.settle(one["id"])
    engine.act(servicing.announce_due, ids=engine.services.firm.ids, instrument="ins_is1")
    (action,) = engine.desk.state("ins_is1").servicing.actions
    engine.act(servicing.start_action, instrument="ins_is1", action=action.id)
    engine.act(
        servicing.apply_action,
        ids=engine.services.firm.ids,
        instrument="ins_is1",
        action=action.id,
        account=account,
    )
    engine.project()
    assert ok(client.get(at))["rolled_into"] == new
    assert ok(client.get(f"/accounts/{account}/positions/{new}"))["rolled_from"] == [old["id"]]
    rows = ok(client.get(f"/accounts/{account}/transactions"))
    told = [(row["transaction_type"], row["cash_amount"]) for row in reversed(rows)][3:]
    assert told == [("maturity", "101.00"), ("buy", "-99.96"), ("fee", "-0.51")]
    names = [event["name"] for event in ok(client.get(f"/events?resource[id]={old['id']}"))]
    assert names == ["position.closed", "position.matured", "position.opened"]


def test_a_skipped_rollover_is_told(engine: Engine, client: Client, account: str) -> None:
    today = date.fromisoformat(ok(client.get("/sandbox/clock"))["business_date"])
    matures = today + timedelta(days=40)
    listed(client, "fo1", issuer_country="FO", maturity_date=matures.isoformat())
    at = bought(engine, client, account, "fo1", automatic_rollover=True)
    day = rolls_on(Terms("", "", maturity_date=matures, **BILL_TERMS | {"issuer_country": "FO"}))
    assert day is not None
    advance(engine, client, (day - today).days + 1)  # until then a bill may yet be listed
    engine.act(
        rollovers.roll_over,
        firm=engine.services.firm,
        account=account,
        instrument="ins_fo1",
        order="ord_none",
        bills=[],
    )
    engine.project()
    event, *_ = ok(client.get(f"/events?resource[id]={at.rpartition('/')[2]}"))
    assert event["name"] == "position.rollover_skipped"
    assert event["data"]["automatic_rollover"] is True
    assert client.get(f"/accounts/{account}/orders/ord_none").status == 404


def orders_of(engine: Engine, client: Client, account: str) -> list[dict[str, Any]]:
    engine.project()
    orders: list[dict[str, Any]] = ok(client.get(f"/accounts/{account}/orders"))
    return orders
