"""Everything but orders over HTTP: who may, what is shown, and that tenants do not see each other."""

from __future__ import annotations

import base64
import re

import pytest

from engine.commands import decisions
from engine.domain.report import Report
from tests.support.servers.http_engine import (
    SCHEDULE,
    TERMS,
    Engine,
    an_account,
    buying,
    ok,
    selling,
)
from tests.support.servers.http_server import Client, Reply


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


def test_tokens(engine: Engine) -> None:
    made = engine.services.clients.create(engine.tenant, ("read", "trade"))
    anyone = engine.connect()
    basic = base64.b64encode(f"{made.client.id}:{made.secret}".encode()).decode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def ask(body: bytes, **headers: str) -> Reply:
        return anyone.send("POST", "/auth/token", body, {**form, **headers})

    reply = ask(b"grant_type=client_credentials&scope=read", Authorization=f"Basic {basic}")
    granted = ok(reply)
    assert list(granted) == ["access_token", "token_type", "expires_in", "scope"]
    assert (granted["token_type"], granted["expires_in"], granted["scope"]) == ("bearer", 900, "read")
    assert reply.headers["Cache-Control"] == "no-store"
    wrong = ask(b"grant_type=client_credentials&client_id=cli_x&client_secret=y")
    assert (wrong.status, wrong.json["error"]) == (401, "invalid_client")
    assert ask(b"grant_type=password").json["error"] in {"unsupported_grant_type", "invalid_client"}
    assert ask(b"\xff\xff").status == 400
    assert anyone.post("/auth/token", {"grant_type": "client_credentials"}).status == 415
    for header in ("Bearer x", "Bearer ", "Basic abc", "bearer", "Bearer a b"):
        refused = anyone.get("/accounts", Authorization=header)
        assert (refused.status, refused.code) == (401, "invalid_token")
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    missing = anyone.get("/accounts")
    assert (missing.status, missing.code) == (401, "missing_token")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="order-engine"'
    token = granted["access_token"]
    short = anyone.post("/accounts", {}, Authorization=f"Bearer {token}")
    assert (short.status, short.code) == (403, "insufficient_scope")
    assert anyone.get("/accounts", Authorization=f"bearer {token}").status == 200
    engine.services.clients.disable(made.client.id)
    assert anyone.get("/accounts", Authorization=f"Bearer {token}").code == "invalid_token"


def test_accounts(engine: Engine, client: Client) -> None:
    body = {"name": "Ada", "reference": "a/1 \u00e9", "base_currency": "USD",
            "funding_currencies": ["EUR", "USD"]}  # fmt: skip
    account = ok(client.post("/accounts", body), 201)
    assert list(account) == [
        "id", "reference", "status", "name", "base_currency", "funding_currencies", "can_deposit",
        "can_withdraw", "can_place_buy_order", "can_place_sell_order", "created_at", "modified_at",
        "is_overdrawn",
    ]  # fmt: skip
    assert (account["reference"], account["funding_currencies"]) == ("a/1 \u00e9", ["EUR"])
    path = f"/accounts/{account['id']}"
    assert ok(client.get(path)) == account
    assert ok(client.get("/accounts/a%2F1%20%C3%A9")) == account
    taken = client.post("/accounts", body)
    assert (taken.code, taken.json["params"][0]["path"]) == ("invalid_param", "body.reference")
    changed = ok(client.send("PATCH", path, {"name": "Eve", "status": "suspended",
                                             "can_withdraw": False}))  # fmt: skip
    assert (changed["name"], changed["status"], changed["can_withdraw"]) == ("Eve", "suspended", False)
    engine.project()
    assert ok(client.get(path)) == changed
    assert ok(client.get("/accounts")) == [changed]
    assert ok(client.send("PATCH", path, {"reference": None}))["reference"] is None
    assert client.get("/accounts/a%2F1%20%C3%A9").status == 404
    refused = client.send("PATCH", path, {"name": "Mallory", "funding_currencies": ["XXX"]})
    assert refused.code == "invalid_param"
    closed = ok(client.send("PATCH", path, {"status": "closed"}))
    assert closed["status"] == "closed"
    refused = client.send("PATCH", path, {"name": "Mallory", "status": "active"})
    assert (refused.code, refused.json["params"][0]["path"]) == ("invalid_param", "body.status")
    assert ok(client.get(path))["name"] == "Eve"  # nothing of a refused change is kept


