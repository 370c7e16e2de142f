"""Webhooks: subscriptions of a tenant's receivers to its events."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from api.http import reading
from api.http.acting import act, answer, stream_of
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.repeating import command_of, digest_of, first_outcome, found, subject_for
from engine.commands import decisions
from engine.commands.command import Outcome
from engine.domain.addresses import target_of
from engine.domain.webhook import Webhook, is_of
from engine.journal.store import Violation
from engine.kernel.errors import OutcomeUnknown, Refused
from engine.kernel.refusals import invalid
from engine.kernel.times import rfc3339
from engine.registers.endpoints import Endpoint
from engine.registers.key_register import KeyRow
from projections import shapes
from projections.resources import encode


class WebhookBody(msgspec.Struct, frozen=True):
    """A receiver of events. `events` null: all. It is `disabled` after its receiver answered 410;
    changing it activates it again. `former_secret_until`: expiry of the previous secret, which signs
    too. `backlog_after`: the receiver is slower than events occur, and those after this offset are not
    enqueued yet; they are sent in turn.
    """

    id: shapes.WebhookId
    url: shapes.Url | None
    description: str | None
    events: list[shapes.EventName] | None
    is_active: bool
    status: shapes.WebhookStatus
    disabled_reason: Annotated[str | None, Meta(examples=[None])]
    former_secret_until: Annotated[shapes.Time | None, Meta(examples=[None])]
    backlog_after: Annotated[shapes.Offset | None, Meta(examples=[None])]
    created_at: shapes.Time
    modified_at: shapes.Time


_BESIDE_FACTS: Final = ("url", "description", "backlog_after")
"""Fields of a webhook that are in no fact."""


class Own(NamedTuple):
    """A webhook of the caller's tenant; `offset` is that of its last fact."""

    endpoint: Endpoint
    state: Webhook
    backlog_after: int | None
    offset: int = 0


class NewWebhookBody(WebhookBody, frozen=True):
    """A webhook with its new `secret`, which is shown once and, for the same key, within 24 hours."""

    secret: shapes.Secret | None


async def create(call: Call) -> Answer:
    """Creates a webhook. Its URL is claimed first, then its facts are appended (see docs/adr/0016)."""
    outcome, secret = await first_outcome(call), None
    if outcome is None:
        body, services, tenant = call.body, call.engine, call.principal.tenant
        target = target_of(body["url"], allows_local=services.allows_local)
        webhook = await subject_for(call, "whk")
        secret = await services.bridge.read(_claimed, call, webhook, target.url)
        decide = partial(
            decisions.create_webhook,
            tenant=tenant,
            webhook=webhook,
            where=services.endpoints.where(target),
            events=body["events"],
        )
        outcome = await act(call, decide)  # on failure the URL is free again in a minute
    return await _answer(call, outcome, 201, secret=secret)


def _claimed(call: Call, webhook: str, url: str) -> str | None:
    """The secret of a new webhook with a claimed URL; for a repeated key, that of the first request."""
    services, tenant = call.engine, call.principal.tenant
    command = command_of(call)
    if command is not None and _is_claimed(call, webhook):
        return _kept(call).get("secret")

    def keep(connection: sa.Connection, secret: str) -> None:
        if command is not None:
            services.keys.keep_secret(connection, command, {"secret": secret})

    try:
        return services.endpoints.claim(
            tenant, webhook, url, call.body["description"], dead=_dead(call), also=keep
        )
    except (Refused, Violation):
        if command is None or not _is_claimed(call, webhook):
            raise
        return _kept(call).get("secret")  # by another request with this key, just before


def _is_claimed(call: Call, webhook: str) -> bool:
    endpoint = call.engine.endpoints.get(webhook)
    return endpoint is not None and not call.engine.endpoints.is_stale(endpoint)


def _kept(call: Call) -> dict[str, Any]:
    """The part of the first answer to this key that is stored nowhere else; empty after 24 hours."""
    command = command_of(call)
    kept = None if command is None else call.engine.keys.find(command)
    words: dict[str, Any] = call.engine.keys.opened(kept)
    return words


async def list_all(call: Call) -> Answer:
    """The tenant's webhooks, newest first. There are few, so all are read."""
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
    """Replaces all fields of a webhook; omitted ones take the defaults."""
    outcome, endpoint = await first_outcome(call), None
    if outcome is None:
        body, services, tenant = call.body, call.engine, call.principal.tenant
        before, *_ = await own_webhook(call)
        target = target_of(body["url"], allows_local=services.allows_local)
        endpoint = Endpoint(before.webhook, tenant, target.url, body["description"], before.claimed_us)
        decide = partial(
            decisions.change_webhook,
            tenant=tenant,
            webhook=before.webhook,
            where=services.endpoints.where(target),
            events=body["events"],
            is_active=body["is_active"],
        )
        await services.bridge.read(_put, call, endpoint)
        try:
            outcome = await act(call, decide)
        except OutcomeUnknown:  # the outcome is unknown
            raise
        except Exception:  # all or nothing
            await services.bridge.read(_put, call, before)
            raise
    return await _answer(call, outcome, 200, endpoint=endpoint)


