"""Reading the log: facts per second, decoded, beside a raw scan of the same rows.

    python -m bench.read                 200 000 facts on both databases, about 2 minutes

Several ways over the same journal in pages of 1 000, in turn, in one process: the driver's bare rows;
rows of SQLAlchemy Core; bare rows whose bodies are unpacked and discarded; `Journal.read` with every
digest checked; and without (`is_checked=False`).
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgpack
from rich.table import Table

from bench.measure import console, middle, progress, ratios, spread
from engine.journal.journal import Journal, migrate
from engine.kernel.codec import Codec
from engine.kernel.fact import Envelope, Fact, StreamAppend
from engine.kernel.ids import IdSource

PAGE = 1_000


class Placed(Fact, frozen=True):
    """A fact of the size and make of an order's."""

    account: str
    instrument: str
    side: str
    cash_amount: Decimal
    net_cash_amount: Decimal
    fees: Decimal
    currency: str
    price_offset: int


def fill(journal: Journal, facts: int) -> None:
    """Appends orders of ten facts each, which repeat the order's amounts as real ones do."""
    ids, amounts = IdSource(), random.Random(1)
    account, instrument, client = ids.new("acc"), ids.new("ins"), ids.new("cli")
    with progress() as bar:
        task = bar.add_task("filling", total=facts)
        for start in range(0, facts, 1_000):
            appends = []
            for _ in range(100):
                cash = Decimal(amounts.randrange(100, 1_000_000)).scaleb(-2)
                fees = (cash / 200).quantize(Decimal("0.01"))
                words = (account, instrument, "buy", cash, cash - fees, fees, "USD", 7)
                appends.append(StreamAppend(ids.new("ord"), 0, [Placed(*words)] * 10))
            command = ids.number().to_bytes(16, "big")
            at_us = 1_790_000_000_000_000 + start
            journal.append(appends, Envelope(at_us, None, "tnt", client, command, ids.new("req")))
            bar.advance(task, 1_000)


def ways(journal: Journal) -> dict[str, Callable[[int], int]]:
    """How to read the page after an offset; each gives the number of facts."""
    store = journal.datastore.store
    statement = (
        "SELECT position, version, name, stream, command, body, digest FROM journal"
        " WHERE position > ? ORDER BY position LIMIT ?"
    )
    table = journal.datastore.tables.journal

    def core_rows(after: int) -> int:
        with store.reading() as connection:
            query = table.select().where(table.c.position > after).order_by(table.c.position)
            return len(connection.execute(query.limit(PAGE)).all())

    return {
        "raw rows": lambda after: len(store.query(statement, (after, PAGE))),
        "SQLAlchemy rows": core_rows,
        "rows, bodies unpacked": lambda after: sum(
            1 for row in store.query(statement, (after, PAGE)) if msgpack.unpackb(row[5])
        ),
        "facts, digests checked": lambda after: len(journal.read(after, PAGE)),
        "facts": lambda after: len(journal.read(after, PAGE, is_checked=False)),
    }


def measure(journal: Journal, facts: int, runs: int) -> dict[str, list[float]]:
    """Facts per second of each way, run by run."""
    rates: dict[str, list[float]] = {}
    for run in range(runs + 1):
        for way, read in ways(journal).items():
            started = time.perf_counter()
            assert sum(read(after) for after in range(0, facts, PAGE)) == facts
            if run:  # the first warms the cache up
                rates.setdefault(way, []).append(facts / (time.perf_counter() - started))
    return rates


def report(database: str, url: str, facts: int, runs: int) -> None:
    """Fills a journal, reads it, prints a table."""
    migrate(url)
    journal = Journal(url, Codec({"order.placed.1": Placed}))
    fill(journal, facts)
    rates = measure(journal, facts, runs)
    body = sum(len(row[5]) for row in journal.datastore.pages.log(0, PAGE)) / PAGE
    journal.close()
    table = Table(title=f"{database}: {facts:,} facts of {body:.0f}-byte bodies, median of {runs}")
    for heading in ("", "facts/s", "smallest-largest", "to raw rows"):
        table.add_column(heading, justify="right" if heading else "left")
    for way, figures in rates.items():
        table.add_row(
            way, f"{middle(figures):,.0f}", spread(figures), ratios(figures, rates["raw rows"])
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    for database in options.databases.split(","):
        if database == "sqlite":
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                report(database, f"sqlite:///{folder}/journal.db", options.facts, options.runs)
        else:
            from tests.support.servers.postgres import PostgresServer

            server = PostgresServer(is_durable=True)
            try:
                report(database, server.create_database(), options.facts, options.runs)
            finally:
                server.close()


if __name__ == "__main__":
    main()
