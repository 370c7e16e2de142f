"""Event streams: one shared reader of the view, and an offset for each client.

The journal is the buffer. A stream stores only its offset; missed events are read from the view again,
so a slow reader costs no memory and loses no events.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from api.http.event_source import Source, passed, released
from api.http.problems import CODES
from api.http.stream_room import StreamRoom
from api.http.tokens import TokenInvalid
from engine.kernel.errors import EngineError
from engine.kernel.limits import (
    EVENT_STREAM_BEAT_S,
    EVENT_STREAM_CHECK_S,
    EVENT_STREAM_KEPT_MAX,
    EVENT_STREAM_KEPT_S,
    EVENT_STREAM_LOOK_S,
    EVENT_STREAM_PAGE,
    EVENT_STREAM_PAGE_FIRST,
    EVENT_STREAM_PIECE_BYTES,
)
from engine.kernel.rate import StreamQuotas
from projections.views.events import EventFilter, Happened, Stretch, Withheld

MEDIA: Final = "text/event-stream"
HEADERS: Final = {"Content-Type": MEDIA, "X-Accel-Buffering": "no"}
"""The second one asks proxies not to buffer."""
RETRY_MS: Final = 1_000
"""Reconnect delay of browsers."""
ENDS: Final = {
    "server_stopping": "this process ends; come back with Last-Event-ID",
    "too_slow": "nothing was taken for too long; come back with Last-Event-ID",
    "caught_up": "these were all, as asked for with follow=false",
    **{code: CODES[code].detail for code in ("invalid_token", "unavailable", "journal_went_back")},
}
"""Reasons of a stream's end, as in its last message."""
GONE: Final = "gone"
"""The same, without a client to notify."""


class Line(Protocol):
    """The output to a client."""

    @property
    def is_gone(self) -> bool:
        """Whether the client is gone."""

    async def send(self, words: bytes) -> None:
        """Raises TimeoutError for a client that takes no data, ConnectionError for one that is gone."""


Read = Callable[..., Awaitable[Any]]


class Kept(NamedTuple):
    """An event in memory, rendered, and since when."""

    event: Happened
    message: bytes
    since_s: float


class Stream:
    """One client's stream: complete up to `offset`, except for `withheld` resources.

    `until`: it ends once complete up to there, None: never. `may_go_on` raises TokenInvalid. `ended` is
    the reason to end, one of ENDS or GONE. `page` is the number of events read at once for it alone.
    """

    def __init__(
        self,
        wanted: EventFilter,
        offset: int,
        may_go_on: Callable[[], object],
        *,
        client: str = "",
        until: int | None = None,
    ) -> None:
        self.client = client
        self.wanted = wanted
        self.offset = offset
        self.may_go_on = may_go_on
        self.until = until
        self.withheld: Mapping[str, Withheld] = {}
        self.page = EVENT_STREAM_PAGE_FIRST
        self.news = asyncio.Event()
        self.ended: str | None = None

    def finish(self, code: str) -> None:
        """Requests its end."""
        self.ended = self.ended or code
        self.news.set()

    def lacks(self, withheld: Mapping[str, Withheld]) -> Mapping[str, Withheld]:
        """The withheld resources relevant to it."""
        return passed(withheld, self.wanted, self.offset)


