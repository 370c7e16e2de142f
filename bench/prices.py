"""CPU of a batch of 500 prices over HTTP, beside peers in the same run.

    python -m bench.prices                              9 rounds: about a minute
    python -m bench.prices --rounds 3 --other ../before

`POST /prices` by a feed of `order-engine serve --roles api` on SQLite; every batch has new prices and an
Idempotency-Key. Peers, in turn: a bare aiohttp handler that parses the same body with msgspec, and the
same rows inserted by `sqlite3` alone, one durable transaction. With --readers also the CPU of another
API process, and of one with execution, which read each batch (less their idle CPU).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from aiohttp import web
from rich.table import Table

from bench.measure import console, middle, progress, ratios, spread
from bench.serving import Caller, Server, authorize, new_client, serving
from engine.journal.sqlite import driver

BATCH: Final = 500
BATCHES: Final = 10
"""A round's batches."""
READ_S: Final = 1.5
"""The readers poll twice a second."""
COLUMNS: Final = "symbol, quality, bid, ask, accrued_interest, at_us, recorded_us, author, unit"


def batch(chance: random.Random) -> list[dict[str, str]]:
    """One price for each symbol."""
    bids = [chance.randrange(9_000, 10_000) for _ in range(BATCH)]
    return [
        {"symbol": f"S{number:03}", "bid": f"{bid / 100:.2f}", "ask": f"{(bid + 10) / 100:.2f}"}
        for number, bid in enumerate(bids)
    ]


def cpu_s(pid: int) -> float:
    """CPU seconds so far of a process and its children, of all threads, by the scheduler's clock.

    `cpu_times` counts in steps of 10 ms.
    """
    pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    threads = [path for one in pids for path in Path(f"/proc/{one}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def instruments(call: Caller) -> None:
    """A stock for each symbol."""
    for number in range(BATCH):
        terms = {"name": f"S {number}", "symbol": f"S{number:03}", "instrument_type": "stock",
                 "trading_currency": "USD", "issuer_country": "US"}  # fmt: skip
        call("PUT", f"/instruments/ins_s{number:03}", terms)


def bare() -> None:
    """The peer: parses the body, answers with a list of the same length."""
    decode = msgspec.json.Decoder(list[dict[str, str]]).decode

    async def post(request: web.Request) -> web.Response:
        rows = decode(await request.read())
        return web.Response(body=msgspec.json.encode(rows), status=201, content_type="application/json")

    def started(line: str) -> None:
        print(line, flush=True)

    app = web.Application()
    app.router.add_post("/prices", post)

    async def run() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        started(json.dumps({"port": runner.addresses[0][1]}))
        await asyncio.Event().wait()

    asyncio.run(run())


def inserted(path: Path) -> Callable[[list[dict[str, str]]], float]:
    """Inserts a batch as the engine's table has it, and returns the CPU seconds."""
    connection = driver().connect(str(path), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"CREATE TABLE prices (seq INTEGER PRIMARY KEY AUTOINCREMENT, {COLUMNS})")
    connection.execute("CREATE INDEX prices_of ON prices (symbol, at_us, seq)")

    def insert(rows: list[dict[str, str]]) -> float:
        began_s = time.process_time()
        now_us = time.time_ns() // 1_000
        values = [
            (
                row["symbol"],
                "realtime",
                row["bid"],
                row["ask"],
                "",
                now_us,
                now_us,
                "cli",
                "money 100 USD",
            )
            for row in rows
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO prices ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", values)
        connection.execute("COMMIT")
        return time.process_time() - began_s

    return insert


def posted(call: Caller, server: Server, batches: list[list[dict[str, str]]]) -> float:
    """Milliseconds of CPU a batch."""
    before_s = cpu_s(server.pid)
    for rows in batches:
        call.headers["Idempotency-Key"] = uuid.uuid4().hex
        call("POST", "/prices", rows)
    return (cpu_s(server.pid) - before_s) * 1_000 / len(batches)


def reading(pid: int, make: Callable[[], Any]) -> float:
    """Milliseconds of CPU a batch of a process that reads what `make` posts, less its idle CPU."""
    before_s = cpu_s(pid)
    began_s = time.monotonic()
    make()
    time.sleep(READ_S)
    busy_s, lasted_s = cpu_s(pid) - before_s, time.monotonic() - began_s
    before_s = cpu_s(pid)
    time.sleep(lasted_s)
    return max(0.0, busy_s - (cpu_s(pid) - before_s)) * 1_000 / BATCHES


def measure(
    options: argparse.Namespace, folder: Path, stack: contextlib.ExitStack
) -> dict[str, list[float]]:
    """Milliseconds of CPU a batch: what -> a figure for each round."""
    words = ("serve", "--data", str(folder / "data"), "--port", "0", "--sandbox", "--roles")
    client = new_client(folder / "data", folder=options.other)
    api, other, execution = (
        stack.enter_context(
            serving("order_engine", *words, roles, log=folder / f"log{n}", folder=options.other)
        )
        for n, roles in enumerate(("api", "api", "api,execution"))
    )
    peer = stack.enter_context(serving("bench.prices", "--bare", log=folder / "bare"))
    call, bare_call, chance = Caller(api), Caller(peer), random.Random(1)
    authorize(call, client)
    instruments(call)
    if not options.admin:
        authorize(call, new_client(folder / "data", folder=options.other, scopes=["prices:S*"]))
    insert = inserted(folder / "peer.db")
    found: dict[str, list[float]] = {name: [] for name in ("engine", "bare aiohttp", "bare insert")}
    found |= {"another API process": [], "API and execution": []}
    posted(call, api, [batch(chance)])  # warm
    with progress() as bar:
        task = bar.add_task("posting", total=options.rounds)
        for _ in range(options.rounds):
            batches = [batch(chance) for _ in range(BATCHES)]
            found["bare aiohttp"].append(posted(bare_call, peer, batches))
            found["bare insert"].append(sum(map(insert, batches)) * 1_000 / BATCHES)
            found["engine"].append(posted(call, api, batches))
            if options.readers:
                make = [lambda: posted(call, api, [batch(chance) for _ in range(BATCHES)])]
                found["another API process"].append(reading(other.pid, make[0]))
                found["API and execution"].append(reading(execution.pid, make[0]))
            bar.advance(task)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--readers", action="store_true", help="measure the readers too")
    parser.add_argument("--other", type=Path, help="the checkout to measure in place of this one")
    parser.add_argument("--admin", action="store_true", help="as an administrator, who writes acts too")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare()
        sys.exit()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-")))
        found = measure(options, folder, stack)
    table = Table(title=f"CPU of {BATCH} prices, ms: median of {options.rounds} rounds (range)")
    for heading in ("", "ms", "engine / this"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in found.items():
        if figures:
            ratio = ratios(found["engine"], figures) if name.startswith("bare") else ""
            table.add_row(name, f"{middle(figures):,.1f} ({spread(figures)})", ratio)
    console.print(table)


if __name__ == "__main__":
    main()
