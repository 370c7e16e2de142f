"""Events, as a list and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from order_engine_client.events import Event
from order_engine_client.operations import Listing, Operation
from order_engine_client.streams import Following
from order_engine_client.values import (
    path,
    query,
)


def _events(name: Sequence[str], resource: str | None, created_from: datetime | None) -> dict[str, Any]:
    """Which events are asked for."""
    names = (name,) if isinstance(name, str) else name
    return {"name": names, "resource[id]": resource, "created[gte]": created_from}


def events(
    *,
    name: Sequence[str] = (),
    resource: str | None = None,
    created_from: datetime | None = None,
    page_size: int | None = None,
) -> Listing[Event]:
    """Events of the tenant's resources, or of one of them."""
    words = _events(name, resource, created_from)
    return Listing(path("events"), Event, query({**words, "limit": page_size}))


def follow_events(
    *,
    after: int | None = None,
    name: Sequence[str] = (),
    resource: str | None = None,
    created_from: datetime | None = None,
    waits: bool = True,
) -> Following:
    """Events as they come, each once and in order, without end; those after offset `after` first.

    A broken stream is resumed. To resume in another process, note the `offset` of the last event
    processed. With `waits=False` it ends at the newest event.
    """
    words = _events(name, resource, created_from)
    words |= {"after": after, "follow": None if waits else False}
    return Following(Operation("GET", path("events", "stream"), object, query(words)))


def event(event: str) -> Operation[Event]:
    """One event."""
    return Operation("GET", path("events", event), Event)
