"""What `order-engine doctor` finds: each fault made on purpose, on a journal that was good before."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
from eventsourcing.persistence import StoredEvent

from engine.audit import database_checks
from engine.audit.database_checks import CONNECTIONS
from engine.config.settings import Settings
from engine.followers.vitals import disk_findings
from engine.installation import migrate, open_journal_datastore, open_master_key
from engine.journal import sqlite
from engine.journal.postgres_store import APPLICATION
from engine.journal.recorder import JournalApplicationRecorder
from engine.journal.writer import Append
from engine.kernel import health, wall
from engine.kernel.errors import JournalDamaged, SchemaTooNew, Unavailable, WrongKey
from engine.kernel.health import Finding
from engine.kernel.limits import FREE_BYTES_MIN, READERS_MAX, SERVE_PROCESSES
from engine.registers.heartbeats import HeartbeatReport, Heartbeats, Part
from engine.registers.operations import define_operations
from engine.runtime import doctor
from engine.runtime.doctor import DoctorCheck, examine, worst
from engine.runtime.supervise import followers_of
from order_engine.checks import views_checks
from order_engine.serve import PROCESSES
from projections.database import Views
from projections.registry import VIEWS
from tests.support.engines.prepared import Prepared
from tests.support.engines.releases import FIRST

FACTS = 1_200
"""More than doctor verifies."""


@pytest.fixture
def settings(tmp_path: Path, journal_url: str) -> Settings:
    """An installation with a journal of `FACTS` facts, the first of which is its kind."""
    return installed(Settings(tmp_path / "data", journal_url))


def make(data: Path, journal_url: str) -> None:
    settings = Settings(data, journal_url)
    migrate(settings, "sandbox")
    with contextlib.closing(open_journal_datastore(settings)) as datastore:
        recorder = JournalApplicationRecorder(datastore)
        recorder.insert_events(
            [StoredEvent("ord_1", version, "order.placed.1", b"body") for version in range(FACTS - 1)]
        )


WITH_FACTS = Prepared(make)


def installed(settings: Settings) -> Settings:
    WITH_FACTS.copy(settings.data, settings.journal_url)
    return settings


def damage(settings: Settings, *statements: str) -> None:
    """Runs SQL, with `{journal off}` and `{journal on}` for its triggers."""
    datastore = open_journal_datastore(settings)
    try:
        with datastore.store.writing() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        datastore.close()


def disarm(settings: Settings) -> None:
    """Takes the triggers away that refuse to change the journal."""
    if settings.journal_url.startswith("sqlite"):
        damage(settings, "DROP TRIGGER journal_no_update", "DROP TRIGGER journal_no_delete")
    else:
        damage(settings, "DROP TRIGGER journal_append_only ON journal")


def faults(settings: Settings) -> dict[str, str]:
    """Name and value of each fault, less those of the tests' PostgreSQL, which does without fsync."""
    found = {check.name: check.value for check in examine(settings) if check.verdict == "fault"}
    if settings.journal_url.startswith("postgresql"):
        for name in ("fsync", "full_page_writes"):
            assert found.pop(name, "off") == "off"
    return found


def test_a_good_journal_has_no_faults(settings: Settings) -> None:
    checks = examine(settings)
    values = {check.name: check.value for check in checks}
    assert len(values) == len(checks)
    assert faults(settings) == {}
    assert values["stored names"] == "2 of at most 10000"
    assert values["head"] == f"position {FACTS}, the last fact's"
    assert values["digests"] == f"1000 facts verified, positions {FACTS - 999} to {FACTS}"


def test_the_manual_shows_these_very_checks(on_sqlite: Settings) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    listed = manual.split("## Self-check: ")[1].split("order-engine doctor --data")[1].split("```")[0]
    shown = re.findall(r"^(?:ok     |warning) (.+?): ", listed, re.MULTILINE)
    assert shown == [check.name for check in examine(on_sqlite, views_checks)]