async def delete(call: Call) -> Answer:
    """Deletes a webhook, and then erases its URL and its secrets."""
    outcome, endpoint = await first_outcome(call), None
    if outcome is None:
        endpoint, state, *_ = await own_webhook(call)
        decide = partial(decisions.delete_webhook, tenant=state.tenant, webhook=state.id)
        outcome = await act(call, decide)
    shown = await _answer(call, outcome, 200, endpoint=endpoint)  # known to the key for a day
    await call.engine.bridge.read(call.engine.endpoints.remove, call.path["webhook_id"])
    return shown


async def rotate_secret(call: Call) -> Answer:
    """Creates a new secret. The previous one also signs for a while."""
    outcome, secret = await first_outcome(call), None
    if outcome is None:
        _, state, *_ = await own_webhook(call)
        rotated = await call.engine.bridge.read(_rotated, call, state.id)
        if rotated is None:
            raise Problem("not_found")
        secret, former_until_us = rotated
        decide = partial(
            decisions.rotate_webhook_secret,
            tenant=state.tenant,
            webhook=state.id,
            former_until_us=former_until_us,
        )
        outcome = await act(call, decide)
    return await _answer(call, outcome, 200, secret=secret)


def _rotated(call: Call, webhook: str) -> tuple[str, int] | None:
    """(new secret, expiry of the previous one); for a repeated key, those of the first request."""
    services, command = call.engine, command_of(call)
    if command is None:
        return services.endpoints.rotate(webhook)

    def keep(connection: sa.Connection, secret: str, former_until_us: int) -> None:
        words = {"secret": secret, "former_until_us": former_until_us}
        sealed = services.keys.sealed(command, words)
        kept = KeyRow(command, digest_of(call), services.now_us(), sealed=sealed)
        services.keys.add(connection, kept)

    kept = found(call, command)
    if kept is None:
        try:
            return services.endpoints.rotate(webhook, keep)
        except Violation:  # another request with this key was first
            kept = found(call, command)
    words = services.keys.opened(kept)
    return words["secret"], words["former_until_us"]


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
    """Ids with a claimed URL but no webhook: see `Endpoints.claim`."""
    services, tenant = call.engine, call.principal.tenant
    taken = services.endpoints.of_tenant(tenant)
    stale: Iterable[str] = (one.webhook for one in taken if services.endpoints.is_stale(one))
    return [webhook for webhook in stale if not is_of(services.bridge.load(webhook), tenant)]


def _put(call: Call, endpoint: Endpoint) -> None:
    call.engine.endpoints.change(endpoint.tenant, endpoint.webhook, endpoint.url, endpoint.description)


async def _answer(
    call: Call,
    outcome: Outcome,
    status: int,
    *,
    secret: str | None = None,
    endpoint: Endpoint | None = None,
) -> Answer:
    """The webhook after the command; the same for the same key."""
    shows_secret = call.route.answers[status] is NewWebhookBody
    webhook = call.path.get("webhook_id") or stream_of(outcome, "whk_")
    state: Webhook = outcome.states[webhook]

    def look() -> WebhookBody:
        services = call.engine
        known = endpoint or services.endpoints.get(webhook)
        body = _body(known, state, services.deliveries.places(webhook).get(webhook))
        words = _first_words(call, body)
        body = msgspec.structs.replace(body, **{name: words[name] for name in _BESIDE_FACTS})
        if shows_secret:
            shown = secret or words.get("secret")
            return NewWebhookBody(**msgspec.structs.asdict(body), secret=shown)
        return body

    return answer(outcome, status, encode(await call.engine.bridge.read(look)))


def _first_words(call: Call, body: WebhookBody) -> dict[str, Any]:
    """The part of the first answer that is in no fact, stored encrypted for a day before answering."""
    words = {name: getattr(body, name) for name in _BESIDE_FACTS}
    command = command_of(call)
    if command is None:
        return words
    return call.engine.keys.complete(KeyRow(command, digest_of(call), call.engine.now_us()), words)


def _body(endpoint: Endpoint | None, state: Webhook, backlog_after: int | None) -> WebhookBody:
    former_until_us = state.former_until_us
    return WebhookBody(
        id=state.id,
        url=endpoint.url if endpoint else None,
        description=endpoint.description if endpoint else None,
        events=None if state.events is None else list(state.events),
        is_active=state.is_active,
        status="inactive" if state.status == "deleted" else state.status,
        disabled_reason=state.disabled_reason,
        former_secret_until=None if former_until_us is None else rfc3339(former_until_us),
        backlog_after=backlog_after,
        created_at=rfc3339(state.created_at_us),
        modified_at=rfc3339(state.modified_at_us),
    )
