"""One client's connection, between its transport and aiohttp's request handler.

aiohttp parses and answers. This adds bounds: the size of a head, the time for a message, and the memory
of all messages.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

from aiohttp import StreamReader, hdrs, web

from api.http.guests import Guest
from api.http.problems import Problem
from api.http.rates import Rates
from api.http.response import last_words
from api.http.timing import Timing
from engine.kernel.limits import HTTP_HEAD_BYTES_MAX, HTTP_READ_BYTES, MESSAGE_BYTES_FREE

_LINE_BYTES: Final = 300
"""Memory of a header beside twice its bytes: a name and a value, as text and as bytes."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_CHUNKS: Final = sys.maxsize
"""The length of a body in chunks: its connection ends behind it."""


class House(Protocol):
    """The interface to all other connections (see `api.http.connections`)."""

    loop: asyncio.AbstractEventLoop
    timing: Timing
    rates: Rates
    buffer: memoryview
    is_stopping: bool

    def new_handler(self) -> asyncio.Protocol:
        """aiohttp's handler of a connection's requests."""

    def enter(self, connection: Connection) -> Guest | None:
        """Counts a connection; None if there is no room for it."""

    def know(self, connection: Connection, client: str) -> bool:
        """Notes a valid token; False if its client has too many connections."""

    def leave(self, connection: Connection) -> None:
        """Stops counting a closed or closing connection."""


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that a request came by. Raises ConnectionResetError if it is lost already."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    return cast(Connection, transport.get_protocol())


