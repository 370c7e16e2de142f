"""Events: what happened to the tenant's resources; newest first, or as they come."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from api import reading, streams
from api.call import Answer, Call
from api.services import Services
from api.streams import Stream
from engine.personal import WORDS
from engine.refusals import invalid
from projections.database import Views
from projections.ids import derived, number_of
from projections.listing import Shown
from projections.views import events as view
from projections.views.events import Wanted


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
        "events",
        view.of_tenant,
        call.principal.tenant,
        personal=WORDS,
        subject=_about,
        names=query["name"],
        resource=query["resource[id]"],
        created_from_us=query["created[gte]"],
    )


async def retrieve(call: Call) -> Answer:
    """One event. Raises ViewQuarantined for one of a resource that is withheld."""
    tenant, event = call.principal.tenant, call.path["event_id"]
    body = await reading.waited(call, "events", view.one, tenant, event)
    if body is None:
        await call.engine.bridge.read(_check_withheld, call.engine, tenant, event)
    body = reading.found(body)
    subject = _subject.decode(body).resource.id
    return Answer(200, await reading.with_words(call, body, subject, *WORDS))


async def stream(call: Call) -> Answer:
    """The tenant's events from a place on, each as soon as the view has it.

    Begins behind `Last-Event-ID`, else behind `after`, else with the events of the time asked for, else
    with what comes next. Raises Refused `invalid_param` for a place that the journal has not come to.
    """
    services, query, tenant = call.engine, call.query, call.principal.tenant
    await reading.waited(call, "events", Views.check, "events")
    offset = await services.streams.place()
    wanted = Wanted(tenant, query["name"], query["resource[id]"], query["created[gte]"])
    known = query["after"] if call.last_event is None else call.last_event
    if known is not None:
        head = await services.bridge.read(lambda: services.bridge.journal.head)
        if known > head:
            raise invalid("query.after", "invalid_value", f"the journal has come to {head}")
        offset = known
    elif wanted.created_from_us is not None:
        offset = 0
    may_go_on = partial(services.tokens.verify, call.token)
    opened = Stream(wanted, offset, may_go_on, is_following=query["follow"])
    return Answer(200, b"", streams.HEADERS, partial(services.streams.run, opened))


def _check_withheld(engine: Services, tenant: str, event: str) -> None:
    """Raises ViewQuarantined if it is the id of an event that the view cannot show."""
    offset = number_of("evt", event)
    if offset is None or not engine.views.withheld("events", "tenant", tenant):
        return
    for recorded in engine.bridge.journal.read(offset - 1, 1):
        if derived("evt", recorded.envelope.at_us, offset) == event:
            engine.views.check("events", recorded.stream, tenant)


def _about(row: Shown) -> str:
    return _subject.decode(row.body).resource.id
