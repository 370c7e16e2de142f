"""One client's connection: aiohttp reads and writes HTTP, here is what it leaves open.

A total deadline for each message however slowly it drips, one envelope for what is no HTTP, and a stop
that drops no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import http_exceptions, web

from api.call import Answer
from api.problems import Problem
from engine.ids import IdSource
from engine.limits import (
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
JSON: Final = "application/json"
HEADERS: Final = {"Content-Type": JSON, "Cache-Control": "no-store", "Server": "order-engine"}
"""On every answer, beside its Request-Id."""


def new_request_id() -> str:
    """`req_` and 22 characters."""
    return _IDS.new("req")


def response_of(answer: Answer, request_id: str, limits: Mapping[str, str] = {}) -> web.Response:
    """An answer in aiohttp's terms; `limits` are headers too."""
    headers = {**HEADERS, "Request-Id": request_id, **limits}
    if answer.headers:
        headers.update(answer.headers)
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def refusal_of(problem: Problem) -> web.Response:
    """The answer to what never became a request; the last one of its connection."""
    request_id = new_request_id()
    response = response_of(Answer(problem.status, problem.body(request_id), problem.headers), request_id)
    response.force_close()
    return response


class Timing(NamedTuple):
    """How long things may take, in seconds. See engine/limits.py for the reasons."""

    message_s: float = HTTP_MESSAGE_S
    idle_s: float = HTTP_IDLE_S
    linger_s: float = HTTP_LINGER_S
    drain_idle_s: float = HTTP_DRAIN_IDLE_S
    stop_s: float = HTTP_STOP_S


class Connection(web.RequestHandler):
    """One client's connection.

    began         loop time of the first byte of a message that is not complete yet, else None
    quiet_since   loop time of the last byte that came
    is_handling   a request is being read or answered
    is_last       nothing more is read after this answer
    unsent        bytes of answers that the client had not taken at the last sweep
    taken_at      loop time of the sweep that last saw it take some
    """

    __slots__ = (
        "began", "is_handling", "is_last", "message_s", "quiet_since", "taken_at", "unsent",
    )  # fmt: skip

    def __init__(self, manager: Connections, *, message_s: float, **kwargs: Any) -> None:
        self.message_s = message_s
        self.began: float | None = None
        self.is_handling = False
        self.is_last = manager.is_stopping
        super().__init__(manager, **kwargs)
        self.quiet_since = self.taken_at = self._loop.time()
        self.unsent = 0

    @property
    def deadline(self) -> float:
        """Loop time by which the message that is being read must be complete."""
        return (self._loop.time() if self.began is None else self.began) + self.message_s

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

    def data_received(self, data: bytes) -> None:
        """Notes when a message begins, and leaves the rest to aiohttp."""
        self.quiet_since = self._loop.time()
        if self.began is None:
            self.began = self.quiet_since
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's, of which aiohttp returns None
        """The client sends no more, which may mean that it now waits for what it asked last."""
        self.is_last = True
        return self.is_handling or self.began is not None

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (may quote what was sent)
    ) -> web.StreamResponse:
        """The envelope for a message that aiohttp could not read."""
        if status >= 500:
            _LOG.error("a request failed outside its handler", exc_info=exc)
            return refusal_of(Problem("server_error"))
        if isinstance(exc, http_exceptions.LineTooLong):
            return refusal_of(Problem("headers_too_large"))
        if isinstance(exc, http_exceptions.BadHttpMethod):
            return refusal_of(Problem("method_not_allowed", headers={"Allow": METHODS}))
        return refusal_of(Problem("invalid_request", "this is no HTTP request"))

    def give_up(self) -> None:
        """Ends a connection whose message did not become complete in time."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_raw(refusal_of(Problem("request_timeout"))))
        self.force_close()


def _raw(response: web.Response) -> bytes:
    """An answer outside aiohttp's own flow, which has no request to answer yet."""
    assert isinstance(response.body, bytes)
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}\r\n".encode() + response.body


class Connections(web.Server):
    """All connections of one server."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.Response]], timing: Timing
    ) -> None:
        self.is_stopping = False
        self._timing = timing
        super().__init__(
            handler,
            keepalive_timeout=timing.idle_s,
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
        return Connection(self, message_s=self._timing.message_s, loop=self._loop, **self._kwargs)

    @property
    def all(self) -> list[Connection]:
        """Those that are open."""
        return [known for known in self.connections if isinstance(known, Connection)]

    async def sweep(self) -> None:
        """Ends connections whose message, or answer, takes too long; for ever."""
        while True:
            await asyncio.sleep(self._timing.message_s / _SWEEPS)
            now = self._loop.time()
            for connection in self.all:
                if connection.is_overdue(now):
                    connection.give_up()
                elif connection.is_stuck(now) and connection.transport is not None:
                    connection.transport.abort()

    async def drain(self) -> None:
        """Answers what has been sent, telling each client that it was the last; at most `stop_s`.

        A connection is closed after its next answer, or when it has been quiet for `drain_idle_s`.
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
