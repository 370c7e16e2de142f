"""Auditing a journal: facts per second and memory, beside fetching the same rows and nothing else.

    python -m bench.audit                157 000 facts on both databases, about 2 minutes

A journal of real orders (`order-engine generate`), the same on both databases by dump and restore. Each
measurement is a process of its own: the driver's bare rows in pages, digests only, and everything.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from bench.measure import console, in_own_process, middle, progress, ratios, spread
from engine import installation
from engine.audit import auditing
from engine.audit.auditing import AuditOptions
from engine.config.settings import Settings
from engine.domain.stored import engine_codec
from engine.installation import open_journal_datastore
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.kernel.limits import AUDIT_PAGE_FACTS
from engine.sandbox.generate import GenerationPlan, fill
from engine.transfer import dumping, restoring

WAYS = ("raw rows", "digests", "all")


def one(url: str, way: str) -> dict[str, float]:
    """Figures of one measurement, in this process."""
    datastore = Datastore(url, "", "text")
    size = datastore.pages.head().position
    began_s = time.perf_counter()
    _way(datastore, way, size)()
    took_s = time.perf_counter() - began_s
    datastore.close()
    return {"rate": size / took_s, "memory": _peak_mb()}


def _way(datastore: Datastore, way: str, size: int) -> Callable[[], None]:
    statement = (
        "SELECT position, version, name, stream, command, body, digest FROM journal"
        " WHERE position > ? ORDER BY position LIMIT ?"
    )

    def fetch() -> None:
        after = 0
        while after < size:
            after = datastore.store.query(statement, (after, AUDIT_PAGE_FACTS))[-1][0]

    def audit() -> None:
        done = auditing.audit(datastore, AuditOptions(level="all" if way == "all" else "digests"))
        assert (done.findings, done.position) == ([], size)

    return fetch if way == "raw rows" else audit


def _peak_mb() -> float:
    """The most memory that this process had, imports and all."""
    # getrusage would count what the parent had before exec, on Linux.
    words = Path("/proc/self/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmHWM:") + 1]) / 1024


def make(folder: Path, orders: int) -> Settings:
    """A generated journal in a SQLite file."""
    settings = Settings(data=folder, journal_url=f"sqlite:///{folder}/journal.db")
    installation.migrate(settings, "sandbox")
    with Journal(settings.journal_url, engine_codec()) as journal, progress() as bar:
        task = bar.add_task("filling", total=orders)
        plan = GenerationPlan(orders, max(10, orders // 100), 1)
        fill(journal, plan, lambda done: bar.update(task, completed=done))
    return settings


def copy(settings: Settings, url: str) -> None:
    """The same journal in another database."""
    out = io.BytesIO()
    with contextlib.closing(open_journal_datastore(settings)) as source:
        dumping.dump(source, out, dumping.DumpOptions(), made_by="bench", made_at="now")
    out.seek(0)
    other = Settings(data=settings.data, journal_url=url)
    installation.migrate(other, "sandbox")
    with contextlib.closing(open_journal_datastore(other)) as target:
        restoring.restore(target, restoring.DumpReader(out), None)


def report(database: str, url: str, runs: int) -> None:
    """Measures in turn, prints a table."""
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with progress() as bar:
        for _ in bar.track(range(runs), description=database):
            for way in WAYS:
                figures[way].append(in_own_process("bench.audit", url=url, way=way))
    rates = {way: [one["rate"] for one in several] for way, several in figures.items()}
    table = Table(title=f"{database}, median of {runs}")
    for heading in ("", "facts/s", "smallest-largest", "to raw rows", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for way in WAYS:
        memory = middle(one["memory"] for one in figures[way])
        table.add_row(
            way, f"{middle(rates[way]):,.0f}", spread(rates[way]),
            ratios(rates[way], rates["raw rows"]), f"{memory:.0f}",
        )  # fmt: skip
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(**json.loads(options.one))))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        settings = make(Path(folder), options.orders)
        if "sqlite" in options.databases:
            report("SQLite", settings.journal_url, options.runs)
        if "postgresql" in options.databases:
            from tests.support.servers.postgres import PostgresServer

            server = PostgresServer(is_durable=True)
            try:
                url = server.create_database()
                copy(settings, url)
                report("PostgreSQL", url, options.runs)
            finally:
                server.close()


if __name__ == "__main__":
    main()
