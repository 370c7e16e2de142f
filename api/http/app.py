"""One request from its first header to its answer: the same steps for every route of the table."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final, cast

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from api.http import reading, wire
from api.http.acting import note_refusal
from api.http.bridge import DEADLINE
from api.http.call import NOBODY, PREFIXES, Answer, Call, Route, tree_of
from api.http.connection import Connection
from api.http.kinds import Rows
from api.http.openapi import API_VERSION, FORM, encoded, fields_of
from api.http.problems import MISTAKES, Problem, problem_of
from api.http.response import JSON, new_request_id
from api.http.services import Services
from api.http.streams import MEDIA as EVENT_STREAM
from api.http.tokens import Principal, TokenInvalid
from api.http.traffic import UNMATCHED
from engine.domain.idempotency import check_key
from engine.kernel.errors import EngineError, JournalWentBack, Refused
from engine.kernel.ids import is_id
from engine.kernel.limits import (
    CLIENT_REQUEST_ID_CHARACTERS_MAX,
    HTTP_BODY_BYTES_MAX,
    PERSON_CHARACTERS_MAX,
    REQUEST_S,
)
from engine.registers.acts import PERSON_PATTERN

_LOG: Final = logging.getLogger("order_engine.api")
_PERSON: Final = re.compile(PERSON_PATTERN, re.ASCII)
_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_OFFSET: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
DENIED: Final = {
    "missing_token": "token.refused",
    "invalid_token": "token.refused",
    "insufficient_scope": "scope.refused",
}
"""Code of an answer -> the kind of denial it counts as (see `engine.registers.acts`)."""
FACTLESS: Final = frozenset(
    ("/meta/order-lifecycle", "/acts", "/refusals", "/projections", "/projections/{name}/faults")
)
"""Routes that show no facts, and so stay correct while the journal lacks some."""
_VERSIONS: Final = (HttpVersion11, HttpVersion10)
_REALM: Final = 'Bearer realm="order-engine"'


def create_app(engine: Services, routes: tuple[Route, ...]) -> App:
    """The application over an `engine` to be given to `api.http.server.serve`."""
    return App(engine, routes, encoded(routes))


class App:
    """Answers requests. Called on the event loop, once a request; does not block."""

    def __init__(self, engine: Services, routes: tuple[Route, ...], document: bytes = b"") -> None:
        self._engine = engine
        self.rates = engine.rates
        self._document = document
        self._tree = tree_of(routes)
        self._answered = 0

    async def __call__(self, request: web.BaseRequest, connection: Connection) -> Answer:
        """The answer; never raises, whatever a client sends."""
        request_id = new_request_id()
        call: Call | None = None
        began_s, code = perf_counter(), None
        try:
            _check_framing(request)
            call = self._find(request, request_id)
            DEADLINE.set(connection.quiet_since + REQUEST_S)
            await self._read(call, request, connection)
            self._check_journal(call)
            answer = await call.route.handler(call)
        except Exception as error:  # noqa: BLE001  (the border: whatever it is becomes an answer)
            problem = await self._problem(error, call, request_id)
            answer, code = (
                Answer(problem.status, problem.body(request_id), problem.headers),
                problem.code,
            )
            if problem.is_last:
                connection.is_last = True
            del problem  # with all that its frames hold
        if code in DENIED:
            self._count_denial(code, call, self._source(call, request, connection), request_id)
        if code in MISTAKES:
            began_s += await self._wait_for_turn(call, request, connection)
        self._count(call.route if call else None, answer, code, began_s)
        self._answered += 1
        if self._engine.log_every and self._answered % self._engine.log_every == 0:
            _log(request_id, call, answer, code, began_s)
        status, body, headers, stream = answer
        limits = call.limits if call else {}
        return Answer(status, body, {"Request-Id": request_id, **limits, **(headers or {})}, stream)

    def _check_journal(self, call: Call) -> None:
        """Raises JournalDamaged for writes, JournalWentBack for reads of facts too."""
        if _is_command(call):
            self._engine.bridge.journal.check_sound()
        elif _is_of_facts(call):
            self._engine.bridge.journal.datastore.damage.check_reads()

    def _count(self, route: Route | None, answer: Answer, code: str | None, began_s: float) -> None:
        traffic = self._engine.traffic
        traffic.note((route.method, route.path) if route else UNMATCHED, answer.status, code, began_s)
        if route and route.scope and route.method != "GET":
            is_repeat = bool(answer.headers and "Idempotency-Replayed" in answer.headers)
            traffic.note_command(answer.status, code, is_repeat=is_repeat)

    def begin_to_stop(self) -> None:
        """Begins graceful shutdown: not ready any more, and streams end."""
        self._engine.is_stopping = True
        self._engine.streams.stop()

    async def _problem(self, error: Exception, call: Call | None, request_id: str) -> Problem:
        """The answer to an error. A refusal of a command is recorded first.

        Before a `not_found` the journal is compared with the facts this process has seen.
        """
        damage = self._engine.bridge.journal.datastore.damage
        if getattr(error, "code", "") == "not_found" and call is not None and _is_of_facts(call):
            try:
                await self._engine.bridge.read(damage.check_absence)
            except EngineError as fault:
                error = fault
        if isinstance(error, JournalWentBack) and damage.mark is not None:
            error = damage.mark.error()  # knows the last common position
        told = _told(error, call, request_id)
        if isinstance(error, Refused) and _is_command(call):
            try:
                await note_refusal(cast(Call, call), error, told)
            except EngineError as fault:
                told = _told(fault, call, request_id)
        return told

    async def _wait_for_turn(
        self, call: Call | None, request: web.BaseRequest, connection: Connection
    ) -> float:
        """Delays an error if its client, or address, has had many. Returns the seconds."""
        wait_s = self._engine.rates.errors.turn_s(self._source(call, request, connection))
        if wait_s:
            await asyncio.sleep(wait_s)
        return wait_s

    def _source(self, call: Call | None, request: web.BaseRequest, connection: Connection) -> str:
        """The sender of a request, for counting: its client, else its address."""
        if call is not None and call.principal is not NOBODY:
            return call.principal.client
        return self._address(request.headers, connection)

    def _count_denial(self, code: str, call: Call | None, source: str, request_id: str) -> None:
        tenant = client = None
        if call is not None and call.principal is not NOBODY:
            client, tenant, *_ = call.principal
        self._engine.denials.count(
            DENIED[code], code, source, tenant=tenant, client=client, request_id=request_id
        )

    # --- steps ------------------------------------------------------------------------------------

    def _find(self, request: web.BaseRequest, request_id: str) -> Call:
        """The route of the request. Raises Problem `not_found`, `method_not_allowed`."""
        node, values = self._tree, []
        raw_path = request.rel_url.raw_path
        for segment in raw_path[1:].split("/"):
            child = node.words.get(segment)
            if child is None:
                value = wire.read_segment(segment)
                child = node.parameter
                if child is None or value is None:
                    raise Problem("not_found")
                values.append(value)
            node = child
        if not node.leaves or raw_path[:1] != "/":
            raise Problem("not_found")
        leaf = node.leaves.get(request.method)
        if leaf is None:
            raise Problem("method_not_allowed", headers={"Allow": ", ".join(sorted(node.leaves))})
        path = dict(zip(leaf.names, values, strict=True))
        return Call(self._engine, leaf.route, path, request_id)

    async def _read(self, call: Call, request: web.BaseRequest, connection: Connection) -> None:
        """Fills in the call. Raises Problem or Refused for a faulty request."""
        headers, route = request.headers, call.route
        _check_general(headers)
        rates = self._engine.rates
        if route.scope is None:
            call.basic, call.known = headers.get("Authorization"), headers.get("If-None-Match")
            call.document = self._document
            call.address = self._address(headers, connection)
            call.limits = (rates.health if route.is_probe else rates.addresses).spend(call.address)
        else:
            call.principal = await self._authenticate(call, headers, connection)
            connection.know(call.principal.client)
            call.limits = rates.clients.spend(call.principal.client)
            if call.principal.scopes.isdisjoint({route.scope, route.or_scope}):
                challenge = f'{_REALM}, error="insufficient_scope", scope="{route.scope}"'
                raise Problem("insufficient_scope", headers={"WWW-Authenticate": challenge})
        for name, value in call.path.items():
            if name in PREFIXES and not is_id(value, PREFIXES[name]):
                raise Problem("not_found")
        url = request.rel_url
        call.url, call.raw_query = url.raw_path, url.raw_query_string
        call.query = wire.read_query(call.raw_query, route.query)
        body = await _body_of(request, connection)
        if route.body is None:
            if body:
                raise Problem("invalid_request", "This request takes no body.")
        else:
            if body:
                _check_media(headers, FORM if route.is_form else JSON)
            call.body = body if route.is_form else wire.read_body(body, route.body)
        if route.method != "GET":
            call.on_behalf_of = _person_of(headers)
            _read_key(call, headers)
            call.may_wait = not (route.can_wait and _is_impatient(headers))
        elif route.scope is not None:
            _read_place(call, headers)
            await reading.check_offset(call)

    def _address(self, headers: Mapping[str, str], connection: Connection) -> str:
        """The address counted for an unauthenticated request."""
        return self._engine.rates.address_of(connection.address, _forwarded(headers))

    async def _authenticate(
        self, call: Call, headers: Mapping[str, str], connection: Connection
    ) -> Principal:
        """The caller. Without a valid token the address is counted before any look-up."""
        given = headers.getall("Authorization", ())  # type: ignore[attr-defined]
        try:
            return self._engine.tokens.verify(_token_of(given))
        except (Problem, TokenInvalid) as error:
            address = self._address(headers, connection)
            call.limits = self._engine.rates.addresses.spend(address)
            if isinstance(error, Problem):
                raise
            if not error.is_unknown_key:
                raise _no_token() from error
        token = _token_of(given)
        await self._engine.bridge.read(self._engine.signing.refresh)
        try:
            return self._engine.tokens.verify(token)
        except TokenInvalid as error:
            raise _no_token() from error


def _token_of(given: Sequence[str]) -> str:
    """The token in the values of Authorization. Raises Problem `missing_token`, `invalid_token`."""
    if not given:
        raise Problem("missing_token", headers={"WWW-Authenticate": _REALM})
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise _no_token()
    return token


def _forwarded(headers: Mapping[str, str]) -> Sequence[str]:
    values: Sequence[str] = headers.getall("X-Forwarded-For", ())  # type: ignore[attr-defined]
    return values


def _log(request_id: str, call: Call | None, answer: Answer, code: str | None, began_s: float) -> None:
    """One log line of a request, without the client's words: the route instead of the path."""
    principal = call.principal if call else NOBODY
    words = {
        "request_id": request_id,
        "client": principal.client,
        "tenant": principal.tenant,
        "method": call.route.method if call else "",
        "route": call.route.path if call else "unmatched",
        "status": answer.status,
        "code": code,
        "ms": round((perf_counter() - began_s) * 1000, 3),
        "offset": (answer.headers or {}).get("Journal-Offset"),
    }
    _LOG.info("request", extra={name: word for name, word in words.items() if word not in ("", None)})


