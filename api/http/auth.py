"""`POST /auth/token`: client credentials against an access token (RFC 6749, 4.4 and 5).

Knows no web framework. `grant` looks clients up in the database: call it off the event loop.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from msgspec import Meta

from api.http.tokens import Tokens
from engine.kernel.ids import is_id
from engine.kernel.limits import TOKEN_LIFE_S
from engine.registers.clients import SCOPES, Client, Clients, in_order

ERRORS: Final = {
    "invalid_request": (400, "a parameter is missing, given twice, or malformed"),
    "invalid_client": (401, "the client is unknown, its secret is wrong, or none was given"),
    "unsupported_grant_type": (400, "grant_type must be client_credentials"),
    "invalid_scope": (400, "a scope is unknown, or not one of this client's"),
}
"""Error code of RFC 6749, 5.2 -> HTTP status and description."""

CHALLENGE: Final = 'Basic realm="order-engine", charset="UTF-8"'
PARAMETERS_MAX: Final = 20
"""Parameters of a form; only four have a meaning."""


class TokenBody(msgspec.Struct, frozen=True):
    """An access token; `scope` has blanks between its words."""

    access_token: str
    token_type: Annotated[str, Meta(extra_json_schema={"enum": ["bearer"]})]
    expires_in: Annotated[int, Meta(examples=[TOKEN_LIFE_S])]
    scope: Annotated[str, Meta(examples=[" ".join(SCOPES)])]


class TokenError(msgspec.Struct, frozen=True):
    """RFC 6749, 5.2."""

    error: Annotated[str, Meta(extra_json_schema={"enum": list(ERRORS)})]
    error_description: str


class TokenAnswer(NamedTuple):
    """The endpoint's answer: status, JSON body, headers.

    `client` was granted a token; `asked` is the client named in a refused request, and may not exist.
    """

    status: int
    body: TokenBody | TokenError
    headers: dict[str, str]
    client: str | None = None
    asked: str | None = None


class _Denied(Exception):
    def __init__(self, code: str, asked: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.asked = asked


def grant(clients: Clients, tokens: Tokens, form: bytes, authorization: str | None) -> TokenAnswer:
    """The answer to a token request: the form's bytes, and the `Authorization` header, if any.

    Every fault of the request is an answer; raises Unavailable if clients cannot be read.
    """
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    try:
        client, scopes = _granted(clients, form, authorization)
    except _Denied as denied:
        status, description = ERRORS[denied.code]
        if status == 401 and authorization is not None:
            headers["WWW-Authenticate"] = CHALLENGE
        asked = denied.asked if is_id(denied.asked or "", "cli") else None
        return TokenAnswer(status, TokenError(denied.code, description), headers, asked=asked)
    body = TokenBody(tokens.issue(client, scopes), "bearer", TOKEN_LIFE_S, in_order(scopes))
    return TokenAnswer(200, body, headers, client.id)


def _granted(clients: Clients, form: bytes, authorization: str | None) -> tuple[Client, frozenset[str]]:
    given = _parameters(form)
    credentials = _credentials(given, authorization)
    grant_type = given.get("grant_type")
    if grant_type is None:
        raise _Denied("invalid_request")
    if grant_type != "client_credentials":
        raise _Denied("unsupported_grant_type")
    client = clients.authenticate(*credentials)
    if client is None:
        raise _Denied("invalid_client", credentials[0])
    scopes = frozenset(given.get("scope", "").split()) or client.scopes
    if not scopes <= client.scopes:
        raise _Denied("invalid_scope", client.id)
    return client, scopes


def _parameters(form: bytes) -> dict[str, str]:
    """Parameters of the form. Those without a value count as not given, unknown ones are ignored."""
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            form.decode("ascii"),
            errors="strict",
            strict_parsing=bool(form),
            max_num_fields=PARAMETERS_MAX,
        )
    except ValueError:
        raise _Denied("invalid_request") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise _Denied("invalid_request")
    return given


def _credentials(given: dict[str, str], authorization: str | None) -> tuple[str, str]:
    """(client id, secret), by exactly one of the two ways."""
    if authorization is None:
        client_id, secret = given.get("client_id"), given.get("client_secret")
        if client_id is None or secret is None:
            raise _Denied("invalid_client")
        return client_id, secret
    client_id, secret = _basic(authorization)
    if "client_secret" in given or given.get("client_id", client_id) != client_id:
        raise _Denied("invalid_request")
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise _Denied("invalid_client")
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise _Denied("invalid_client") from None
    client_id, colon, secret = text.partition(":")
    if not colon:
        raise _Denied("invalid_client")
    return unquote_plus(client_id), unquote_plus(secret)
