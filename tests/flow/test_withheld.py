"""One resource that the views cannot show: its own reads say so, and nobody else notices anything."""

from __future__ import annotations

import pytest

from tests.flow.test_event_stream import Ear
from tests.support.engines.unreadable import unreadable
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok
from tests.support.servers.http_server import Client

HEADER = "Withheld-Resources"
BAD_FROM = 2
"""The order's first fact is shown, what became of it is not."""


class Desk:
    """A client of a tenant with an account, a good order and one that goes bad."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.client = client
        self.account, self.other = an_account(client), an_account(client)
        self.orders = f"/accounts/{self.account}/orders"
        self.bad, self.good = self.place(), self.place()
        with unreadable(self.bad, BAD_FROM):
            for order in (self.bad, self.good):
                engine.execute(order, ["0.09"])
            engine.project()

    def place(self) -> str:
        return str(ok(self.client.post(self.orders, buying("10")), 201)["id"])

    def ids(self, path: str, count: str | None = "1") -> list[str]:
        """Of a list, which says how many are withheld."""
        reply = self.client.get(path)
        assert reply.headers.get(HEADER) == count, path
        return [one["id"] for one in ok(reply)]

    def code(self, path: str) -> str:
        reply = self.client.get(path)
        assert reply.status == 503
        return reply.code


@pytest.fixture
def desk(engine: Engine) -> Desk:
    client = engine.client()
    a_market(client)
    return Desk(engine, client)


def mended(engine: Engine, stream: str) -> None:
    for name in {one.view for one in engine.views.quarantined() if one.stream == stream}:
        assert engine.runner.retry(name, stream)


def test_lists_go_on_and_count_what_they_leave_out(engine: Engine, desk: Desk) -> None:
    assert desk.ids(desk.orders) == [desk.good]
    assert desk.ids(f"{desk.orders}?status=filled") == [desk.good]
    assert desk.ids(f"{desk.orders}?limit=1&before={desk.good}") == []
    assert desk.ids(f"/accounts/{desk.account}/pending-orders") == [desk.good]
    events = ok(desk.client.get("/events?limit=500"))
    of_bad = [one["name"] for one in events if one["resource"]["id"] == desk.bad]
    assert of_bad == ["order.placed"], "what was shown before stays true"
    assert desk.code(f"{desk.orders}/{desk.bad}") == "view_quarantined"
    assert desk.code(f"/events?resource[id]={desk.bad}") == "view_quarantined"
    assert ok(desk.client.get(f"{desk.orders}/{desk.good}"))["status"] == "filled"

    mended(engine, desk.bad)
    assert desk.ids(desk.orders, None) == [desk.good, desk.bad]
    assert ok(desk.client.get(f"{desk.orders}/{desk.bad}"))["status"] == "filled"
    names = [one["name"] for one in ok(desk.client.get(f"/events?resource[id]={desk.bad}"))]
    assert names == ["order.filled", "order.executing", "order.placed"]


def test_other_names_and_tenants_notice_nothing(engine: Engine, desk: Desk) -> None:
    """Every route that reads a view, for what is not withheld."""
    trade = ok(desk.client.get(f"{desk.orders}/{desk.good}"))["trades"][0]["id"]
    for path in (
        f"/accounts/{desk.account}/cash-balances",
        f"/accounts/{desk.account}/positions",
        f"/accounts/{desk.account}/transactions",
        f"/accounts/{desk.other}/orders",
        "/accounts",
        f"/accounts/{desk.account}",
        "/instruments",
        "/instruments/KE2024A",
        "/parked-reports",
        "/webhooks",
    ):
        reply = desk.client.get(path)
        assert (reply.status, reply.headers.get(HEADER)) == (200, None), path
    for query in ("name=account.opened", f"resource[id]={trade}", f"resource[id]={desk.good}"):
        reply = desk.client.get(f"/events?{query}")
        assert ok(reply)
        event = ok(reply)[0]["id"]
        assert ok(desk.client.get(f"/events/{event}"))["id"] == event

    rival = engine.client(tenant=f"{engine.tenant}-rival")
    account = an_account(rival)
    ok(rival.post(f"/accounts/{account}/orders", buying("10")), 201)
    engine.project()
    for path in ("/accounts", "/events", f"/accounts/{account}/orders", "/instruments"):
        reply = rival.get(path)
        assert ok(reply)
        assert reply.headers.get(HEADER) is None, path
    for path in (f"/accounts/{account}/orders/{desk.bad}", f"{desk.orders}/{desk.bad}"):
        theirs, unknown = rival.get(path), rival.get(path[:-3] + "xxx")
        assert (theirs.status, theirs.code) == (404, "not_found") == (unknown.status, unknown.code)
    assert ok(rival.get(f"/events?resource[id]={desk.bad}")) == []
    mended(engine, desk.bad)


def test_a_hundred_bad_orders_of_one_tenant_withhold_nothing_of_another(
    engine: Engine, desk: Desk
) -> None:
    with engine.views.writing() as connection:
        for n in range(120):
            row = f"('orders ord_{n}', 'orders', 'ord_{n}', 'acc_x', 'nobody', {n + 1}, 'KeyError')"
            connection.exec_driver_sql(f"INSERT INTO view_quarantine VALUES {row}")
    try:
        assert desk.ids(desk.orders) == [desk.good]
        assert desk.ids(f"/accounts/{desk.other}/orders", None) == []
    finally:
        with engine.views.writing() as connection:
            connection.exec_driver_sql("DELETE FROM view_quarantine WHERE tenant = 'nobody'")
        mended(engine, desk.bad)


def test_an_account_that_is_withheld_leaves_its_orders_and_the_other_accounts(
    engine: Engine, desk: Desk
) -> None:
    mended(engine, desk.bad)
    version = engine.journal.stream(desk.account)[-1].version
    with unreadable(desk.account, version + 1):
        order = desk.place()
        engine.project()
    assert set(desk.ids("/accounts")) == {desk.other}
    for path in ("", "/cash-balances", "/positions", "/transactions"):
        assert desk.code(f"/accounts/{desk.account}{path}") == "view_quarantined", path
        ok(desk.client.get(f"/accounts/{desk.other}{path}"))
    assert desk.ids(desk.orders, None) == [order, desk.good, desk.bad]
    assert desk.code(f"/events?resource[id]={desk.account}") == "view_quarantined"
    assert ok(desk.client.get(f"/events?resource[id]={order}"))
    mended(engine, desk.account)
    assert len(desk.ids("/accounts", None)) == 2


def test_an_event_that_cannot_be_shown_is_not_unknown(engine: Engine, desk: Desk) -> None:
    with Ear(desk.client, engine.server.port, "after=0&follow=false") as ear:
        said = ear.rest()
    assert {"resource": desk.bad, "since_offset": since(engine, desk)} in [
        one.data for one in said if one.event == "withheld"
    ]
    assert said[-1].data["code"] == "caught_up"
    assert said[-1].data["withheld"] == 1
    mended(engine, desk.bad)
    event = ok(desk.client.get(f"/events?resource[id]={desk.bad}"))[0]
    with unreadable(desk.bad, BAD_FROM):
        engine.views.reset("events")
        engine.project()
    assert desk.code(f"/events/{event['id']}") == "view_quarantined"
    assert desk.client.get(f"/events/{event['id'][:-3]}xxx").status == 404
    stranger = engine.client(tenant=f"{engine.tenant}-rival")
    assert stranger.get(f"/events/{event['id']}").status == 404
    mended(engine, desk.bad)
    assert ok(desk.client.get(f"/events/{event['id']}")) == event


def since(engine: Engine, desk: Desk) -> int:
    return engine.journal.stream(desk.bad)[BAD_FROM - 1].offset


@pytest.mark.parametrize("how", ["retry", "rebuild"])
def test_a_stream_hears_of_it_and_is_sent_the_rest_when_it_is_mended(
    engine: Engine, desk: Desk, how: str
) -> None:
    after = since(engine, desk) - 1
    with Ear(desk.client, engine.server.port, f"after={after}") as ear:
        said = [ear.next() for _ in range(1)]
        while not said[-1] or said[-1].event != "withheld":
            said.append(ear.next())
        flowing = [one.data["resource"]["id"] for one in said if one and one.data and not one.event]
        assert desk.good in flowing
        assert desk.bad not in flowing
        if how == "retry":
            mended(engine, desk.bad)
        else:
            engine.views.reset("events")
            engine.project()
        while (one := ear.next()) is not None and one.event != "released":
            assert one.data is None
        assert one is not None
        assert one.data == {"resource": desk.bad, "since_offset": after + 1}
        late = [ear.next(), ear.next()]
        names = [one.data["name"] for one in late if one]
        assert names[0] == "order.executing"
        assert [one.id for one in late if one] == [None, None], "the place to come back to stays"
        desk.place()
        engine.project()
        assert "order.placed" in [event["name"] for event in ear.until("order.placed")]
    mended(engine, desk.bad)


def test_a_replay_sends_what_can_be_shown_and_says_what_cannot(engine: Engine, desk: Desk) -> None:
    webhook = ok(desk.client.post("/webhooks", {"url": "https://hooks.example.com/orders"}), 201)["id"]
    span = {"from_offset": since(engine, desk), "to_offset": engine.journal.head}
    engine.project()
    reply = desk.client.post(f"/webhooks/{webhook}/replay", span)
    ok(reply, 202)
    assert reply.headers[HEADER] == "1"
    sent = ok(desk.client.get(f"/webhook-deliveries?webhook={webhook}"))
    names = [one["name"] for one in sent if one["resource"] == desk.good]
    assert names == ["order.filled", "order.executing"]
    assert desk.bad not in {one["resource"] for one in sent}
    mended(engine, desk.bad)
    reply = desk.client.post(f"/webhooks/{webhook}/replay", span)
    ok(reply, 202)
    assert reply.headers.get(HEADER) is None
    again = ok(desk.client.get(f"/webhook-deliveries?webhook={webhook}"))
    assert desk.bad in {one["resource"] for one in again}
