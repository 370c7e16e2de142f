"""Events to real receivers: every one, in order, signed, until it is taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest
from standardwebhooks import WebhookVerificationError

from api.outbound.courier import Courier
from api.outbound.lanes import NARROW
from engine.commands.desk import Desk
from engine.journal.leases import Leases
from engine.kernel.errors import LeaseLost
from engine.kernel.process import WEBHOOKS
from tests.support.engines.couriers import deliveries, sending, tools_of, until, webhook
from tests.support.receivers.receivers import OK, Got, Receiver, answer, out_of_order, receiving, verify
from tests.support.servers.http_engine import (
    Engine,
    a_market,
    an_account,
    buying,
    ok,
)
from tests.support.servers.http_server import WAIT_S, Client


@pytest.fixture(scope="module")
def module_engine(module_engine: Engine) -> Engine:
    """It may send to this machine, where the receivers are."""
    module_engine.services.allows_local = True
    return module_engine


@pytest.fixture
def client(engine: Engine) -> Client:
    client = engine.client()
    a_market(client)
    return client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def an_order(engine: Engine, client: Client, account: str, cash: str = "10") -> str:
    """One that is filled, and its events are in the view."""
    order = str(ok(client.post(f"/accounts/{account}/orders", buying(cash)), 201)["id"])
    engine.execute(order, ["0.09"])
    engine.project()
    return order


def test_every_event_comes_signed_and_in_order(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    made = webhook(client, receiver.url("/x?token=1"))
    with sending(engine):
        account = an_account(client, reference="mine")
        orders = [an_order(engine, client, account) for _ in range(3)]
        events = ok(client.get("/events?limit=500"))
        got = receiver.wait(len(events))
        assert out_of_order(got) == []
        bodies = {one.headers["event-id"]: one.event for one in got}
        assert bodies == {event["id"]: ok(client.get(f"/events/{event['id']}")) for event in events}
        assert "Ada" in str(bodies)
        for one in got:
            verify(one, made["secret"])
            assert (one.path, one.attempt) == ("/x?token=1", 1)
            assert one.headers["content-type"] == "application/json"
        assert set(orders) <= {one.resource for one in got}
        shown = until(
            lambda: deliveries(client, status="succeeded")[len(events) - 1 :] and deliveries(client)
        )
        assert {one["id"]: one["resource"] for one in shown} == {one.id: one.resource for one in got}
        assert {one["id"]: one["name"] for one in shown} == {one.id: one.event["name"] for one in got}
        assert [attempt["outcome"] for one in shown for attempt in one["attempts"]] == [
            "succeeded"
        ] * len(got)
        first = ok(client.get(f"/webhook-deliveries/{shown[0]['id']}"))
        assert (first, first["next_attempt_at"]) == (shown[0], None)
        with pytest.raises(WebhookVerificationError):
            verify(got[0], "whsec_" + "A" * 43 + "=")


def test_only_what_it_wants_and_since_when(engine: Engine, client: Client, receiver: Receiver) -> None:
    account = an_account(client)
    an_order(engine, client, account)
    with sending(engine):
        made = webhook(client, receiver.url(), events=["order.filled", "order.placed"])
        order = an_order(engine, client, account)
        receiver.wait(2)
        where = f"/webhooks/{made['id']}"
        ok(client.send("PUT", where, {"url": receiver.url(), "is_active": False}))
        an_order(engine, client, account)
        ok(client.send("PUT", where, {"url": receiver.url("/new"), "events": ["order.executing"]}))
        last = an_order(engine, client, account)
        got = receiver.wait(3)
    assert [(one.path, one.resource, one.event["name"]) for one in got] == [
        ("/", order, "order.placed"), ("/", order, "order.filled"), ("/new", last, "order.executing"),
    ]  # fmt: skip


def test_other_tenants_hear_nothing(engine: Engine, client: Client, receiver: Receiver) -> None:
    rival = engine.client(tenant=f"{engine.tenant}-rival")
    with receiving() as theirs, sending(engine):
        webhook(client, receiver.url())
        webhook(rival, theirs.url())
        account, other = an_account(client), an_account(rival)
        engine.project()
        receiver.wait(2)
        theirs.wait(2)
    assert {one.event["data"].get("account", one.resource) for one in receiver.got} == {account}
    assert {one.event["data"].get("account", one.resource) for one in theirs.got} == {other}
    mine = deliveries(client)
    assert len(mine) == 2
    assert rival.get(f"/webhook-deliveries/{mine[0]['id']}").status == 404


def test_a_failure_is_tried_again_and_holds_up_its_resource_alone(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    made = webhook(client, receiver.url(), events=["order.placed", "order.executing", "order.filled"])
    bad: list[str] = []
    is_well = threading.Event()

    def behave(handler: BaseHTTPRequestHandler, got: Got) -> None:
        is_bad = got.resource in bad and not is_well.is_set()
        (answer(500) if is_bad else OK)(handler, got)

    receiver.behave = behave
    with sending(engine, jitter=lambda: 0.01):
        account = an_account(client)
        order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
        bad.append(order)
        engine.execute(order, ["0.09"])
        other = an_order(engine, client, account)
        receiver.wait(3, lambda got: got.resource == other)
        receiver.wait(2, lambda got: got.resource == order)
        assert {got.event["name"] for got in receiver.got if got.resource == order} == {"order.placed"}
        is_well.set()
        receiver.wait(1, lambda got: got.resource == order and got.event["name"] == "order.filled")
    got = receiver.got
    assert out_of_order(got) == []
    placed = [one for one in got if one.resource == order and one.event["name"] == "order.placed"]
    assert len({one.id for one in placed}) == 1
    assert [one.attempt for one in placed] == [*range(1, len(placed) + 1)]
    for one in got:
        verify(one, made["secret"])
    shown = ok(client.get(f"/webhook-deliveries/{placed[0].id}"))
    assert {(one["outcome"], one["status"]) for one in shown["attempts"][:-1]} == {("http", 500)}
    assert shown["attempts"][-1]["outcome"] == "succeeded"


def test_after_ten_attempts_it_is_failed_and_the_resource_goes_on(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    webhook(client, receiver.url(), events=["order.placed", "order.filled"])
    receiver.behave = lambda handler, got: (answer(500) if got.event["name"] == "order.placed" else OK)(
        handler, got
    )
    with sending(engine, jitter=lambda: 0.0):
        order = an_order(engine, client, an_account(client))
        receiver.wait(1, lambda got: got.event["name"] == "order.filled")
        (failed,) = until(lambda: deliveries(client, status="failed"))
        assert len(failed["attempts"]) == 10
        assert failed["resource"] == order
        receiver.behave = OK
        again = client.post(f"/webhook-deliveries/{failed['id']}/redeliver")
        assert (again.status, again.json["status"]) == (202, "pending")
        (last,) = receiver.wait(1, lambda got: got.attempt == 11)
        assert last.id == failed["id"]
        until(lambda: ok(client.get(f"/webhook-deliveries/{last.id}"))["status"] == "succeeded")


def test_retry_after_is_honoured(engine: Engine, client: Client, receiver: Receiver) -> None:
    webhook(client, receiver.url(), events=["account.opened"])
    later = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    receiver.behave = lambda handler, got: answer(
        *((429,) if got.number == 1 else (503,)), Retry_After="7200" if got.number == 1 else later
    )(handler, got)
    with sending(engine, jitter=lambda: 0.0):
        an_account(client, cash="")
        an_account(client, cash="")
        engine.project()
        receiver.wait(2)
        shown = until(
            lambda: [d for d in deliveries(client) if len(d["attempts"]) == 1][1:] and deliveries(client)
        )
    for one in shown:
        wait = datetime.fromisoformat(one["next_attempt_at"]) - datetime.now(UTC)
        assert timedelta(hours=1.9) < wait <= timedelta(hours=3)


def test_gone_disables_and_changing_brings_back(
    engine: Engine, client: Client, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = webhook(client, receiver.url(), events=["account.opened"])
    receiver.behave = answer(410)
    where = f"/webhooks/{made['id']}"
    with sending(engine, jitter=lambda: 0.0):
        an_account(client, cash="")
        engine.project()
        receiver.wait(1)
        shown = until(lambda: (one := ok(client.get(where)))["status"] == "disabled" and one)
        assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
        assert any("is disabled" in record.getMessage() for record in caplog.records)
        assert all(receiver.url() not in record.getMessage() for record in caplog.records)
        refused = client.post(f"{where}/test")
        assert (refused.status, refused.code) == (409, "webhook_inactive")
        receiver.behave = OK
        ok(client.send("PUT", where, {"url": receiver.url(), "events": ["account.opened"]}))
        got = receiver.wait(2)
        until(lambda: not deliveries(client, status="pending"))
    assert len({one.id for one in got}) == 1


def test_a_test_a_replay_and_a_rotated_secret(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    made = webhook(client, receiver.url(), events=["order.placed"])
    where = f"/webhooks/{made['id']}"
    engine.project()
    with sending(engine):
        told = client.post(f"{where}/test")
        assert (told.status, told.json["status"]) == (202, "pending")
        (tested,) = receiver.wait(1)
        assert (tested.id, tested.event["name"]) == (told.json["id"], "webhook.test")
        order = an_order(engine, client, an_account(client))
        (_, first) = receiver.wait(2)
        rotated = ok(client.post(f"{where}/rotate-secret"))
        engine.project()
        done = client.post(f"{where}/replay", {"from_offset": 1, "to_offset": engine.journal.head})
        assert (done.status, done.json["deliveries"]) == (202, 1)
        (_, _, again) = receiver.wait(3)
    assert (again.body, again.resource) == (first.body, order)
    assert again.id != first.id
    assert again.headers["event-id"] == first.headers["event-id"]
    verify(first, made["secret"])
    verify(again, made["secret"], rotated["secret"])
    assert len(again.headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [(2, 1, "body.from_offset"), (1, 10**9, "body.to_offset"), (0, 1, "body.from_offset")],
)
def test_what_cannot_be_replayed(client: Client, start: int, end: int, path: str) -> None:
    made = webhook(client, "https://h.example.com/")
    reply = client.post(f"/webhooks/{made['id']}/replay", {"from_offset": start, "to_offset": end})
    assert (reply.status, reply.code) == (400, "invalid_param")
    assert [one["path"] for one in reply.json["params"]] == [path]


def test_what_is_deleted_is_not_sent(engine: Engine, client: Client, receiver: Receiver) -> None:
    made = webhook(client, receiver.url(), events=["account.opened"])
    receiver.behave = answer(500)
    with sending(engine, jitter=lambda: 1.0):
        an_account(client, cash="")
        engine.project()
        receiver.wait(1)
        ok(client.send("DELETE", f"/webhooks/{made['id']}"))
        engine.project()
        (shown,) = until(lambda: deliveries(client, status="cancelled"))
        assert client.post(f"/webhook-deliveries/{shown['id']}/redeliver").code == "webhook_inactive"
        other = webhook(client, receiver.url(), events=["account.opened"])
        receiver.behave = OK
        an_account(client, cash="")
        engine.project()
        receiver.wait(2)
    assert receiver.got[1].id != receiver.got[0].id
    assert len(deliveries(client, webhook=other["id"])) == 1


def test_a_long_queue_is_worked_off_in_order(engine: Engine, client: Client, receiver: Receiver) -> None:
    """Half of it of one resource, whose events go one by one."""
    made = webhook(client, receiver.url())
    account = an_account(client)
    where = f"/accounts/{account}"
    for n in range(50):
        ok(client.send("PATCH", where, {"status": "suspended" if n % 2 == 0 else "active"}))
    for _ in range(50):
        an_account(client, cash="")
    engine.project()
    with sending(engine):
        got = receiver.wait(102)
        until(lambda: not deliveries(client, status="pending"))
    assert out_of_order(got) == []
    assert len(got) == 102
    seen, page = 0, client.get(f"/webhook-deliveries?webhook={made['id']}&limit=70")
    while page is not None:
        seen += len(ok(page))
        link = page.headers.get("Link", "").partition(">")[0][1:]
        page = client.get(link) if link else None
    assert seen == 102


def test_receivers_that_hang_or_fail_hold_nobody_up(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    """All that one wants has come while others still hold on to the first of theirs."""
    is_over = threading.Event()
    hanging = [
        Receiver(lambda handler, got: is_over.wait(WAIT_S) and OK(handler, got)) for _ in range(5)
    ]
    failing = Receiver(answer(500))
    try:
        for one in (*hanging, failing, receiver):
            webhook(client, one.url())
        with sending(engine):
            for _ in range(30):
                an_account(client, cash="")
            engine.project()
            receiver.wait(30)
            assert all(len(one.got) <= NARROW for one in hanging)
            assert all(len({got.id for got in one.got}) == len(one.got) for one in hanging)
            is_over.set()
            for one in hanging:
                one.wait(30)
                assert out_of_order(one.got) == []
    finally:
        is_over.set()
        for one in (*hanging, failing):
            one.close()


def test_two_senders_and_the_one_that_was_frozen_notes_nothing(
    engine: Engine, client: Client, receiver: Receiver
) -> None:
    """The second takes the lease while an answer is under way: it sends again, and only it notes."""
    webhook(client, receiver.url(), events=["account.opened"])
    an_account(client, cash="")
    engine.project()
    is_held = threading.Event()
    receiver.behave = lambda handler, got: OK(handler, got) if is_held.wait(WAIT_S) else None
    datastore = engine.journal.datastore
    clocks = {"late": 0.0}
    mine = Leases(datastore.store, datastore.tables, "frozen", lambda: clocks["late"])
    theirs = Leases(datastore.store, datastore.tables, "other", lambda: clocks["late"])
    lease = mine.take(WEBHOOKS)
    assert lease is not None
    old_tools, new_tools = tools_of(engine), tools_of(engine)
    old = Courier(old_tools, Desk(engine.journal).under(lease), lease)
    try:
        until(lambda: receiver.got or (old.turn(lambda: None) and None))
        is_held.set()
        until(lambda: old_tools.post._sender is not None and old_tools.post._sender._done)
        assert theirs.take(WEBHOOKS) is None
        clocks["late"] = 100.0
        newer = theirs.take(WEBHOOKS)
        assert newer is not None
        new = Courier(new_tools, Desk(engine.journal).under(newer), newer)
        with pytest.raises(LeaseLost):
            old.turn(lambda: None)
        until(lambda: new.turn(lambda: None) is not None and deliveries(client, status="succeeded"))
        new.finish()
    finally:
        old_tools.post.close()
        new_tools.post.close()
        theirs.release(newer)
    assert [one.id for one in receiver.got] == [receiver.got[0].id] * 2
    (shown,) = deliveries(client)
    assert len(shown["attempts"]) == 1
