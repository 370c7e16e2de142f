"""Histories over HTTP: each fact with its money, things as they were, and what set a field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engine.commands import decisions
from engine.history.memorandum import read_memorandum
from engine.history.story import read_story
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

LAST = "2100-01-01T00:00:00Z"


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


def a_life(engine: Engine, client: Client) -> tuple[str, str]:
    """(account, order): a buy in two parts, settled."""
    a_market(client)
    account = an_account(client, reference="mine")
    path = f"/accounts/{account}/orders"
    order = ok(client.post(path, buying("100.00", client_reference="café")), 201)["id"]
    engine.execute(order, ["0.40", "0.50"])
    engine.act(decisions.advance_clock, by_us=5 * DAY_US)  # over any holiday
    engine.settle(order)
    return account, order


def pages(client: Client, path: str) -> list[list[Any]]:
    """A list, page by page, as its links lead."""
    found = []
    while path:
        reply = client.get(path)
        found.append(ok(reply))
        link = reply.headers.get("Link", "")
        path = link[1 : link.index(">")] if link else ""
        path = path[path.index("/accounts") :] if path else ""
    return found


def test_an_order_fact_by_fact(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    path = f"/accounts/{account}/orders/{order}"
    facts = ok(client.get(f"{path}/history"))  # no view has seen any of this
    assert [(fact["version"], fact["name"]) for fact in reversed(facts)] == [
        (1, "order.placed.1"),
        (2, "order.execution_started.1"),
        (3, "order.trade_recorded.1"),
        (4, "order.trade_recorded.1"),
        (5, "order.filled.1"),
        (6, "order.trade_settled.1"),
        (7, "order.trade_settled.1"),
        (8, "order.settled.1"),
    ]
    assert list(facts[0]) == [
        "version", "offset", "name", "recorded_at", "business_date", "actor", "request_id", "cause",
        "reason", "on_behalf_of", "fields", "legs", "order",
    ]  # fmt: skip
    placed, traded = facts[-1], facts[-3]
    assert placed["request_id"].startswith("req_")
    assert placed["actor"].startswith("cli_")
    assert placed["fields"]["cash_amount"] == "100.00"
    assert placed["legs"] == [
        {"asset": "cash", "currency": "USD", "instrument": None, "place": place, "amount": amount,
         "offset": placed["offset"] - 1, "name": "account.funds_reserved.1"}
        for place, amount in (("settled", "-100.00"), ("reserved", "100.00"))
    ]  # fmt: skip
    assert {(leg["place"], leg["amount"]) for leg in traded["legs"]} == {
        ("reserved", "-40.00"), ("outside", "40.00"), ("reserved", "-0.21"), ("fees", "0.21"),
        ("outside", "-0.40"), ("unsettled", "0.40"),
    }  # fmt: skip
    moved: dict[str, Decimal] = {}
    for fact in facts:
        for leg in fact["legs"]:
            of = leg["currency"] or leg["instrument"]
            moved[of] = moved.get(of, Decimal(0)) + Decimal(leg["amount"])
    assert set(moved.values()) == {0}
    engine.project()
    live = client.get(path)
    assert facts[0]["order"] == live.json
    assert live.json["client_reference"] == "café"
    for fact in facts:
        then = client.get(f"{path}/history?version={fact['version']}")
        assert then.json == fact["order"]
        assert list(then.json) == list(live.json)
    assert client.get(f"{path}/history?version=8").body == live.body
    assert client.get(f"{path}/history?asof={LAST}").body == live.body


def test_an_order_as_of_a_time(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    path = f"/accounts/{account}/orders/{order}/history"
    facts = ok(client.get(path))
    for fact in facts:
        at = fact["recorded_at"]
        same = [one["order"] for one in facts if one["recorded_at"] == at]
        assert ok(client.get(f"{path}?asof={at}")) == same[0]
        offset = at.replace("Z", "+00:00")
        assert ok(client.get(f"{path}?asof={quote(offset)}")) == same[0]


def test_what_set_each_field(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    path = f"/accounts/{account}/orders/{order}/history"
    facts = {fact["version"]: fact for fact in ok(client.get(path))}
    known = ok(client.get(f"{path}?explain=true"))
    assert list(known) == ["order", "set_by"]
    assert known["order"] == facts[8]["order"]
    set_by = known["set_by"]
    assert set_by.pop("client_reference") is None
    wanted = {
        "id": 1, "instrument.symbol": 1, "cash_amount": 1, "status": 8, "traded_quantity": 4,
        "filled_at": 5, "trades.0.price": 3, "trades.0.status": 6, "trades.1.status": 7, "settled_at": 8,
    }  # fmt: skip
    assert {field: set_by[field]["version"] for field in wanted} == wanted
    for fact in set_by.values():
        assert {word: facts[fact["version"]][word] for word in fact} == fact
    then = ok(client.get(f"{path}?explain=true&version=3"))
    assert then["order"] == facts[3]["order"]
    assert max(fact["version"] for fact in then["set_by"].values() if fact) == 3


def test_an_account_and_its_cash_as_they_were(engine: Engine, client: Client) -> None:
    account, _ = a_life(engine, client)
    path = f"/accounts/{account}"
    ok(client.send("PATCH", path, {"can_withdraw": False}))
    ok(client.post(f"{path}/orders", selling("0.10")), 201)
    facts = ok(client.get(f"{path}/history"))
    assert [fact["version"] for fact in facts] == list(range(len(facts), 0, -1))
    assert facts[-1]["cash_balances"][0]["total"] == "0.00"
    by_name = {fact["name"]: fact for fact in facts}
    changed = by_name["account.changed.1"]
    assert changed["account"]["can_withdraw"] is False
    assert changed["account"]["reference"] == "mine"
    (deposited,) = (one for one in facts if one["name"] == "account.cash_deposited.1")
    assert deposited["legs"][1]["place"] == "settled"
    assert by_name["account.units_reserved.1"]["legs"][0] == {
        "asset": "units", "currency": None, "instrument": "ins_bond", "place": "settled",
        "amount": "-0.10", "offset": facts[0]["offset"], "name": "account.units_reserved.1",
    }  # fmt: skip
    cash = f"{path}/cash-balances"
    assert ok(client.get(f"{cash}?asof={LAST}")) == facts[0]["cash_balances"]
    for fact in facts:
        at = fact["recorded_at"]
        first = next(one for one in facts if one["recorded_at"] == at)
        assert ok(client.get(f"{cash}?asof={at}")) == first["cash_balances"]
        assert ok(client.get(f"{path}/history?version={fact['version']}")) == fact["account"]
    engine.project()
    assert ok(client.get(cash)) == facts[0]["cash_balances"]
    assert client.get(f"{path}/history?asof={LAST}").body == client.get(path).body
    known = ok(client.get(f"{path}/history?explain=true"))
    assert known["set_by"]["name"] is known["set_by"]["reference"] is None
    assert known["set_by"]["can_withdraw"]["version"] == changed["version"]
    assert known["set_by"]["can_deposit"]["version"] == 1


def test_who_entered_an_order_is_on_record(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    placed = ok(client.get(f"/accounts/{account}/orders/{order}/history"))[-1]
    entries = {
        one.asked: one for one in read_memorandum(engine.journal, read_story(engine.journal, order))
    }
    who = f"electronically, by client {placed['actor']}, request {placed['request_id']}"
    assert [answer.value for answer in entries["who entered it"].answers] == [who]
    assert [answer.value for answer in entries["executed at the price"].answers] == ["100", "100"]


def test_pages_lead_through_all_of_it(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, order = a_life(engine, client)
    for path in (f"/accounts/{account}/history", f"/accounts/{account}/orders/{order}/history"):
        whole = ok(client.get(path))
        for limit in (1, 3, len(whole)):
            parts = pages(client, f"{path}?limit={limit}")
            assert [len(part) for part in parts[:-1]] == [limit] * (len(parts) - 1)
            assert [fact for part in parts for fact in part] == whole
        monkeypatch.setattr("api.handlers.history.HISTORY_PAGE_BYTES", 4_000)
        parts = pages(client, path)
        assert len(parts) > 2
        assert [fact for part in parts for fact in part] == whole
        monkeypatch.undo()
        assert ok(client.get(f"{path}?before=1")) == []


BAD = {
    "version=99": ("query.version", "invalid_value"),
    "version=0": ("query.version", "invalid_value"),
    "version=x": ("query.version", "invalid_value"),
    "version=99999999999": ("query.version", "invalid_value"),
    "asof=2020-01-01T00:00:00Z": ("query.asof", "invalid_value"),
    "asof=2020-01-01": ("query.asof", "invalid_value"),
    "asof=2020-01-01T00:00:00": ("query.asof", "invalid_value"),
    f"version=1&asof={LAST}": ("query.asof", "unexpected_param"),
    "version=1&before=2": ("query.before", "unexpected_param"),
    "explain=true&before=2": ("query.before", "unexpected_param"),
    "explain=yes": ("query.explain", "invalid_type"),
    "before=x": ("query.before", "invalid_value"),
    "limit=501": ("query.limit", "invalid_value"),
    "at=1": ("query.at", "unknown_param"),
}


def test_what_never_was_is_refused_by_name(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    for path in (f"/accounts/{account}/history", f"/accounts/{account}/orders/{order}/history"):
        for query, (where, code) in BAD.items():
            reply = client.get(f"{path}?{query}")
            assert (reply.status, reply.code) == (400, "invalid_param"), (query, reply.body)
            assert [(one["path"], one["code"]) for one in reply.json["params"]] == [(where, code)], query
    late = client.get(f"/accounts/{account}/cash-balances?asof=2020-01-01T00:00:00Z")
    assert late.json["params"][0]["detail"].startswith(
        "`asof` must not be before the first fact, which was recorded at 20"
    )


def test_of_somebody_else_there_is_nothing(engine: Engine, client: Client) -> None:
    account, order = a_life(engine, client)
    unknown = order[:-1] + ("y" if order[-1] == "x" else "x")
    other = an_account(client)
    rival = engine.client(tenant=f"{engine.tenant}-rival")
    theirs = an_account(rival)
    for query in ("", "?version=1", "?version=99", "?explain=true", f"?asof={LAST}", "?before=1"):
        for asking, path in (
            (client, f"/accounts/{other}/orders/{order}"),
            (client, f"/accounts/{account}/orders/{unknown}"),
            (client, f"/accounts/{account}/orders/{account}"),
            (rival, f"/accounts/{theirs}/orders/{order}"),
            (rival, f"/accounts/{account}/orders/{order}"),
            (rival, f"/accounts/{account}"),
        ):
            reply = asking.get(f"{path}/history{query}")
            _, _, of_account, *named = path.split("/")
            detail = f"No account `{of_account}`."
            if named:  # the request's own words, and nothing else
                detail = f"No order `{named[1]}` in account `{of_account}`."
            assert reply.status == 404
            assert {**reply.json, "request_id": ""} == {
                "code": "not_found",
                "detail": detail,
                "docs": "/docs/errors.html#not_found",
                "request_id": "",
            }


def test_what_was_shown_is_not_unseen(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a history that has come further than the views, these are waited for."""
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.0)
    account, order = a_life(engine, client)
    another = engine.client()
    facts = ok(another.get(f"/accounts/{account}/orders/{order}/history"))
    assert another.get(f"/accounts/{account}/orders").code == "view_behind"
    engine.project()
    assert ok(another.get(f"/accounts/{account}/orders"))[0] == facts[0]["order"]
    head = engine.journal.head
    path = f"/accounts/{account}/orders/{order}/history"
    assert another.get(path, Min_Journal_Offset=str(head)).status == 200
    assert another.get(path, Min_Journal_Offset=str(head + 1)).code == "offset_in_future"


def test_a_changed_byte_is_not_told(sqlite_url: str, tmp_path: Path) -> None:
    with running(sqlite_url, tmp_path) as engine:
        client = engine.client()
        account, order = a_life(engine, client)
        path = f"/accounts/{account}/orders/{order}/history"
        facts = ok(client.get(path))
        with engine.journal.datastore.store.writing() as connection:
            connection.exec_driver_sql("DROP TRIGGER journal_no_update")
            where = facts[-1]["offset"] - 1  # of the account: the order's money
            connection.exec_driver_sql(
                f"UPDATE journal SET body = body || x'00' WHERE position = {where}"
            )
        damaged = client.get(path)
        assert (damaged.status, damaged.code) == (503, "journal_damaged")
