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

from engine import wall
from engine.errors import DiskFull, EngineError, Inaccessible
from engine.health import REASONS, Finding, Source
from engine.limits import (
    FAULT_CHARACTERS_MAX,
    HEALTH_SILENT_S,
    HEARTBEAT_ROWS_KEPT_US,
    PART_FAILING_S,
    PART_STUCK_S,
    PARTS_START_S,
)
from engine.operations import Operations
from engine.store import Store

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
    """What a process says of itself: its parts, and what its own looks have found."""

    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()


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
        self, heartbeats: Heartbeats, parts: Sequence[Vital] = (), told: Sequence[Source] = ()
    ) -> None:
        self._heartbeats = heartbeats
        self._parts = parts
        self._told = told

    def beat(self) -> None:
        """Writes the row. Raises Unavailable and the like."""
        findings = tuple(finding for source in self._told for finding in source())
        self._heartbeats.beat(Report(tuple(one.vital() for one in self._parts), findings))

    def findings(self) -> Iterator[Finding]:
        """Writes the row; whether, and why, the journal's database takes no writes."""
        try:
            self.beat()
        except DiskFull:
            yield Finding("disk_full", "The journal's disk is full: a write was refused.")
        except Inaccessible:
            yield Finding("journal_read_only", "The journal's database refused a write.")
        except EngineError as error:
            yield Finding("journal_unwritable", f"A write to the journal failed: {error.code}.")


# --- how the parts of all processes are -----------------------------------------------------------


class PartsLook:
    """Which of the `expected` parts nobody runs, which fail or are stuck, and what processes report.

    Processes that `is_dead` knows to be gone count as gone at once, others after HEALTH_SILENT_S.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        expected: Iterable[str],
        is_dead: Callable[[str], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heartbeats = heartbeats
        self._is_dead = is_dead
        self._monotonic = monotonic
        self._expected = frozenset(expected)
        now_s = monotonic() + PARTS_START_S
        self._seen: dict[str, tuple[int, float]] = {}  # process -> beat, when it was seen to change
        self._ran_s = dict.fromkeys(self._expected, now_s)  # part -> when it was seen to be run

    def findings(self) -> Iterator[Finding]:
        """All of it. Raises Unavailable and the like."""
        now_s = self._monotonic()
        alive: list[Heartbeat] = []
        silent: list[Heartbeat] = []
        for one in self._heartbeats.all():
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
            yield Finding(code_of(name), faults[0], name)
            return
        for one in silent:
            if any(part.name == name for part in one.report.parts):
                lasted = wall.lasting(self._silent_s(one, now_s))
                detail = f"Process {one.pid}, which runs {name}, has shown no life for {lasted}."
                yield Finding(code_of(name), detail, name)
                return
        if name in self._expected and now_s - self._ran_s[name] >= HEALTH_SILENT_S:
            yield Finding(code_of(name), f"No living process runs {name}.", name)


def code_of(part: str) -> str:
    """The reason of a part that does not go on."""
    code = f"{part}_stopped"
    return code if code in REASONS else "part_stopped"


def fault_of(one: Heartbeat, part: Part) -> str:
    """One sentence about a part that does not go on, "" for one that does. It names no path or id."""
    if part.state == "failing" and part.lasted_s >= PART_FAILING_S:
        return f"{part.name} has failed for {wall.lasting(part.lasted_s)}: {part.error}."
    if part.busy_s >= PART_STUCK_S:
        lasted = wall.lasting(part.busy_s)
        return f"{part.name} has been in one piece of work for {lasted}, in process {one.pid}."
    return ""


def cut(text: str) -> str:
    """An error's words, as long as anybody reads them."""
    return text[:FAULT_CHARACTERS_MAX].replace("\0", "")
