"""Webhooks: subscriptions of a tenant's receivers to events.

The journal records a receiver's origin and its events. The rest of the URL, its label and its secrets
are in `engine.registers.endpoints`, where they can be erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, assert_never

import msgspec
from msgspec.structs import replace

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import WEBHOOKS_MAX
from engine.kernel.refusals import refused

GONE: Final = "gone"
"""Reason of a disabled webhook: its receiver answered 410."""

# --- facts ---------------------------------------------------------------------------------------


class WebhookCreated(Fact, frozen=True, array_like=True, gc=False):
    """A webhook was created: it receives events from now on. `events` None: all.

    `origin` is the URL's scheme, host and port; `url_digest` a keyed digest of the whole, which reveals
    a change but not the URL.
    """

    webhook: str
    tenant: str
    origin: str
    url_digest: bytes
    events: tuple[str, ...] | None
    at_us: int


class WebhookChanged(Fact, frozen=True, array_like=True, gc=False):
    """Destination and events as they are now. While inactive, events are not sent."""

    origin: str
    url_digest: bytes
    events: tuple[str, ...] | None
    is_active: bool
    at_us: int


class WebhookSecretRotated(Fact, frozen=True, array_like=True, gc=False):
    """A new secret was created. The previous one also signs until `former_until_us`."""

    former_until_us: int
    at_us: int


class WebhookDisabled(Fact, frozen=True, array_like=True, gc=False):
    """The engine stopped sending, for this `reason`; a person has to act."""

    reason: str
    at_us: int


class WebhookDeleted(Fact, frozen=True, array_like=True, gc=False):
    """The webhook was deleted for good."""

    at_us: int


WebhookFact = WebhookCreated | WebhookChanged | WebhookSecretRotated | WebhookDisabled | WebhookDeleted


class Destination(NamedTuple):
    """A webhook's destination as recorded in facts: see `WebhookCreated`."""

    origin: str
    url_digest: bytes


# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class Webhook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`status`: `active`, `inactive` (set by a person), `disabled` (by the engine) or `deleted`."""

    id: str
    tenant: str
    status: str
    origin: str
    url_digest: bytes
    events: tuple[str, ...] | None
    disabled_reason: str | None
    former_until_us: int | None
    created_at_us: int
    modified_at_us: int

    @property
    def is_active(self) -> bool:
        """Whether events are sent to it."""
        return self.status == "active"

    def wants(self, event: str) -> bool:
        """Whether it is subscribed to events of this name."""
        return self.is_active and (self.events is None or event in self.events)


NEXT: Final[dict[tuple[str | None, type[WebhookFact]], str | None]] = {
    (None, WebhookCreated): "active",
    ("active", WebhookChanged): None,
    ("inactive", WebhookChanged): None,
    ("disabled", WebhookChanged): None,
    ("active", WebhookSecretRotated): "active",
    ("inactive", WebhookSecretRotated): "inactive",
    ("disabled", WebhookSecretRotated): "disabled",
    ("active", WebhookDisabled): "disabled",
    ("active", WebhookDeleted): "deleted",
    ("inactive", WebhookDeleted): "deleted",
    ("disabled", WebhookDeleted): "deleted",
}
"""(status, fact) -> status. None: `active` or `inactive`, according to the fact."""

# --- decisions -----------------------------------------------------------------------------------


def check_new(url: str, others: Sequence[tuple[str, str]]) -> None:
    """Checks that a tenant with these (webhook, URL) may add another one.

    Raises Refused `duplicate_webhook`, `too_many_webhooks`.
    """
    for webhook, taken in others:
        if taken == url:
            raise refused("duplicate_webhook", webhook=webhook)
    if len(others) >= WEBHOOKS_MAX:
        raise refused("too_many_webhooks", limit=WEBHOOKS_MAX)


def create(
    state: Webhook | None,
    webhook: str,
    tenant: str,
    where: Destination,
    events: Sequence[str] | None,
    *,
    at_us: int,
) -> list[Fact]:
    """Creates a webhook; no facts if it exists."""
    if state is not None:
        return []
    return [WebhookCreated(webhook, tenant, *where, _sorted(events), at_us)]


def change(
    state: Webhook | None,
    tenant: str,
    where: Destination,
    events: Sequence[str] | None,
    *,
    is_active: bool,
    at_us: int,
) -> list[Fact]:
    """Replaces all settings; no facts if nothing changes. Raises Refused `not_found`."""
    known, wanted = _found(state, tenant), _sorted(events)
    before = (known.origin, known.url_digest, known.events, known.status)
    if before == (*where, wanted, "active" if is_active else "inactive"):
        return []
    return [WebhookChanged(*where, wanted, is_active, at_us)]


def rotate_secret(state: Webhook | None, tenant: str, *, former_until_us: int, at_us: int) -> list[Fact]:
    """Records a new secret. Raises Refused `not_found`."""
    _found(state, tenant)
    return [WebhookSecretRotated(former_until_us, at_us)]


def disable(state: Webhook | None, reason: str, *, at_us: int) -> list[Fact]:
    """Disables an active webhook; no facts for any other."""
    return [WebhookDisabled(reason, at_us)] if state is not None and state.is_active else []


def delete(state: Webhook | None, tenant: str, *, at_us: int) -> list[Fact]:
    """Deletes it for good. Raises Refused `not_found`."""
    _found(state, tenant)
    return [WebhookDeleted(at_us)]


def check_active(state: Webhook) -> None:
    """Raises Refused `webhook_inactive` if it receives no events."""
    if not state.is_active:
        raise refused("webhook_inactive", status=state.status)


def is_of(state: Webhook | None, tenant: str) -> bool:
    """Whether the webhook belongs to the tenant."""
    return state is not None and state.tenant == tenant and state.status != "deleted"


def _found(state: Webhook | None, tenant: str) -> Webhook:
    if state is None or not is_of(state, tenant):
        raise refused("not_found", "No such webhook.")
    return state


def _sorted(events: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if events is None else tuple(sorted(set(events)))


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Webhook | None, fact: WebhookFact) -> Webhook:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    place = (state.status if state else None, type(fact))
    if place not in NEXT:
        raise UnknownFact(f"a webhook has no {type(fact).__name__} here")
    if isinstance(fact, WebhookCreated):
        return Webhook(
            id=fact.webhook,
            tenant=fact.tenant,
            status="active",
            origin=fact.origin,
            url_digest=fact.url_digest,
            events=fact.events,
            disabled_reason=None,
            former_until_us=None,
            created_at_us=fact.at_us,
            modified_at_us=fact.at_us,
        )
    assert state is not None
    status = NEXT[place] or state.status
    state = replace(state, status=status, modified_at_us=fact.at_us)
    match fact:
        case WebhookChanged():
            return replace(
                state,
                status="active" if fact.is_active else "inactive",
                origin=fact.origin,
                url_digest=fact.url_digest,
                events=fact.events,
                disabled_reason=None,
            )
        case WebhookSecretRotated():
            return replace(state, former_until_us=fact.former_until_us)
        case WebhookDisabled():
            return replace(state, disabled_reason=fact.reason)
        case WebhookDeleted():
            return state
        case _:
            assert_never(fact)
