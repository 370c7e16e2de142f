"""F4: the first finding, whoever makes it, stops writes in every process; reads go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from engine.audit.background_audit import KEY, BackgroundAudit, audit_source, read_place
from engine.audit.database_checks import missing_triggers
from engine.config.settings import Settings, read_settings
from engine.installation import open_installation, open_journal_datastore
from engine.journal import sqlite
from engine.journal.datastore import Datastore
from engine.kernel.errors import JournalDamaged
from engine.kernel.limits import AUDIT_PAUSE_S, AUDIT_STEP_FACTS
from engine.runtime.doctor import examine
from order_engine import roles
from order_engine.main import app
from tests.contract.test_dumps import filled, settings_for
from tests.support.checkers import checker
from tests.support.engines.prepared import install
from tests.support.servers.http_engine import TERMS, a_market, an_account, buying, ok, running
from tests.support.servers.served import Http, Place, Served, token_of, wait_until

STOPPED = "Writes are stopped by damage at position 2; --reopen resumes them once the journal is clean."
WRITES = (
    ("/accounts", {"name": "Ada", "base_currency": "USD"}),
    ("/prices", [{"symbol": "KE2024A", "bid": "1", "ask": "2"}]),
)
"""Others than orders."""


@contextlib.contextmanager
def edited(url: str, position: int) -> Iterator[None]:
    """A fact is another one, past the triggers, until it is put right."""
    connection: Any
    if url.startswith("sqlite"):
        connection, mark = sqlite.driver().connect(sa.make_url(url).database, timeout=10), "?"
        drop = "DROP TRIGGER IF EXISTS journal_no_update"
    else:
        connection, mark = psycopg.connect(url), "%s"
        drop = "DROP TRIGGER IF EXISTS journal_append_only ON journal"
    connection.execute(drop)
    read = f"SELECT digest FROM journal WHERE position = {mark}"
    write = f"UPDATE journal SET digest = {mark} WHERE position = {mark}"
    (right,) = connection.execute(read, (position,)).fetchone()
    connection.execute(write, (bytes(32), position))
    connection.commit()
    try:
        yield
    finally:
        connection.execute(drop)  # a start has made it again
        connection.execute(write, (right, position))
        connection.commit()
        connection.close()


def settings_of(directory: Path, url: str) -> Settings:
    return read_settings(data=str(directory / "data"), journal_url=url, environ={})


def test_writes_stop_everywhere_and_reads_go_on_until_it_is_put_right(
    journal_url: str, tmp_path: Path
) -> None:
    """Another process finds it; this one, which serves, knows within a second and says so."""
    settings = settings_of(tmp_path, journal_url)
    place = ["--data", str(settings.data), "--journal-url", journal_url]
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        unused = TERMS | {"symbol": "UNUSED"}
        assert client.send("PUT", "/instruments/ins_unused", unused).status == 201
        account = an_account(client)
        orders = f"/accounts/{account}/orders"
        ok(client.post(orders, buying("10.00")), 201)
        engine.project()
        with edited(journal_url, 2):  # an instrument; the chain breaks there and at the next one
            found = CliRunner().invoke(app, ["audit", *place])
            assert (found.exit_code, found.stdout.splitlines()[-1]) == (1, STOPPED), found.output
            wait_until("it is known", lambda: engine.journal.datastore.damage.mark is not None, 3)
            head = engine.journal.head
            for path, body in ((orders, buying("5.00")), *WRITES):
                refused = client.post(path, body)
                assert (refused.status, refused.code) == (503, "journal_damaged")
                assert int(refused.headers["Retry-After"]) > 0
            for path in (f"/accounts/{account}", orders, f"/accounts/{account}/cash-balances"):
                assert client.get(path).status == 200
            assert engine.connect().send("GET", "/health/live").status == 200
            engine.services.health.poll()
            ready = engine.connect().get("/health/ready")
            assert (ready.status, ready.json["status"]) == (200, "ready")
            assert ready.json["reasons"][0]["code"] == "journal_damaged"
            with pytest.raises(JournalDamaged):  # those who act as well
                engine.act(lambda _: iter(()))
            assert engine.journal.head == head
            assert CliRunner().invoke(app, ["audit", "--reopen", *place]).exit_code == 1
            assert client.post(orders, buying("5.00")).status == 503
        told = CliRunner().invoke(app, ["audit", *place])
        assert (told.exit_code, told.stdout.splitlines()[-1]) == (0, STOPPED)
        assert client.post(orders, buying("5.00")).status == 503
        back = CliRunner().invoke(app, ["audit", "--reopen", *place])
        assert (back.exit_code, "Writes resume" in back.stdout) == (0, True), back.output
        wait_until("writes go on", lambda: client.post(orders, buying("5.00")).status == 201, 3)


def test_a_start_looks_at_the_end_of_the_journal(journal_url: str, tmp_path: Path) -> None:
    """Head row and last facts; what is wrong does not keep it from serving reads."""
    settings = filled(settings_for(tmp_path / "data", journal_url), 4)
    with roles.opened(settings) as (journal, views):
        roles.check_start(settings, journal, views)
        assert journal.datastore.damage.mark is None
        journal_end = journal.head
        with edited(journal_url, journal_end - 1):
            roles.check_start(settings, journal, views)
        assert journal.datastore.damage.mark.position == journal_end - 1
        figures = {name: figure for name, _, figure in audit_source(journal.datastore)()}
        assert figures == {"journal_damaged": True, "audit_offset": 0, "audit_rounds": 0}
    told = {one.name: one for one in examine(settings)}["damage"]
    assert told.verdict == "fault"
    assert f"at position {journal_end - 1}" in told.value


def test_triggers_that_are_gone_are_made_again(
    journal_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A repair goes past them; the next start puts them back, and says that they were gone."""
    settings = filled(settings_for(tmp_path / "data", journal_url), 1)
    with edited(journal_url, 1):
        pass
    datastore = open_journal_datastore(settings)
    assert missing_triggers(datastore.store, datastore.tables)
    install(settings)
    assert not missing_triggers(datastore.store, datastore.tables)
    assert [one for one in caplog.messages if "were missing" in one]
    caplog.clear()
    install(settings)
    assert not caplog.messages
    datastore.close()


