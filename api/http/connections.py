"""All connections of one server: admission, time-outs, and the drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from api.http.connection import Connection
from api.http.guests import Guest
from api.http.problems import Problem
from api.http.rates import Rates
from api.http.timing import Timing
from engine.kernel.limits import HTTP_READ_BYTES, HTTP_UNSENT_BYTES_MAX

_LOG: Final = logging.getLogger("order_engine.api")
_SWEEPS: Final = 20
"""A deadline is noticed within this fraction of itself."""


class Connections:
    """The connections of one server; called for each new one. Create it on the serving loop.

    All read into `buffer`. `_strangers` have shown no valid token, oldest first: if there are too many
    connections, one of them is closed.
    """

    def __init__(
        self, new_handler: Callable[[], asyncio.Protocol], rates: Rates, timing: Timing
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_stopping = False
        self.rates = rates
        self.timing = timing
        self.buffer = memoryview(bytearray(HTTP_READ_BYTES))
        self.all: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        self.new_handler = new_handler

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self)

    def enter(self, connection: Connection) -> Guest | None:
        """Counts a connection; None if there is no room for it."""
        self.all.add(connection)
        if self.rates.guests.is_full:
            self._make_room()
        guest = self.rates.enter(connection.address)
        if guest is not None:
            self._strangers[connection] = None
        return guest

    def _make_room(self) -> None:
        """Closes the oldest stranger without a request in progress."""
        for stranger in self._strangers:
            if not stranger.is_handling:
                stranger.close()
                self.leave(stranger)
                return

    def know(self, connection: Connection, client: str) -> bool:
        """Notes a valid token; False if its client has too many connections."""
        guest = connection.guest
        if guest is None or not self.rates.guests.know(guest, client):
            return False
        self._strangers.pop(connection, None)
        return True

    def leave(self, connection: Connection) -> None:
        """Stops counting a closed or closing connection."""
        self.all.discard(connection)
        self._strangers.pop(connection, None)
        if connection.guest is not None:
            self.rates.guests.leave(connection.guest)
            connection.guest = None

    async def sweep(self) -> None:
        """Closes connections that are idle, or whose message or answer takes too long; runs forever."""
        timing = self.timing
        while True:
            await asyncio.sleep(min(timing.message_s, timing.idle_s) / _SWEEPS)
            for connection in [*self.all]:
                try:
                    self._look_at(connection, self.loop.time())
                except Exception as error:  # noqa: BLE001  the deadlines of the others hold
                    _LOG.error("a connection could not be looked at", exc_info=error)
                    connection.close()
            unsent = sum(connection.unsent for connection in self.all)
            if unsent > HTTP_UNSENT_BYTES_MAX:
                self._end_slowest(unsent)

    def _look_at(self, connection: Connection, now: float) -> None:
        timing = self.timing
        idle_s = timing.idle_s if connection.has_asked else min(timing.idle_s, timing.message_s)
        if connection.is_overdue(now):
            connection.give_up(Problem("request_timeout"))
        elif connection.is_stuck(now) and connection.transport is not None:
            connection.transport.abort()
        elif connection.is_idle and connection.quiet_since < now - idle_s:
            connection.close()

    def _end_slowest(self, unsent: int) -> None:
        """Closes those that have taken the least of their answers, until there is room."""
        for connection in sorted(self.all, key=lambda one: -one.unsent):
            if unsent <= HTTP_UNSENT_BYTES_MAX or connection.transport is None:
                return
            unsent -= connection.unsent
            connection.transport.abort()

    async def drain(self) -> None:
        """Graceful shutdown: answers pending requests with `Connection: close`, within `stop_s`.

        A connection is closed after its next answer, or when idle for `drain_idle_s`. Stop accepting
        connections first: clients reconnect at once.
        """
        self.is_stopping = True
        deadline = self.loop.time() + self.timing.stop_s
        for connection in self.all:
            connection.is_last = True
        while self.all and self.loop.time() < deadline:
            quiet = self.loop.time() - self.timing.drain_idle_s
            for connection in [*self.all]:
                if connection.is_idle and connection.quiet_since < quiet:
                    connection.close()
            await asyncio.sleep(self.timing.drain_idle_s / 10)
        tasks = [connection.task for connection in self.all if connection.task is not None]
        for connection in [*self.all]:
            connection.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
