"""Errors over HTTP: one table of codes, one of exceptions, one envelope.

{"code", "detail", "docs", "params"?, "context"?, "request_id"}
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from api.http.kinds import FAULTS
from engine.domain.streams import prefix_of
from engine.kernel.errors import (
    DiskFull,
    EngineError,
    Inaccessible,
    JournalDamaged,
    JournalWentBack,
    NotYetSealed,
    RebuildRunning,
    Refused,
    Unavailable,
    VersionConflict,
    ViewBehind,
    ViewQuarantined,
    ViewsDamaged,
)
from engine.kernel.fact import to_us
from engine.kernel.ids import is_id
from engine.kernel.refusals import REFUSALS, leaf_of, sentence_of
from engine.kernel.sentences import fill_in
from engine.kernel.times import rfc3339
from engine.kernel.values import plain

_LOG: Final = logging.getLogger("order_engine.api")


class Code(NamedTuple):
    """An error code with its `status`, and `retry_after_s` if a retry may help.

    `detail` is the default sentence, and the code's paragraph in the docs.
    """

    status: int
    detail: str
    retry_after_s: int | None = None


REFUSED_WITH: Final[dict[str, int]] = {
    "invalid_request": 400,
    "invalid_param": 400,
    "missing_param": 400,
    "not_found": 404,
    "instrument_not_trading": 400,
    "instrument_buy_only": 400,
    "instrument_sell_only": 400,
    "currency_not_supported": 400,
    "insufficient_funds": 400,
    "insufficient_units": 400,
    "missing_price": 400,
    "price_too_old": 400,
    "order_too_large": 400,
    "account_daily_limit": 400,
    "tenant_daily_limit": 400,
    "duplicate_order": 409,
    "instrument_too_close_to_maturity": 400,
    "account_overdrawn": 403,
    "trading_halted": 403,
    "buy_order_forbidden": 403,
    "sell_order_forbidden": 403,
    "deposit_forbidden": 403,
    "withdrawal_forbidden": 403,
    "idempotency_key_too_long": 400,
    "idempotency_key_conflict": 409,
    "idempotency_key_expired": 409,
    "order_cancel_forbidden": 409,
    "rollover_locked": 409,
    "same_client": 403,
    "report_not_bookable": 409,
    "quote_invalid": 400,
    "quote_already_consumed": 409,
    "quote_price_moved": 409,
    "price_changed": 409,
    "duplicate_webhook": 409,
    "webhook_inactive": 409,
    "too_many_webhooks": 409,
}
"""Code of `engine.kernel.refusals` -> HTTP status. 400: the request as it stands; 403: the rights or the
state of the account; 404 and 409: what else there is."""

CODES: Final[dict[str, Code]] = {
    **{code: Code(REFUSED_WITH[code], refusal.when) for code, refusal in REFUSALS.items()},
    "not_found": Code(
        404, "No resource of this id for this client; ids of other tenants count as unknown."
    ),
    "missing_token": Code(401, "An access token is needed: `Authorization: Bearer ...`."),
    "invalid_token": Code(401, "The access token is malformed, expired or revoked. Get a new one."),
    "insufficient_scope": Code(403, "The access token lacks the scope that this operation needs."),
    "method_not_allowed": Code(405, "The path does not have this method; `Allow` lists its methods."),
    "request_timeout": Code(408, "The message was not complete within 10 s. Send it again."),
    "body_too_large": Code(413, "The body is larger than 64 KiB."),
    "unsupported_media_type": Code(415, "The body must be `application/json`, without encoding."),
    "expectation_failed": Code(417, "`Expect` may only be `100-continue`."),
    "rate_limited": Code(429, "Too many requests. Try again after `Retry-After`.", 1),
    "headers_too_large": Code(431, "The request line or the headers are too long."),
    "client_request_id_too_long": Code(400, "`Client-Request-Id` has at most 255 characters."),
    "api_version_invalid": Code(400, "`Api-Version` is a date, YYYY-MM-DD."),
    "api_version_unsupported": Code(400, "This `Api-Version` is not supported."),
    "offset_in_future": Code(400, "`Min-Journal-Offset` is beyond the journal's end."),
    "rebuild_running": Code(
        409, "Views are already being rebuilt or verified. Try again when that has ended."
    ),
    "server_error": Code(500, "An internal error, logged under this `request_id`."),
    "unavailable": Code(503, "The database is unavailable; nothing is lost. Try again.", 1),
    "view_behind": Code(503, "The view has not caught up yet. Try again.", 1),
    "not_yet_sealed": Code(503, "No signed checkpoint covers the newest facts yet. Try again.", 10),
    "view_quarantined": Code(
        503, "The view has a fact that it cannot fold; an operator has to repair it.", 60
    ),
    "journal_damaged": Code(
        503, "The journal is damaged and takes no writes; an operator has to repair it.", 60
    ),
    "views_damaged": Code(
        503, "The views were damaged or deleted, and are being rebuilt. Try again.", 1
    ),
    "journal_went_back": Code(
        503, "The journal lacks acknowledged facts and takes no writes; an operator has to decide.", 60
    ),
}
"""Every error code of the API."""
_SHAPES: Final = frozenset(
    ("invalid_request", "invalid_param", "missing_param", "not_found", "idempotency_key_too_long")
)
MISTAKES: Final = frozenset(
    code
    for code, known in CODES.items()
    if known.status < 500 and (code not in REFUSALS or code in _SHAPES)
) - {"request_timeout"}
"""Errors that a correct client does not repeat. Other errors below 500 are refusals by a rule, normal
for a correct client; a time-out has already taken its time."""


class Param(msgspec.Struct, frozen=True):
    """One bad value: its position, like `body.cash_amount`, and its fault in a sentence."""

    path: str
    detail: str
    code: Annotated[str, Meta(extra_json_schema={"enum": list(FAULTS)})]


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error, except those of the token endpoint."""

    code: Annotated[str, Meta(extra_json_schema={"enum": list(CODES)})]
    detail: str
    docs: Annotated[str, Meta(description="Where this engine explains the code.")]
    request_id: Annotated[str, Meta(pattern="^req_[0-9A-Za-z]{22}$")]
    params: list[Param] = []
    context: dict[str, Any] = {}


