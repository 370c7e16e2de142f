"""Connections to receivers of webhooks, and one POST on one of them.

aiohttp looks names up, connects, speaks TLS, keeps connections and reads answers. What else it does for
each request (headers merged, cookies, a timer, a writer, a response) costs more than all of that, and
nothing here needs it: a request is bytes, and of an answer only the head is looked at.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import abc, http_exceptions
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from engine.domain.addresses import is_loopback, is_public
from engine.domain.attempts import AttemptOutcome
from engine.kernel.limits import ANSWER_BYTES_MAX, RETRY_AFTER_MAX_US

_KEEP_ALIVE_S: Final = 4.0
"""Shorter than the five seconds after which common servers close a quiet connection: they would do so
just as we send, and that counts as a failed attempt."""
_PLACES_MAX: Final = 10_000
_NO_LIMITS: Final = aiohttp.ClientTimeout()
"""Whoever posts has a limit for all of it."""
_COMMON: Final = b"Content-Type: application/json\r\nUser-Agent: order-engine\r\n"


class Blocked(OSError):
    """A name stands for an address that no webhook goes to."""


class Answered(NamedTuple):
    """The head of an answer; `is_whole`: it ended within what is read of one."""

    status: int
    headers: Mapping[str, str]
    is_whole: bool


class Place(NamedTuple):
    """Where a URL points: how aiohttp is asked for a connection, and how each request begins."""

    request: aiohttp.ClientRequest
    head: bytes


class Connections:
    """To all receivers, in one event loop. `ssl_context` and `resolver` are for tests."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        allows_local: bool,
        ssl_context: ssl.SSLContext | None,
        resolver: abc.AbstractResolver | None,
    ) -> None:
        self._loop = loop
        self._allows_local = allows_local
        self._places: dict[str, Place] = {}
        self._connector = aiohttp.TCPConnector(
            limit=0,  # whoever posts has counted
            ssl=ssl_context or True,
            resolver=resolver,
            keepalive_timeout=_KEEP_ALIVE_S,
            socket_factory=self._socket,
        )
        self._connector._factory = partial(_Bounded, loop)  # type: ignore[assignment]

    async def close(self) -> None:
        """Closes all that are kept."""
        await self._connector.close()

    def place(self, url: str) -> Place:
        """What a URL comes to. Raises ValueError for none."""
        place = self._places.get(url)
        if place is None:
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            request = aiohttp.ClientRequest("POST", URL(url, encoded=True), loop=self._loop)
            where = request.url.raw_path_qs.encode()
            head = b"POST %b HTTP/1.1\r\nHost: %b\r\n" % (where, request.headers["Host"].encode())
            place = self._places[url] = Place(request, head + _COMMON)
        return place

    async def to(self, place: Place, last: Connection | None = None) -> Connection:
        """The `last` connection, if one can go on with it, or another: kept, if nothing came on it
        meanwhile, or new.
        """
        if last is not None:
            protocol = last.protocol
            is_good = protocol is not None and protocol.is_connected() and not protocol.should_close
            if is_good and last._key == place.request.connection_key:
                return last
            last.release()
        while True:  # each turn takes one of those that are kept
            connection = await self._connector.connect(place.request, [], _NO_LIMITS)
            protocol = connection.protocol
            assert isinstance(protocol, _Bounded)
            if not protocol.should_close:
                return connection
            connection.close()
            if protocol.is_new:
                raise http_exceptions.BadHttpMessage("it speaks before it is asked")

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for an address just before it is connected. Raises Blocked."""
        family, kind, protocol, _, address = found
        host = address[0]
        if not is_public(host) and not (self._allows_local and is_loopback(host)):
            raise Blocked(f"{host} is not public")
        return socket.socket(family, kind, protocol)


async def post(connection: Connection, place: Place, headers: bytes, body: bytes) -> Answered:
    """Sends `body` under these header lines, and reads the answer, if it is a success to its end.

    Raises what aiohttp raises of a receiver that does not answer, or in no HTTP.
    """
    protocol = connection.protocol
    assert isinstance(protocol, _Bounded)
    protocol.begin()
    transport = protocol.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    transport.write(b"%b%bContent-Length: %d\r\n\r\n%b" % (place.head, headers, len(body), body))
    while True:
        message, content = await protocol.read()
        if message.code == 101 or not 100 <= message.code < 200:
            break
    is_success = 200 <= message.code < 300
    while is_success and not content.at_eof():
        await content.readany()
    return Answered(message.code, message.headers, is_whole=protocol.end() and is_success)


class _Bounded(ResponseHandler):
    """A connection that takes so many bytes of an answer, headers included, and no more.

    One on which something comes that nobody awaits, or before what was asked has gone, is not kept.
    """

    is_new = True  # nothing was asked on it
    _left = ANSWER_BYTES_MAX
    _is_awaited = False
    _is_early = False

    def begin(self) -> None:
        """Another answer is awaited. One reader does for all of a connection."""
        self._left, self._is_awaited = ANSWER_BYTES_MAX, True
        if self.is_new:
            self.is_new = False
            self.set_response_params(read_until_eof=True, auto_decompress=False)

    def end(self) -> bool:
        """None is awaited any more. Whether it was no longer than is read, and to the whole request."""
        self._is_awaited = False
        if self._is_early:
            self.force_close()
        return self._left >= 0 and not self._is_early

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            return
        if not self._is_awaited:
            self.force_close()
        self._is_early = self._has_unsent  # not once for all: 100 may come before a body has gone
        left = self._left
        self._left -= len(data)
        super().data_received(data[:left])
        if self._left >= 0:
            return
        payload = self._payload
        self.set_exception(aiohttp.ClientPayloadError("the answer does not end"))
        self.close()
        if payload is not None:  # who reads it may wait
            payload.feed_eof()

    def close(self) -> None:
        """At once: a receiver that does not read would have what has not gone yet kept for ever."""
        if self._has_unsent:
            self.abort()
        else:
            super().close()

    @property
    def _has_unsent(self) -> bool:
        return self.transport is not None and self.transport.get_write_buffer_size() > 0


def outcome_of(error: BaseException) -> AttemptOutcome:
    """What an attempt that ended in an error is called."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Blocked) or (isinstance(seen, OSError) and " is not public" in str(seen)):
            return "blocked"
        seen = seen.__cause__ or seen.__context__
    for kind, outcome in _ERRORS:
        if isinstance(error, kind):
            return outcome
    return "connection"


_ERRORS: Final[tuple[tuple[type[BaseException], AttemptOutcome], ...]] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (ssl.SSLError, "tls"),
    (aiohttp.InvalidURL, "blocked"),
    (ValueError, "blocked"),  # no URL at all
    (aiohttp.ServerDisconnectedError, "connection"),
    (aiohttp.ClientOSError, "connection"),
    (http_exceptions.HttpProcessingError, "http"),
    (aiohttp.ClientPayloadError, "http"),
)
"""Error -> outcome; the first that fits."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def retry_after_us(headers: Mapping[str, str], now_us: int) -> int:
    """How long an answer asks to wait, in seconds or until a date; 0 if it does not."""
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return min(int(text) * 1_000_000, RETRY_AFTER_MAX_US)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    left_s = (until - datetime.fromtimestamp(now_us / 1_000_000, UTC)).total_seconds()
    return min(max(0, int(left_s * 1_000_000)), RETRY_AFTER_MAX_US)
