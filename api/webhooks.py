"""Webhooks: where a tenant has its events sent."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from api import reading
from api.acting import act
from api.call import Answer, Call
from api.problems import Problem
from engine import commands
from engine.addresses import target_of
from engine.deciding import Outcome
from engine.endpoints import Endpoint
from engine.errors import OutcomeUnknown
from engine.refusals import invalid
from engine.webhook import Webhook, is_of
from projections import shapes
from projections.resources import encode, time


class WebhookBody(msgspec.Struct, frozen=True):
    """A receiver of events. `events` null: all of them. It is `disabled` when its receiver has answered
    410; changing it lets it go on. `former_secret_until`: until when the secret before signs too.
    `backlog_after`: its receiver takes fewer events than happen, and those after this offset have no
    delivery yet; they are sent in their turn.
    """

    id: shapes.WebhookId
    url: shapes.Url
    description: str | None
    events: list[shapes.EventName] | None
    is_active: bool
    status: shapes.WebhookStatus
    disabled_reason: Annotated[str | None, Meta(examples=[None])]
    former_secret_until: Annotated[shapes.Time | None, Meta(examples=[None])]
    backlog_after: Annotated[shapes.Offset | None, Meta(examples=[None])]
    created_at: shapes.Time
    modified_at: shapes.Time


class Own(NamedTuple):
    """A webhook as its tenant sees it; `offset` is that of the last fact that it shows."""

    endpoint: Endpoint
    state: Webhook
    backlog_after: int | None
    offset: int = 0


class NewWebhookBody(WebhookBody, frozen=True):
    """The same with its new `secret`, which is shown this once."""

    secret: shapes.Secret


async def create(call: Call) -> Answer:
    """Sends events to a URL. It is taken first, the facts come next (see docs/adr/0016)."""
    body, services, tenant = call.body, call.engine, call.principal.tenant
    target = target_of(body["url"], allows_local=services.allows_local)
    webhook = services.firm.ids.new("whk")
    decide = partial(
        commands.create_webhook,
        tenant=tenant,
        webhook=webhook,
        where=services.endpoints.where(target),
        events=body["events"],
    )
    dead = await services.bridge.read(_dead, call)
    claim = partial(services.endpoints.claim, tenant, webhook, target.url, body["description"], dead)
    secret = await services.bridge.read(claim)
    outcome = await act(call, decide)  # should it fail, the URL is free again in a minute
    endpoint = Endpoint(webhook, tenant, target.url, body["description"], 0)
    return _answer(outcome, 201, endpoint, secret)


async def list_all(call: Call) -> Answer:
    """The tenant's webhooks, newest first. There are few: all are looked at."""
    limit, before = call.query["limit"], call.query["before"]
    offset = await call.engine.bridge.read(call.engine.head)
    known = await call.engine.bridge.read(_alive, call)
    known.sort(key=lambda one: (one.state.created_at_us, one.state.id), reverse=True)
    if before is not None:
        places = [place for place, one in enumerate(known) if one.state.id == before]
        if not places:
            raise invalid("before", "invalid_value", "names nothing in this list")
        known = known[places[0] + 1 :]
    page = known[:limit]
    headers = reading.recorded(call, offset)
    if len(known) > limit:
        headers["Link"] = reading.following(call, page[-1].state.id)
    return Answer(200, encode([_body(*one[:3]) for one in page]), headers)


async def retrieve(call: Call) -> Answer:
    """One webhook."""
    own = await own_webhook(call)
    return Answer(200, encode(_body(*own[:3])), reading.recorded(call, own.offset))


async def change(call: Call) -> Answer:
    """Changes all of a webhook: what is not given is as for a new one."""
    body, services, tenant = call.body, call.engine, call.principal.tenant
    before, _, backlog_after, _ = await own_webhook(call)
    target = target_of(body["url"], allows_local=services.allows_local)
    endpoint = Endpoint(before.webhook, tenant, target.url, body["description"], before.claimed_us)
    decide = partial(
        commands.change_webhook,
        tenant=tenant,
        webhook=before.webhook,
        where=services.endpoints.where(target),
        events=body["events"],
        is_active=body["is_active"],
    )
    await services.bridge.read(_put, call, endpoint)
    try:
        outcome = await act(call, decide)
    except OutcomeUnknown:  # it may be so
        raise
    except Exception:  # all or nothing
        await services.bridge.read(_put, call, before)
        raise
    return _answer(outcome, 200, endpoint, backlog_after=backlog_after)