class Problem(Exception):
    """An error answer. `code` is one of CODES."""

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
        """Whether the connection must be closed afterwards."""

    def body(self, request_id: str) -> bytes:
        """The envelope."""
        envelope: dict[str, Any] = {
            "code": self.code,
            "detail": self.detail,
            "docs": docs_of(self.code),
        }
        if self.params:
            envelope["params"] = self.params
        if self.context:
            envelope["context"] = {name: _printed(value) for name, value in self.context.items()}
        envelope["request_id"] = request_id
        return msgspec.json.encode(envelope)


def docs_of(code: str) -> str:
    """The address of a code's paragraph, relative, so that it works behind any path prefix."""
    return f"/docs/errors.html#{code}"


_PLACED: Final = {
    "journal_damaged": "The journal is damaged at position {position} and takes no writes;"
    " an operator has to repair it.",
    "journal_went_back": "The journal lacks acknowledged facts after position {position} and takes no"
    " writes; an operator has to decide.",
}
"""Code -> its detail with a known position, which `context` then includes."""

ENGINE_CODES: Final[tuple[tuple[type[EngineError], str, str], ...]] = (
    (JournalDamaged, "journal_damaged", ""),
    (JournalWentBack, "journal_went_back", ""),
    (ViewBehind, "view_behind", ""),
    (ViewsDamaged, "views_damaged", ""),
    (ViewQuarantined, "view_quarantined", ""),
    (RebuildRunning, "rebuild_running", ""),
    (NotYetSealed, "not_yet_sealed", ""),
    (DiskFull, "unavailable", "The disk of the database is full; an operator has to make room."),
    (Inaccessible, "unavailable", "The database refuses to be written; an operator has to repair it."),
    (Unavailable, "unavailable", ""),
    (VersionConflict, "unavailable", ""),  # lost every round against other processes: retry later
)
"""Technical error -> code, and the known particulars; the first match counts. All others are a
`server_error`."""


