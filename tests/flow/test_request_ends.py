"""Where one request ends and the next begins: what a client sends as a body is never a request.

Each message below ends with a request for `/smuggled`, which is not found. An answer 404 to anything
but a request that stands where the next one may begin is a request that nobody sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest

from api.http.timing import Timing
from tests.flow.test_http_abuse import ORDER, an_app
from tests.support.servers.http_server import WAIT_S, Serving, connect, serving

GET: Final = b"GET /orders/a HTTP/1.1\r\nHost: a\r\n"
POST: Final = b"POST /orders/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
OLD_POST: Final = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
AS_BODY: Final = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
LENGTH: Final = b"Content-Length: %d\r\n" % len(ORDER)
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ORDER), ORDER)
H2C: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"

LAST: Final[dict[str, tuple[list[bytes], int]]] = {
    # another protocol
    "h2c, then a head in the same packet": ([GET + H2C + b"\r\n" + POST + AS_BODY, SMUGGLED], 200),
    "h2c, then a head": ([GET + H2C + b"\r\n", POST + AS_BODY, SMUGGLED], 200),
    "h2c with a body": ([POST + H2C + LENGTH + b"\r\n" + ORDER, SMUGGLED], 200),
    "h2c that is not found": ([b"GET /no HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n" + SMUGGLED], 404),
    "websocket": ([GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + SMUGGLED], 200),
    "upgrade without connection": ([GET + b"Upgrade: h2c\r\n\r\n" + SMUGGLED], 200),
    "h2c in HTTP/1.0": ([OLD_POST + b"Upgrade: h2c\r\n" + LENGTH + b"\r\n" + ORDER + SMUGGLED], 200),
    "CONNECT": ([b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED], 404),
    "HTTP/2 without asking": ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED], 408),
    "HTTP/0.9": ([b"GET /orders/a\r\n\r\n" + SMUGGLED], 400),
    # chunks; what is none is waited for, as aiohttp says nothing of it
    "chunks": ([POST + CHUNKED + CHUNKS + SMUGGLED], 200),
    "chunks in HTTP/1.0": ([OLD_POST + CHUNKED + CHUNKS + SMUGGLED], 200),
    "chunks with trailers": ([POST + CHUNKED + CHUNKS[:-2] + b"X: y\r\n\r\n" + SMUGGLED], 200),
    "a chunk's line ends with LF": ([POST + CHUNKED + CHUNKS.replace(b"\r", b"", 1) + SMUGGLED], 408),
    "a chunk of hexadecimal": ([POST + CHUNKED + b"0x" + CHUNKS + SMUGGLED], 408),
    "a chunk of too many digits": ([POST + CHUNKED + b"f" * 17 + b"\r\n" + SMUGGLED], 408),
    "a bad chunk behind a good one": ([POST + CHUNKED + b"1\r\n{\r\n", b"zz\r\n" + SMUGGLED], 408),
    # codings and lengths
    "length and chunks": ([POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n" + SMUGGLED], 400),
    "the same length twice": ([POST + LENGTH * 2 + b"\r\n" + ORDER + SMUGGLED], 400),
    "two lengths": ([POST + b"Content-Length: 0\r\n" + AS_BODY + SMUGGLED], 400),
    "a list of lengths": ([POST + b"Content-Length: 75, 75\r\n\r\n" + ORDER + SMUGGLED], 400),
    "a signed length": ([POST + b"Content-Length: +75\r\n\r\n" + ORDER + SMUGGLED], 400),
    "a hexadecimal length": ([POST + b"Content-Length: 0x4b\r\n\r\n" + ORDER + SMUGGLED], 400),
    "a length with a blank": ([POST + b"Content-Length: 7 5\r\n\r\n" + ORDER + SMUGGLED], 400),
    "a blank before the colon": ([POST + b"Content-Length : 75\r\n\r\n" + ORDER + SMUGGLED], 400),
    "a length of too many digits": ([POST + b"Content-Length: " + b"9" * 25 + b"\r\n\r\n"], 400),
    "identity": ([POST + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + ORDER + SMUGGLED], 400),
    "gzip, chunked": ([POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS + SMUGGLED], 400),
    "chunked, gzip": ([POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS + SMUGGLED], 400),
    "chunked twice": ([POST + CHUNKED[:-2] + CHUNKED + CHUNKS + SMUGGLED], 400),
    "nearly chunked": ([POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS + SMUGGLED], 400),
    "chunked behind a VT": ([POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS + SMUGGLED], 400),
    # lines
    "a folded header": ([POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS + SMUGGLED], 400),
    "a blank before the first header": ([GET.replace(b"\nH", b"\n H") + b"\r\n" + SMUGGLED], 400),
    "LF alone": ([GET.replace(b"\r", b"") + b"\n" + SMUGGLED], 400),
    "LF alone behind one header": ([GET + b"X: a\n\r\n" + SMUGGLED], 400),
    "CR alone": ([GET + b"X: a\rb\r\n\r\n" + SMUGGLED], 400),
    "two hosts": ([GET + b"Host: b\r\n\r\n" + SMUGGLED], 400),
    # an answer before the end
    "not found before its body": ([b"POST /no HTTP/1.1\r\nHost: a\r\n" + AS_BODY, SMUGGLED * 2], 404),
    "too long before its body": ([POST + b"Content-Length: 70000\r\n\r\n" + SMUGGLED], 413),
    "an odd expectation": ([POST + b"Expect: tea\r\n" + AS_BODY, SMUGGLED], 417),
    "the client's last": ([GET + b"Connection: close\r\n\r\n" + SMUGGLED], 200),
}
"""Name -> packets, and the one status that comes back before the end."""

NEXT: Final[dict[str, tuple[bytes, int]]] = {
    "nothing odd": (GET + b"\r\n", 200),
    "with a body": (POST + LENGTH + b"\r\n" + ORDER, 200),
    "a GET with a body": (GET + AS_BODY + SMUGGLED, 400),
    "a DELETE with a body": (b"DELETE" + GET[3:] + AS_BODY + SMUGGLED, 405),
    "TRACE with a body": (b"TRACE" + GET[3:] + AS_BODY + SMUGGLED, 405),
    "not found with its body": (b"POST /no HTTP/1.1\r\nHost: a\r\n" + AS_BODY + SMUGGLED, 404),
    "HTTP/1.0 that stays": (OLD_POST + LENGTH + b"\r\n" + ORDER, 200),
    "blank lines before it": (b"\r\n\r\n" + GET + b"\r\n", 200),
    "another host's URL": (GET.replace(b" /", b" http://evil/") + b"\r\n", 200),
    "connection without upgrade": (GET + b"Connection: upgrade\r\n\r\n", 200),
    "a body that was expected": (POST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + ORDER, 200),
}
"""Name -> a request behind which another one may come, and its status."""


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(an_app(), Timing(message_s=0.5, linger_s=0.1, drain_idle_s=0.05)) as running:
        yield running


def statuses(server: Serving, packets: list[bytes]) -> list[int]:
    """What is answered until the server ends the connection; each packet goes alone."""
    received = b""
    with connect(server.port) as stream, suppress(ConnectionError):
        for packet in packets:
            stream.sendall(packet)
            if packet is not packets[-1]:
                stream.settimeout(0.03)
                with suppress(TimeoutError):
                    received += stream.recv(65_536)
        stream.settimeout(WAIT_S)
        while piece := stream.recv(65_536):
            received += piece
    found = re.findall(rb"HTTP/\d\.\d (\d+) ", received)
    return [int(status) for status in found if status != b"100"]


@pytest.mark.parametrize("name", LAST)
def test_nothing_is_read_behind_a_request_whose_end_is_not_certain(server: Serving, name: str) -> None:
    packets, status = LAST[name]
    assert statuses(server, packets) == [status]


@pytest.mark.parametrize("name", NEXT)
def test_the_next_request_is_the_one_behind_the_body(server: Serving, name: str) -> None:
    message, status = NEXT[name]
    whole = message + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert statuses(server, [whole]) == [status, 404]
    for cut in {1, len(message) // 2, len(message) - 1, len(message) + 1}:  # wherever packets end
        found = statuses(server, [whole[:cut], whole[cut:]])
        # An error that is answered before its body has come ends the connection.
        assert found == [status, 404] or (found == [status] and status >= 400), cut
