"""The OpenAPI 3.1 document, made from the table of routes and all that it refers to. Pure.

The server is built from the same tables; tests validate every answer against it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from api.http.call import PREFIXES, Route
from api.http.kinds import FAULTS, Field, Rows
from api.http.problems import CODES, Error, docs_of
from api.http.schemas import (
    REF,
    Schema,
    example_of,
    names_in,
    of_answers,
    of_body,
    of_kind,
    sample,
)
from api.http.sources import source_of
from api.http.streams import MEDIA as EVENT_STREAM
from engine.domain.idempotency import KEY_PATTERN
from engine.kernel.limits import (
    CLIENT_REQUEST_ID_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    OFFSET_MAX,
    VIEW_WAIT_S,
)
from engine.registers.acts import PERSON_PATTERN
from projections.actions import CouponBody, DividendBody
from projections.history import BODIES
from projections.resources import AccountBody, BalanceBody, OrderBody, TradeBody

API_VERSION: Final = "2026-01-01"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

SCOPES: Final = {
    "read": "see what the tenant has",
    "trade": "place and cancel orders, announce deposits, ask for withdrawals",
    "operate": "open and change accounts, complete or fail payments, have events sent to webhooks",
    "admin": "what concerns all tenants: instruments, prices, the sandbox's clock, parked reports",
    "venue": "report executions of one venue; asked for, and given, as `venue:NAME`",
    "prices": "set prices of named symbols; asked for, and given, as `prices:SYMBOL` or `prices:START*`",
}

# --- error codes of a route -----------------------------------------------------------------------

ANY: Final = (
    "invalid_request", "invalid_param", "client_request_id_too_long", "api_version_invalid",
    "api_version_unsupported", "request_timeout", "body_too_large", "expectation_failed",
    "rate_limited", "headers_too_large", "server_error", "unavailable",
)  # fmt: skip
"""Codes of any route. `method_not_allowed` belongs to a path without a route for the method."""
SCOPED: Final = (
    "missing_token", "invalid_token", "insufficient_scope", "journal_damaged", "journal_went_back",
)  # fmt: skip
VIEWED: Final = ("view_behind", "view_quarantined", "views_damaged")
KEYED: Final = (
    "idempotency_key_too_long", "idempotency_key_conflict", "idempotency_key_expired",
)  # fmt: skip


_PLACES: Final = {code: place for place, code in enumerate(CODES)}


def codes_of(route: Route) -> tuple[tuple[int, str], ...]:
    """(status, code) of every error of a route, by status, in the order of CODES."""
    found = {*ANY}
    if route.scope is not None:
        found |= {*SCOPED}
        found |= {*VIEWED} if route.is_viewed else set()
        source = source_of(route)
        found |= {"offset_in_future", *source.codes} if source else set()
    if route.has_key:
        found |= {*KEYED}
    if route.body is not None:
        found.add("unsupported_media_type")
    if any(field.is_needed for field in (*fields_of(route), *route.query)):
        found.add("missing_param")
    found |= {*route.refusals} - {"not_found"}
    pairs = {(CODES[code].status, code) for code in found}
    if "{" in route.path or route.is_sandbox:
        pairs.add((404, "not_found"))
    if "not_found" in route.refusals:
        pairs.add((400, "not_found"))
    return tuple(sorted(pairs, key=lambda pair: (pair[0], _PLACES[pair[1]])))


def fields_of(route: Route) -> tuple[Field, ...]:
    """The fields of its body."""
    if route.body is None:
        return ()
    return route.body.fields if isinstance(route.body, Rows) else route.body


# --- headers and parameters -----------------------------------------------------------------------

SENT: Final[dict[str, Schema]] = {
    "Request-Id": {
        "description": "Stands in the server's logs too.",
        "required": True,
        "schema": {"type": "string", "pattern": "^req_[0-9A-Za-z]{22}$"},
    },
    "Journal-Offset": {
        "description": "The place in the journal of the last fact that the answer shows; of a command"
        " always, of a read only where it was made from the journal.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "View-Offset": {
        "description": "The place in the journal that the views behind the answer have come to.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Idempotency-Replayed": {
        "description": "The same key was answered before; this is the same answer.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Link": {
        "description": 'There is more: `<...>; rel="next"`.',
        "schema": {"type": "string"},
    },
    "Withheld-Resources": {
        "description": "So many resources of the caller's cannot be shown, and are left out.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Retry-After": {
        "description": "Seconds after which trying again may help.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Policy": {
        "description": 'What may be sent: `"client";q=100;w=1` is 100 requests a second.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left: `"client";r=99;t=1`, with more after `t` seconds.',
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "RFC 6750.",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Of this very content.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""Headers of answers."""

