"""Heartbeats: each process reports its liveness and the state of its parts in the journal's database.

    Part         a part of a process, such as a follower, as it is at this moment
    Heartbeats   the table: one row a process, written every HEARTBEAT_S
    Pulse        writes this process's row; a failure to write is itself a finding
    PartsProbe   reads all rows: parts that are not running, failing or stuck

So any process detects a frozen child of another, on any machine. Like leases this compares no clocks: a
process is alive while its `beat` changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from engine.journal.store import Store, upsert
from engine.kernel import wall
from engine.kernel.errors import DiskFull, EngineError, Inaccessible
from engine.kernel.health import AGAIN, REASONS, Finding, ProbeSource
from engine.kernel.limits import (
    FAULT_CHARACTERS_MAX,
    HEALTH_POLL_S,
    HEALTH_SILENT_S,
    HEARTBEAT_ROWS_KEPT_US,
    HEARTBEAT_S,
    PART_FAILING_S,
    PART_STUCK_S,
    PARTS_START_S,
)
from engine.registers.operations import Operations

PartState = Literal["running", "waiting", "failing", "stopped"]


class Part(msgspec.Struct, frozen=True):
    """A part of a process: how long it has been in its state, and in its current step.

    `error` is the code of its failure, `text` the full message, which may name paths and ids.
    """

    name: str
    state: PartState
    lasted_s: float = 0.0
    busy_s: float = 0.0
    error: str = ""
    text: str = ""


class Vital(Protocol):
    """A part that can report its state at once, without a database."""

    def vital(self) -> Part: ...


class HeartbeatReport(msgspec.Struct, frozen=True):
    """A process's report: its parts, and the findings of its own probes.

    `is_child`: another process of the engine restarts it.
    """

    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()
    is_child: bool = False


class Heartbeat(NamedTuple):
    """A process's row. `process` is a holder's name as in `Leases`: host, pid, random characters;
    `at_us` is the last heartbeat by its own clock, for people.
    """

    process: str
    beat: int
    at_us: int
    report: HeartbeatReport

    @property
    def pid(self) -> str:
        """For people: `process 813`."""
        return self.process.rpartition(":")[0].rpartition(":")[2] or self.process

    @property
    def host(self) -> str:
        """The host in its name, "" if there is none."""
        return self.process.rpartition(":")[0].rpartition(":")[0]

    @property
    def where(self) -> str:
        """For people: `813 on db1`."""
        return f"{self.pid} on {self.host}" if self.host else self.pid


class Heartbeats:
    """The table of all processes, and the row of this one, named `process`."""

    def __init__(self, store: Store, operations: Operations, process: str) -> None:
        self._store = store
        self._table = operations.heartbeats
        self.process = process
        self._beat = 0

    def beat(self, report: HeartbeatReport) -> None:
        """Writes this process's row. Raises Unavailable and the like."""
        self._beat += 1
        words = {
            "beat": self._beat,
            "at_us": wall.now_us(),
            "report": msgspec.json.encode(report).decode(),
        }
        with self._store.writing() as connection:
            upsert(connection, self._table, {"process": self.process, **words})

    def leave(self) -> None:
        """Deletes the row at the end of the process."""
        with self._store.writing() as connection:
            connection.execute(self._table.delete().where(self._table.c.process == self.process))

    def forget(self, is_dead: Callable[[str], bool]) -> None:
        """Deletes rows of processes known to be dead, or silent for a day."""
        columns = self._table.c
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(columns.process, columns.at_us)).all()
        oldest_us = wall.now_us() - HEARTBEAT_ROWS_KEPT_US
        gone = [process for process, at_us in rows if at_us < oldest_us or is_dead(process)]
        if gone:
            with self._store.writing() as connection:
                connection.execute(self._table.delete().where(columns.process.in_(gone)))

    def all(self) -> list[Heartbeat]:
        """Every process that has not left."""
        columns = self._table.c
        with self._store.reading() as connection:
            query = sa.select(columns.process, columns.beat, columns.at_us, columns.report)
            rows = connection.execute(query).all()
        return [
            Heartbeat(process, beat, at_us, _decoded(report)) for process, beat, at_us, report in rows
        ]


def _decoded(report: str) -> HeartbeatReport:
    try:
        return msgspec.json.decode(report, type=HeartbeatReport)
    except msgspec.MsgspecError:  # written by another release
        return HeartbeatReport()


class Pulse:
    """Sends the heartbeats of this process; also a probe source, since a failed heartbeat is a finding.

    `reported` are probe sources that only this process can read; others pass on their findings.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        parts: Sequence[Vital] = (),
        reported: Sequence[ProbeSource] = (),
        *,
        is_child: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heartbeats = heartbeats
        self._parts = parts
        self._reported = reported
        self._is_child = is_child
        self._monotonic = monotonic
        self._wrote_s: float | None = None

    def beat(self) -> None:
        """Writes the row. Raises Unavailable and the like."""
        findings = tuple(finding for source in self._reported for finding in source())
        parts = tuple(one.vital() for one in self._parts)
        self._heartbeats.beat(HeartbeatReport(parts, findings, self._is_child))

    def is_written(self) -> bool:
        """Whether the last heartbeat was written, and recently: a later one may hang."""
        wrote_s = self._wrote_s
        return wrote_s is not None and self._monotonic() - wrote_s <= HEARTBEAT_S + HEALTH_POLL_S

    def findings(self) -> Iterator[Finding]:
        """Writes the row; a finding if the journal's database refuses writes."""
        try:
            self.beat()
        except EngineError as error:
            self._wrote_s = None
            yield _unwritten(error)
        else:
            self._wrote_s = self._monotonic()


