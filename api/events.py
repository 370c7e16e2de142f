"""Events: what happened to the tenant's resources, newest first."""

from __future__ import annotations

from typing import Final

import msgspec

from api import reading
from api.call import Answer, Call
from projections.listing import Shown
from projections.views import events as view

WORDS: Final = ("name", "reference", "payment_reference", "client_reference")


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
        name=query["name"],
        resource=query["resource[id]"],
        created_from_us=query["created[gte]"],
    )


async def retrieve(call: Call) -> Answer:
    """One event."""
    tenant, event = call.principal.tenant, call.path["event_id"]
    body = reading.found(await reading.waited(call, "events", view.one, tenant, event))
    subject = _subject.decode(body).resource.id
    return Answer(200, await reading.with_words(call, body, subject, *WORDS))


def _about(row: Shown) -> str:
    return _subject.decode(row.body).resource.id
