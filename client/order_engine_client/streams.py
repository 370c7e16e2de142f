"""Following a stream of server-sent events: its position, its ends, and where to resume. No I/O.

A stream may end at any time. The last offset is remembered and the next stream begins behind it, so
every event comes once and in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import msgspec
from httpx_sse import ServerSentEvent

from order_engine_client.effects import HttpRequest, HttpResponse, Lost, Pause, Steps
from order_engine_client.errors import (
    NoAnswer,
    NotAuthenticated,
    OrderEngineError,
    Unavailable,
    UnexpectedAnswer,
    problem_of,
)
from order_engine_client.events import Event, read_event
from order_engine_client.operations import Operation
from order_engine_client.session import NOT_DONE, TRIES_MAX, UNKNOWN, Session, retry_after_s

MEDIA: Final = "text/event-stream"
QUIET_S: Final = 45.0
"""A stream silent for so long is broken: the engine sends a heartbeat every 15 s."""


class _End(msgspec.Struct):
    code: str
    detail: str = ""


class _Notice(msgspec.Struct):
    resource: str
    since_offset: int


T = TypeVar("T")


def _decoded(message: ServerSentEvent, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(message.data, type=kind)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(f"a message `{message.event}` of a stream: {error}") from error


@dataclass
class Following:
    """One caller's streams, one after the other. `last` is the offset up to which events are complete.

    Except those of `withheld` resources, each with the offset of its first missing event. They come when
    the engine can show them, with lower offsets than `last`, and twice if the stream broke meanwhile.
    A broken stream is reopened from `last`, and given up after ten failures in a row.
    """

    operation: Operation[Any]
    last: int | None = None
    is_over: bool = False
    withheld: dict[str, int] = field(default_factory=dict)
    _token: str = ""
    _bad_token: str = ""
    _failures: int = 0
    _error: OrderEngineError | None = None

    def opening(self, session: Session) -> Steps[HttpRequest]:
        """The steps to the next stream's request. Raises OrderEngineError."""
        if self._error is not None:
            if self._failures >= TRIES_MAX:
                raise self._error
            yield Pause((self._error.retry_after_s or 0.0) + session.pause_s(self._failures - 1))
        self._token = yield from session.token(instead_of=self._bad_token)
        request = session.request(self.operation, self._token)
        known = {} if self.last is None else {"Last-Event-ID": str(self.last)}
        return replace(request, headers={**request.headers, **known, "Accept": MEDIA})

    def take(self, message: ServerSentEvent) -> Iterator[Event]:
        """The event of a message, if it has a new one. Raises OrderEngineError for a final end.

        The id of a message is the offset of the stream up to here. An event with another offset comes
        late, out of what was withheld, and does not move the stream.
        """
        if message.event == "end":
            self._ended(_decoded(message, _End))
            return
        if message.event in {"withheld", "released"}:
            self._noticed(message)
            return
        if not message.id.isdigit():
            raise UnexpectedAnswer("a message of a stream without an offset")
        event = read_event(message.data.encode()) if message.data else None
        reached = int(message.id)
        is_late = event is not None and event.offset != reached
        is_new = is_late or self.last is None or reached > self.last
        self.last = reached if self.last is None else max(reached, self.last)
        self._failures, self._error = 0, None
        if event is not None and is_new:
            yield event

    def refused(self, response: HttpResponse) -> None:
        """An error response in place of a stream. Raises it unless a retry may help."""
        error = problem_of(*response, retry_after_s=retry_after_s(response.headers))
        if isinstance(error, NotAuthenticated) and self._bad_token != self._token:
            self._bad_token = self._token
        elif response.status not in NOT_DONE | UNKNOWN:
            raise error
        self._failed(error)

    def lost(self, lost: Lost) -> None:
        """The stream broke, or could not be opened."""
        self._failed(NoAnswer(lost.detail))

    def closed(self) -> None:
        """The stream ended, with or without a reason."""
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

    def _noticed(self, message: ServerSentEvent) -> None:
        notice = _decoded(message, _Notice)
        if message.event == "withheld":
            self.withheld[notice.resource] = notice.since_offset
        else:
            self.withheld.pop(notice.resource, None)

    def _failed(self, error: OrderEngineError) -> None:
        self._failures += 1
        self._error = error