def problem_of(
    error: Exception,
    body_fields: Collection[str] = (),
    request_id: str = "",
    path: Mapping[str, str] = {},
    given: object = None,
) -> Problem:
    """The answer to an error. Errors not caused by the client are logged here, once.

    `body_fields` are the names of the fields that the request's body may have, `path` the parameters of
    its path, `given` the values of the body.
    """
    if isinstance(error, Refused) and error.code in CODES:
        error = _refusal(error, body_fields, given)
    if isinstance(error, Problem):
        if error.code == "not_found" and error.detail == CODES["not_found"].detail:
            error.detail = not_found(path)
        return error
    for kind, code, detail in ENGINE_CODES:
        if isinstance(error, kind):
            _LOG.warning("answered %s: %s", code, type(error).__name__, extra={"request_id": request_id})
            return _of_engine(code, error, detail)
    _LOG.error("a request failed", exc_info=error, extra={"request_id": request_id})
    return Problem("server_error")


def _of_engine(code: str, error: Exception, detail: str) -> Problem:
    position = getattr(error, "context", {}).get("position")
    if code not in _PLACED or position is None:
        return Problem(code, detail)
    context = {"position": position}
    return Problem(code, fill_in((_PLACED[code],), context), context=context)


def _refusal(error: Refused, body_fields: Collection[str], given: object) -> Problem:
    context = dict(error.context)
    params: Any = context.pop("params", ())
    path = context.pop("path", None)
    params = [_param(param) for param in params]
    if error.code != "not_found":
        return Problem(error.code, error.detail, params=params, context=context)
    if path not in body_fields:
        return Problem("not_found")  # of another tenant or unknown: the same words
    value = given.get(path) if isinstance(given, Mapping) else None
    which = f"`{path}` {value}" if _is_some_id(value) else f"`{path}`"
    detail = f"{which} {FAULTS['not_found']}."
    param = {"path": f"body.{path}", "detail": detail, "code": "not_found"}
    problem = Problem("not_found", detail, params=[param])
    problem.status = 400
    return problem


_PREFIXES: Final = frozenset(("acc", "dep", "ins", "ord", "rep", "whk", "wdr"))
"""Prefixes of ids in bodies."""


def _is_some_id(value: object) -> bool:
    """Whether the value is an id, and so may be repeated in an answer."""
    return isinstance(value, str) and (prefix := prefix_of(value)) in _PREFIXES and is_id(value, prefix)


def _param(param: Mapping[str, str]) -> dict[str, str]:
    path = param["path"]
    if not path.startswith(("body.", "query.", "path.")):
        path = f"body.{path}"
    return {**param, "path": path, "detail": sentence_of(leaf_of(path), param["detail"])}


NOUNS: Final = {
    "account_id": "account",
    "id_or_reference": "account",
    "order_id": "order",
    "position_id": "position",
    "deposit_id": "deposit",
    "withdrawal_id": "withdrawal",
    "instrument_id": "instrument",
    "id_or_symbol": "instrument",
    "event_id": "event",
    "action_id": "corporate action",
    "webhook_id": "webhook",
    "delivery_id": "delivery",
    "report_id": "parked report",
    "symbol": "waiting price",
    "name": "projection",
    "stream": "stream",
    "file": "file",
}
"""Parameter of a path -> its noun."""


def not_found(path: Mapping[str, str]) -> str:
    """The sentence of a 404 by the parameters of its path: "No order `ord_...` in account `acc_...`.".

    It only repeats the request: another tenant's id is answered like an unknown one.
    """
    named = [f"{NOUNS[name]} `{value}`" for name, value in reversed([*path.items()]) if name in NOUNS]
    return f"No {' in '.join(named)}." if named else "No such path; `/openapi.json` lists all."


def _printed(value: object) -> Any:
    """The JSON form of a context value: decimals and times are strings."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return rfc3339(to_us(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return [_printed(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)
