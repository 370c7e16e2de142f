"""Capacity for event streams: open ones by client and tenant, and memory of their pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Final

from api.http.problems import Problem
from engine.kernel.limits import (
    EVENT_STREAM_READ_SHARE,
    EVENT_STREAM_READS,
    EVENT_STREAM_RETRY_S,
    EVENT_STREAMS_BYTES_MAX,
)
from engine.kernel.rate import StreamQuotas

_SETTINGS: Final = {"client": "ORDER_ENGINE_STREAMS_CLIENT", "tenant": "ORDER_ENGINE_STREAMS_TENANT"}


class StreamRoom:
    """The capacity of one process. For one event loop.

    `holds` are the bytes of unsent pages read for single streams. Shared events are in memory once and
    do not count.
    """

    def __init__(
        self, quotas: StreamQuotas | None = None, holds_most: int = EVENT_STREAMS_BYTES_MAX
    ) -> None:
        self.quotas = quotas or StreamQuotas()
        self.count = 0
        self.holds = 0
        self._holds_most = holds_most
        self._of_client: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._held_by: Counter[str] = Counter()
        self._freed = asyncio.Event()
        self._reads = asyncio.Semaphore(EVENT_STREAM_READS)
        self._turns: dict[str, _Turn] = {}

    def check(self, client: str, tenant: str) -> None:
        """Raises Problem `rate_limited` if the client, its tenant or the process has too many."""
        quotas = self.quotas
        for owner, count, most in (
            ("client", self._of_client[client], quotas.client),
            ("tenant", self._of_tenant[tenant], quotas.tenant),
            ("process", self.count, quotas.total),
        ):
            if most is not None and count >= most:
                setting = _SETTINGS.get(owner)
                remedy = f"raise {setting}" if setting else "run another API process"
                raise Problem(
                    "rate_limited",
                    f"This {owner} has {count} streams of events open, the most there may be;"
                    f" close one or {remedy}.",
                    headers={"Retry-After": str(EVENT_STREAM_RETRY_S)},
                    context={"owner": owner, "open": count, "most": most},
                )

    @contextmanager
    def taken(self, client: str, tenant: str) -> Iterator[None]:
        """Occupies a place for one stream while it is open."""
        self.count += 1
        _add(self._of_client, client, 1)
        _add(self._of_tenant, tenant, 1)
        try:
            yield
        finally:
            self.count -= 1
            _add(self._of_client, client, -1)
            _add(self._of_tenant, tenant, -1)

    @asynccontextmanager
    async def page(self, client: str, expected: int) -> AsyncIterator[Callable[[int], None]]:
        """Reserves about `expected` bytes for a page until it is sent; waits for room.

        Yields a function to be called with the actual number.
        """
        while self.holds >= self._holds_most or self._held_by[client] >= self._holds_most // 4:
            self._freed.clear()
            await self._freed.wait()
        held = 0

        def resize(size: int) -> None:
            nonlocal held
            self.holds += size - held
            _add(self._held_by, client, size - held)
            held = size
            self._freed.set()

        resize(expected)
        try:
            yield resize
        finally:
            resize(0)

    @asynccontextmanager
    async def reading(self, client: str) -> AsyncIterator[None]:
        """The client's turn to read a page: one at a time, beside those of other clients."""
        turn = self._turns.setdefault(client, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                async with self._reads:
                    began_s = monotonic()
                    yield
                    took_s = monotonic() - began_s
                if turn.waiting > 1:
                    await asyncio.sleep(took_s * (EVENT_STREAM_READ_SHARE - 1))
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[client]


class _Turn:
    """Streams of one client that read, or wait to read."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


def _add(counts: Counter[str], key: str, more: int) -> None:
    counts[key] += more
    if not counts[key]:
        del counts[key]
