"""An order over HTTP: placed, executed, settled, and what clients see of it on the way."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.commands import decisions
from projections.runner import Runner
from tests.support.servers.http_engine import (
    DAY_US,
    Engine,
    a_market,
    an_account,
    buying,
    ok,
    running,
    selling,
)
from tests.support.servers.http_server import Client

ORDER_KEYS = [
    "id", "account", "status", "order_type", "purpose", "position", "side", "instrument", "cash_amount",
    "net_cash_amount", "traded_quantity", "traded_notional", "fees", "quantity", "currency",
    "automatic_rollover", "cancelled_reason", "filled_at", "settled_at", "cancelled_at", "trades",
    "created_at", "modified_at", "client_reference", "is_cancellable", "limit_price", "time_in_force",
    "quote", "rolled_from", "rolled_into",
]  # fmt: skip


@pytest.fixture
def client(engine: Engine) -> Client:
    made = engine.client()
    a_market(made)
    return made


def balance(client: Client, account: str) -> tuple[str, ...]:
    (cash,) = ok(client.get(f"/accounts/{account}/cash-balances"))
    return (cash["total"], cash["reserved"], cash["available_for_trading"],
            cash["available_for_withdrawal"])  # fmt: skip


def test_a_life(engine: Engine, client: Client) -> None:
    """The worked example of the money rules."""
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    reply = client.post(orders, buying("100.00", client_reference="mine"))
    order = ok(reply, 201)
    assert list(order) == ORDER_KEYS
    assert int(reply.headers["Journal-Offset"]) == engine.journal.head
    assert (order["status"], order["fees"], order["net_cash_amount"], order["traded_quantity"]) == (
        "placed", "0.50", "99.50", "0")  # fmt: skip
    assert (order["client_reference"], order["is_cancellable"]) == ("mine", True)
    path = f"{orders}/{order['id']}"
    assert ok(client.get(path)) == order  # no view has seen it
    assert balance(client, account) == ("1000.00", "100.00", "900.00", "900.00")
    engine.project()
    assert ok(client.get(path)) == order  # now one has
    assert ok(client.get(orders)) == [order]
    assert ok(client.get(f"{orders}?client_reference=mine")) == [order]
    assert ok(client.get(f"{orders}?client_reference=other")) == []
    assert ok(client.get(f"/accounts/{account}/pending-orders")) == [order]
    engine.execute(order["id"], ["0.99"])
    engine.project()
    filled = ok(client.get(path))
    assert (filled["status"], filled["fees"], filled["traded_notional"]) == ("filled", "0.50", "99.00")
    assert balance(client, account) == ("900.50", "0.00", "900.50", "900.50")
    (position,) = ok(client.get(f"/accounts/{account}/positions"))
    assert (position["total"], position["settled"], position["unsettled"]) == ("0.99", "0.00", "0.99")
    assert position["id"] == filled["position"]
    assert ok(client.get(f"/accounts/{account}/positions/{position['id']}")) == position
    engine.act(decisions.advance_clock, by_us=5 * DAY_US)  # over any holiday
    engine.settle(order["id"])
    engine.project()
    settled = ok(client.get(path))
    assert (settled["status"], settled["trades"][0]["status"]) == ("settled", "settled")
    assert ok(client.get(f"/accounts/{account}/pending-orders")) == []
    lines = ok(client.get(f"/accounts/{account}/transactions"))
    assert [(line["transaction_type"], line["cash_amount"]) for line in lines] == [
        ("fee", "-0.50"), ("buy", "-99.00"), ("deposit", "1000.00")]  # fmt: skip
    names = [event["name"] for event in ok(client.get("/events"))]
    assert names[:2] == ["order.settled", "trade.settled"]
    placed = ok(client.get(f"/events?name=order.placed&resource[id]={order['id']}"))
    assert placed[0]["data"] == order  # as it was then, with the client's own word
    assert ok(client.get(f"/events/{placed[0]['id']}")) == placed[0]


def test_cancel(engine: Engine, client: Client) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("100")), 201)["id"]
    cancelled = ok(client.post(f"{orders}/{order}/cancel"))
    assert (cancelled["status"], cancelled["cancelled_reason"], cancelled["fees"]) == (
        "cancelled", "requested", "0.00")  # fmt: skip
    assert ok(client.post(f"{orders}/{order}/cancel", {}))["status"] == "cancelled"
    assert balance(client, account) == ("1000.00", "0.00", "1000.00", "1000.00")
    order = ok(client.post(orders, buying("100")), 201)["id"]
    engine.execute(order, ["0.99"])
    reply = client.post(f"{orders}/{order}/cancel")
    assert (reply.status, reply.code) == (409, "order_cancel_forbidden")


REFUSED: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "too much": (buying("1000.01"), 400, "insufficient_funds", None),
    "too fine": (buying("1.001"), 400, "invalid_param", "body.cash_amount"),
    "nothing": (buying("0"), 400, "invalid_param", "body.cash_amount"),
    "too little": (buying("0.01"), 400, "invalid_param", "body.cash_amount"),
    "both amounts": (buying("1", quantity="1"), 400, "invalid_param", "body.quantity"),
    "no amount": (selling("1") | {"quantity": None}, 400, "missing_param", "body.quantity"),
    "the other amount": (selling("1") | {"side": "buy"}, 400, "invalid_param", "body.quantity"),
    "no units": (selling("1"), 400, "insufficient_units", None),
    "no such instrument": (buying("10") | {"instrument": "ins_x"}, 400, "not_found", "body.instrument"),
    "an odd instrument": (buying("10") | {"instrument": "\u0661"}, 400, "not_found", "body.instrument"),
    "no rollover": (buying("1", automatic_rollover=True), 400, "invalid_param",
                    "body.automatic_rollover"),
}  # fmt: skip


def test_refusals_record_nothing_and_are_noted(engine: Engine, client: Client) -> None:
    account = an_account(client)
    head = engine.journal.head
    for body, status, code, path in REFUSED.values():
        reply = client.post(f"/accounts/{account}/orders", body)
        assert (reply.status, reply.code) == (status, code), reply.body
        assert [param["path"] for param in reply.json.get("params", [])] == ([path] if path else [])
    assert engine.journal.head == head
    too_much = client.post(f"/accounts/{account}/orders", buying("1000.01")).json
    assert too_much["context"]["available"] == "1000.00"
    operations = engine.services.refusals._insert.table
    with engine.journal.datastore.store.reading() as connection:
        noted = connection.execute(
            operations.select().where(operations.c.account == account).order_by(operations.c.id)
        ).all()
    assert [row.code for row in noted] == [row[2] for row in REFUSED.values()] + ["insufficient_funds"]
    assert {(row.account, row.tenant) for row in noted} == {(account, engine.tenant)}


def test_an_idempotency_key(engine: Engine, client: Client) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    body = buying("100.00", client_reference="mine")
    first = client.post(orders, body, Idempotency_Key="k")
    order = ok(first, 201)
    assert "Idempotency-Replayed" not in first.headers
    engine.execute(order["id"], ["0.99"])
    engine.project()
    same = {**body, "cash_amount": 100, "quantity": None}
    again = client.post(orders, same, Idempotency_Key="k")
    assert again.status == 201
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Journal-Offset"] == first.headers["Journal-Offset"]
    other = client.post(orders, buying("100.01"), Idempotency_Key="k")
    assert (other.status, other.code) == (409, "idempotency_key_conflict")
    bad = client.post(orders, {}, Idempotency_Key="k")
    assert (bad.status, bad.code) == (400, "missing_param")  # shape first
    poor = an_account(client, cash="")
    refused = client.post(f"/accounts/{poor}/orders", body, Idempotency_Key="k")
    assert refused.code == "insufficient_funds"  # another account, another key
    assert len(engine.services.personal.find(engine.tenant, "client_reference", "mine")) == 1


def test_one_key_at_once_is_one_order(engine: Engine, client: Client) -> None:
    account = an_account(client)
    token = client.headers

    def place(_: int) -> tuple[int, bytes, str]:
        mine = engine.connect(token)
        reply = mine.post(f"/accounts/{account}/orders", buying("300"), Idempotency_Key="k")
        return reply.status, reply.body, reply.headers["Journal-Offset"]

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(place, range(40)))
    assert len(answers) == 1
    assert balance(client, account)[1] == "300.00"


def test_a_key_outlives_the_process(journal_url: str, tmp_path: Path) -> None:
    body = buying("100.00", client_reference="mine")
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        account = an_account(client)
        first = client.post(f"/accounts/{account}/orders", body, Idempotency_Key="k")
        assert first.status == 201
        engine.execute(first.json["id"], ["0.99"])
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        again = client.post(f"/accounts/{account}/orders", body, Idempotency_Key="k")
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Journal-Offset"] == first.headers["Journal-Offset"]
        later = engine.services.now_us() + 25 * 3_600 * 1_000_000
        engine.services.now_us = lambda: later
        old = client.post(f"/accounts/{account}/orders", body, Idempotency_Key="k")
        assert (old.status, old.code) == (409, "idempotency_key_expired")


def test_many_want_the_same_cash(engine: Engine, client: Client) -> None:
    account = an_account(client)

    def place(_: int) -> str:
        reply = engine.connect(client.headers).post(f"/accounts/{account}/orders", buying("30"))
        return "placed" if reply.status == 201 else f"{reply.status} {reply.code}"

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(threads.map(place, range(60)))
    assert answers == {"placed": 33, "400 insufficient_funds": 27}
    assert balance(client, account)[1] == "990.00"


def test_pages(engine: Engine, client: Client) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    placed = [ok(client.post(orders, buying("10")), 201)["id"] for _ in range(5)]
    ok(client.post(f"{orders}/{placed[1]}/cancel"))
    engine.project()
    seen: list[str] = []
    path: str | None = f"{orders}?limit=2&side=buy"
    while path:
        reply = client.get(path)
        seen += [order["id"] for order in ok(reply)]
        link = reply.headers.get("Link")
        path = link[1 : link.index(">")] if link else None
    assert seen == placed[::-1]
    assert [o["id"] for o in ok(client.get(f"{orders}?status=cancelled&status=filled"))] == [placed[1]]
    assert ok(client.get(f"{orders}?instrument=ins_other")) == []
    assert ok(client.get(f"{orders}?created_from=2100-01-01T00:00:00Z")) == []
    assert len(ok(client.get(f"{orders}?created_to=2100-01-01T00:00:00Z"))) == 5
    assert client.get(f"{orders}?before=ord_other").status == 400


def test_own_writes_are_waited_for(engine: Engine, client: Client) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("10")), 201)
    done = threading.Event()

    def keep_up() -> None:
        while not done.is_set():
            engine.runner.run_once() or done.wait(0.01)

    late = threading.Timer(0.1, keep_up)
    late.start()
    assert ok(client.get(orders)) == [order]
    other = engine.client("read")
    needed = str(engine.journal.head)
    assert ok(other.get(orders, Min_Journal_Offset=needed)) == [order]
    done.set()
    late.join()


def test_a_view_that_stays_behind_says_so(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.05)
    account = an_account(client)
    engine.project()
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
    for path in ("orders", "pending-orders", "transactions", "positions"):
        reply = client.get(f"/accounts/{account}/{path}")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "view_behind", "1")
    assert client.get(f"/accounts/{account}/orders/{order}").status == 200
    other = engine.client("read")
    assert ok(other.get(f"/accounts/{account}/orders")) == []  # it knows of nothing newer
    reply = other.get(f"/accounts/{account}/orders", Min_Journal_Offset="999999")
    assert (reply.status, reply.code) == (400, "offset_in_future")
    assert other.get(f"/accounts/{account}/orders/{order}", Min_Journal_Offset="-1").status == 400


def test_what_was_shown_does_not_disappear_again(engine: Engine, client: Client) -> None:
    """From the journal first, as the view is behind; then the view has come a part of the way."""
    account = an_account(client)
    engine.project()
    placed = client.post(f"/accounts/{account}/orders", buying("10"))
    path = f"/accounts/{account}/orders/{ok(placed, 201)['id']}"
    engine.execute(placed.json["id"], ["0.09"])
    filled = ok(client.get(path))
    assert filled["status"] == "filled"
    slow = Runner(engine.journal, engine.views, page=1)
    while engine.views.offset("orders") < int(placed.headers["Journal-Offset"]):
        slow.run_once()
    assert ok(client.get(path)) == filled
    assert ok(engine.client("read").get(path)) == filled, "and nobody is shown what is over"
