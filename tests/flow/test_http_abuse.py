"""What a client must not send: each is refused with the envelope, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from api.http import app, fields
from api.http.app import App
from api.http.call import Answer, Call, Route
from api.http.kinds import Field, Rows
from api.http.rates import Rates
from api.http.timing import Timing
from api.http.tokens import Principal
from api.http.traffic import Traffic
from engine.kernel.errors import (
    JournalDamaged,
    LeaseLost,
    OutcomeUnknown,
    Unavailable,
    UnknownFact,
    Unrecordable,
    VersionConflict,
    ViewBehind,
    ViewQuarantined,
)
from engine.kernel.rate import Quotas
from tests.support.servers.http_server import Client, Serving, connect, is_closed, read_reply, serving


async def echo(call: Call) -> Answer:
    return Answer(200, msgspec.json.encode({"body": str(call.body), "query": str(call.query)}))


async def broken(call: Call) -> Answer:
    raise RuntimeError("canary-4711 must not be shown")


ROUTES = (
    Route("POST", "/orders/{id}", echo, None, "A body.", fields.ORDER),
    Route("POST", "/keyed/{id}", echo, "trade", "A command.", fields.ORDER),
    Route("POST", "/prices", echo, None, "Rows.", fields.PRICES),
    Route("GET", "/orders/{id}", echo, None, "A query.", query=fields.ORDERS_QUERY),
    Route("GET", "/broken", broken, None, "A bug."),
)
ORDER = b'{"instrument":"ins_1","order_type":"market","side":"buy","cash_amount":"1"}'

NO_LIMITS = Quotas(*[None] * len(Quotas._fields))


async def at_once(work: Callable[..., Any], *words: Any) -> Any:
    return work(*words)


NO_ENGINE: Any = SimpleNamespace(
    command_key=b"secret",
    rates=Rates(NO_LIMITS),
    traffic=Traffic(),
    log_every=0,
    streams=SimpleNamespace(stop=lambda: None),
    tokens=SimpleNamespace(verify=lambda _: Principal("cli_1", "acme", frozenset({"trade"}))),
    bridge=SimpleNamespace(
        journal=SimpleNamespace(
            check_sound=lambda: None,
            datastore=SimpleNamespace(
                damage=SimpleNamespace(mark=None, check_absence=lambda: None, check_reads=lambda: None)
            ),
        ),
        read=at_once,
    ),
)
"""These routes need none."""


def an_app() -> App:
    return App(NO_ENGINE, ROUTES)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(an_app()) as running:
        yield running


@pytest.fixture(scope="module")
def hasty_server() -> Iterator[Serving]:
    with serving(an_app(), Timing(message_s=0.5, linger_s=0.1, drain_idle_s=0.05)) as running:
        yield running


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    plain = Client(server.port)
    yield plain
    plain.close()


def with_amount(amount: bytes) -> bytes:
    return b'{"instrument":"ins_1","order_type":"market","side":"buy","cash_amount":' + amount + b"}"


KEYED = (
    b"POST /keyed/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
)


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "missing_param"),
    "blanks": (b"  \n", "missing_param"),
    "no JSON": (b"{", "invalid_request"),
    "two values": (ORDER + ORDER, "invalid_request"),
    "a comment": (b"/* */" + ORDER, "invalid_request"),
    "a trailing comma": (b'{"side":"buy",}', "invalid_request"),
    "single quotes": (b"{'side':'buy'}", "invalid_request"),
    "an array": (b"[]", "invalid_request"),
    "a string": (b'"side"', "invalid_request"),
    "null": (b"null", "invalid_request"),
    "a number": (b"1", "invalid_request"),
    "bad UTF-8": (b'{"client_reference":"\xff\xfe"}', "invalid_request"),
    "overlong UTF-8": (b'{"client_reference":"\xc0\x80"}', "invalid_request"),
    "UTF-8 surrogate": (b'{"client_reference":"\xed\xa0\x80"}', "invalid_request"),
    "BOM": (b"\xef\xbb\xbf" + ORDER, "invalid_request"),
    "UTF-16": (ORDER.decode().encode("utf-16"), "invalid_request"),
    "UTF-32": (ORDER.decode().encode("utf-32"), "invalid_request"),
    "lone surrogate": (b'{"client_reference":"\\ud800"}', "invalid_request"),
    "lone low surrogate": (b'{"client_reference":"a\\udc00b"}', "invalid_request"),
    "lone surrogate in a key": (b'{"\\ud800":1}', "invalid_request"),
    "lone surrogate deep inside": (b'{"a":[{"b":"\\udfff"}]}', "invalid_request"),
    "escaped NUL": (b'{"client_reference":"a\\u0000"}', "invalid_request"),
    "NUL": (b'{"client_reference":"a\x00"}', "invalid_request"),
    "line break in a string": (b'{"client_reference":"a\nb"}', "invalid_request"),
    "duplicate key": (b'{"side":"buy","side":"sell"}', "invalid_request"),
    "duplicate key, escaped": (b'{"side":"buy","\\u0073ide":"sell"}', "invalid_request"),
    "duplicate key deep inside": (b'{"a":{"b":1,"b":2}}', "invalid_request"),
    "100 000 arrays, cut": (b"[" * 60_000, "invalid_request"),
    "30 000 arrays": (b"[" * 30_000 + b"]" * 30_000, "invalid_request"),
    "10 000 objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "invalid_request"),
    "30 000 escaped quotes": (b'[[[[[[[["' + b'\\"' * 30_000, "invalid_request"),
    "NaN": (with_amount(b"NaN"), "invalid_request"),
    "Infinity": (with_amount(b"Infinity"), "invalid_request"),
    "-Infinity": (with_amount(b"-Infinity"), "invalid_request"),
    "hexadecimal": (with_amount(b"0x10"), "invalid_request"),
    "leading zeros": (with_amount(b"00012.5"), "invalid_request"),
    "bare point": (with_amount(b".5"), "invalid_request"),
    "point at the end": (with_amount(b"1."), "invalid_request"),
    "plus": (with_amount(b"+1"), "invalid_request"),
    "50 000 digits": (with_amount(b"1" * 50_000), "invalid_param"),
    "huge exponent": (with_amount(b"1e3000000"), "invalid_param"),
    "unknown field": (ORDER[:-1] + b',"x":1}', "invalid_param"),
    "wrong types": (b'{"instrument":1,"order_type":[],"side":{},"cash_amount":true}', "invalid_param"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bad_body(client: Client, name: str) -> None:
    body, code = BODIES[name]
    reply = client.post("/orders/ord_1", body)
    assert (reply.status, reply.code) == (400, code)
    check_envelope(reply.json, reply.headers["Request-Id"])
    assert client.post("/orders/ord_1", ORDER).status == 200  # the connection is sane


def check_envelope(envelope: dict[str, object], request_id: str) -> None:
    known = ["code", "detail", "docs", "params", "context", "request_id"]
    assert list(envelope) == [key for key in known if key in envelope]
    assert envelope["request_id"] == request_id
    assert request_id.startswith("req_")


BAD_DECIMALS = [
    '"NaN"', '"sNaN"', '"Infinity"', '"-1"', '"-0"', '"+1"', '".5"', '"1."', '"00012.5"', '"1e3"',
    '"1E+2"', '"1_000"', '" 1"', '"1\\n"', '"1,000"', '"0x10"', '""', '"\u0661\u0662"',
    '"\uff11\uff12"', '"1.123456789"', '"1000000000000000"', '"1e400"', '"1 "', "-1", "-0", "1e3",
    "1E+2", "1e400", "1.123456789", "1000000000000000", "-0.0", "true", "[]", "{}",
]  # fmt: skip


@pytest.mark.parametrize("amount", BAD_DECIMALS)
def test_bad_decimal(client: Client, amount: str) -> None:
    reply = client.post("/orders/ord_1", with_amount(amount.encode()))
    assert (reply.status, reply.code) == (400, "invalid_param")
    assert [param["path"] for param in reply.json["params"]] == ["body.cash_amount"]


@pytest.mark.parametrize("amount", ["0", "100", "100.00", "0.00000001", "999999999999999.99999999"])
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_good_decimal(client: Client, amount: str, form: str) -> None:
    reply = client.post("/orders/ord_1", with_amount(form.format(amount).encode()))
    assert reply.status == 200


def test_every_fault_is_listed(client: Client) -> None:
    body = {"order_type": "stop", "side": "by", "cash_amount": "1e3", "colour": 1, "quantity": None}
    reply = client.post("/orders/ord_1?limit=5&x=1", body)
    assert [param["path"] for param in reply.json["params"]] == ["query.limit", "query.x"]
    reply = client.post("/orders/ord_1", body)
    assert {param["path"]: param["code"] for param in reply.json["params"]} == {
        "body.instrument": "missing_param",
        "body.order_type": "invalid_value",
        "body.side": "invalid_value",
        "body.cash_amount": "invalid_decimal",
        "body.colour": "unknown_param",
    }


def test_the_list_of_faults_is_bounded(client: Client) -> None:
    reply = client.post("/orders/ord_1", {f"field{n}": n for n in range(2_000)})
    assert reply.status == 400
    assert len(reply.json["params"]) == 100


def test_rows_name_their_place(client: Client) -> None:
    good = {"symbol": "A", "bid": "1", "ask": "1"}
    reply = client.post("/prices", [good, {"symbol": "B", "bid": 1}, 7, good | {"timestamp": "now"}])
    paths = [param["path"] for param in reply.json["params"]]
    assert paths == ["body.1.ask", "body.2", "body.3.timestamp"]
    assert client.post("/prices", []).status == 400
    assert client.post("/prices", [good] * 501).status == 400
    assert isinstance(fields.PRICES, Rows)
    assert isinstance(fields.ORDER[0], Field)


QUERIES = {
    "limit=0": "query.limit",
    "limit=501": "query.limit",
    "limit=-1": "query.limit",
    "limit=1e2": "query.limit",
    "limit=%D9%A1": "query.limit",
    "limit=": "query.limit",
    "limit=1&limit=2": "query.limit",
    "status=placed&status=lost": "query.status.1",
    "created_from=yesterday": "query.created_from",
    "created_from=2026-02-30T00:00:00Z": "query.created_from",
    "created_from=0001-01-01T00:00:00%2B23:59": "query.created_from",
    "side=": "query.side",
    "colour=red": "query.colour",
}


@pytest.mark.parametrize("query", QUERIES)
def test_bad_query(client: Client, query: str) -> None:
    reply = client.get(f"/orders/ord_1?{query}")
    assert (reply.status, reply.code) == (400, "invalid_param")
    assert [param["path"] for param in reply.json["params"]] == [QUERIES[query]]


@pytest.mark.parametrize("query", ["side=%00", "side=%ff", "&".join(["side=buy"] * 200)])
def test_unreadable_query(client: Client, query: str) -> None:
    reply = client.get(f"/orders/ord_1?{query}")
    assert (reply.status, reply.code) == (400, "invalid_request")


def test_good_query(client: Client) -> None:
    reply = client.get(
        "/orders/ord_1?status=placed&status=pending&limit=7&created_from=2026-03-12T14:30:00Z"
    )
    assert reply.json["query"].startswith("{'status': ('placed', 'pending'), 'side': None")


HEADERS = {
    "other type": ({"Content-Type": "text/plain"}, 415),
    "no type": ({"Content-Type": ""}, 415),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "gzip": ({"Content-Encoding": "gzip"}, 415),
    "identity": ({"Content-Encoding": "identity"}, 415),
    "bogus charset": ({"Content-Type": "application/json; charset=bogus"}, 400),
    "UTF-16": ({"Content-Type": "application/json; charset=utf-16"}, 400),
    "long Client-Request-Id": ({"Client-Request-Id": "x" * 256}, 400),
    "odd Api-Version": ({"Api-Version": "latest"}, 400),
    "other Api-Version": ({"Api-Version": "2025-01-01"}, 400),
    "utf-8": ({"Content-Type": "application/json; charset=UTF-8"}, 200),
    "this Api-Version": ({"Api-Version": "2026-01-01", "Client-Request-Id": "x" * 255}, 200),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(client: Client, name: str) -> None:
    headers, status = HEADERS[name]
    reply = client.send("POST", "/orders/ord_1", ORDER, headers)
    assert reply.status == status
    if status != 200:
        check_envelope(reply.json, reply.headers["Request-Id"])
        assert client.post("/orders/ord_1", ORDER).status == 200


@pytest.mark.parametrize("keys", [["x" * 256], ["a b"], ["\xe9"], [""], ["a", "b"]])
def test_bad_keys(server: Serving, monkeypatch: pytest.MonkeyPatch, keys: list[str]) -> None:
    async def note_nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(app, "note_refusal", note_nothing)
    lines = "".join(f"Idempotency-Key: {key}\r\n" for key in keys)
    head = KEYED + lines.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(ORDER)
    with connect(server.port) as stream:
        stream.sendall(head + ORDER)
        reply = read_reply(stream)
        assert reply is not None
        assert reply.status == 400
        check_envelope(reply.json, reply.headers["Request-Id"])


PATHS = {
    "/": 404, "/nothing": 404, "/orders": 404, "/orders/": 404, "/orders/a/b": 404, "//orders/a": 404,
    "/orders/%00": 404, "/orders/%ff": 404, "/orders/..": 200, "/orders/%2e%2e": 200, "/../orders": 404,
    "/orders/%ed%a0%80": 404, "/orders/" + "x" * 8_000: 404, "/orders/a%0ab": 404, "/%6frders/a": 404,
    "/orders/%": 200, "/orders/a?": 200, "/orders/a#b": 200, "/orders/a;b": 200,
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths(client: Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status == PATHS[path]
    if reply.status != 200:
        assert reply.code == "not_found"


def test_unknown_methods_are_told_what_there_is(client: Client) -> None:
    reply = client.send("DELETE", "/orders/ord_1")
    assert (reply.status, reply.code, reply.headers["Allow"]) == (
        405,
        "method_not_allowed",
        "GET, HEAD, POST",
    )
    head = client.send("HEAD", "/orders/ord_1")
    assert (head.status, head.body) == (200, b"")


def test_a_bug_says_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    reply = client.get("/broken")
    assert (reply.status, reply.code) == (500, "server_error")
    assert b"canary" not in reply.body
    assert [record.name for record in caplog.records] == ["order_engine.api"]
    assert [vars(record)["request_id"] for record in caplog.records] == [reply.json["request_id"]]


async def headed(call: Call) -> Answer:
    kinds = {
        "other": Answer(200, b"<p>", {"Content-Type": "text/html"}),
        "same": Answer(304, b"", {"ETag": '"1"'}),
        "evil": Answer(200, b"{}", {"Link": "a\r\nSet-Cookie: b"}),
    }
    return kinds[call.path["kind"]]


def test_headers_of_answers(caplog: pytest.LogCaptureFixture) -> None:
    with serving(App(NO_ENGINE, (Route("GET", "/headed/{kind}", headed, None, "Headers."),))) as server:
        client = Client(server.port)
        other = client.get("/headed/other")
        assert other.headers["Content-Type"] == "text/html"
        assert (other.headers["Server"], other.headers["Cache-Control"]) == ("order-engine", "no-store")
        head = client.send("HEAD", "/headed/other")
        assert (head.headers["Content-Length"], head.body) == ("3", b"")
        same = client.get("/headed/same")
        assert (same.status, same.headers["Content-Length"]) == (304, None)
        assert caplog.records == []
        evil = client.get("/headed/evil")
        assert (evil.status, evil.code, evil.headers["Set-Cookie"]) == (500, "server_error", None)
        assert [record.name for record in caplog.records] == ["order_engine.api"]
        client.close()


GET_ORDER = b"GET /orders/a HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /orders/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

FAULTS: dict[type[Exception], tuple[int, str, str | None]] = {
    Unavailable: (503, "unavailable", "1"),
    OutcomeUnknown: (503, "unavailable", "1"),
    VersionConflict: (503, "unavailable", "1"),
    JournalDamaged: (503, "journal_damaged", "60"),
    UnknownFact: (503, "journal_damaged", "60"),
    ViewBehind: (503, "view_behind", "1"),
    ViewQuarantined: (503, "view_quarantined", "60"),
    Unrecordable: (500, "server_error", None),
    LeaseLost: (500, "server_error", None),
    KeyError: (500, "server_error", None),
    TimeoutError: (500, "server_error", None),
    RecursionError: (500, "server_error", None),
}


def test_what_the_machinery_says(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Call) -> Answer:
        raise next(kind for kind in FAULTS if kind.__name__ == call.path["kind"])("canary-4711")

    routes = (Route("GET", "/fail/{kind}", fail, None, "Fails."),)
    with serving(App(NO_ENGINE, routes)) as server:
        client = Client(server.port)
        for kind, (status, code, retry_after) in FAULTS.items():
            reply = client.get(f"/fail/{kind.__name__}")
            assert (reply.status, reply.code) == (status, code), kind
            assert reply.headers.get("Retry-After") == retry_after
            assert b"canary" not in reply.body
        client.close()
    assert len(caplog.records) == len(FAULTS)


NO_HTTP = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\n\r\n",
    "long request line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "1000 headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
    "bad header": b"GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "non-ASCII path": b"GET /orders/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw bytes in the path": b"GET /orders/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw bytes in the query": b"GET /orders/a?side=\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "other method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "length and chunks": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET /orders/a HTTP/1.1\r\n\r\n",
}
"""What aiohttp's parser refuses, in its own plain words."""

