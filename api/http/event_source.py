"""Pages of the events view with personal words, for event streams and the outlet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from engine.kernel.limits import EVENT_STREAM_PAGE
from engine.registers.personal import WORDS, Personal
from projections.database import Views
from projections.resources import filled
from projections.views import events
from projections.views.events import EventFilter, Stretch, Withheld


class Source(Protocol):
    """The interface of event sources. Both methods block, and raise EngineError."""

    def between(
        self, wanted: EventFilter, after: int, to: int | None, limit: int
    ) -> tuple[int, Stretch]:
        """A page after an offset, up to another or to the view's offset; returns the offset reached.

        That is at most the view's offset; it is `after` while the view is being rebuilt.
        """

    def missed(self, wanted: EventFilter, offset: int) -> Mapping[str, Withheld]:
        """See `events.missed`."""


class EventSource(NamedTuple):
    """The events view of this process (see `Source`)."""

    views: Views
    personal: Personal
    check: Callable[[], object] = lambda: None
    """Raises if the view would show facts missing in the journal."""

    def between(
        self, wanted: EventFilter, after: int, to: int | None, limit: int = EVENT_STREAM_PAGE
    ) -> tuple[int, Stretch]:
        self.check()
        stretch = events.between(self.views, wanted, after, to, limit)
        words = self.personal.words(sorted({event.resource for event in stretch.events}))
        found = [
            event._replace(body=filled(event.body, WORDS, words.get(event.resource, {})))
            for event in stretch.events
        ]
        end = stretch.reached if to is None else min(to, stretch.reached)
        is_full = len(found) == limit
        return found[-1].offset if is_full else max(after, end), stretch._replace(events=found)

    def missed(self, wanted: EventFilter, offset: int) -> Mapping[str, Withheld]:
        return events.missed(self.views, wanted, offset)


def released(told: Mapping[str, Withheld], now: Mapping[str, Withheld]) -> list[tuple[str, Withheld]]:
    """Streams a reader knows as withheld and that are released now: oldest first."""
    gone = [(stream, one) for stream, one in told.items() if now.get(stream) != one]
    return sorted(gone, key=lambda item: item[1].since)


def passed(now: Mapping[str, Withheld], wanted: EventFilter, offset: int) -> dict[str, Withheld]:
    """Withheld streams relevant to a reader at `offset`."""
    return {
        stream: one
        for stream, one in now.items()
        if one.since <= offset and wanted.tenant in {None, one.tenant} and wanted.concerns(stream)
    }