def _no_token() -> Problem:
    return Problem("invalid_token", headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})


def _is_command(call: Call | None) -> bool:
    return call is not None and call.principal is not NOBODY and call.route.method != "GET"


def _is_of_facts(call: Call) -> bool:
    """Whether an answer would show, or miss, what the journal holds."""
    is_factless = call.route.method == "GET" and call.route.path in FACTLESS
    return call.principal is not NOBODY and not is_factless


def _check_framing(request: web.BaseRequest) -> None:
    """Raises Problem unless it is known how the body is sent: as it is, or in chunks."""
    if hdrs.HOST not in request.headers and request.version == HttpVersion11:
        raise Problem("invalid_request", "A request of HTTP/1.1 must have a Host.", is_last=True)
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if request.version not in _VERSIONS or not (coding is None or coding.lower() == "chunked"):
        detail = "The request must be HTTP/1.1 or 1.0, its body plain or chunked."
        raise Problem("invalid_request", detail, is_last=True)


def _check_general(headers: Mapping[str, str]) -> None:
    """Headers that any request may have."""
    client_request_id = headers.get("Client-Request-Id")
    if client_request_id and len(client_request_id) > CLIENT_REQUEST_ID_CHARACTERS_MAX:
        raise Problem("client_request_id_too_long")
    version = headers.get("Api-Version")
    if version is not None and version != API_VERSION:
        known = _VERSION.fullmatch(version)
        code = "api_version_unsupported" if known else "api_version_invalid"
        raise Problem(code, context={"supported": [API_VERSION]})


