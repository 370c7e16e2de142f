"""A client's state between calls, and the rules of retries: tokens, what is repeated, and when."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Mapping
from copy import copy
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from order_engine_client.effects import (
    Exchange,
    Exclusive,
    HttpRequest,
    HttpResponse,
    Lost,
    Pause,
    Steps,
)
from order_engine_client.errors import (
    NoAnswer,
    NotAuthenticated,
    OrderEngineError,
    UnexpectedAnswer,
    problem_of,
)
from order_engine_client.events import typed
from order_engine_client.operations import Operation, Query

T = TypeVar("T")

API_VERSION: Final = "2026-01-01"
AGENT: Final = "order-engine-client/0.1"
TIMEOUT_S: Final = 10.0
"""For one step of one exchange: the engine itself answers within that, if only with a 503."""
WITHIN_S: Final = 30.0
"""For a call with all its tries: a database that fails over is back by then."""
TRIES_MAX: Final = 10
"""Sendings of one request: with the pauses below that is about as long as `WITHIN_S`."""
PAUSE_S: Final = (0.1, 5.0)
"""Before the second try, and the longest that doubling comes to. Half of each pause is chance, so that
clients that failed together do not come back together."""
TOKEN_REST_S: Final = 60.0
"""Renewed so long before its end, or at nine tenths of a short life; it must outlast a call."""

NOT_DONE: Final = frozenset({408, 429})
"""Answers that say that nothing was done yet, and that it may be asked again."""
UNKNOWN: Final = frozenset({502, 503, 504})
"""Answers after which a write may or may not have been done."""


class Access(NamedTuple):
    """An access token, and until when it is used."""

    token: str
    until_s: float


class Kept:
    """State shared by all sessions of one client: its token and the journal's offset."""

    def __init__(self) -> None:
        self.access = Access("", 0.0)
        self.offset = 0


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


