"""A real HTTP server on a thread of its own, and raw and plain clients for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

from api.http.app import App
from api.http.server import run, serve
from api.http.timing import Timing

WAIT_S = 20.0
"""Anything waited for in a test that has not come by then never will."""


QUICK = Timing(linger_s=0.2, drain_idle_s=0.05)


class Serving:
    """A server that runs until `stop`. `port` is where."""

    def __init__(self, opening: AbstractAsyncContextManager[App], timing: Timing) -> None:
        self.port = 0
        self._opening, self._timing = opening, timing
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        if self._error:
            raise self._error

    def _run(self) -> None:
        async def main() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            async with self._opening as app:
                await serve(
                    app, "127.0.0.1", 0, on_ready=self._is_ready, stop=self._stopping,
                    timing=self._timing,
                )  # fmt: skip

        try:
            run(main())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def _is_ready(self, port: int) -> None:
        self.port = port
        self._ready.set()

    def ask_to_stop(self) -> None:
        """As SIGTERM does."""
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)

    def wait_until_deaf(self) -> None:
        """Returns once no connection is accepted any more: it has begun to stop."""
        with suppress(ConnectionError):
            for _ in range(2_000):
                connect(self.port).close()
            raise AssertionError("it does not stop")

    def stop(self) -> None:
        """Asks, and waits for it."""
        if self._thread.is_alive():
            self.ask_to_stop()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error


@contextmanager
def serving(app: App | AbstractAsyncContextManager[App], timing: Timing = QUICK) -> Iterator[Serving]:
    """A server for the length of a test. What opens an app is entered on the server's loop."""
    server = Serving(nullcontext(app) if isinstance(app, App) else app, timing)
    try:
        yield server
    finally:
        server.stop()


class Reply(NamedTuple):
    """An answer as a client sees it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.json["code"])


class Client:
    """A plain client on one kept connection. `headers` go with each request.

    `check` receives each exchange: method, path, body, reply.
    """

    def __init__(
        self,
        port: int,
        headers: Mapping[str, str] | None = None,
        check: Callable[[str, str, bytes | None, Reply], None] | None = None,
    ) -> None:
        self.check = check
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self.headers = dict(headers or {})

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; a body that is no bytes is sent as JSON."""
        sent = {**self.headers, **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        self._connection.request(method, path, body, sent)
        answer = self._connection.getresponse()
        reply = Reply(answer.status, answer.headers, answer.read())
        if self.check is not None:
            self.check(method, path, body, reply)
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        """GET."""
        return self.send("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """POST."""
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.send("POST", path, body, names)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def connect(port: int) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def read_reply(stream: socket.socket) -> Reply | None:
    """One answer off a bare connection; None when the server closed it without."""
    answer = http.client.HTTPResponse(stream)
    try:
        answer.begin()
    except (http.client.BadStatusLine, ConnectionResetError):
        return None
    return Reply(answer.status, answer.headers, answer.read())


def is_closed(stream: socket.socket) -> bool:
    """Waits for the other side's end."""
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True
