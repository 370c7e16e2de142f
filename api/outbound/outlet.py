"""What the role `outlet` does: publishes each event to a message broker, for other systems.

The broker is never the record. How far it has been given events is an offset in the journal's database,
saved after the broker has said that it keeps them; what is sent twice it knows by the event's id. Should
it lose everything, the offset is put back and all is sent again from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from api.http.event_source import Source, passed, released
from engine.followers.acting import BlockedOrders, CheckCancelled, SavedOffset
from engine.kernel.errors import Unavailable
from engine.kernel.limits import EVENT_STREAM_PAGE, OUTLET_POLL_S
from engine.kernel.process import OUTLET
from projections.views.events import Happened, Wanted, Withheld

NAME: Final = OUTLET
_ALL: Final = Wanted()


class Message(NamedTuple):
    """An event as it is published: `body` is what `GET /events/{id}` answers."""

    id: str
    tenant: str
    name: str
    body: bytes


class Broker(Protocol):
    """Where events are published."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all are kept, in this order; what it has already it keeps once.

        Raises Unavailable: then any number of them may be kept.
        """

    def close(self) -> None:
        """Ends the connection."""


class Publishing:
    """The acting part of the follower (see `acting.Acting`).

    Events are published in the order of the journal, whosever they are. Those of a resource that the
    view withholds are published when it is released, before anything newer.
    """

    def __init__(self, broker: Broker, source: Source, place: SavedOffset) -> None:
        self.faults = BlockedOrders(NAME)
        self._broker = broker
        self._source = source
        self._place = place
        self._withheld: Mapping[str, Withheld] | None = None

    @property
    def offset(self) -> int:
        """All events up to here are with the broker."""
        return self._place.offset

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Publishes a page. Raises Unavailable while the broker cannot be reached."""
        check_cancelled()
        if self._withheld is None:
            self._withheld = self._source.missed(_ALL, self.offset)
        to, stretch = self._source.between(_ALL, self.offset, None, EVENT_STREAM_PAGE)
        if stretch.reached < self.offset:  # the view is being made again
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
        """What was passed while it was withheld. Raises Unavailable if the view is made again."""
        wanted, at = Wanted(missed.tenant, stream=resource), missed.since - 1
        while at < self.offset:
            check_cancelled()
            before = at
            at, stretch = self._source.between(wanted, at, self.offset, EVENT_STREAM_PAGE)
            if at == before:
                raise Unavailable("the view of events is being made again")
            self._publish(stretch.events)

    def _publish(self, events: Sequence[Happened]) -> None:
        if events:
            self._broker.publish([Message(one.id, one.tenant, one.name, one.body) for one in events])

    def finish(self) -> None:
        """Saves its place: a new holder sends again what comes behind it."""
        self._place.save()
