"""One POST to a receiver of webhooks, in bounded bytes.

aiohttp's session connects and speaks HTTP. `Connector` checks each address just before its socket is
created, and a `Guard` in front of aiohttp's protocol counts received bytes and aborts answers that are
too long or unsolicited.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, cast

import aiohttp
from aiohttp import abc
from yarl import URL

from engine.domain.addresses import is_loopback, is_public
from engine.domain.attempts import AttemptOutcome
from engine.kernel.limits import ANSWER_BYTES_MAX, RETRY_AFTER_MAX_US

_KEEP_ALIVE_S: Final = 4.0
"""Shorter than the five seconds after which common servers close an idle connection: a close just as we
send would count as a failed attempt."""
_AGENT: Final = {"User-Agent": "order-engine"}


class Blocked(OSError):
    """The name resolves to a forbidden address."""


class Answered(NamedTuple):
    """The head of an answer; `is_whole`: a success that ended within the byte limit."""

    status: int
    headers: Mapping[str, str]
    is_whole: bool


class _Request(aiohttp.ClientRequest):
    """A request without default headers."""

    DEFAULT_HEADERS: dict[Any, str] = {}


class Exchange(aiohttp.Payload):
    """The body of one request with its headers, and the state of the exchange."""

    left = ANSWER_BYTES_MAX  # remaining bytes of the answer, its head included
    is_asked = False  # the request is being sent
    is_early = False  # the answer began before the request was sent completely

    def __init__(self, content: bytes, headers: dict[str, str]) -> None:
        super().__init__(content, headers, content_type="application/json")
        self.content = content

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.content)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self.content.decode(encoding, errors)

    async def write(self, writer: abc.AbstractStreamWriter) -> None:
        """Sends the body, and the head before it."""
        self.is_asked = True
        await writer.write(self.content)


class Guard(asyncio.Protocol):
    """A protocol in front of aiohttp's, on one connection, for consecutive exchanges."""

    __slots__ = ("exchange", "inner", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.inner = cast("asyncio.Protocol", transport.get_protocol())
        self.exchange: Exchange | None = None
        transport.set_protocol(self)

    def end(self) -> None:
        """Ends the exchange. An unsent remainder of the request will never be sent."""
        exchange, self.exchange = self.exchange, None
        if (exchange is not None and exchange.is_early) or self._has_unsent:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.transport.abort()  # an unsolicited answer would be taken for that to the next request
            return
        if exchange.left < 0:
            return
        # re-evaluated each time: 100 may come before the body has been sent
        exchange.is_early = self._has_unsent
        left = exchange.left
        exchange.left -= len(data)
        self.inner.data_received(data[:left])
        if exchange.left < 0:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.inner.connection_lost(error)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    @property
    def _has_unsent(self) -> bool:
        return self.transport.get_write_buffer_size() > 0


class Connector(aiohttp.TCPConnector):
    """Connections to all receivers. `ssl_context` and `resolver` are for tests."""

    def __init__(
        self,
        *,
        allows_local: bool,
        ssl_context: ssl.SSLContext | None = None,
        resolver: abc.AbstractResolver | None = None,
    ) -> None:
        def judged(found: tuple[Any, ...]) -> socket.socket:
            """A socket for an address about to be connected. Raises Blocked."""
            family, kind, protocol, _, address = found
            host = address[0]
            if not is_public(host) and not (allows_local and is_loopback(host)):
                raise Blocked(f"{host} is not public")
            return socket.socket(family, kind, protocol)

        super().__init__(
            limit=0,  # lanes limit concurrency
            ssl=ssl_context or True,
            resolver=resolver,
            keepalive_timeout=_KEEP_ALIVE_S,
            socket_factory=judged,
        )

    async def connect(
        self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> Any:
        """A connection with a guard for this request's exchange."""
        connection = await super().connect(req, traces, timeout)
        transport, exchange = connection.transport, req.body
        if transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        assert isinstance(exchange, Exchange)
        guard = transport.get_protocol()
        if not isinstance(guard, Guard):
            guard = Guard(transport)
        guard.exchange = exchange
        connection.add_callback(guard.end)
        return connection


def session(connector: Connector) -> aiohttp.ClientSession:
    """For all messages: without cookies, decompression and timers, as each attempt has its own."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_Request,
        headers=_AGENT,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),
    )


async def post(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes
) -> Answered:
    """Sends `body` with these headers, and reads the answer; a success is read to its end.

    Raises aiohttp's errors for a receiver that does not answer, or not in HTTP.
    """
    exchange = Exchange(body, headers)
    where = URL(url, encoded=True)
    try:
        # Not `async with`, which costs a twelfth of an attempt: it waits for what is over by then.
        answer = await session.post(where, data=exchange, allow_redirects=False)
        try:
            is_whole = 200 <= answer.status < 300
            while is_whole and not answer.content.at_eof():
                await answer.content.readany()
        except aiohttp.ClientPayloadError:
            is_whole = False
        finally:
            if not answer.closed:
                answer.close()
    except aiohttp.ClientError as error:
        if exchange.left < 0:
            raise aiohttp.ClientPayloadError("the answer does not end") from error
        raise
    is_whole = is_whole and exchange.left >= 0 and exchange.is_asked and not exchange.is_early
    return Answered(answer.status, answer.headers, is_whole)


def outcome_of(error: BaseException) -> AttemptOutcome:
    """The outcome of an attempt that ended in an error."""
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
    (ValueError, "blocked"),  # not a URL at all
    (aiohttp.ServerDisconnectedError, "connection"),
    (aiohttp.ClientOSError, "connection"),
    (aiohttp.ClientResponseError, "http"),
    (aiohttp.ClientPayloadError, "http"),
)
"""Error -> outcome; the first match counts."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def retry_after_us(headers: Mapping[str, str], now_us: int) -> int:
    """The answer's `Retry-After` in microseconds, from seconds or a date; 0 without one."""
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
