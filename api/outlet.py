"""What the role `outlet` does: publishes each event to a message broker, for other systems.

The broker is never the record. How far it has been given events is an offset in the journal's database,
saved after the broker has said that it keeps them; what is sent twice it knows by the event's id. Should
it lose everything, the offset is put back and all is sent again from the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from api.streams import Between
from engine.acting import Breathe, Faults, Place
from engine.errors import ViewQuarantined
from engine.limits import OUTLET_LOOK_S
from engine.supervise import OUTLET
from projections.views.events import Wanted

NAME: Final = OUTLET


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

    Events are published in the order of the journal, whosever they are. One that the view cannot show
    therefore holds up all that follow, until an operator has looked: see `faults`.
    """

    def __init__(self, broker: Broker, between: Between, place: Place) -> None:
        self.faults = Faults(NAME)
        self._broker = broker
        self._between = between
        self._place = place

    @property
    def offset(self) -> int:
        """All events up to here are with the broker."""
        return self._place.offset

    def turn(self, breathe: Breathe) -> float:
        """Publishes a page. Raises Unavailable while the broker cannot be reached."""
        breathe()
        reached, stretch = self._between(Wanted(), self.offset, None)
        bad_offset = min(stretch.blocked.values(), default=reached + 1)
        messages = [
            Message(event.id, event.tenant, event.name, event.body)
            for event in stretch.events
            if event.offset < bad_offset
        ]
        if messages:
            self._broker.publish(messages)
        to = min(reached, bad_offset - 1)
        if to > self.offset:
            self._place.offset = to
        self._show(bad_offset if bad_offset <= reached else None)
        rest_s = self._place.save_if_due()
        return 0.0 if messages else min(rest_s, OUTLET_LOOK_S)

    def finish(self) -> None:
        """Saves its place: a new holder sends again what comes behind it."""
        self._place.save()

    def _show(self, bad_offset: int | None) -> None:
        if bad_offset is None:
            self.faults.clear("events")
        else:
            error = ViewQuarantined("all wait", view="events", stream="", offset=bad_offset)
            self.faults.show("events", error)
