"""The least that aiohttp can do for a POST: read its body, answer 201 with a constant.

    python -m bench.peers.bare_post BYTES

Prints its port as one line of JSON. No routing but one path pattern, no token, no validation, no
database, no log: what is left is the price of HTTP in Python on uvloop.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import uvloop
from aiohttp import web


async def serve(answer_bytes: int) -> None:
    answer = b'{"id":"ord_bare","filler":"%s"}' % (b"x" * max(0, answer_bytes - 30))

    async def constant(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type="application/json", status=201)

    app = web.Application()
    app.router.add_post("/accounts/{account_id}/orders", constant)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
