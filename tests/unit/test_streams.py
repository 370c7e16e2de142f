"""Streams of events over a view that is a list: who is sent what, from where, and why it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.http import streams
from api.http.problems import Problem
from api.http.stream_room import StreamRoom
from api.http.streams import Stream, Streams
from api.http.tokens import TokenInvalid
from engine.kernel.errors import Unavailable
from engine.kernel.rate import StreamQuotas
from projections.views.events import EventFilter, Happened, Stretch, Withheld

PAGE = 3


class World:
    """A view of events at the offsets 1, 2, 3 ...; the streams over it, looked after by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "EVENT_STREAM_PAGE", PAGE)
        monkeypatch.setattr(streams, "EVENT_STREAM_PAGE_FIRST", PAGE)
        monkeypatch.setattr(streams, "EVENT_STREAM_BEAT_S", 0.05)
        self.events: list[Happened] = []
        self.withheld: dict[str, Withheld] = {}
        self.released: list[tuple[str, Withheld, int]] = []
        self.end = 0
        self.fault: Exception | None = None
        self.pages: list[tuple[int, int | None]] = []
        self.streams = Streams(self._read, self)

    def add(self, tenant: str = "acme", name: str = "order.placed", resource: str = "ord_1") -> None:
        self.end += 1
        body = b'{"n":%d}' % self.end
        at_us = self.end * 1_000
        event = Happened(self.end, f"evt_{self.end}", tenant, name, resource, at_us, body)
        self.events.append(event)

    def withhold(self, resource: str, since: int, tenant: str = "acme") -> None:
        """From there on its events are not shown."""
        self.withheld[resource] = Withheld(tenant, since)

    def release(self, resource: str) -> None:
        self.released.append((resource, self.withheld.pop(resource), self.end))

    def _is_shown(self, event: Happened) -> bool:
        bad = self.withheld.get(event.resource)
        return bad is None or event.offset < bad.since

    def missed(self, wanted: EventFilter, offset: int) -> dict[str, Withheld]:
        """See `event_source.Source`."""
        return {name: one for name, one, at in self.released
                if wanted.tenant in {None, one.tenant} and one.since <= offset <= at}  # fmt: skip

    def between(
        self, wanted: EventFilter, after: int, to: int | None, limit: int
    ) -> tuple[int, Stretch]:
        """See `event_source.Source`."""
        if self.fault is not None:
            raise self.fault
        if wanted.tenant is not None:
            self.pages.append((after, to))
        end = self.end if to is None else to
        found = [
            event
            for event in self.events
            if after < event.offset <= end
            and (wanted.tenant is None or wanted.fits(event))
            and wanted.names != ("",)
            and wanted.stream in {None, event.resource}
            and self._is_shown(event)
        ][:limit]
        withheld = {
            name: one for name, one in self.withheld.items() if wanted.tenant in {None, one.tenant}
        }
        is_full = len(found) == limit
        return found[-1].offset if is_full else end, Stretch(found, withheld, self.end)

    async def _read(self, work: Callable[..., Any], *words: Any) -> Any:
        found = work(*words)
        await asyncio.sleep(0)  # as in a thread: others go on meanwhile
        return found


class Wire:
    """A client: what it was sent, as lines of `offset` or `+offset` for an event."""

    def __init__(self, *, takes: int | None = None) -> None:
        self.words = b""
        self.is_gone = False
        self._takes = takes

    async def send(self, words: bytes) -> None:
        await asyncio.sleep(0)
        if self.is_gone:
            raise ConnectionResetError
        if self._takes is not None and b"event: end" not in words:
            self._takes -= 1
            if self._takes < 0:
                raise TimeoutError
        self.words += words

    @property
    def said(self) -> list[str]:
        found = []
        for block in self.words.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
            if lines.get("event") == "end":
                found.append(lines["data"].split('"')[3])
            elif "event" in lines:
                _, resource, since = lines["data"].replace("}", "").split(":")
                found.append(f"{lines['event']} {resource.split(chr(34))[1]} {since}")
            elif "data" in lines and "id" not in lines:
                found.append(f"late {lines['data']}")
            elif "data" in lines:
                found.append(f"+{lines['id']}")
            elif "id" in lines:
                found.append(lines["id"])
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not said():
            await asyncio.sleep(0)


def stream(after: int, *, follow: bool = True, **wanted: Any) -> Stream:
    return Stream(EventFilter("acme", **wanted), after, lambda: None, until=None if follow else 0)


