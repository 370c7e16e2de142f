"""Rebuilding beside the live views, on both databases: what changes places, what is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from engine.domain.order import Cancelled
from engine.journal.journal import Journal
from engine.journal.postgres_store import PostgresStore
from engine.kernel.errors import (
    JournalDamaged,
    NothingKept,
    RebuildRunning,
    Unavailable,
    ViewBehind,
)
from engine.kernel.fact import Recorded
from projections import claim, jobs, parts, rebuild
from projections.database import Views, tables_beside
from projections.jobs import Job, findings_of
from projections.rebuild import RebuildRequest
from projections.registry import VIEWS
from projections.runner import Runner
from projections.shadow import Shadow
from projections.views import orders, working
from tests.contract.test_runner import (
    ON_SQLITE,
    SEED,
    STEPS,
    Notes,
    settled_before_its_time,
    with_odd_words,
)
from tests.support.models.random_facts import contents, folded, random_facts, write
from tests.support.servers.served import wait_until

EVERY = [view.name for view in VIEWS]
ON_POSTGRES = pytest.mark.parametrize("journal_url", ["postgresql"], indirect=True)


@pytest.fixture
def facts(journal: Journal, views: Views) -> list[Recorded]:
    """A random run, recorded and shown."""
    run = random_facts(SEED, STEPS)
    write(journal, run)
    Runner(journal, views).catch_up()
    return run


def left_over(views: Views) -> list[str]:
    """Tables beside the live ones."""
    with views.store.reading() as connection:
        return [
            name for one in VIEWS for table in one.tables for name in tables_beside(connection, table)
        ]


def at(phase: str, then: Callable[[], Any]) -> Callable[[Job], None]:
    """Does something once, when a rebuild comes to a phase."""
    done: list[str] = []

    def report(job: Job) -> None:
        if job.phase == phase and not done:
            done.append(phase)
            then()

    return report


# --- a rebuild ------------------------------------------------------------------------------------


def test_every_view_is_made_again_in_one_pass(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    before, seen = contents(views), list[Job]()
    job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=50), seen.append)
    assert (job.state, job.reached, job.target) == ("done", len(facts), len(facts))
    assert contents(views) == before == folded(facts)
    assert findings_of(job).compared == EVERY
    assert (findings_of(job).rows, findings_of(job).differing) == (sum(map(len, before.values())), 0)
    phases = list(dict.fromkeys(one.phase for one in seen))
    assert phases == ["folding", "comparing", "swapping", ""]
    assert left_over(views) == []
    assert jobs.jobs(views) == [job]


def test_what_is_recorded_meanwhile_is_shown_before_and_after(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    """The live views go on; the new ones follow them, and their runner notices nothing."""
    more = random_facts(SEED, STEPS + 60)
    runner, steps = Runner(journal, views, page=4), iter(range(len(facts), len(more), 4))
    runner.run_once()

    def go_on(job: Job) -> None:
        start = next(steps, None)
        if start is not None:
            write(journal, more[start : start + 4])
            assert runner.run_once()
            assert views.offset("orders") > len(facts)

    job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=20), go_on)
    assert findings_of(job).differing == 0
    assert job.reached >= len(facts)
    for start in steps:
        write(journal, more[start : start + 4])
    runner.catch_up()
    assert contents(views) == folded(more)


def test_the_same_bytes_from_processes_of_its_own(
    journal: Journal, views: Views, facts: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "REBUILD_ALONE_FACTS", 0)
    wanted = RebuildRequest("rebuild", EVERY, page=37, processes=3)
    assert findings_of(rebuild.run(journal, views, wanted)).differing == 0
    assert contents(views) == folded(facts)


@pytest.mark.parametrize("late", [0, 3])
def test_the_same_bytes_however_late_rows_are_written(
    journal: Journal,
    views: Views,
    facts: list[Recorded],
    late: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most rows make room several times, and come back; 4 000 would hold all of these to the end."""
    monkeypatch.setattr(rebuild, "REBUILD_LATE_ROWS", late)
    job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=11))
    assert findings_of(job).differing == 0
    assert contents(views) == folded(facts)


