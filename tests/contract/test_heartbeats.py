"""Heartbeats on both databases: what one process learns of the parts of others, and by which reason."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa

from engine.config.settings import Settings
from engine.installation import migrate
from engine.journal.datastore import Datastore
from engine.journal.leases import is_stopped
from engine.kernel import health
from engine.kernel.errors import DiskFull, EngineError, Inaccessible, Unavailable
from engine.kernel.health import REASONS, Finding
from engine.kernel.limits import (
    FOLLOW_RETRY_S,
    HEALTH_SILENT_S,
    PART_FAILING_S,
    PART_STUCK_S,
    PARTS_START_S,
)
from engine.registers.heartbeats import (
    Heartbeat,
    HeartbeatReport,
    Heartbeats,
    Part,
    PartsProbe,
    Pulse,
    code_of,
    ending,
)
from engine.registers.operations import define_operations
from tests.support.engines.prepared import install

EXPECTED = ("execution", "projections")
MINE, OTHER, THIRD = "here:1:aa", "here:813:bb", "there:9:cc"


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


class Own:
    """A part of a process, as a test sets it."""

    def __init__(self, part: Part) -> None:
        self.part = part

    def vital(self) -> Part:
        return self.part


@pytest.fixture
def datastore(journal_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datastore]:
    install(Settings(tmp_path_factory.mktemp("data"), journal_url))
    with closing(Datastore(journal_url, "", "text")) as datastore:
        yield datastore


class House:
    """Several processes on one database, and one that looks at them."""

    def __init__(self, datastore: Datastore) -> None:
        self.store = datastore.store
        self.clock = Clock()
        self.dead: set[str] = set()
        self.can_write = True
        self.stopped: set[str] = set()
        self.look = PartsProbe(
            self.of(MINE),
            EXPECTED,
            self.dead.__contains__,
            self.clock,
            hears=lambda: self.can_write,
            is_stopped=self.stopped.__contains__,
        )
        assert self.found() == {}
        self.clock.s += PARTS_START_S

    def of(self, process: str) -> Heartbeats:
        return Heartbeats(self.store, define_operations(), process)

    def found(self) -> dict[str, str]:
        """Reason -> detail."""
        return {one.code: one.detail for one in self.look.findings()}


def running(*names: str) -> HeartbeatReport:
    return HeartbeatReport(tuple(Part(name, "running", 60.0) for name in names))


def test_a_part_that_nobody_runs_is_told_after_a_while(datastore: Datastore) -> None:
    house = House(datastore)
    assert house.found() == {}
    house.clock.s += HEALTH_SILENT_S
    assert house.found() == {
        "execution_stopped": "No living process runs execution.",
        "projections_stopped": "No living process runs projections.",
    }
    house.of(OTHER).beat(running("execution", "settlement"))
    house.of(THIRD).beat(running("projections"))
    assert house.found() == {}


def test_a_frozen_process_is_named_with_how_long_it_is_silent(datastore: Datastore) -> None:
    house = House(datastore)
    frozen, living = house.of(OTHER), house.of(THIRD)
    frozen.beat(running("projections"))
    living.beat(running("execution"))
    assert house.found() == {}
    house.clock.s += HEALTH_SILENT_S - 1
    living.beat(running("execution"))
    assert house.found() == {}
    house.clock.s += 1
    living.beat(running("execution"))
    assert set(house.found()) == {"projections_stopped"}
    house.clock.s += 12 - HEALTH_SILENT_S
    living.beat(running("execution"))
    assert house.found() == {
        "projections_stopped": "Process 813 on here, which runs projections, has shown no life for 12 s."
    }
    house.of(MINE).beat(running("projections"))  # another machine has them too
    assert house.found() == {}
    frozen.beat(running("projections"))
    assert house.found() == {}


@pytest.mark.parametrize("ends", ["written", "read"])
def test_silence_is_not_judged_while_nobody_can_show_life(
    datastore: Datastore, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """On a full or read-only journal, or one that cannot be read; each has its time afresh after."""
    house = House(datastore)
    living = house.of(OTHER)
    living.beat(running(*EXPECTED))
    assert house.found() == {}
    if ends == "written":
        house.can_write = False
        for _ in range(3):
            house.clock.s += 9
            assert house.found() == {}
        house.can_write = True
    else:
        with monkeypatch.context() as patched:
            patched.setattr(Heartbeats, "all", unreadable)
            for _ in range(3):
                house.clock.s += 9
                with pytest.raises(Unavailable):
                    house.found()
    assert house.found() == {}, "none of them has had a chance yet"
    house.clock.s += HEALTH_SILENT_S - 1
    assert house.found() == {}
    house.clock.s += 1
    assert set(house.found()) == {"execution_stopped", "projections_stopped"}, "a frozen one is found"


def test_a_process_that_is_known_to_be_frozen_is_told_also_while_it_holds_the_journal(
    datastore: Datastore,
) -> None:
    house = House(datastore)
    house.of(OTHER).beat(running("execution"))
    house.of(THIRD).beat(running("projections"))
    assert house.found() == {}
    house.can_write = False
    house.stopped.add(OTHER)
    house.clock.s += 9
    assert set(house.found()) == {"execution_stopped"}


def test_a_frozen_process_of_this_host_is_known_as_such() -> None:
    """To the kernel; one that runs, or of another host, is not."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    host = socket.gethostname()
    try:
        assert not is_stopped(f"{host}:{child.pid}:aa")
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert is_stopped(f"{host}:{child.pid}:aa")
        assert not is_stopped(f"not-{host}:{child.pid}:aa")
        assert not is_stopped("doctor")
    finally:
        child.kill()
        child.communicate()


