"""The HTTP server: its socket, its loop, and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from importlib.machinery import ExtensionFileLoader
from types import ModuleType
from typing import Any, Final

from aiohttp import web

from api.http.answering import application
from api.http.app import App
from api.http.connections import Connections
from api.http.loop import new_loop
from api.http.timing import Timing
from engine.config.settings import HTTP_PARSER
from engine.kernel.errors import BadSettings
from engine.kernel.limits import (
    CONNECTIONS_MAX,
    FILES_KEPT,
    HTTP_BODY_BUFFER_BYTES,
    HTTP_HEADER_BYTES_MAX,
    HTTP_HEADERS_MAX,
)

_BACKLOG: Final = 1024
_SILENT: Final = logging.getLogger("order_engine.api.aiohttp")
_SILENT.disabled = True
"""aiohttp's log quotes requests; our own errors are logged where they are answered."""
_CANCELLED_S: Final = 0.1
"""Time for aiohttp to end requests cancelled by the drain."""


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

    `port` 0 takes a free one; `on_ready` is called with the port once connections are accepted. Raises
    OSError if the address cannot be bound, BadSettings for an untrusted parser.
    """
    check_parser(allows_python=allows_python_parser)
    loop = asyncio.get_running_loop()
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    runner = _runner(app, timing)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server, app.rates, timing)
    app.rates.guests.most = room_for_connections()
    listening = _bind(host, port)
    listener = await loop.create_server(connections, sock=listening, backlog=_BACKLOG)
    sweeping = loop.create_task(connections.sweep())
    try:
        on_ready(listening.getsockname()[1])
        await stop.wait()
    finally:
        app.begin_to_stop()
        await asyncio.sleep(0)  # connections made before the signal have been accepted
        listener.close()
        await connections.drain()
        sweeping.cancel()
        await runner.cleanup()  # last: it drops incoming bytes


def _runner(app: App, timing: Timing) -> web.AppRunner:
    """aiohttp's server, with idle time-outs left to our connections."""
    return web.AppRunner(
        application(app),
        access_log=None,
        logger=_SILENT,
        keepalive_timeout=2 * (timing.idle_s + timing.message_s),
        lingering_time=timing.linger_s,
        shutdown_timeout=_CANCELLED_S,
        max_line_size=HTTP_HEADER_BYTES_MAX,
        max_field_size=HTTP_HEADER_BYTES_MAX,
        max_headers=HTTP_HEADERS_MAX,
        read_bufsize=HTTP_BODY_BUFFER_BYTES,
        auto_decompress=False,
    )


def check_parser(*, allows_python: bool, is_compiled: bool | None = None) -> None:
    """Raises BadSettings if aiohttp would use its parser in Python.

    That parser, a fallback without the compiled one (llhttp), reads some requests differently from
    proxies, and is many times slower.
    """
    if not allows_python and not (_has_compiled_parser() if is_compiled is None else is_compiled):
        raise BadSettings(
            "aiohttp's compiled HTTP parser is missing (or AIOHTTP_NO_EXTENSIONS is set), and the one"
            " in Python is not strict enough to face a network. Install a wheel of aiohttp for this"
            f" platform, or set {HTTP_PARSER}=python behind a proxy that you trust."
        )


def _has_compiled_parser() -> bool:
    """Whether aiohttp has loaded its compiled parser, which it does by default if available."""
    return any(
        name.startswith("aiohttp.") and name.endswith("http_parser") and _is_compiled(module)
        for name, module in sys.modules.copy().items()
    )


def _is_compiled(module: ModuleType) -> bool:
    return module.__spec__ is not None and isinstance(module.__spec__.loader, ExtensionFileLoader)


def room_for_connections() -> int:
    """Number of connections for which there are files. Raises the process's soft limit if necessary."""
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