ASKED: Final[dict[str, Schema]] = {
    "Client-Request-Id": {
        "description": "Your own id of the request.",
        "schema": {"type": "string", "maxLength": CLIENT_REQUEST_ID_CHARACTERS_MAX},
    },
    "Api-Version": {
        "description": "The version that the client was written for; default the current one.",
        "schema": {"type": "string", "enum": [API_VERSION]},
    },
    "Idempotency-Key": {
        "description": "The same key with the same request gives the same answer, for 24 hours.",
        "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    },
    "On-Behalf-Of": {
        "description": "The person behind the client, by an opaque id. Kept for ever: no name.",
        "schema": {"type": "string", "pattern": f"^{PERSON_PATTERN}$"},
    },
    "Prefer": {
        "description": "`no-wait`: refuse while the market is closed. Without it the order waits.",
        "schema": {"type": "string", "enum": ["no-wait"]},
    },
    "Min-Journal-Offset": {
        "description": f"Wait up to {VIEW_WAIT_S:g} s until the answer knows of this offset, which must"
        " not be beyond the journal's end.",
        "schema": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX},
    },
    "Last-Event-ID": {
        "description": "The last `id` that came: what follows it is sent. Browsers do that.",
        "schema": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX},
    },
    "If-None-Match": {
        "description": "The ETag of what is known already.",
        "schema": {"type": "string"},
    },
}
"""Headers of requests."""


def _asked_of(route: Route) -> Iterable[str]:
    yield from ("Client-Request-Id", "Api-Version")
    if route.has_key:
        yield "Idempotency-Key"
    if route.method != "GET" and route.scope is not None:
        yield "On-Behalf-Of"
    if route.can_wait:
        yield "Prefer"
    if route.method == "GET" and route.scope is not None:
        yield "Min-Journal-Offset"
    if route.media == EVENT_STREAM:
        yield "Last-Event-ID"
    if 304 in route.answers:
        yield "If-None-Match"


def _sent_with(route: Route, status: int) -> Iterable[str]:
    yield from ("Request-Id", "RateLimit-Policy", "RateLimit")
    if 304 in route.answers and status < 400:
        yield "ETag"
    if status < 300 and route.scope is not None and route.method != "GET" and route.is_fact:
        yield "Journal-Offset"
    source = source_of(route)
    if status == 200 and source is not None:
        yield from source.headers
    if status < 300 and route.has_key:
        yield "Idempotency-Replayed"
    if status == 200 and any(field.name == "before" for field in route.query):
        yield "Link"
        yield "Withheld-Resources"
    if status in {429, 503}:
        yield "Retry-After"
    if status == 401 or (status == 403 and route.scope is not None):
        yield "WWW-Authenticate"


def _parameters(route: Route, template: str) -> list[Schema]:
    found: list[Schema] = [{"$ref": f"#/components/parameters/{name}"} for name in _asked_of(route)]
    found += [
        {"name": known, "in": "path", "required": True, "schema": _of_path(name)}
        for known, name in zip(names_in(template), names_in(route.path), strict=True)
    ]
    for field in route.query:
        schema = of_kind(field.kind)
        if field.default not in {None, ()}:
            schema["default"] = field.default
        parameter: Schema = {"name": field.name, "in": "query", "schema": schema}
        if field.is_needed:
            parameter["required"] = True
        if field.about:
            parameter["description"] = field.about
        if field.example:
            parameter["example"] = [field.example] if schema.get("type") == "array" else field.example
        found.append(parameter)
    return found


def _of_path(name: str) -> Schema:
    prefix = PREFIXES.get(name)
    if prefix is None:
        return {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS_MAX}
    return {"type": "string", "pattern": f"^{prefix}_[A-Za-z0-9_-]{{1,60}}$"}


# --- links ----------------------------------------------------------------------------------------

_MARK: Final = re.compile(r"\{\w+\}")
OTHER_NAMES: Final = {"acc": "id_or_reference", "ins": "id_or_symbol"}
"""Prefix of ids -> parameter of a path that may also be another kind of id."""


class Whole(NamedTuple):
    """The context of building an operation.

    `known_as` see `templates`; `answers` are schemas by type, `components` by name; `shared` collects
    the responses that several operations have.
    """

    routes: tuple[Route, ...]
    known_as: Mapping[str, str]
    answers: Mapping[Any, Schema]
    components: Mapping[str, Schema]
    shared: dict[str, Schema]


