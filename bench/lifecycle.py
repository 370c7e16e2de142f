"""Orders from placed to settled, over HTTP, with current views, beside an idiomatic program.

    python -m bench.lifecycle                       3 rounds of 30 s each: about 5 minutes
    python -m bench.lifecycle --rounds 1 --seconds 10

Ours is `order-engine serve` with all roles, on fresh SQLite files, `synchronous=FULL`; the peer is
`bench/peers/idiomatic` (its README says what it does and does not do). Both get the same buys, in turn,
of an instrument that settles on the trade date.

Clients place orders as fast as these settle: each keeps a bounded number in flight, and when that
is reached it asks for the order in the middle of them until that is `settled`. (Ours answers a
client from the journal while the view is older than what that client knows; the peer from its view,
always.) In the end every order must be `settled` in the *view*; the rate counts the time until
then. Times from placed to settled are those that the view shows. With so much in flight they say
how long the queue is, so they are taken once more from a single client that has one order in
flight.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop
from rich.table import Table

from bench.load import Target, cpu_s, run_keys
from bench.measure import console, in_own_process, middle, progress, ratios, spread
from bench.serving import Caller, authorize, buys, furnish, new_client, serving

OURS, PEER = "order-engine", "idiomatic"
TARGET: Final = 4.0
DRAIN_WAIT_S: Final = 60
POLL_S: Final = 0.05
ALONE_SECONDS: Final = 5.0
PAGE: Final = 500


class Placed(NamedTuple):
    """An order in flight."""

    account: str
    id: str


class Connection:
    """HTTP/1.1 over one connection that stays open, just as much as is needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))

    async def __call__(self, request: bytes) -> Any:
        """The answer, parsed; None for a 404. Raises SystemExit for any status but 200 and 201."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        start = head.lower().index(b"content-length:") + len(b"content-length:")
        body = await self._reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
        if head[9:12] not in {b"200", b"201", b"404"}:
            raise SystemExit(f"{request[:80]!r}: {head[:15]!r} {body[:300]!r}")
        return None if head[9:12] == b"404" else json.loads(body)

    def close(self) -> None:
        self._writer.close()


class Clients:
    """Clients that place and watch orders; what they have placed."""

    def __init__(self, port: int, targets: Sequence[Target], headers: dict[str, str]) -> None:
        self._port = port
        self._targets = targets
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._keys = run_keys()
        self.placed = 0

    async def run(self, clients: int, window: int, seconds: float) -> float:
        """Places orders for `seconds`; returns how long it took until the view had settled them all."""
        started = time.perf_counter()
        share = [self._targets[first::clients] for first in range(clients)]
        async with asyncio.timeout(seconds + DRAIN_WAIT_S), asyncio.TaskGroup() as group:
            for targets in share:
                group.create_task(self._client(targets, window, started + seconds))
        return time.perf_counter() - started

    async def _client(self, targets: Sequence[Target], window: int, until: float) -> None:
        send = await Connection.open(self._port)
        in_flight: deque[Placed] = deque()
        for target in itertools.cycle(targets):
            if time.perf_counter() >= until:
                break
            if len(in_flight) >= window:
                middle_one = len(in_flight) // 2
                await self._settled(send, in_flight[middle_one])
                for _ in range(middle_one + 1):
                    in_flight.popleft()
            request = f"{target.before_key}{next(self._keys).decode()}{target.after_key}"
            order = await send(request.encode())
            in_flight.append(Placed(order["account"], order["id"]))
            self.placed += 1
        for order in in_flight:
            await self._settled(send, order)
        send.close()

    async def _settled(self, send: Connection, order: Placed) -> None:
        request = self._get(f"/accounts/{order.account}/orders/{order.id}")
        # The peer's view may not have the order at all yet.
        while ((await send(request)) or {}).get("status") != "settled":
            await asyncio.sleep(POLL_S)

    async def orders(self, accounts: Sequence[str]) -> list[dict[str, Any]]:
        """All orders of the accounts, as the view lists them."""
        send = await Connection.open(self._port)
        found: list[dict[str, Any]] = []
        for account in accounts:
            page, before = [{}] * PAGE, ""
            while len(page) == PAGE:
                page = await send(self._get(f"/accounts/{account}/orders?limit={PAGE}{before}"))
                found += page
                before = f"&before={page[-1]['id']}" if page else ""
        send.close()
        return found

    def _get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._headers}\r\n".encode()


def lifetimes_ms(orders: Sequence[dict[str, Any]]) -> list[float]:
    """From placed to settled, in order of length. Raises SystemExit for an order that is not settled."""
    waiting = [order["id"] for order in orders if order["status"] != "settled"]
    if waiting:
        raise SystemExit(f"{len(waiting)} of {len(orders)} orders are not settled: {waiting[:3]}")
    moments = [
        [datetime.fromisoformat(order[name]) for name in ("created_at", "settled_at")]
        for order in orders
    ]
    return sorted((settled - created).total_seconds() * 1000 for created, settled in moments)


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[int(len(ordered) * share)] if ordered else float("nan")


async def measure(
    port: int, pid: int, accounts: Sequence[str], headers: dict[str, str], case: dict[str, Any]
) -> dict[str, float]:
    """One order at a time first, then as many as settle."""
    clients = Clients(port, buys(accounts, headers), headers)
    await clients.run(1, 1, ALONE_SECONDS)
    first = await clients.orders(accounts)
    alone = lifetimes_ms(first)
    known = {order["id"] for order in first}

    clients.placed = 0
    cpu, own_cpu = cpu_s(pid), time.process_time()
    try:
        elapsed_s = await clients.run(
            case["clients"], case["in_flight"] // case["clients"], case["seconds"]
        )
    except TimeoutError:
        found = Counter(order["status"] for order in await clients.orders(accounts))
        raise SystemExit(f"after {DRAIN_WAIT_S} s the view still shows {dict(found)}") from None
    cpu, own_cpu = cpu_s(pid) - cpu, time.process_time() - own_cpu
    orders = [order for order in await clients.orders(accounts) if order["id"] not in known]
    if len(orders) != clients.placed:
        raise SystemExit(f"{clients.placed} orders were answered, {len(orders)} are in the view")
    crowded = lifetimes_ms(orders)
    return {
        "settled_per_s": len(orders) / elapsed_s,
        "p50_ms": quantile(crowded, 0.5),
        "p99_ms": quantile(crowded, 0.99),
        "alone_p50_ms": quantile(alone, 0.5),
        "alone_p99_ms": quantile(alone, 0.99),
        "drain_s": elapsed_s - case["seconds"],
        "cpu_us": cpu / len(orders) * 1e6,
        "cores": cpu / elapsed_s,
        "clients_cores": own_cpu / elapsed_s,
        "orders": len(orders),
    }


def open_market(call: Caller) -> None:
    """Moves the sandbox's clock to a day on which trades settle, if today is none."""
    from engine.domain.calendar import settlement_date

    today = date.fromisoformat(call("GET", "/sandbox/clock")["business_date"])
    days = (settlement_date(today, "US", "stock", "USD", 0) - today).days
    if days:
        call("POST", "/sandbox/clock", {"advance": f"P{days}D"})


