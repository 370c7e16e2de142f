"""The views: status, quarantined streams, rebuilds."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from api.http.acting import noted
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.repeating import first_answer, once
from engine.journal.store import CompanionWrite
from engine.kernel.errors import RebuildRunning, Refused
from engine.kernel.limits import VIEW_POLL_S
from engine.kernel.times import rfc3339
from projections import jobs, shapes, status
from projections.jobs import Job, JobKind
from projections.quarantine import Quarantined
from projections.resources import encode


class RebuildBody(msgspec.Struct, frozen=True):
    """A rebuild or a verification. `reached` of `target` facts are folded. `rows` were compared with the
    live ones; `differing` of them differed.
    """

    number: Annotated[int, Meta(ge=1, examples=[7])]
    kind: shapes.RebuildKind
    views: list[shapes.ViewName]
    state: shapes.RebuildState
    phase: Annotated[str, Meta(examples=["folding"])]
    reached: shapes.Offset
    target: shapes.Offset
    percent: Annotated[int, Meta(ge=0, le=100, examples=[43])]
    facts_per_second: shapes.Count
    seconds_left: shapes.Count | None
    rows: shapes.Count
    differing: shapes.Count
    differences: list[DifferenceBody]
    error: Annotated[str | None, Meta(examples=[None])]
    requested_at: shapes.Time
    started_at: shapes.Time | None
    ended_at: shapes.Time | None


class DifferenceBody(msgspec.Struct, frozen=True):
    """A row that differed, and the facts behind it: those of `stream` between two offsets, null if there
    are none.
    """

    view: shapes.ViewName
    table: Annotated[str, Meta(examples=["view_orders"])]
    key: Annotated[str, Meta(examples=["42"])]
    row: shapes.RowDifference
    stream: Annotated[str, Meta(examples=["ord_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    first_offset: shapes.Offset | None
    last_offset: shapes.Offset | None


class ProjectionBody(msgspec.Struct, frozen=True):
    """A view. `behind_seconds` is the age of its oldest unread fact, null if unreadable; `kept_offset`
    is that of the tables which `order-engine rollback` restores.
    """

    name: shapes.ViewName
    state: shapes.ViewState
    offset: shapes.Offset
    head: shapes.Offset
    behind_facts: shapes.Count
    behind_seconds: Annotated[float, Meta(ge=0, examples=[0.0])] | None
    shape: Annotated[str, Meta(examples=["1/1.1"])]
    rows: shapes.Count
    quarantined: shapes.Count
    kept_offset: shapes.Offset | None
    rebuild: RebuildBody | None


class FaultBody(msgspec.Struct, frozen=True):
    """A stream that a view withholds from the fact at `offset` on, which it cannot fold."""

    view: shapes.ViewName
    stream: Annotated[str, Meta(examples=["ord_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    account: Annotated[str | None, Meta(examples=["acc_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    offset: shapes.Offset
    fault: Annotated[str, Meta(examples=["UnknownFact: an order that is settled cannot be Filled"])]


class RetryBody(msgspec.Struct, frozen=True):
    """Whether a stream is released, possibly by this retry."""

    view: shapes.ViewName
    stream: Annotated[str, Meta(examples=["ord_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    flows: bool


async def list_all(call: Call) -> Answer:
    """All views; there are few."""
    services = call.engine
    found = await services.bridge.read(
        partial(status.statuses, services.bridge.journal, services.views, services.now_us)
    )
    return Answer(200, encode([_projection(one) for one in found]))


async def rebuild(call: Call) -> Answer:
    """Requests a rebuild, which the process that keeps the views runs."""
    return await _ask(call, "rebuild", keeps_old=call.body["keep_old"])


async def verify(call: Call) -> Answer:
    """Requests a rebuild without the swap."""
    return await _ask(call, "verify", keeps_old=False)


async def list_faults(call: Call) -> Answer:
    """Quarantined streams, by the offset of the bad fact."""
    found = await call.engine.bridge.read(call.engine.views.quarantined, _name(call))
    return Answer(200, encode([_fault(one) for one in found]))


async def retry(call: Call) -> Answer:
    """Folds a quarantined stream again. Safe to repeat with a key."""
    services, name, stream = call.engine, _name(call), call.path["stream"]

    def fold(keep: CompanionWrite) -> None:
        try:
            status.check_waits(services.bridge.journal, services.views, name, stream)
        except Refused as error:
            raise Problem(error.code, error.detail) from None
        _beside(call, keep, status.retry(services.bridge.journal, services.views, name, stream))

    def shown(flows: bool) -> Answer:  # noqa: FBT001
        return Answer(200, encode(RetryBody(name, stream, flows)))

    return await once(
        call, fold, shown, noted(call, "fault.retried", subject=stream, context={"view": name})
    )


async def _ask(call: Call, kind: JobKind, *, keeps_old: bool) -> Answer:
    def ask(keep: CompanionWrite) -> None:
        job = jobs.ask(call.engine.views, kind, [_name(call)], keeps_old=keeps_old)
        _beside(call, keep, job)

    def shown(job: Job) -> Answer:
        return Answer(202, encode(_rebuild(job)))

    try:
        return await once(call, ask, shown, noted(call, f"{kind}.requested", subject=_name(call)))
    except RebuildRunning:  # perhaps by this very key, just before
        await asyncio.sleep(VIEW_POLL_S)
        first = await first_answer(call)
        if first is None:
            raise
        return first


def _beside(call: Call, keep: CompanionWrite, said: object) -> None:
    """After a change of the views' database: records the act, and the answer to the key."""
    with call.engine.bridge.journal.datastore.store.writing() as connection:
        keep(connection, said)


def _name(call: Call) -> str:
    name = call.path["name"]
    if name not in call.engine.views.views:
        raise Problem("not_found")
    return name


def _fault(one: Quarantined) -> FaultBody:
    return FaultBody(one.view, one.stream, one.account or None, one.bad_offset, one.fault)


def _projection(one: status.Projection) -> ProjectionBody:
    return ProjectionBody(
        name=one.name,
        state=one.state,
        offset=one.offset,
        head=one.head,
        behind_facts=one.behind,
        behind_seconds=None if one.behind_s is None else round(one.behind_s, 3),
        shape=one.shape,
        rows=one.rows,
        quarantined=one.quarantined,
        kept_offset=one.kept_offset,
        rebuild=None if one.rebuild is None else _rebuild(one.rebuild),
    )


def _rebuild(job: Job) -> RebuildBody:
    findings = jobs.findings_of(job)
    return RebuildBody(
        number=job.number,
        kind=job.kind,
        views=job.names,
        state=job.state,
        phase=job.phase,
        reached=job.reached,
        target=job.target,
        percent=job.percent,
        facts_per_second=round(job.rate),
        seconds_left=round(job.seconds_left) if job.state == "running" else None,
        rows=findings.rows,
        differing=findings.differing,
        differences=[
            DifferenceBody(
                one.view, one.table, one.key, one.what, one.stream, one.first or None, one.last or None
            )
            for one in findings.shown
        ],
        error=job.error or None,
        requested_at=rfc3339(job.asked_us),
        started_at=_maybe_time(job.began_us),
        ended_at=_maybe_time(job.ended_us),
    )


def _maybe_time(at_us: int) -> str | None:
    return rfc3339(at_us) if at_us else None