RAW = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 408),  # the preface is a head without an end
    "bad chunk": (CHUNKED + b"zz\r\n", 408),  # the parser says nothing, and the body never ends
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "another host's URL": (b"GET http://evil/orders/a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    "HTTP/0.9": (b"GET /orders/a\r\n\r\n", 400),
    "declared too long": (HEAD + b"Content-Length: 65537\r\n\r\n", 413),
    "chunked too long": (CHUNKED + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 5, 413),
    "a GET with a body": (b"GET /orders/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 400),
    "odd expectation": (HEAD + b"Expect: tea\r\nContent-Length: 75\r\n\r\n", 417),
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_no_http(server: Serving, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with connect(server.port) as stream:
        stream.sendall(NO_HTTP[name])
        reply = read_reply(stream)
        assert reply is not None
        assert reply.status == 400
        assert is_closed(stream)
    assert caplog.records == [], "a log line would quote what was sent"


@pytest.mark.parametrize("name", RAW)
def test_raw(hasty_server: Serving, name: str) -> None:
    message, status = RAW[name]
    with connect(hasty_server.port) as stream:
        stream.sendall(message)
        reply = read_reply(stream)
        assert reply is not None
        assert reply.status == status
        if status != 200:
            check_envelope(reply.json, reply.headers["Request-Id"])
        if reply.headers.get("Connection") == "close":
            stream.shutdown(socket.SHUT_WR)
            assert is_closed(stream)


def test_mangled_messages_never_break_it() -> None:
    dice = Random(4711)
    whole = HEAD + b"Idempotency-Key: k\r\nContent-Length: 75\r\n\r\n" + ORDER
    statuses = Counter[int]()
    with serving(an_app(), Timing(message_s=0.05, linger_s=0, drain_idle_s=0.05)) as server:
        for _ in range(100):
            mangled = bytearray(whole)
            for _ in range(dice.randint(1, 4)):
                place = dice.randrange(len(mangled))
                piece = bytes(dice.choices(range(256), k=dice.randint(0, 3)))
                mangled[place : place + dice.randint(0, 3)] = piece
            with connect(server.port) as stream:
                stream.sendall(mangled)
                reply = read_reply(stream)
            assert reply is not None
            statuses[reply.status // 100] += 1
    assert set(statuses) <= {2, 4}, statuses
    assert statuses[2]
    assert statuses[4] > 50


def test_a_body_of_exactly_the_bound_is_read(client: Client) -> None:
    body = ORDER + b" " * (65_536 - len(ORDER))
    assert client.post("/orders/ord_1", body).status == 200
    reply = client.post("/orders/ord_1", body + b" ")
    assert (reply.status, reply.code) == (413, "body_too_large")


def test_expectation_is_met(server: Serving) -> None:
    with connect(server.port) as stream:
        stream.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ORDER))
        assert stream.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(ORDER)
        reply = read_reply(stream)
        assert reply is not None
        assert reply.status == 200


@pytest.mark.parametrize("cut", [0, 20, 160])
def test_who_has_said_all_is_still_answered(hasty_server: Serving, cut: int) -> None:
    whole = HEAD + b"Content-Length: 75\r\n\r\n" + ORDER
    with connect(hasty_server.port) as stream:
        stream.sendall(whole[:-cut] if cut else whole)
        stream.shutdown(socket.SHUT_WR)
        reply = read_reply(stream)
        assert reply is not None
        assert reply.status == (408 if cut else 200)
        assert is_closed(stream)


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    one = b"GET /orders/a?limit=%d HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(server.port) as stream:
        stream.sendall(b"".join(one % n for n in range(1, 6)))
        stream.sendall(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := stream.recv(65_536):
            received += piece
    limits = [received.index(b"'limit': %d" % n) for n in range(1, 6)]
    assert limits == sorted(limits)
    assert received.count(b"HTTP/1.1 200") == 5
    assert received.count(b"HTTP/1.1 404") == 1


# --- slow clients ---------------------------------------------------------------------------------

DRIPPED = {
    "request line": b"GET /ord",
    "headers": b"GET /orders/a HTTP/1.1\r\nHost: a\r\nX-Long: ",
    "body": HEAD + b"Content-Length: 999\r\n\r\n{",
    "chunked body": CHUNKED + b"fff\r\n",
}


@pytest.mark.parametrize("name", DRIPPED)
def test_a_dripped_message_ends(hasty_server: Serving, name: str) -> None:
    with connect(hasty_server.port) as stream:
        stream.sendall(DRIPPED[name])
        stream.settimeout(0.05)
        received = b""
        for _ in range(100):  # drips for 5 s unless it is ended
            try:
                stream.sendall(b" ")
                received = stream.recv(65_536)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("still dripping")
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["code"] == "request_timeout"


def test_an_idle_connection_stays(hasty_server: Serving) -> None:
    idle = Client(hasty_server.port)
    assert idle.get("/orders/a").status == 200
    with connect(hasty_server.port) as dripping:  # its end shows that more than the deadline has passed
        dripping.sendall(b"GET")
        assert read_reply(dripping) is not None
    assert idle.get("/orders/a").status == 200
    idle.close()


def test_a_client_that_takes_no_answer_is_left() -> None:
    size = 32_000_000

    async def much(call: Call) -> Answer:
        return Answer(200, b"1" * size)

    routes = (Route("GET", "/much", much, None, "More than any buffer holds."),)
    timing = Timing(message_s=0.3, drain_idle_s=0.05)
    with serving(App(NO_ENGINE, routes), timing) as server, socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stream.settimeout(20)
        stream.connect(("127.0.0.1", server.port))
        stream.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        received = stream.recv(10)
        waited_for = connect(server.port)  # its end shows that the time is over
        waited_for.sendall(b"GET")
        assert read_reply(waited_for) is not None
        waited_for.close()
        with suppress(ConnectionResetError):
            while piece := stream.recv(1_000_000):
                received += piece
        assert len(received) < size


# --- stopping -------------------------------------------------------------------------------------


def test_stopping_answers_what_was_sent() -> None:
    entered, release = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def wait(call: Call) -> Answer:
        loops.append(asyncio.get_running_loop())
        entered.set()
        await release.wait()
        return Answer(200, b"{}")

    routes = (*ROUTES, Route("GET", "/wait", wait, None, "Waits."))
    timing = Timing(drain_idle_s=2)  # longer than what happens here
    with serving(App(NO_ENGINE, routes), timing) as server, connect(server.port) as waiting:
        kept = Client(server.port)
        assert kept.get("/orders/a").status == 200
        half = connect(server.port)
        half.sendall(b"GET /orders/a HTTP/1.1\r\nHost")
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(20)
        server.ask_to_stop()
        server.wait_until_deaf()
        late = kept.get("/orders/a")
        assert late.status == 200
        half.sendall(b": a\r\n\r\n")
        reply = read_reply(half)
        assert reply is not None
        assert (reply.status, reply.headers["Connection"]) == (200, "close")
        loops[0].call_soon_threadsafe(release.set)
        reply = read_reply(waiting)
        assert reply is not None
        assert (reply.status, reply.headers["Connection"]) == (200, "close")
        assert is_closed(waiting)
        half.close()
        kept.close()
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(server.port)


def test_stopping_under_load_drops_nothing() -> None:
    server = Serving(nullcontext(an_app()), Timing(drain_idle_s=0.05))
    answered: list[int] = []
    dropped: list[Exception] = []

    def load() -> None:
        one = Client(server.port)
        while True:
            try:
                reply = one.get("/orders/a")
            except ConnectionRefusedError:
                break  # nothing was sent
            except Exception as error:
                dropped.append(error)
                break
            answered.append(reply.status)
            if len(answered) == 200:
                server.ask_to_stop()
            if reply.headers.get("Connection") == "close":
                one.close()
        one.close()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    server.stop()
    assert dropped == []
    assert len(answered) >= 200
    assert set(answered) == {200}


def test_stopping_does_not_wait_for_ever() -> None:
    never = asyncio.Event()
    entered = threading.Event()

    async def wait(call: Call) -> Answer:
        entered.set()
        await never.wait()
        return Answer(200, b"{}")

    timing = Timing(drain_idle_s=0.05, stop_s=0.2)
    routes = (Route("GET", "/wait", wait, None, "Waits."),)
    with serving(App(NO_ENGINE, routes), timing) as server, connect(server.port) as waiting:
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(20)
        server.stop()
        assert is_closed(waiting)
