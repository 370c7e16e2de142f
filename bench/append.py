"""Appends per second: our recorder beside its peers, in turn, on SQLite and PostgreSQL.

    python -m bench.append                      everything: about 12 minutes
    python -m bench.append --databases sqlite --batches 100 --threads ''
    python -m bench.append --runs 1 --seconds 0.3

Peers: the `eventsourcing` library's own modules (no digests), `eventsourcing-sqlalchemy`, and plain
inserts through the driver. Bodies are 200 random bytes; each append opens a new stream; ours keeps its
digest chain. One measurement is one process on a fresh database; peers alternate within each run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from rich.table import Table

from bench.measure import console, in_own_process, middle, progress, ratios, spread

PEERS = ("ours", "library", "eventsourcing-sqlalchemy", "raw")
BODY_BYTES = 200
FACTS_MAX = 400_000  # of one measurement, so that a fast peer does not fill the disk

Insert = Callable[[Sequence[Any]], object]


def ours(url: str) -> tuple[Insert, Callable[[], None]]:
    from eventsourcing.utils import Environment

    from engine.journal.recorder import JournalFactory

    factory = JournalFactory(Environment("bench", {"JOURNAL_URL": url}))
    return factory.application_recorder().insert_events, factory.close


def library(url: str) -> tuple[Insert, Callable[[], None]]:
    from eventsourcing.persistence import InfrastructureFactory
    from eventsourcing.utils import Environment

    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": parsed.database}
    else:
        env = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": parsed.database,
            "POSTGRES_HOST": parsed.host,
            "POSTGRES_PORT": str(parsed.port),
            "POSTGRES_USER": parsed.username,
            "POSTGRES_PASSWORD": "",
            "POSTGRES_POOL_SIZE": "20",
        }
    factory = InfrastructureFactory.construct(Environment("bench", env))
    return factory.application_recorder().insert_events, factory.close


def eventsourcing_sqlalchemy(url: str) -> tuple[Insert, Callable[[], None]]:
    from eventsourcing.persistence import InfrastructureFactory
    from eventsourcing.utils import Environment

    url = url.replace("postgresql://", "postgresql+psycopg://")
    env = {"PERSISTENCE_MODULE": "eventsourcing_sqlalchemy", "SQLALCHEMY_URL": url}
    factory = InfrastructureFactory.construct(Environment("bench", env))
    return factory.application_recorder().insert_events, factory.close


def raw(url: str) -> tuple[Insert, Callable[[], None]]:
    parsed = sa.make_url(url)
    lock = threading.Lock()
    columns = "(stream, version, name, body)"
    if parsed.get_backend_name() == "sqlite":
        from engine.journal.sqlite import driver

        connection = driver().connect(parsed.database, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "CREATE TABLE facts (position INTEGER PRIMARY KEY, stream BLOB, version INT, name TEXT,"
            " body BLOB, UNIQUE (stream, version))"
        )
        statement = f"INSERT INTO facts {columns} VALUES (?, ?, ?, ?)"
        begin = "BEGIN IMMEDIATE"
    else:
        import psycopg

        connection = psycopg.connect(url, autocommit=True)
        connection.execute(
            "CREATE TABLE facts (position bigserial PRIMARY KEY, stream bytea, version int, name text,"
            " body bytea, UNIQUE (stream, version))"
        )
        statement = f"INSERT INTO facts {columns} VALUES (%b, %b, %b, %b)"
        begin = "BEGIN"
    cursor = connection.cursor()

    def insert(events: Sequence[Any]) -> None:
        with lock:
            connection.execute(begin)
            cursor.executemany(
                statement,
                [(e.originator_id.bytes, e.originator_version, e.topic, e.state) for e in events],
            )
            connection.execute("COMMIT")

    return insert, connection.close


OPENERS = dict(zip(PEERS, (ours, library, eventsourcing_sqlalchemy, raw), strict=True))


def measure(peer: str, url: str, batch: int, threads: int, seconds: float) -> dict[str, float]:
    """Facts per second of `threads` in a closed loop for `seconds`, and how many were written."""
    from eventsourcing.persistence import StoredEvent

    insert, close = OPENERS[peer](url)
    bodies = [os.urandom(BODY_BYTES) for _ in range(1_000)]
    counts = [0] * threads

    def appends(events_max: int, worker: int, until: float) -> None:
        while time.perf_counter() < until and counts[worker] < events_max:
            stream = uuid4()
            insert(
                [
                    StoredEvent(
                        stream, version, "order.placed.1", bodies[(counts[worker] + version) % 1_000]
                    )
                    for version in range(1, batch + 1)
                ]
            )
            counts[worker] += batch

    appends(batch * 20, 0, time.perf_counter() + 0.3)  # warm up
    warm = counts[0]
    counts[0] = 0
    started = time.perf_counter()
    until = started + seconds
    workers = [
        threading.Thread(target=appends, args=(FACTS_MAX // threads, worker, until))
        for worker in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - started
    close()
    return {"facts_per_s": sum(counts) / elapsed, "facts": sum(counts) + warm}


def one(case: dict[str, Any]) -> None:
    """One measurement on a database of its own; prints its figures."""
    server = case.pop("server")
    if server:
        from tests.support.servers.postgres import create_database

        url = create_database(server, f"bench_{uuid4().hex}")
        figures = measure(url=url, **case)
        with sa.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://")
        ).connect() as connection:
            size = connection.exec_driver_sql(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).scalar()
    else:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            path = Path(folder) / "bench.db"
            figures = measure(url=f"sqlite:///{path}", **case)
            # A peer that leaves its WAL behind has not put all its facts into the file.
            has_all = not Path(f"{path}-wal").exists()
            size = path.stat().st_size if has_all else math.nan
    figures["bytes_per_fact"] = float(size) / figures["facts"]
    print(json.dumps(figures))


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument(
        "--batches", type=numbers, default=[1, 10, 100, 1000], help="facts an append, one thread"
    )
    parser.add_argument(
        "--threads", type=numbers, default=[1, 4, 16], help="threads, two facts an append"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return

    cases = [(batch, 1) for batch in options.batches] + [(2, threads) for threads in options.threads]
    for database in options.databases.split(","):
        server = None
        if database == "postgresql":
            from tests.support.servers.postgres import PostgresServer

            server = PostgresServer(is_durable=True)
        try:
            report(database, server.url if server else None, cases, options.runs, options.seconds)
        finally:
            if server:
                server.close()


def report(
    database: str, server: str | None, cases: list[tuple[int, int]], runs: int, seconds: float
) -> None:
    """Measures all cases on one database and prints a table."""
    table = Table(title=f"{database}: facts/s, median of {runs} (smallest-largest); ratio = ours / peer")
    for heading in ("batch", "threads", "peer", "facts/s", "spread", "ratio", "bytes/fact"):
        table.add_column(heading, justify="left" if heading == "peer" else "right")
    with progress() as bar:
        task = bar.add_task(database, total=len(cases) * runs * len(PEERS))
        for batch, threads in cases:
            figures: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
            for run in range(runs):
                for peer in PEERS if run % 2 == 0 else reversed(PEERS):
                    figures[peer].append(
                        in_own_process(
                            "bench.append",
                            peer=peer,
                            batch=batch,
                            threads=threads,
                            seconds=seconds,
                            server=server,
                        )
                    )
                    bar.advance(task)
            rates = {peer: [figure["facts_per_s"] for figure in figures[peer]] for peer in PEERS}
            for peer in PEERS:
                table.add_row(
                    *(
                        str(batch),
                        str(threads),
                        peer,
                        f"{middle(rates[peer]):,.0f}",
                        spread(rates[peer]),
                    ),
                    "" if peer == "ours" else ratios(rates["ours"], rates[peer]),
                    f"{middle(figure['bytes_per_fact'] for figure in figures[peer]):.0f}".replace(
                        "nan", "?"
                    ),
                )
            table.add_section()
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
