"""Webhooks over HTTP: made, listed, changed, given new secrets, deleted."""

from __future__ import annotations

import base64

import pytest

from engine.kernel.errors import WrongKey
from engine.kernel.limits import WEBHOOKS_MAX
from tests.support.servers.http_engine import Engine, ok
from tests.support.servers.http_server import Client

URL = "https://hooks.example.com/orders?token=s3cret"


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client("operate")


def test_its_life(client: Client) -> None:
    words = {"url": URL, "description": "Back office", "events": ["order.placed", "order.filled"]}
    made = ok(client.post("/webhooks", words), 201)
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert list(made) == ["id", "url", "description", "events", "is_active", "status",
                          "disabled_reason", "former_secret_until", "backlog_after",
                          "created_at", "modified_at"]  # fmt: skip
    assert (made["url"], made["status"], made["events"]) == (URL, "active", sorted(words["events"]))
    where = f"/webhooks/{made['id']}"
    assert ok(client.get(where)) == made
    assert ok(client.get("/webhooks")) == [made]

    paused = ok(client.send("PUT", where, {"url": URL, "is_active": False}))
    assert (paused["is_active"], paused["status"], paused["events"]) == (False, "inactive", None)
    assert paused["description"] is None
    assert paused["modified_at"] > made["modified_at"]
    assert ok(client.get(where)) == paused

    rotated = ok(client.post(f"{where}/rotate-secret"))
    assert rotated["secret"] != secret
    assert rotated["former_secret_until"] > rotated["modified_at"]

    gone = client.send("DELETE", where)
    assert (gone.status, gone.json["status"]) == (200, "inactive")
    assert client.get(where).status == 404
    assert client.send("DELETE", where).status == 404
    assert ok(client.get("/webhooks")) == []
    ok(client.post("/webhooks", {"url": URL}), 201)  # the URL is free again


def test_nothing_secret_is_in_the_journal(client: Client, engine: Engine) -> None:
    made = ok(client.post("/webhooks", {"url": URL, "description": "for Ada"}), 201)
    ok(client.post(f"/webhooks/{made['id']}/rotate-secret"))
    facts = engine.journal.stream(made["id"])
    assert [type(one.fact).__name__ for one in facts] == ["WebhookCreated", "WebhookSecretRotated"]
    assert "https://hooks.example.com" in repr(facts)
    for word in ("s3cret", "Ada", "whsec", "/orders"):
        assert word not in repr(facts)


def test_one_url_once_a_tenant(client: Client, engine: Engine) -> None:
    first = ok(client.post("/webhooks", {"url": URL}), 201)
    again = client.post("/webhooks", {"url": URL.replace("hooks", "HOOKS", 1)})
    assert (again.status, again.code) == (409, "duplicate_webhook")
    assert again.json["context"] == {"webhook": first["id"]}
    other = ok(client.post("/webhooks", {"url": f"{URL}2"}), 201)
    taken = client.send("PUT", f"/webhooks/{other['id']}", {"url": URL})
    assert (taken.status, taken.code) == (409, "duplicate_webhook")
    assert ok(client.get(f"/webhooks/{other['id']}")) == {
        k: v for k, v in other.items() if k != "secret"
    }
    ok(engine.client("operate", tenant=f"{engine.tenant}-2").post("/webhooks", {"url": URL}), 201)


def test_there_are_so_many_and_no_more(client: Client) -> None:
    ids = [ok(client.post("/webhooks", {"url": f"{URL}{n}"}), 201)["id"] for n in range(WEBHOOKS_MAX)]
    more = client.post("/webhooks", {"url": URL})
    assert (more.status, more.code) == (409, "too_many_webhooks")
    seen, where = [], "/webhooks?limit=20"
    while where:
        page = client.get(where)
        seen += [one["id"] for one in ok(page)]
        where = page.headers.get("Link", "").partition(">")[0][1:]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"url": "http://hooks.example.com/"}, "body.url", "not_https"),
        ({"url": "https://0x7f.1/"}, "body.url", "not_public"),
        ({"url": "https://127.0.0.1/"}, "body.url", "not_public"),
        ({"url": "https://user@hooks.example.com/"}, "body.url", "invalid_value"),
        ({"url": "https://h.example.com/" + "x" * 2048}, "body.url", "too_long"),
        ({"url": URL, "events": ["order.carrot"]}, "body.events.0", "invalid_value"),
        ({"url": URL, "events": []}, "body.events", "invalid_value"),
        ({"url": URL, "secret": "mine"}, "body.secret", "unknown_param"),
    ],
)
def test_what_is_refused(client: Client, body: dict[str, object], path: str, code: str) -> None:
    reply = client.post("/webhooks", body)
    assert (reply.status, reply.code) == (400, "invalid_param")
    assert [(one["path"], one["code"]) for one in reply.json["params"]] == [(path, code)]


def test_a_url_taken_by_a_process_that_died_is_free_again(client: Client, engine: Engine) -> None:
    endpoints = engine.services.endpoints
    endpoints.claim(engine.tenant, "whk_never", URL, None)
    assert client.post("/webhooks", {"url": URL}).code == "duplicate_webhook"
    assert ok(client.get("/webhooks")) == []
    with engine.journal.datastore.store.writing() as connection:
        table = endpoints._table
        connection.execute(table.update().where(table.c.id == "whk_never").values(claimed_us=0))
    made = ok(client.post("/webhooks", {"url": URL}), 201)
    assert [one["id"] for one in ok(client.get("/webhooks"))] == [made["id"]]


def test_secrets_end_and_only_three_sign(client: Client, engine: Engine) -> None:
    made = ok(client.post("/webhooks", {"url": URL}), 201)
    secrets = [made["secret"]]
    secrets += [ok(client.post(f"/webhooks/{made['id']}/rotate-secret"))["secret"] for _ in range(3)]
    known = {one.webhook: one for one in engine.services.endpoints.all()}[made["id"]]
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    now_us = engine.services.now_us()
    assert known.keys_at(now_us) == keys[:0:-1]
    assert known.keys_at(now_us + 48 * 3600 * 1_000_000) == keys[:2:-1]
    assert "whsec" not in repr(known)
    assert not any(repr(key) in repr(known) for key in keys)


def test_a_secret_does_not_open_for_another_webhook(client: Client, engine: Engine) -> None:
    first, second = (ok(client.post("/webhooks", {"url": f"{URL}{n}"}), 201)["id"] for n in (1, 2))
    table, store = engine.services.endpoints._secrets, engine.journal.datastore.store
    with store.writing() as connection:
        sealed = connection.execute(table.select().where(table.c.webhook == first)).one().sealed
        mine = table.c.webhook == second
        right = connection.execute(table.select().where(mine)).one().sealed
        connection.execute(table.update().where(mine).values(sealed=sealed))
    try:
        with pytest.raises(WrongKey, match="does not open"):
            engine.services.endpoints.all()
    finally:
        with store.writing() as connection:
            connection.execute(table.update().where(mine).values(sealed=right))


def test_local_urls_where_the_operator_allows_them(client: Client, engine: Engine) -> None:
    url = "http://127.0.0.1:9/"
    assert client.post("/webhooks", {"url": url}).status == 400
    services = engine.services
    services.allows_local = True
    try:
        assert ok(client.post("/webhooks", {"url": url}), 201)["url"] == url
    finally:
        services.allows_local = False