class Streams:
    """All streams of a process, for its event loop; `watch` must run beside them.

    The `source` is read in a thread by `read`. The newest events, after `_start` up to `_end`, and the
    withheld resources then, are in memory, shared by all streams. A stream with a larger lag has its own
    pages read.
    """

    def __init__(self, read: Read, source: Source, quotas: StreamQuotas | None = None) -> None:
        self.room = StreamRoom(quotas)
        self._read, self._source = read, source
        self._open: dict[Stream, Line] = {}
        self._kept: list[Kept] = []
        self._start = self._end = 0
        self._withheld: Mapping[str, Withheld] = {}
        self._polling = asyncio.Lock()
        self._is_stopping = False
        self._placing: asyncio.Task[int] | None = None

    @property
    def count(self) -> int:
        """Number of open streams."""
        return len(self._open)

    async def place(self) -> int:
        """The view's offset, for a stream that begins with the next event.

        Concurrent callers share one poll. Raises EngineError.
        """
        if self._placing is None:
            self._placing = asyncio.create_task(self._find_place())
            self._placing.add_done_callback(self._placed)
        return await asyncio.shield(self._placing)

    def _placed(self, task: asyncio.Task[int]) -> None:
        self._placing = None
        if not task.cancelled():
            task.exception()  # raised where it is awaited, if it still is

    async def _find_place(self) -> int:
        reached, stretch = await self._between(NOTHING, 0, None)
        if not self._open:  # not polled while there were no streams
            self._kept.clear()
            self._start, self._end, self._withheld = reached, reached, stretch.withheld
        before = -1
        while before < self._end < reached:  # a view being rebuilt may stay behind
            before = self._end
            await self.look()
        return self._end

    async def run(self, stream: Stream, line: Line) -> None:
        """Sends the stream's events until it has to end, and the reason."""
        self._open[stream] = line
        if self._is_stopping:
            stream.finish("server_stopping")
        with self.room.taken(stream.client, stream.wanted.tenant or ""):
            await self._run(stream, line)

    async def _run(self, stream: Stream, line: Line) -> None:
        try:
            await line.send(b"retry: %d\n%b" % (RETRY_MS, place(stream.offset)))
            code = await self._flow(stream, line)
            if code in ENDS:
                await line.send(end(code, len(stream.withheld)))
        except TimeoutError:
            with suppress(TimeoutError, ConnectionError):
                await line.send(end("too_slow"))
        except ConnectionError:
            return
        finally:
            del self._open[stream]

    def stop(self) -> None:
        """Ends all streams, and refuses new ones."""
        self._is_stopping = True
        for stream in self._open:
            stream.finish("server_stopping")

    def begin_anew(self) -> None:
        """Ends all streams: events they have sent may have been lost."""
        for stream in self._open:
            stream.finish("journal_went_back")

    async def _flow(self, stream: Stream, line: Line) -> str:
        """Sends until there is a reason to end, which it returns."""
        is_quiet = False
        try:
            if stream.offset:
                stream.withheld = await self._read(self._source.missed, stream.wanted, stream.offset)
            while stream.ended is None:
                stream.news.clear()
                if stream.offset < self._end or stream.lacks(self._withheld) != stream.withheld:
                    async with aclosing(self._advance(stream)) as parts:
                        async for messages in parts:
                            is_quiet = False
                            await _send(line, messages)
                    continue
                if stream.until is not None and stream.offset >= stream.until:
                    return "caught_up"
                if is_quiet:
                    await line.send(place(stream.offset))
                is_quiet = not await _comes(stream.news)
        except EngineError:
            return "unavailable"
        return stream.ended

    async def _advance(self, stream: Stream) -> AsyncGenerator[list[bytes], None]:
        """Moves a stream by at most a page; yields its messages.

        Released events come before the page, which has the same resource's later ones.
        """
        before, to, withheld = stream.offset, self._end, self._withheld
        if before >= self._start:
            to, messages = self._from_memory(stream, to)
            async for part in self._told(stream, to, messages, withheld):
                yield part
            return
        async with self.room.page(stream.client, EVENT_STREAM_PIECE_BYTES) as resize:
            async with self.room.reading(stream.client):
                to, stretch = await self._between(stream.wanted, before, to, stream.page)
            if to == before:  # the view is being rebuilt, and will reach this offset
                await asyncio.sleep(EVENT_STREAM_LOOK_S)
                return
            messages = [message(event) for event in stretch.events]
            size = sum(map(len, messages))
            resize(size)
            stream.page = _next_page(stream.page, size)
            async for part in self._told(stream, to, messages, stretch.withheld):
                yield part

    async def _told(
        self, stream: Stream, to: int, messages: list[bytes], withheld: Mapping[str, Withheld]
    ) -> AsyncIterator[list[bytes]]:
        """A page up to `to`, after released events and before notices of withheld resources."""
        before = stream.offset
        for resource, one in released(stream.withheld, withheld):
            async for again in self._again(stream, resource, one, before):
                yield again
        stream.offset = to
        if messages:
            yield messages
        lacks = stream.lacks(withheld)
        new = [(name, one) for name, one in lacks.items() if stream.withheld.get(name) != one]
        stream.withheld = lacks
        if new:
            yield [notice("withheld", name, one.since) for name, one in new]

    def _from_memory(self, stream: Stream, to: int) -> tuple[int, list[bytes]]:
        first = bisect_right(self._kept, stream.offset, key=_offset_of)
        page = self._kept[first : first + EVENT_STREAM_PAGE]
        to = page[-1].event.offset if len(page) == EVENT_STREAM_PAGE else to
        return to, [kept.message for kept in page if stream.wanted.fits(kept.event)]

    async def _again(
        self, stream: Stream, resource: str, missed: Withheld, to: int
    ) -> AsyncIterator[list[bytes]]:
        """The events that a stream has passed while they were withheld. Its offset does not move: no
        `id`.
        """
        yield [notice("released", resource, missed.since)]
        wanted, at = stream.wanted._replace(stream=resource), missed.since - 1
        while at < to:
            before = at
            at, stretch = await self._between(wanted, at, to, EVENT_STREAM_PAGE)
            if at == before:
                await asyncio.sleep(EVENT_STREAM_LOOK_S)
            elif stretch.events:
                yield [data(event) for event in stretch.events]

    async def _between(
        self, wanted: EventFilter, after: int, to: int | None, limit: int = EVENT_STREAM_PAGE
    ) -> tuple[int, Stretch]:
        found: tuple[int, Stretch] = await self._read(self._source.between, wanted, after, to, limit)
        return found

    # --- the one reader ---------------------------------------------------------------------------

    async def watch(self) -> None:
        """Polls for new events and checks permissions, forever; idle without streams."""
        checked_s = monotonic()
        while True:
            await asyncio.sleep(EVENT_STREAM_LOOK_S)
            if self._open:
                with suppress(EngineError):  # while the view is unreadable, streams wait
                    await self.look()
            if monotonic() > checked_s + EVENT_STREAM_CHECK_S:
                checked_s = monotonic()
                self.check()

    async def look(self) -> None:
        """Reads a page of new events. Raises EngineError."""
        async with self._polling:  # two concurrent polls would read the same page
            end, stretch = await self._between(EventFilter(), self._end, None)
            if stretch.reached < self._end:
                return  # the view is being rebuilt, and will reach this offset
            now_s = monotonic()
            before, self._withheld = self._withheld, stretch.withheld
            self._kept += [Kept(event, message(event), now_s) for event in stretch.events]
            self._end = end
            if released(before, stretch.withheld):  # the events in memory lack theirs
                self._kept.clear()
                self._start = end
            self._forget(now_s)
        changed = before.items() ^ stretch.withheld.items()
        concerned = {event.tenant for event in stretch.events} | {one.tenant for _, one in changed}
        for stream in self._open:
            if stream.wanted.tenant in concerned:
                stream.news.set()

    def _forget(self, now_s: float) -> None:
        """Drops events beyond the bounds of number and age."""
        first = max(0, len(self._kept) - EVENT_STREAM_KEPT_MAX)
        first = max(first, bisect_right(self._kept, now_s - EVENT_STREAM_KEPT_S, key=_since))
        if first:
            self._start = self._kept[first - 1].event.offset
            del self._kept[:first]

    def check(self) -> None:
        """Ends streams whose token is invalid or whose client has gone."""
        for stream, line in self._open.items():
            if line.is_gone:
                stream.finish(GONE)
                continue
            try:
                stream.may_go_on()
            except TokenInvalid:
                stream.finish("invalid_token")


