"""One resource, at least as new as the journal when the request arrived, on any process.

    look    the end of its stream in the journal, its personal words, and its row in a view: in one round
            trip if both are in one database, else in two, the journal first
    find    the row, if the view has reached that end; else the folded stream

Only the journal decides `not_found`. An unreadable view counts as lagging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.services import Services
from engine.journal.journal import Journal
from engine.kernel.errors import EngineError, Unavailable, UnknownFact, ViewQuarantined
from engine.kernel.limits import VIEW_POLL_S, VIEW_WAIT_S
from projections.listing import Single
from projections.resources import filled

JOURNAL, VIEW = "Journal-Offset", "View-Offset"
"""Headers with the source of an answer: the offset of its last fact."""


class Resource(NamedTuple):
    """A requested resource: `row` in a view, or `body` of its stream's state in the journal.

    `body` returns None if the state has no such resource of the caller's. `words` are the personal words
    to fill in. `shown` completes the view's body. `was_there` tells from the stream's facts whether it
    once had a resource that its state has dropped and only the view can show; None: too expensive.
    """

    row: Single
    body: Callable[[Any], bytes | None]
    words: Sequence[str] = ()
    shown: Callable[[bytes], bytes] = bytes
    was_there: Callable[[Journal, int], bool | None] = lambda *_: False


class Look(NamedTuple):
    """The result of `look`: a stream that ends at `version` and `offset`, and its row (`body`) in a view
    at offset `reached`, None if unreadable. `words` are in the resource's order.
    """

    version: int
    offset: int
    words: Sequence[str | None]
    reached: int | None = None
    waits_from: int | None = None
    body: bytes | None = None


class Found(NamedTuple):
    """The body, and the offset of its last fact; `source` is JOURNAL or VIEW."""

    body: bytes
    source: str
    offset: int


async def one(call: Call, resource: Resource) -> Answer:
    """The resource. Raises Problem `not_found`, `view_behind`; ViewQuarantined."""
    loop, services = asyncio.get_running_loop(), call.engine
    deadline = loop.time() + VIEW_WAIT_S
    while (found := await services.bridge.read(find, services, resource)) is None:
        if loop.time() > deadline:
            raise Problem("view_behind", context={"view": resource.row.view})
        await asyncio.sleep(VIEW_POLL_S)  # off the loop there are few threads, needed by others
    services.saw(call.principal.client, found.offset)
    return Answer(200, found.body, {found.source: str(found.offset)})


def find(services: Services, resource: Resource) -> Found | None:
    """The current resource; None if only the view can show it, which lags. Blocks.

    Raises Problem `not_found`, ViewQuarantined, EngineError.
    """
    known = look(services, resource)
    if not known.version:
        raise Problem("not_found")
    if known.reached is not None and known.waits_from is not None:
        raise _quarantined(resource, known.waits_from)
    reached = known.reached if known.reached is not None and known.reached >= known.offset else None
    if known.body is not None and reached is not None:
        found: Found | None = Found(resource.shown(known.body), VIEW, reached)
    else:
        found = _folded(services, resource, known)
    if found is None:
        was_there = resource.was_there(services.bridge.journal, known.version)
        if was_there or (was_there is None and reached is None):
            return None
        raise Problem("not_found")
    words = dict(zip(resource.words, known.words, strict=True))
    return found._replace(body=filled(found.body, resource.words, words))


def look(services: Services, resource: Resource) -> Look:
    """Reads the journal's side, and the view's at that moment or later. Raises EngineError of the
    former.
    """
    row, journal = resource.row, services.bridge.journal
    ours = [
        *journal.datastore.pages.end_of(row.stream),
        *services.personal.columns(row.stream, resource.words),
    ]
    theirs = row.columns(services.views.shapes[row.view])
    seen: tuple[Any, ...] | None = None
    if services.is_one_database:
        try:
            seen = journal.datastore.store.values([*ours, *theirs])
        except Unavailable:
            raise
        except EngineError:  # of the views: their tables have another shape, or are damaged
            pass
    if seen is None:
        seen = journal.datastore.store.values(ours)
        if seen[0] is not None:
            with suppress(EngineError):
                seen += services.views.values(theirs)
    version, offset, *rest = seen
    words, view = rest[: len(resource.words)], rest[len(resource.words) :]
    return Look(version or 0, offset or 0, words, *view)


def _folded(services: Services, resource: Resource, known: Look) -> Found | None:
    """The resource folded from the journal."""
    stream, journal = resource.row.stream, services.bridge.journal
    try:
        loaded = services.bridge.loaded(stream)
    except UnknownFact as error:  # no damage: this one stream cannot be folded
        if _is_of(resource.row, journal):
            raise _quarantined(resource, known.offset) from error
        return None
    body = resource.body(loaded.state)
    if body is None:
        return None
    offset = known.offset
    if loaded.version != known.version:  # it has changed since
        offset = journal.stream(stream, after=loaded.version - 1, version=loaded.version)[0].offset
    return Found(body, JOURNAL, offset)


def _is_of(row: Single, journal: Journal) -> bool:
    """Whether a stream that cannot be folded belongs to the asking owner."""
    (first,) = journal.stream(row.stream, version=1)
    owners = {getattr(first.fact, name, "") for name in ("account", "tenant")}
    return not row.owner or row.owner in owners


def _quarantined(resource: Resource, offset: int) -> ViewQuarantined:
    row = resource.row
    return ViewQuarantined(
        f"{row.view} could not fold the fact at offset {offset}",
        view=row.view,
        stream=row.stream,
        offset=offset,
    )
