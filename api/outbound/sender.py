"""The HTTP client for receivers of webhooks: a thread with its own event loop.

Receivers are untrusted: answers are limited to 15 seconds and 64 KiB and then dropped, redirects are not
followed, and each connection's address must be public, whatever the name resolved to before.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, NamedTuple

import aiohttp
from aiohttp import abc

from api.http.loop import new_loop
from api.outbound.posting import Connector, outcome_of, post, retry_after_us, session
from engine.domain.attempts import Attempt, AttemptOutcome
from engine.kernel import wall
from engine.kernel.limits import ATTEMPT_S
from engine.kernel.signature import signature
from engine.registers.deliveries import Delivery

_LOG: Final = logging.getLogger("order_engine.webhooks")
_LOOKUPS: Final = 64
"""Concurrent name look-ups, in threads; one thread per name, however many messages wait."""


class Message(NamedTuple):
    """One event for one receiver, with at most `width` sent at once. Each of `keys` signs it."""

    delivery: Delivery
    id: str
    event_id: str
    url: str
    keys: Sequence[bytes]
    body: bytes
    width: int


class Done(NamedTuple):
    """The result of a message; None if it was withdrawn before being sent."""

    delivery: Delivery
    attempt: Attempt | None


class _Line:
    """Messages to one webhook: waiting ones, and the number in flight."""

    __slots__ = ("active", "waiting", "width")

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.active = 0
        self.width = 1


class _Cut:
    """The end of an attempt's time, noted: a timer can fire a moment before the time it was set for."""

    __slots__ = ("is_over", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.is_over = False

    def __call__(self) -> None:
        self.is_over = True
        self.task.cancel()


class Sender:
    """Posts messages, with a queue for each webhook. Thread-safe.

    `on_done` is called in the sender's thread with the number of results to `take`. `ssl_context` and
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
        self._ssl_context = ssl_context
        self._resolver = resolver
        self._attempt_s = attempt_s
        self._now_us = now_us
        self._done: deque[Done] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: dict[str, _Line] = {}
        self._loop = new_loop()
        self._session: aiohttp.ClientSession
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="sender", daemon=True)
        self._thread.start()
        ready.wait()

    def submit(self, messages: Sequence[Message]) -> None:
        """Starts sending them."""
        if messages:
            self._loop.call_soon_threadsafe(self._begin, messages)

    def withdraw(self, webhook: str | None = None) -> None:
        """Finishes waiting messages, of one webhook or all, without sending them."""
        self._loop.call_soon_threadsafe(self._withdraw, webhook)

    def take(self) -> list[Done]:
        """All results since the last call."""
        taken = []
        while self._done:
            taken.append(self._done.popleft())
        return taken

    def close(self) -> None:
        """Aborts requests in flight, and ends the thread."""
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
            for line in self._lines.values():
                line.waiting.clear()
            for task in self._tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            loop.run_until_complete(self._session.close())
        finally:
            loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        return session(
            Connector(
                allows_local=self._allows_local,
                ssl_context=self._ssl_context,
                resolver=self._resolver,
            )
        )

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
        """Sends message by message until none waits, or fewer at once are allowed."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while line.waiting and line.active <= line.width:
                await self._send(line.waiting.popleft(), task)
        finally:
            line.active -= 1

    async def _send(self, message: Message, task: asyncio.Task[None]) -> None:
        """Makes an attempt, in this task."""
        at_us, began_s = self._now_us(), perf_counter()
        cut = _Cut(task)
        timer = self._loop.call_later(self._attempt_s, cut)  # `asyncio.timeout` costs twice as much
        outcome: AttemptOutcome
        status, wait_us = None, 0
        try:
            headers = _headers(message, at_us)
            answered = await post(self._session, message.url, headers, message.body)
            status, outcome = answered.status, "succeeded" if answered.is_whole else "http"
            if outcome != "succeeded":
                wait_us = retry_after_us(answered.headers, at_us)
        except asyncio.CancelledError:
            if task.uncancel() or not cut.is_over:
                raise  # the sender is closing
            outcome = "timeout"
        except Exception as error:  # noqa: BLE001  whatever a receiver does is one of the outcomes
            outcome = outcome_of(error)
            if outcome == "connection" and not isinstance(error, aiohttp.ClientError | OSError):
                _LOG.exception("an attempt failed in a way that is new")
        finally:
            timer.cancel()
        duration_us = int((perf_counter() - began_s) * 1_000_000)
        attempt = Attempt(at_us, outcome, status, duration_us, wait_us)
        self._done.append(Done(message.delivery, attempt))
        self._on_done(len(self._done))


def _headers(message: Message, at_us: int) -> dict[str, str]:
    """The headers of a request, for this attempt."""
    timestamp = at_us // 1_000_000
    return {
        "Webhook-Id": message.id,
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Attempt": str(message.delivery.attempts + 1),
        "Webhook-Signature": signature(message.id, timestamp, message.body, message.keys),
        "Event-Id": message.event_id,
    }