NOTHING: Final = EventFilter(names=("",))
"""A filter without events, which only reads the view's offset."""


async def _send(line: Line, messages: Sequence[bytes]) -> None:
    """Sends messages piece by piece, which bounds the data a client does not take."""
    piece, size = list[bytes](), 0
    for one in messages:
        if piece and size + len(one) > EVENT_STREAM_PIECE_BYTES:
            await line.send(b"".join(piece))
            piece, size = [], 0
        piece.append(one)
        size += len(one)
    await line.send(b"".join(piece))


def _next_page(page: int, size: int) -> int:
    """Number of events to read next for a single stream: about twice `EVENT_STREAM_PIECE_BYTES`."""
    if size > 2 * EVENT_STREAM_PIECE_BYTES:
        return max(1, page // 2)
    return min(EVENT_STREAM_PAGE, page * 2) if size < EVENT_STREAM_PIECE_BYTES else page


def place(offset: int) -> bytes:
    """The client's offset, for `Last-Event-ID`: not an event, as it has no data."""
    return b"id: %d\n\n" % offset


def message(event: Happened) -> bytes:
    """An event as a message; JSON has no line breaks."""
    return b"id: %d\ndata: %b\n\n" % (event.offset, event.body)


def data(event: Happened) -> bytes:
    """A late event, before the client's offset, which does not move."""
    return b"data: %b\n\n" % event.body


def notice(kind: str, resource: str, since_offset: int) -> bytes:
    """A notice that a resource's events from an offset on are withheld, or released: these come next."""
    words = msgspec.json.encode({"resource": resource, "since_offset": since_offset})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), words)


def end(code: str, withheld: int = 0) -> bytes:
    """The last message of a stream, which is incomplete if resources are `withheld`."""
    said: dict[str, object] = {"code": code, "detail": ENDS[code]}
    if withheld:
        said |= {"detail": f"{ENDS[code]}, except {withheld} withheld", "withheld": withheld}
    return b"event: end\ndata: %b\n\n" % msgspec.json.encode(said)


async def _comes(news: asyncio.Event) -> bool:
    """Waits for news; False if a heartbeat is due first."""
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