def _links(route: Route, answer: Schema, whole: Whole) -> Schema:
    """Links from an answer: each route whose path its ids complete."""
    place = "$response.body#/"
    if answer.get("type") == "array":
        answer, place = answer["items"], "$response.body#/0/"
    fields = whole.components.get(answer.get("$ref", "").removeprefix(REF), {}).get("properties", {})
    prefix = fields.get("id", {}).get("pattern", "^_")[1:].partition("_")[0]
    own = {name for name, known in PREFIXES.items() if known == prefix} | {OTHER_NAMES.get(prefix, "")}
    known_ids = dict.fromkeys(own, f"{place}id")
    if "account" in fields:
        known_ids["account_id"] = f"{place}account"
    links = {}
    for other in whole.routes:
        needed = names_in(other.path)
        if other.name != route.name and own & {*needed} and known_ids.keys() >= {*needed}:
            names = names_in(whole.known_as[other.path])
            parameters = {
                f"path.{known}": known_ids[name] for known, name in zip(names, needed, strict=True)
            }
            links[other.name] = {"operationId": other.name, "parameters": parameters}
    return links


# --- the document ---------------------------------------------------------------------------------

EXAMPLES: Final[dict[str, Schema]] = {
    "Order": {
        "position": None, "net_cash_amount": "99.50", "traded_quantity": "0", "traded_notional": "0",
        "fees": "0.50", "quantity": None, "cancelled_reason": None, "filled_at": None,
        "settled_at": None, "cancelled_at": None, "trades": [], "is_cancellable": True,
    },
    "Trade": {"counterparty": None, "execution_broker": None, "ytm": None, "settled_at": None,
              "notional": "99.00"},
    "Account": {"funding_currencies": ["EUR"]},
    "Position": {"automatic_rollover_cutoff": None, "closed_at": None, "settled": "0.00"},
    "Leg": {"currency": "USD", "instrument": None, "amount": "-100.00",
            "name": "account.funds_reserved.1"},
    "OrderFact": {
        "actor": "cli_2ZKe7J5mPpQ3xVtYbNhWcR", "request_id": "req_2ZKe7J5mPpQ3xVtYbNhWcR",
        "cause": None, "reason": None, "on_behalf_of": "emp-4711",
        "fields": {"side": "buy", "cash_amount": "100.00"},
    },
    "AccountFact": {
        "actor": "cli_2ZKe7J5mPpQ3xVtYbNhWcR", "request_id": "req_2ZKe7J5mPpQ3xVtYbNhWcR",
        "name": "account.funds_reserved.1", "cause": None, "reason": None, "on_behalf_of": None,
        "fields": {"currency": "USD", "amount": "100.00"},
    },
    "Ready": {"reasons": [], "views_behind": {"orders": 0}},
}  # fmt: skip
"""Examples of resources that are not composed of their fields' examples."""
ASKS: Final[dict[str, dict[str, Schema]]] = {
    "place_order": {"buy": {"quantity": None}, "sell": {"side": "sell", "cash_amount": None}},
}
"""Examples of request bodies that differ from their fields' examples; None omits a field."""


def templates(routes: Iterable[Route]) -> dict[str, str]:
    """Path of the table -> path of the document, where paths that differ only in names are merged.

    The name of a plain id takes precedence over that of a parameter with several forms.
    """
    found: dict[str, str] = {}
    paths = sorted((route.path for route in routes), key=_is_other)
    for path in paths:
        found.setdefault(_MARK.sub("{}", path), path)
    return {path: found[_MARK.sub("{}", path)] for path in paths}


def _is_other(path: str) -> bool:
    return not {*OTHER_NAMES.values()}.isdisjoint(names_in(path))


def document(routes: Iterable[Route]) -> Schema:
    """The whole document of these routes."""
    rows = tuple(routes)
    kinds = [kind for route in rows for kind in route.answers.values() if kind is not None]
    answers, components = of_answers(
        [
            Error,
            TradeBody,
            AccountBody,
            BalanceBody,
            OrderBody,
            CouponBody,
            DividendBody,
            *BODIES,
            *kinds,
        ]
    )
    for name, instead in EXAMPLES.items():
        if name in components:
            components[name]["examples"] = [sample(components[name], components) | instead]
    whole = Whole(rows, templates(rows), answers, components, {})
    paths: dict[str, Schema] = defaultdict(dict)
    for route in rows:
        paths[whole.known_as[route.path]][route.method.lower()] = _operation(route, whole)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "order-engine",
            "version": API_VERSION,
            "summary": "Orders, from being placed to being settled",
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": dict(sorted(whole.shared.items())),
            "parameters": {
                name: {"name": name, "in": "header", **header} for name, header in ASKED.items()
            },
            "headers": SENT,
            "examples": {code: {"value": _error(code)} for code in CODES},
            "securitySchemes": {
                "client": {
                    "type": "oauth2",
                    "description": "Client id and secret, by HTTP Basic or in the form.",
                    "flows": {"clientCredentials": {"tokenUrl": "/auth/token", "scopes": SCOPES}},
                }
            },
        },
    }