def test_no_journal(tmp_path: Path, journal_url: str) -> None:
    settings = Settings(tmp_path / "data", journal_url)
    found = faults(settings)
    assert found["directory"] == f"{tmp_path}/data is missing" if "directory" in found else True
    assert "master.key is missing" in found["master key"]
    assert "there is no journal" in found.get("journal", "") + found.get("schema", "")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused_by_all(settings: Settings) -> None:
    damage(settings, "UPDATE journal_meta SET value = '99' WHERE key = 'schema'")
    assert set(faults(settings)) == {"schema"}
    assert "schema 99" in faults(settings)["schema"]
    with pytest.raises(SchemaTooNew):
        migrate(settings, "sandbox")


@pytest.mark.parametrize("change", ["UPDATE journal_meta SET value = 'x'", "DELETE FROM journal_meta"])
def test_meta_words_that_make_no_sense(settings: Settings, change: str) -> None:
    damage(settings, change)
    assert set(faults(settings)) == {"schema"}
    with pytest.raises(JournalDamaged):
        migrate(settings, "sandbox")


def test_another_key(settings: Settings) -> None:
    other = Settings(settings.data, settings.journal_url, os.urandom(32).hex())
    assert set(faults(other)) == {"key fingerprint"}
    assert "not the key this journal was made with" in faults(other)["key fingerprint"]
    for opening in (migrate, opened):
        with pytest.raises(WrongKey, match="bring back the right one"):
            opening(other)


def test_the_right_key_opens(settings: Settings) -> None:
    assert len(opened(settings)) == 32


def test_a_key_lost_is_never_replaced(settings: Settings) -> None:
    settings.key_file.unlink()
    assert set(faults(settings)) == {"master key"}
    for opening in (migrate, opened):
        with pytest.raises(WrongKey, match="bring the key back"):
            opening(settings)
    assert not settings.key_file.exists()


def test_a_second_machine_needs_the_first_ones_key(settings: Settings, tmp_path: Path) -> None:
    key = settings.key_file.read_text()
    with pytest.raises(WrongKey, match=r"other/master\.key is missing"):
        migrate(Settings(tmp_path / "other", settings.journal_url), "sandbox")
    assert list((tmp_path / "other").iterdir()) == []
    done = migrate(Settings(tmp_path / "other", settings.journal_url, key), "sandbox")
    assert (done.outcome, done.key_created) == ("already up to date", False)


def opened(settings: Settings) -> bytes:
    datastore = open_journal_datastore(settings)
    try:
        return open_master_key(settings, datastore).derive("command_ids")
    finally:
        datastore.close()


def test_a_key_file_open_to_others(settings: Settings) -> None:
    settings.key_file.chmod(0o644)
    assert set(faults(settings)) == {"master key"}
    assert "chmod 600" in faults(settings)["master key"]


def test_a_journal_that_was_never_given_a_key(settings: Settings) -> None:
    damage(settings, "DELETE FROM journal_meta WHERE key = 'key_fingerprint'")
    assert set(faults(settings)) == {"key fingerprint"}
    with pytest.raises(WrongKey, match="order-engine migrate"):
        opened(settings)
    assert migrate(settings, "sandbox").outcome == "already up to date"
    assert faults(settings) == {}


def test_a_tampered_last_fact_and_the_triggers_that_went_for_it(settings: Settings) -> None:
    disarm(settings)
    damage(settings, f"UPDATE journal SET version = 7777777 WHERE position = {FACTS}")
    found = faults(settings)
    assert set(found) == {"append-only", "digests"}
    assert f"the fact at position {FACTS} is not as recorded" in found["digests"]


def test_triggers_that_do_nothing(settings: Settings) -> None:
    if settings.journal_url.startswith("sqlite"):
        disarm(settings)
        for event in ("update", "delete"):
            name, body = f"journal_no_{event}", "BEGIN SELECT 1; END"
            damage(settings, f"CREATE TRIGGER {name} BEFORE {event} ON journal {body}")
    else:
        damage(settings, "ALTER TABLE journal DISABLE TRIGGER journal_append_only")
    assert set(faults(settings)) == {"append-only"}


