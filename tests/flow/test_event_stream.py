"""Events as they come, over HTTP: from where, which, and why it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api.http import answering, server, streams
from engine.kernel.rate import StreamQuotas
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running
from tests.support.servers.http_server import WAIT_S, Client
from tests.support.servers.served import wait_until


class Said(NamedTuple):
    """One message of a stream."""

    id: int | None
    event: str
    data: Any


class Ear:
    """Asks for a stream over a connection of its own, and hears what comes."""

    def __init__(
        self,
        client: Client,
        port: int,
        query: str = "",
        *,
        last: int | None = None,
        room: int | None = None,
    ) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(WAIT_S)
        if room is not None:  # before it connects, or the window is open already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.connect(("127.0.0.1", port))
        known = "" if last is None else f"Last-Event-ID: {last}\r\n"
        token = client.headers["Authorization"]
        head = (
            f"GET /events/stream?{query} HTTP/1.1\r\nHost: engine\r\nAuthorization: {token}\r\n{known}"
        )
        self._socket.sendall(f"{head}\r\n".encode())
        self._file = HTTPResponse(self._socket)
        self._file.begin()
        self.head = f"{self._file.status} {self._file.reason}\n{self._file.headers}"

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def next(self) -> Said | None:
        """The next message; None at the end."""
        lines: dict[str, str] = {}
        while (line := self._file.readline().decode()) not in {"\n", ""}:
            name, _, value = line.rstrip("\n").partition(": ")
            lines[name] = value
        if not lines:
            return None
        data = json.loads(lines["data"]) if "data" in lines else None
        return Said(int(lines["id"]) if "id" in lines else None, lines.get("event", ""), data)

    def rest(self) -> list[Said]:
        """All that comes until the end."""
        return list(iter(self.next, None))  # type: ignore[arg-type]

    def until(self, name: str) -> list[Any]:
        """Events up to the first of this name."""
        found: list[Any] = []
        while not found or found[-1]["name"] != name:
            said = self.next()
            assert said is not None, found
            found += [said.data] if said.data else []
        return found


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


@pytest.fixture
def account(client: Client) -> str:
    a_market(client)
    return an_account(client)


def place(engine: Engine, client: Client, account: str, **words: Any) -> str:
    order: str = ok(client.post(f"/accounts/{account}/orders", buying("10", **words)), 201)["id"]
    engine.project()
    return order


def test_the_past_is_the_list_the_other_way_round(engine: Engine, client: Client, account: str) -> None:
    order = place(engine, client, account, client_reference="mine")
    engine.execute(order, ["0.09"])
    engine.project()
    listed = ok(client.get("/events?limit=500"))[::-1]
    with Ear(client, engine.server.port, "after=0&follow=false") as ear:
        first, *said, last = ear.rest()
    assert "text/event-stream" in ear.head
    assert "Request-Id: req_" in ear.head
    assert (first.id, first.data) == (0, None)
    assert [one.data for one in said] == listed
    assert [one.id for one in said] == [event["offset"] for event in listed]
    assert last == Said(None, "end", {"code": "caught_up", "detail": streams.ENDS["caught_up"]})
    placed = next(event for event in listed if event["name"] == "order.placed")
    assert placed["data"]["client_reference"] == "mine"
    middle = listed[len(listed) // 2]["offset"]
    for query, known in ((f"after={middle}", None), ("after=1", middle)):  # the header wins
        with Ear(client, engine.server.port, f"{query}&follow=false", last=known) as ear:
            ids = [one.id for one in ear.rest() if one.data and not one.event]
        assert ids == [event["offset"] for event in listed if event["offset"] > middle]


def test_what_comes_is_sent_when_it_comes(engine: Engine, client: Client, account: str) -> None:
    engine.project()
    stranger = engine.client(tenant=f"{engine.tenant}-rival")
    filters = "name=order.filled&name=order.cancelled"
    with (
        Ear(client, engine.server.port) as ear,
        Ear(client, engine.server.port, filters) as chosen,
        Ear(stranger, engine.server.port) as theirs,
    ):
        for one in (ear, chosen, theirs):
            assert one.next() is not None
        order = place(engine, client, account)
        assert [event["name"] for event in ear.until("order.placed")] == ["order.placed"]
        engine.execute(order, ["0.09"])
        engine.project()
        names = [event["name"] for event in ear.until("order.filled")]
        assert names == ["order.executing", "position.opened", "trade.executed", "order.filled"]
        assert [event["name"] for event in chosen.until("order.filled")] == ["order.filled"]
        an_account(stranger, cash="")
        engine.project()
        assert [event["name"] for event in theirs.until("account.opened")] == ["account.opened"]


def test_events_of_one_resource_from_a_time_on(engine: Engine, client: Client, account: str) -> None:
    order = place(engine, client, account)
    place(engine, client, account)
    event = ok(client.get(f"/events?resource[id]={order}"))[0]
    query = f"resource[id]={order}&created[gte]={event['created_at']}&follow=false"
    with Ear(client, engine.server.port, query) as ear:
        assert [one.data for one in ear.rest() if one.id and one.data] == [event]
    with Ear(client, engine.server.port, "created[gte]=2099-01-01T00:00:00Z&follow=false") as ear:
        assert [one.event for one in ear.rest() if one.data] == ["end"]


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("after=999999999", {}, "invalid_param"),
        ("", {"Last_Event_ID": "999999999"}, "invalid_param"),
        ("after=-1", {}, "invalid_param"),
        ("after=x", {}, "invalid_param"),
        ("", {"Last_Event_ID": "x"}, "invalid_request"),
        ("name=order.fulfilled", {}, "invalid_param"),
        ("nme=order.filled", {}, "invalid_param"),
        ("follow=maybe", {}, "invalid_param"),
        ("limit=10", {}, "invalid_param"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    client: Client, query: str, headers: dict[str, str], code: str
) -> None:
    reply = client.get(f"/events/stream?{query}", **headers)
    assert (reply.status, reply.code) == (400, code)
    if code == "invalid_param":
        assert reply.json["params"][0]["path"].startswith("query.")


def test_head_has_no_stream(client: Client) -> None:
    reply = client.send("HEAD", "/events/stream")
    assert (reply.status, reply.body) == (200, b"")
    assert client.get("/accounts").status == 200


def test_a_client_that_is_disabled_hears_no_more(engine: Engine) -> None:
    made = engine.services.clients.create(engine.tenant, ("read",))
    client = engine.connect({"Authorization": f"Bearer {engine.token(made)}"})
    with Ear(client, engine.server.port) as ear:
        assert ear.next() is not None
        engine.services.clients.disable(made.client.id)
        assert [one.data["code"] for one in ear.rest()] == ["invalid_token"]


@pytest.fixture
def own(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine of the test's own, whose sockets take little before they are full."""
    bind = server._bind

    def with_little_room(host: str, port: int) -> socket.socket:
        listening = bind(host, port)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return listening

    monkeypatch.setattr(server, "_bind", with_little_room)
    with running(sqlite_url, tmp_path) as engine:
        yield engine