def running(context: Awaitable[None]) -> None:
    asyncio.run(context)  # type: ignore[arg-type]


def test_from_a_place_on_all_come_once_in_order_and_then_what_comes(world: World) -> None:
    async def context() -> None:
        for _ in range(10):
            world.add()
        await world.streams.place()
        wire = Wire()
        task = asyncio.create_task(world.streams.run(stream(2), wire))
        await until(lambda: "+10" in wire.said)
        for _ in range(5):
            world.add()
            await world.streams.look()
        await until(lambda: "+15" in wire.said)
        world.streams.stop()
        await task
        numbers = [one for one in wire.said if one.startswith("+")]
        assert numbers == [f"+{n}" for n in range(3, 16)]
        assert wire.said[0] == "2"
        assert wire.said[-1] == "server_stopping"
        assert [after for after, _ in world.pages] == [2, 5, 8]  # the new ones came from memory

    running(context())


def test_only_what_is_wanted_and_of_the_tenant(world: World) -> None:
    async def context() -> None:
        await world.streams.place()
        wires = {
            "all": (Wire(), {}),
            "filled": (Wire(), {"names": ("order.filled",)}),
            "one": (Wire(), {"resource": "ord_2"}),
            "late": (Wire(), {"created_from_us": 4_000}),
        }
        tasks = [
            asyncio.create_task(world.streams.run(stream(0, **wanted), wire))
            for wire, wanted in wires.values()
        ]
        await asyncio.sleep(0)
        world.add()
        world.add("rival")
        world.add(name="order.filled")
        world.add(resource="ord_2")
        await world.streams.look()
        await world.streams.look()
        await until(lambda: all(wire.said[-1:] in (["+4"], ["4"]) for wire, _ in wires.values()))
        world.streams.stop()
        await asyncio.gather(*tasks)
        events = {name: [one for one in wire.said if "+" in one] for name, (wire, _) in wires.items()}
        assert events == {"all": ["+1", "+3", "+4"], "filled": ["+3"], "one": ["+4"], "late": ["+4"]}

    running(context())


def test_a_quiet_stream_says_where_it_is(world: World) -> None:
    async def context() -> None:
        await world.streams.place()
        wire = Wire()
        task = asyncio.create_task(world.streams.run(stream(0, names=("order.filled",)), wire))
        await asyncio.sleep(0)
        world.add()
        await world.streams.look()
        await until(lambda: wire.said == ["0", "1"])
        wire.is_gone = True
        world.streams.check()
        await task
        assert world.streams.count == 0

    running(context())


# --- what is withheld -----------------------------------------------------------------------------

RESOURCES = ("ord_1", "ord_2", "ord_bad", "ord_1", "ord_bad", "ord_2", "ord_bad")


def events_of(wire: Wire) -> list[str]:
    """All but places."""
    return [one for one in wire.said if not one.isdigit()]


@pytest.mark.parametrize("after", [0, 2, 4, 7])
def test_one_resource_is_withheld_and_the_others_notice_nothing(world: World, after: int) -> None:
    async def context() -> None:
        await world.streams.place()
        rival = Wire()
        theirs = asyncio.create_task(
            world.streams.run(Stream(EventFilter("rival"), 0, lambda: None), rival)
        )
        await asyncio.sleep(0)
        for resource in RESOURCES:
            world.add(resource=resource)
        world.withhold("ord_bad", 3)
        world.add("rival")
        for _ in range(4):
            await world.streams.look()
        wire = Wire()
        task = asyncio.create_task(world.streams.run(stream(after), wire))
        flowing = [n for n, resource in enumerate(RESOURCES, 1) if resource != "ord_bad" and n > after]
        await until(lambda: len(events_of(wire)) == len(flowing) + 1)
        assert [one for one in events_of(wire) if one[0] == "+"] == [f"+{n}" for n in flowing]
        assert "withheld ord_bad 3" in events_of(wire)

        world.release("ord_bad")
        world.add(resource="ord_bad")
        await world.streams.look()
        await until(lambda: "+9" in wire.said)
        late = [f'late {{"n":{n}}}' for n in (3, 5, 7) if n <= max(after, 7)]
        assert events_of(wire)[len(flowing) + 1 :] == ["released ord_bad 3", *late, "+9"]
        world.streams.stop()
        await asyncio.gather(task, theirs)
        assert events_of(rival) == ["+8", "server_stopping"]

    running(context())