def one(case: dict[str, Any]) -> None:
    """One measurement on fresh files; prints its figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        data = folder / "data"
        command = {
            OURS: ("order_engine", "serve", "--data", str(data), "--port", "0", "--sandbox"),
            PEER: ("bench.peers.idiomatic.server", str(folder / "trading.db")),
        }[case["who"]]
        with serving(*command, log=folder / "server.log") as server:
            call = Caller(server)
            if case["who"] == OURS:
                authorize(call, new_client(data))
                open_market(call)
            accounts = furnish(call, case["accounts"], settlement_days=0)
            call.close()
            figures = uvloop.run(measure(server.port, server.pid, accounts, call.headers, case))
    print(json.dumps(figures))


ROWS: Final = (
    ("settled orders/s", "settled_per_s"),
    ("placed to settled, p50, ms", "p50_ms"),
    ("placed to settled, p99, ms", "p99_ms"),
    ("the same with one in flight, p50, ms", "alone_p50_ms"),
    ("the same with one in flight, p99, ms", "alone_p99_ms"),
    ("until the view had all, after the last was placed, s", "drain_s"),
    ("server CPU an order, us", "cpu_us"),
    ("server, cores busy", "cores"),
    ("clients, cores busy", "clients_cores"),
)


def report(figures: dict[str, list[dict[str, float]]]) -> None:
    """Prints the table."""
    rounds = len(figures[OURS])
    table = Table(title=f"placed to settled, median of {rounds} rounds (smallest-largest)")
    for heading in ("", OURS, PEER, "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for title, field in ROWS:
        ours, peer = ([figure[field] for figure in figures[who]] for who in (OURS, PEER))
        cells = [
            f"{middle(each):,.2f} ({min(each):,.2f}-{max(each):,.2f})"
            if max(ours + peer) < 100
            else f"{middle(each):,.0f} ({spread(each)})"
            for each in (ours, peer)
        ]
        table.add_row(title, *cells, ratios(ours, peer))
    console.print(table)
    rates = [[figure["settled_per_s"] for figure in figures[who]] for who in (OURS, PEER)]
    ratio = statistics.median(a / b for a, b in zip(*rates, strict=True))
    console.print(
        f"{ratio:.1f} times the peer's settled orders/s; to be at least {TARGET:.0f}:"
        f" {'met' if ratio >= TARGET else 'MISSED'}"
    )


def turns(rounds: int) -> Iterator[str]:
    """The contestants, measured one after the other."""
    for number in range(rounds):
        yield from (OURS, PEER) if number % 2 == 0 else (PEER, OURS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of placing, in one measurement")
    parser.add_argument("--in-flight", type=int, default=512, help="orders placed and not yet settled")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--only", choices=(OURS, PEER), help="one measurement, its figures as JSON")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    case = {name: getattr(options, name) for name in ("seconds", "in_flight", "clients", "accounts")}
    if options.only:
        one({"who": options.only, **case})
        return
    figures: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
    with progress() as bar:
        task = bar.add_task("lifecycle", total=2 * options.rounds)
        for who in turns(options.rounds):
            figures[who].append(in_own_process("bench.lifecycle", who=who, **case))
            bar.advance(task)
    report(figures)


if __name__ == "__main__":
    sys.exit(main())