def test_payments(engine: Engine, client: Client) -> None:
    account = an_account(client, cash="")
    deposits, withdrawals = f"/accounts/{account}/deposits", f"/accounts/{account}/withdrawals"
    body = {"amount": "10.5", "currency": "USD", "payment_reference": "INV 7"}
    first = client.post(deposits, body, Idempotency_Key="k")
    deposit = ok(first, 201)
    assert list(deposit) == [
        "id", "account", "amount", "currency", "payment_reference", "status", "completed_at",
        "created_at", "modified_at",
    ]  # fmt: skip
    assert (deposit["amount"], deposit["status"]) == ("10.50", "open")
    done = ok(client.post(f"{deposits}/{deposit['id']}/complete"))
    assert (done["status"], done["payment_reference"]) == ("completed", "INV 7")
    again = client.post(deposits, body, Idempotency_Key="k")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (first.body, "true")
    assert ok(client.get(f"{deposits}/{deposit['id']}")) == done
    late = client.post(f"{deposits}/{deposit['id']}/fail")
    assert (late.status, late.code) == (403, "deposit_forbidden")
    much = client.post(withdrawals, {"amount": "10.51", "currency": "USD"})
    assert (much.code, much.json["context"]["available"]) == ("insufficient_funds", "10.50")
    out = ok(client.post(withdrawals, {"amount": "4", "currency": "USD"}), 201)
    assert "payment_reference" not in out
    failed = ok(client.post(f"{withdrawals}/{out['id']}/fail"))
    assert failed["status"] == "failed"
    out = ok(client.post(withdrawals, {"amount": "4", "currency": "USD"}), 201)
    assert ok(client.post(f"{withdrawals}/{out['id']}/complete"))["status"] == "completed"
    (cash,) = ok(client.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == "6.50"
    fine = client.post(deposits, {"amount": "1.001", "currency": "USD"})
    assert fine.json["params"][0] == {
        "path": "body.amount", "detail": "`amount` must be a plain decimal with at most 2 decimals.",
        "code": "invalid_decimal"}  # fmt: skip
    assert client.post(deposits, {"amount": "1", "currency": "EUR"}).code == "currency_not_supported"
    assert client.get(f"{deposits}/{out['id']}").status == 404  # a withdrawal is no deposit


def test_type_and_maturity_are_fixed_once_there_is_an_order(engine: Engine, client: Client) -> None:
    """An order that waits, a position, and one that is closed; all else may still change."""
    name = f"IN-USE-{engine.tenant}"
    path, terms = f"/instruments/ins_{name}", TERMS | SCHEDULE | {"symbol": name, "coupon": "5"}
    other = terms | {"instrument_type": "amc", "maturity_date": "2050-06-30"}
    ok(client.send("PUT", path, other), 201)
    engine.project()
    ok(client.send("PUT", path, terms))
    ok(client.post("/prices", [{"symbol": name, "bid": "100", "ask": "100"}]), 201)
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("500") | {"instrument": path[13:]}), 201)["id"]

    def check_fixed() -> None:
        engine.project()
        refused = client.send("PUT", path, other)
        told = {param["path"]: param["detail"] for param in refused.json["params"]}
        assert told.keys() == {"body.instrument_type", "body.maturity_date"}
        assert "there are orders or positions of it; list another" in told["body.maturity_date"]
        ok(client.send("PUT", path, terms | {"name": f"After {engine.journal.head}"}))

    check_fixed()
    engine.execute(order, ["4.00"])
    engine.settle(order)
    check_fixed()
    sold = selling("4.00") | {"instrument": path[13:]}
    order = ok(client.post(orders, sold), 201)["id"]
    engine.execute(order, ["4.00"])
    engine.settle(order)
    check_fixed()


def test_instruments_and_prices(engine: Engine, client: Client) -> None:
    terms, path = {**TERMS, "symbol": "B/2"}, "/instruments/ins_two"
    ok(client.send("PUT", path, terms), 201)
    ok(client.post("/prices", [{"symbol": "B/2", "bid": "99", "ask": "100"}]), 201)
    known = ok(client.get(path))
    assert list(known)[:6] == ["id", "name", "symbol", "instrument_type", "trading_status",
                               "trading_increment"]  # fmt: skip
    assert (known["trading_increment"], known["par_value"]) == ("0.01", "100.00")
    assert ok(client.get("/instruments/B%2F2")) == known
    assert ok(client.send("PUT", path, terms)) == known  # 200: nothing to change
    changed = {**terms, "trading_status": "sell_only", **SCHEDULE, "coupon": "5.50"}
    assert ok(client.send("PUT", path, changed))["coupon"] == "5.5"
    taken = client.send("PUT", "/instruments/ins_other", terms)
    assert taken.json["params"][0]["path"] == "body.symbol"
    bad = client.send("PUT", "/instruments/ins_other", {
        **terms, "symbol": "NEW", "trading_increment": "0.001", "par_value": "0.001"})  # fmt: skip
    assert [param["path"] for param in bad.json["params"]] == [
        "body.par_value",
        "body.trading_increment",
    ]
    bad = client.send("PUT", "/instruments/ins_other", {**terms, "symbol": "NEW", "par_value": "0"})
    assert bad.code == "invalid_param"
    assert client.send("PUT", "/instruments/bond", terms).status == 400
    assert (
        ok(client.send("PUT", "/instruments/ins_new", {**terms, "symbol": "NEW"}), 201)["id"]
        == "ins_new"
    )
    engine.project()
    assert [one["id"] for one in ok(client.get("/instruments?limit=2"))] == ["ins_new", "ins_two"]
    (found,) = ok(client.get("/instruments?instrument_type=bond&trading_status=sell_only"))
    assert found["id"] == "ins_two"
    assert client.get("/instruments/ins_none").status == 404
    (price,) = ok(client.get("/prices?symbol=B/2&symbol=NEW"))
    assert list(price) == [
        "symbol",
        "price_type",
        "quality",
        "currency",
        "bid",
        "ask",
        "mid",
        "timestamp",
        "accrued_interest",
        "dirty_bid",
        "dirty_ask",
        "is_waiting",
        "set_by",
        "confirmed_by",
        "stale_since",
    ]
    assert price["set_by"].startswith("cli_")
    assert ok(engine.client("read").get("/prices?symbol=B/2")) == [price | {"set_by": None}]
    assert (price["mid"], price["currency"], price["price_type"]) == ("99.50000000", "USD", "money")
    then = {"symbol": "B/2", "bid": 1, "ask": 2, "timestamp": "2020-01-01T00:00:00Z"}
    assert ok(client.post("/prices", [then]), 201)[0]["mid"] == "1.50000000"
    assert ok(client.get("/prices?symbol=B/2")) == [price]
    (old,) = ok(client.get("/prices?symbol=B/2&asof=2021-01-01T00:00:00Z"))
    assert old["bid"] == "1.00000000"
    assert ok(client.get("/prices?symbol=B/2&asof=2019-01-01T00:00:00Z")) == []
    rows = [{"symbol": "NONE", "bid": 1, "ask": 1}, {"symbol": "NEW", "bid": 2, "ask": 1}]
    assert [p["path"] for p in client.post("/prices", rows).json["params"]] == [
        "body.1.bid", "body.0.symbol"]  # fmt: skip


