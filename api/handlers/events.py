"""Events of the tenant's resources: newest first, or as a stream."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from api.http import reading, streams
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.services import Services
from api.http.streams import Stream
from engine.kernel.refusals import invalid
from engine.registers.personal import WORDS
from projections.ids import derived, number_of
from projections.listing import Shown
from projections.views import events as view
from projections.views.events import EventFilter


class _Resource(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    resource: _Resource


_subject: Final = msgspec.json.Decoder(_Event)


async def list_all(call: Call) -> Answer:
    """The tenant's events."""
    query = call.query
    return await reading.listed(
        call,
        view.of_tenant,
        call.principal.tenant,
        personal=WORDS,
        subject=_about,
        names=query["name"],
        resource=query["resource[id]"],
        created_from_us=query["created[gte]"],
    )


async def retrieve(call: Call) -> Answer:
    """One event. Raises ViewQuarantined for a withheld resource."""
    tenant, event = call.principal.tenant, call.path["event_id"]
    offset = number_of("evt", event)
    if offset is None or not await reading.has_come_to(call, offset):
        raise Problem("not_found")
    body, headers = await reading.viewed(
        call, lambda views: view.one(views, tenant, event), needed=offset
    )
    if body is None:
        await call.engine.bridge.read(_check_withheld, call.engine, tenant, event)
        raise Problem("not_found")
    subject = _subject.decode(body).resource.id
    return Answer(200, await reading.with_words(call, body, subject, *WORDS), headers)


async def stream(call: Call) -> Answer:
    """The tenant's events from an offset on, each as soon as the view has it.

    Begins after `Last-Event-ID`, else after `after`, else at the given time, else with the next event.
    With `follow=false` it waits for the view to reach the journal's current head, and ends there. Raises
    Refused `invalid_param` for an offset past the head, Problem `rate_limited` if too many streams are
    open.
    """
    services, query, (client, tenant, *_) = call.engine, call.query, call.principal
    room = services.streams.room
    room.check(client, tenant)
    until = None if query["follow"] else await services.bridge.read(services.head)
    await reading.viewed(call, lambda views: views.check("events"), needed=until)
    offset = await services.streams.place()
    wanted = EventFilter(tenant, query["name"], query["resource[id]"], query["created[gte]"])
    known = query["after"] if call.last_event is None else call.last_event
    if known is not None:
        if not await reading.has_come_to(call, known):
            detail = f"must be at most {services.newest}, the journal's end"
            raise invalid("query.after", "invalid_value", detail)
        offset = known
    elif wanted.created_from_us is not None:
        offset = 0
    may_go_on = partial(services.tokens.verify, call.token)
    opened = Stream(wanted, offset, may_go_on, client=client, until=until)
    room.check(client, tenant)  # others came meanwhile; from here to its start none can
    return Answer(200, b"", streams.HEADERS, partial(services.streams.run, opened))


def _check_withheld(engine: Services, tenant: str, event: str) -> None:
    """Raises ViewQuarantined for an event that the view withholds."""
    offset = number_of("evt", event)
    if offset is None or not engine.views.withheld("events", "tenant", tenant):
        return
    for recorded in engine.bridge.journal.read(offset - 1, 1):
        if derived("evt", recorded.envelope.at_us, offset) == event:
            engine.views.check("events", recorded.stream, tenant)


def _about(row: Shown) -> str:
    return _subject.decode(row.body).resource.id
