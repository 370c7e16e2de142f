"""What went wrong, as HTTP says it: one table of codes, one of errors, one envelope.

{"code", "detail", "params"?, "context"?, "request_id"}
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from api.kinds import FAULTS
from engine.errors import (
    EngineError,
    JournalDamaged,
    JournalWentBack,
    NotYetSealed,
    RebuildRunning,
    Refused,
    Unavailable,
    VersionConflict,
    ViewBehind,
    ViewQuarantined,
)
from engine.fact import from_us
from engine.refusals import REFUSALS
from engine.values import plain

_LOG: Final = logging.getLogger("order_engine.api")


class Code(NamedTuple):
    """`status` that a code is answered with, `retry_after_s` when trying again may help."""

    status: int
    detail: str
    retry_after_s: int | None = None


CODES: Final[dict[str, Code]] = {
    **{code: Code(refusal.status, refusal.when) for code, refusal in REFUSALS.items()},
    "not_found": Code(404, "there is no such thing for this client"),
    "missing_token": Code(401, "an access token is needed: Authorization: Bearer ..."),
    "invalid_token": Code(401, "the access token is malformed, expired or revoked"),
    "insufficient_scope": Code(403, "the access token does not have the scope that is needed"),
    "method_not_allowed": Code(405, "the path does not have this method"),
    "request_timeout": Code(408, "the message was not complete in time"),
    "body_too_large": Code(413, "the body is too large"),
    "unsupported_media_type": Code(415, "the body must be plain application/json"),
    "expectation_failed": Code(417, "only 100-continue can be expected"),
    "rate_limited": Code(429, "too many requests", 1),
    "headers_too_large": Code(431, "the request line or a header is too long"),
    "client_request_id_too_long": Code(400, "Client-Request-Id has over 255 characters"),
    "api_version_invalid": Code(400, "Api-Version is a date, YYYY-MM-DD"),
    "api_version_unsupported": Code(400, "this Api-Version is not supported"),
    "offset_in_future": Code(400, "Min-Journal-Offset is beyond the journal's end"),
    "rebuild_running": Code(409, "views are being rebuilt or verified already: one at a time"),
    "server_error": Code(500, "an error of the server; it has been logged"),
    "unavailable": Code(503, "the database cannot be used now; nothing is lost", 1),
    "view_behind": Code(503, "the view has not caught up yet", 1),
    "not_yet_sealed": Code(503, "no signed checkpoint covers the newest facts yet", 10),
    "view_quarantined": Code(503, "the view holds a fact that it cannot read", 60),
    "journal_damaged": Code(503, "the journal is damaged; an operator has to look", 60),
    "journal_went_back": Code(
        503, "the journal lacks facts that were acknowledged; an operator has to decide how to go on", 60
    ),
}
"""Every code that an answer may have."""
_SHAPES: Final = frozenset(
    ("invalid_request", "invalid_param", "missing_param", "not_found", "idempotency_key_too_long")
)
MISTAKES: Final = frozenset(
    code
    for code, known in CODES.items()
    if known.status < 500 and (code not in REFUSALS or code in _SHAPES)
) - {"request_timeout"}
"""What a client that works is not told again and again. All else under 500 is what a rule says of a
command that may be right; and a timeout has taken its time."""


class Param(msgspec.Struct, frozen=True):
    """One bad value: where it stands, like `body.cash_amount`, and why."""

    path: str
    detail: str
    code: Annotated[str, Meta(extra_json_schema={"enum": list(FAULTS)})]


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every error is answered with, but those of the token endpoint."""

    code: Annotated[str, Meta(extra_json_schema={"enum": list(CODES)})]
    detail: str
    request_id: Annotated[str, Meta(pattern="^req_[0-9A-Za-z]{22}$")]
    params: list[Param] = []
    context: dict[str, Any] = {}


class Problem(Exception):
    """An answer that is not what was asked for. `code` is one of CODES."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        params: Sequence[Mapping[str, str]] = (),
        context: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        is_last: bool = False,
    ) -> None:
        super().__init__(code)
        known = CODES[code]
        self.code, self.status, self.detail = code, known.status, detail or known.detail
        self.params, self.context = params, context
        self.headers = dict(headers or {})
        if known.retry_after_s is not None:
            self.headers.setdefault("Retry-After", str(known.retry_after_s))
        self.is_last = is_last
        """Whether the connection is of no use afterwards."""

    def body(self, request_id: str) -> bytes:
        """The envelope."""
        envelope: dict[str, Any] = {"code": self.code, "detail": self.detail}
        if self.params:
            envelope["params"] = self.params
        if self.context:
            envelope["context"] = {name: _printed(value) for name, value in self.context.items()}
        envelope["request_id"] = request_id
        return msgspec.json.encode(envelope)


ENGINE_CODES: Final[tuple[tuple[type[EngineError], str], ...]] = (
    (JournalDamaged, "journal_damaged"),
    (JournalWentBack, "journal_went_back"),
    (ViewBehind, "view_behind"),
    (ViewQuarantined, "view_quarantined"),
    (RebuildRunning, "rebuild_running"),
    (NotYetSealed, "not_yet_sealed"),
    (Unavailable, "unavailable"),
    (VersionConflict, "unavailable"),  # lost every round against others: later is better
)
"""Error of the machinery -> code; the first that fits. Any other is a `server_error`."""


def problem_of(error: Exception, body_fields: Collection[str] = (), request_id: str = "") -> Problem:
    """The answer to an error. What is not the client's doing is logged here, once.

    `body_fields` are the names of the fields that the request's body may have.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused) and error.code in CODES:
        return _refusal(error, body_fields)
    for kind, code in ENGINE_CODES:
        if isinstance(error, kind):
            _LOG.warning("answered %s: %s", code, type(error).__name__, extra={"request_id": request_id})
            return Problem(code)
    _LOG.error("a request failed", exc_info=error, extra={"request_id": request_id})
    return Problem("server_error")


def _refusal(error: Refused, body_fields: Collection[str]) -> Problem:
    context = dict(error.context)
    params: Any = context.pop("params", ())
    path = context.pop("path", None)
    params = [{**param, "path": _dotted(str(param["path"]))} for param in params]
    if error.code != "not_found":
        return Problem(error.code, error.detail, params=params, context=context)
    if path not in body_fields:
        return Problem("not_found")  # of another tenant or of nobody: the same words
    param = {"path": f"body.{path}", "detail": error.detail, "code": "not_found"}
    problem = Problem("not_found", error.detail, params=[param])
    problem.status = 400
    return problem


def _dotted(path: str) -> str:
    return path if path.startswith(("body.", "query.")) else f"body.{path}"


def _printed(value: object) -> Any:
    """As answers print it: decimals and times are strings."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return [_printed(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def time_text(at_us: int) -> str:
    """RFC 3339 in UTC; whole seconds have no fraction."""
    return from_us(at_us).isoformat().replace("+00:00", "Z")