def _check_media(headers: Mapping[str, str], wanted: str) -> None:
    given = headers.get("Content-Type", "")
    if given == wanted and "Content-Encoding" not in headers:
        return
    media, *parameters = [part.strip().lower() for part in given.split(";")]
    if media != wanted or "Content-Encoding" in headers:
        raise Problem("unsupported_media_type", f"The body must be {wanted} without Content-Encoding.")
    if any(parameter not in {"", "charset=utf-8", 'charset="utf-8"'} for parameter in parameters):
        raise Problem("invalid_request", "The body must be in UTF-8.")


async def _body_of(request: web.BaseRequest, connection: Connection) -> bytes:
    """The whole body. Raises Problem for one that is too long, too slow or no HTTP."""
    content = request.content
    try:
        if content.is_eof():
            body = content.read_nowait(-1)
        elif (request.content_length or 0) > HTTP_BODY_BYTES_MAX:
            raise _too_large()
        else:
            _check_expectation(request, connection)
            async with connection.reading():
                body = await request.read()
            DEADLINE.set(connection.quiet_since + REQUEST_S)
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except TimeoutError as error:
        raise connection.refusal or Problem("request_timeout", is_last=True) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Problem(
            "invalid_request", "The body is not a valid HTTP message.", is_last=True
        ) from error
    if len(body) > HTTP_BODY_BYTES_MAX:
        raise _too_large()
    return body


