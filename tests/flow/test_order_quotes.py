"""Quotes of orders over HTTP: given, used once, and refused for what the order would be refused for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.commands import decisions
from engine.commands.tally import Tally
from engine.domain.order_quote import Rules
from engine.domain.trading_limits import Limits
from tests.flow.test_http_orders import REFUSED
from tests.support.servers.http_engine import (
    SCHEDULE,
    TERMS,
    Engine,
    a_market,
    an_account,
    buying,
    ok,
    selling,
)
from tests.support.servers.http_server import Client, Reply

KEYS = [
    "id", "instrument", "side", "cash_amount", "net_cash_amount", "quantity", "fees", "estimated_price",
    "estimated_quantity", "estimated_cash", "accrued_interest", "settlement_date", "limit_price",
    "is_binding", "expires_at",
]  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs" / "quotes.md"
ASKED = ("instrument", "side", "cash_amount", "quantity", "limit_price")


@pytest.fixture
def client(engine: Engine) -> Client:
    made = engine.client()
    a_market(made)
    return made


def quote(client: Client, account: str, order: dict[str, Any], **headers: str) -> Reply:
    """Asks for a quote of an order."""
    body = {name: value for name, value in order.items() if name in ASKED}
    return client.post(f"/accounts/{account}/order-quotes", body, **headers)


def place(client: Client, account: str, order: dict[str, Any], known: Any, **headers: str) -> Reply:
    """Places an order that names a quote."""
    return client.post(f"/accounts/{account}/orders", {**order, "quote": known["id"]}, **headers)


@contextmanager
def ruled(engine: Engine, **rules: Any) -> Iterator[None]:
    """Other rules of quotes for a while."""
    firm = engine.services.firm
    engine.services.firm = firm._replace(**rules)
    try:
        yield
    finally:
        engine.services.firm = firm


def test_an_order_comes_to_what_was_quoted(engine: Engine, client: Client) -> None:
    """A buy, and the sale of what it bought; the journal learns of the quotes by their use only."""
    account = an_account(client)
    head = engine.journal.head
    known = ok(quote(client, account, buying("100.00")))
    assert list(known) == KEYS
    assert engine.journal.head == head
    figures = {name: known[name] for name in KEYS[1:11]}
    assert figures == {
        "instrument": "ins_bond", "side": "buy", "cash_amount": "100.00", "net_cash_amount": "99.50",
        "quantity": None, "fees": "0.50", "estimated_price": "100.00000000",
        "estimated_quantity": "0.99", "estimated_cash": "99.50", "accrued_interest": "0.00000000",
    }  # fmt: skip
    assert (known["limit_price"], known["is_binding"]) == (None, False)
    shown = re.search(r"^200 ({.*?})$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    example = json.loads(shown[1])
    assert list(example) == KEYS
    assert {**figures, "instrument": example["instrument"]} == {name: example[name] for name in figures}
    order = ok(place(client, account, buying("100.00"), known), 201)
    assert order["quote"] == known["id"]
    engine.execute(order["id"], ["0.99"])
    engine.project()
    (cash,) = ok(client.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == "900.50"
    filled = ok(client.get(f"/accounts/{account}/orders/{order['id']}"))
    assert filled["trades"][0]["settlement_date"] == known["settlement_date"]
    known = ok(quote(client, account, selling("0.99")))
    assert (known["fees"], known["estimated_quantity"], known["estimated_cash"]) == (
        "0.50",
        "0.99",
        "98.50",
    )
    assert (known["cash_amount"], known["net_cash_amount"], known["quantity"]) == (None, None, "0.99")
    sold = ok(place(client, account, selling("0.99"), known), 201)
    engine.execute(sold["id"], ["0.99"])
    engine.project()
    (cash,) = ok(client.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == "999.00"
    assert client.get(f"/accounts/{account}/orders?limit=1").json[0]["quote"] == known["id"]


def test_the_accrued_interest_of_a_bond_is_in_its_quote(client: Client) -> None:
    account = an_account(client)
    bond = (
        TERMS
        | SCHEDULE
        | {"symbol": "CPN", "coupon": "6", "issue_date": "2019-06-30", "price_type": "percent"}
    )
    assert client.send("PUT", "/instruments/ins_coupon", bond).status in {200, 201}
    ok(client.post("/prices", [{"symbol": "CPN", "bid": "98", "ask": "99"}]), 201)
    order = buying("500.00") | {"instrument": "ins_coupon"}
    known = ok(quote(client, account, order))
    (price,) = ok(client.get("/prices?symbol=CPN"))
    interest = Decimal(known["accrued_interest"])
    assert known["accrued_interest"] == price["accrued_interest"]
    assert interest > 0
    assert known["estimated_price"] == "99.00000000"
    units = Decimal("497.50") // ((99 + interest) * Decimal("0.01")) * Decimal("0.01")
    assert Decimal(known["estimated_quantity"]) == units
    ok(
        client.post("/prices", [{"symbol": "CPN", "bid": "98", "ask": "99", "accrued_interest": "9"}]),
        201,
    )
    moved = place(client, account, order, known)
    assert (moved.status, moved.code) == (409, "quote_price_moved")


def test_a_limit_order_is_quoted_at_its_limit(client: Client) -> None:
    account = an_account(client)
    share = TERMS | {"symbol": "SHR", "instrument_type": "stock"}
    assert client.send("PUT", "/instruments/ins_share", share).status in {200, 201}
    order = buying("100.00", order_type="limit", limit_price="50") | {"instrument": "ins_share"}
    known = ok(quote(client, account, order))  # never priced: no limit order needs it
    figures = [
        known[name] for name in ("estimated_price", "limit_price", "estimated_quantity", "quantity")
    ]
    assert figures == ["50.00000000", "50.00000000", "1.99", None]
    other = place(client, account, order | {"limit_price": "49"}, known)
    assert other.json["context"] == {"differs": "limit_price"}
    placed = ok(place(client, account, order | {"time_in_force": "gtc"}, known), 201)
    assert (placed["quote"], placed["quantity"]) == (known["id"], "1.99")
    bond = quote(client, account, buying("100.00", limit_price="50"))
    assert bond.json["params"][0]["path"] == "body.order_type"


@pytest.mark.parametrize("case", [name for name in REFUSED if name != "no rollover"])
def test_a_quote_is_refused_as_the_order_would_be(client: Client, engine: Engine, case: str) -> None:
    body, status, code, path = REFUSED[case]
    reply = quote(client, an_account(client), body)
    assert (reply.status, reply.code) == (status, code), reply.body
    assert [param["path"] for param in reply.json.get("params", [])] == ([path] if path else [])


def test_also_by_limits_halts_and_unknown_accounts(client: Client, engine: Engine) -> None:
    account, other = an_account(client), engine.client(tenant="elsewhere")
    limits = Limits(order={"USD": Decimal("9.99")})
    with ruled(engine, limits=limits):
        assert quote(client, account, buying("10")).code == "order_too_large"
    halted = {"tenant": engine.tenant, "reason": "a test"}
    engine.act(decisions.halt_trading, **halted)
    assert quote(client, account, buying("10")).code == "trading_halted"
    engine.act(decisions.resume_trading, **halted)
    tally = Tally({"USD": Decimal("9.99")})
    with ruled(engine, tally=tally):
        assert quote(client, account, buying("10")).code == "tenant_daily_limit"
        ok(quote(client, account, buying("9.99")))
        assert tally.known(engine.tenant, "USD") == 0
    for stranger, path in ((other, account), (client, "acc_none")):
        reply = quote(stranger, path, buying("10"))
        assert (reply.status, reply.code) == (404, "not_found")
    reader = engine.client("read")
    assert quote(reader, account, buying("10")).code == "insufficient_scope"


def test_a_quote_serves_one_order_and_reserves_nothing(client: Client) -> None:
    account = an_account(client, "15.00")
    first, second = (ok(quote(client, account, buying("10.00"))) for _ in range(2))
    ok(place(client, account, buying("10.00"), first), 201)
    twice = place(client, account, buying("10.00"), first)
    assert (twice.status, twice.code) == (409, "quote_already_consumed")
    assert place(client, account, buying("10.00"), second).code == "insufficient_funds"
    ok(place(client, account, buying("5.00"), ok(quote(client, account, buying("5.00")))), 201)


def test_a_quote_of_another_is_none(client: Client, engine: Engine) -> None:
    account, mine = an_account(client), an_account(client)
    stranger = engine.client(tenant="elsewhere")
    theirs = an_account(stranger)
    known = ok(quote(client, account, buying("10.00")))
    unknown = place(client, mine, buying("10.00"), {"id": "quo_none"})
    assert (unknown.status, unknown.code) == (400, "quote_invalid")
    for one, at in ((client, mine), (stranger, theirs)):
        reply = place(one, at, buying("10.00"), known)
        assert (reply.status, reply.json["detail"]) == (400, unknown.json["detail"])
    ok(place(client, account, buying("10.00"), known), 201)
    for one, at in ((client, mine), (stranger, theirs)):  # used: still nobody else's
        reply = place(one, at, buying("10.00"), known)
        assert (reply.status, reply.json["detail"]) == (400, unknown.json["detail"])
    assert place(stranger, account, buying("10.00"), known).status == 404


@pytest.mark.parametrize("name", ["\u0661", "quo_", "ord_1", "quo_" + "x" * 80, "quo_1; DROP"])
def test_an_odd_quote_is_unknown(client: Client, name: str) -> None:
    reply = place(client, an_account(client), buying("10.00"), {"id": name})
    assert (reply.status, reply.code) == (400, "quote_invalid")


def test_a_moved_price_or_another_term_is_refused_and_the_quote_stays(client: Client) -> None:
    account = an_account(client)
    known = ok(quote(client, account, buying("10.00")))
    less = place(client, account, buying("9.99"), known)
    assert (less.status, less.code, less.json["context"]) == (
        400,
        "quote_invalid",
        {"differs": "cash_amount"},
    )
    for now in ("101.01", "98.99"):
        a_market(client, now)
        moved = place(client, account, buying("10.00"), known)
        assert (moved.status, moved.code) == (409, "quote_price_moved")
        assert f"A unit is {now}000000 now and was 100.0" in moved.json["detail"]
    a_market(client, "101")
    ok(place(client, account, buying("10.00"), known), 201)
    a_market(client)


def test_keys_answer_as_the_first_time_also_after_expiry(client: Client, engine: Engine) -> None:
    account = an_account(client, "15.00")
    given = quote(client, account, buying("10.00"), Idempotency_Key="q")
    known = ok(given)
    first = place(client, account, buying("10.00"), known, Idempotency_Key="o")
    ok(first, 201)
    with ruled(engine, quotes=Rules(1)):
        late = ok(quote(client, account, buying("2.00")))
    expired = place(client, account, buying("2.00"), late)
    assert (expired.status, expired.code) == (400, "quote_invalid")
    assert expired.json["context"] == {"expired_at": late["expires_at"]}
    with engine.journal.datastore.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM order_quotes")
    again = place(client, account, buying("10.00"), known, Idempotency_Key="o")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert quote(client, account, buying("10.00")).code == "insufficient_funds"
    repeated = quote(client, account, buying("10.00"), Idempotency_Key="q")
    assert (repeated.body, repeated.headers["Idempotency-Replayed"]) == (given.body, "true")
    other = quote(client, account, buying("11.00"), Idempotency_Key="q")
    assert (other.status, other.code) == (409, "idempotency_key_conflict")
