"""`GET` of one order over HTTP: this checkout beside another, and what answers from the journal cost.

    python -m bench.read_order                              this one alone
    python -m bench.read_order --other ../v1                beside another checkout, about 3 minutes
    python -m bench.read_order --delay-ms 10 --reads 300    PostgreSQL 10 ms away

One connection, one request at a time, orders in random order, each server asked in turn, round by round.
*view*: views stand where the journal stands. *journal*: they stand at 0, so each answer is folded from
the order's facts. The other checkout runs by the same interpreter.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from rich.table import Table

from bench.distance import Distance
from bench.measure import console, middle, progress, ratios
from bench.serving import INSTRUMENT, Caller, authorize, furnish, new_client, serving

ORDERS: Final = 200
READY_S: Final = 120.0
HERE: Final = Path(__file__).parents[1]
VIEW, JOURNAL, OTHER = "view", "journal", "other"


class Way(NamedTuple):
    """A server to ask, and the paths of its orders."""

    connection: http.client.HTTPConnection
    headers: dict[str, str]
    paths: list[str]


class Place(NamedTuple):
    """Where a server keeps its data: a directory and, on PostgreSQL, a database."""

    data: Path
    journal_url: str | None

    @property
    def options(self) -> list[str]:
        return [] if self.journal_url is None else ["--journal-url", self.journal_url]


def opened(
    stack: contextlib.ExitStack,
    place: Place,
    checkout: Path,
    *options: str,
    paths: list[str] | None = None,
) -> Way:
    """A server until the stack ends; `paths` are its journal's orders, None: they are placed first."""
    words = ["serve", "--data", str(place.data), "--port", "0", "--sandbox", *place.options, *options]
    log = place.data.parent / f"{place.data.name}-{len(options)}.log"
    server = stack.enter_context(serving("order_engine", *words, log=log, folder=checkout))
    call = Caller(server)
    authorize(call, new_client(place.data, *place.options, folder=checkout))
    if paths is None:
        paths = placed(call)
    return Way(http.client.HTTPConnection("127.0.0.1", server.port), dict(call.headers), paths)


def placed(call: Caller) -> list[str]:
    """Paths of new orders that are filled, in the views too."""
    (account,) = furnish(call, 1, 5)
    orders = f"/accounts/{account}/orders"
    new_order = {
        "instrument": INSTRUMENT,
        "order_type": "market",
        "side": "buy",
        "cash_amount": "100.00",
    }
    made = [call("POST", orders, new_order)["id"] for _ in range(ORDERS)]
    deadline = time.monotonic() + READY_S
    while len(call("GET", f"{orders}?limit={ORDERS}&status=filled")) < ORDERS:
        if time.monotonic() > deadline:
            raise SystemExit("orders do not come to their end")
        time.sleep(0.2)
    return [f"{orders}/{order}" for order in made]


def ask(way: Way, reads: int, chance: random.Random) -> list[float]:
    """Microseconds of each read."""
    took = []
    for path in chance.choices(way.paths, k=reads):
        began = time.perf_counter()
        way.connection.request("GET", path, headers=way.headers)
        answer = way.connection.getresponse()
        body = answer.read()
        took.append((time.perf_counter() - began) * 1e6)
        if answer.status != 200:
            raise SystemExit(f"GET {path}: {answer.status} {body[:300]!r}")
    return took


def measure(ways: dict[str, Way], rounds: int, reads: int) -> dict[str, tuple[list[float], list[float]]]:
    """Of each way p50 and p99, round by round, in microseconds."""
    chance, found = random.Random(1), {name: (list[float](), list[float]()) for name in ways}
    with progress() as bar:
        task = bar.add_task("reading", total=(rounds + 1) * len(ways))
        for number in range(rounds + 1):
            for name in chance.sample(list(ways), len(ways)):
                took = ask(ways[name], reads, chance)
                if number:  # the first warms up
                    found[name][0].append(statistics.median(took))
                    found[name][1].append(statistics.quantiles(took, n=100)[98])
                bar.advance(task)
    return found


def report(title: str, found: dict[str, tuple[list[float], list[float]]]) -> None:
    """Prints the table."""
    table = Table(title=title)
    base = OTHER if OTHER in found else VIEW
    for heading in ("", "p50, us", "p99, us", f"p50 to {base}"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, (p50, p99) in found.items():
        table.add_row(name, f"{middle(p50):,.0f}", f"{middle(p99):,.0f}", ratios(p50, found[base][0]))
    console.print(table)


def run(database: str, other: Path | None, rounds: int, reads: int, delay_ms: float) -> None:
    """All ways on one database."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd())))
        places = {name: Place(folder / name, None) for name in (VIEW, OTHER)}
        if database == "postgresql":
            from tests.support.servers.postgres import PostgresServer

            postgres = PostgresServer(is_durable=True)
            stack.callback(postgres.close)
            for name, place in places.items():
                far = stack.enter_context(Distance(postgres.create_database(), delay_ms / 1000))
                url = far.url if delay_ms else far.server_url
                places[name] = place._replace(journal_url=url)
        ways = {VIEW: opened(stack, places[VIEW], HERE)}
        empty = f"sqlite:///{folder}/empty.db"
        behind = ("--roles", "api", "--views-url", empty)
        ways[JOURNAL] = opened(stack, places[VIEW], HERE, *behind, paths=ways[VIEW].paths)
        if other is not None:
            ways[OTHER] = opened(stack, places[OTHER], other.resolve())
        where = f", {delay_ms:g} ms away" if delay_ms else ""
        title = f"GET order, {database}{where}: {rounds} rounds of {reads} reads"
        report(title, measure(ways, rounds, reads))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, help="another checkout, e.g. of the former release")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--reads", type=int, default=1_000)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how far away PostgreSQL is")
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    for database in options.databases.split(","):
        run(database, options.other, options.rounds, options.reads, options.delay_ms)


if __name__ == "__main__":
    main()
