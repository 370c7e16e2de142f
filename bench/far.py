"""Orders a second, and their time to be filled, with a PostgreSQL that is some milliseconds away.

    python -m bench.far                          0, 3, 10 and 30 ms, one and two processes: 5 minutes
    python -m bench.far --delays 10 --seconds 30

Each `serve` has all roles. Eight clients place buys at a fixed rate, by turns at each process, each
with an account of its own; then the last ones are waited for. The times are those that the facts have.
The epochs of the leases must be the same before and after: another one would mean that a process lost
its work to its rival while it was at it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from rich.table import Table

from bench.distance import Distance
from bench.measure import console
from engine.domain.order import Filled, Placed
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.served import Clients, Http, Place, Served, token_of

CLIENTS: Final = 8
DRAIN_WAIT_S: Final = 60.0


class Seen(NamedTuple):
    """Of one run: rates a second, seconds, and whether the leases stayed where they were."""

    placed: float
    filled: int
    orders: int
    median_s: float
    p99_s: float
    are_leases_kept: bool
    others: dict[int | None, int]


def epochs(url: str) -> dict[str, int]:
    """Lease -> epoch."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT name, epoch FROM leases").fetchall())


def times(url: str) -> tuple[list[float], int]:
    """Seconds from placed to filled of each filled order, and the number of orders."""
    placed: dict[str, int] = {}
    took: list[float] = []
    with closing(Journal(url, engine_codec())) as journal:
        for page in journal.pages():
            for one in page:
                if isinstance(one.fact, Placed):
                    placed[one.stream] = one.envelope.at_us
                elif isinstance(one.fact, Filled):
                    took.append((one.envelope.at_us - placed[one.stream]) / 1e6)
    return took, len(placed)


def place(
    served: Served, token: str, clients: Clients, account: str, count: int, every_s: float
) -> list[int | None]:
    """Places buys at a fixed rate; the statuses of the answers."""
    statuses = []
    with Http(served.port, token) as http:
        due_s = time.monotonic()
        for _ in range(count):
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s += every_s
            answer = clients.ask(http, clients.buy(account, "10.00"))
            statuses.append(answer.status if answer else None)
    return statuses


def run(server: PostgresServer, folder: Path, delay_s: float, processes: int, options: Any) -> Seen:
    """One run on a new database."""
    near = server.create_database()
    Place(folder, near).make_client()
    with Distance(near, delay_s) as far, ExitStack() as stack:
        there = Place(folder, far.url, options=("--sandbox",))
        there.make_client()
        engines = [stack.enter_context(Served(there)) for _ in range(processes)]
        tokens = [token_of(one.port, there.credentials) for one in engines]
        clients = Clients(there, 0)
        with Http(engines[0].port, tokens[0]) as http:
            accounts = clients.set_up(http, CLIENTS)
        threading.Event().wait(3)  # each follower has its lease
        before = epochs(near)
        count = int(options.rate * options.seconds / CLIENTS)
        began_s = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as threads:
            placing = [
                threads.submit(
                    place, engines[at % processes], tokens[at % processes], clients, account, count,
                    CLIENTS / options.rate,
                )
                for at, account in enumerate(accounts)
            ]  # fmt: skip
            statuses = [status for one in placing for status in one.result()]
        took_s = time.monotonic() - began_s
        end_s = time.monotonic() + DRAIN_WAIT_S
        while True:
            took, orders = times(near)
            if len(took) == orders or time.monotonic() > end_s:
                break
            time.sleep(0.5)
        after = epochs(near)
    others = {status: statuses.count(status) for status in set(statuses) - {201}}
    return Seen(
        statuses.count(201) / took_s, len(took), orders, statistics.median(took),
        statistics.quantiles(took, n=100)[98], before == after, others,
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Runs each, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delays", default="0,3,10,30", help="milliseconds a round trip")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--rate", type=float, default=25.0, help="orders placed a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(words)
    shown = Table(
        "ms a round trip",
        "processes",
        "placed/s",
        "filled",
        "median s",
        "p99 s",
        "leases",
        "other answers",
    )
    server = PostgresServer()
    try:
        for delay in options.delays.split(","):
            for processes in options.processes.split(","):
                with tempfile.TemporaryDirectory() as folder:
                    seen = run(
                        server, Path(folder) / "data", float(delay) / 1000, int(processes), options
                    )
                shown.add_row(
                    delay, processes, f"{seen.placed:.1f}", f"{seen.filled} of {seen.orders}",
                    f"{seen.median_s:.2f}", f"{seen.p99_s:.2f}",
                    "kept" if seen.are_leases_kept else "moved", str(seen.others or "none"),
                )  # fmt: skip
                console.print(shown)
    finally:
        server.close()


if __name__ == "__main__":
    main()
