"""Trading hours over HTTP: as a term of an instrument, and `Prefer: no-wait`."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from engine.commands import decisions
from engine.domain.report import Report
from order_engine_client import Client as OrderClient
from order_engine_client import TradingHours
from tests.support.servers.http_engine import TERMS, Engine, an_account, buying, ok
from tests.support.servers.http_server import Client, Reply

NUMBERS = count(1)
LISTED: list[str] = []
"""The symbol of the current test's instrument: a process knows an instrument of old for a second."""
NEW_YORK: dict[str, Any] = {
    "calendar": "XNYS", "time_zone": "America/New_York", "sessions": [["09:30", "16:00"]],
}  # fmt: skip


@pytest.fixture
def client(engine: Engine) -> Client:
    LISTED[:] = [f"HOURS{next(NUMBERS)}"]
    return engine.client()


def instrument() -> str:
    return f"ins_{LISTED[0]}"


def listed(**words: object) -> dict[str, Any]:
    return {**TERMS, "symbol": LISTED[0], **words}


def closed() -> dict[str, Any]:
    """Hours in which it is never traded while this test runs: a minute about half a day away."""
    hour = (datetime.now(UTC).hour + 12) % 24
    return {"calendar": "XNYS", "time_zone": "UTC", "sessions": [[f"{hour:02}:00", f"{hour:02}:01"]]}


def send(client: Client, hours: object, key: str = "") -> Reply:
    headers = {"Idempotency-Key": key} if key else {}
    return client.send("PUT", f"/instruments/{instrument()}", listed(trading_hours=hours), headers)


def put(client: Client, hours: object) -> Any:
    reply = send(client, hours)
    assert reply.status in {200, 201}, reply.body
    return reply.json


def market(client: Client, hours: object) -> str:
    """An instrument with a price and these hours, and an account with cash."""
    put(client, hours)
    ok(client.post("/prices", [{"symbol": LISTED[0], "bid": "100", "ask": "100"}]), 201)
    return an_account(client)


def place(client: Client, account: str, key: str = "", prefer: str = "") -> Reply:
    headers = {name: text for name, text in (("Idempotency-Key", key), ("Prefer", prefer)) if text}
    body = {**buying("10"), "instrument": instrument()}
    return client.send("POST", f"/accounts/{account}/orders", body, headers)


def test_hours_are_a_term_that_can_be_set_and_taken_away(client: Client) -> None:
    assert put(client, NEW_YORK)["trading_hours"] == NEW_YORK
    assert ok(client.get(f"/instruments/{instrument()}"))["trading_hours"] == NEW_YORK
    lunch = {**NEW_YORK, "sessions": [["09:30", "12:00"], ["13:00", "24:00"]]}
    assert put(client, lunch)["trading_hours"] == lunch
    assert put(client, None)["trading_hours"] is None