def _too_large() -> Problem:
    return Problem("body_too_large", context={"bytes_max": HTTP_BODY_BYTES_MAX}, is_last=True)


def _check_expectation(request: web.BaseRequest, connection: Connection) -> None:
    """Invites the body of a client that waits for that. Raises Problem `expectation_failed`."""
    expectation = request.headers.get("Expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise Problem("expectation_failed", is_last=True)
    connection.invite()


def _person_of(headers: Mapping[str, str]) -> str | None:
    """The person behind the client. Raises Problem `invalid_request`."""
    given = headers.getall("On-Behalf-Of", ())  # type: ignore[attr-defined]
    if not given:
        return None
    if len(given) > 1 or not _PERSON.fullmatch(given[0]):
        detail = f"On-Behalf-Of is one id of 1 to {PERSON_CHARACTERS_MAX} visible ASCII characters"
        raise Problem("invalid_request", detail)
    return str(given[0])


def _is_impatient(headers: Mapping[str, str]) -> bool:
    """Whether one of the preferences (RFC 7240) is `no-wait`; others are ignored."""
    given = headers.getall("Prefer", ())  # type: ignore[attr-defined]
    words = [word.partition(";")[0].strip().lower() for line in given for word in line.split(",")]
    return "no-wait" in words


def _read_key(call: Call, headers: Mapping[str, str]) -> None:
    given = headers.getall("Idempotency-Key", ())  # type: ignore[attr-defined]
    if not given or not call.route.has_key:
        return
    if len(given) > 1:
        raise Problem("invalid_request", "`Idempotency-Key` must be given once.")
    check_key(given[0])
    call.key = given[0]
    nulls = {field.name for field in fields_of(call.route) if field.can_be_null}
    path = tuple(call.path.values())
    call.digest = wire.digest(path, call.body, call.engine.command_key, nulls)


def _read_place(call: Call, headers: Mapping[str, str]) -> None:
    """Reads the journal offset required by the client."""
    call.min_offset = _offset_in(headers, "Min-Journal-Offset") or 0
    call.accept = headers.get("Accept", "")
    if call.route.media == EVENT_STREAM:
        call.token = _token_of(headers.getall("Authorization", ()))  # type: ignore[attr-defined]
        call.last_event = _offset_in(headers, "Last-Event-ID")


def _offset_in(headers: Mapping[str, str], name: str) -> int | None:
    """The offset that a header names; None without it. Raises Problem `invalid_request`."""
    given = headers.get(name)
    if given is None:
        return None
    if not _OFFSET.fullmatch(given):
        raise Problem("invalid_request", f"`{name}` must be a whole number.")
    return int(given)


def _told(error: Exception, call: Call | None, request_id: str) -> Problem:
    if call is None:
        return problem_of(error, request_id=request_id)
    return problem_of(error, _body_names(call.route), request_id, call.path, call.body)


def _body_names(route: Route | None) -> frozenset[str]:
    if route is None or route.body is None:
        return frozenset()
    fields = route.body.fields if isinstance(route.body, Rows) else route.body
    return frozenset(field.name for field in fields)
