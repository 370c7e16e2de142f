"""Liveness and readiness of this process."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.http.call import Answer, Call
from engine.domain.kind import KINDS
from engine.kernel import health
from engine.kernel.times import rfc3339
from engine.kernel.wall import lasting, now_us
from projections import shapes
from projections.resources import encode


class LiveBody(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Annotated[str, Meta(extra_json_schema={"enum": ["live"]})]


class Reason(msgspec.Struct, frozen=True):
    """A current problem: since when, and the remedy. Only `critical` ones make a process `not_ready`:
    docs/monitoring.md lists all.
    """

    code: Annotated[str, Meta(extra_json_schema={"enum": list(health.REASONS)})]
    severity: Annotated[str, Meta(extra_json_schema={"enum": list(health.SEVERITIES)})]
    detail: str
    remedy: str
    since: shapes.Time
    lasting: Annotated[str, Meta(examples=["3 min 12 s"])]


class Follower(msgspec.Struct, frozen=True):
    """A background follower, on any machine. `behind` is null if it has no offset; `faults` counts
    blocked orders, while the others continue.
    """

    is_held: Annotated[bool, Meta(description="Whether a living process holds it.")]
    behind: shapes.Count | None
    faults: shapes.Count


class ReadyBody(msgspec.Struct, frozen=True):
    """Readiness, the lag of each view in facts, and the followers.

    As of the last poll, at most a second ago; if a database does not answer, as of the one before.
    """

    status: Annotated[str, Meta(extra_json_schema={"enum": ["ready", "not_ready"]})]
    kind: Annotated[
        str,
        Meta(description="What the journal is, for ever.", extra_json_schema={"enum": list(KINDS)}),
    ]
    reasons: list[Reason]
    journal_offset: shapes.Offset
    views_behind: dict[str, shapes.Count]
    followers: dict[str, Follower]


async def live(_: Call) -> Answer:
    """The event loop is running."""
    return Answer(200, encode(LiveBody("live")))


async def ready(call: Call) -> Answer:
    """Whether this process should receive requests, and all current problems.

    Answered from memory: a hanging database is reported, without delaying the answer.
    """
    services = call.engine
    journal, views = services.journal_probe, services.views_probe
    reasons = services.health.reasons()
    if services.is_stopping:
        reasons.insert(0, health.stopping())
    is_ready = health.is_ready(reasons)
    head, now = journal.head, now_us()
    body = ReadyBody(
        "ready" if is_ready else "not_ready",
        services.kind,
        [_body(reason, now) for reason in reasons],
        head,
        {name: max(0, head - offset) for name, offset in sorted(views.offsets.items())},
        {lag.name: Follower(lag.is_held, lag.behind, views.standing[lag.name]) for lag in journal.lags},
    )
    headers: Any = None if is_ready else {"Retry-After": "1"}
    return Answer(200 if is_ready else 503, encode(body), headers)


def _body(reason: health.Reason, now: int) -> Reason:
    lasted = lasting((now - reason.since_us) / 1e6)
    since = rfc3339(reason.since_us)
    return Reason(reason.code, reason.severity, reason.detail, reason.remedy, since, lasted)
