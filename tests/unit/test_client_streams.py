"""How the API's client reads a stream, and from where it goes on when one breaks, without any I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from order_engine_client import Forbidden, NoAnswer, Unavailable
from order_engine_client.effects import Exchange, Exclusive, HttpRequest, HttpResponse, Lost, Pause
from order_engine_client.errors import NotAuthenticated, UnexpectedAnswer
from order_engine_client.operations import Operation
from order_engine_client.session import TRIES_MAX, Session
from order_engine_client.streams import Following

CALL: Operation[Any] = Operation("GET", "/events/stream", object, (("after", "3"),))


def event(offset: int) -> bytes:
    """As the engine sends it."""
    body = msgspec.json.encode(
        {
            "id": f"evt_{offset}", "name": "moon.filled",
            "resource": {"id": "ord_1", "resource_type": "order"}, "data": {"é": "\n"},
            "created_at": "2026-03-12T14:30:00Z", "offset": offset, "sequence": 1,
        }
    )  # fmt: skip
    return b"id: %d\ndata: %b\n\n" % (offset, body)


def end(code: str) -> bytes:
    return b'event: end\ndata: {"code":"%b","detail":"why"}\n\n' % code.encode()


SAID = b"retry: 1000\nid: 3\n\n" + event(5) + b": nothing\n\nid: 8\n\n" + event(9) + end("caught_up")


def messages(*pieces: bytes) -> list[ServerSentEvent]:
    """The messages of a response that comes in these pieces."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(pieces))
    return list(EventSource(response).iter_sse())