def test_serve_looks_at_its_start_and_audits_in_the_background(sqlite_url: str, tmp_path: Path) -> None:
    """A whole engine on a journal of which a fact was edited while it was down."""
    place = Place(tmp_path / "data", sqlite_url)
    place.make_client()
    settings = filled(settings_for(place.data, sqlite_url), 4)
    datastore = open_journal_datastore(settings)
    with edited(sqlite_url, 3), Served(place) as served:
        token = token_of(served.port, place.credentials)
        with Http(served.port, token) as http:
            refused = http.ask("POST", "/accounts", WRITES[0][1])
            assert refused is not None
            assert (refused.status, refused.words["code"]) == (503, "journal_damaged")
            assert http.ask("GET", "/health/ready").status == 200  # type: ignore[union-attr]
        wait_until("a round of the audit", lambda: read_place(datastore).rounds > 0, 15)
    assert datastore.pages.head().position == facts_of(sqlite_url)
    datastore.close()


def facts_of(url: str) -> int:
    return len(checker.read(url)[0])


def test_a_read_that_finds_damage_stops_writes(journal_url: str, tmp_path: Path) -> None:
    """In the process that read, at once; in another one, at its next write."""
    settings = filled(settings_for(tmp_path / "data", journal_url), 4)
    reader, writer = open_installation(settings), open_installation(settings)
    stream = reader.journal.read(limit=5)[-1].stream
    with edited(journal_url, 5):
        writer.journal.datastore.damage.poll()
        with pytest.raises(JournalDamaged):
            reader.journal.stream(stream)
        assert reader.journal.datastore.damage.mark.position == 5
        with pytest.raises(JournalDamaged):
            reader.journal.check_sound()
        fresh = open_journal_datastore(settings)
        with pytest.raises(JournalDamaged):
            fresh.append(_append(fresh))
        fresh.close()
    reader.close()
    writer.close()


