"""The HTTP server: its socket, its loop, and how it stops."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from api.http.app import App
from api.http.connections import Connections, Timing
from api.http.loop import new_loop
from engine.config.settings import HTTP_PARSER
from engine.kernel.errors import BadSettings
from engine.kernel.limits import CONNECTIONS_MAX, FILES_KEPT

_BACKLOG: Final = 1024


async def serve(
    app: App,
    host: str,
    port: int,
    *,
    on_ready: Callable[[int], None] = lambda _: None,
    stop: asyncio.Event | None = None,
    timing: Timing = Timing(),  # noqa: B008  (immutable)
    allows_python_parser: bool = False,
) -> None:
    """Serves until `stop` is set, or without one until SIGTERM or SIGINT; then drains and returns.

    `port` 0 takes a free one; `on_ready` is told the port once connections are accepted. Raises OSError
    when the address cannot be bound, BadSettings on a parser that is not trusted.
    """
    check_parser(allows_python=allows_python_parser)
    loop = asyncio.get_running_loop()
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    connections = Connections(app, app.rates, timing)
    app.rates.guests.most = room_for_connections()
    listening = _bind(host, port)
    listener = await loop.create_server(connections, sock=listening, backlog=_BACKLOG)
    sweeping = loop.create_task(connections.sweep())
    try:
        on_ready(listening.getsockname()[1])
        await stop.wait()
    finally:
        app.begin_to_stop()
        await asyncio.sleep(0)  # those who connected before the signal have been accepted
        listener.close()
        await connections.drain()
        sweeping.cancel()


def check_parser(*, allows_python: bool, parser: type = HttpRequestParser) -> None:
    """Raises BadSettings where HTTP would be read by aiohttp's parser in Python.

    It is there for machines without the compiled one (llhttp), reads some requests otherwise than
    proxies do, and is many times slower.
    """
    if parser is HttpRequestParserPy and not allows_python:
        raise BadSettings(
            "aiohttp's compiled HTTP parser is missing (or AIOHTTP_NO_EXTENSIONS is set), and the one"
            " in Python is not strict enough to face a network. Install a wheel of aiohttp for this"
            f" platform, or set {HTTP_PARSER}=python behind a proxy that you trust."
        )


def room_for_connections() -> int:
    """How many connections there are files for. Raises the process's soft limit on these if it must."""
    wanted = CONNECTIONS_MAX + FILES_KEPT
    try:
        import resource  # noqa: PLC0415  (not everywhere)

        files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files < wanted:
            files = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    except (ImportError, ValueError, OSError):
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, files - FILES_KEPT))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)  # noqa: FBT003  (the standard library's own)
    return listening


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` to its end, on uvloop where it is installed."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)