ABOUT: Final = """\
Amounts, quantities and prices are strings in plain notation. Times are RFC 3339 in UTC. Every key of a
resource is always there, `null` when it has no value. Unknown fields and parameters are refused, and all
that is wrong with a request is listed in `params`. Where a decimal is asked for, a JSON number in plain
digits is read too, from its text.

Lists are newest first; `Link` leads to the next page. What a client was answered it sees in its later
reads. Another tenant's id is answered like one that does not exist. An answer of 503, 429 or none at all
can be tried again with the same `Idempotency-Key`."""


def _operation(route: Route, whole: Whole) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "security": [{"client": [scope]} for scope in (route.scope, route.or_scope) if scope],
        "parameters": _parameters(route, whole.known_as[route.path]),
    }
    if route.body is not None:
        operation["requestBody"] = _request(route)
    responses: dict[str, Schema] = {}
    for status, kind in route.answers.items():
        response: Schema = {"description": ANSWERED.get(status, "Why not.")}
        response["headers"] = _headers(route, status)
        if kind is not None:
            schema = whole.answers[kind]
            # In 3.1 a stream of messages has no schema: readers would take one for a message's.
            is_stream = route.media == EVENT_STREAM
            response["content"] = {route.media: {} if is_stream else {"schema": schema}}
            if any(field.name == "format" for field in route.query):
                response["content"]["text/csv"] = {"schema": {"type": "string"}}
            if route.media == JSON:
                response["content"][JSON]["example"] = sample(schema, whole.components)
            if status < 300 and (links := _links(route, schema, whole)):
                response["links"] = links
        responses[str(status)] = response
    _add_errors(responses, route, whole.shared)
    operation["responses"] = dict(sorted(responses.items()))
    return operation


SHARED_CODES_MAX: Final = 4
ANSWERED: Final = {200: "Done.", 201: "Made.", 202: "It will be done.", 304: "It is what you have."}


def _tag(path: str) -> str:
    segments = [word for word in path[1:].split("/") if not word.startswith("{")]
    return segments[1] if segments[0] == "accounts" and len(segments) > 1 else segments[0]


def _request(route: Route) -> Schema:
    assert route.body is not None
    media: Schema = {"schema": of_body(route.body, is_form=route.is_form)}
    fields = fields_of(route)
    example = example_of(fields)
    if route.name in ASKS:
        media["examples"] = {
            name: {"value": {key: text for key, text in (example | words).items() if text is not None}}
            for name, words in ASKS[route.name].items()
        }
    elif example:
        media["example"] = [example] if isinstance(route.body, Rows) else example
    is_needed = any(field.is_needed for field in fields)
    return {"required": is_needed, "content": {FORM if route.is_form else JSON: media}}


def _add_errors(responses: dict[str, Schema], route: Route, shared: dict[str, Schema]) -> None:
    """The errors of a route: one response per status, with all of its codes.

    Responses with few codes are the same for many routes, and `shared`.
    """
    by_status: dict[int, list[str]] = defaultdict(list)
    for status, code in codes_of(route):
        by_status[status].append(code)
    for status, codes in by_status.items():
        error: Schema = {"$ref": f"{REF}Error", "properties": {"code": {"enum": codes}}}
        known = responses.get(str(status))
        if known is not None:  # a status that is also used by a regular answer
            known["content"][JSON] = {"schema": {"anyOf": [known["content"][JSON]["schema"], error]}}
            continue
        listed = "; ".join(f"`{code}`: {CODES[code].detail}" for code in codes)
        examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        response = {
            "description": listed + ".",
            "headers": _headers(route, status),
            "content": {JSON: {"schema": error, "examples": examples}},
        }
        if len(codes) <= SHARED_CODES_MAX:
            name = ".".join(codes)
            shared[name] = response
            response = {"$ref": f"#/components/responses/{name}"}
        responses[str(status)] = response


def _headers(route: Route, status: int) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in _sent_with(route, status)}


def _error(code: str) -> Schema:
    envelope: Schema = {"code": code, "detail": CODES[code].detail, "docs": docs_of(code)}
    if code in {"invalid_param", "missing_param"}:
        fault = "invalid_decimal" if code == "invalid_param" else "missing_param"
        envelope["params"] = [
            {"path": "body.amount", "detail": f"`amount` {FAULTS[fault]}.", "code": fault}
        ]
    return {**envelope, "request_id": "req_2ZKe7J5mPpQ3xVtYbNhWcR"}


def encoded(routes: Iterable[Route]) -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(document(routes))