async def delete(call: Call) -> Answer:
    """Ends a webhook, and then erases its URL and its secrets."""
    endpoint, state, *_ = await own_webhook(call)
    decide = partial(commands.delete_webhook, tenant=state.tenant, webhook=state.id)
    outcome = await act(call, decide)
    await call.engine.bridge.read(call.engine.endpoints.remove, state.id)
    return _answer(outcome, 200, endpoint)


async def rotate_secret(call: Call) -> Answer:
    """Gives a webhook a new secret. The one before signs too for a while."""
    services = call.engine
    endpoint, state, backlog_after, _ = await own_webhook(call)
    rotated = await services.bridge.read(services.endpoints.rotate, state.id)
    if rotated is None:
        raise Problem("not_found")
    secret, former_until_us = rotated
    decide = partial(
        commands.rotate_webhook_secret,
        tenant=state.tenant,
        webhook=state.id,
        former_until_us=former_until_us,
    )
    return _answer(await act(call, decide), 200, endpoint, secret, backlog_after=backlog_after)


# --- helpers --------------------------------------------------------------------------------------


async def own_webhook(call: Call) -> Own:
    """The webhook of the path. Raises Problem `not_found` unless it is the caller's tenant's."""
    found = await call.engine.bridge.read(_of_path, call)
    if found is None:
        raise Problem("not_found")
    return found


def _of_path(call: Call) -> Own | None:
    webhook, services = call.path["webhook_id"], call.engine
    endpoint = services.endpoints.get(webhook)
    if endpoint is None or endpoint.tenant != call.principal.tenant:
        return None
    offset = services.bridge.journal.end(webhook).offset
    state: Webhook | None = services.bridge.load(webhook)
    if state is None or not is_of(state, endpoint.tenant):
        return None
    return Own(endpoint, state, services.deliveries.places(webhook).get(webhook), offset)


def _alive(call: Call) -> list[Own]:
    services, tenant = call.engine, call.principal.tenant
    known = [(one, services.bridge.load(one.webhook)) for one in services.endpoints.of_tenant(tenant)]
    places = services.deliveries.places()
    return [Own(one, state, places.get(state.id)) for one, state in known if is_of(state, tenant)]


def _dead(call: Call) -> list[str]:
    """Ids under which a URL is taken and that are no webhooks: see `Endpoints.claim`."""
    services, tenant = call.engine, call.principal.tenant
    taken = services.endpoints.of_tenant(tenant)
    stale: Iterable[str] = (one.webhook for one in taken if services.endpoints.is_stale(one))
    return [webhook for webhook in stale if not is_of(services.bridge.load(webhook), tenant)]


def _put(call: Call, endpoint: Endpoint) -> None:
    call.engine.endpoints.change(endpoint.tenant, endpoint.webhook, endpoint.url, endpoint.description)


def _answer(
    outcome: Outcome,
    status: int,
    endpoint: Endpoint,
    secret: str | None = None,
    backlog_after: int | None = None,
) -> Answer:
    body = _body(endpoint, outcome.states[endpoint.webhook], backlog_after)
    if secret is not None:
        body = NewWebhookBody(**msgspec.structs.asdict(body), secret=secret)
    return Answer(status, encode(body), {"Journal-Offset": str(outcome.offset)})


def _body(endpoint: Endpoint, state: Webhook, backlog_after: int | None) -> WebhookBody:
    former_until_us = state.former_until_us
    return WebhookBody(
        id=state.id,
        url=endpoint.url,
        description=endpoint.description,
        events=None if state.events is None else list(state.events),
        is_active=state.is_active,
        status="inactive" if state.status == "deleted" else state.status,
        disabled_reason=state.disabled_reason,
        former_secret_until=None if former_until_us is None else time(former_until_us),
        backlog_after=backlog_after,
        created_at=time(state.created_at_us),
        modified_at=time(state.modified_at_us),
    )
