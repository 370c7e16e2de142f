"""The one place that speaks HTTP to receivers of webhooks: a thread with an event loop of its own.

Nothing of what a receiver answers is believed, kept or followed: it has 15 seconds and 64 KiB, its
redirects end at it, and no connection is made to an address that is not public, whatever its name stood
for when it was looked at before.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import abc
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from api.loop import new_loop
from engine import wall
from engine.addresses import is_loopback, is_public
from engine.attempts import Attempt, Outcome
from engine.deliveries import Delivery
from engine.limits import ANSWER_BYTES_MAX, ATTEMPT_S, RETRY_AFTER_MAX_US

_LOG: Final = logging.getLogger("order_engine.webhooks")
_LOOKUPS: Final = 64
"""Names looked up at once, in threads, as the system does it; one thread a name however many wait."""
_KEEP_ALIVE_S: Final = 4.0
"""Shorter than the five seconds after which common servers close a quiet connection: they would do so
just as we send, and that counts as a failed attempt."""


class Message(NamedTuple):
    """One event for one receiver, which is sent `width` at once. `keys` sign it, all of them."""

    delivery: Delivery
    id: str
    event_id: str
    url: str
    keys: Sequence[bytes]
    body: bytes
    width: int


class Done(NamedTuple):
    """What came of a message; None if it was not sent, as it was withdrawn before its turn came."""

    delivery: Delivery
    attempt: Attempt | None


class _Line:
    """Messages to one webhook: those that wait, and how many are being sent."""

    __slots__ = ("active", "waiting", "width")

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.active = 0
        self.width = 1


def signature(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> str:
    """`Webhook-Signature` as Standard Webhooks has it: one `v1,...` for each key."""
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signed = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in signed)


class Blocked(OSError):
    """A name stands for an address that no webhook goes to."""


class Sender:
    """Posts messages, each webhook's in a line of its own. Thread-safe.

    `on_done` is told, in the sender's thread, how many there are to `take`. `ssl_context` and
    `resolver` are for tests.
    """

    def __init__(
        self,
        on_done: Callable[[int], None],
        *,
        allows_local: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        resolver: abc.AbstractResolver | None = None,
        attempt_s: float = ATTEMPT_S,
        now_us: Callable[[], int] = wall.now_us,
    ) -> None:
        self._on_done = on_done
        self._allows_local = allows_local
        self._ssl: ssl.SSLContext | bool = ssl_context or True
        self._resolver = resolver
        self._attempt_s = attempt_s
        self._now_us = now_us
        self._done: deque[Done] = deque()
        self._urls: dict[str, URL] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: dict[str, _Line] = {}
        self._loop = new_loop()
        self._session: aiohttp.ClientSession
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="sender", daemon=True)
        self._thread.start()
        ready.wait()

    def submit(self, messages: Sequence[Message]) -> None:
        """Begins to send them."""
        if messages:
            self._loop.call_soon_threadsafe(self._begin, messages)

    def withdraw(self, webhook: str | None = None) -> None:
        """Those that wait, of one webhook or all, are done without being sent."""
        self._loop.call_soon_threadsafe(self._withdraw, webhook)

    def take(self) -> list[Done]:
        """All that is done since the last time."""
        taken = []
        while self._done:
            taken.append(self._done.popleft())
        return taken

    def close(self) -> None:
        """Cuts what is under way off, and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # --- in its own thread ------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup"))
        self._session = loop.run_until_complete(self._open())
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
            for task in self._tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            loop.run_until_complete(self._session.close())
        finally:
            loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # whoever submits has counted
            ssl=self._ssl,
            resolver=self._resolver,
            keepalive_timeout=_KEEP_ALIVE_S,
            socket_factory=self._socket,
        )
        connector._factory = partial(_bounded, loop=self._loop)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._attempt_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"Content-Type": "application/json", "User-Agent": "order-engine"},
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for an address just before it is connected. Raises Blocked."""
        family, kind, protocol, _, address = found
        host = address[0]
        if not is_public(host) and not (self._allows_local and is_loopback(host)):
            raise Blocked(f"{host} is not public")
        return socket.socket(family, kind, protocol)

    def _begin(self, messages: Sequence[Message]) -> None:
        lines = self._lines
        touched = dict[str, _Line]()
        for message in messages:
            webhook = message.delivery.webhook
            line = lines.get(webhook)
            if line is None:
                line = lines[webhook] = _Line()
            line.waiting.append(message)
            line.width = message.width
            touched[webhook] = line
        for line in touched.values():
            for _ in range(min(line.width - line.active, len(line.waiting))):
                line.active += 1
                task = self._loop.create_task(self._work(line))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _withdraw(self, webhook: str | None) -> None:
        for line in [*self._lines.values()] if webhook is None else [self._lines.get(webhook)]:
            while line is not None and line.waiting:
                self._done.append(Done(line.waiting.popleft().delivery, None))
        self._on_done(len(self._done))

    async def _work(self, line: _Line) -> None:
        """Sends one after the other until none waits, or so many are not wanted."""
        try:
            while line.waiting and line.active <= line.width:
                await self._send(line.waiting.popleft())
        finally:
            line.active -= 1

    async def _send(self, message: Message) -> None:
        at_us, began_s = self._now_us(), perf_counter()
        status, retry_after_us = None, 0
        try:
            outcome, status, retry_after_us = await self._post(message, at_us)
        except Exception as error:  # noqa: BLE001  whatever a receiver does is one of its outcomes
            outcome = outcome_of(error)
            if outcome == "connection" and not isinstance(error, aiohttp.ClientError | OSError):
                _LOG.exception("an attempt failed in a way that is new")
        duration_us = int((perf_counter() - began_s) * 1_000_000)
        attempt = Attempt(at_us, outcome, status, duration_us, retry_after_us)
        self._done.append(Done(message.delivery, attempt))
        self._on_done(len(self._done))

    async def _post(self, message: Message, at_us: int) -> tuple[Outcome, int, int]:
        url = self._urls.get(message.url)
        if url is None:
            if len(self._urls) > 10_000:
                self._urls.clear()
            url = self._urls[message.url] = URL(message.url, encoded=True)
        timestamp = at_us // 1_000_000
        headers = {
            "Webhook-Id": message.id,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Attempt": str(message.delivery.attempts + 1),
            "Webhook-Signature": signature(message.id, timestamp, message.body, message.keys),
            "Event-Id": message.event_id,
        }
        posting = self._session.post(url, data=message.body, headers=headers, allow_redirects=False)
        async with posting as answer:
            status = answer.status
            if not 200 <= status < 300:
                return "http", status, retry_after_us(answer.headers, at_us)
            size = 0
            while not answer.content.at_eof():
                size += len(await answer.content.readany())
                if size > ANSWER_BYTES_MAX:
                    return "http", status, 0
            return "succeeded", status, 0


class _Bounded(ResponseHandler):
    """A connection that takes so many bytes of an answer, headers included, and no more."""

    _left = ANSWER_BYTES_MAX

    def set_response_params(self, **words: Any) -> None:
        """The next answer."""
        self._left = 2 * ANSWER_BYTES_MAX  # so that a body that is too long is told by its length
        super().set_response_params(**words)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            super().data_received(data)
            return
        payload = self._payload
        self.set_exception(aiohttp.ClientPayloadError("the answer does not end"))
        self.close()
        if payload is not None:  # who reads it may wait: what has come is too long already
            payload.feed_data(data)
            payload.feed_eof()


def _bounded(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _Bounded(loop)


def outcome_of(error: BaseException) -> Outcome:
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


_ERRORS: Final[tuple[tuple[type[BaseException], Outcome], ...]] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (ssl.SSLError, "tls"),
    (aiohttp.InvalidURL, "blocked"),
    (ValueError, "blocked"),  # no URL at all
    (aiohttp.ServerDisconnectedError, "connection"),
    (aiohttp.ClientOSError, "connection"),
    (aiohttp.ClientResponseError, "http"),
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