def unreadable(_: Heartbeats) -> list[Heartbeat]:
    raise Unavailable("connection refused")


def test_a_part_that_nobody_runs_is_not_missed_before_it_could_start_nor_after_an_outage(
    datastore: Datastore,
) -> None:
    house = House(datastore)
    house.clock.s += HEALTH_SILENT_S - 1 - PARTS_START_S
    while house.clock.s < 100.0 + PARTS_START_S + HEALTH_SILENT_S - 1:
        assert house.found() == {}
        house.clock.s += 1
    house.can_write = False
    house.clock.s += 60
    assert house.found() == {}
    house.can_write = True
    assert house.found() == {}
    house.clock.s += HEALTH_SILENT_S
    assert len(house.found()) == len(EXPECTED)


class Beats:
    """Beats that end as a test says."""

    error: EngineError | None = None

    def beat(self, _: HeartbeatReport) -> None:
        if self.error:
            raise self.error


def test_a_process_hears_while_its_own_beats_come_through() -> None:
    beats, clock = Beats(), Clock()
    pulse = Pulse(beats, monotonic=clock)  # type: ignore[arg-type]
    assert not pulse.is_written(), "none yet"
    assert not list(pulse.findings())
    assert pulse.is_written()
    clock.s += 4
    assert not pulse.is_written(), "the next one hangs"
    for error in (DiskFull("full"), Inaccessible("read-only"), Unavailable("held")):
        assert not list(pulse.findings())
        assert pulse.is_written()
        beats.error = error
        assert list(pulse.findings())
        assert not pulse.is_written()
        beats.error = None


@pytest.mark.parametrize(
    ("report", "starts", "words"),
    [
        (HeartbeatReport(running("sealing").parts, is_child=True), True, "`kill -9 813` on here"),
        (running("sealing"), False, "a process of its own, which the engine does not start again"),
        (
            HeartbeatReport(),
            False,
            "the API's process, which the engine does not start again: `kill -9 813` on",
        ),
    ],
)
def test_how_to_end_a_frozen_process_names_it_and_says_whether_it_is_started_again(
    report: HeartbeatReport, starts: bool, words: str
) -> None:
    told = ending(Heartbeat(OTHER, 1, 0, report))
    assert words in told
    assert ("`serve` starts it again" in told) == starts
    assert "PID" not in told
    assert "PID" not in "".join(known.remedy for known in REASONS.values())


def test_a_part_that_fails_is_said_to_be_tried_again_and_within_how_long(datastore: Datastore) -> None:
    house = House(datastore)
    failing = Part("execution", "failing", 60.0, 0.0, "disk_full")
    house.of(OTHER).beat(HeartbeatReport((failing, Part("projections", "running"))))
    (found,) = house.look.findings()
    assert f"within {FOLLOW_RETRY_S[1]:.0f} s" in found.what_to_do
    assert "kill" not in found.what_to_do
    assert "813 on here" in found.what_to_do
    for code in ("disk_full", "journal_read_only"):
        assert f"within {FOLLOW_RETRY_S[1]:.0f} s" in REASONS[code].remedy
    assert FOLLOW_RETRY_S[1] <= HEALTH_SILENT_S


def test_a_process_that_is_known_to_be_dead_counts_as_gone_at_once(datastore: Datastore) -> None:
    house = House(datastore)
    house.of(OTHER).beat(running(*EXPECTED, "sandbox-day"))
    assert house.found() == {}
    house.dead.add(OTHER)
    house.clock.s += HEALTH_SILENT_S
    assert set(house.found()) == {"execution_stopped", "projections_stopped"}, "what must run somewhere"
    assert house.found()["execution_stopped"] == "No living process runs execution."


@pytest.mark.parametrize(
    ("part", "detail"),
    [
        (Part("execution", "failing", 0.1, 0.0, "unavailable", "unavailable: /secret/path"), ""),
        (
            Part("execution", "failing", 192.0, 0.0, "unavailable", "unavailable: /secret/path"),
            "execution has failed for 3 min 12 s: unavailable.",
        ),
        (Part("execution", "running", 60.0, PART_STUCK_S - 1), ""),
        (
            Part("execution", "running", 60.0, 14.0),
            "execution has been in one piece of work for 14 s, in process 813 on here.",
        ),
        (Part("execution", "waiting", 60.0), ""),
    ],
)
def test_a_part_that_fails_or_is_stuck_is_told_without_its_words(
    datastore: Datastore, part: Part, detail: str
) -> None:
    house = House(datastore)
    house.of(OTHER).beat(HeartbeatReport((part, Part("projections", "running"))))
    assert house.found() == ({"execution_stopped": detail} if detail else {})
    house.of(THIRD).beat(running("execution"))  # one that goes on is enough
    assert house.found() == {}
    assert PART_FAILING_S < HEALTH_SILENT_S


