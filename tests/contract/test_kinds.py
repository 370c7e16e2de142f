"""Live or sandbox, for ever: what a journal of each kind, and one without, lets happen."""

from __future__ import annotations

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions, declaring
from engine.commands.desk import Command, Desk
from engine.config.settings import Settings
from engine.domain import clock, kind
from engine.domain.kind import JournalKind
from engine.domain.stored import engine_codec
from engine.installation import (
    Migrated,
    exists,
    migrate,
    open_installation,
    open_journal_datastore,
    opened_journal,
)
from engine.journal.journal import Journal
from engine.kernel.errors import EngineError, Refused, WrongKind
from engine.kernel.fact import StreamAppend
from engine.sandbox.sandbox import prepare
from engine.transfer import dumping, restoring
from engine.transfer.backup import Backup
from engine.transfer.dump_vouching import Vouchers
from tests.support.engines.prepared import make_tables
from tests.support.engines.sealers import raw
from tests.support.models.facts import envelope


@pytest.fixture
def settings(journal_url: str, tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data", journal_url)


def kind_at(settings: Settings) -> JournalKind | None:
    with contextlib.closing(open_journal_datastore(settings)) as datastore:
        return declaring.declared(datastore)


@pytest.fixture
def undeclared(settings: Settings) -> Settings:
    """A journal as the first release left one: with a moved clock, and without a kind."""
    make_tables(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        moved = [StreamAppend(clock.STREAM, 0, [clock.ClockAdvanced(86_400_000_000, 1)])]
        journal.append(moved, envelope(1))
    return settings


def test_the_kind_is_the_first_fact_and_the_chain_covers_it(settings: Settings) -> None:
    assert migrate(settings, "live").kind == "live"
    with opened_journal(settings) as journal:
        (first,) = journal.read(0, 10)
        assert (first.stream, first.version, first.offset) == (kind.STREAM, 1, 1)
        assert first.envelope.actor == declaring.ACTOR
        assert audit(journal.datastore, AuditOptions(level="all")).findings == []


def test_what_is_declared_stays(settings: Settings) -> None:
    migrate(settings, "sandbox")
    assert migrate(settings).kind == "sandbox"
    assert migrate(settings, "sandbox").outcome == "already up to date"
    with pytest.raises(WrongKind, match="sandbox for ever"):
        migrate(settings, "live")
    assert kind_at(settings) == "sandbox"


def test_nothing_is_made_without_a_kind(settings: Settings) -> None:
    with pytest.raises(WrongKind, match="--live"):
        migrate(settings)
    assert not settings.data.exists()
    with contextlib.closing(open_journal_datastore(settings)) as datastore:
        assert not exists(datastore)


def test_a_journal_of_the_first_release_is_told_once(undeclared: Settings) -> None:
    for said in (None, "live", "sandbox"):
        with pytest.raises(WrongKind, match="neither live nor a sandbox"):
            migrate(undeclared, said)
    for opening in (open_installation, lambda settings: opened_journal(settings).__enter__()):
        with pytest.raises(WrongKind, match="neither live nor a sandbox"):
            opening(undeclared)
    assert migrate(undeclared, "live", adopts=True).outcome == "updated"
    with opened_journal(undeclared) as journal:
        assert [one.stream for one in journal.read(0, 10)] == [clock.STREAM, kind.STREAM]
        assert audit(journal.datastore, AuditOptions(level="all")).findings == []


def test_its_traces_are_told(undeclared: Settings) -> None:
    with contextlib.closing(open_journal_datastore(undeclared)) as datastore:
        traces = declaring.traces(datastore)
    assert (traces.facts, traces.clock_advances, traces.simulated_trades) == (1, 1, 0)
    assert "1 day" in traces.first_advances[0].what
    assert traces.is_sandboxed


def test_of_two_that_declare_at_once_one_wins(undeclared: Settings) -> None:
    kinds: tuple[JournalKind, ...] = ("live", "sandbox") * 4

    def declare(one: JournalKind) -> Migrated | EngineError:
        try:
            return migrate(undeclared, one, adopts=True)
        except WrongKind as error:
            return error

    with ThreadPoolExecutor(len(kinds)) as threads:
        outcomes = list(threads.map(declare, kinds))
    winner = kind_at(undeclared)
    for asked, outcome in zip(kinds, outcomes, strict=True):
        assert isinstance(outcome, Migrated) == (asked == winner)
    assert sum(isinstance(one, Migrated) and one.outcome == "updated" for one in outcomes) == 1


def test_a_running_engine_goes_on_beside_it(undeclared: Settings) -> None:
    """Its next append finds that the head has moved, and that the journal has become a sandbox."""
    with Journal(undeclared.journal_url, engine_codec()) as journal:
        desk = Desk(journal)

        def halt(reason: str) -> None:
            for decide in (decisions.halt_trading, decisions.resume_trading):
                desk.do(
                    Command(lambda context, d=decide: d(context, tenant=None, reason=reason), None, "x")
                )

        halt("before")
        migrate(undeclared, "sandbox", adopts=True)
        halt("after")
        assert [one.version for one in journal.read(0, 10)] == [1, 1, 2, 1, 3, 4]
        assert audit(journal.datastore, AuditOptions(level="all")).findings == []


@pytest.fixture
def live(settings: Settings) -> Settings:
    migrate(settings, "live")
    return settings


def test_a_live_journal_has_neither_clock_nor_invented_clients(live: Settings) -> None:
    with contextlib.closing(open_installation(live)) as installation:
        before = installation.journal.head
        with pytest.raises(WrongKind, match="no invented client"):
            prepare(installation, live)
        with pytest.raises(Refused, match="in a sandbox only"):
            Desk(installation.journal).do(
                Command(lambda context: decisions.advance_clock(context, by_us=1), None, "x")
            )
        assert installation.journal.head == before
        assert not installation.clients.all(None)


@pytest.mark.parametrize("what", ["live", "sandbox"])
def test_a_restored_journal_is_what_it_was(
    what: JournalKind, settings: Settings, tmp_path: Path
) -> None:
    migrate(settings, what)
    dumped = io.BytesIO()
    with contextlib.closing(open_journal_datastore(settings)) as datastore:
        wanted = dumping.DumpOptions()
        dumping.dump(datastore, dumped, wanted, made_by="test", made_at="2026-01-01T00:00:00Z")
    other = Settings(tmp_path / "other", f"sqlite:///{tmp_path}/other.db")
    dumped.seek(0)
    make_tables(other)
    with contextlib.closing(open_journal_datastore(other)) as datastore:
        restoring.restore(
            datastore, restoring.DumpReader(dumped), None, vouchers=Vouchers(None), accept=lambda _: None
        )
    assert migrate(other).kind == what


def test_a_backup_is_what_it_was(sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data", sqlite_url)
    migrate(settings, "sandbox")
    Backup(settings, tmp_path / "copy").run()
    copy = Settings(tmp_path / "copy", f"sqlite:///{tmp_path}/copy/journal.db")
    assert kind_at(copy) == "sandbox"


def test_an_edited_kind_stops_all_writes(live: Settings) -> None:
    """The digest chain covers it: an edit is noted by whoever reads it next."""
    with raw(live.journal_url) as connection:
        (body,) = connection.execute("SELECT body FROM journal WHERE position = 1").fetchone()
        edited = bytes(body).replace(b"\xa4live", b"\xa7sandbox")
        mark = "?" if live.journal_url.startswith("sqlite") else "%s"
        connection.execute(f"UPDATE journal SET body = {mark} WHERE position = 1", (edited,))
        connection.commit()
    with opened_journal(live) as journal:
        journal.datastore.damage.refresh()
        mark_ = journal.datastore.damage.mark
        assert mark_ is not None
        assert mark_.position == 1
