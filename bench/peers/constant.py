"""A constant answer to each POST, by the servers that the HTTP API has, had, and could have.

    python -m bench.peers.constant KIND BYTES [CHECKOUT]

api          `api.http.server` of CHECKOUT (default: this one), without the handling of requests
application  `web.Application` with our one resource and nothing between it and the transport
server       `web.Server`

Prints its port as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final

HOST: Final = "127.0.0.1"
QUOTA: Final = "100000000/60"


def ready(port: int) -> None:
    """Prints the port, for `bench.serving`."""
    print(json.dumps({"port": port}), flush=True)


async def stopped() -> None:
    """Waits for SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


async def api(answer: bytes) -> None:
    """The server of the API. Its application reads the body as `App` does, and makes an id."""
    from api.http import app, server
    from api.http.call import Answer
    from api.http.rates import Rates
    from engine.config.settings import read_settings

    class Constant:
        rates = Rates(read_settings(environ={"ORDER_ENGINE_RATE_CLIENT": QUOTA}).quotas)

        async def __call__(self, request: Any, connection: Any) -> Answer:
            request_id = app.new_request_id()
            if hasattr(request, "content"):
                await app._body_of(request, connection)
            else:  # the former server's application gets aiohttp's raw message, and notes the state
                connection.is_handling = True
                await app._body_of(request.headers, connection)
                connection.began, connection.is_handling = None, False
            return Answer(201, answer, {"Request-Id": request_id})

        def begin_to_stop(self) -> None: ...

    await server.serve(Constant(), HOST, 0, on_ready=ready)  # type: ignore[arg-type]


async def application(answer: bytes) -> None:
    """aiohttp's application and runner, with the resource that matches each path."""
    from aiohttp import web

    from api.http.answering import EveryPath

    app = web.Application()
    app.router.register_resource(EveryPath(constant(answer)))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    ready(runner.addresses[0][1])
    await stopped()
    await runner.cleanup()


async def bare_server(answer: bytes) -> None:
    """aiohttp's server without application, router or runner."""
    from aiohttp import web

    server = web.Server(constant(answer), access_log=None)  # type: ignore[arg-type]
    listener = await asyncio.get_running_loop().create_server(server, HOST, 0)
    ready(listener.sockets[0].getsockname()[1])
    await stopped()
    listener.close()
    await server.shutdown()


def constant(answer: bytes) -> Callable[[Any], Awaitable[Any]]:
    """A handler that reads the body, with the headers that the API sends."""
    from aiohttp import web

    from api.http.response import HEADERS, new_request_id

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=answer, status=201, headers={**HEADERS, "Request-Id": new_request_id()})

    return handle


KINDS: Final = SimpleNamespace(api=api, application=application, server=bare_server)


def main(kind: str, size: str, checkout: str | None = None) -> None:
    """Serves until SIGTERM."""
    if checkout is not None:
        sys.path.insert(0, checkout)
    answer = b'{"id":"ord_constant","filler":"%s"}' % (b"x" * max(0, int(size) - 34))
    import uvloop

    uvloop.run(vars(KINDS)[kind](answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
