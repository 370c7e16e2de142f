"""The role `outlet`: publishes each event to a message broker, for other systems.

The broker is never the record. The offset of published events is in the journal's database, saved after
the broker has acknowledged them; it recognises duplicates by the event's id. If it loses its data, set
the offset back: all events are sent again from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from api.http.event_source import Source, passed, released
from engine.followers.acting import BlockedOrders, CheckCancelled, SavedOffset
from engine.kernel.errors import Unavailable
from engine.kernel.limits import EVENT_STREAM_PAGE, OUTLET_POLL_S
from engine.kernel.process import OUTLET
from projections.views.events import EventFilter, Happened, Withheld

NAME: Final = OUTLET
_ALL: Final = EventFilter()


class BrokerMessage(NamedTuple):
    """An event to publish: `body` is the answer of `GET /events/{id}`."""

    id: str
    tenant: str
    name: str
    body: bytes


class Broker(Protocol):
    """The message broker interface."""

    def publish(self, messages: Sequence[BrokerMessage]) -> None:
        """Returns when all are stored, in this order; duplicates are stored once.

        Raises Unavailable: then any number of them may be stored.
        """

    def close(self) -> None:
        """Ends the connection."""


class EventPublishing:
    """The acting part of the follower (see `acting.Acting`).

    Events of all tenants are published in the journal's order. Those of a withheld resource are
    published when it is released, before newer ones.
    """

    def __init__(self, broker: Broker, source: Source, place: SavedOffset) -> None:
        self.faults = BlockedOrders(NAME)
        self._broker = broker
        self._source = source
        self._place = place
        self._withheld: Mapping[str, Withheld] | None = None

    @property
    def offset(self) -> int:
        """All events up to here are published."""
        return self._place.offset

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Publishes a page. Raises Unavailable while the broker cannot be reached."""
        check_cancelled()
        if self._withheld is None:
            self._withheld = self._source.missed(_ALL, self.offset)
        to, stretch = self._source.between(_ALL, self.offset, None, EVENT_STREAM_PAGE)
        if stretch.reached < self.offset:  # the view is being rebuilt
            return OUTLET_POLL_S
        for resource, one in released(self._withheld, stretch.withheld):
            self._publish_again(resource, one, check_cancelled)
        self._publish(stretch.events)
        if to > self.offset:
            self._place.offset = to
        self._withheld = passed(stretch.withheld, _ALL, to)
        rest_s = self._place.save_if_due()
        return 0.0 if stretch.events else min(rest_s, OUTLET_POLL_S)

    def _publish_again(self, resource: str, missed: Withheld, check_cancelled: CheckCancelled) -> None:
        """Publishes events passed while withheld. Raises Unavailable if the view is being rebuilt."""
        wanted, at = EventFilter(missed.tenant, stream=resource), missed.since - 1
        while at < self.offset:
            check_cancelled()
            before = at
            at, stretch = self._source.between(wanted, at, self.offset, EVENT_STREAM_PAGE)
            if at == before:
                raise Unavailable("the view of events is being rebuilt")
            self._publish(stretch.events)

    def _publish(self, events: Sequence[Happened]) -> None:
        if events:
            self._broker.publish(
                [BrokerMessage(one.id, one.tenant, one.name, one.body) for one in events]
            )

    def finish(self) -> None:
        """Saves its offset: a new holder repeats the events after it."""
        self._place.save()
