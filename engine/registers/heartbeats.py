"""Heartbeats: each process says that it lives, and how its parts are, in the journal's database.

    Part         a part of a process, such as a follower, as it is at this moment
    Heartbeats   the table: one row a process, written every HEARTBEAT_S
    Pulse        writes this process's row; what keeps it from writing is a finding of its own
    PartsLook    reads all rows: which parts nobody runs, and which fail or are stuck

Any process thus sees a frozen child of another, on whichever machine. Like leases this compares no
clocks: a process lives while its `beat` is seen to change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from engine.journal.store import Store
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
    """A part of a process: since how long it is in its state, and in one piece of work.

    `error` is the code of what it fails by, `text` all that it says, which may name paths and ids.
    """

    name: str
    state: PartState
    lasted_s: float = 0.0
    busy_s: float = 0.0
    error: str = ""
    text: str = ""


class Vital(Protocol):
    """What can say how it is, at once and without a database."""

    def vital(self) -> Part: ...


class Report(msgspec.Struct, frozen=True):
    """What a process says of itself: its parts, and what its own looks have found.

    `is_child`: another process of the engine starts it again when it ends.
    """

    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()
    is_child: bool = False


class Heartbeat(NamedTuple):
    """A process's row. `process` is a name as `Leases` uses it: host, pid, something random; `at_us` is
    when it beat last by its own clock, for people.
    """

    process: str
    beat: int
    at_us: int
    report: Report

    @property
    def pid(self) -> str:
        """For people: `process 813`."""
        return self.process.rpartition(":")[0].rpartition(":")[2] or self.process

    @property
    def host(self) -> str:
        """The machine that it runs on, "" if its name says none."""
        return self.process.rpartition(":")[0].rpartition(":")[0]

    @property
    def where(self) -> str:
        """For people: `813 on db1`."""
        return f"{self.pid} on {self.host}" if self.host else self.pid


class Heartbeats:
    """The table of all processes, and the row of this one, which calls itself `process`."""

    def __init__(self, store: Store, operations: Operations, process: str) -> None:
        self._store = store
        self._table = operations.heartbeats
        self.process = process
        self._beat = 0

    def beat(self, report: Report) -> None:
        """Writes this process's row. Raises Unavailable and the like."""
        self._beat += 1
        words = {
            "beat": self._beat,
            "at_us": wall.now_us(),
            "report": msgspec.json.encode(report).decode(),
        }
        mine = self._table.c.process == self.process
        with self._store.writing() as connection:
            if not connection.execute(self._table.update().where(mine).values(words)).rowcount:
                connection.execute(self._table.insert().values(process=self.process, **words))

    def leave(self) -> None:
        """Takes the row away: this process ends."""
        with self._store.writing() as connection:
            connection.execute(self._table.delete().where(self._table.c.process == self.process))

    def forget(self, is_dead: Callable[[str], bool]) -> None:
        """Takes away rows of processes that the caller knows to be gone, or are silent for a day."""
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


def _decoded(report: str) -> Report:
    try:
        return msgspec.json.decode(report, type=Report)
    except msgspec.MsgspecError:  # another release's
        return Report()


class Pulse:
    """Beats for this process: a source of its own health, because a beat that fails is a finding.

    `told` are sources that only this process can ask, and others pass on.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        parts: Sequence[Vital] = (),
        told: Sequence[ProbeSource] = (),
        *,
        is_child: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heartbeats = heartbeats
        self._parts = parts
        self._told = told
        self._is_child = is_child
        self._monotonic = monotonic
        self._wrote_s: float | None = None

    def beat(self) -> None:
        """Writes the row. Raises Unavailable and the like."""
        findings = tuple(finding for source in self._told for finding in source())
        parts = tuple(one.vital() for one in self._parts)
        self._heartbeats.beat(Report(parts, findings, self._is_child))

    def is_written(self) -> bool:
        """Whether the last beat came through, and lately: a later one may hang."""
        wrote_s = self._wrote_s
        return wrote_s is not None and self._monotonic() - wrote_s <= HEARTBEAT_S + HEALTH_POLL_S

    def findings(self) -> Iterator[Finding]:
        """Writes the row; whether, and why, the journal's database takes no writes."""
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


# --- how the parts of all processes are -----------------------------------------------------------


class PartsLook:
    """Which of the `expected` parts nobody runs, which fail or are stuck, and what processes report.

    Processes that `is_dead` knows to be gone count as gone at once, others after HEALTH_SILENT_S.
    Silence counts only while this process `hears`: its own beats come through, and it can read others';
    that of processes which `is_stopped` knows to be frozen counts always: one may hold the journal.
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
        self._seen: dict[str, tuple[int, float]] = {}  # process -> beat, when it was seen to change
        self._ran_s: dict[str, float] = {}  # part -> when it was seen to be run

    def findings(self) -> Iterator[Finding]:
        """All of it. Raises Unavailable and the like."""
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
        """What was silent so far may not have been heard, or could not write."""
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
            yield unrun(name)


def code_of(part: str) -> str:
    """The reason of a part that does not go on."""
    code = f"{part}_stopped"
    return code if code in REASONS else "part_stopped"


def fault_of(one: Heartbeat, part: Part) -> Finding | None:
    """What is wrong with a part that does not go on, None for one that does. It names no path or id."""
    code = code_of(part.name)
    if part.state == "failing" and part.lasted_s >= PART_FAILING_S:
        detail = f"{part.name} has failed for {wall.lasting(part.lasted_s)}: {part.error}."
        return Finding(code, detail, part.name, f"{AGAIN}. The log of process {one.where} says why")
    if part.busy_s >= PART_STUCK_S:
        lasted = wall.lasting(part.busy_s)
        detail = f"{part.name} has been in one piece of work for {lasted}, in process {one.where}."
        return Finding(code, detail, part.name, ending(one))
    return None


def unrun(part: str) -> Finding:
    """That no living process runs a part."""
    remedy = f"The log of the process that ran {part} says why it ended. `order-engine serve` runs all"
    return Finding(code_of(part), f"No living process runs {part}.", part, f"{remedy} parts")


def ending(one: Heartbeat) -> str:
    """How to be rid of a process that is stuck or frozen. Not every one is started again."""
    at = f" on {one.host}" if one.host else ""
    if one.report.is_child:
        return f"Its log says why. `kill -9 {one.pid}`{at} ends it, and `serve` starts it again"
    name = "a process of its own" if one.report.parts else "the API's process"
    return (
        f"This is {name}, which the engine does not start again: `kill -9 {one.pid}`{at} ends it and its"
        " children; then start `order-engine serve` there, unless a service manager does"
    )


def cut(text: str) -> str:
    """An error's words, as long as anybody reads them."""
    return text[:FAULT_CHARACTERS_MAX].replace("\0", "")
