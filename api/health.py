"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.call import Answer, Call
from engine.errors import EngineError
from projections import shapes
from projections.resources import encode


class LiveBody(msgspec.Struct, frozen=True):
    """It lives."""

    status: Annotated[str, Meta(extra_json_schema={"enum": ["live"]})]


class Reason(msgspec.Struct, frozen=True):
    """Something that is not as it should be. `view_quarantined` and `orders_standing` let it serve, and
    `journal_damaged` beside a status that is `ready` lets it serve reads.
    """

    code: str
    detail: str


class Follower(msgspec.Struct, frozen=True):
    """One that acts in the background, on whichever machine. `behind` is null if it keeps no place;
    `faults` counts orders that it cannot go on with, while the rest flows.
    """

    is_held: Annotated[bool, Meta(description="Whether a living process holds it.")]
    behind: shapes.Count | None
    faults: shapes.Count


class ReadyBody(msgspec.Struct, frozen=True):
    """Whether it can serve; how many facts each view still has to see; how the followers are."""

    status: Annotated[str, Meta(extra_json_schema={"enum": ["ready", "not_ready"]})]
    reasons: list[Reason]
    journal_offset: shapes.Offset
    views_behind: dict[str, shapes.Count]
    followers: dict[str, Follower]


HARMLESS: Final = {"view_quarantined", "orders_standing"}
"""Reasons to look, and none to send requests elsewhere."""


async def live(_: Call) -> Answer:
    """The event loop turns."""
    return Answer(200, encode(LiveBody("live")))


async def ready(call: Call) -> Answer:
    """The journal and the views can be read, and requests are welcome; else the reasons why not.

    How far views are behind is shown, and no reason: what needs them waits or says so. Nor is a follower
    that nobody holds: orders are accepted and read without it, and wait.
    """
    services, reasons = call.engine, list[Reason]()
    if services.is_stopping:
        reasons.append(Reason("stopping", "the process is stopping"))
    head, offsets, followers = 0, {}, dict[str, Follower]()
    try:
        head = await services.bridge.read(lambda: services.bridge.journal.head)
        for lag in await services.bridge.read(services.watch.look):
            followers[lag.name] = Follower(lag.is_held, lag.behind, 0)
    except EngineError as error:
        reasons.append(Reason(error.code, "the journal cannot be read"))
    try:
        offsets = await services.bridge.read(services.views.offsets)
        if await services.bridge.read(services.views.quarantined):
            reasons.append(Reason("view_quarantined", "a view holds an unreadable fact"))
        standing = await services.bridge.read(services.views.standing)
        for name, count in Counter(one.follower for one in standing).items():
            if name in followers:
                followers[name] = msgspec.structs.replace(followers[name], faults=count)
            reasons.append(Reason("orders_standing", f"{name} cannot go on with all: {count} wait"))
    except EngineError as error:
        reasons.append(Reason(error.code, "the views cannot be read"))
    is_ready = not [reason for reason in reasons if reason.code not in HARMLESS]
    if mark := services.bridge.journal.datastore.damage.mark:
        where = f"at position {mark.position}" if mark.position else "as a whole"
        reasons.append(Reason("journal_damaged", f"the journal is damaged {where}: nothing is written"))
    behind = {name: max(0, head - offset) for name, offset in sorted(offsets.items())}
    body = ReadyBody("ready" if is_ready else "not_ready", reasons, head, behind, followers)
    return Answer(200 if is_ready else 503, encode(body), None if is_ready else {"Retry-After": "1"})