def _append(datastore: Datastore) -> Any:
    from eventsourcing.persistence import StoredEvent  # noqa: PLC0415

    from engine.journal.writer import Append  # noqa: PLC0415

    return Append(datastore.rows([StoredEvent("ord_x", 1, "order.placed.1", b"x")], b"c"), command=b"c")


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def turn_until(audit: BackgroundAudit, clock: Clock, rounds: int, datastore: Datastore) -> None:
    for _ in range(1_000):
        clock.now_s += audit.turn(lambda: None)
        if read_place(datastore).rounds >= rounds or datastore.damage.mark:
            return
    raise AssertionError("it does not come to an end")


def test_the_background_audit_walks_all_again_and_again(journal_url: str, tmp_path: Path) -> None:
    """Slowly, from where another left off; what it finds marks the journal."""
    settings = filled(settings_for(tmp_path / "data", journal_url), 80)
    datastore = open_journal_datastore(settings)
    size, clock = datastore.pages.head().position, Clock()
    assert size > 3 * AUDIT_STEP_FACTS
    audit = BackgroundAudit(datastore, clock)
    turn_until(audit, clock, 1, datastore)
    assert clock.now_s >= size // AUDIT_STEP_FACTS * 0.2
    assert audit.offset == 0
    assert clock.now_s > AUDIT_PAUSE_S
    audit.turn(lambda: None)
    audit.finish()
    next_one = BackgroundAudit(datastore, clock)
    assert next_one.offset == audit.offset == AUDIT_STEP_FACTS
    with edited(journal_url, size - 2):
        turn_until(next_one, clock, 2, datastore)
        assert datastore.damage.mark.position == size - 2
    datastore.damage.lift()
    with datastore.store.writing() as connection:
        meta = datastore.tables.meta
        place = '{"position":9,"digest":"00","rounds":1}'
        connection.execute(sa.update(meta).where(meta.c.key == KEY).values(value=place))
    assert BackgroundAudit(datastore, clock).offset == 0  # not this journal's: from the beginning
    datastore.close()


def test_a_journal_that_grows_is_not_accused(sqlite_url: str, tmp_path: Path) -> None:
    """The control: start, background audit and reads beside writes find nothing, and writes go on."""
    with running(sqlite_url, tmp_path) as engine:
        client, clock = engine.client(), Clock()
        datastore = engine.journal.datastore
        audit = BackgroundAudit(datastore, clock)
        for _ in range(12):
            an_account(client)
            clock.now_s += audit.turn(lambda: None)
        turn_until(audit, clock, 1, datastore)
        roles.check_start(settings_of(tmp_path, sqlite_url), engine.journal, engine.views)
        assert datastore.damage.mark is None


def test_the_mark_outlives_a_database_that_cannot_be_written(sqlite_url: str, tmp_path: Path) -> None:
    """Who found it stops at once; the others are told as soon as that is possible."""
    settings = filled(settings_for(tmp_path / "data", sqlite_url), 1)
    finder, other = open_journal_datastore(settings), open_journal_datastore(settings)
    connection = sqlite.driver().connect(sa.make_url(sqlite_url).database)
    connection.execute("CREATE TRIGGER stuck BEFORE INSERT ON journal_meta"
                       " BEGIN SELECT RAISE(ABORT, 'no'); END")  # fmt: skip
    connection.commit()
    finder.damage.note(1, "digest: it is not as recorded")
    finder.damage.refresh()
    assert finder.damage.mark is not None
    other.damage.refresh()
    assert other.damage.mark is None
    connection.execute("DROP TRIGGER stuck")
    connection.commit()
    connection.close()
    finder.damage.refresh()
    other.damage.refresh()
    assert other.damage.mark == finder.damage.mark
    finder.close()
    other.close()
