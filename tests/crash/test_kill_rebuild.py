"""`kill -9` of a rebuild, readers of one, and rebuilds in other surroundings: real processes."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from engine.commands.declaring import make
from engine.domain.stored import engine_codec
from engine.journal import journal as journals
from engine.journal.journal import Journal
from engine.kernel.errors import EngineError
from engine.kernel.fact import Recorded
from projections import jobs, rebuild
from projections.database import Views, tables_beside
from projections.rebuild import RebuildRequest
from projections.registry import VIEWS
from projections.runner import Runner
from projections.shadow import Shadow
from tests.crash.processes import Crew, context
from tests.support.engines.prepared import make_journal
from tests.support.models.random_facts import Contents, contents, folded, random_facts, write
from tests.support.servers.command import run_anew

EVERY = [view.name for view in VIEWS]
SEED, STEPS = 7, 200


class House(NamedTuple):
    """A journal, its views, and what is right."""

    journal: Journal
    views: Views
    views_url: str
    facts: list[Recorded]

    def spoil(self) -> Contents:
        """Makes two rows wrong, so that a swap can be seen; what is there then."""
        with self.views.writing() as connection:
            for table in ("view_payments", "view_orders"):
                connection.exec_driver_sql(f"UPDATE {table} SET status = 'as it was'")
        return contents(self.views)


@pytest.fixture
def house(journal_url: str, tmp_path: Path) -> Iterator[House]:
    is_sqlite = journal_url.startswith("sqlite")
    views_url = f"sqlite:///{tmp_path}/views.db" if is_sqlite else journal_url
    make_journal(journal_url)
    facts = random_facts(SEED, STEPS)
    views = Views(views_url)
    with Journal(journal_url, engine_codec()) as journal:
        write(journal, facts)
        Runner(journal, views).catch_up()
        yield House(journal, views, views_url, facts)
    views.close()


# --- killed ---------------------------------------------------------------------------------------


def rebuild_and_tell(journal_url: str, views_url: str, told_to: Connection) -> None:
    """A whole process: rebuilds everything in small pages, and says each step before it goes on."""
    views = Views(views_url)
    with Journal(journal_url, engine_codec()) as journal:
        wanted = RebuildRequest("rebuild", EVERY, keeps_old=True, page=20)
        rebuild.run(journal, views, wanted, lambda job: told_to.send(job.phase))
    views.close()


def swap_in_pieces(journal_url: str, views_url: str, told_to: Connection) -> None:
    """A broken build: each table changes places for itself, and it dies after the third."""
    views = Views(views_url)
    done: list[str] = []

    def torn(self: Shadow, connection: Any, _: str) -> None:
        for live, table in self.tables.items():
            connection.exec_driver_sql(f"DROP TABLE {live}")
            connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {live}")
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("BEGIN")
            done.append(live)
            if len(done) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    Shadow.put_in_place = torn  # type: ignore[method-assign]
    with Journal(journal_url, engine_codec()) as journal:
        rebuild.run(
            journal, views, RebuildRequest("rebuild", EVERY), lambda job: told_to.send(job.phase)
        )


def steps_of(house: House) -> int:
    """How often a rebuild says where it is."""
    seen: list[str] = []
    wanted = RebuildRequest("verify", EVERY, page=20)
    rebuild.run(house.journal, house.views, wanted, lambda job: seen.append(job.phase))
    return len(seen) + 1  # a verification does not swap


def kill_at(house: House, step: int, life: Any = rebuild_and_tell) -> None:
    """Starts a rebuild and kills it when it has said so many steps, or when it has ended."""
    ours, theirs = context.Pipe(duplex=False)
    with Crew() as crew:
        url = house.journal.datastore.store.url.render_as_string(hide_password=False)
        process = crew.start(life, url, house.views_url, theirs)
        theirs.close()
        try:
            for _ in range(step):
                ours.recv()
        except EOFError:
            process.join(30)
        process.kill()
        process.join()
    ours.close()


@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=pytest.mark.torture)], ids="{}-kills".format
)
def test_killed_anywhere_the_live_views_are_as_they_were(house: House, kills: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance, right = random.Random(seed), folded(house.facts)
    before, steps = house.spoil(), steps_of(house)
    swapped = 0
    for number in range(kills):
        # The last steps are where it matters most.
        kill_at(house, chance.randint(1, steps) if number % 2 else steps - chance.randint(0, 3))
        found = contents(house.views)
        assert found in (before, right), "neither the old views nor the new ones"
        jobs.settle_killed(house.views)
        assert jobs.jobs(house.views)[0].state in {"done", "failed"}
        if found == right:  # it was killed too late
            swapped += 1
            before = house.spoil()
    print(f"{kills} kills, {swapped} of them after the swap")
    job = rebuild.run(house.journal, house.views, RebuildRequest("rebuild", EVERY))
    assert jobs.findings_of(job).differing > 0
    assert contents(house.views) == right
    with house.views.store.reading() as connection:
        tables = [table for view in VIEWS for table in view.tables]
        assert not [name for table in tables for name in tables_beside(connection, table)]


def test_a_swap_in_pieces_would_be_noticed(house: House) -> None:
    """The control: a build whose swap is no transaction leaves what the test above refuses."""
    before = house.spoil()
    kill_at(house, 10_000, swap_in_pieces)
    try:
        found = contents(house.views)
    except EngineError:
        return  # a table is missing altogether
    assert found not in (before, folded(house.facts))


# --- read meanwhile -------------------------------------------------------------------------------


class Readers:
    """Threads that read in a loop, and note what nobody should see."""

    def __init__(self, views: Views, right: Contents) -> None:
        self._views, self._right = views, right
        self._stopping = Event()
        self.reads = 0
        self.wrong: list[str] = []
        self._threads = [Thread(target=self._read, args=(view.name,)) for view in VIEWS[3:7]]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _read(self, name: str) -> None:
        (table, *_) = self._views.views[name].tables
        right = sorted(self._right[table.name].values())
        statement = f"SELECT {', '.join(table.columns)} FROM {table.name}"
        while not self._stopping.is_set():
            try:
                self._views.check(name, "acc_of_nobody")
                found = sorted(self._views.query(statement))
            except EngineError as error:
                self.wrong.append(f"{name}: {error.code}")
                continue
            self.reads += 1
            if found != right:
                self.wrong.append(f"{name}: {len(found)} rows of {len(right)}")


def test_readers_see_nothing_of_a_rebuild(house: House) -> None:
    right = contents(house.views)
    url = house.journal.datastore.store.url.render_as_string(hide_password=False)
    with Readers(house.views, right) as readers, Crew() as crew:
        ours, theirs = context.Pipe(duplex=False)
        process = crew.start(rebuild_and_tell, url, house.views_url, theirs)
        theirs.close()
        with contextlib.suppress(EOFError):
            while ours.poll(30):
                ours.recv()
        crew.finish(process)
    assert readers.wrong == []
    assert readers.reads > 20


def test_readers_of_views_rebuilt_in_place_would_complain(house: House) -> None:
    """The control: emptying a view and filling it again, as it was done once."""
    right = contents(house.views)
    with Readers(house.views, right) as readers:
        while not readers.wrong:
            for name in EVERY:
                house.views.reset(name)
            Runner(house.journal, house.views, page=20).catch_up()
    assert readers.wrong


# --- in other surroundings ------------------------------------------------------------------------


REBUILD = """
import sys
from engine.journal.journal import Journal
from engine.domain.stored import engine_codec
from projections import rebuild
from projections.database import Views

