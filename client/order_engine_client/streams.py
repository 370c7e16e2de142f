"""Events as they come: what is read off a stream, and from where it goes on when it breaks. No I/O.

A stream may end at any time; what was seen last is remembered, and the next one begins behind it. So
every event comes once and in order, whatever breaks in between.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec

from order_engine_client.errors import (
    NoAnswer,
    NotAuthenticated,
    OrderEngineError,
    Unavailable,
    UnexpectedAnswer,
    problem_of,
)
from order_engine_client.plans import Answer, Call, Lost, Pause, Request, Steps
from order_engine_client.resources import Event
from order_engine_client.session import NOT_DONE, TRIES_MAX, UNKNOWN, Session, retry_after_s

MEDIA: Final = "text/event-stream"
QUIET_S: Final = 45.0
"""A stream that says nothing for so long is broken: the engine says that it is there every 15 s."""


class Message(NamedTuple):
    """One message of a stream: `id` as it stands after it, `data` empty for what only names a place.

    One that does not move the place (`is_late`) has no id of its own.
    """

    event: str
    data: str
    id: str
    is_late: bool = False


class Messages:
    """Bytes in, messages out, as the HTML standard has it (section 9.2.6)."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        self._is_late = True

    def take(self, piece: bytes) -> Iterator[Message]:
        """The messages that are complete with this piece."""
        *lines, self._rest = (self._rest + self._text.decode(piece)).split("\n")
        for line in lines:
            name, _, value = line.removesuffix("\r").partition(":")
            value = value.removeprefix(" ")
            if line in {"", "\r"}:
                data = "\n".join(self._data)
                yield Message(self._event or "message", data, self._id, self._is_late)
                self._event, self._data, self._is_late = "", [], True
            elif name == "event":
                self._event = value
            elif name == "data":
                self._data.append(value)
            elif name == "id":
                self._id, self._is_late = value, False


class _End(msgspec.Struct):
    code: str
    detail: str = ""


class _Notice(msgspec.Struct):
    resource: str
    since_offset: int


@dataclass
class Following:
    """One caller's streams, one after the other. `last` is the offset up to which all is known.

    But for what is `withheld`: resource -> the offset from which on its events are missing. They come
    when the engine can show them, behind `last`, and maybe twice if the stream broke meanwhile.
    A broken one is asked for again, from there, for ever, unless that fails ten times in a row.
    """

    call: Call[Any]
    last: int | None = None
    is_over: bool = False
    withheld: dict[str, int] = field(default_factory=dict)
    _messages: Messages = field(default_factory=Messages)
    _token: str = ""
    _bad_token: str = ""
    _failures: int = 0
    _error: OrderEngineError | None = None

    def opening(self, session: Session) -> Steps[Request]:
        """The steps to the next stream's request. Raises OrderEngineError."""
        if self._error is not None:
            if self._failures >= TRIES_MAX:
                raise self._error
            yield Pause((self._error.retry_after_s or 0.0) + session.pause_s(self._failures - 1))
        self._messages = Messages()
        self._token = yield from session.token(instead_of=self._bad_token)
        request = session.request(self.call, self._token)
        known = {} if self.last is None else {"Last-Event-ID": str(self.last)}
        return replace(request, headers={**request.headers, **known, "Accept": MEDIA})

    def take(self, piece: bytes) -> Iterator[Event]:
        """The events that are complete with this piece. Raises OrderEngineError for an end for good."""
        for message in self._messages.take(piece):
            if message.event == "end":
                self._ended(msgspec.json.decode(message.data, type=_End))
                return
            if message.event in {"withheld", "released"}:
                self._noticed(message)
                continue
            if not message.id.isdigit():
                raise UnexpectedAnswer("a message of a stream without an offset")
            offset = int(message.id)
            is_new = message.is_late or self.last is None or offset > self.last
            self.last = offset if self.last is None else max(offset, self.last)
            self._failures, self._error = 0, None
            if message.data and is_new:
                yield msgspec.json.decode(message.data, type=Event)

    def refused(self, answer: Answer) -> None:
        """There is no stream, but an error. Raises it unless asking again may help."""
        error = problem_of(*answer, retry_after_s=retry_after_s(answer.headers))
        if isinstance(error, NotAuthenticated) and self._bad_token != self._token:
            self._bad_token = self._token
        elif answer.status not in NOT_DONE | UNKNOWN:
            raise error
        self._failed(error)

    def lost(self, lost: Lost) -> None:
        """The stream broke, or could not be asked for."""
        self._failed(NoAnswer(lost.detail))

    def closed(self) -> None:
        """The stream is at its end, whether or not it has said why."""
        if self._error is None and not self.is_over:
            self._failed(NoAnswer("the stream ended"))

    def _ended(self, end: _End) -> None:
        if end.code == "caught_up":
            self.is_over = True
        elif end.code == "view_quarantined":  # an engine of the first release
            raise Unavailable(end.detail, code=end.code)
        else:
            self._bad_token = self._token if end.code == "invalid_token" else self._bad_token
            self._failed(NoAnswer(f"the stream ended: {end.detail}"))

    def _noticed(self, message: Message) -> None:
        notice = msgspec.json.decode(message.data, type=_Notice)
        if message.event == "withheld":
            self.withheld[notice.resource] = notice.since_offset
        else:
            self.withheld.pop(notice.resource, None)

    def _failed(self, error: OrderEngineError) -> None:
        self._failures += 1
        self._error = error
