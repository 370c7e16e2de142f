"""Heads and bodies that never end, and connections that do nothing: who has them pays, others do not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from types import SimpleNamespace

import pytest

from api.http.app import App
from api.http.connection import Connection
from api.http.guests import Guests
from api.http.rates import Rates
from api.http.server import check_parser
from api.http.timing import Timing
from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings
from engine.kernel.limits import HTTP_HEAD_BYTES_MAX
from tests.flow.test_http_abuse import GET_ORDER, NO_ENGINE, NO_LIMITS, ORDER, ROUTES
from tests.support.servers.http_server import (
    WAIT_S,
    Client,
    Serving,
    connect,
    is_closed,
    read_reply,
    serving,
)
from tests.support.servers.served import wait_until

START = b"GET /orders/a HTTP/1.1\r\nHost: a\r\n"
BIG = b"".join(b"X%d: %b\r\n" % (n, b"y" * 7_900) for n in range(60))
TINY = b"".join(b"X%d: y\r\n" % n for n in range(60))
POST = b"POST /orders/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@contextmanager
def guarded(guests: Guests, timing: Timing | None = None) -> Iterator[Serving]:
    """A server that counts connections by `guests`."""
    engine = SimpleNamespace(**{**vars(NO_ENGINE), "rates": Rates(NO_LIMITS)})
    engine.rates.guests = guests
    timing = timing or Timing(linger_s=0.2, drain_idle_s=0.05)
    with serving(App(engine, ROUTES), timing) as server:
        guests.most = 40
        yield server


def opened(stack: ExitStack, server: Serving, address: str = "127.0.0.1") -> socket.socket:
    made = socket.create_connection(
        ("127.0.0.1", server.port), timeout=WAIT_S, source_address=(address, 0)
    )
    return stack.enter_context(made)


def status_of(stream: socket.socket) -> int:
    reply = read_reply(stream)
    return reply.status if reply is not None else 0


def padded(size: int) -> bytes:
    """A whole head of this size."""
    lines, left = [], size - len(START) - 2
    while left:
        part = min(left, 8_000) if left - 8_000 not in range(1, 20) else left - 30
        lines.append(b"X%02d: %b\r\n" % (len(lines), b"y" * (part - 7)))
        left -= part
    return START + b"".join(lines) + b"\r\n"


@pytest.mark.parametrize("step", [100_000, 9_000, 700])
def test_a_head_has_at_most_32_kilobytes(step: int) -> None:
    with guarded(Guests()) as server:
        for size, status in ((HTTP_HEAD_BYTES_MAX, 200), (HTTP_HEAD_BYTES_MAX + 1, 431)):
            head = padded(size)
            assert len(head) == size
            with connect(server.port) as stream:
                for place in range(0, size, step):
                    stream.sendall(head[place : place + step])
                reply = read_reply(stream)
                assert reply is not None
                assert reply.status == status
                assert reply.headers.get("Connection") == (None if status == 200 else "close")


@pytest.mark.parametrize(
    "message",
    [
        START + BIG,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + BIG,  # trailers
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 40_000,
        b"\r\n" * 20_000,
    ],
    ids=["headers", "trailers", "a chunk's extension", "blank lines"],
)
def test_what_never_ends_is_not_kept(message: bytes) -> None:
    guests = Guests()
    with guarded(guests) as server, connect(server.port) as stream:
        with suppress(ConnectionError):
            stream.sendall(message)
        assert status_of(stream) in {400, 429, 431}
        assert is_closed(stream)
        with closing(Client(server.port)) as honest:
            assert honest.get("/orders/a").status == 200
    assert (guests.count, guests.holds) == (0, 0)


@pytest.mark.parametrize(
    "message",
    [START + BIG[:20_000], START + TINY, POST + b"Content-Length: 65000\r\n\r\n" + b" " * 30_000],
    ids=["long lines", "many lines", "a body"],
)
def test_one_address_cannot_hold_what_all_have(message: bytes) -> None:
    guests = Guests(holds_most=300_000)
    with guarded(guests) as server, ExitStack() as stack:
        statuses = []
        for _ in range(15):
            stream = opened(stack, server, "127.0.0.2")
            stream.sendall(message)
            stream.settimeout(0.05)
            with suppress(TimeoutError):
                statuses.append(status_of(stream))
        assert set(statuses) == {429}
        assert guests.holds <= 300_000 // 4
        other = opened(stack, server)
        other.sendall(padded(12_000))
        assert status_of(other) == 200
    assert (guests.count, guests.holds) == (0, 0)


def test_connections_that_do_nothing_make_room_for_those_that_do() -> None:
    guests = Guests()
    with guarded(guests) as server, ExitStack() as stack:
        idle = [opened(stack, server, f"127.0.0.{n % 4 + 2}") for n in range(60)]
        wait_until("they are counted", lambda: guests.count == guests.strangers_most, WAIT_S)
        honest = Client(server.port)
        for _ in range(3):
            assert honest.get("/orders/a").status == 200
        assert is_closed(idle[0]), "the longest idle one has gone"
        honest.close()


def test_who_says_nothing_goes_sooner_than_who_has_asked() -> None:
    timing = Timing(message_s=0.2, linger_s=0.1, drain_idle_s=0.05)
    with guarded(Guests(), timing) as server, connect(server.port) as silent:
        known = Client(server.port)
        assert known.get("/orders/a").status == 200
        assert is_closed(silent)
        assert known.get("/orders/a").status == 200
        known.close()


def test_what_comes_behind_a_request_waits_outside() -> None:
    """The next head of a connection is held to its time too, though it came with the one before."""
    timing = Timing(message_s=0.3, linger_s=0.1, drain_idle_s=0.05)
    with guarded(Guests(), timing) as server, connect(server.port) as stream:
        stream.sendall(GET_ORDER + START)
        assert status_of(stream) == 200
        assert status_of(stream) == 408


def test_a_body_that_is_larger_than_what_is_read_at_once_comes_whole() -> None:
    body = ORDER + b" " * (65_536 - len(ORDER))
    with guarded(Guests()) as server, closing(Client(server.port)) as client:
        assert [client.post("/orders/a", body).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("message", [b"no HTTP\r\n\r\n", b"\r\n" * 20_000, START + BIG])
def test_a_client_that_ends_behind_its_last_answer_disturbs_nothing(
    message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    timing = Timing(message_s=0.2, linger_s=1.0, drain_idle_s=0.05)
    with guarded(Guests(), timing) as server:
        with connect(server.port) as stream, connect(server.port) as dripping:
            with suppress(ConnectionError):
                stream.sendall(message)
            assert status_of(stream) in {400, 405, 429, 431}
            dripping.sendall(b"GET")
            assert status_of(dripping) == 408, "deadlines are kept while it lingers"
            with suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
            assert is_closed(stream)
        with connect(server.port) as dripping:
            dripping.sendall(b"GET")
            assert status_of(dripping) == 408
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_the_parser_in_python_is_refused_unless_it_is_asked_for() -> None:
    check_parser(allows_python=False)  # the compiled one is installed
    with pytest.raises(BadSettings, match="ORDER_ENGINE_HTTP_PARSER=python"):
        check_parser(allows_python=False, is_compiled=False)
    check_parser(allows_python=True, is_compiled=False)
    for text, allowed in {"": False, "compiled": False, "python": True}.items():
        settings = read_settings(environ={"ORDER_ENGINE_HTTP_PARSER": text})
        assert settings.allows_python_parser is allowed
    with pytest.raises(BadSettings, match="compiled or python"):
        read_settings(environ={"ORDER_ENGINE_HTTP_PARSER": "yes"})


def test_aiohttp_without_its_compiled_parser_is_noticed() -> None:
    code = "import api.http.server as server; server.check_parser(allows_python=False)"
    environ = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=False)
    assert b"compiled HTTP parser is missing" in done.stderr


def test_one_connection_that_fails_keeps_the_deadlines_of_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(connection: Connection, _: float) -> bool:
        if connection.address == "127.0.0.2":
            raise RuntimeError("a bug")
        return is_stuck(connection, _)

    is_stuck = Connection.is_stuck
    monkeypatch.setattr(Connection, "is_stuck", failing)
    timing = Timing(message_s=0.2, linger_s=0.1, drain_idle_s=0.05)
    with guarded(Guests(), timing) as server, ExitStack() as stack:
        bad = opened(stack, server, "127.0.0.2")
        assert is_closed(bad)
        dripping = opened(stack, server)
        dripping.sendall(b"GET")
        assert status_of(dripping) == 408
    assert [record.name for record in caplog.records] == ["order_engine.api"]
