"""One order's history out of journals of 10 000, 100 000 and 1 000 000 facts.

    python -m bench.replay               on both databases, about 4 minutes
    python -m bench.replay --databases sqlite --facts 10000,100000

What `GET .../history` does without HTTP: the order's facts read and checked, folded, joined with the
legs of its account's facts, and rendered. Orders are drawn at random from the whole journal; the
journals take turns in one process. How long a journal is must not be felt: the p99 of the largest is to
be at most 1.5 times that of the smallest. Where other programs take the processor away, for some
milliseconds at a time, they make the p99 of every journal; so it is reported in processor time of
this process too.

A journal is filled by copying: one run of the real decisions, appended again and again under new ids.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from rich.table import Table

from bench.measure import console, middle, progress, ratios
from engine.domain.stored import engine_codec
from engine.history import history
from engine.history.history import NOW
from engine.journal.journal import Journal, migrate
from engine.kernel.fact import Envelope, Fact, Recorded, StreamAppend
from engine.kernel.ids import IdSource
from engine.sandbox.generate import GenerationPlan, fill
from projections.history import ORDERS

FACTS: Final = (10_000, 100_000, 1_000_000)
RATIO_MAX: Final = 1.5
ROUNDS, HISTORIES, WARM_UP = 7, 1_000, 200
GROUP: Final = 1_500
"""Facts handed to the writer at once."""
COPIED: Final = ("acc", "ord", "dep", "wdr", "rep", "trd", "pos")
"""Prefixes of ids that are new in each copy. Instruments are the same for all."""


class Filled(NamedTuple):
    """A journal, and the orders in it."""

    journal: Journal
    orders: list[str]


def template() -> list[list[Recorded]]:
    """The appends of one run, except those about instruments and the clock."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/journal.db"
        migrate(url)
        with Journal(url, engine_codec()) as journal:
            fill(journal, GenerationPlan(100, 5, 1))
            appends: dict[bytes | None, list[Recorded]] = {}
            for page in journal.pages():
                for one in page:
                    appends.setdefault(one.envelope.command, []).append(one)
    return [facts for facts in appends.values() if facts[0].stream.startswith(COPIED)]


def copied(value: Any, fresh: dict[str, str], ids: IdSource) -> Any:
    """A fact, or a field of one, with the new ids of this copy."""
    if isinstance(value, str) and value[3:4] == "_" and value.startswith(COPIED):
        if value not in fresh:
            fresh[value] = ids.new(value[:3])
        return fresh[value]
    if isinstance(value, msgspec.Struct):
        words = {name: getattr(value, name) for name in value.__struct_fields__}
        changed = {name: copied(word, fresh, ids) for name, word in words.items()}
        return msgspec.structs.replace(value, **changed)
    return value


def fill_up(journal: Journal, appends: Sequence[list[Recorded]], facts: int, advance: Any) -> list[str]:
    """Copies until the journal has at least so many facts; the orders in it."""
    ids, orders, written = IdSource(), list[str](), 0
    settled = threading.Semaphore(0)
    waiting, group = 0, 0
    while written < facts:
        fresh: dict[str, str] = {}
        for append in appends:
            streams: dict[str, list[Fact]] = {}
            firsts: dict[str, int] = {}
            for one in append:
                stream = copied(one.stream, fresh, ids)
                firsts.setdefault(stream, one.version - 1)
                streams.setdefault(stream, []).append(copied(one.fact, fresh, ids))
            command = ids.number().to_bytes(16, "big")
            envelope: Envelope = msgspec.structs.replace(append[0].envelope, command=command)
            whole = [StreamAppend(stream, firsts[stream], some) for stream, some in streams.items()]
            journal.submit(whole, envelope, settled.release)
            waiting, group = waiting + 1, group + len(append)
            if group >= GROUP:
                journal.flush()
                for _ in range(waiting):
                    settled.acquire()
                written += group
                advance(group)
                waiting = group = 0
        orders += [stream for stream in fresh.values() if stream.startswith("ord_")]
    journal.flush()
    for _ in range(waiting):
        settled.acquire()
    return orders