def test_findings_of_other_processes_are_passed_on_and_ones_own_are_not(datastore: Datastore) -> None:
    house = House(datastore)
    taken = Finding("metrics_port_taken", "Port 9465 is in use.")
    house.of(MINE).beat(HeartbeatReport((), (taken,)))
    assert house.found() == {}
    for process in (OTHER, THIRD):
        Pulse(house.of(process), [Own(Part("execution", "running"))], [lambda: [taken]]).beat()
    found = [one for one in house.look.findings() if one.code == "metrics_port_taken"]
    assert len({one.part for one in found}) == 2
    assert {one.detail for one in found} == {"Port 9465 is in use."}


def test_a_clock_that_jumps_says_nothing_about_life(
    datastore: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(datastore)
    beats = house.of(OTHER)
    for jumped_us in (0, 3_600_000_000, 0):
        monkeypatch.setattr("engine.kernel.wall.now_us", lambda us=jumped_us: 1_773_325_800_000_000 + us)
        beats.beat(running(*EXPECTED))
        house.clock.s += 1
        assert house.found() == {}


def test_rows_of_the_gone_are_forgotten_and_those_of_another_release_are_no_fault(
    datastore: Datastore,
) -> None:
    house = House(datastore)
    for process in (MINE, OTHER, THIRD):
        house.of(process).beat(running("execution"))
    house.of(MINE).forget({OTHER}.__contains__)
    house.of(THIRD).leave()
    assert [one.process for one in house.of(MINE).all()] == [MINE]
    table = define_operations().heartbeats
    with datastore.store.writing() as connection:
        connection.execute(sa.update(table).values(report='{"parts": 7}'))
    assert [one.report for one in house.of(MINE).all()] == [HeartbeatReport()]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DiskFull("database or disk is full"), "disk_full"),
        (Inaccessible("attempt to write a readonly database"), "journal_read_only"),
        (Unavailable("another process holds the journal"), "journal_unwritable"),
        (EngineError("what?"), "journal_unwritable"),
    ],
)
def test_a_beat_that_fails_says_what_keeps_the_journal_from_being_written(
    error: EngineError, code: str
) -> None:
    class Failing:
        def beat(self, _: HeartbeatReport) -> None:
            raise error

    (found,) = Pulse(Failing()).findings()  # type: ignore[arg-type]
    assert found.code == code
    assert REASONS[code].severity == "degraded", "reads go on"


def test_a_read_only_database_is_found_by_the_next_beat(
    sqlite_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the real error of the real database."""
    migrate(Settings(tmp_path_factory.mktemp("d"), sqlite_url), "sandbox")  # a copy has room to spare
    datastore = Datastore(sqlite_url, "", "text")
    pulse = Pulse(Heartbeats(datastore.store, define_operations(), MINE))
    assert list(pulse.findings()) == []
    with datastore.store.turn(), datastore.store.raw_writing() as raw:  # type: ignore[attr-defined]
        raw.execute("PRAGMA query_only = ON")
    assert [one.code for one in pulse.findings()] == ["journal_read_only"]
    with datastore.store.turn(), datastore.store.raw_writing() as raw:  # type: ignore[attr-defined]
        raw.execute("PRAGMA query_only = OFF")
        raw.execute("PRAGMA max_page_count = 1")
    pulse._reported = [lambda: [Finding("disk_low", "x" * 200_000)]]
    assert [one.code for one in pulse.findings()] == ["disk_full"]
    pulse._reported = []
    assert list(pulse.findings()) == [], "and it resumes by itself"
    datastore.close()


def test_a_server_that_takes_no_writes_is_read_only(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As a standby does, after a failover."""
    install(Settings(tmp_path_factory.mktemp("d"), postgres_url))
    for is_read_only in (False, True):
        datastore = Datastore(postgres_url, "", "text")
        pulse = Pulse(Heartbeats(datastore.store, define_operations(), MINE))
        found = [one.code for one in pulse.findings()]
        assert found == ["journal_read_only"] * is_read_only
        if not is_read_only:
            with datastore.store.reading() as connection:
                name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
                forbid = f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'
                connection.exec_driver_sql(forbid)
        datastore.close()


def test_every_part_has_a_reason() -> None:
    told: Callable[[str], str] = code_of
    assert told("execution") == "execution_stopped"
    assert told("sandbox-day") == "part_stopped"
    assert health.REASONS.keys() >= {told(name) for name in (*EXPECTED, "webhooks", "sealing", "audit")}
