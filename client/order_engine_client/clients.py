"""The two clients: the same calls, one waits for answers and one is awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from typing import Any, Final, Generic, Self, TypeVar

import httpx

from order_engine_client.endpoints import Endpoints
from order_engine_client.plans import (
    Alone,
    Answer,
    Awaiting,
    Blocking,
    Exchange,
    Listing,
    Lost,
    Pause,
    Plan,
    Steps,
)
from order_engine_client.resources import Event
from order_engine_client.session import TIMEOUT_S, WITHIN_S, Session
from order_engine_client.streams import QUIET_S, Following

T = TypeVar("T")
H = TypeVar("H")
L = TypeVar("L")

NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors before a connection was there to send anything over."""


def _arguments(exchange: Exchange) -> dict[str, Any]:
    """Of an httpx client's `request`."""
    request = exchange.request
    return {
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "content": request.body,
        "timeout": exchange.timeout_s,
        "follow_redirects": False,  # a token must not follow one to another place
    }


def _answer(reply: httpx.Response) -> Answer:
    return Answer(reply.status_code, reply.headers, reply.content)


def _lost(error: httpx.RequestError) -> Lost:
    detail = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Lost(detail, was_sent=not isinstance(error, NOT_SENT))


class _Common(Endpoints, Generic[H, L]):
    """What both have: what they know, and how they are made."""

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
        """How far the journal had come after the last command that this client was answered."""
        return self._session.offset

    def after(self, offset: int) -> Self:
        """The same client, whose reads show at least what the journal had at `offset`."""
        later = copy(self)
        later._session = self._session.after(offset)
        return later

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"


class Client(_Common[httpx.Client, threading.Lock], Blocking):
    """Calls the engine and waits for its answers. May be used by many threads at once.

    `scope` narrows what it may do. `timeout_s` is for one step on the network, `within_s` for a call and
    all its tries. With `sees_own_writes` a read shows all that this client has written, whichever of
    several API processes answers it; with one process that is so anyway. `http` brings a client of your
    own, with proxies or certificates; you close it.
    """

    _new_http = httpx.Client
    _new_lock = threading.Lock

    def run(self, plan: Plan[T]) -> T:
        """The result of a plan. Raises OrderEngineError."""
        return self._walk(plan.steps(self._session))

    def entries(self, listing: Listing[T]) -> Iterator[T]:
        """All entries of a list, fetched as they are asked for."""
        rest: Listing[T] | None = listing
        while rest is not None:
            entries, rest = self.run(rest)
            yield from entries

    def stream(self, following: Following) -> Iterator[Event]:
        """The events of a stream, as they come; it is opened again whenever it breaks."""
        while not following.is_over:
            request = self._walk(following.opening(self._session))
            try:
                with self._http.stream(**_arguments(Exchange(request, QUIET_S))) as reply:
                    if reply.status_code != 200:
                        reply.read()
                        following.refused(_answer(reply))
                        continue
                    for piece in reply.iter_raw():
                        yield from following.take(piece)
                following.closed()
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
                        got = _answer(self._http.request(**_arguments(effect)))
                    except httpx.RequestError as error:
                        got = _lost(error)
                case Pause(seconds):
                    time.sleep(seconds)
                    got = None
                case Alone(inner):
                    with self._lock:
                        self._walk(inner)
                    got = None

    def close(self) -> None:
        """Ends its connections."""
        if self._is_http_ours:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Common[httpx.AsyncClient, asyncio.Lock], Awaiting):
    """The same for asyncio: calls are awaited, lists are gone through with `async for`."""

    _new_http = httpx.AsyncClient
    _new_lock = asyncio.Lock

    async def run(self, plan: Plan[T]) -> T:
        """The result of a plan. Raises OrderEngineError."""
        return await self._walk(plan.steps(self._session))

    async def entries(self, listing: Listing[T]) -> AsyncIterator[T]:
        """All entries of a list, fetched as they are asked for."""
        rest: Listing[T] | None = listing
        while rest is not None:
            entries, rest = await self.run(rest)
            for entry in entries:
                yield entry

    async def stream(self, following: Following) -> AsyncIterator[Event]:
        """The events of a stream, as they come; it is opened again whenever it breaks."""
        while not following.is_over:
            request = await self._walk(following.opening(self._session))
            try:
                async with self._http.stream(**_arguments(Exchange(request, QUIET_S))) as reply:
                    if reply.status_code != 200:
                        await reply.aread()
                        following.refused(_answer(reply))
                        continue
                    async for piece in reply.aiter_raw():
                        for event in following.take(piece):
                            yield event
                following.closed()
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
                        got = _answer(await self._http.request(**_arguments(effect)))
                    except httpx.RequestError as error:
                        got = _lost(error)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    got = None
                case Alone(inner):
                    async with self._lock:
                        await self._walk(inner)
                    got = None

    async def aclose(self) -> None:
        """Ends its connections."""
        if self._is_http_ours:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