def one(journal: Journal, order: str) -> bytes:
    """An order's history as it is sent."""
    version = history.version_of(journal, order, NOW)
    steps = history.read(journal, order, 0, version)
    return b",".join(ORDERS.fact(step, ORDERS.resource(step.state)) for step in reversed(steps))


class Took(NamedTuple):
    """Microseconds of so many histories: by the clock, and of this process's processor time."""

    p50: float
    p99: float
    cpu_p99: float


def measure(filled: Filled, chance: random.Random) -> Took:
    """Histories of orders that are drawn by chance."""
    walls, cpus = [], []
    for order in chance.choices(filled.orders, k=HISTORIES + WARM_UP):
        cpu, began = time.thread_time_ns(), time.perf_counter_ns()
        one(filled.journal, order)
        walls.append((time.perf_counter_ns() - began) / 1_000)
        cpus.append((time.thread_time_ns() - cpu) / 1_000)
    walls, cpus = sorted(walls[WARM_UP:]), sorted(cpus[WARM_UP:])
    return Took(*(walls[HISTORIES * part // 100] for part in (50, 99)), cpus[HISTORIES * 99 // 100])


@contextlib.contextmanager
def journals(urls: dict[int, str]) -> Iterator[dict[int, Filled]]:
    """Journals of so many facts, filled."""
    appends = template()
    with contextlib.ExitStack() as stack:
        filled: dict[int, Filled] = {}
        with progress() as bar:
            task = bar.add_task("filling", total=sum(urls))
            for facts, url in urls.items():
                migrate(url)
                journal = stack.enter_context(Journal(url, engine_codec()))
                orders = fill_up(journal, appends, facts, lambda done: bar.advance(task, done))
                filled[facts] = Filled(journal, orders)
        yield filled


def report(database: str, urls: dict[int, str], rounds: int) -> None:
    """Fills, measures, prints a table."""
    took: dict[int, list[Took]] = {facts: [] for facts in urls}
    with journals(urls) as filled:
        gc.collect()
        gc.freeze()
        for number in range(rounds):
            for facts, known in filled.items():
                took[facts].append(measure(known, random.Random(number)))
        heads = {facts: known.journal.head for facts, known in filled.items()}
    smallest, largest = took[min(urls)], took[max(urls)]
    table = Table(title=f"{database}: one order's history, median of {rounds} rounds of {HISTORIES}")
    for heading in ("facts", "p50 us", "p99 us", "to smallest", "CPU us", "to smallest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for facts, figures in took.items():
        p50, p99, cpu_p99 = map(list, zip(*figures, strict=True))
        table.add_row(
            f"{heads[facts]:,}",
            *(f"{middle(each):,.0f}" for each in (p50, p99)),
            ratios(p99, [one.p99 for one in smallest]),
            f"{middle(cpu_p99):,.0f}",
            ratios(cpu_p99, [one.cpu_p99 for one in smallest]),
        )
    console.print(table)
    ratio = middle(a.p99 / b.p99 for a, b in zip(largest, smallest, strict=True))
    verdict = "as wished" if ratio <= RATIO_MAX else "too slow"
    console.print(f"p99 of the largest to the smallest: {ratio:.2f}, at most {RATIO_MAX}: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", default=",".join(map(str, FACTS)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    sizes = [int(size) for size in options.facts.split(",")]
    for database in options.databases.split(","):
        if database == "sqlite":
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                urls = {size: f"sqlite:///{folder}/{size}.db" for size in sizes}
                report(database, urls, options.rounds)
        else:
            from tests.support.servers.postgres import PostgresServer

            server = PostgresServer(is_durable=True)
            try:
                urls = {size: server.create_database() for size in sizes}
                report(database, urls, options.rounds)
            finally:
                server.close()


if __name__ == "__main__":
    main()