def test_a_stream_whose_client_has_gone_ends(own: Engine) -> None:
    with Ear(own.client(), own.server.port) as ear:
        assert ear.next() is not None
        assert own.services.streams.count == 1
    wait_until("it is noticed", lambda: not own.services.streams.count, WAIT_S)


def test_one_client_cannot_take_the_streams_of_the_others(own: Engine) -> None:
    own.services.streams.room.quotas = StreamQuotas(client=2, tenant=3)
    client, colleague = own.client("read"), own.client("read")
    stranger = own.client(tenant="rival")
    with ExitStack() as stack:

        def opened(one: Client) -> str:
            ear = stack.enter_context(Ear(one, own.server.port))
            if "200 OK" in ear.head:
                assert ear.next() is not None
            return ear.head

        assert "200 OK" in opened(client)
        assert "200 OK" in opened(client)
        refused = client.get("/events/stream")
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 1
        assert refused.json["detail"].startswith("This client has 2 streams of events open")
        assert "200 OK" in opened(colleague)
        assert "429" in opened(colleague), "their tenant has three"
        assert "200 OK" in opened(stranger)
        assert ok(client.get("/accounts")) == [], "all else goes on"
    wait_until("they are counted no more", lambda: not own.services.streams.room.count, WAIT_S)
    with Ear(client, own.server.port) as ear:
        assert "200 OK" in ear.head


def test_a_stop_says_goodbye(own: Engine) -> None:
    client = own.client()
    with Ear(client, own.server.port) as ear:
        assert ear.next() is not None
        own.server.ask_to_stop()
        assert [one.data["code"] for one in ear.rest()] == ["server_stopping"]


def test_who_takes_nothing_is_disconnected_and_comes_back(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "EVENT_STREAM_STALL_S", 0.2)
    client = own.client()
    a_market(client)
    account = an_account(client, cash="100000.00")
    for _ in range(400):
        ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)
    own.project()
    with Ear(client, own.server.port, "after=0", room=2_048) as ear:
        wait_until("it is given up", lambda: not own.services.streams.count, WAIT_S)
        said = ear.rest()
    assert said[-1].data["code"] == "too_slow"
    last = max(one.id for one in said if one.id)
    with Ear(client, own.server.port, "follow=false", last=last) as ear:
        rest = [one.id for one in ear.rest() if one.data and one.id]
    ids = [one.id for one in said if one.data and one.id] + rest
    assert ids == [event["offset"] for event in all_events(client)]


def all_events(client: Client) -> list[Any]:
    found: list[Any] = []
    path = "/events?limit=500"
    while path:
        reply = client.get(path)
        found += ok(reply)
        link = reply.headers.get("Link") or ""
        path = link.partition(">")[0].removeprefix("<")
    return found[::-1]
