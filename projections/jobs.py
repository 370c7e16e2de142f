"""Rebuild jobs: requested, running, done. One row each, in the views' database.

    waiting -> running -> done | failed

The row of a killed process still says `running`, but its lock is free. Nothing has changed then, and the
next reader marks it `failed`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from engine.kernel.errors import RebuildRunning
from engine.kernel.limits import REBUILDS_KEPT
from engine.kernel.wall import now_us
from projections import claim
from projections.database import REBUILDS, Views
from projections.tables import MARKS

JobKind = Literal["rebuild", "verify", "rollback"]
JobState = Literal["waiting", "running", "done", "failed"]
Phase = Literal["", "folding", "comparing", "catching up", "swapping"]
KILLED: Final = "killed: its process ended, and nothing has changed"


class Job(NamedTuple):
    """A rebuild. `reached` of `target` facts are folded; times are 0 until known."""

    number: int
    kind: JobKind
    views: str
    keeps_old: int
    state: JobState
    phase: Phase
    reached: int
    target: int
    asked_us: int
    began_us: int
    ended_us: int
    error: str
    findings: bytes

    @property
    def names(self) -> list[str]:
        """The names of its views."""
        return self.views.split(",")

    @property
    def seconds(self) -> float:
        """Its duration so far, in seconds."""
        return ((self.ended_us or now_us()) - self.began_us) / 1e6 if self.began_us else 0.0

    @property
    def rate(self) -> float:
        """Facts folded per second."""
        return self.reached / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to fold the rest; 0 if unknown."""
        return (self.target - self.reached) / self.rate if self.rate else 0.0

    @property
    def percent(self) -> int:
        """Percentage of facts folded."""
        return 100 * self.reached // self.target if self.target else 100 * (self.state == "done")


class RowDifference(msgspec.Struct, frozen=True):
    """A row that differed from the journal, with the facts behind it.

    `what`: `changed`, `missing` in the live table, or `extra` there. The facts are those of `stream`
    from offset `first` to `last`; 0 if there is no fact behind the row.
    """

    view: str
    table: str
    key: str
    what: str
    stream: str
    first: int
    last: int


class Findings(msgspec.Struct, frozen=True):
    """The result of a comparison: number of rows compared, number of differences, and the first ones.

    `compared` are the views that could be compared; others lagged, or had another shape.
    """

    compared: list[str] = []
    rows: int = 0
    differing: int = 0
    shown: list[RowDifference] = []


NOTHING_FOUND: Final = Findings()


def findings_of(job: Job) -> Findings:
    """The result of its comparison, empty before it."""
    return msgspec.json.decode(job.findings, type=Findings)


_COLUMNS: Final = ", ".join(REBUILDS.columns)


def ask(views: Views, kind: JobKind, names: Sequence[str], *, keeps_old: bool = False) -> Job:
    """Requests a rebuild, which the process that keeps the views starts. Raises RebuildRunning."""
    settle_killed(views)
    with views.writing() as connection:
        taken = _rows(connection, "WHERE state IN ('waiting', 'running')")
        if taken:
            raise RebuildRunning(
                f"{taken[0].kind} {taken[0].number} of {taken[0].views} is {taken[0].state} already",
                number=taken[0].number,
            )
        return _insert(connection, kind, names, "waiting", keeps_old=keeps_old)


def begin(
    views: Views, kind: JobKind, names: Sequence[str], *, keeps_old: bool = False, number: int = 0
) -> Job:
    """The row of a rebuild that starts now; requires the lock. `number`: that of a requested one.

    Raises RebuildRunning if another process has started it.
    """
    with views.writing() as connection:
        _fail_running(connection)
        if not number:
            number = _insert(connection, kind, names, "waiting", keeps_old=keeps_old).number
        mark = MARKS[connection.dialect.name]
        began = connection.exec_driver_sql(
            f"UPDATE view_rebuilds SET state = 'running', began_us = {mark}"
            f" WHERE number = {mark} AND state = 'waiting'",
            (now_us(), number),
        ).rowcount
        if not began:
            raise RebuildRunning(f"{number} is not waiting")
        return _rows(connection, f"WHERE number = {number:d}")[0]


def update(views: Views, job: Job) -> None:
    """Stores the progress."""
    with views.writing() as connection:
        write(connection, job)


def write(connection: sa.Connection, job: Job) -> None:
    """The same, inside the caller's transaction."""
    REBUILDS.write(connection, [job])


def jobs(views: Views) -> list[Job]:
    """All remembered jobs, newest first."""
    rows = views.query(f"SELECT {_COLUMNS} FROM view_rebuilds ORDER BY number DESC")
    return [_job(row) for row in rows]


def waiting(views: Views) -> list[Job]:
    """Requested jobs not yet started, oldest first."""
    statement = f"SELECT {_COLUMNS} FROM view_rebuilds WHERE state = 'waiting' ORDER BY number"
    return [_job(row) for row in views.query(statement)]


def outdated(views: Views) -> list[str]:
    """Views with tables of an older release's shape. Those of a newer one are not ours to change."""
    rows = views.query("SELECT view, shape FROM view_checkpoints")
    return [
        view
        for view, shape in rows
        if view in views.shapes and _numbers(shape) < _numbers(views.shapes[view])
    ]


def _numbers(shape: str) -> list[int]:
    """The numbers of a shape, which only increase."""
    return [int(number) for number in shape.replace("/", ".").split(".") if number.isdecimal()]


def settle_killed(views: Views) -> None:
    """Marks jobs of killed processes as failed."""
    if not views.query("SELECT 1 FROM view_rebuilds WHERE state = 'running'"):
        return
    with (
        contextlib.suppress(RebuildRunning),
        claim.alone(views.store),
        views.writing() as connection,
    ):
        _fail_running(connection)


def _fail_running(connection: sa.Connection) -> None:
    for job in _rows(connection, "WHERE state = 'running'"):
        write(connection, job._replace(state="failed", error=KILLED, ended_us=now_us()))


def _insert(
    connection: sa.Connection, kind: JobKind, names: Sequence[str], state: JobState, *, keeps_old: bool
) -> Job:
    last = connection.exec_driver_sql("SELECT max(number) FROM view_rebuilds").scalar() or 0
    job = Job(
        number=last + 1,
        kind=kind,
        views=",".join(names),
        keeps_old=int(keeps_old),
        state=state,
        phase="",
        reached=0,
        target=0,
        asked_us=now_us(),
        began_us=0,
        ended_us=0,
        error="",
        findings=msgspec.json.encode(NOTHING_FOUND),
    )
    write(connection, job)
    connection.exec_driver_sql(f"DELETE FROM view_rebuilds WHERE number <= {last + 1 - REBUILDS_KEPT:d}")
    return job


def _rows(connection: sa.Connection, where: str) -> list[Job]:
    statement = f"SELECT {_COLUMNS} FROM view_rebuilds {where} ORDER BY number"
    return [_job(tuple(row)) for row in connection.exec_driver_sql(statement)]


def _job(row: tuple[Any, ...]) -> Job:
    job = Job(*row)
    return job._replace(findings=bytes(job.findings))