journal_url, views_url, page = sys.argv[1:]
views = Views(views_url)
with Journal(journal_url, engine_codec()) as journal:
    rebuild.run(journal, views, rebuild.RebuildRequest("rebuild", [*views.views], page=int(page)))
views.close()
"""


def test_the_same_bytes_for_any_page_hash_seed_time_zone_and_database(
    sqlite_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """Real processes, and views on both databases of one journal."""
    facts = random_facts(SEED, STEPS)
    right = folded(facts)
    journals.migrate(sqlite_url)
    with Journal(sqlite_url, engine_codec()) as journal:
        write(journal, facts)
    make(sqlite_url, "sandbox")  # as the last fact: those that were told keep their places
    for number, (page, seed, zone, where) in enumerate((
        ("3", "1", "Pacific/Apia", "sqlite"),
        ("50", "2", "America/St_Johns", "postgresql"),
        ("10000", "2", "Pacific/Apia", "sqlite"),
    )):  # fmt: skip
        url = postgres_url if where == "postgresql" else f"sqlite:///{tmp_path}/views-{number}.db"
        process = (sys.executable, "-W", "error", "-c", REBUILD)
        done = run_anew(sqlite_url, url, page, command=process, PYTHONHASHSEED=seed, TZ=zone)
        assert done.returncode == 0, done.stderr
        views = Views(url)
        assert contents(views) == right, (page, seed, zone, where)
        views.close()
