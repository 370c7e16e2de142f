"""A receiver that takes less than happens: its events wait in the journal, and none is lost by it.

What is written is the same on both databases: see tests/contract/test_deliveries.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.kernel.limits import WEBHOOK_FAILURES
from tests.support.engines.couriers import deliveries, sending, until, webhook
from tests.support.receivers.receivers import OK, Receiver, answer, out_of_order, receiving
from tests.support.servers.http_engine import Engine, an_account, of_new_tenant, ok, shared
from tests.support.servers.http_server import Client

OPENED = ["account.opened"]
FEW, MANY = WEBHOOK_FAILURES + 4, 60


@pytest.fixture(scope="module", params=["sqlite"])
def of_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with shared(request, tmp_path_factory) as engine:
        engine.services.allows_local = True
        yield engine


@pytest.fixture
def engine(of_module: Engine) -> Iterator[Engine]:
    yield from of_new_tenant(of_module)


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(answer(500)) as made:
        yield made


def accounts(engine: Engine, client: Client, number: int) -> None:
    """So many events."""
    for _ in range(number):
        an_account(client, cash="")
    engine.project()


def held(engine: Engine, client: Client, receiver: Receiver, made: dict[str, Any]) -> dict[str, Any]:
    """The webhook once it has failed so often that what happens then waits in the journal."""
    accounts(engine, client, FEW)
    receiver.wait(WEBHOOK_FAILURES + 1)
    accounts(engine, client, MANY)
    found: dict[str, Any] = until(
        lambda: (one := ok(client.get(f"/webhooks/{made['id']}")))["backlog_after"] and one
    )
    return found


def test_what_it_does_not_take_waits_and_comes_in_order_when_it_does(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    made = webhook(client, receiver.url(), events=OPENED)
    where, path = f"/webhooks/{made['id']}", f"/webhook-deliveries?limit=500&webhook={made['id']}"
    with sending(engine, jitter=lambda: 0.001), receiving() as well:
        webhook(client, well.url(), events=OPENED)
        shown = held(engine, client, receiver, made)
        well.wait(FEW + MANY)  # who takes them has them all
        assert [one["backlog_after"] for one in ok(client.get("/webhooks"))].count(None) == 1
    # What is listed is what was put down: every event to there, and none behind.
    shown = ok(client.get(where))
    offsets = {one["id"]: one["offset"] for one in ok(client.get("/events?limit=500"))}
    listed = [offsets[one["event"]] for one in ok(client.get(path))]
    expected = [one for one in offsets.values() if one <= shown["backlog_after"]]
    assert listed == expected
    assert len(listed) < FEW + MANY // 2, "they were put down although it takes nothing"
    # They are still to be sent for the first time: there is nothing to replay.
    head = engine.journal.head
    refused = client.post(f"{where}/replay", {"from_offset": 1, "to_offset": head})
    assert (refused.status, refused.code) == (400, "invalid_param")
    assert refused.json["context"]["backlog_after"] == shown["backlog_after"]
    # Another sender goes on, and the receiver is well.
    receiver.behave = OK
    with sending(engine):
        until(lambda: ok(client.get(where))["backlog_after"] is None)
        until(lambda: len(deliveries(client, webhook=made["id"], status="succeeded")) == FEW + MANY)
        got = list(receiver.got)
        assert client.post(f"{where}/replay", {"from_offset": head, "to_offset": head}).status == 202
    assert {one.headers["event-id"] for one in got} == offsets.keys()
    assert len({one.id for one in got}) == FEW + MANY
    assert out_of_order(got) == []


def test_what_waits_is_what_it_wanted_when_it_happened(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    """While it is inactive events pass by; what waited before comes when it is active again."""
    made = webhook(client, receiver.url(), events=OPENED)
    where = f"/webhooks/{made['id']}"
    with sending(engine, jitter=lambda: 0.001):
        held(engine, client, receiver, made)
        ok(client.send("PUT", where, {"url": receiver.url(), "is_active": False}))
        accounts(engine, client, 3)
        receiver.behave = OK
        ok(client.send("PUT", where, {"url": receiver.url(), "events": ["account.suspended"]}))
        accounts(engine, client, 3)
        last = an_account(client, cash="")
        ok(client.send("PATCH", f"/accounts/{last}", {"status": "suspended"}))
        engine.project()
        until(lambda: len(deliveries(client, status="succeeded")) == FEW + MANY + 1)
    names = {one.id: one.event["name"] for one in receiver.got}
    assert sorted(names.values()) == [*OPENED * (FEW + MANY), "account.suspended"]
    assert ok(client.get(where))["backlog_after"] is None


def test_what_is_deleted_leaves_nothing_behind(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    """Also when nobody sends meanwhile, and its URL is erased before its end is read."""
    first = webhook(client, receiver.url("/first"), events=OPENED)
    second = webhook(client, receiver.url("/second"), events=OPENED)
    with sending(engine, jitter=lambda: 0.001):
        accounts(engine, client, 2 * FEW)
        receiver.wait(4 * WEBHOOK_FAILURES)
        accounts(engine, client, MANY)
        until(lambda: all(one["backlog_after"] for one in ok(client.get("/webhooks"))))
        ok(client.send("DELETE", f"/webhooks/{first['id']}"))
        engine.project()
        until(lambda: deliveries(client, webhook=first["id"], status="cancelled"))
    ok(client.send("DELETE", f"/webhooks/{second['id']}"))
    with receiving() as well, sending(engine):
        third = webhook(client, well.url(), events=OPENED)
        accounts(engine, client, 1)
        well.wait(1)
        until(lambda: not deliveries(client, status="pending"))
    assert {one["webhook"] for one in deliveries(client, status="succeeded")} == {third["id"]}
    assert not engine.services.deliveries.places().keys() & {first["id"], second["id"]}
