"""CPU a POST over HTTP by several servers that answer a constant: the price of aiohttp's public API.

    python -m bench.http_paths                          the API's server beside aiohttp's own
    python -m bench.http_paths --other ../before        and beside the API's server of another checkout

Each is a process of its own (`bench.peers.constant`), given the request of a placed order by the same
generator (`bench.load`), in an order drawn anew each round. CPU time is compared within a round, so that
other work on the machine, and its clock rate, count for all alike.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.beside import interval
from bench.load import Case
from bench.measure import console, middle, progress
from bench.place_orders import load
from bench.serving import Server, buys, serving

TOKEN: Final = "x" * 400
"""As long as a token of the API."""
BASE: Final = "aiohttp: web.Server"


def servers(stack: contextlib.ExitStack, folder: Path, options: argparse.Namespace) -> dict[str, Server]:
    """Each server by its name, until the stack ends."""
    words = {
        BASE: ["server", options.bytes],
        "aiohttp: web.Application, one resource": ["application", options.bytes],
        "API, this checkout": ["api", options.bytes],
    }
    if options.other:
        words["API, other checkout"] = ["api", options.bytes, str(options.other.resolve())]
    return {
        name: stack.enter_context(serving("bench.peers.constant", *given, log=folder / given[0]))
        for name, given in words.items()
    }


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Microseconds of CPU a request: name -> a figure for each round."""
    accounts = [f"acc_{number:022}" for number in range(100)]
    targets = buys(accounts, {"Authorization": f"Bearer {TOKEN}"})
    chance = random.Random(1)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        running = servers(stack, folder, options)
        found = {name: list[float]() for name in running}
        bar = stack.enter_context(progress())
        task = bar.add_task("posting", total=len(running) * options.rounds)
        for _ in range(options.rounds):
            for name, server in chance.sample([*running.items()], len(running)):
                case = Case(
                    port=server.port,
                    pid=server.pid,
                    targets=targets,
                    connections=options.connections,
                    seconds=options.seconds,
                    warm_s=0.2,
                )
                figures = load(case)
                if figures.answers.keys() != {"201"}:
                    raise SystemExit(f"{name}: {figures.answers}")
                found[name].append(figures.server_cpu_us)
                bar.advance(task)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, help="a checkout with another server of the API")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--bytes", default="900", help="of an answer")
    options = parser.parse_args()
    found = measure(options)
    base = [*found][-1] if options.other else BASE
    table = Table(title=f"CPU a POST, us: median of {options.rounds} rounds (95 % of the median)")
    for heading in ("", "us", f"ratio to {base}", f"more than {base}"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in found.items():
        pairs = [*zip(figures, found[base], strict=True)]
        table.add_row(name, *map(shown, (figures, [a / b for a, b in pairs], [a - b for a, b in pairs])))
    console.print(table)


def shown(values: list[float]) -> str:
    """A median and its interval: ratios with two decimals, microseconds with one."""
    low, high = interval(values)
    digits = 2 if max(map(abs, values)) < 8 else 1
    return f"{middle(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