def test_a_cut_tail(settings: Settings) -> None:
    disarm(settings)
    damage(settings, f"DELETE FROM journal WHERE position > {FACTS - 3}")
    found = faults(settings)
    assert found["head"] == f"the head says position {FACTS}, the last fact is at {FACTS - 3}"


def test_a_hole(settings: Settings) -> None:
    disarm(settings)
    damage(settings, f"DELETE FROM journal WHERE position = {FACTS - 3}")
    assert f"the fact at position {FACTS - 3} is missing" in faults(settings)["digests"]


HEADS: list[tuple[str, str]] = [
    (f"UPDATE journal_head SET position = {FACTS + 1}", f"the head says position {FACTS + 1}"),
    ("UPDATE journal_head SET position = 0", "the head says position 0"),
    ("UPDATE journal_head SET digest = (SELECT digest FROM journal WHERE position = 1)", "digest"),
    ("DELETE FROM journal_head", "the head row is missing"),
]


@pytest.mark.parametrize(("change", "meaning"), HEADS)
def test_a_head_that_is_not_the_last_fact(settings: Settings, change: str, meaning: str) -> None:
    damage(settings, change)
    assert meaning in faults(settings)["head"]


# --- SQLite's file --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000])
def test_a_file_that_is_no_database(tmp_path: Path, sqlite_url: str, content: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(content)
    assert str(tmp_path / "journal.db") in faults(Settings(tmp_path, sqlite_url))["journal"]
    assert (tmp_path / "journal.db").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["journal.db"]


def test_a_file_that_is_not_in_wal_mode_is_left_as_it_is(tmp_path: Path, sqlite_url: str) -> None:
    settings = installed(Settings(tmp_path, sqlite_url))
    raw = sqlite.driver().connect(tmp_path / "journal.db")
    raw.execute("PRAGMA journal_mode=DELETE")
    raw.close()
    before = (tmp_path / "journal.db").read_bytes()
    assert "not in WAL mode" in faults(settings)["journal"]
    assert (tmp_path / "journal.db").read_bytes() == before
    migrate(settings, "sandbox")
    assert faults(settings) == {}


# --- this machine ---------------------------------------------------------------------------------


def check_named(name: str, settings: Settings) -> DoctorCheck:
    return next(check for check in examine(settings) if check.name == name)


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_url: str) -> Settings:
    settings = Settings(tmp_path, sqlite_url)
    migrate(settings, "sandbox")
    return settings


