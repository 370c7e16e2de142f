"""A database that is far away: a TCP relay that holds back what it passes on."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType

import sqlalchemy as sa

BUFFER = 1 << 16


class Distance:
    """Listens on a loopback port; `url` is the server's through it, each round trip `delay_s` longer."""

    def __init__(self, url: str, delay_s: float) -> None:
        self._server, self._delay_s = sa.make_url(url), delay_s
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._port = 0

    @property
    def server_url(self) -> str:
        """Of the database itself."""
        return self._server.render_as_string(hide_password=False)

    @property
    def url(self) -> str:
        """Of the same database, from far away."""
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        through = self._server.set(host="127.0.0.1", port=self._port, query=plain)
        return through.render_as_string(hide_password=False)

    def __enter__(self) -> Distance:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.call_soon, self._loop.stop)  # once they have ended

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_server(self._relay, "127.0.0.1", 0)
        server = self._loop.run_until_complete(listening)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._server.host or "127.0.0.1", self._server.port or 5432
        theirs, to_them = await asyncio.open_connection(host, port)
        await asyncio.gather(
            self._pass(reader, to_them), self._pass(theirs, writer), return_exceptions=True
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each piece half the delay later, without holding up the next."""
        with suppress(ConnectionError):
            while piece := await reader.read(BUFFER):
                self._loop.call_later(self._delay_s / 2, writer.write, piece)
        self._loop.call_later(self._delay_s / 2, writer.close)
