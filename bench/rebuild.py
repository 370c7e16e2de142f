"""Rebuilding all views beside the live ones, beside reading the same facts, and beside the library.

    python -m bench.rebuild                      1 000 000 facts on both databases: 8 minutes
    python -m bench.rebuild --databases postgresql --facts 100000 --rounds 1

The journal is a generated one (`order-engine generate`), copied under other ids until it is long enough.
Ours is what `order-engine rebuild --all` does: folding from the first fact, comparing row by row with
the live views, indexing, swapping. Beside it, on the same journal and in pages of the same size:

    reading    `Journal.read`: rows fetched, digests checked, bodies unpacked into facts, discarded
    unpacking  the driver's rows, their bodies unpacked by msgpack and discarded
    library    the `eventsourcing` library's `ProjectionRunner` with a view of orders, one event at a
               time, on PostgreSQL, over the first facts only

A rebuild by one process, and the library, are measured once, all else in turns. Memory is that of all
processes of the rebuild at the moment when it is most, what they share counted once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgpack
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL
from rich.table import Table

from bench.measure import console, in_own_process, middle, progress, ratios, spread
from engine.domain import order
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal, migrate
from engine.journal.writer import Append
from engine.kernel.ids import IdSource, encode
from engine.kernel.limits import REBUILD_PAGE_FACTS
from engine.kernel.process import tame_collector
from engine.sandbox.generate import GenerationPlan, fill
from projections import jobs, rebuild
from projections.database import Views
from projections.rebuild import RebuildRequest
from projections.resources import order_json

PAGE: Final = REBUILD_PAGE_FACTS
ORDERS: Final = 5_000
LIBRARY_FACTS: Final = 20_000
OF_UNPACKING, OF_LIBRARY, MEMORY_MB = 0.35, 20.0, 300
COPIED: Final = ("acc", "ord", "dep", "wdr", "rep")


# --- a long journal -------------------------------------------------------------------------------


def make_journal(url: str, facts: int) -> None:
    """Generates orders and copies them, each time under other ids."""
    migrate(url)
    with Journal(url, engine_codec()) as journal:
        fill(journal, GenerationPlan(ORDERS, 100, 1))
        rows = list(journal.datastore.pages.log(0, 10_000))
        while more := journal.datastore.pages.log(len(rows), 10_000):
            rows += more
        ids = IdSource()
        with progress() as bar:
            task = bar.add_task("copying", total=facts, completed=len(rows))
            copy, left = 0, facts - len(rows)
            while left > 0:
                copy += 1
                for start in range(0, len(rows), 5_000):
                    part = [row for row in rows[start : start + 5_000] if row[3][:3] in COPIED][:left]
                    if part:
                        append_copies(journal, part, copy, ids)
                    left -= len(part)
                    bar.advance(task, len(part))


def append_copies(journal: Journal, rows: Sequence[Any], copy: int, ids: IdSource) -> None:
    """Ids have 22 characters after their prefix; the last three become the copy's number."""
    tail = encode(copy)[-3:].encode()
    events = []
    for _, version, name, stream, _, body, _ in rows:
        events.append(_Event(stream[:-3] + tail.decode(), version, name, renamed(body, tail)))
    command = ids.number().to_bytes(16, "big")
    journal.datastore.append(Append(journal.datastore.rows(events, command), command=command))


def renamed(body: bytes, tail: bytes) -> bytes:
    """The body with every id of a copied stream, or of a part of one, renamed."""
    parts = []
    while True:
        at = body.find(b"_")
        if at < 0:
            return b"".join([*parts, body])
        end = at + 23
        is_id = body[at - 3 : at] in IDS and body[at + 1 : end].isalnum() and len(body) >= end
        parts.append(body[: end - 3] + tail if is_id else body[: at + 1])
        body = body[end if is_id else at + 1 :]


IDS: Final = {b"acc", b"ord", b"dep", b"wdr", b"rep", b"trd", b"pos"}


class _Event:
    def __init__(self, stream: str, version: int, name: str, body: bytes) -> None:
        self.originator_id, self.originator_version = stream, version
        self.topic, self.state = name, body


# --- what is measured -----------------------------------------------------------------------------