class Connection(asyncio.BufferedProtocol):
    """One client's connection.

    began         loop time of the first byte of a message that is not answered yet, else None
    quiet_since   loop time of the last byte that came, or of the last answer
    is_handling   a request is being read or answered, by `task`
    is_last       nothing more is read after this answer
    is_at_end     the client has closed its half
    guest         what it is counted as while it is open; None: it is not
    has_asked     a whole head has come
    refusal       why the rest of the body is not read, if that is our doing

    aiohttp's handler is given a head, then what belongs to its body, and no byte of what follows: that
    waits in `_behind` until the answer is sent. So the size of a head is known exactly, each message has
    a deadline of its own, and nothing is read after a request whose end is not certain. `_left` are the
    missing bytes of a body, None until aiohttp has read its head.
    """

    __slots__ = (
        "_behind", "_content", "_cost", "_drained", "_handler", "_has_head", "_head_bytes", "_house",
        "_idle_bytes", "_is_blank", "_is_deaf", "_is_held", "_left", "_reading", "_seam", "_taken_at",
        "_unsent", "began", "guest", "has_asked", "is_at_end", "is_handling", "is_last", "quiet_since",
        "refusal", "task", "transport",
    )  # fmt: skip

    def __init__(self, house: House) -> None:
        self._house = house
        self._handler: asyncio.Protocol | None = None
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[object] | None = None
        self.guest: Guest | None = None
        self.refusal: Problem | None = None
        self.quiet_since = self._taken_at = house.loop.time()
        self.is_last = house.is_stopping
        self.is_handling = self.has_asked = self.is_at_end = self._is_deaf = self._is_held = False
        self._unsent = 0
        self._behind = b""
        self._reading: asyncio.Timeout | None = None
        self._drained: asyncio.Future[None] | None = None
        self._expect_message()

    def _expect_message(self) -> None:
        self.began: float | None = None
        self._has_head, self._is_blank, self._seam = False, True, b""
        self._left: int | None = None
        self._content: StreamReader | None = None
        self._head_bytes = self._cost = self._idle_bytes = 0

    # --- what the server looks at -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """Loop time by which the message that is being read must be complete."""
        began = self._house.loop.time() if self.began is None else self.began
        return began + self._house.timing.message_s

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
    def is_gone(self) -> bool:
        """Whether the client is: one that listens has no reason to close its half."""
        return self.is_at_end or self.transport is None or self.transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def is_overdue(self, now: float) -> bool:
        """Whether a message began too long ago. The task that reads a body has a deadline of its own."""
        return self.began is not None and not self.is_handling and now > self.deadline

    def is_stuck(self, now: float) -> bool:
        """Whether an answer has waited too long for a client that takes none of it."""
        size = self.unsent
        if not size or size < self._unsent:
            self._taken_at = now
        self._unsent = size
        return now > self._taken_at + self._house.timing.message_s

    # --- the transport calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts it, and ends it at once when there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.guest = self._house.enter(self)
        if self.guest is None:
            self.give_up(Problem("rate_limited"))
        else:
            self._handler = self._house.new_handler()
            self._handler.connection_made(transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """One for all connections: what is read is copied out before another reads."""
        return self._house.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Notes when a message begins, and passes on what came."""
        self.quiet_since = self._house.loop.time()
        if self._is_deaf:
            return
        if self.began is None and not self._has_head:
            self.began = self.quiet_since
        self._take(bytes(self._house.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The client sends no more: it may wait for its answer, but what is not complete never is."""
        self.is_at_end = True
        if not self._is_deaf:
            self._check_end()
        return self.is_handling or (self._has_head and self.began is not None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it no more, and lets aiohttp and the sender of a stream know."""
        self.transport = None
        self._is_deaf = True
        self._house.leave(self)
        if self._handler is not None:
            self._handler.connection_lost(exc)
        self._go_on_sending()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._drained = self._house.loop.create_future()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It has taken it."""
        if self._handler is not None:
            self._handler.resume_writing()
        self._go_on_sending()

    def _go_on_sending(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def drain(self) -> None:
        """Returns once the client has taken enough."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    # --- bytes to messages ------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Gives aiohttp what belongs to this message; the rest waits."""
        while data and not self._is_deaf:
            if not self._has_head:
                size = self._of_head(data)
                self._head_bytes += size
                self._hold(2 * size + _LINE_BYTES * data.count(b"\n", 0, size))
            elif self._left:
                size = min(len(data), self._left)
                self._left -= size
                self._hold(size)
            else:
                self._behind += data
                self._read_or_not()
                return
            self._feed(data[:size])
            data = data[size:]

    def _of_head(self, data: bytes) -> int:
        """How many bytes of `data` belong to the head; its end may be spread over two reads."""
        start = 0
        if self._is_blank:  # lines before a head that are none of it
            start = len(data) - len(data.lstrip(b"\r\n"))
            if start == len(data):
                return start
            self._is_blank = False
            if data.startswith(b"CONNECT ", start):  # it has no path, by which aiohttp finds its handler
                self._refuse(Problem("not_found"))
                return len(data)
        seam = self._seam
        end = (seam + data).find(_END_OF_HEAD) - len(seam) if seam else data.find(_END_OF_HEAD, start)
        if end >= -len(seam):
            self._has_head = self.has_asked = True
            return end + len(_END_OF_HEAD)
        self._seam = (seam + data[start:])[1 - len(_END_OF_HEAD) :]
        return len(data)

    def _feed(self, piece: bytes) -> None:
        """Some of what comes of a body is none of it, and must end too: trailers, and between chunks."""
        if self._is_deaf or self._handler is None:
            return
        before = self._content.total_bytes if self._content is not None else 0
        self._handler.data_received(piece)
        if self._content is not None:
            progress = self._content.total_bytes - before
            self._idle_bytes = 0 if progress else self._idle_bytes + len(piece)
            if self._idle_bytes > HTTP_HEAD_BYTES_MAX:
                self._refuse(Problem("headers_too_large", is_last=True))

    def _hold(self, size: int) -> None:
        """Counts what a message takes in memory until it is answered."""
        self._cost += size
        if self._cost <= MESSAGE_BYTES_FREE or self.guest is None:
            return
        if self._head_bytes > HTTP_HEAD_BYTES_MAX:
            self._refuse(Problem("headers_too_large", is_last=True))
        elif not self._house.rates.guests.hold(self.guest, self._cost):
            self._refuse(
                Problem(
                    "rate_limited",
                    "Too many large requests of this address are open; wait for their answers.",
                    is_last=True,
                )
            )

    def _read_or_not(self) -> None:
        """Reads no more while much waits behind a message."""
        is_held = len(self._behind) >= HTTP_READ_BYTES
        if self.transport is None or self.transport.is_closing():
            return
        if is_held:
            self.transport.pause_reading()
        elif self._is_held:
            self.transport.resume_reading()
        self._is_held = is_held

    def _take_behind(self) -> None:
        behind, self._behind = self._behind, b""
        if behind:
            self._read_or_not()
            self._take(behind)

    def _check_end(self) -> None:
        """Ends what a client that sends no more has begun."""
        if not self._has_head:
            if self.began is not None:
                self.give_up(Problem("request_timeout"))
        elif self._content is not None and not self._content.is_eof():
            self._refuse(Problem("request_timeout", is_last=True))

    def _refuse(self, problem: Problem) -> None:
        """Reads nothing more: it is not known where another message would begin."""
        if self._content is None:
            self.give_up(problem)
        elif self.refusal is None:
            self._is_deaf, self.refusal = True, problem
            if self._reading is not None:
                self._reading.reschedule(self._house.loop.time())

    # --- one request ------------------------------------------------------------------------------

    def begin(self, request: web.BaseRequest) -> None:
        """aiohttp has read a head: its body may follow."""
        self.is_handling, self.task = True, asyncio.current_task()
        self._content = request.content
        is_chunked = hdrs.TRANSFER_ENCODING in request.headers
        self._left = _CHUNKS if is_chunked else request.content_length or 0
        self._take_behind()
        if self.is_at_end:
            self._check_end()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Waiting for a body. Raises TimeoutError at its deadline, or as soon as there is a refusal."""
        when = self.deadline if self.refusal is None else self._house.loop.time()
        try:
            async with asyncio.timeout_at(when) as self._reading:
                yield
        finally:
            self._reading = None

    def invite(self) -> None:
        """Tells a client that waits for it to send its body."""
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def know(self, client: str) -> None:
        """It has shown a valid token. Raises Problem `rate_limited` where that client has too many."""
        if self.guest is not None and not self._house.know(self, client):
            raise Problem(
                "rate_limited",
                "This client has too many connections open; close some, or use them again.",
                is_last=True,
            )

    @property
    def has_more(self) -> bool:
        """Whether something stands behind the message that is being answered."""
        return bool(self._behind)

    def finish(self, *, goes_on: bool) -> None:
        """The answer is about to be sent. What follows is the next message, unless this was the last."""
        self.is_handling, self.task = False, None
        self.quiet_since = self._house.loop.time()
        if self.guest is not None and self.guest.holds:
            self._house.rates.guests.hold(self.guest, 0)
        if not goes_on:  # aiohttp takes the rest of its body, and ends the connection
            self.began, self._behind = None, b""
            self._is_deaf = self._is_deaf or self._content is None or self._content.is_eof()
            return
        if self._behind or self.is_at_end:
            self._house.loop.call_soon(self._next)  # what is said of that comes after the answer
        else:
            self._expect_message()

    def _next(self) -> None:
        self._expect_message()
        if self._behind:
            self.began = self._house.loop.time()
            self._take_behind()
        if self.is_at_end:
            self._check_end()
            if self.is_idle:
                self.close()

    # --- the end ----------------------------------------------------------------------------------

    def give_up(self, problem: Problem) -> None:
        """Answers what is no request, and ends it later: a client that still sends would see a reset."""
        transport = self.transport
        if transport is None or self._is_deaf or transport.is_closing():
            return
        self._is_deaf, self.began, self._behind = True, None, b""
        transport.write(last_words(problem))
        self._house.loop.call_later(self._house.timing.linger_s, self.close)

    def close(self) -> None:
        """Ends it, once what was written is sent."""
        self._is_deaf = True
        if self.transport is not None:
            self.transport.close()
