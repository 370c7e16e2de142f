"""Bases of the generated clients: they carry out effects, one by waiting and one by awaiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from typing import Any, Final, Generic, Self, TypeVar

import httpx
from httpx_sse import EventSource, SSEError

from order_engine_client.effects import (
    Exchange,
    Exclusive,
    HttpResponse,
    Lost,
    Pause,
    Steps,
)
from order_engine_client.errors import UnexpectedAnswer
from order_engine_client.events import Event
from order_engine_client.operations import Executable, Listing
from order_engine_client.session import TIMEOUT_S, WITHIN_S, Session
from order_engine_client.streams import QUIET_S, Following

T = TypeVar("T")
H = TypeVar("H")
L = TypeVar("L")

NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors before there was a connection to send anything over."""


def _arguments(exchange: Exchange) -> dict[str, Any]:
    """The arguments of an httpx client's `request`."""
    request = exchange.request
    return {
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "content": request.body,
        "timeout": exchange.timeout_s,
        "follow_redirects": False,  # a token must not follow one to another place
    }


def _response(reply: httpx.Response) -> HttpResponse:
    return HttpResponse(reply.status_code, reply.headers, reply.content)


def _lost(error: httpx.RequestError) -> Lost:
    detail = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Lost(detail, was_sent=not isinstance(error, NOT_SENT))


class _Base(Generic[H, L]):
    """State and construction of both clients."""

    _new_http: Callable[[], H]
    _new_lock: Callable[[], L]

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        timeout_s: float = TIMEOUT_S,
        within_s: float = WITHIN_S,
        sees_own_writes: bool = False,
        allows_plain_http: bool = False,
        http: H | None = None,
    ) -> None:
        self._session = Session(
            url,
            client_id,
            client_secret,
            scope=scope,
            timeout_s=timeout_s,
            within_s=within_s,
            sees_own_writes=sees_own_writes,
            allows_plain_http=allows_plain_http,
        )
        self._http = self._new_http() if http is None else http
        self._is_http_ours = http is None
        self._lock = self._new_lock()

    @property
    def offset(self) -> int:
        """The journal's offset after this client's last answered command."""
        return self._session.offset

    def after(self, offset: int) -> Self:
        """The same client, whose reads show at least what the journal had at `offset`."""
        later = copy(self)
        later._session = self._session.after(offset)
        return later

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"


class BlockingClient(_Base[httpx.Client, threading.Lock]):
    """Carries out effects and waits for their results. Safe for many threads."""

    _new_http = httpx.Client
    _new_lock = threading.Lock

    def run(self, executable: Executable[T]) -> T:
        """The result of an operation. Raises OrderEngineError."""
        return self._walk(executable.steps(self._session))

    def entries(self, listing: Listing[T]) -> Iterator[T]:
        """All entries of a list; pages are fetched when they are needed."""
        rest: Listing[T] | None = listing
        while rest is not None:
            entries, rest = self.run(rest)
            yield from entries

    def stream(self, following: Following) -> Iterator[Event]:
        """The events of a stream as they come; a broken stream is reopened."""
        while not following.is_over:
            request = self._walk(following.opening(self._session))
            try:
                with self._http.stream(**_arguments(Exchange(request, QUIET_S))) as reply:
                    if reply.status_code != 200:
                        reply.read()
                        following.refused(_response(reply))
                        continue
                    for message in EventSource(reply).iter_sse():
                        yield from following.take(message)
                following.closed()
            except SSEError as error:
                raise UnexpectedAnswer(str(error)) from error
            except httpx.RequestError as error:
                following.lost(_lost(error))

    def _walk(self, steps: Steps[T]) -> T:
        got: Any = None
        while True:
            try:
                effect = steps.send(got)
            except StopIteration as end:
                result: T = end.value
                return result
            match effect:
                case Exchange():
                    try:
                        got = _response(self._http.request(**_arguments(effect)))
                    except httpx.RequestError as error:
                        got = _lost(error)
                case Pause(seconds):
                    time.sleep(seconds)
                    got = None
                case Exclusive(inner):
                    with self._lock:
                        self._walk(inner)
                    got = None

    def close(self) -> None:
        """Closes its connections."""
        if self._is_http_ours:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AwaitingClient(_Base[httpx.AsyncClient, asyncio.Lock]):
    """The same for asyncio: operations are awaited, lists and streams are async iterators."""

    _new_http = httpx.AsyncClient
    _new_lock = asyncio.Lock

    async def run(self, executable: Executable[T]) -> T:
        """The result of an operation. Raises OrderEngineError."""
        return await self._walk(executable.steps(self._session))

    async def entries(self, listing: Listing[T]) -> AsyncIterator[T]:
        """All entries of a list; pages are fetched when they are needed."""
        rest: Listing[T] | None = listing
        while rest is not None:
            entries, rest = await self.run(rest)
            for entry in entries:
                yield entry

    async def stream(self, following: Following) -> AsyncIterator[Event]:
        """The events of a stream as they come; a broken stream is reopened."""
        while not following.is_over:
            request = await self._walk(following.opening(self._session))
            try:
                async with self._http.stream(**_arguments(Exchange(request, QUIET_S))) as reply:
                    if reply.status_code != 200:
                        await reply.aread()
                        following.refused(_response(reply))
                        continue
                    async for message in EventSource(reply).aiter_sse():
                        for event in following.take(message):
                            yield event
                following.closed()
            except SSEError as error:
                raise UnexpectedAnswer(str(error)) from error
            except httpx.RequestError as error:
                following.lost(_lost(error))

    async def _walk(self, steps: Steps[T]) -> T:
        got: Any = None
        while True:
            try:
                effect = steps.send(got)
            except StopIteration as end:
                result: T = end.value
                return result
            match effect:
                case Exchange():
                    try:
                        got = _response(await self._http.request(**_arguments(effect)))
                    except httpx.RequestError as error:
                        got = _lost(error)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    got = None
                case Exclusive(inner):
                    async with self._lock:
                        await self._walk(inner)
                    got = None

    async def aclose(self) -> None:
        """Closes its connections."""
        if self._is_http_ours:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