def rebuilt(case: dict[str, Any]) -> dict[str, float]:
    """A rebuild of all views; the first one on a fresh database fills them and is not measured."""
    views = Views(case["views"])
    try:
        with Journal(case["journal"], engine_codec()) as journal:
            tame_collector()
            wanted = RebuildRequest("rebuild", list(views.views), processes=case["processes"])
            if not any(views.offsets().values()):
                rebuild.run(journal, views, wanted)
            took: dict[str, float] = {}
            last = ["", time.perf_counter()]
            memory = Memory()

            def report(job: jobs.Job) -> None:
                now = time.perf_counter()
                took[str(last[0])] = took.get(str(last[0]), 0.0) + now - float(last[1])
                last[:] = [job.phase, now]

            began, cpu = time.perf_counter(), _cpu_s()
            job = rebuild.run(journal, views, wanted, report)
            seconds, cpu = time.perf_counter() - began, _cpu_s() - cpu
            memory_mb = memory.peak_mb()
            findings = jobs.findings_of(job)
            if findings.differing or job.reached != journal.head:
                raise SystemExit(f"{findings.differing} rows differ at {job.reached}")
    finally:
        views.close()
    return {
        "rate": job.reached / seconds,
        "seconds": seconds,
        "folding_s": took["folding"],
        "comparing_s": took["comparing"],
        "swapping_s": took["swapping"],
        "cpu_us": cpu / job.reached * 1e6,
        "memory_mb": memory_mb,
        "rows": findings.rows,
    }


def _cpu_s() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)


class Memory:
    """Looks, several times a second, how much memory this process and its children have."""

    def __init__(self) -> None:
        self._most_kb, self._is_over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def peak_mb(self) -> float:
        """The most that was seen; without /proc, of each process the most that it ever had."""
        self._is_over.set()
        self._thread.join()
        if self._most_kb:
            return self._most_kb / 1024
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(resource.getrusage(one).ru_maxrss for one in who) / 2**20  # macOS: bytes

    def _look(self) -> None:
        while not self._is_over.wait(0.2):
            with contextlib.suppress(OSError):  # one of them has ended
                tasks = Path("/proc/self/task").glob("*/children")
                children = [pid for task in tasks for pid in task.read_text().split()]
                self._most_kb = max(self._most_kb, sum(map(_pss_kb, ["self", *children])))


def _pss_kb(pid: str) -> int:
    """Memory of a process; of what it shares with others, its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def read(case: dict[str, Any]) -> dict[str, float]:
    """Facts per second of `Journal.read`."""
    with Journal(case["journal"], engine_codec()) as journal:
        tame_collector()
        return _timed(journal.head, lambda after: len(journal.read(after, PAGE)))


def unpack(case: dict[str, Any]) -> dict[str, float]:
    """Facts per second of bare rows whose bodies are unpacked."""
    statement = (
        "SELECT position, version, name, stream, command, body, digest FROM journal"
        " WHERE position > ? AND position <= ? ORDER BY position"
    )
    with Journal(case["journal"], engine_codec()) as journal:
        query = journal.datastore.store.query
        return _timed(
            journal.head,
            lambda after: sum(
                1 for row in query(statement, (after, after + PAGE)) if msgpack.unpackb(row[5])
            ),
        )


def _timed(facts: int, page: Callable[[int], int]) -> dict[str, float]:
    began = time.perf_counter()
    assert sum(page(after) for after in range(0, facts, PAGE)) == facts
    return {"rate": facts / (time.perf_counter() - began)}


# --- the library ----------------------------------------------------------------------------------


class JournalOf(Journal):
    """The journal as the library opens it."""

    url: ClassVar[str]

    def __init__(self, env: Any = None) -> None:  # noqa: ARG002  (the library gives it)
        super().__init__(self.url, engine_codec())


class OrderView(PostgresTrackingRecorder):
    """One row an order: the whole answer as JSON, as our view has it."""

    def __init__(self, datastore: PostgresDatastore, **words: Any) -> None:
        super().__init__(datastore, **words)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS library_orders"
                " (id text PRIMARY KEY, account text, body bytea)"
            )
        )

    def put(self, row: tuple[str, str, bytes] | None, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            if row:
                cursor.execute(
                    "INSERT INTO library_orders VALUES (%s, %s, %s)"
                    " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                    row,
                )


class OrderProjection(Projection[OrderView]):
    """Folds orders in memory, which spares it a read for each event."""

    name = "orders"
    is_done = threading.Event()

    def __init__(self, view: OrderView) -> None:
        super().__init__(view)
        self.states: dict[str, order.Order] = {}

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        row = None
        stream = domain_event.stream
        if stream.startswith("ord"):
            state = order.evolve(self.states.get(stream), domain_event.fact)
            self.states[stream] = state
            row = (stream, state.terms.account, order_json(state))
        self.view.put(row, tracking)
        if tracking.notification_id >= LIBRARY_FACTS:
            self.is_done.set()


def library(case: dict[str, Any]) -> dict[str, float]:
    """Facts per second of the library's runner, of the first facts."""
    import sqlalchemy as sa

    JournalOf.url = case["journal"]
    url = sa.make_url(case["journal"])
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.database or "",
        "POSTGRES_HOST": url.query.get("host", url.host) or "",
        "POSTGRES_PORT": str(url.query.get("port", url.port) or 5432),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "",
    }
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=JournalOf, projection_class=OrderProjection, view_class=OrderView, env=env
    ):
        if not OrderProjection.is_done.wait(300):
            raise SystemExit("the library's runner did not come to its end")
        return {"rate": LIBRARY_FACTS / (time.perf_counter() - began)}


