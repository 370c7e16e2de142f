"""One client's connection: aiohttp reads HTTP, here is what it leaves open, and how answers are written.

A total deadline for each message however slowly it drips, one envelope for what is no HTTP, and a stop
that drops no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiohttp import StreamReader, http_exceptions, web
from aiohttp.http import HttpVersion11, RawRequestMessage

from api.call import Answer
from api.problems import Problem
from api.rates import Rates
from api.response import written
from api.streams import Line
from engine.ids import IdSource
from engine.limits import (
    EVENT_STREAM_STALL_S,
    HTTP_DRAIN_IDLE_S,
    HTTP_HEADER_BYTES_MAX,
    HTTP_HEADERS_MAX,
    HTTP_IDLE_S,
    HTTP_LINGER_S,
    HTTP_MESSAGE_S,
    HTTP_STOP_S,
)

_LOG: Final = logging.getLogger("order_engine.api")
_SWEEPS: Final = 20
"""A deadline is noticed within this part of itself."""
_IDS: Final = IdSource()

METHODS: Final = "DELETE, GET, HEAD, PATCH, POST, PUT"
"""What any path may have; other methods never come as far as the table of routes."""


def new_request_id() -> str:
    """`req_` and 22 characters."""
    return _IDS.new("req")


class Timing(NamedTuple):
    """How long things may take, in seconds. See engine/limits.py for the reasons."""

    message_s: float = HTTP_MESSAGE_S
    idle_s: float = HTTP_IDLE_S
    linger_s: float = HTTP_LINGER_S
    drain_idle_s: float = HTTP_DRAIN_IDLE_S
    stop_s: float = HTTP_STOP_S


Stream = Callable[[Line], Awaitable[None]]
Answering = Callable[[RawRequestMessage, "Connection"], Awaitable[Answer]]
"""Answers a message; its body comes by the connection."""


class Connection(web.RequestHandler):
    """One client's connection.

    began         loop time of the first byte of a message that is not complete yet, else None
    quiet_since   loop time of the last byte that came
    is_handling   a request is being read or answered
    is_last       nothing more is read after this answer
    is_at_end     the client has closed its half
    payload       the body of the message that is being answered
    unsent        bytes of answers that the client had not taken at the last sweep
    taken_at      loop time of the sweep that last saw it take some
    guest         the address that it is counted for while it is open; None: it is not
    """

    __slots__ = (
        "_answer", "_rates", "began", "guest", "is_at_end", "is_handling", "is_last", "message_s",
        "payload", "quiet_since", "taken_at", "unsent",
    )  # fmt: skip

    def __init__(
        self, manager: Connections, answer: Answering, *, message_s: float, **kwargs: Any
    ) -> None:
        self._answer = answer
        self._rates = manager.rates
        self.guest: str | None = None
        self.message_s = message_s
        self.payload: StreamReader | None = None
        self.began: float | None = None
        self.is_handling = False
        self.is_at_end = False
        self.is_last = manager.is_stopping
        super().__init__(manager, **kwargs)
        self.quiet_since = self.taken_at = self._loop.time()
        self.unsent = 0

    @property
    def deadline(self) -> float:
        """Loop time by which the message that is being read must be complete."""
        return (self._loop.time() if self.began is None else self.began) + self.message_s

    @property
    def address(self) -> str | None:
        """Where the client's end of it is."""
        peer = self.peername
        return peer[0] if isinstance(peer, tuple) else peer

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being sent or answered."""
        return self.began is None and not self.is_handling

    def is_overdue(self, now: float) -> bool:
        """Whether a message has begun too long ago. Its body is waited for by who reads it."""
        return self.began is not None and not self.is_handling and now > self.began + self.message_s

    def is_stuck(self, now: float) -> bool:
        """Whether an answer has waited too long for a client that takes none of it."""
        size = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if not size or size < self.unsent:
            self.taken_at = now
        self.unsent = size
        return now > self.taken_at + self.message_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts it, and ends it at once when there are too many."""
        super().connection_made(transport)
        self.guest = self._rates.enter(self.address)
        if self.guest is None:
            self.give_up("rate_limited")

    def data_received(self, data: bytes) -> None:
        """Notes when a message begins, and leaves the rest to aiohttp."""
        self.quiet_since = self._loop.time()
        if self.began is None:
            self.began = self.quiet_since
        super().data_received(data)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  (aiohttp's own)
        """Only what was paused: aiohttp resumes after every body, and looks for more of what came."""
        if self._reading_paused:
            super().resume_reading(resume_parser=resume_parser)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's, of which aiohttp returns None
        """The client sends no more, which may mean that it now waits for what it asked last."""
        self.is_last = self.is_at_end = True
        return self.is_handling or self.began is not None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts it no more, and lets whoever waits for the rest of a body know that there is none."""
        if self.guest is not None:
            self._rates.guests.leave(self.guest)
        super().connection_lost(exc)
        if self.payload is not None and not self.payload.is_eof():
            self.payload.set_exception(exc or ConnectionResetError("the client is gone"))

    async def start(self) -> None:
        """Answers one message after the other until the connection ends.

        In place of aiohttp's own, which makes a request, a response, a writer and a task of each.
        """
        try:
            while not self._force_close:
                if not self._messages:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, self.payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                if not await self._answered(message, self.payload):
                    break
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _answered(self, message: Any, payload: StreamReader) -> bool:
        """Answers a message; whether the connection goes on."""
        stream = None
        try:
            if isinstance(message, RawRequestMessage):
                answer = await self._answer(message, self)
                stream = answer.stream if message.method != "HEAD" else None
                is_last = message.should_close or self.is_last or not payload.is_eof()
                is_last = is_last or stream is not None
                sent = written(answer, message.method, message.version, is_last=is_last)
            else:
                message.exc.__traceback__ = None  # a cycle, which would keep all that had been sent
                await asyncio.sleep(self._rates.errors.turn_s(self.guest or ""))
                is_last, sent = True, _last_words(_unreadable(message.exc))
        except Exception as error:  # noqa: BLE001  whatever it is becomes an answer
            _LOG.error("a request failed outside its handler", exc_info=error)
            is_last, sent = True, _last_words(Problem("server_error"))
        if self.transport is None:
            return False
        self.transport.write(sent)
        if self._paused:  # who asks on without taking answers waits with us
            with suppress(ConnectionError):
                await self._drain_helper()
        if stream is not None:
            await self._flow(stream)
        if self._upgraded:
            self._decline_upgrade()
        if is_last and not payload.is_eof():
            await self._linger(payload)
        return not is_last and not self._close

    async def _flow(self, stream: Stream) -> None:
        self.is_handling = True
        try:
            await stream(self)
        except Exception as error:  # noqa: BLE001  too late for an answer
            _LOG.error("a stream failed", exc_info=error)
        finally:
            self.is_handling = False

    @property
    def is_gone(self) -> bool:
        """Whether nobody listens (see `streams.Line`): who does has no reason to close its half."""
        return self.is_at_end or self.transport is None or self.transport.is_closing()

    async def send(self, words: bytes) -> None:
        """A piece of a stream (see `streams.Line`)."""
        if self.transport is None:
            raise ConnectionResetError("the client is gone")
        self.transport.write(words)
        try:
            async with asyncio.timeout(EVENT_STREAM_STALL_S):
                await self._drain_helper()
        except TimeoutError:
            self._drain_waiter = None  # it is cancelled: nobody else must wait for it
            raise

    def _decline_upgrade(self) -> None:
        """Reads on in HTTP/1.1 after a request that asked for another protocol: it was just answered."""
        tail, self._message_tail = self._message_tail, b""
        self._upgraded = False
        if self._parser is not None:
            self._parser.set_upgraded(False)
            super().data_received(tail)

    async def _linger(self, payload: StreamReader) -> None:
        """Takes what the client still sends, or it would see a reset in place of its answer."""
        with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()

    def invite(self) -> None:
        """Tells a client that waits for it to send its body."""
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def give_up(self, code: str) -> None:
        """Ends a connection with an answer to no request."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_last_words(Problem(code)))
        self.force_close()


def _last_words(problem: Problem) -> bytes:
    """The answer to what never became a request that was handled."""
    request_id = new_request_id()
    headers = {"Request-Id": request_id, **problem.headers}
    answer = Answer(problem.status, problem.body(request_id), headers)
    return written(answer, "", HttpVersion11, is_last=True)


def _unreadable(error: BaseException) -> Problem:
    """What is said of a message that aiohttp could not read. Its own words may quote what was sent."""
    if isinstance(error, http_exceptions.LineTooLong):
        return Problem("headers_too_large")
    if isinstance(error, http_exceptions.BadHttpMethod):
        return Problem("method_not_allowed", headers={"Allow": METHODS})
    return Problem("invalid_request", "This is not an HTTP request.")


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """In aiohttp's place for a handler: `Connection.start` calls another."""
    raise NotImplementedError(request)


class Connections(web.Server):
    """All connections of one server."""

    def __init__(self, answer: Answering, rates: Rates, timing: Timing) -> None:
        self.is_stopping = False
        self.rates = rates
        self._timing = timing
        self._answer = answer
        super().__init__(
            _unused,
            keepalive_timeout=0,  # `sweep` ends idle connections
            access_log=None,
            logger=_LOG,
            max_line_size=HTTP_HEADER_BYTES_MAX,
            max_field_size=HTTP_HEADER_BYTES_MAX,
            max_headers=HTTP_HEADERS_MAX,
            lingering_time=timing.linger_s,
            auto_decompress=False,
        )

    def __call__(self) -> Connection:
        """A connection has come."""
        message_s = self._timing.message_s
        return Connection(self, self._answer, message_s=message_s, loop=self._loop, **self._kwargs)

    @property
    def all(self) -> list[Connection]:
        """Those that are open."""
        return [known for known in self.connections if isinstance(known, Connection)]

    async def sweep(self) -> None:
        """Ends connections that are idle, or whose message or answer takes too long; for ever."""
        timing = self._timing
        while True:
            await asyncio.sleep(min(timing.message_s, timing.idle_s) / _SWEEPS)
            now = self._loop.time()
            for connection in self.all:
                if connection.is_overdue(now):
                    connection.give_up("request_timeout")
                elif connection.is_stuck(now) and connection.transport is not None:
                    connection.transport.abort()
                elif connection.is_idle and connection.quiet_since < now - timing.idle_s:
                    connection.force_close()

    async def drain(self) -> None:
        """Answers what has been sent, telling each client that it was the last; at most `stop_s`.

        A connection is closed after its next answer, or when it has been quiet for `drain_idle_s`.
        Nobody may be let in any more: who is told comes again at once.
        """
        self.is_stopping = True
        deadline = self._loop.time() + self._timing.stop_s
        for connection in self.all:
            connection.is_last = True
        while self.all and self._loop.time() < deadline:
            quiet = self._loop.time() - self._timing.drain_idle_s
            for connection in self.all:
                if connection.is_idle and connection.quiet_since < quiet:
                    connection.force_close()
            await asyncio.sleep(self._timing.drain_idle_s / 10)
        await self.shutdown(timeout=0.1)
