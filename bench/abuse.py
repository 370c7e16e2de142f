"""Abuse mixed with normal load: what honest clients notice of 100 000 requests that nobody should send.

    python -m bench.abuse                                 about four minutes
    python -m bench.abuse --requests 5000 --seconds 5

One `order-engine serve` on a fresh SQLite journal. Honest clients place orders and read accounts at a
steady pace, first alone, then while abusers, a client of their own and strangers, send what is in
`bench.abusive` over several connections (`--pace`: so many a second in all, 0: each the next as soon as
the last was answered), and while others drip half a message or hang up in the middle. An honest request
is timed from when it was due. Rates are counted with the defaults; `--rates off` lets everything through
to the code that reads it. To be met: no 5xx, memory of the API's process grows by less than 50 MB, the
honest p99 at most doubles.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
import uvloop
from rich.table import Table

from bench.abusive import HALVES, messages
from bench.load import run_keys
from bench.measure import console
from bench.serving import INSTRUMENT, Caller, Server, authorize, furnish, new_client, serving
from engine.rate import Quotas
from engine.settings import RATES

ANSWER_WAIT_S: Final = 15.0
"""The engine promises an end of every message within 10 s."""
MEMORY_MB_MAX: Final = 50.0
P99_RATIO_MAX: Final = 2.0


class Line:
    """One connection, opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> int:
        """The status of the answer; 0 when the server closed without one, -1 when it hangs."""
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                return await self._ask(message)
        except TimeoutError:
            self.close()
            return -1
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0

    async def _ask(self, message: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        with contextlib.suppress(ConnectionError):  # answered and closed while we are still sending
            writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
        if b"connection: close" in head or head.startswith(b"http/1.0"):
            self.close()
        return int(head[9:12])

    async def begin(self, half: bytes) -> None:
        """Half a message."""
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(half)

    def close(self, *, is_rude: bool = False) -> None:
        """Hangs up; rudely with a reset."""
        if self._streams is not None:
            transport = self._streams[1].transport
            (transport.abort if is_rude else transport.close)()
            self._streams = None


# --- honest clients -------------------------------------------------------------------------------


async def be_honest(case: dict[str, Any]) -> dict[str, Any]:
    """Orders placed and read at a pace, for some seconds or until stdin ends."""
    latencies_ms: list[float] = []
    answers: Counter[int] = Counter()
    began, keys, over = time.perf_counter(), run_keys(), asyncio.Event()
    numbers = itertools.count()

    async def client() -> None:
        line = Line(case["port"])
        while not over.is_set():
            number = next(numbers)
            due = began + number / case["rate"]
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answers[await line.ask(honest(case, number, next(keys)))] += 1
            if due - began > case["warm_s"]:
                latencies_ms.append((time.perf_counter() - due) * 1_000)
        line.close()

    clients = [asyncio.create_task(client()) for _ in range(case["connections"])]
    if case["seconds"]:
        await asyncio.sleep(case["seconds"])
    else:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*clients)
    latencies_ms.sort()
    count = len(latencies_ms)
    return {
        "count": count,
        "p50_ms": latencies_ms[count // 2],
        "p99_ms": latencies_ms[count * 99 // 100],
        "max_ms": latencies_ms[-1],
        "answers": answers,
    }


def honest(case: dict[str, Any], number: int, key: bytes) -> bytes:
    """Now a small buy, now a look at the account."""
    account = case["accounts"][number % len(case["accounts"])]
    common = f"Host: a\r\nAuthorization: {case['token']}\r\n"
    if number % 2:
        return f"GET /accounts/{account} HTTP/1.1\r\n{common}\r\n".encode()
    wish = {"instrument": INSTRUMENT, "order_type": "market", "side": "buy", "cash_amount": "100.00"}
    body = json.dumps(wish)
    common += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST /accounts/{account}/orders HTTP/1.1\r\n{common}Idempotency-Key: "
    return head.encode() + key + b"\r\n\r\n" + body.encode()


# --- abusers --------------------------------------------------------------------------------------


async def be_abusive(case: dict[str, Any]) -> dict[str, Any]:
    """So many messages of all kinds, and connections that drip or are cut meanwhile."""
    dice = Random(case["seed"])
    known = list(messages(case["accounts"][0], case["token"]).items())
    answers: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    chosen = enumerate(dice.choices(known, k=case["requests"]))
    began, gap_s = time.perf_counter(), 1 / case["pace"] if case["pace"] else 0.0

    async def abuser() -> None:
        line = Line(case["port"])
        for number, (name, message) in chosen:
            await asyncio.sleep(max(0.0, began + number * gap_s - time.perf_counter()))
            status = await line.ask(message)
            answers[status] += 1
            if status >= 500 or status <= 0:
                wrong[f"{name}: {status}"] += 1
        line.close()

    async def cutter() -> None:
        while True:
            line = Line(case["port"])
            with contextlib.suppress(OSError):
                await line.begin(dice.choice(HALVES))
            await asyncio.sleep(0.02)
            line.close(is_rude=True)

    async def dripper() -> None:
        while True:
            line = Line(case["port"])
            with contextlib.suppress(OSError):
                await line.begin(dice.choice(HALVES))
            status = await line.ask(b"")
            if status not in (0, 408, 429):
                wrong[f"half a message: {status}"] += 1

    others = [asyncio.create_task(dripper()) for _ in range(case["drippers"])]
    others.append(asyncio.create_task(cutter()))
    await asyncio.gather(*(abuser() for _ in range(case["connections"])))
    took_s = time.perf_counter() - began
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return {"answers": answers, "wrong": wrong, "per_s": case["requests"] / took_s}


# --- together -------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(role: str, case: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """One of the above as a process of its own; abusers give way to the honest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.abuse", "--role", role, "--case", json.dumps(case)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def figures_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it found, once it has ended; its stdin is closed."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a generator failed")
    figures: dict[str, Any] = json.loads(said)
    return figures


def memory_mb(server: Server) -> float:
    return float(psutil.Process(server.pid).memory_info().rss / 1e6)


def measure(options: argparse.Namespace, folder: Path) -> bool:
    """Both phases on one server; whether everything was met."""
    quotas = Quotas() if options.rates == "default" else Quotas(None, None, None, None)
    for name, field in RATES.items():
        quota = getattr(quotas, field)
        os.environ[name] = f"{quota.requests}/{quota.seconds}" if quota else "off"
    data = folder / "data"
    serve = ("serve", "--data", str(data), "--port", "0", "--sandbox")
    with serving("engine.cli", *serve, log=folder / "engine.log") as server:
        call = Caller(server)
        authorize(call, new_client(data))
        honest_token = call.headers["Authorization"]
        accounts = furnish(call, 20, settlement_days=2)
        authorize(call, new_client(data))
        case = {
            "port": server.port,
            "token": honest_token,
            "accounts": accounts,
            "pace": options.pace,
            "connections": options.connections,
            "rate": options.rate,
            "warm_s": 1.0,
            "seconds": options.seconds,
            "requests": options.requests,
            "drippers": options.drippers,
            "seed": options.seed,
        }
        before_mb = memory_mb(server)
        with started("honest", case) as alone:
            quiet = figures_of(alone)
        between_mb = memory_mb(server)
        with started("honest", case | {"seconds": 0}) as honest_ones:
            with started("abusive", case | {"token": call.headers["Authorization"]}) as abusers:
                abuse = figures_of(abusers)
            loud = figures_of(honest_ones)
        after_mb = memory_mb(server)
        call.close()
    log = (folder / "engine.log").read_text(errors="replace")
    console.print(f"memory: {before_mb:.0f} MB, {between_mb:.0f} after the honest alone, {after_mb:.0f}")
    return report(quiet, loud, abuse, after_mb - between_mb) and "Traceback" not in log


def report(quiet: dict[str, Any], loud: dict[str, Any], abuse: dict[str, Any], grown_mb: float) -> bool:
    """Prints the tables; whether everything was met."""
    table = Table(title="honest requests, from when they were due")
    for heading in ("", "requests", "p50, ms", "p99, ms", "longest, ms", "answers"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, each in (("alone", quiet), ("with abuse", loud)):
        times = [f"{each[field]:.2f}" for field in ("p50_ms", "p99_ms", "max_ms")]
        table.add_row(name, f"{each['count']:,}", *times, str(each["answers"]))
    console.print(table)
    sent = sum(abuse["answers"].values())
    console.print(f"{sent:,} abusive requests, {abuse['per_s']:,.0f}/s, by status: {abuse['answers']}")
    failures = sum(
        number
        for each in (quiet, loud, abuse)
        for status, number in each["answers"].items()
        if int(status) >= 500 or int(status) < 0
    )
    ratio = loud["p99_ms"] / quiet["p99_ms"]
    rows = (
        ("5xx, or no answer in time", f"{failures}", "0", failures == 0),
        ("memory grown, MB", f"{grown_mb:.1f}", f"< {MEMORY_MB_MAX:.0f}", grown_mb < MEMORY_MB_MAX),
        ("honest p99, ratio", f"{ratio:.2f}", f"<= {P99_RATIO_MAX:.0f}", ratio <= P99_RATIO_MAX),
    )
    for name, value, target, is_met in rows:
        console.print(f"{name}: {value}, to be {target}: {'met' if is_met else 'MISSED'}")
    if abuse["wrong"]:
        console.print(f"wrong: {abuse['wrong']}")
    return all(is_met for *_, is_met in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000, help="abusive ones")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the honest alone")
    parser.add_argument("--rate", type=float, default=200.0, help="honest requests a second")
    parser.add_argument("--connections", type=int, default=16, help="of the honest, and of abusers")
    parser.add_argument(
        "--pace", type=float, default=500.0, help="abusive requests a second; 0: a flood"
    )
    parser.add_argument("--drippers", type=int, default=100, help="connections with half a message")
    parser.add_argument("--rates", choices=("default", "off"), default="default")
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--role", choices=("honest", "abusive"), help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        if options.role == "abusive":
            os.nice(5)
        work = {"honest": be_honest, "abusive": be_abusive}[options.role]
        print(json.dumps(uvloop.run(work(json.loads(options.case)))))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        is_met = measure(options, Path(folder))
    if not is_met:
        raise SystemExit("MISSED")


if __name__ == "__main__":
    main()