@ON_POSTGRES
def test_the_swap_alone_waits_for_the_disk(
    journal: Journal, views: Views, facts: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log has the pages before the swap, so that one wait is for all."""
    seen: dict[str, set[str]] = {}

    def spied(name: str) -> Callable[..., None]:
        real = getattr(Shadow, name)

        def spy(shadow: Shadow, connection: sa.Connection, *words: Any) -> None:
            setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
            seen.setdefault(name, set()).add(setting)
            real(shadow, connection, *words)

        return spy

    for name in ("_put_rows", "put_in_place"):
        monkeypatch.setattr(Shadow, name, spied(name))
    rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=50))
    assert seen == {"_put_rows": {"off"}, "put_in_place": {"on"}}


@ON_POSTGRES
def test_indexes_may_take_longer_than_comparing(
    journal: Journal, views: Views, facts: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for them inside a transaction: PostgreSQL ends a session that does nothing in one."""
    index = Shadow.index

    def slowly(shadow: Shadow) -> None:
        wait_until("the snapshot is over", lambda: not in_transactions(views), 10)
        index(shadow)

    monkeypatch.setattr(Shadow, "index", slowly)
    assert findings_of(rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))).differing == 0
    assert contents(views) == folded(facts)


@ON_POSTGRES
def test_reading_the_facts_behind_differences_may_take_long(
    journal: Journal, views: Views, facts: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the same reason, and differences in many long streams are what a rebuild is for."""
    stream = Journal.stream
    seen = []

    def looking(self: Journal, *args: Any, **more: Any) -> list[Recorded]:
        seen.append(in_transactions(views))
        return stream(self, *args, **more)

    spoil(views, "UPDATE view_orders SET status = 'spoilt'")
    monkeypatch.setattr(Journal, "stream", looking)
    assert findings_of(rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"]))).differing > 1
    assert len(seen) > 1
    assert not any(seen)
    assert contents(views) == folded(facts)


def in_transactions(views: Views) -> list[Any]:
    """Other sessions of this database of PostgreSQL that are in one."""
    return views.query(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )


def test_indexes_come_along_again_and_again(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    def indexed() -> int:
        if views.store.dialect == "sqlite":
            statement = (
                "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'view_orders'"
            )
        else:
            statement = "SELECT count(*) FROM pg_indexes WHERE tablename = 'view_orders'"
        return int(views.query(statement)[0][0])

    before = indexed()
    for keeps_old in (True, False, True, True):
        rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"], keeps_old=keeps_old))
        assert indexed() == before
        assert left_over(views) == (["view_orders__old"] if keeps_old else [])
    assert contents(views) == folded(facts)


def test_an_empty_journal_makes_empty_views(journal: Journal, views: Views) -> None:
    job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))
    assert (job.state, job.reached) == ("done", 0)
    assert set(views.offsets().values()) == {0}


def test_views_that_nobody_has_filled_are_filled(journal: Journal, views: Views) -> None:
    facts = random_facts(SEED, 60)
    write(journal, facts)
    job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))
    assert findings_of(job).compared == []
    assert contents(views) == folded(facts)
    assert set(views.offsets().values()) == {len(facts)}


# --- differences ----------------------------------------------------------------------------------


def spoil(views: Views, *statements: str) -> None:
    with views.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def planted(views: Views, facts: list[Recorded]) -> dict[tuple[str, str], str]:
    """Four wrong rows: (table, key) -> what is wrong."""
    line = views.query("SELECT max(line) FROM view_transactions")[0][0]
    event = views.query("SELECT max(at_offset) FROM view_events")[0][0]
    order = views.query("SELECT min(first_offset) FROM view_orders")[0][0]
    spoil(
        views,
        f"UPDATE view_orders SET status = 'spoilt' WHERE first_offset = {order}",
        f"DELETE FROM view_events WHERE at_offset = {event}",
        f"UPDATE view_transactions SET transaction_type = 'spoilt' WHERE line = {line}",
        "INSERT INTO view_balances (account, body) SELECT 'acc_none', body FROM view_balances LIMIT 1",
    )
    return {
        ("view_orders", str(order)): "changed",
        ("view_events", str(event)): "missing",
        ("view_balances", "acc_none"): "extra",
        ("view_transactions", str(line)): "changed",
    }


def test_verify_reports_wrong_rows_with_the_facts_behind_them_and_leaves_them(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    wrong = planted(views, facts)
    before = contents(views)
    findings = findings_of(rebuild.run(journal, views, RebuildRequest("verify", EVERY)))
    assert {(one.table, one.key): one.what for one in findings.shown} == wrong
    assert findings.differing == 4
    by_table = {one.table: one for one in findings.shown}
    order = by_table["view_orders"]
    behind = [one.offset for one in facts if one.stream == order.stream]
    assert (order.first, order.last) == (behind[0], behind[-1])
    event = by_table["view_events"]
    assert event.first == event.last == int(event.key)
    assert event.stream == facts[event.first - 1].stream
    line = by_table["view_transactions"]
    assert line.first == line.last == int(line.key) // 4
    extra = by_table["view_balances"]
    assert (extra.stream, extra.first, extra.last) == ("acc_none", 0, 0)
    assert contents(views) == before
    assert left_over(views) == []


def test_a_rebuild_reports_wrong_rows_and_mends_them(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    planted(views, facts)
    assert findings_of(rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))).differing == 4
    assert contents(views) == folded(facts)
    assert findings_of(rebuild.run(journal, views, RebuildRequest("verify", EVERY))).differing == 0


@ON_SQLITE
def test_a_damaged_fact_stops_it_and_changes_nothing(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    before = contents(views)
    with journal.datastore.store.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER journal_no_update")
        connection.exec_driver_sql(
            "UPDATE journal SET body = replace(body, 'USD', 'EUR') WHERE position = 30"
        )
    with pytest.raises(JournalDamaged):
        rebuild.run(journal, views, RebuildRequest("rebuild", EVERY))
    assert contents(views) == before
    assert left_over(views) == []
    assert jobs.jobs(views)[0].error.startswith("journal_damaged: ")


# --- quarantine -----------------------------------------------------------------------------------


def test_streams_that_cannot_be_folded_wait_after_a_rebuild_as_before(
    journal: Journal, views: Views
) -> None:
    facts = settled_before_its_time(random_facts(SEED, STEPS))
    write(journal, facts)
    Runner(journal, views).catch_up()
    before, waiting = contents(views), views.quarantined()
    assert waiting
    for page in (7, 1_000):
        job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=page))
        assert findings_of(job).differing == 0
        assert (contents(views), views.quarantined()) == (before, waiting)


def test_words_that_a_database_has_no_room_for_wait_after_a_rebuild_as_before(
    journal: Journal, views: Views
) -> None:
    """Such a row may be written pages after the fact that is to blame, which then is looked for."""
    write(journal, with_odd_words(random_facts(SEED, STEPS)))
    Runner(journal, views).catch_up()
    before, waiting = contents(views), views.quarantined()
    assert bool(waiting) == (views.store.dialect == "postgresql")
    for page in (7, 1_000):
        job = rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, page=page))
        assert findings_of(job).differing == 0
        assert (contents(views), views.quarantined()) == (before, waiting)


def test_a_rebuild_mends_what_newer_code_understands(
    journal: Journal, views_url: str, facts: list[Recorded]
) -> None:
    notes = Notes()
    views = Views(views_url, [notes])
    Runner(journal, views, page=20).catch_up()
    waiting = views.quarantined()
    assert waiting
    assert all(isinstance(facts[one.bad_offset - 1].fact, Cancelled) for one in waiting)
    notes.fails_in = ""
    job = rebuild.run(journal, views, RebuildRequest("rebuild", ["notes"]))
    assert {one.stream for one in findings_of(job).shown} == {one.stream for one in waiting}
    assert views.quarantined() == []
    assert contents(views) == folded(facts, [notes])
    views.close()


# --- another shape --------------------------------------------------------------------------------


class NewOrders(orders.OrdersView):
    shape = 2


def newer_views(url: str) -> Views:
    return Views(url, [NewOrders() if one.name == "orders" else one for one in VIEWS])


def test_a_view_of_another_shape_is_made_beside_the_old_one(
    journal: Journal, views: Views, views_url: str, facts: list[Recorded]
) -> None:
    """The release before goes on with its tables until ours are in their place."""
    newer = newer_views(views_url)
    assert "orders" not in newer.offsets()
    with pytest.raises(ViewBehind):
        orders.of_account(newer, "acc_two", limit=1)
    more = random_facts(SEED, STEPS + 20)
    write(journal, more[len(facts) :])
    Runner(journal, newer).catch_up()
    assert newer.offset("events") == len(more)
    older = Runner(journal, views)
    older.catch_up()
    assert orders.of_account(views, "acc_two", limit=1).rows
    assert contents(views) == folded(more)

    job = rebuild.run(journal, newer, RebuildRequest("rebuild", ["orders"], keeps_old=True))
    assert job.reached == len(more)
    assert contents(newer) == folded(more)
    assert orders.of_account(newer, "acc_two", limit=1).rows
    assert "orders" not in views.offsets(), "an older release leaves it alone"
    assert not Runner(journal, views).run_once()
    with pytest.raises(ViewBehind):
        orders.of_account(views, "acc_two", limit=1)
    with pytest.raises(NothingKept):
        rebuild.run(journal, newer, RebuildRequest("rollback", ["orders"]))
    rebuild.run(journal, views, RebuildRequest("rollback", ["orders"]))
    assert orders.of_account(views, "acc_two", limit=1).rows
    newer.close()


@ON_SQLITE
def test_a_working_set_of_another_shape_is_empty(
    journal: Journal, views: Views, views_url: str, facts: list[Recorded]
) -> None:
    class NewWorking(working.WorkingView):
        shape = working.WorkingView.shape + 1

    newer = Views(views_url, [NewWorking()])
    spoil(views, "INSERT INTO view_working VALUES (9999, 'waiting', 'ord_a', 'acc_a', 'ins_a', 0)")
    assert working.waiting(views, limit=9)
    assert working.waiting(newer, limit=9) == []
    newer.close()


# --- rolling back ---------------------------------------------------------------------------------


def test_a_rollback_brings_the_former_tables_back_and_catches_them_up(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    spoil(views, "UPDATE view_payments SET status = 'as it was'")
    rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, keeps_old=True))
    more = random_facts(SEED, STEPS + 60)
    write(journal, more[len(facts) :])
    Runner(journal, views).catch_up()
    assert contents(views) == folded(more)
    job = rebuild.run(journal, views, RebuildRequest("rollback", EVERY))
    assert (job.state, set(views.offsets().values())) == ("done", {len(more)})
    back = contents(views)
    assert {row[4] for row in back["view_payments"].values()} > {"as it was"}, "and newer ones"
    expected = folded(more)
    assert {**back, "view_payments": {}} == {**expected, "view_payments": {}}
    rebuild.run(journal, views, RebuildRequest("rollback", EVERY))
    assert contents(views) == expected, "a rollback can be rolled back"


def test_without_former_tables_there_is_no_rollback(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    with pytest.raises(NothingKept):
        rebuild.run(journal, views, RebuildRequest("rollback", ["orders"]))
    rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"], keeps_old=True))
    rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"]))
    with pytest.raises(NothingKept):
        rebuild.run(journal, views, RebuildRequest("rollback", ["orders"]))
    assert contents(views) == folded(facts)


# --- one at a time, and what stops it -------------------------------------------------------------


def test_two_at_once_is_an_error(journal: Journal, views: Views, facts: list[Recorded]) -> None:
    def again() -> None:
        with pytest.raises(RebuildRunning):
            rebuild.run(journal, views, RebuildRequest("verify", ["events"]))
        with pytest.raises(RebuildRunning):
            jobs.ask(views, "rebuild", ["events"])

    job = rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"]), at("folding", again))
    assert job.state == "done"
    assert len(jobs.jobs(views)) == 1
    asked = jobs.ask(views, "verify", ["events"])
    with pytest.raises(RebuildRunning):
        jobs.ask(views, "verify", ["events"])
    job = rebuild.run(journal, views, RebuildRequest("verify", ["events"], number=asked.number))
    assert (job.number, job.state) == (asked.number, "done")
    with pytest.raises(RebuildRunning):
        rebuild.run(journal, views, RebuildRequest("verify", ["events"], number=asked.number))


@pytest.mark.parametrize("phase", ["folding", "comparing", "swapping"])
def test_stopped_anywhere_nothing_has_changed(
    journal: Journal, views: Views, facts: list[Recorded], phase: str
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    spoil(views, "UPDATE view_payments SET status = 'as it was'")
    before = contents(views)
    with pytest.raises(KeyboardInterrupt):
        rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, keeps_old=True), at(phase, stop))
    assert contents(views) == before
    assert left_over(views) == []
    assert jobs.jobs(views)[0].state == "failed"
    with claim.alone(views.store):
        pass


def test_a_claim_can_be_taken_as_soon_as_it_was_given_back(views: Views) -> None:
    for _ in range(50):
        with claim.alone(views.store):
            pass


def test_a_claim_can_be_taken_as_soon_as_its_holder_is_gone(views: Views) -> None:
    if isinstance(views.store, PostgresStore):  # a file's lock ends with its process
        for _ in range(20):
            with views.store.raw_connection() as holder:
                holder.execute(f"SELECT pg_advisory_lock({claim._ADVISORY_LOCK})")
            with claim.alone(views.store):
                pass


def test_a_killed_one_is_called_failed_by_who_looks_next(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    with claim.alone(views.store):
        jobs.begin(views, "rebuild", ["orders"])
        jobs.settle_killed(views)
        assert jobs.jobs(views)[0].state == "running"
    jobs.settle_killed(views)
    assert jobs.jobs(views)[0].state == "failed"
    assert jobs.jobs(views)[0].error == jobs.KILLED


def test_a_process_that_dies_stops_it(
    journal: Journal, views: Views, facts: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(views)
    monkeypatch.setattr(rebuild, "REBUILD_ALONE_FACTS", 0)
    monkeypatch.setattr(parts.sys, "executable", "/bin/false")
    with pytest.raises(Unavailable):
        rebuild.run(journal, views, RebuildRequest("rebuild", EVERY, processes=2))
    assert contents(views) == before
    assert left_over(views) == []
