"""Deliveries of events to webhooks: list, retrieve, redeliver, test, replay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from api.handlers.webhooks import own_webhook
from api.http import reading
from api.http.acting import noted
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.repeating import first_answer, once
from api.outbound.bodies import TEST, delivery_id, event_id
from engine.domain.attempts import Attempt
from engine.domain.webhook import Webhook, check_active
from engine.kernel.limits import REPLAY_EVENTS_MAX
from engine.kernel.refusals import invalid
from engine.kernel.times import rfc3339
from engine.registers.deliveries import Delivery, NewDelivery
from projections import shapes
from projections.ids import number_of
from projections.resources import encode
from projections.views import events as view


class AttemptBody(msgspec.Struct, frozen=True):
    """One attempt. `status` is the HTTP status; null without an answer."""

    number: shapes.Count
    at: shapes.Time
    outcome: shapes.AttemptOutcome
    status: Annotated[int | None, Meta(examples=[200])]
    duration_ms: Annotated[float, Meta(examples=[12.3])]


class DeliveryBody(msgspec.Struct, frozen=True):
    """The delivery of one event to one webhook; its id is the `Webhook-Id` of each attempt. While it
    waits for an earlier event of its resource, `next_attempt_at` is null.
    """

    id: shapes.DeliveryId
    webhook: shapes.WebhookId
    event: shapes.EventId
    name: Annotated[str, Meta(examples=["order.filled"])]
    resource: Annotated[str, Meta(examples=["ord_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    status: shapes.DeliveryStatus
    attempts: list[AttemptBody]
    next_attempt_at: shapes.Time | None
    created_at: shapes.Time
    finished_at: shapes.Time | None


class ReplayBody(msgspec.Struct, frozen=True):
    """The number of events sent again."""

    webhook: shapes.WebhookId
    from_offset: shapes.Offset
    to_offset: shapes.Offset
    deliveries: shapes.Count


async def list_all(call: Call) -> Answer:
    """The tenant's deliveries, newest first."""
    query, limit = call.query, call.query["limit"]
    before = None
    if query["before"] is not None:
        before = number_of("whd", query["before"])
        if before is None:
            raise invalid("before", "invalid_value", "names nothing in this list")

    def ask() -> tuple[list[Delivery], list[DeliveryBody]]:
        found = call.engine.deliveries.listed(
            call.principal.tenant,
            limit=limit + 1,
            webhook=query["webhook"],
            status=query["status"],
            before=before,
        )
        return found, _shown(call, found[:limit])

    found, shown = await call.engine.bridge.read(ask)
    headers = {"Link": reading.following(call, shown[-1].id)} if len(found) > limit else None
    return Answer(200, encode(shown), headers)


async def retrieve(call: Call) -> Answer:
    """One delivery."""
    delivery = await _own(call)
    (shown,) = await call.engine.bridge.read(_shown, call, [delivery])
    return Answer(200, encode(shown))


async def redeliver(call: Call) -> Answer:
    """Restarts the delivery at once, whatever its outcome so far, with the whole schedule."""
    delivery = await _own(call)
    if (first := await first_answer(call)) is not None:
        return first
    state: Webhook | None = await call.engine.bridge.state(delivery.webhook)
    if state is None:
        raise Problem("not_found")
    check_active(state)
    deliveries, now_us = call.engine.deliveries, call.engine.now_us()
    attempts = await call.engine.bridge.read(deliveries.attempts_of, [delivery.seq])

    def shown(again: Delivery) -> Answer:
        return Answer(202, encode(_body(again, attempts.get(again.seq, []))))

    begin = partial(deliveries.restart, delivery.seq, now_us)
    also = noted(call, "delivery.redelivered", subject=delivery_id(delivery))
    return await once(call, begin, shown, also)


