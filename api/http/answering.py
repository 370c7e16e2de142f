"""aiohttp's application: every request goes to one function, and its answer back."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from aiohttp import hdrs, web
from yarl import URL

from api.http.bridge import DEADLINE
from api.http.call import Answer
from api.http.connection import Connection, connection_of
from api.http.problems import Problem
from api.http.response import new_request_id, response_of
from api.http.streams import Line
from engine.kernel.limits import EVENT_STREAM_SOCKET_BYTES, EVENT_STREAM_STALL_S, HTTP_BODY_BYTES_MAX

_LOG: Final = logging.getLogger("order_engine.api")

Answering = Callable[[web.BaseRequest, Connection], Awaitable[Answer]]
"""Answers a request; its body comes by the connection."""


class EveryPath(web.AbstractResource):
    """The one resource of the application: the routes are ours (see `api.http.call.tree_of`).

    As the resource of the root it is found last, behind those of sub-applications.
    """

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        super().__init__()
        self._route = web.ResourceRoute("*", handler, self, expect_handler=_expected)

    @property
    def canonical(self) -> str:
        return "/"

    async def resolve(self, _: web.Request) -> tuple[web.UrlMappingMatchInfo, set[str]]:
        return web.UrlMappingMatchInfo({}, self._route), set()

    def raw_match(self, _: str) -> bool:
        return False

    def url_for(self, **_: str) -> URL:
        return URL(self.canonical)

    def add_prefix(self, _: str) -> None:
        raise NotImplementedError("it belongs to the root")

    def get_info(self) -> Any:
        return {"path": self.canonical}

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter((self._route,))


def application(answer: Answering) -> web.Application:
    """The application of an aiohttp runner."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await _answered(answer, request)
        except ConnectionError:
            raise
        except Exception as error:
            _LOG.error("a connection failed", exc_info=error)
            raise ConnectionAbortedError from error  # has aiohttp end it

    app = web.Application(client_max_size=HTTP_BODY_BYTES_MAX + 1)
    app.router.register_resource(EveryPath(answered))
    return app


async def _expected(_: web.Request) -> None:
    """Nothing yet: a body is invited once its request may have one (see `api.http.app`)."""


async def _answered(answer: Answering, request: web.Request) -> web.StreamResponse:
    """The response to a request, which aiohttp sends; a stream is sent already."""
    connection, goes_on = connection_of(request), False
    connection.begin(request)
    try:
        try:
            given = await answer(request, connection)
            response = response_of(given)
        except Exception as error:  # noqa: BLE001  whatever it is becomes an answer
            _LOG.error("a request failed outside its handler", exc_info=error)
            connection.is_last = True
            given = _server_error()
            response = response_of(given)
        is_last = (
            connection.is_last
            or given.stream is not None
            or not request.content.is_eof()
            or is_end(request)
            or (connection.is_at_end and not connection.has_more)
        )
        if is_last:
            response.force_close()
        if given.stream is not None and request.method != "HEAD":
            await response.prepare(request)
            DEADLINE.set(None)  # a stream has no end; each of its reads has its own
            await _flow(given.stream, response, connection)
        goes_on = not is_last
        return response
    finally:
        connection.finish(goes_on=goes_on)


def _server_error() -> Answer:
    problem, request_id = Problem("server_error"), new_request_id()
    return Answer(problem.status, problem.body(request_id), {"Request-Id": request_id})


def is_end(request: web.BaseRequest) -> bool:
    """Whether it must be the last of its connection.

    Its client says so, or it is not certain that we and whatever stands between agree on where the
    next one begins: after a request for another protocol, and after chunks (RFC 9112, 6.1 and 11.2).
    """
    headers = request.headers
    return not request.keep_alive or hdrs.UPGRADE in headers or hdrs.TRANSFER_ENCODING in headers


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