@given(st.lists(st.integers(0, len(SAID)), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_where_pieces_are_cut_makes_no_difference(cuts: list[int], line_end: bytes) -> None:
    said = SAID.replace(b"\n", line_end)
    places = [0, *sorted(cut for cut in cuts if cut < len(said)), len(said)]
    pieces = [said[start:stop] for start, stop in pairwise(places)]
    following = Following(CALL)
    events = [event.offset for message in messages(*pieces) for event in following.take(message)]
    assert (events, following.last, following.is_over) == ([5, 9], 9, True)


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_line(odd: str) -> None:
    (message,) = messages(f"id: 3\ndata: a{odd}b\n\n".encode())
    assert message.data == f"a{odd}b"


class Caller:
    """A client that is told what comes."""

    def __init__(self, last: int | None = None) -> None:
        self.following = Following(CALL, last)
        self.pauses: list[float] = []
        self.tokens = 0
        self.session = Session("https://engine.example", "cli_1", "s", chance=lambda: 1.0)

    def open(self) -> HttpRequest:
        """The next request."""
        return self._walk(self.following.opening(self.session))

    def _walk(self, steps: Any) -> Any:
        got: Any = None
        while True:
            try:
                effect = steps.send(got)
            except StopIteration as done:
                return done.value
            got = None
            match effect:
                case Pause(seconds):
                    self.pauses.append(seconds)
                case Exclusive(inner):
                    self._walk(inner)
                case Exchange():
                    self.tokens += 1
                    granted = {"access_token": f"token-{self.tokens}", "expires_in": 900}
                    got = HttpResponse(200, httpx.Headers(), msgspec.json.encode(granted))

    def take(self, *pieces: bytes) -> list[int]:
        """Offsets of the events in the next pieces of a stream."""
        last = self.following.last
        place = b"" if last is None else b"id: %d\n" % last  # it stands until another one comes
        said = messages(place, *pieces)
        return [event.offset for message in said for event in self.following.take(message)]


def problem(status: int, code: str, **headers: str) -> HttpResponse:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return HttpResponse(
        status, httpx.Headers(names), msgspec.json.encode({"code": code, "detail": "why"})
    )


def test_it_begins_as_asked_and_goes_on_behind_the_last_offset_that_came() -> None:
    caller = Caller()
    request = caller.open()
    assert request.url == "https://engine.example/events/stream?after=3"
    assert "Last-Event-ID" not in request.headers
    assert request.headers["Accept"] == "text/event-stream"
    assert caller.take(b"retry: 1000\nid: 3\n\n", event(5), b"id: 8\n\n", event(9)[:20]) == [5]
    caller.following.lost(Lost("cut", was_sent=True))
    assert caller.open().headers["Last-Event-ID"] == "8"
    assert caller.pauses == [pytest.approx(0.1)]
    assert caller.take(event(9), event(9), event(8)) == [9], "what came twice is told once"
    caller.following.closed()
    assert caller.open().headers["Last-Event-ID"] == "9"


def test_what_was_withheld_comes_late_and_moves_nothing() -> None:
    caller = Caller()
    caller.open()
    notice = b'event: %b\ndata: {"resource":"ord_1","since_offset":4}\n\n'
    late = event(4).partition(b"\n")[2]
    assert late.startswith(b"data:")
    assert caller.take(event(3), event(5), notice % b"withheld") == [3, 5]
    assert caller.following.withheld == {"ord_1": 4}
    assert caller.take(notice % b"released", late, event(6)) == [4, 6]
    assert caller.following.withheld == {}
    caller.following.closed()
    assert caller.open().headers["Last-Event-ID"] == "6"


def test_a_stream_that_only_says_where_it_is_has_not_failed() -> None:
    caller = Caller()
    for _ in range(3 * TRIES_MAX):
        caller.open()
        assert caller.take(b"retry: 1000\nid: 3\n\n") == []
        caller.following.closed()
    assert caller.pauses == [pytest.approx(0.1)] * (3 * TRIES_MAX - 1)


def test_what_fails_ten_times_in_a_row_is_raised() -> None:
    caller = Caller()
    for _ in range(TRIES_MAX):
        caller.open()
        caller.following.lost(Lost("nobody there", was_sent=False))
    with pytest.raises(NoAnswer, match="nobody there"):
        caller.open()
    assert len(caller.pauses) == TRIES_MAX - 1
    assert caller.pauses == sorted(caller.pauses)


@pytest.mark.parametrize("code", ["server_stopping", "too_slow", "unavailable"])
def test_an_end_that_is_no_end_is_followed_by_another_stream(code: str) -> None:
    caller = Caller()
    caller.open()
    assert caller.take(event(5), end(code)) == [5]
    caller.following.closed()
    assert not caller.following.is_over
    assert caller.open().headers["Last-Event-ID"] == "5"
    assert caller.tokens == 1


def test_a_token_that_was_ended_is_replaced() -> None:
    caller = Caller()
    assert caller.open().headers["Authorization"] == "Bearer token-1"
    caller.take(event(5), end("invalid_token"))
    assert caller.open().headers["Authorization"] == "Bearer token-2"
    caller.following.refused(problem(401, "invalid_token"))
    assert caller.open().headers["Authorization"] == "Bearer token-3"
    caller.following.refused(problem(401, "invalid_token"))
    with pytest.raises(NotAuthenticated):  # the same one again: nobody will give a better one
        caller.following.refused(problem(401, "invalid_token"))


def test_ends_for_good() -> None:
    caller = Caller()
    caller.open()
    assert caller.take(event(5), end("caught_up")) == [5]
    caller.following.closed()
    assert caller.following.is_over
    with pytest.raises(Unavailable) as error:
        Caller().take(end("view_quarantined"))
    assert error.value.code == "view_quarantined"
    with pytest.raises(UnexpectedAnswer):
        Caller().take(b"data: {}\n\n")


def test_an_answer_that_is_no_stream() -> None:
    caller = Caller()
    caller.open()
    caller.following.refused(problem(503, "view_behind", Retry_After="2"))
    caller.open()
    assert caller.pauses == [pytest.approx(2.1)]
    with pytest.raises(Forbidden):
        caller.following.refused(problem(403, "insufficient_scope"))
