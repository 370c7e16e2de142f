"""CPU a request over HTTP of this checkout beside another: placing an order, and retrieving one.

    python -m bench.beside ../before                    9 rounds of 2 s each: about 4 minutes
    python -m bench.beside ../before --rounds 3 --seconds 1

Both run by the same interpreter on a fresh SQLite journal, asked by the same generator (`bench.load`) in
turn, round by round; which is first alternates.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from rich.table import Table

from bench.load import Case, Target
from bench.measure import console, middle, progress
from bench.place_orders import load
from bench.serving import Caller, Server, authorize, buys, furnish, new_client, serving

HERE: Final = Path(__file__).parents[1]
THIS, OTHER = "this", "other"
ACCOUNTS: Final = 100


WORKS: Final = {"placing": "api", "retrieving": "api,projections"}
"""Measured operation -> the roles of its server: nothing else takes CPU, and views are current."""


class Side(NamedTuple):
    """A server and what it is asked."""

    server: Server
    targets: list[Target]


def opened(stack: contextlib.ExitStack, work: str, folder: Path, checkout: Path) -> Side:
    """A server until the stack ends, with an order in each account."""
    words = ("serve", "--roles", WORKS[work], "--data", str(folder / "data"), "--port", "0")
    server = stack.enter_context(
        serving("order_engine", *words, "--sandbox", log=folder / "log", folder=checkout)
    )
    call = Caller(server)
    authorize(call, new_client(folder / "data", folder=checkout))
    accounts = furnish(call, ACCOUNTS, settlement_days=2)
    if work == "placing":
        return Side(server, buys(accounts, call.headers))
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "a", **call.headers}.items())
    wish = {"instrument": "ins_bench", "order_type": "market", "side": "buy", "cash_amount": "100.00"}
    paths = [f"/accounts/{one}/orders" for one in accounts]
    orders = [f"{path}/{call('POST', path, wish)['id']}" for path in paths]
    reads = [Target(f"GET {path} HTTP/1.1\r\n{lines}X-Number: ", "\r\n\r\n") for path in orders]
    return Side(server, reads)


def measure(
    sides: dict[tuple[str, str], Side], options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Microseconds a request: work -> side -> a figure for each round."""
    found = {work: {name: list[float]() for name in (THIS, OTHER)} for work in WORKS}
    with progress() as bar:
        task = bar.add_task("asking", total=4 * options.rounds)
        for number in range(options.rounds):
            for work, of_side in found.items():
                for name in (THIS, OTHER) if number % 2 else (OTHER, THIS):
                    side = sides[work, name]
                    figures = load(
                        Case(
                            port=side.server.port,
                            pid=side.server.pid,
                            targets=side.targets,
                            connections=options.connections,
                            seconds=options.seconds,
                            warm_s=0.5,
                        )
                    )
                    if any(not status.startswith("20") for status in figures.answers):
                        raise SystemExit(f"{name}: {figures.answers}")
                    of_side[name].append(figures.server_cpu_us)
                    bar.advance(task)
    return found


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % of the median, by resampling."""
    chance = random.Random(1)
    medians = sorted(middle(chance.choices(ratios, k=len(ratios))) for _ in range(2_000))
    return medians[50], medians[-51]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-")))
        sides = {}
        for name, checkout in ((THIS, HERE), (OTHER, options.other.resolve())):
            for work in WORKS:
                place = folder / f"{name}-{work}"
                place.mkdir()
                sides[work, name] = opened(stack, work, place, checkout)
        found = measure(sides, options)
    table = Table(title=f"CPU a request, us: median of {options.rounds} rounds")
    for heading in ("", THIS, OTHER, "this / other (95 %)"):
        table.add_column(heading, justify="right" if heading else "left")
    for work, of_side in found.items():
        ratios = [a / b for a, b in zip(of_side[THIS], of_side[OTHER], strict=True)]
        low, high = interval(ratios)
        middles = [f"{middle(of_side[name]):,.0f}" for name in (THIS, OTHER)]
        table.add_row(work, *middles, f"{middle(ratios):.2f} ({low:.2f}-{high:.2f})")
    console.print(table)


if __name__ == "__main__":
    main()
