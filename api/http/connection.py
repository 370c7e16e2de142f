"""One client's connection: aiohttp's parser reads HTTP, all else is here.

Bounds on what a message may hold before it is complete, a total deadline for each however slowly it
drips, one envelope for what is no HTTP, and never a second request behind one after which it is not
certain where the next begins.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import StreamReader, http_exceptions, web
from aiohttp.http import HttpRequestParser, HttpVersion10, HttpVersion11, RawRequestMessage

from api.http.call import Answer
from api.http.problems import Problem
from api.http.response import written
from api.http.streams import Line
from engine.kernel.ids import IdSource
from engine.kernel.limits import (
    EVENT_STREAM_SOCKET_BYTES,
    EVENT_STREAM_STALL_S,
    HTTP_BODY_BUFFER_BYTES,
    HTTP_HEAD_BYTES_MAX,
    HTTP_HEADER_BYTES_MAX,
    HTTP_HEADERS_MAX,
    MESSAGE_BYTES_FREE,
)

if TYPE_CHECKING:
    from api.http.connections import Connections
    from api.http.guests import Guest

_LOG: Final = logging.getLogger("order_engine.api")
_IDS: Final = IdSource()
_LINE_BYTES: Final = 300
"""What a header costs in memory beside twice its bytes: a name and a value, as text and as bytes."""

_VERSIONS: Final = (HttpVersion11, HttpVersion10)
_END_OF_HEAD: Final = b"\r\n\r\n"

METHODS: Final = "DELETE, GET, HEAD, PATCH, POST, PUT"
"""What any path may have; other methods never come as far as the table of routes."""


def new_request_id() -> str:
    """`req_` and 22 characters."""
    return _IDS.new("req")


Stream = Callable[[Line], Awaitable[None]]
Answering = Callable[[RawRequestMessage, "Connection"], Awaitable[Answer]]
"""Answers a message; its body comes by the connection."""


class Connection(asyncio.BufferedProtocol):
    """One client's connection.

    began         loop time of the first byte of a message that is not complete yet, else None
    quiet_since   loop time of the last byte that came
    is_handling   a request is being read or answered
    is_last       nothing more is read after this answer
    is_at_end     the client has closed its half
    payload       the body of the message that is being answered
    guest         what it is counted as while it is open; None: it is not
    has_asked     a whole head has come
    refusal       why the rest of the body does not come, if that is our doing

    Bytes go to the parser as they come, at most `HTTP_READ_BYTES` at once, until a message is complete.
    What comes while that is answered waits in `_behind`, and no more is read. `_body` is that of the
    last message that the parser has seen.
    """

    __slots__ = (
        "_answer", "_behind", "_body", "_body_left", "_cost", "_drained", "_head_bytes", "_idle_bytes",
        "_is_closing", "_is_deaf", "_is_dropping", "_is_held", "_is_reading_paused", "_loop",
        "_message", "_parser",
        "_seam", "_server", "_taken_at", "_unsent", "_waiter", "began", "guest", "has_asked",
        "is_at_end", "is_handling", "is_last", "payload", "quiet_since", "refusal", "task", "transport",
    )  # fmt: skip

    def __init__(self, server: Connections, answer: Answering) -> None:
        self._server = server
        self._answer = answer
        self._loop = server.loop
        self._parser: Any = HttpRequestParser(
            cast(Any, self),  # of aiohttp's own protocol it needs what stands as "for the parser"
            self._loop,
            HTTP_BODY_BUFFER_BYTES,
            max_line_size=HTTP_HEADER_BYTES_MAX,
            max_field_size=HTTP_HEADER_BYTES_MAX,
            max_headers=HTTP_HEADERS_MAX,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
        )
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self.guest: Guest | None = None
        self.payload: StreamReader | None = None
        self.began: float | None = None
        self.is_handling = self.has_asked = self.is_at_end = False
        self.is_last = server.is_stopping
        self.quiet_since = self._taken_at = self._loop.time()
        self._message: RawRequestMessage | Problem | None = None
        self._body: StreamReader | None = None
        self._body_left: int | None = None
        self._behind = self._seam = b""
        self._head_bytes = self._cost = self._idle_bytes = self._unsent = 0
        self._is_held = self._is_deaf = self._is_closing = self._is_reading_paused = False
        self._is_dropping = False
        self.refusal: Problem | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    # --- what the server looks at -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """Loop time by which the message that is being read must be complete."""
        began = self._loop.time() if self.began is None else self.began
        return began + self._server.timing.message_s

    @property
    def address(self) -> str | None:
        """Where the client's end of it is."""
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        return peer[0] if isinstance(peer, tuple) else peer

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being sent or answered."""
        return self.began is None and not self.is_handling

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def is_overdue(self, now: float) -> bool:
        """Whether a message has begun too long ago. Its body is waited for by who reads it."""
        if self.began is None or self.is_handling:
            return False
        return now > self.began + self._server.timing.message_s

    def is_stuck(self, now: float) -> bool:
        """Whether an answer has waited too long for a client that takes none of it."""
        size = self.unsent
        if not size or size < self._unsent:
            self._taken_at = now
        self._unsent = size
        return now > self._taken_at + self._server.timing.message_s

    # --- the transport calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts it, and ends it at once when there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.task = self._loop.create_task(self.start())
        self.guest = self._server.enter(self)
        if self.guest is None:
            self.give_up("rate_limited")

    def get_buffer(self, _sizehint: int) -> memoryview:
        """One for all connections: what is read is copied out before another reads."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Notes when a message begins, and takes what came."""
        self.quiet_since = self._loop.time()
        if self._is_deaf or self._is_closing:
            return
        if self.began is None:
            self.began = self.quiet_since
        self._take(bytes(self._server.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The client sends no more: it may wait for what it asked, but what is not complete never is."""
        self.is_last = self.is_at_end = True
        if self._is_dropping:
            pass  # it was answered
        elif self._body is None and self.began is not None:
            self.give_up("request_timeout")
        elif self._body is not None and not self._body.is_eof():
            self._fail(Problem("request_timeout", is_last=True))
        self._wake()
        return not self._is_closing and (self.is_handling or self._message is not None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it no more, and lets whoever waits for the rest of a body know that there is none."""
        self.transport = None
        self._server.leave(self)
        self._is_closing = True
        self._wake()
        self.resume_writing()
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(exc or ConnectionResetError("the client is gone"))

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has taken it."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def _drain(self) -> None:
        """Returns once the client has taken enough. Raises ConnectionError for one that is gone."""
        if self._drained is not None:
            await asyncio.shield(self._drained)
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    # --- for the parser ---------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether more of a body may come."""
        return self.transport is not None

    def pause_reading(self) -> None:
        """Of a body enough is here that nobody has read."""
        self._is_held = True
        self._parser.pause_reading()
        self._read_or_not()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  (aiohttp's own)
        """It was read."""
        if self._is_held:
            self._is_held = False
            if resume_parser:
                self._feed(b"")
            self._read_or_not()

    def _read_or_not(self) -> None:
        """Reads no more while a body is not read, or what stands behind it waits."""
        wants_pause = self._is_held or bool(self._behind)
        transport = self.transport
        if transport is None or transport.is_closing() or wants_pause == self._is_reading_paused:
            return
        self._is_reading_paused = wants_pause
        if wants_pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # --- bytes to messages ------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Gives the parser a head, or what belongs to a body, and no byte of what stands behind.

        So the next message begins where we say, and how long a head is is known exactly.
        """
        while data and not self._is_deaf:
            body = self._body
            if body is None:
                size = self._of_head(data)
                piece = data[:size]
                self._head_bytes += size
                self._hold(2 * size + _LINE_BYTES * piece.count(b"\n"))
            elif body.is_eof():
                self._behind += data
                self._read_or_not()
                return
            else:
                size = len(data) if self._body_left is None else min(len(data), self._body_left)
                piece = data[:size]
                self._body_left = None if self._body_left is None else self._body_left - size
                self._hold(size)
            self._feed(piece)
            data = data[size:]

    def _of_head(self, data: bytes) -> int:
        """How many bytes of `data` belong to the head; an end may be spread over two reads."""
        if self._seam:
            end = (self._seam + data).find(_END_OF_HEAD) - len(self._seam)
            is_end = end >= -len(self._seam)
        else:
            end = data.find(_END_OF_HEAD)
            is_end = end >= 0
        if is_end:
            self._seam = b""
            return end + len(_END_OF_HEAD)
        self._seam = (self._seam + data)[1 - len(_END_OF_HEAD) :]
        return len(data)

    def _hold(self, size: int) -> None:
        """Counts what a message takes in memory until it is answered."""
        self._cost += size
        if self._cost <= MESSAGE_BYTES_FREE or self._is_dropping:
            return
        if self._head_bytes > HTTP_HEAD_BYTES_MAX:
            self._fail(Problem("headers_too_large", is_last=True))
        elif self.guest is not None and not self._server.rates.guests.hold(self.guest, self._cost):
            self._fail(
                Problem(
                    "rate_limited",
                    "Too many large requests of this address are open; wait for their answers.",
                    is_last=True,
                )
            )

    def _feed(self, piece: bytes) -> None:
        if self._is_deaf:
            return
        before = self._body.total_raw_bytes if self._body is not None else 0
        try:
            messages, _, _ = self._parser.feed_data(piece)
        except http_exceptions.HttpProcessingError as error:
            error.__traceback__ = None  # a cycle, which would keep all that had been sent
            self._fail(_unreadable(error))
            return
        if self._body is not None:
            self._count_idle(len(piece), self._body.total_raw_bytes - before)
        elif messages:
            message, self._body = messages[0]
            length = message.headers.get("Content-Length")
            self._body_left = int(length) if length is not None else None
            if is_plain(message):
                self._deliver(message)
            else:
                self._body = None
                self._fail(
                    Problem(
                        "invalid_request",
                        "The request must be HTTP/1.1 or 1.0, its body plain or chunked.",
                    )
                )

    def _count_idle(self, size: int, progress: int) -> None:
        """What is sent of a body and is none of it: trailers, and what stands between chunks."""
        self._idle_bytes = 0 if progress else self._idle_bytes + size
        if self._idle_bytes > HTTP_HEAD_BYTES_MAX:
            self._fail(Problem("headers_too_large", is_last=True))

    def _deliver(self, message: RawRequestMessage | Problem) -> None:
        self._message = message
        self.has_asked = True
        self._wake()

    def _fail(self, problem: Problem) -> None:
        """Reads nothing more: it is not known where another message would begin."""
        self._is_deaf = True
        if self._body is None:
            self._deliver(problem)
        elif not self._body.is_eof():
            self.refusal = problem
            self._body.set_exception(web.RequestPayloadError(problem.code))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- answering --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Answers one message after the other until the connection ends."""
        try:
            while await self._has_next():
                message, self._message, self.payload = self._message, None, self._body
                if isinstance(message, RawRequestMessage):
                    goes_on = await self._answered(message)
                else:
                    assert message is not None
                    goes_on = await self._refused(message)
                if not goes_on:
                    break
                self._go_on()
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _has_next(self) -> bool:
        """Waits for a message; False at the end."""
        while self._message is None and not self._is_closing:
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
        return self._message is not None and not self._is_closing

    def _go_on(self) -> None:
        """The message is answered: what stands behind it is the next."""
        self.payload = self._body = None
        self._head_bytes = self._cost = self._idle_bytes = 0
        if self.guest is not None and self.guest.holds:
            self._server.rates.guests.hold(self.guest, 0)
        if self._behind:
            self.began = self._loop.time()
            behind, self._behind = self._behind, b""
            self._take(behind)
            self._read_or_not()

    async def _answered(self, message: RawRequestMessage) -> bool:
        """Answers a message; whether the connection goes on."""
        payload, stream = self.payload, None
        assert payload is not None
        try:
            answer = await self._answer(message, self)
            stream = answer.stream if message.method != "HEAD" else None
            is_last = self.is_last or is_end(message) or not payload.is_eof() or stream is not None
            sent = written(answer, message.method, message.version, is_last=is_last)
        except Exception as error:  # noqa: BLE001  whatever it is becomes an answer
            _LOG.error("a request failed outside its handler", exc_info=error)
            is_last, stream, sent = True, None, _last_words(Problem("server_error"))
        if self.transport is None:
            return False
        self.transport.write(sent)
        if self._drained is not None:
            with suppress(ConnectionError):  # who asks on without taking answers waits with us
                await self._drain()
        if stream is not None:
            await self._flow(stream)
        elif is_last and (self._behind or self._is_deaf or not payload.is_eof()):
            await self._linger(payload)
        return not is_last and not self._is_closing

    async def _refused(self, problem: Problem) -> bool:
        """Answers what was no request."""
        await asyncio.sleep(self._server.rates.errors.turn_s(self.guest.address if self.guest else ""))
        if self.transport is not None:
            self.transport.write(_last_words(problem))
            await self._linger(None)
        return False

    async def _flow(self, stream: Stream) -> None:
        self.is_handling = True
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=0)  # `send` waits until all of it is taken
        wire = self.transport.get_extra_info("socket")
        with suppress(OSError):
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, EVENT_STREAM_SOCKET_BYTES)
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
        async with asyncio.timeout(EVENT_STREAM_STALL_S):
            await self._drain()

    async def _linger(self, payload: StreamReader | None) -> None:
        """Takes what the client still sends, or it would see a reset in place of its answer."""
        self._is_dropping, self.began = True, None
        with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
            async with asyncio.timeout(self._server.timing.linger_s):
                while payload is not None and not payload.is_eof() and not self._is_deaf:
                    await payload.readany()
                if self.transport is not None and not self.transport.is_closing():
                    self._is_deaf, self._is_held, self._behind = True, False, b""
                    self._read_or_not()
                    self.transport.write_eof()
                    while not self._is_closing and not self.is_at_end:
                        self._waiter = self._loop.create_future()
                        await self._waiter
        self._waiter = None

    def know(self, client: str) -> None:
        """It has shown a valid token. Raises Problem `rate_limited` where that client has too many."""
        if self.guest is not None and not self._server.know(self, client):
            raise Problem(
                "rate_limited",
                "This client has too many connections open; close some, or use them again.",
                is_last=True,
            )

    def invite(self) -> None:
        """Tells a client that waits for it to send its body."""
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def give_up(self, code: str) -> None:
        """Ends a connection with an answer to no request, unless its last one was written."""
        transport = self.transport
        if transport is not None and not self._is_dropping and not transport.is_closing():
            transport.write(_last_words(Problem(code)))
        self.close()

    def close(self) -> None:
        """Ends it, once what was written is sent."""
        self._is_closing = True
        self._wake()
        if self.transport is not None:
            self.transport.close()


def is_plain(message: RawRequestMessage) -> bool:
    """Whether we know how its body is sent: as it is, or in chunks."""
    coding = message.headers.get("Transfer-Encoding")
    is_known = coding is None or coding.lower() == "chunked"
    return is_known and message.version in _VERSIONS


def is_end(message: RawRequestMessage) -> bool:
    """Whether it must be the last of its connection.

    Its client says so, or it is not certain that we and whatever stands between agree on where the
    next one begins: after a request for another protocol, and after chunks (RFC 9112, 6.1 and 11.2).
    """
    is_other = message.upgrade or "Upgrade" in message.headers or message.method == "CONNECT"
    return bool(message.should_close or is_other or message.chunked)


def _last_words(problem: Problem) -> bytes:
    """The answer to what never became a request that was handled."""
    request_id = new_request_id()
    headers = {"Request-Id": request_id, **problem.headers}
    answer = Answer(problem.status, problem.body(request_id), headers)
    return written(answer, "", HttpVersion11, is_last=True)


def _unreadable(error: BaseException) -> Problem:
    """What is said of a message that aiohttp could not read. Its own words may quote what was sent."""
    if isinstance(error, http_exceptions.LineTooLong):
        return Problem("headers_too_large", is_last=True)
    if isinstance(error, http_exceptions.BadHttpMethod):
        return Problem("method_not_allowed", headers={"Allow": METHODS})
    return Problem("invalid_request", "This is not an HTTP request.")
