"""The reference feeder against a real engine: from a CSV file, and from a WebSocket that breaks off."""

from __future__ import annotations

import asyncio
import os
import runpy
import subprocess
import sys
from pathlib import Path

from aiohttp import web

from order_engine_client import NewPrice, NoAnswer
from tests.support.servers.http_engine import TERMS, Engine, ok

FEEDER = Path(__file__).parents[2] / "examples" / "feeder.py"
WITHIN_S = 60


def environment(engine: Engine, *scopes: str) -> dict[str, str]:
    made = engine.services.clients.create(engine.tenant, scopes)
    api = f"http://127.0.0.1:{engine.server.port}"
    return os.environ | {"API": api, "CLIENT": made.client.id, "SECRET": made.secret}


def bids(engine: Engine, *symbols: str) -> dict[str, str]:
    query = "&".join(f"symbol={symbol}" for symbol in symbols)
    rows = ok(engine.client().get(f"/prices?{query}"))
    return {row["symbol"]: row["bid"].rstrip("0").rstrip(".") for row in rows}


def listed(engine: Engine, *symbols: str) -> None:
    client = engine.client()
    for symbol in symbols:
        client.send("PUT", f"/instruments/ins_{symbol.lower()}", TERMS | {"symbol": symbol})


def feed(engine: Engine, folder: Path, lines: list[str], *scopes: str) -> tuple[int, str]:
    """The exit status and the log of a feeder of these lines."""
    file = folder / "prices.csv"
    file.write_text("\n".join(["symbol,bid,ask", *lines]))
    done = subprocess.run(
        [sys.executable, FEEDER, "--csv", file],
        env=environment(engine, *scopes),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_file_is_posted_without_what_is_refused(engine: Engine, tmp_path: Path) -> None:
    listed(engine, "FA", "FB")
    lines = ["FA,1,1", "FB,5,5", "FA,NaN,1", "FNONE,3,3", "FA", "FA,2,2"]
    status, log = feed(engine, tmp_path, lines, "prices:F*")
    assert status == 0, log
    assert bids(engine, "FA", "FB") == {"FA": "2", "FB": "5"}
    assert log.count("left out") == 2
    assert "refused: FNONE" in log


def test_a_feeder_without_the_scope_ends(engine: Engine, tmp_path: Path) -> None:
    listed(engine, "FC")
    status, log = feed(engine, tmp_path, ["FC,7,7"], "prices:OTHER")
    assert status == 1
    assert "insufficient_scope" in log
    assert bids(engine, "FC") == {}


def test_a_websocket_is_followed_beyond_a_failure(engine: Engine) -> None:
    listed(engine, "FD", "FE")
    env = environment(engine, "prices:FD", "prices:FE")
    connections = 0

    async def prices(request: web.Request) -> web.WebSocketResponse:
        nonlocal connections
        connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if connections == 1:
            await socket.send_json([{"symbol": "FD", "bid": "1", "ask": "1"}])
            await socket.send_str("no JSON")
            await socket.receive()
            return socket
        await socket.send_json({"symbol": "FE", "bid": 2.5, "ask": 2.5})
        await socket.close()
        return socket

    async def run() -> tuple[int | None, str]:
        app = web.Application()
        app.router.add_get("/", prices)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
            feeder = await asyncio.create_subprocess_exec(
                sys.executable, FEEDER, "--websocket", url, env=env, stderr=asyncio.subprocess.PIPE
            )
            _, log = await asyncio.wait_for(feeder.communicate(), WITHIN_S)
            return feeder.returncode, log.decode()
        finally:
            await runner.cleanup()

    status, log = asyncio.run(run())
    assert status == 0, log
    assert "the feed failed" in log
    assert bids(engine, "FD", "FE") == {"FD": "1", "FE": "2.5"}


class Flaky:
    """A client whose first answer is lost."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def put_prices(self, *_: NewPrice, key: str) -> list[NewPrice]:
        self.keys.append(key)
        if len(self.keys) == 1:
            raise NoAnswer("the connection was lost")
        return []


def test_a_batch_without_an_answer_is_sent_again_with_its_key() -> None:
    feeder, client = runpy.run_path(str(FEEDER)), Flaky()
    assert asyncio.run(feeder["post_one"](client, [NewPrice("FA", 1, 1)])) == []
    assert len(client.keys) == 2
    assert len({*client.keys}) == 1


def test_only_the_latest_price_of_a_symbol_waits() -> None:
    async def run() -> list[NewPrice]:
        latest = runpy.run_path(str(FEEDER))["Latest"]()
        for symbol, bid in (("FA", 1), ("FB", 2), ("FA", 3)):
            await latest.put(NewPrice(symbol, bid, bid))
        latest.end()
        assert latest.replaced == 1
        batch: list[NewPrice] = await latest.take()
        assert await latest.take() == []
        return batch

    assert [(one.symbol, one.bid) for one in asyncio.run(run())] == [("FB", 2), ("FA", 3)]