def test_sandbox_clock(engine: Engine, client: Client) -> None:
    before = ok(client.get("/sandbox/clock"))
    reply = client.post("/sandbox/clock", {"advance": "P2D"})
    assert ok(reply)["business_date"] > before["business_date"]
    assert int(reply.headers["Journal-Offset"]) == engine.journal.head
    assert client.post("/sandbox/clock", {"advance": "P367D"}).code == "invalid_param"
    assert client.post("/sandbox/clock", {"advance": "-P1D"}).code == "invalid_param"


def test_parked_reports(engine: Engine, client: Client) -> None:
    report = Report("sim", "r1", "ord_unknown", "ended")
    engine.act(decisions.take_report, firm=engine.services.firm, report=report)
    engine.project()
    (parked,) = ok(client.get("/parked-reports?status=open"))
    assert (parked["fault"], parked["status"]) == ("unknown_order", "open")
    path = f"/parked-reports/{parked['id']}/resolve"
    assert client.post(path, {"action": "keep", "reason": "x"}).code == "invalid_param"
    for reason in ("", " ", "x" * 201, "a\x1b[31mb", "a\nb", "a\u202eb"):
        assert client.post(path, {"action": "reject", "reason": reason}).code == "invalid_param"
    assert ok(client.post(path, {"action": "reject", "reason": "duplicate"}))["status"] == "rejected"
    assert client.post(path, {"action": "book", "reason": "x"}).code == "invalid_request"
    assert engine.journal.stream(parked["id"])[-1].envelope.reason == "duplicate"
    other = client.post("/parked-reports/rep_none/resolve", {"action": "book", "reason": "x"})
    assert other.status == 404


def test_health(engine: Engine) -> None:
    anyone = engine.connect()
    assert ok(anyone.get("/health/live")) == {"status": "live"}
    engine.project()
    engine.services.health.poll()
    ready = ok(anyone.get("/health/ready"))
    assert (ready["status"], ready["reasons"]) == ("ready", [])
    engine.services.is_stopping = True
    reply = anyone.get("/health/ready")
    engine.services.is_stopping = False
    assert (reply.status, reply.json["reasons"][0]["code"]) == (503, "stopping")


def test_documentation(engine: Engine) -> None:
    """The document and its page: nothing of another site, and nothing sent twice to who has it."""
    anyone = engine.connect()
    for path, media in (
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ):
        reply = anyone.get(path)
        assert (reply.status, reply.headers["Content-Type"]) == (200, media)
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        again = anyone.get(path, If_None_Match=f'"x", W/{reply.headers["ETag"]}')
        assert (again.status, again.body) == (304, b"")
        assert anyone.get(path, If_None_Match='"other"').body == reply.body
    page = anyone.get("/docs").body.decode()
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == [
        "data:,", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"]  # fmt: skip
    assert ok(anyone.get("/openapi.json"))["openapi"] == "3.1.0"
    for name in ("index.html", "README.md", "..%2Fapp.py", "none"):
        assert anyone.get(f"/docs/{name}").code == "not_found"


def test_order_lifecycle(client: Client) -> None:
    known = ok(client.get("/meta/order-lifecycle"))
    assert {"from": "filled", "fact": "Settled", "to": "settled"} in known["transitions"]
    assert {"status": "pending", "is_terminal": False, "is_cancellable": True} in known["statuses"]
    assert "requested" in known["cancelled_reasons"]
