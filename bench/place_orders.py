"""Placing orders over HTTP, beside a bare aiohttp handler that answers a constant of the same size.

    python -m bench.place_orders                    5 rounds of 5 s each: about 2 minutes
    python -m bench.place_orders --rounds 1 --seconds 2

Ours is `order-engine serve --roles api` on a fresh SQLite journal, `synchronous=FULL`: token checked,
body validated, every request under an idempotency key of its own, answered after its commit. Both
servers get the same requests, in turn, from the same load generator (`bench.load`): a closed loop of 64
connections. Each server has one core for itself, the generator and this program share the others
(`--cpus shared`: no process is confined). In the end every order that was answered is looked for in the
journal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import psutil
from rich.table import Table

from bench.load import Case, Figures, Target
from bench.measure import console, middle, progress, ratios, spread
from bench.serving import Caller, Server, authorize, buys, furnish, new_client, serving

OURS, BARE = "order-engine", "bare aiohttp"
TARGET: Final = 0.35
QUIET_CORES: Final = 0.9
"""A closed loop keeps a bare handler busy all the time. Where it does not, others had the processor,
and the rates say less than the CPU a request."""


def load(case: Case) -> Figures:
    """One measurement by a generator of its own process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(case),
        capture_output=True,
        check=False,
        timeout=case.warm_s + case.seconds + 90,
    )
    if done.returncode:
        raise SystemExit(f"the load generator failed:\n{done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Figures)


def split_cpus(kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the server's, the generator's); both empty where no process is confined, as on macOS."""
    if kind == "shared" or not hasattr(psutil.Process, "cpu_affinity"):
        return (), ()
    first, *others = psutil.Process().cpu_affinity()
    return ((first,), tuple(others)) if others else ((), ())


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[Figures]]:
    """All rounds, and the check of the journal."""
    data, answered = folder / "data", folder / "answered"
    server_cpus, load_cpus = split_cpus(options.cpus)
    serve = ("serve", "--roles", "api", "--data", str(data), "--port", "0", "--sandbox")
    console.print(f"CPUs of the server: {server_cpus or 'any'}, of the generator: {load_cpus or 'any'}")
    figures: dict[str, list[Figures]] = {OURS: [], BARE: []}
    ids: set[str] = set()

    def one(server: Server, targets: list[Target], seconds: float) -> Figures:
        case = Case(
            port=server.port,
            pid=server.pid,
            targets=targets,
            connections=options.connections,
            seconds=seconds,
            warm_s=1.0,
            cpus=load_cpus,
            answered=str(answered),
        )
        return load(case)

    with serving("order_engine", *serve, log=folder / "engine.log", cpus=server_cpus) as ours:
        call = Caller(ours)
        client = new_client(data)
        authorize(call, client)
        accounts = furnish(call, options.accounts, settlement_days=2)
        # A first short run: its answers' size is what the bare handler will answer.
        sample = one(ours, buys(accounts, call.headers), 0.5)
        ids.update(answered.read_text().split())
        bare_bytes = str(sample.answer_bytes)
        log = folder / "bare.log"
        with (
            serving("bench.peers.bare_post", bare_bytes, log=log, cpus=server_cpus) as bare,
            progress() as bar,
        ):
            task = bar.add_task("placing", total=2 * options.rounds)
            for number in range(options.rounds):
                authorize(call, client)
                targets = buys(accounts, call.headers)
                pair = [(OURS, ours), (BARE, bare)]
                for name, server in pair if number % 2 == 0 else reversed(pair):
                    figures[name].append(one(server, targets, options.seconds))
                    if name == OURS:
                        ids.update(answered.read_text().split())
                    bar.advance(task)
        call.close()
    check_journal(data, ids)
    return figures


def check_journal(data: Path, answered: set[str]) -> None:
    """Raises SystemExit unless every order that was answered with 201 was placed, once."""
    from engine.domain.order import Placed
    from engine.domain.stored import engine_codec
    from engine.journal.journal import Journal

    placed: Counter[str] = Counter()
    with Journal(f"sqlite:///{data / 'journal.db'}", engine_codec()) as journal:
        for page in journal.pages():
            placed.update(fact.stream for fact in page if isinstance(fact.fact, Placed))
        head = journal.head
    missing = len(answered - placed.keys())
    twice = sum(count > 1 for count in placed.values())
    console.print(
        f"journal: {len(placed):,} orders in {head:,} facts, digests checked;"
        f" {len(answered):,} were answered, {missing} of them missing, {twice} placed twice"
    )
    if missing or twice or not answered:
        raise SystemExit("the journal does not hold what was answered")


def report(figures: dict[str, list[Figures]]) -> bool:
    """Prints the table; whether the target was met and every answer was a 201."""
    ours, bare = figures[OURS], figures[BARE]
    table = Table(title=f"placing orders, median of {len(ours)} rounds (smallest-largest)")
    for heading in ("", OURS, BARE, "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = (
        ("requests/s", "requests_per_s"),
        ("p50, ms", "p50_ms"),
        ("p99, ms", "p99_ms"),
        ("server CPU a request, us", "server_cpu_us"),
        ("server, cores busy", "server_cores"),
        ("generator CPU a request, us", "load_cpu_us"),
        ("generator, cores busy", "load_cores"),
    )
    for title, field in rows:
        ours_all = [getattr(figure, field) for figure in ours]
        bare_all = [getattr(figure, field) for figure in bare]
        is_small = max(ours_all + bare_all) < 100
        cells = [
            f"{middle(each):,.2f} ({min(each):,.2f}-{max(each):,.2f})"
            if is_small
            else f"{middle(each):,.0f} ({spread(each)})"
            for each in (ours_all, bare_all)
        ]
        table.add_row(title, *cells, ratios(ours_all, bare_all))
    console.print(table)
    answers = {name: sum((Counter(f.answers) for f in figures[name]), Counter()) for name in figures}
    console.print(f"answers by status: { ({name: dict(each) for name, each in answers.items()}) }")
    console.print(f"an answer has {ours[0].answer_bytes} bytes, the bare one's {bare[0].answer_bytes}")
    is_clean = all(set(each) == {"201"} for each in answers.values())
    busy = middle(figure.server_cores for figure in bare)
    pairs = list(zip(ours, bare, strict=True))
    ratio = middle(a.requests_per_s / b.requests_per_s for a, b in pairs)
    by_cpu = middle(b.server_cpu_us / a.server_cpu_us for a, b in pairs)
    verdict = "met" if ratio >= TARGET else "MISSED"
    if busy < QUIET_CORES:
        verdict = f"no verdict, the bare handler got {busy:.2f} of a core: look at the CPU"
    console.print(
        f"{ratio:.2f} of the bare handler's requests/s, {by_cpu:.2f} for the same CPU;"
        f" to be at least {TARGET}: {verdict}"
    )
    return is_clean


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--accounts", type=int, default=200, help="over which the buys are spread")
    parser.add_argument("--cpus", choices=("split", "shared"), default="split")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        figures = measure(options, Path(folder))
    if not report(figures):
        raise SystemExit("some answers were no 201")


if __name__ == "__main__":
    main()