WAYS: Final = {"rebuild": rebuilt, "reading": read, "unpacking": unpack, "library": library}


# --- the table ------------------------------------------------------------------------------------


def measure(database: str, journal: str, views: str, options: argparse.Namespace) -> None:
    """All ways in turn; prints the table."""
    asked = [("reading", 1), ("unpacking", 1), ("rebuild", 2)]
    once = [("rebuild", 1), *([("library", 1)] if database == "postgresql" else [])]
    figures: dict[tuple[str, int], list[dict[str, float]]] = {}
    with progress() as bar:
        task = bar.add_task(database, total=options.rounds * len(asked) + len(once))
        for way, processes in [*asked * options.rounds, *once]:
            case = {"way": way, "journal": journal, "views": views, "processes": processes}
            figures.setdefault((way, processes), []).append(in_own_process("bench.rebuild", **case))
            bar.advance(task)
    for one in once:
        figures[one] *= options.rounds
    report(database, figures, options)


def report(
    database: str, figures: dict[tuple[str, int], list[dict[str, float]]], options: argparse.Namespace
) -> None:
    table = Table(title=f"{database}: {options.facts:,} facts, median of {options.rounds} rounds")
    for heading in ("", "facts/s", "smallest-largest", "to reading", "to unpacking", "us CPU", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    rates = {way: [one["rate"] for one in each] for way, each in figures.items()}
    reading, unpacking = rates["reading", 1], rates["unpacking", 1]
    for (way, processes), each in figures.items():
        ours = rates[way, processes]
        cells = [f"{middle(ours):,.0f}", spread(ours), ratios(ours, reading), ratios(ours, unpacking)]
        more = [
            f"{middle(one[key] for one in each):,.0f}"
            for key in ("cpu_us", "memory_mb")
            if key in each[0]
        ]
        name = f"rebuild, {processes} processes" if way == "rebuild" else way
        table.add_row(name, *cells, *(more or ["", ""]))
    console.print(table)
    best = figures["rebuild", 2]
    for key in ("folding_s", "comparing_s", "swapping_s", "seconds", "rows"):
        console.print(f"  two processes: {key} {middle(one[key] for one in best):,.1f}")
    each = [a / b for a, b in zip(rates["rebuild", 2], unpacking, strict=True)]
    verdict("of rows that are only unpacked", each, OF_UNPACKING)
    if ("library", 1) in rates:
        each = [a / b for a, b in zip(rates["rebuild", 2], rates["library", 1], strict=True)]
        verdict("times the library's runner", each, OF_LIBRARY)
    most = max(one["memory_mb"] for one in best)
    console.print(
        f"{most:,.0f} MB in all processes; under {MEMORY_MB}: {'met' if most < MEMORY_MB else 'MISSED'}"
    )


def verdict(what: str, each: Sequence[float], target: float) -> None:
    ratio = statistics.median(each)
    said = "met" if ratio >= target else "MISSED"
    console.print(f"{ratio:.2f} {what}; to be at least {target:g}: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(WAYS[options.one["way"]](options.one)))
        return
    for database in options.databases.split(","):
        if database == "sqlite":
            with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
                journal, views = (f"sqlite:///{folder}/{name}.db" for name in ("journal", "views"))
                make_journal(journal, options.facts)
                measure(database, journal, views, options)
        else:
            from tests.support.servers.postgres import PostgresServer

            server = PostgresServer(is_durable=True)
            try:
                url = server.create_database()
                make_journal(url, options.facts)
                measure(database, url, url, options)
            finally:
                server.close()


if __name__ == "__main__":
    sys.exit(main())
