"""Streams of events: one reader of the view for all of them, and for each client its own place in it.

The journal is the buffer. A stream remembers only how far it has come; what it has missed is read from
the view again, so a slow reader costs no memory and loses nothing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from api.problems import CODES, Problem
from api.tokens import TokenInvalid
from engine.errors import EngineError
from engine.limits import (
    EVENT_STREAM_BEAT_S,
    EVENT_STREAM_CHECK_S,
    EVENT_STREAM_KEPT_MAX,
    EVENT_STREAM_KEPT_S,
    EVENT_STREAM_LOOK_S,
    EVENT_STREAM_PAGE,
    EVENT_STREAMS_MAX,
)
from engine.personal import WORDS, Personal
from projections.database import Views
from projections.resources import filled
from projections.views import events
from projections.views.events import Happened, Stretch, Wanted

MEDIA: Final = "text/event-stream"
HEADERS: Final = {"Content-Type": MEDIA, "X-Accel-Buffering": "no"}
"""The second one asks proxies to pass on at once what they are given."""
RETRY_MS: Final = 1_000
"""After which a browser that has lost its connection comes back."""
ENDS: Final = {
    "server_stopping": "this process ends; come back with Last-Event-ID",
    "too_slow": "nothing was taken for too long; come back with Last-Event-ID",
    "caught_up": "these were all, as asked for with follow=false",
    **{code: CODES[code].detail for code in ("invalid_token", "view_quarantined", "unavailable")},
}
"""Why a stream ends, as its last message says."""
GONE: Final = "gone"
"""The same, where nobody is left to be told."""


class Line(Protocol):
    """The way to a client."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody is at the other end."""

    async def send(self, words: bytes) -> None:
        """Raises TimeoutError for a client that takes nothing, ConnectionError for one that is gone."""


Read = Callable[..., Awaitable[Any]]
Between = Callable[[Wanted, int, int | None], tuple[int, Stretch]]
"""What is wanted behind an offset, up to another or to the view's end: how far that came, and a page of
it with its personal words; blocks. Raises EngineError."""


class Kept(NamedTuple):
    """An event in memory, ready to be sent, and since when it is there."""

    event: Happened
    message: bytes
    since_s: float


class Stream:
    """One client's place: it knows all that it wanted up to `offset`.

    `may_go_on` raises TokenInvalid. `ended` is why it is to end, one of ENDS or GONE.
    """

    def __init__(
        self,
        wanted: Wanted,
        offset: int,
        may_go_on: Callable[[], object],
        *,
        is_following: bool = True,
    ) -> None:
        self.wanted = wanted
        self.offset = offset
        self.may_go_on = may_go_on
        self.is_following = is_following
        self.news = asyncio.Event()
        self.ended: str | None = None

    def finish(self, code: str) -> None:
        """Has it end with what it has."""
        self.ended = self.ended or code
        self.news.set()


