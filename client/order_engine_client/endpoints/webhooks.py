"""Operations on webhooks and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import (
    Delivery,
    NewWebhook,
    Replay,
    Webhook,
)
from order_engine_client.values import (
    given,
    path,
    query,
)


def create_webhook(
    url: str, *, description: str | None = None, events: Sequence[str] | None = None
) -> Operation[NewWebhook]:
    """Creates a webhook for all events, or for those named. Its `secret` is shown only this once."""
    body = given(url=url, description=description, events=events)
    return Operation("POST", path("webhooks"), NewWebhook, body=body)


def webhooks(*, page_size: int | None = None) -> Listing[Webhook]:
    """The tenant's webhooks."""
    return Listing(path("webhooks"), Webhook, query({"limit": page_size}))


def webhook(webhook: str) -> Operation[Webhook]:
    """One webhook."""
    return Operation("GET", path("webhooks", webhook), Webhook)


def put_webhook(
    webhook: str,
    url: str,
    *,
    description: str | None = None,
    events: Sequence[str] | None = None,
    is_active: bool = True,
) -> Operation[Webhook]:
    """Changes all of a webhook: what is not given is as for a new one."""
    body = given(url=url, description=description, events=events, is_active=is_active)
    return Operation("PUT", path("webhooks", webhook), Webhook, body=body)


def delete_webhook(webhook: str) -> Operation[Webhook]:
    """Deletes a webhook; its URL and secret are erased."""
    return Operation("DELETE", path("webhooks", webhook), Webhook)


def rotate_webhook_secret(webhook: str) -> Operation[NewWebhook]:
    """A new secret; for 48 hours the one before signs too."""
    return Operation("POST", path("webhooks", webhook, "rotate-secret"), NewWebhook)


def test_webhook(webhook: str) -> Operation[Delivery]:
    """Sends the event `webhook.test`, which belongs to no fact."""
    return Operation("POST", path("webhooks", webhook, "test"), Delivery)


def replay_events(webhook: str, from_offset: int, to_offset: int) -> Operation[Replay]:
    """Sends again the events from one offset to another that the webhook subscribes to."""
    body = given(from_offset=from_offset, to_offset=to_offset)
    return Operation("POST", path("webhooks", webhook, "replay"), Replay, body=body)


def deliveries(
    *, webhook: str | None = None, status: str | None = None, page_size: int | None = None
) -> Listing[Delivery]:
    """Deliveries of events to webhooks, with their attempts."""
    words = {"webhook": webhook, "status": status, "limit": page_size}
    return Listing(path("webhook-deliveries"), Delivery, query(words))


def delivery(delivery: str) -> Operation[Delivery]:
    """One delivery."""
    return Operation("GET", path("webhook-deliveries", delivery), Delivery)


def redeliver(delivery: str) -> Operation[Delivery]:
    """Sends it again at once, under the same `Webhook-Id`."""
    return Operation("POST", path("webhook-deliveries", delivery, "redeliver"), Delivery)
