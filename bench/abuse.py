"""Abuse mixed with normal load: what honest clients notice of 100 000 abusive requests.

    python -m bench.abuse                                          about five minutes
    python -m bench.abuse --requests 4000 --rounds 1

One `order-engine serve --sandbox` on a fresh SQLite journal, with default rates. Honest clients place
orders and read accounts at a steady pace, now alone, now beside abusers, in turn. Each abuser has a
client and an address of its own, and sends what is in `bench.abusive` over many connections, on each the
next message as soon as the last was answered (`--pace`: so many a second in all), while others drip half
a message or hang up in the middle. An honest request is timed from when it was due. The server has one
core with all its processes, the generators the others (`--cpus shared`: no process is confined).

To be met: no 5xx and no request without an answer, memory of the API's process grows by less than 50 MB,
the honest p99 at most doubles. How much of the memory the honest orders take is seen on another server,
with the same honest clients alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
from rich.table import Table

from bench.measure import console, middle, progress, ratios
from bench.place_orders import split_cpus
from bench.serving import Caller, Server, authorize, furnish, new_client, serving
from engine.config.settings import RATES
from engine.kernel.rate import Quotas

MEMORY_MB_MAX: Final = 50.0
P99_RATIO_MAX: Final = 2.0
WARM_S: Final = 3.0
"""Until everything is imported and cached that honest requests need."""
SERVE: Final = ("serve", "--port", "0", "--sandbox")


class Place(NamedTuple):
    """A server, and what its clients have to know."""

    server: Server
    log: Path
    case: dict[str, Any]
    abusers: list[str]  # their tokens

    @property
    def memory_mb(self) -> float:
        return float(psutil.Process(self.server.pid).memory_info().rss / 1e6)


@contextlib.contextmanager
def opened(folder: Path, options: argparse.Namespace) -> Iterator[Place]:
    """A fresh server with accounts that the honest trade for."""
    server_cpus, load_cpus = split_cpus(options.cpus)
    folder.mkdir()
    data, log = folder / "data", folder / "engine.log"
    with serving("order_engine", *SERVE, "--data", str(data), log=log, cpus=server_cpus) as server:
        call = Caller(server)
        authorize(call, new_client(data))
        honest_token = call.headers["Authorization"]
        accounts = furnish(call, 20, settlement_days=2)
        tokens = []
        for _ in range(options.abusers):
            authorize(call, new_client(data))
            tokens.append(call.headers["Authorization"])
        call.close()
        case = {
            "port": server.port,
            "cpus": load_cpus,
            "token": honest_token,
            "accounts": accounts,
            "rate": options.rate,
            "warm_s": 1.0,
        }
        yield Place(server, log, case, tokens)


@contextlib.contextmanager
def started(role: str, case: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """One of `bench.crowd`, as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.crowd", role, json.dumps(case)],
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
    """Its findings, once it has ended; its stdin is closed."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a generator failed")
    figures: dict[str, Any] = json.loads(said)
    return figures


def alone(place: Place, seconds: float) -> dict[str, Any]:
    with started("honest", place.case | {"connections": 16, "seconds": seconds}) as honest:
        return figures_of(honest)


def beside_abuse(
    place: Place, options: argparse.Namespace, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of the honest, and of the abusers."""
    abuse = {
        "tokens": place.abusers,
        "connections": options.connections,
        "requests": options.requests // options.rounds,
        "pace": options.pace,
        "drippers": options.drippers,
        "seed": seed,
    }
    with started("honest", place.case | {"connections": 16, "seconds": 0}) as honest:
        with started("abusive", place.case | abuse) as abusers:
            theirs = figures_of(abusers)
        return figures_of(honest), theirs


