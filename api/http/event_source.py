"""Where streams of events and the outlet read: pages of the events view, with their personal words."""

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
    """Both block, and raise EngineError."""

    def between(
        self, wanted: EventFilter, after: int, to: int | None, limit: int
    ) -> tuple[int, Stretch]:
        """A page behind an offset, up to another or to the view's end; how far that came.

        That is no further than the view is; it is `after` where the view is being made again.
        """

    def missed(self, wanted: EventFilter, offset: int) -> Mapping[str, Withheld]:
        """See `events.missed`."""


class EventSource(NamedTuple):
    """The events view of this process (see `Source`)."""

    views: Views
    personal: Personal
    check: Callable[[], object] = lambda: None
    """Raises where the view would tell of facts that the journal lacks."""

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
    """What a reader was told is withheld, and is no more: oldest first."""
    gone = [(stream, one) for stream, one in told.items() if now.get(stream) != one]
    return sorted(gone, key=lambda item: item[1].since)


def passed(now: Mapping[str, Withheld], wanted: EventFilter, offset: int) -> dict[str, Withheld]:
    """What a reader at `offset` misses, of what is withheld."""
    return {
        stream: one
        for stream, one in now.items()
        if one.since <= offset and wanted.tenant in {None, one.tenant} and wanted.concerns(stream)
    }
