"""Exceptions of the client, as one tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from order_engine_client.resources import Order


class Param(NamedTuple):
    """One fault of a request: where (`body.cash_amount`), what in words, and its code."""

    path: str
    detail: str
    code: str


class OrderEngineError(Exception):
    """The root. What is not known of an error is empty or None.

    `may_be_done` says that a write may have taken place: then the same call with
    `key=error.idempotency_key` finds out, and never does it twice.
    """

    code = "error"
    status: int | None = None
    params: tuple[Param, ...] = ()
    context: Mapping[str, Any] = {}
    docs: str | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    idempotency_key: str | None = None
    may_be_done = False

    def __init__(self, detail: str = "", **known: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        vars(self).update(known)

    def __str__(self) -> str:
        about = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.detail}{about}"


class NoAnswer(OrderEngineError):
    """No answer came: the connection could not be made or was lost, or time was over."""

    code = "no_answer"


class UnexpectedAnswer(OrderEngineError):
    """An answer that is not what the API documents: something else answers at this address."""

    code = "unexpected_answer"


class InvalidSignature(OrderEngineError):
    """A webhook request that the engine did not sign, or too long ago."""

    code = "invalid_signature"


class StillWaiting(OrderEngineError):
    """An order did not come to the status that was waited for. `order` is how it was last seen."""

    code = "still_waiting"

    def __init__(self, detail: str = "", *, order: Order | None = None) -> None:
        super().__init__(detail, order=order)
        self.order = order


class Problem(OrderEngineError):
    """The engine answered with an error: `code` says which, `status` is that of HTTP."""


class Refused(Problem):
    """4xx: not done, and the same request will be refused again."""


class Invalid(Refused):
    """400: `params` names each fault, or a rule of trading forbids it (`insufficient_funds` ...)."""


class NotAuthenticated(Refused):
    """401: client and secret, or the token, are not accepted."""


class Forbidden(Refused):
    """403: the scope is missing, or the account does not allow it."""


class NotFound(Refused):
    """An id names nothing of this client: 404 for one in the path, 400 for one in the body."""


class Conflict(Refused):
    """409: it is too late for it, or the idempotency key was used for something else."""


class TooManyRequests(Refused):
    """429, after all tries."""


class ServerFault(Problem):
    """5xx."""


class Unavailable(ServerFault):
    """502, 503 or 504, after all tries."""


BY_STATUS: Final[Mapping[int, type[Problem]]] = {
    400: Invalid,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""Status -> class; others are Refused or ServerFault."""

BY_CODE: Final[Mapping[str, type[Problem]]] = {"not_found": NotFound}
"""Codes with a class of their own at any status: an id in a body that names nothing is answered 400."""


class _Envelope(msgspec.Struct):
    """The body of an error: the API's own, or that of the token endpoint (RFC 6749)."""

    code: str = ""
    detail: str = ""
    params: list[dict[str, str]] = []
    context: dict[str, Any] = {}
    docs: str | None = None
    request_id: str | None = None
    error: str = ""
    error_description: str = ""


_envelope: Final = msgspec.json.Decoder(_Envelope)


def problem_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: str | None = None,
    retry_after_s: float | None = None,
    may_be_done: bool = False,
) -> OrderEngineError:
    """The exception for an answer that is no success. `headers` are found in any case of letters."""
    known: dict[str, Any] = {
        "status": status,
        "request_id": headers.get("Request-Id"),
        "retry_after_s": retry_after_s,
        "idempotency_key": key,
        "may_be_done": may_be_done,
    }
    if status < 400:
        return UnexpectedAnswer(f"HTTP {status}", **known)
    try:
        said = _envelope.decode(body)
    except msgspec.DecodeError:  # a proxy's own words
        said = _Envelope()
    known["code"] = said.code or said.error or f"http_{status}"
    kind = BY_CODE.get(said.code) or BY_STATUS.get(status, Refused if status < 500 else ServerFault)
    known["request_id"] = known["request_id"] or said.request_id
    known["params"] = tuple(
        Param(param.get("path", ""), param.get("detail", ""), param.get("code", ""))
        for param in said.params
    )
    known |= {"context": said.context, "docs": said.docs}
    return kind(said.detail or said.error_description or f"HTTP {status}", **known)