@pytest.mark.parametrize(
    ("free", "verdict"), [(10**12, "ok"), (FREE_BYTES_MIN, "ok"), (FREE_BYTES_MIN - 1, "warning")]
)
def test_free_space_is_judged_as_health_does(
    on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    usage = SimpleNamespace(free=free, total=10**13)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check = check_named("free space", on_sqlite)
    assert check.verdict == verdict
    datastore = open_journal_datastore(on_sqlite)
    told = list(disk_findings(datastore))
    datastore.close()
    assert [health.REASONS[one.code].severity for one in told] == [verdict] * (verdict != "ok")
    assert all(one.what_to_do == check.advice + "." for one in told)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "mount it"),
        (errno.EACCES, "let this user write there"),
    ],
)
def test_a_directory_that_cannot_be_written_is_advised_on_by_its_cause(
    on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(_: Path) -> float:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(doctor, "_median_fsync_ms", refuse)
    assert advice in check_named("fsync time", on_sqlite).advice


@pytest.mark.parametrize(("free", "advice"), [(0, "make room"), (10**9, "is the database running")])
def test_a_file_that_cannot_be_read_for_want_of_room_is_told_so(
    on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch, free: int, advice: str
) -> None:
    """SQLite calls it an I/O error, if no process has the file open."""

    def refuse(*_: object) -> None:
        raise Unavailable("disk I/O error")

    usage = SimpleNamespace(free=free, total=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(doctor, "_contents", refuse)
    assert advice in check_named("journal", on_sqlite).advice


def test_a_disk_without_room_is_a_fault(tmp_path: Path, on_sqlite: Settings) -> None:
    """By a real limit of the process, met as a full disk is: by writing, not by beginning to."""
    code = (
        "import resource, signal, sys\n"
        "from engine.journal.datastore import open_store\n"
        "from engine.audit.database_checks import database_checks\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = open_store(sys.argv[1])\n"
        "store.query('SELECT 1')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "found = {one.name: one for one in database_checks(store)}\n"
        "sys.stderr.write(found['writable'].advice)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, on_sqlite.journal_url],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == "make room: writes resume by themselves"
    assert check_named("writable", on_sqlite).value == "yes"


@pytest.mark.parametrize(("median_ms", "verdict"), [(0.001, "warning"), (1.0, "ok"), (25.0, "warning")])
def test_fsync_time(
    on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch, median_ms: float, verdict: str
) -> None:
    monkeypatch.setattr(doctor, "_median_fsync_ms", lambda _: median_ms)
    assert check_named("fsync time", on_sqlite).verdict == verdict


def test_an_open_directory_is_a_fault_where_it_is_the_data_directory(
    on_sqlite: Settings, tmp_path: Path
) -> None:
    on_sqlite.data.chmod(0o755)
    assert check_named("directory", on_sqlite).verdict == "fault"
    elsewhere = Settings(tmp_path / "elsewhere", on_sqlite.journal_url)
    assert check_named("directory", elsewhere).verdict == "warning"


def test_an_old_sqlite_is_a_warning(on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "version", lambda: (3, 40, 1))
    assert "3.51.3 or newer" in check_named("SQLite", on_sqlite).advice
    assert worst(examine(on_sqlite)) == "warning"


def test_the_worst_verdict_counts() -> None:
    good, bad, worse = (
        DoctorCheck("a", ""),
        DoctorCheck("b", "", "warning"),
        DoctorCheck("c", "", "fault"),
    )
    assert [worst([]), worst([good]), worst([bad, good]), worst([good, worse, bad])] == [
        "ok",
        "ok",
        "warning",
        "fault",
    ]


# --- what runs on it ------------------------------------------------------------------------------


def beats(settings: Settings, process: str, *parts: Part) -> None:
    """One heartbeat of a process of another host, which is all that is ever heard of it."""
    datastore = open_journal_datastore(settings)
    Heartbeats(datastore.store, define_operations(), process).beat(HeartbeatReport(parts))
    datastore.close()


def test_a_part_that_has_fallen_silent_is_a_fault_with_the_age_of_its_last_word(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "HEALTH_SILENT_S", 0.3)
    assert check_named("processes", settings).value == "none runs here now"
    beats(settings, "there:813:ab", Part("projections", "running"))
    monkeypatch.setattr(doctor, "now_us", lambda: wall.now_us() + 192_000_000)
    found = faults(settings)
    (check,) = [one for one in examine(settings) if one.name == "process there:813:ab"]
    assert "`kill -9 813` on there" in check.advice
    assert "starts it again" not in check.advice, "it is no child"
    said = found["process there:813:ab"]
    assert re.fullmatch(r"runs projections; its last sign of life was 3 min 1\d s ago", said)
    assert found["projections_stopped"] == "No living process runs projections."


def test_the_silent_are_not_judged_where_the_journal_takes_no_writes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats(settings, "there:813:ab", Part("projections", "running"))
    refused = [database_checks.DatabaseFinding("writable", "no: full", "make room", is_fault=True)]
    monkeypatch.setattr(doctor, "database_checks", lambda *_, **__: refused)
    found = {check.name: check for check in examine(settings)}
    assert found["processes"].verdict == "warning"
    monkeypatch.setattr(doctor, "is_stopped", lambda process: process.startswith("there:813:"))
    assert "process there:813:ab" in faults(settings), "it may hold the journal"
    assert [name for name in found if name.startswith("process ") or name.endswith("_stopped")] == []


def test_a_part_that_fails_is_a_fault_with_all_its_words(on_sqlite: Settings) -> None:
    """Unlike `/health/ready`, which everybody can read."""
    ended = threading.Event()

    def beat_on() -> None:
        datastore = open_journal_datastore(on_sqlite)
        heartbeats = Heartbeats(datastore.store, define_operations(), "there:9:cd")
        failing = Part(
            "projections", "failing", 60.0, 0.0, "inaccessible", "inaccessible: /v.db: read-only"
        )
        others = [Part(name, "running") for name in followers_of(on_sqlite) if name != "execution"]
        while not ended.wait(0.05):
            taken = Finding("metrics_port_taken", "Port 9465 is in use.")
            heartbeats.beat(HeartbeatReport((failing, *others), (taken,)))
        datastore.close()

    thread = threading.Thread(target=beat_on)
    thread.start()
    try:
        wait_until("it beats", lambda: check_named_or_none("projections_stopped", on_sqlite), 10)
        checks = {check.name: check for check in examine(on_sqlite)}
    finally:
        ended.set()
        thread.join()
    assert checks["projections_stopped"].verdict == "fault"
    assert checks["projections_stopped"].value.endswith("/v.db: read-only")
    assert "retried automatically, within" in checks["projections_stopped"].advice
    assert "kill" not in checks["projections_stopped"].advice
    assert (checks["metrics_port_taken"].verdict, "processes" in checks) == ("warning", False)


def test_parts_of_an_engine_that_has_just_started_are_waited_for(on_sqlite: Settings) -> None:
    """Its API lives, and the process that runs the parts beats for the first time later: no fault."""
    begun, ended = threading.Event(), threading.Event()

    def start_up() -> None:
        datastore = open_journal_datastore(on_sqlite)
        first, second = (
            Heartbeats(datastore.store, define_operations(), name) for name in ("there:1:a", "there:2:b")
        )
        parts = tuple(Part(name, "running") for name in (*followers_of(on_sqlite), "projections"))
        for number in range(1_000):
            first.beat(HeartbeatReport())
            if number >= 4:
                second.beat(HeartbeatReport(parts))
            begun.set()
            if ended.wait(0.2):
                break
        datastore.close()

    thread = threading.Thread(target=start_up)
    thread.start()
    datastore = open_journal_datastore(on_sqlite)
    try:
        assert begun.wait(10)
        (found,) = doctor.processes(on_sqlite, datastore)
    finally:
        datastore.close()
        ended.set()
        thread.join()
    assert found.verdict == "ok", found
    assert found.value.startswith("2 live, all parts running")


def test_seals_that_are_published_nowhere_are_a_warning(on_sqlite: Settings) -> None:
    check = check_named("published seal", on_sqlite)
    assert (check.verdict, "ORDER_ENGINE_SEALS_TO" in check.advice) == ("warning", True)


def test_a_journal_that_cannot_be_written_is_a_fault(settings: Settings) -> None:
    """Whoever asks may be somebody who may write there; the database itself says no."""
    assert check_named("writable", settings).verdict == "ok"
    if settings.journal_url.startswith("postgresql"):
        name = settings.journal_url.rpartition("/")[2]
        damage(settings, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        found = check_named("writable", settings)
        assert (found.verdict, found.advice) == ("fault", "point --journal-url to the primary")


def test_views_that_are_damaged_or_missing(on_sqlite: Settings) -> None:
    (none,) = views_checks(on_sqlite)
    assert (none.verdict, none.value) == ("ok", "none yet: the next start creates them")
    views = Views(on_sqlite.views_url)
    views.close()
    (good,) = views_checks(on_sqlite)
    assert (good.verdict, good.value) == ("ok", f"{len(VIEWS)} views, the last of them at position 0")
    path = on_sqlite.data / "views.db"
    whole = path.read_bytes()
    for damaged in (b"nonsense" * 1000, whole[:4096] + b"\xff" * 4096 + whole[8192:], whole[:5000]):
        path.write_bytes(damaged)
        (found,) = views_checks(on_sqlite)
        assert (found.name, found.verdict) == ("views", "fault"), found
        assert "order-engine rebuild" in found.advice


def test_views_of_the_first_release_are_a_warning_until_the_next_start(
    tmp_path: Path, journal_url: str
) -> None:
    """After the documented upgrade; and where a server has no views yet there is nothing to find."""
    data = tmp_path / "first"
    url = f"sqlite:///{data}/journal.db" if journal_url.startswith("sqlite") else journal_url
    FIRST.lay(url, data)
    settings = Settings(data, url)
    migrate(settings, "sandbox", adopts=True)
    (found,) = views_checks(settings)
    assert (found.name, found.verdict) == ("views", "warning")
    assert found.value == "of an older shape: the next start rebuilds them"
    Views(settings.views_url).close()
    assert {check.name: check.verdict for check in views_checks(settings)}["views"] == "ok"


def test_no_views_yet_are_no_fault(settings: Settings) -> None:
    assert [(check.verdict, check.value) for check in views_checks(settings)] == [
        ("ok", "none yet: the next start creates them")
    ]


def test_what_keeps_the_journal_shut_is_no_fault_of_the_views(settings: Settings) -> None:
    Views(settings.views_url).close()
    settings.data.chmod(0o755)
    found = [check for check in examine(settings, views_checks) if check.verdict == "fault"]
    names = {check.name for check in found} - {"fsync", "full_page_writes"}
    is_elsewhere = settings.data.parent == Path(settings.journal_url.removeprefix("sqlite:///")).parent
    assert names == {"data directory" if is_elsewhere else "directory"}
    settings.data.chmod(0o700)
    settings.key_file.unlink()
    assert [check.verdict for check in views_checks(settings)] == ["ok"]


def test_a_server_of_views_that_is_away_is_no_reason_to_delete_them(on_sqlite: Settings) -> None:
    gone = dataclasses.replace(on_sqlite, given_views_url="postgresql://x@127.0.0.1:1/views")
    (found,) = views_checks(gone)
    assert (found.verdict, "is the database running" in found.advice) == ("fault", True)


def test_connections_are_counted_by_process_and_pool(postgres_url: str, tmp_path: Path) -> None:
    """As many as pools can open are opened, and doctor's figure is that, for all processes."""
    settings = installed(Settings(tmp_path / "data", postgres_url))
    datastore = open_journal_datastore(settings)
    datastore.bell.listen()
    datastore.append(Append([]))
    with contextlib.ExitStack() as held:
        for _ in range(READERS_MAX):
            held.enter_context(datastore.store.reading())
            held.enter_context(datastore.store.writing())
        counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = ?"
        other = open_journal_datastore(settings)
        ours = other.store.query(counted, [APPLICATION])[0][0] - 1
        other.close()
    datastore.bell.unlisten()
    datastore.close()
    assert ours <= CONNECTIONS
    assert ours >= 2 * READERS_MAX
    check = check_named("max_connections", settings)
    assert f"opens up to {4 * (2 * READERS_MAX + CONNECTIONS)}: 4 processes" in check.value
    assert len(PROCESSES) + 1 == SERVE_PROCESSES


def wait_until(what: str, is_so: Callable[[], object], seconds: float) -> None:
    deadline_s = monotonic() + seconds
    while not is_so():
        assert monotonic() < deadline_s, what


def check_named_or_none(name: str, settings: Settings) -> DoctorCheck | None:
    return next((check for check in examine(settings) if check.name == name), None)