BAD = {
    "unknown calendar": ({**NEW_YORK, "calendar": "XXXX"}, "calendar"),
    "unknown zone": ({**NEW_YORK, "time_zone": "Mars/Olympus"}, "time_zone"),
    "backwards": ({**NEW_YORK, "sessions": [["16:00", "09:30"]]}, "sessions"),
    "overlapping": ({**NEW_YORK, "sessions": [["09:00", "12:00"], ["11:00", "16:00"]]}, "sessions"),
    "no times": ({**NEW_YORK, "sessions": [["nine", "five"]]}, "sessions.0.0"),
    "no pair": ({**NEW_YORK, "sessions": [["09:30"]]}, "sessions.0"),
    "no sessions": ({**NEW_YORK, "sessions": []}, "sessions"),
    "not given": ({"calendar": "XNYS", "time_zone": "UTC"}, "sessions"),
    "unknown field": ({**NEW_YORK, "until": "noon"}, "until"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_hours_are_refused_and_nothing_is_recorded(client: Client, name: str) -> None:
    hours, field = BAD[name]
    put(client, NEW_YORK)
    reply = send(client, hours)
    assert reply.status == 400
    assert reply.code == ("missing_param" if name == "not given" else "invalid_param")
    assert reply.json["params"][0]["path"].removeprefix("body.") == f"trading_hours.{field}"
    assert reply.json["detail"].endswith(".")
    assert ok(client.get(f"/instruments/{instrument()}"))["trading_hours"] == NEW_YORK


def test_other_hours_under_the_same_key_are_another_request(client: Client) -> None:
    put(client, None)
    ok(send(client, NEW_YORK, "hours"))
    assert ok(send(client, NEW_YORK, "hours"))["trading_hours"] == NEW_YORK
    other = {**NEW_YORK, "sessions": [["09:31", "16:00"]]}
    assert send(client, other, "hours").code == "idempotency_key_conflict"


def test_an_order_outside_hours_waits_and_says_so_everywhere(engine: Engine, client: Client) -> None:
    account = market(client, closed())
    order = ok(place(client, account), 201)["id"]
    start = {"firm": engine.services.firm, "order": order, "venue": "sim"}
    engine.act(decisions.start_execution, **start)
    engine.act(decisions.start_execution, **start)  # once is enough
    path = f"/accounts/{account}/orders/{order}"
    shown = ok(client.get(path))
    assert (shown["status"], shown["is_cancellable"]) == ("pending", True)
    history = ok(client.get(f"{path}/history"))
    assert [fact["name"] for fact in history] == ["order.made_pending.1", "order.placed.1"]
    assert history[0]["fields"]["reason"] == "market_closed"
    engine.project()
    events = ok(client.get(f"/events?resource[id]={order}"))
    assert [event["name"] for event in events] == ["order.pending", "order.placed"]
    assert ok(client.get(f"/accounts/{account}/pending-orders"))[0]["id"] == order
    assert ok(client.post(f"{path}/cancel"))["status"] == "cancelled"


def test_an_order_that_expires_at_its_venue_says_so_everywhere(engine: Engine, client: Client) -> None:
    account = market(client, None)
    order = ok(place(client, account), 201)["id"]
    engine.act(decisions.start_execution, firm=engine.services.firm, order=order, venue="sim")
    report = Report("sim", f"{order}-end", order, "ended", reason="expired")
    engine.act(decisions.take_report, firm=engine.services.firm, report=report)
    path = f"/accounts/{account}/orders/{order}"
    shown = ok(client.get(path))
    assert (shown["status"], shown["cancelled_reason"]) == ("cancelled", "expired")
    assert ok(client.get(f"{path}/history"))[0]["fields"]["reason"] == "expired"
    explained = ok(client.get(f"{path}/history?explain=true"))
    assert "expired" in str(explained)
    engine.project()
    (event, *_) = ok(client.get(f"/events?resource[id]={order}"))
    assert (event["name"], event["data"]["cancelled_reason"]) == ("order.cancelled", "expired")
    assert ok(client.get(f"/accounts/{account}/pending-orders")) == []


@pytest.mark.parametrize("prefer", ["no-wait", "No-Wait", "respond-async, no-wait; urgent=yes"])
def test_an_order_that_may_not_wait_is_refused(engine: Engine, client: Client, prefer: str) -> None:
    account = market(client, closed())
    head = engine.journal.head
    reply = place(client, account, prefer=prefer)
    assert (reply.status, reply.code) == (400, "instrument_not_trading")
    opens = reply.json["context"]["opens"]
    assert reply.json["detail"] == (
        f"The market is closed until {opens}; without `Prefer: no-wait` the order waits for it."
    )
    assert datetime.fromisoformat(opens) > datetime.now(UTC)
    assert engine.journal.head == head
    asked = {"instrument": instrument(), "side": "buy", "cash_amount": "10"}
    quotes = f"/accounts/{account}/order-quotes"
    assert client.post(quotes, asked, Prefer=prefer).json["detail"] == reply.json["detail"]
    ok(client.post(quotes, asked))
    put(client, None)
    assert ok(place(client, account, prefer=prefer), 201)["status"] == "placed"


@pytest.mark.parametrize("prefer", ["wait=10", "return=minimal", "no-waiting"])
def test_other_preferences_are_ignored(client: Client, prefer: str) -> None:
    account = market(client, closed())
    assert ok(place(client, account, prefer=prefer), 201)["status"] == "placed"


def test_a_preference_is_no_part_of_the_request(client: Client) -> None:
    """A refusal records nothing, so its key is free; an answer is repeated, however one asks again."""
    account = market(client, closed())
    assert place(client, account, "once", "no-wait").code == "instrument_not_trading"
    placed = place(client, account, "once")
    assert ok(placed, 201)["status"] == "placed"
    again = place(client, account, "once", "no-wait")
    assert (again.status, again.body) == (201, placed.body)
    assert again.headers["Idempotency-Replayed"] == "true"


def test_the_client_speaks_of_hours_and_of_not_waiting(engine: Engine, client: Client) -> None:
    account = market(client, closed())
    made = engine.services.clients.create(engine.tenant, ("read", "trade", "admin"))
    with OrderClient(f"http://127.0.0.1:{engine.server.port}", made.client.id, made.secret) as orders:
        known = orders.instrument(instrument())
        assert isinstance(known.trading_hours, TradingHours)
        words = {name: value for name, value in listed().items() if name != "settlement_days"}
        hours = TradingHours("XNYS", "America/New_York", (("09:30", "16:00"),))
        shown = orders.put_instrument(instrument(), **words, settlement_days=0, trading_hours=hours)
        assert shown.trading_hours == hours
        orders.put_instrument(
            instrument(), **words, settlement_days=0, trading_hours=known.trading_hours
        )
        with pytest.raises(Exception, match="The market is closed until") as caught:
            orders.buy(account, instrument(), "10", may_wait=False)
        assert getattr(caught.value, "code", "") == "instrument_not_trading"
        assert orders.buy(account, instrument(), "10").status == "placed"
