"""aiohttp's application: every request goes to one function, and its answer back."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from aiohttp import web

from api.http.call import Answer
from api.http.connection import Connection, connection_of
from api.http.problems import Problem
from api.http.response import new_request_id, response_of
from api.http.streams import Line
from engine.kernel.limits import EVENT_STREAM_SOCKET_BYTES, EVENT_STREAM_STALL_S, HTTP_BODY_BYTES_MAX

_LOG: Final = logging.getLogger("order_engine.api")

Answering = Callable[[web.BaseRequest, Connection], Awaitable[Answer]]
"""Answers a request; its body comes by the connection."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(answer: Answering) -> web.Application:
    """What a runner of aiohttp serves. The routes are ours (see `api.http.call.tree_of`)."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001
        try:
            return await _answered(answer, request)
        except ConnectionError:
            raise
        except Exception as error:
            _LOG.error("a connection failed", exc_info=error)
            raise ConnectionAbortedError from error  # has aiohttp end it

    app = web.Application(middlewares=[answered], client_max_size=HTTP_BODY_BYTES_MAX + 1)
    app.router.add_route("*", "/{path:.*}", _unreached, expect_handler=_expected)
    return app


async def _unreached(_: web.Request) -> web.StreamResponse:
    raise AssertionError("the middleware answers")


async def _expected(_: web.Request) -> None:
    """Nothing yet: a body is invited once its request may have one (see `api.http.app`)."""


async def _answered(answer: Answering, request: web.Request) -> web.StreamResponse:
    """Answers a request, and sends the answer."""
    connection, goes_on = connection_of(request), False
    connection.begin(request)
    try:
        try:
            given = await answer(request, connection)
            response = await _started(given, request, connection)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is becomes an answer
            _LOG.error("a request failed outside its handler", exc_info=error)
            connection.is_last = True
            given = _server_error()
            response = await _started(given, request, connection)
        if given.stream is not None and request.method != "HEAD":
            await _flow(given.stream, response, connection)
        with suppress(ConnectionError):
            await response.write_eof()
        goes_on = bool(response.keep_alive)
        return response
    finally:
        connection.finish(goes_on=goes_on)


async def _started(answer: Answer, request: web.Request, connection: Connection) -> web.StreamResponse:
    """The response, its head prepared. Raises ValueError where a header holds the end of a line."""
    response = response_of(answer)
    is_cut = connection.is_last or not request.content.is_eof()
    is_all = connection.is_at_end and not connection.has_more
    if is_cut or is_all or answer.stream is not None or is_end(request):
        response.force_close()
    await response.prepare(request)
    return response


def _server_error() -> Answer:
    problem, request_id = Problem("server_error"), new_request_id()
    return Answer(problem.status, problem.body(request_id), {"Request-Id": request_id})


def is_end(request: web.BaseRequest) -> bool:
    """Whether it must be the last of its connection.

    Its client says so, or it is not certain that we and whatever stands between agree on where the
    next one begins: after a request for another protocol, and after chunks (RFC 9112, 6.1 and 11.2).
    """
    headers = request.headers
    is_other = "Upgrade" in headers or request.method == "CONNECT"
    return not request.keep_alive or is_other or "Transfer-Encoding" in headers


class StreamLine:
    """The way of a stream to its client (see `streams.Line`)."""

    def __init__(self, response: web.StreamResponse, connection: Connection) -> None:
        self._response, self._connection = response, connection

    @property
    def is_gone(self) -> bool:
        return self._connection.is_gone

    async def send(self, words: bytes) -> None:
        async with asyncio.timeout(EVENT_STREAM_STALL_S):
            await self._response.write(words)
            await self._connection.drain()


async def _flow(
    stream: Callable[[Line], Awaitable[None]], response: web.StreamResponse, connection: Connection
) -> None:
    transport = connection.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(high=0)  # `send` waits until all of it is taken
    wire = transport.get_extra_info("socket")
    with suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, EVENT_STREAM_SOCKET_BYTES)
    try:
        await stream(StreamLine(response, connection))
    except Exception as error:  # noqa: BLE001  too late for an answer
        _LOG.error("a stream failed", exc_info=error)