class Streams:
    """All streams of a process, for its event loop; `watch` must run beside them.

    `between` asks the view, in a thread by `read`. In memory are the newest events, those behind
    `_start` up to `_end`, where all streams take them from; who is further behind asks the view.
    """

    def __init__(self, read: Read, between: Between) -> None:
        self._read, self._between = read, between
        self._open: dict[Stream, Line] = {}
        self._kept: list[Kept] = []
        self._start = self._end = 0
        self._blocked: Mapping[str, int] = {}
        self._looking = asyncio.Lock()
        self._is_stopping = False

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    async def place(self) -> int:
        """Where the view ends: the place of a stream that begins with what comes next.

        Raises Problem `rate_limited` where no more streams can be opened, EngineError.
        """
        if len(self._open) >= EVENT_STREAMS_MAX:
            raise Problem("rate_limited", "too many streams are open")
        reached, stretch = await self._read(self._between, NOTHING, 0, None)
        if not self._open:  # nobody has looked for a while
            self._kept.clear()
            self._start, self._end, self._blocked = reached, reached, stretch.blocked
        before = -1
        while before < self._end < reached:  # a view that is being made again may stay behind
            before = self._end
            await self.look()
        return self._end

    async def run(self, stream: Stream, line: Line) -> None:
        """Sends what the stream wants until it has to end, and says why it does."""
        self._open[stream] = line
        if self._is_stopping:
            stream.finish("server_stopping")
        try:
            await line.send(b"retry: %d\n%b" % (RETRY_MS, place(stream.offset)))
            code = await self._flow(stream, line)
            if code in ENDS:
                await line.send(end(code))
        except TimeoutError:
            with suppress(TimeoutError, ConnectionError):
                await line.send(end("too_slow"))
        except ConnectionError:
            return
        finally:
            del self._open[stream]

    def stop(self) -> None:
        """Ends all that are open, and every one that comes."""
        self._is_stopping = True
        for stream in self._open:
            stream.finish("server_stopping")

    async def _flow(self, stream: Stream, line: Line) -> str:
        """Sends until there is a reason to end, which it returns."""
        is_quiet = False
        while stream.ended is None:
            stream.news.clear()
            blocked = self._blocked.get(stream.wanted.tenant or "", self._end + 1)
            whole_to = min(self._end, blocked - 1)
            if stream.offset < whole_to:
                try:
                    messages = await self._advance(stream, whole_to)
                except EngineError:
                    return "unavailable"
                if messages:
                    await line.send(b"".join(messages))
                    is_quiet = False
                continue
            if blocked <= self._end:
                return "view_quarantined"
            if not stream.is_following:
                return "caught_up"
            if is_quiet:
                await line.send(place(stream.offset))
            is_quiet = not await _comes(stream.news)
        return stream.ended

    async def _advance(self, stream: Stream, to: int) -> list[bytes]:
        """Moves a stream by at most a page towards `to`; the messages that it passes."""
        if stream.offset < self._start:
            stream.offset, stretch = await self._read(self._between, stream.wanted, stream.offset, to)
            return [message(event) for event in stretch.events]
        first = bisect_right(self._kept, stream.offset, key=_offset_of)
        page = self._kept[first : first + EVENT_STREAM_PAGE]
        is_full = len(page) == EVENT_STREAM_PAGE
        stream.offset = to = min(to, page[-1].event.offset) if is_full else to
        return [
            kept.message for kept in page if kept.event.offset <= to and stream.wanted.fits(kept.event)
        ]

    # --- the one reader ---------------------------------------------------------------------------

    async def watch(self) -> None:
        """Looks for new events, and at who may go on, for ever; at rest while nobody listens."""
        checked_s = monotonic()
        while True:
            await asyncio.sleep(EVENT_STREAM_LOOK_S)
            if self._open:
                with suppress(EngineError):  # while the view cannot be read, streams wait
                    await self.look()
            if monotonic() > checked_s + EVENT_STREAM_CHECK_S:
                checked_s = monotonic()
                self.check()

    async def look(self) -> None:
        """Takes over a page of what is new. Raises EngineError."""
        async with self._looking:  # two at once would take the same twice
            end, stretch = await self._read(self._between, Wanted(), self._end, None)
            if end < self._end:
                return  # the view is being made again, and will come by here
            now_s = monotonic()
            self._kept += [Kept(event, message(event), now_s) for event in stretch.events]
            self._end, self._blocked = end, stretch.blocked
            self._forget(now_s)
        concerned = {event.tenant for event in stretch.events} | stretch.blocked.keys()
        for stream in self._open:
            if stream.wanted.tenant in concerned:
                stream.news.set()

    def _forget(self, now_s: float) -> None:
        """Drops what is too much, or too old."""
        first = max(0, len(self._kept) - EVENT_STREAM_KEPT_MAX)
        first = max(first, bisect_right(self._kept, now_s - EVENT_STREAM_KEPT_S, key=_since))
        if first:
            self._start = self._kept[first - 1].event.offset
            del self._kept[:first]

    def check(self) -> None:
        """Ends those whose token is not good any more, or whose client has gone."""
        for stream, line in self._open.items():
            if line.is_gone:
                stream.finish(GONE)
                continue
            try:
                stream.may_go_on()
            except TokenInvalid:
                stream.finish("invalid_token")


def between(
    views: Views, personal: Personal, wanted: Wanted, after: int, to: int | None
) -> tuple[int, Stretch]:
    """See `Between`."""
    end = views.offset("events") if to is None else to
    stretch = events.between(views, wanted, after, end, EVENT_STREAM_PAGE)
    words = personal.words(sorted({event.resource for event in stretch.events}))
    found = [
        event._replace(body=filled(event.body, WORDS, words.get(event.resource, {})))
        for event in stretch.events
    ]
    is_full = len(found) == EVENT_STREAM_PAGE
    return found[-1].offset if is_full else end, stretch._replace(events=found)


NOTHING: Final = Wanted(names=("",))
"""Asks only where the view stands."""


def place(offset: int) -> bytes:
    """Tells a client where it is, so that it can come back to here: no event, as it has no data."""
    return b"id: %d\n\n" % offset


def message(event: Happened) -> bytes:
    """An event on its way; JSON has no line breaks."""
    return b"id: %d\ndata: %b\n\n" % (event.offset, event.body)


def end(code: str) -> bytes:
    """The last message of a stream."""
    words = msgspec.json.encode({"code": code, "detail": ENDS[code]})
    return b"event: end\ndata: %b\n\n" % words


async def _comes(news: asyncio.Event) -> bool:
    """Whether something happens before it is time to say that nothing does."""
    try:
        async with asyncio.timeout(EVENT_STREAM_BEAT_S):
            await news.wait()
    except TimeoutError:
        return False
    return True


def _offset_of(kept: Kept) -> int:
    return kept.event.offset


def _since(kept: Kept) -> float:
    return kept.since_s