def test_who_was_away_is_sent_what_was_released_meanwhile(world: World) -> None:
    async def context() -> None:
        for resource in RESOURCES:
            world.add(resource=resource)
        world.withhold("ord_bad", 3)
        await world.streams.place()
        wire = Wire()
        await world.streams.run(stream(0, follow=False), wire)
        assert events_of(wire) == ["+1", "+2", "+4", "withheld ord_bad 3", "+6", "caught_up"]
        assert b'"withheld":1' in wire.words, "these were not all"
        world.release("ord_bad")
        world.add()
        await world.streams.place()
        again = Wire()
        await world.streams.run(stream(6, follow=False), again)
        late = ['late {"n":3}', 'late {"n":5}']
        assert events_of(again) == ["released ord_bad 3", *late, "+7", "+8", "caught_up"]
        assert b'"withheld"' not in again.words
        beyond = Wire()
        await world.streams.run(stream(8, follow=False), beyond)
        assert events_of(beyond) == ["caught_up"], "it came by while all was shown"

    running(context())


def test_a_page_read_before_the_release_lacks_nothing_after_it(world: World) -> None:
    """What is in memory was read while the resource was withheld: it is not used any more."""

    async def context() -> None:
        await world.streams.place()
        held = asyncio.create_task(world.streams.run(stream(0), Wire()))  # keeps the reader at work
        await asyncio.sleep(0)
        for resource in RESOURCES:
            world.add(resource=resource)
        world.withhold("ord_bad", 3)
        for _ in range(3):
            await world.streams.look()
        world.release("ord_bad")
        await world.streams.look()
        wire = Wire()
        await world.streams.run(stream(0, follow=False), wire)
        assert events_of(wire) == [*(f"+{n}" for n in range(1, 8)), "caught_up"]
        world.streams.stop()
        await held

    running(context())


def test_a_stream_of_one_resource_hears_of_no_other(world: World) -> None:
    async def context() -> None:
        for resource in RESOURCES:
            world.add(resource=resource)
        world.withhold("ord_bad", 3)
        await world.streams.place()
        for resource, expected in {
            "ord_1": ["+1", "+4", "caught_up"],
            "ord_bad": ["withheld ord_bad 3", "caught_up"],
            "trd_1": ["withheld ord_bad 3", "caught_up"],  # a trade of which order is not known
            "pos_1": ["caught_up"],
        }.items():
            wire = Wire()
            await world.streams.run(stream(0, follow=False, resource=resource), wire)
            assert events_of(wire) == expected, resource

    running(context())


def test_who_takes_nothing_is_told_why_and_goes(world: World) -> None:
    async def context() -> None:
        for _ in range(10):
            world.add()
        await world.streams.place()
        wire = Wire(takes=3)
        await world.streams.run(stream(0), wire)
        assert wire.said == ["0", *(f"+{n}" for n in range(1, 7)), "too_slow"]
        rest = Wire()
        await world.streams.run(stream(6, follow=False), rest)
        assert rest.said == ["6", "+7", "+8", "+9", "+10", "caught_up"]

    running(context())


def test_a_token_that_is_not_good_any_more_ends_its_stream(world: World) -> None:
    async def context() -> None:
        await world.streams.place()
        wire, is_good = Wire(), [True]

        def may_go_on() -> None:
            if not is_good[0]:
                raise TokenInvalid("revoked")

        task = asyncio.create_task(world.streams.run(Stream(EventFilter("acme"), 0, may_go_on), wire))
        await until(lambda: wire.said == ["0"])
        world.streams.check()
        is_good[0] = False
        world.streams.check()
        await task
        assert wire.said == ["0", "invalid_token"]

    running(context())


def test_while_the_view_cannot_be_read_streams_wait_and_those_behind_end(world: World) -> None:
    async def context() -> None:
        for _ in range(10):
            world.add()
        await world.streams.place()
        current, behind = Wire(), Wire()
        task = asyncio.create_task(world.streams.run(stream(10), current))
        await asyncio.sleep(0)
        world.fault = Unavailable("gone")
        await world.streams.run(stream(0), behind)
        assert behind.said == ["0", "unavailable"]
        world.fault = None
        world.add()
        await world.streams.look()
        await until(lambda: "+11" in current.said)
        world.streams.stop()
        await task

    running(context())


