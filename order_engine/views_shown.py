"""Printing of rebuilds and of the state of views."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from engine.kernel.wall import lasting
from order_engine.tables import Column, bar_of, print_table

if TYPE_CHECKING:
    from projections.jobs import Findings, Job, JobKind
    from projections.status import Projection

# --- progress -------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress_of(kind: JobKind) -> Iterator[Callable[[Job], None]]:
    """A bar with rate and time left on a terminal, lines elsewhere; on stderr, apart from the answer."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    shown = (
        TextColumn("{task.description:11}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with bar_of(*shown) as bar:
        task = bar.add_task(kind, total=None, rate="")

        def report(job: Job) -> None:
            bar.update(
                task, description=job.phase, completed=job.reached, total=job.target, rate=_rate(job)
            )

        yield report


def _lines() -> Callable[[Job], None]:
    """A line for each phase, and for each tenth of the facts."""
    told = ("", 0)

    def report(job: Job) -> None:
        nonlocal told
        tenth = 10 * job.reached // job.target if job.target and job.phase == "folding" else 0
        if job.phase and (job.phase, tenth) != told:
            told = (job.phase, tenth)
            counted = f": {job.reached} of {job.target} facts" if job.phase == "folding" else ""
            speed = f", {_rate(job)}, {job.seconds_left:.0f} s left" if tenth else ""
            typer.echo(f"{job.phase}{counted}{speed}", err=True)

    return report


def _rate(job: Job) -> str:
    return f"{job.rate:,.0f} facts/s".replace(",", " ")


# --- answers --------------------------------------------------------------------------------------

_FINDINGS: Final = (
    Column("view"),
    Column("table"),
    Column("key"),
    Column("row"),
    Column("stream"),
    Column("facts", is_number=True),
)
FAULTS: Final = (
    Column("of"),
    Column("stream"),
    Column("offset", is_number=True),
    Column("fault", width=60),
)
PROJECTIONS: Final = (
    Column("view"),
    Column("state"),
    Column("offset", is_number=True),
    Column("behind", is_number=True),
    Column("for", is_number=True),
    Column("rows", is_number=True),
    Column("shape"),
    Column("last rebuild"),
)
_DONE: Final = {"rebuild": "rebuilt", "verify": "verified", "rollback": "rolled back"}


def print_done(job: Job, findings: Findings) -> None:
    head = f"{_DONE[job.kind]} {', '.join(job.names)}"
    if job.kind == "rollback":
        typer.echo(f"{head}: up to date with {job.reached} facts, in {job.seconds:.1f} s")
        return
    typer.echo(f"{head}: {job.reached} facts in {job.seconds:.1f} s, {_rate(job)}")
    left_out = not_compared(job, findings)
    if findings.compared:
        differing = f"{findings.differing} differ" if findings.differing else "all are equal"
        typer.echo(f"compared {findings.rows} rows with the live ones: {differing}")
    if left_out:
        typer.echo(f"not compared, because the live tables were incomplete: {', '.join(left_out)}")
        if job.kind == "verify":
            names = "--all" if len(left_out) == len(job.names) else " ".join(left_out)
            typer.echo(f"fill them with `order-engine rebuild {names}`, or start the engine")
    if findings.shown:
        print_table(_FINDINGS, [
            [one.view, one.table, one.key, one.what, one.stream, _offsets(one.first, one.last)]
            for one in findings.shown
        ])  # fmt: skip
    if findings.differing > len(findings.shown):
        typer.echo(f"and {findings.differing - len(findings.shown)} more")


def not_compared(job: Job, findings: Findings) -> list[str]:
    """Names of incomplete views, whose rows could not be compared. None for an empty journal."""
    return [name for name in job.names if name not in findings.compared] if job.target else []


def _offsets(first: int, last: int) -> str:
    if not first:
        return "none"
    return str(first) if first == last else f"{first}-{last}"


def done_json(job: Job) -> dict[str, Any]:
    from msgspec import to_builtins  # noqa: PLC0415

    from projections.jobs import findings_of  # noqa: PLC0415

    return {
        "number": job.number,
        "kind": job.kind,
        "views": job.names,
        "offset": job.reached,
        "seconds": round(job.seconds, 3),
        "facts_per_second": round(job.rate),
        "findings": to_builtins(findings_of(job)),
    }


def row_of(one: Projection) -> list[str | Sequence[str]]:
    age = "?" if one.behind_s is None else lasting(one.behind_s) if one.behind else ""
    return [
        one.name, _state(one), str(one.offset), str(one.behind), age, str(one.rows), one.shape,
        _last(one.rebuild),
    ]  # fmt: skip


def _state(one: Projection) -> str:
    if one.state == "quarantined":
        return f"{one.quarantined} in quarantine"
    job = one.rebuild
    if one.state == "rebuilding" and job and job.state == "running":
        return f"rebuilding, {job.percent} %"
    return one.state


def _last(job: Job | None) -> str:
    if job is None:
        return ""
    return f"{job.kind} {job.number}: {job.error or job.state}"


def json_of(one: Projection) -> dict[str, Any]:
    job = one.rebuild
    return {
        "name": one.name,
        "state": one.state,
        "offset": one.offset,
        "head": one.head,
        "behind_facts": one.behind,
        "behind_seconds": one.behind_s,
        "shape": one.shape,
        "rows": one.rows,
        "quarantined": one.quarantined,
        "kept_offset": one.kept_offset,
        "rebuild": job
        and {
            "number": job.number, "kind": job.kind, "state": job.state, "phase": job.phase,
            "percent": job.percent, "error": job.error or None,
        },
    }  # fmt: skip