def _unwritten(error: EngineError) -> Finding:
    if isinstance(error, DiskFull):
        return Finding("disk_full", "The journal's disk is full: a write was refused.")
    if isinstance(error, Inaccessible):
        return Finding("journal_read_only", "The journal's database refused a write.")
    return Finding("journal_unwritable", f"A write to the journal failed: {error.code}.")


# --- the parts of all processes -------------------------------------------------------------------


class PartsProbe:
    """Findings about `expected` parts that are not running, failing or stuck, and findings that
    processes report.

    Processes that `is_dead` recognises count as gone at once, others after HEALTH_SILENT_S. Silence
    counts only while this process `hears`: its own heartbeats are written and others' can be read.
    Processes that `is_stopped` recognises as frozen always count: one may hold the journal's lock.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        expected: Iterable[str],
        is_dead: Callable[[str], bool],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        hears: Callable[[], bool] = lambda: True,
        is_stopped: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._heartbeats = heartbeats
        self._is_dead = is_dead
        self._monotonic = monotonic
        self._hears = hears
        self._is_stopped = is_stopped
        self._expected = frozenset(expected)
        self._is_deaf = False
        self._seen: dict[str, tuple[int, float]] = {}  # process -> beat, time of its last change
        self._ran_s: dict[str, float] = {}  # part -> time when it was last seen running

    def findings(self) -> Iterator[Finding]:
        """All findings. Raises Unavailable and the like."""
        began_s = self._monotonic()
        self._ran_s = self._ran_s or dict.fromkeys(self._expected, began_s + PARTS_START_S)
        is_deaf, self._is_deaf = self._is_deaf, True
        rows = self._heartbeats.all()
        now_s = self._monotonic()
        self._is_deaf = not self._hears()
        if is_deaf or self._is_deaf or now_s - began_s > HEARTBEAT_S:
            self._begin_anew(now_s)
        alive: list[Heartbeat] = []
        silent: list[Heartbeat] = []
        for one in rows:
            if not self._is_dead(one.process):
                (silent if self._silent_s(one, now_s) >= HEALTH_SILENT_S else alive).append(one)
        running: dict[str, list[tuple[Heartbeat, Part]]] = {name: [] for name in self._ran_s}
        for one in alive:
            for part in one.report.parts:
                running.setdefault(part.name, []).append((one, part))
        for name, found in running.items():
            yield from self._of_part(name, found, silent, now_s)
        for one in alive:
            if one.process != self._heartbeats.process:
                for finding in one.report.findings:
                    yield finding._replace(part=f"{finding.part} {one.process}")

    def _begin_anew(self, now_s: float) -> None:
        """Restarts the clocks: other processes may have beaten unseen, or been unable to write."""
        for process, (beat, _) in list(self._seen.items()):
            if not self._is_stopped(process):
                self._seen[process] = beat, now_s
        self._ran_s = {name: max(ran_s, now_s) for name, ran_s in self._ran_s.items()}

    def _silent_s(self, one: Heartbeat, now_s: float) -> float:
        beat, since_s = self._seen.get(one.process, (-1, now_s))
        if beat != one.beat:
            self._seen[one.process] = one.beat, now_s
            return 0.0
        return now_s - since_s

    def _of_part(
        self,
        name: str,
        found: Sequence[tuple[Heartbeat, Part]],
        silent: Sequence[Heartbeat],
        now_s: float,
    ) -> Iterator[Finding]:
        faults = [fault for one, part in found if (fault := fault_of(one, part))]
        if len(faults) < len(found):
            self._ran_s[name] = now_s
            return
        if faults:
            yield faults[0]
            return
        for one in silent:
            if any(part.name == name for part in one.report.parts):
                lasted = wall.lasting(self._silent_s(one, now_s))
                detail = f"Process {one.where}, which runs {name}, has shown no life for {lasted}."
                yield Finding(code_of(name), detail, name, ending(one))
                return
        if name in self._expected and now_s - self._ran_s[name] >= HEALTH_SILENT_S:
            yield not_running(name)


def code_of(part: str) -> str:
    """The reason's code for a part that is not progressing."""
    code = f"{part}_stopped"
    return code if code in REASONS else "part_stopped"


def fault_of(one: Heartbeat, part: Part) -> Finding | None:
    """The finding about a part that is not progressing, None if it is. Without paths or ids."""
    code = code_of(part.name)
    if part.state == "failing" and part.lasted_s >= PART_FAILING_S:
        detail = f"{part.name} has failed for {wall.lasting(part.lasted_s)}: {part.error}."
        return Finding(code, detail, part.name, f"{AGAIN}. The log of process {one.where} says why")
    if part.busy_s >= PART_STUCK_S:
        lasted = wall.lasting(part.busy_s)
        detail = f"{part.name} has been in one piece of work for {lasted}, in process {one.where}."
        return Finding(code, detail, part.name, ending(one))
    return None


def not_running(part: str) -> Finding:
    """The finding that no living process runs a part."""
    remedy = f"The log of the process that ran {part} says why it ended. `order-engine serve` runs all"
    return Finding(code_of(part), f"No living process runs {part}.", part, f"{remedy} parts")


def ending(one: Heartbeat) -> str:
    """How to end a process that is stuck or frozen. Not every one is restarted."""
    at = f" on {one.host}" if one.host else ""
    if one.report.is_child:
        return f"Its log says why. `kill -9 {one.pid}`{at} ends it, and `serve` starts it again"
    name = "a process of its own" if one.report.parts else "the API's process"
    return (
        f"This is {name}, which the engine does not start again: `kill -9 {one.pid}`{at} ends it and its"
        " children; then start `order-engine serve` there, unless a service manager does"
    )


def cut(text: str) -> str:
    """The first part of an error's text."""
    return text[:FAULT_CHARACTERS_MAX].replace("\0", "")