def test_memory_is_bounded_by_number_and_by_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(streams, "monotonic", lambda: now[0])
    monkeypatch.setattr(streams, "EVENT_STREAM_KEPT_MAX", 4)

    async def context() -> None:
        await world.streams.place()
        wire = Wire()
        task = asyncio.create_task(world.streams.run(stream(0), wire))
        await asyncio.sleep(0)
        for _ in range(8):
            world.add()
        for _ in range(3):
            await world.streams.look()
        assert len(world.streams._kept) == 4
        now[0] += streams.EVENT_STREAM_KEPT_S + 1
        await world.streams.look()
        assert not world.streams._kept
        await until(lambda: "+8" in wire.said)
        assert [one for one in wire.said if "+" in one] == [f"+{n}" for n in range(1, 9)]
        world.streams.stop()
        await task

    running(context())


def test_who_comes_while_others_listen_is_told_all_there_is(world: World) -> None:
    """What the view has is not yet what the others have been given."""

    async def context() -> None:
        await world.streams.place()
        task = asyncio.create_task(world.streams.run(stream(0), Wire()))
        await asyncio.sleep(0)
        for _ in range(7):
            world.add()
        assert await world.streams.place() == 7
        wire = Wire()
        await world.streams.run(stream(0, follow=False), wire)
        assert wire.said == ["0", *(f"+{n}" for n in range(1, 8)), "caught_up"]
        world.streams.stop()
        await task

    running(context())


def test_two_who_look_at_once_take_nothing_twice(world: World) -> None:
    async def context() -> None:
        await world.streams.place()
        wire = Wire()
        task = asyncio.create_task(world.streams.run(stream(0), wire))
        await asyncio.sleep(0)
        for _ in range(2):
            world.add()
        await asyncio.gather(*(world.streams.look() for _ in range(5)))
        await until(lambda: "+2" in wire.said)
        assert wire.said == ["0", "+1", "+2"]
        world.streams.stop()
        await task

    running(context())


def test_each_client_and_tenant_has_its_share(world: World) -> None:
    room = world.streams.room
    room.quotas = StreamQuotas(client=2, tenant=3, total=5)

    def refused(client: str, tenant: str) -> str:
        with pytest.raises(Problem) as raised:
            room.check(client, tenant)
        assert raised.value.code == "rate_limited"
        assert int(raised.value.headers["Retry-After"]) > 1
        assert f"This {raised.value.context['owner']} has " in raised.value.detail  # type: ignore[index]
        return str(raised.value.context["owner"])  # type: ignore[index]

    async def context() -> None:
        await world.streams.place()
        tasks = []

        async def opened(client: str, tenant: str) -> None:
            room.check(client, tenant)
            one = Stream(EventFilter(tenant), 0, lambda: None, client=client)
            tasks.append(asyncio.create_task(world.streams.run(one, Wire())))
            await asyncio.sleep(0)

        await opened("one", "acme")
        await opened("one", "acme")
        assert refused("one", "acme") == "client"
        await opened("two", "acme")
        assert refused("two", "acme") == "tenant"
        await opened("three", "rival")
        await opened("three", "rival")
        assert refused("four", "third") == "process"
        world.streams.stop()
        await asyncio.gather(*tasks)
        room.check("one", "acme")
        assert (room.count, room.holds, room._of_client, room._of_tenant) == (0, 0, {}, {})

    running(context())


def test_a_client_that_takes_nothing_holds_no_more_than_its_share(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages of the others do not wait for it."""
    world.streams.room = room = StreamRoom(holds_most=400)

    class Stuck(Wire):
        async def send(self, words: bytes) -> None:
            if b"data" in words:
                await asyncio.Event().wait()

    async def context() -> None:
        for _ in range(20):
            world.add()
        await world.streams.place()
        world.streams._start = world.streams._end
        monkeypatch.setattr(streams, "EVENT_STREAM_PIECE_BYTES", 75)
        tasks = [
            asyncio.create_task(
                world.streams.run(Stream(EventFilter("acme"), 0, lambda: None, client="bad"), Stuck())
            )
            for _ in range(50)
        ]
        for _ in range(200):
            await asyncio.sleep(0)
        assert 0 < room.holds <= 100 + 75, "each page is some 75 bytes"
        wire = Wire()
        good = Stream(EventFilter("acme"), 0, lambda: None, client="good", until=20)
        await world.streams.run(good, wire)
        assert events_of(wire) == [*(f"+{n}" for n in range(1, 21)), "caught_up"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (room.count, room.holds, room._held_by) == (0, 0, {})

    running(context())