async def test(call: Call) -> Answer:
    """Sends a test event, which has no fact."""
    state = (await own_webhook(call)).state
    if (first := await first_answer(call)) is not None:
        return first
    check_active(state)
    deliveries, now_us = call.engine.deliveries, call.engine.now_us()
    new = NewDelivery(state.id, state.tenant, state.id, TEST, 0, now_us)

    def shown(added: Sequence[Delivery]) -> Answer:
        return Answer(202, encode(_body(added[0], [])))

    add = partial(deliveries.add, [new], now_us)
    return await once(call, add, shown, noted(call, "webhook.tested", subject=state.id))


async def replay(call: Call) -> Answer:
    """Sends the webhook's events between two offsets again."""
    _, state, backlog_after, _ = await own_webhook(call)
    if (first := await first_answer(call)) is not None:
        return first
    check_active(state)
    start, end = call.body["from_offset"], call.body["to_offset"]
    head = await call.engine.bridge.read(call.engine.head)
    if start > end:
        raise invalid("from_offset", "invalid_value", "must not be greater than `to_offset`")
    if end > head:
        raise invalid(
            "to_offset", "invalid_value", f"must be at most {head}, the journal's end", head=head
        )
    if backlog_after is not None and end > backlog_after:
        detail = "what is behind `backlog_after` is still to be sent for the first time, in its turn"
        raise invalid("to_offset", "invalid_value", detail, backlog_after=backlog_after)
    wanted = view.EventFilter(state.tenant, state.events or ())

    def ask(views: reading.Sight) -> view.Stretch:
        views.reach("events")
        return view.between(views, wanted, start - 1, end, REPLAY_EVENTS_MAX + 1)

    stretch, _ = await reading.viewed(call, ask, needed=end)
    events = stretch.events
    withheld = sum(one.since <= end for one in stretch.withheld.values())
    if len(events) > REPLAY_EVENTS_MAX:
        detail = f"over {REPLAY_EVENTS_MAX} events: replay them part by part"
        raise invalid("to_offset", "invalid_value", detail, most=events[-2].offset)
    new = [
        NewDelivery(state.id, state.tenant, one.resource, one.name, one.offset, one.created_us)
        for one in events
    ]
    context = {"from_offset": start, "to_offset": end, "deliveries": len(new)}
    body = encode(ReplayBody(state.id, start, end, len(new)))
    answer = Answer(202, body, reading.withholding(withheld))
    add = partial(call.engine.deliveries.add, new, call.engine.now_us())
    also = noted(call, "events.replayed", subject=state.id, context=context)
    return await once(call, add, lambda _: answer, also)


# --- helpers --------------------------------------------------------------------------------------


async def _own(call: Call) -> Delivery:
    """The delivery of the path. Raises Problem `not_found` unless it is the caller's tenant's."""
    seq = number_of("whd", call.path["delivery_id"])
    if seq is not None:
        get = partial(call.engine.deliveries.get, seq, call.principal.tenant)
        found: Delivery | None = await call.engine.bridge.read(get)
        if found is not None and delivery_id(found) == call.path["delivery_id"]:
            return found
    raise Problem("not_found")


def _shown(call: Call, found: Sequence[Delivery]) -> list[DeliveryBody]:
    attempts = call.engine.deliveries.attempts_of([one.seq for one in found])
    return [_body(one, attempts.get(one.seq, [])) for one in found]


def _body(delivery: Delivery, attempts: Sequence[tuple[int, Attempt]]) -> DeliveryBody:
    return DeliveryBody(
        id=delivery_id(delivery),
        webhook=delivery.webhook,
        event=event_id(delivery),
        name=delivery.event,
        resource=delivery.resource,
        status=delivery.status,
        attempts=[
            AttemptBody(number, rfc3339(one.at_us), one.outcome, one.status, one.duration_us / 1000)
            for number, one in attempts
        ],
        next_attempt_at=_maybe_time(delivery.due_us),
        created_at=rfc3339(delivery.created_us),
        finished_at=_maybe_time(delivery.finished_us),
    )


def _maybe_time(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)