def measure(options: argparse.Namespace, folder: Path) -> bool:
    """All rounds; whether everything was met."""
    for name, field in RATES.items():
        quota = getattr(Quotas(), field) if options.rates == "default" else None
        os.environ[name] = f"{quota.requests}/{quota.seconds}" if quota else "off"
    quiet, loud, abuse = [], [], []
    with opened(folder / "abused", options) as place, progress() as bar:
        task = bar.add_task("abuse", total=2 * options.rounds)
        alone(place, WARM_S)
        before_mb = place.memory_mb
        for number in range(options.rounds):
            quiet.append(alone(place, options.seconds))
            bar.advance(task)
            ours, theirs = beside_abuse(place, options, options.seed + number)
            loud.append(ours)
            abuse.append(theirs)
            bar.advance(task)
        grown_mb = place.memory_mb - before_mb
    with opened(folder / "control", options) as control:
        alone(control, WARM_S)
        before_mb = control.memory_mb
        count = alone(control, 2 * options.seconds)["count"]
        each_mb = (control.memory_mb - before_mb) / count
    own_mb = each_mb * sum(one["count"] for one in quiet + loud)
    console.print(f"of the memory, {own_mb:.0f} MB go with the honest requests themselves")
    is_met = report(quiet, loud, abuse, grown_mb)
    return is_met and "Traceback" not in place.log.read_text(errors="replace")


def report(
    quiet: list[dict[str, Any]],
    loud: list[dict[str, Any]],
    abuse: list[dict[str, Any]],
    grown_mb: float,
) -> bool:
    """Prints the tables; whether everything was met."""
    table = Table(title=f"honest requests, from when they were due; median of {len(quiet)} rounds")
    for heading in ("", "requests", "p50, ms", "p99, ms", "longest, ms", "answers"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, each in (("alone", quiet), ("with abuse", loud)):
        times = [_cell([one[field] for one in each]) for field in ("p50_ms", "p99_ms", "max_ms")]
        count = sum(one["count"] for one in each)
        table.add_row(name, f"{count:,}", *times, _counts(_answers(each)))
    console.print(table)
    sent, took_s = sum(_answers(abuse).values()), sum(each["seconds"] for each in abuse)
    console.print(
        f"{sent:,} abusive requests, {sent / took_s:,.0f}/s, by status: {_counts(_answers(abuse))}"
    )
    answers = _answers(quiet + loud + abuse)
    failures = sum(count for status, count in answers.items() if status >= 500 or status < 0)
    p99s = [[one["p99_ms"] for one in each] for each in (loud, quiet)]
    ratio = middle(a / b for a, b in zip(*p99s, strict=True))
    rows = (
        ("5xx, or no answer in time", f"{failures}", "0", failures == 0),
        (
            "memory grown, MB",
            f"{grown_mb:.1f}",
            f"< {MEMORY_MB_MAX:.0f}",
            grown_mb < MEMORY_MB_MAX,
        ),
        ("honest p99, ratio", ratios(*p99s), f"<= {P99_RATIO_MAX:.0f}", ratio <= P99_RATIO_MAX),
    )
    for name, value, target, is_met in rows:
        console.print(f"{name}: {value}, to be {target}: {'met' if is_met else 'MISSED'}")
    for each in abuse:
        if each["wrong"]:
            console.print(f"wrong: {each['wrong']}")
    return all(is_met for *_, is_met in rows)


def _answers(each: Sequence[dict[str, Any]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in each:
        total.update({int(status): count for status, count in one["answers"].items()})
    return total


def _counts(answers: Counter[int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(answers.items()))


def _cell(values: Sequence[float]) -> str:
    return f"{middle(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000, help="abusive ones, of all rounds")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0, help="of the honest alone, each round")
    parser.add_argument("--rate", type=float, default=200.0, help="honest requests a second")
    parser.add_argument("--abusers", type=int, default=12, help="each a client, from its own address")
    parser.add_argument("--connections", type=int, default=32, help="of each abuser")
    parser.add_argument("--pace", type=float, default=0.0, help="abusive requests a second; 0: a flood")
    parser.add_argument("--drippers", type=int, default=100, help="connections with half a message")
    parser.add_argument("--rates", choices=("default", "off"), default="default")
    parser.add_argument("--cpus", choices=("split", "shared"), default="split")
    parser.add_argument("--seed", type=int, default=4711)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        is_met = measure(options, Path(folder))
    if not is_met:
        raise SystemExit("MISSED")


if __name__ == "__main__":
    main()