class Session:
    """One client's: it does no I/O, and every part of it may be used from several threads."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        timeout_s: float = TIMEOUT_S,
        within_s: float = WITHIN_S,
        sees_own_writes: bool = False,
        allows_plain_http: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = _checked(url, allows_plain_http=allows_plain_http)
        self.client_id = client_id
        self.now_s = monotonic
        self._secret, self._scope = client_secret, scope
        self._timeout_s, self._within_s = timeout_s, within_s
        self._sees_own_writes = sees_own_writes
        self._chance = chance
        self._min_offset = 0
        self._kept = Kept()

    @property
    def offset(self) -> int:
        """The highest `Journal-Offset` of all answers."""
        return self._kept.offset

    def after(self, offset: int) -> Session:
        """The same session, whose reads wait until views have come to `offset`."""
        later = copy(self)
        later._min_offset = offset
        return later

    # --- one call --------------------------------------------------------------------------------

    def call(self, operation: Operation[T]) -> Steps[tuple[HttpResponse, T]]:
        """The response to an operation and its decoded body. Raises OrderEngineError."""
        deadline_s = self.now_s() + self._within_s
        token = yield from self.token(deadline_s)
        try:
            response = yield from self._answered(self.request(operation, token), operation, deadline_s)
        except NotAuthenticated:  # before anything was done: it may be sent again, whatever it is
            token = yield from self.token(deadline_s, instead_of=token)
            response = yield from self._answered(self.request(operation, token), operation, deadline_s)
        offset = response.headers.get("Journal-Offset", "")
        if offset.isdigit():
            self._kept.offset = max(self.offset, int(offset))
        return response, _decoded(response, operation.result, operation)

    def next_page(self, response: HttpResponse) -> Query | None:
        """The query of a list's next page; None on the last.

        Of the link only the query is taken: a token must not follow one to another place.
        """
        target, _, relation = response.headers.get("Link", "").partition(">")
        if 'rel="next"' not in relation:
            return None
        return tuple(parse_qsl(urlsplit(target.lstrip("<")).query, keep_blank_values=True))

    def request(self, operation: Operation[Any], token: str) -> HttpRequest:
        """The HTTP request of an operation."""
        headers = {"Authorization": f"Bearer {token}", "Api-Version": API_VERSION, "User-Agent": AGENT}
        body = None
        if operation.body is not None:
            headers["Content-Type"] = "application/json"
            body = msgspec.json.encode(operation.body)
        if operation.key is not None:
            headers["Idempotency-Key"] = operation.key
        if not operation.may_wait:
            headers["Prefer"] = "no-wait"
        offset = max(self._min_offset, self.offset if self._sees_own_writes else 0)
        if offset and operation.method == "GET":
            headers["Min-Journal-Offset"] = str(offset)
        query = f"?{urlencode(operation.query)}" if operation.query else ""
        return HttpRequest(operation.method, f"{self.url}{operation.path}{query}", headers, body)

    # --- tokens ----------------------------------------------------------------------------------

    def token(self, deadline_s: float | None = None, instead_of: str = "") -> Steps[str]:
        """A token that is good for a call, and another than `instead_of`. Raises OrderEngineError."""
        if deadline_s is None:
            deadline_s = self.now_s() + self._within_s
        if not self._is_good(instead_of):
            yield Exclusive(self._renew(deadline_s, instead_of))
        return self._kept.access.token

    def _is_good(self, instead_of: str) -> bool:
        return self._kept.access.token != instead_of and self.now_s() < self._kept.access.until_s

    def _renew(self, deadline_s: float, instead_of: str) -> Steps[None]:
        if self._is_good(instead_of):
            return  # another thread or task did, meanwhile
        pair = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}"
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": AGENT,
        }
        request = HttpRequest("POST", f"{self.url}/auth/token", headers, urlencode(form).encode())
        asked_s = self.now_s()
        response = yield from self._answered(request, None, deadline_s)
        granted = _decoded(response, _Granted, None)
        life_s = max(granted.expires_in - TOKEN_REST_S, granted.expires_in * 0.9)
        self._kept.access = Access(granted.access_token, asked_s + life_s)

    # --- asking again ----------------------------------------------------------------------------

    def _answered(
        self, request: HttpRequest, operation: Operation[Any] | None, deadline_s: float
    ) -> Steps[HttpResponse]:
        """The successful response, after retries while they are safe and useful.

        `operation` None: a token request, which is always repeatable. Raises Problem, NoAnswer.
        """
        is_repeatable, key = (
            operation is None or operation.is_repeatable,
            operation.key if operation else None,
        )
        is_write = operation is not None and operation.is_write
        may_be_done = False
        error: OrderEngineError = NoAnswer("time was over before it was sent", idempotency_key=key)
        for attempt in range(TRIES_MAX):
            left_s = deadline_s - self.now_s()
            if left_s <= 0:
                break
            got: HttpResponse | Lost = yield Exchange(request, min(self._timeout_s, left_s))
            if isinstance(got, HttpResponse) and got.status < 300:
                return got
            may_be_done |= is_write and _may_be_done(got)
            after_s = None if isinstance(got, Lost) else retry_after_s(got.headers)
            error = _error(got, key, after_s, may_be_done=may_be_done)
            if not _is_worth_another(got) or (_may_be_done(got) and not is_repeatable):
                break
            rest_s = (after_s or 0.0) + self.pause_s(attempt)
            if rest_s >= deadline_s - self.now_s():
                break
            yield Pause(rest_s)
        raise error

    def pause_s(self, attempt: int) -> float:
        """Back-off after a failed attempt; 0 is the first."""
        first_s, most_s = PAUSE_S
        return min(most_s, first_s * 2.0**attempt) * (0.5 + 0.5 * self._chance())

    def __repr__(self) -> str:
        return f"{self.url} as {self.client_id}"


def _is_worth_another(got: HttpResponse | Lost) -> bool:
    return isinstance(got, Lost) or got.status in NOT_DONE | UNKNOWN


def _may_be_done(got: HttpResponse | Lost) -> bool:
    """Whether a write may have taken place, for all that this says."""
    return got.was_sent if isinstance(got, Lost) else got.status >= 500


def _error(
    got: HttpResponse | Lost, key: str | None, after_s: float | None, *, may_be_done: bool
) -> OrderEngineError:
    if isinstance(got, Lost):
        return NoAnswer(got.detail, idempotency_key=key, may_be_done=may_be_done)
    return problem_of(*got, key=key, retry_after_s=after_s, may_be_done=may_be_done)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After, which may also be a date."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at_s: float = parsedate_to_datetime(text).timestamp()
        return max(0.0, at_s - time.time())
    except (TypeError, ValueError):
        return None


def _decoded(response: HttpResponse, kind: type[T], operation: Operation[Any] | None) -> T:
    try:
        return typed(msgspec.json.decode(response.body, type=kind))
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(
            str(error),
            status=response.status,
            request_id=response.headers.get("Request-Id"),
            idempotency_key=operation.key if operation else None,
            may_be_done=operation is not None and operation.is_write,
        ) from error


def _checked(url: str, *, allows_plain_http: bool) -> str:
    """The address without a slash at its end. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.query:
        raise ValueError("an address is like https://engine.example")
    if parts.scheme == "http" and not (allows_plain_http or _is_this_machine(host)):
        raise ValueError(f"secrets would go to {host} in the clear: use https, or allows_plain_http")
    return url.rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
