"""The API's own documentation: the OpenAPI document, its page, and the lifecycle of orders."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from api.http.call import Answer, Call
from api.http.error_page import error_page
from api.http.problems import Problem
from engine.domain import order
from projections import shapes
from projections.resources import encode

STATIC: Final = Path(__file__).parent / "static"
FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
}
"""Files of the page; it needs no others."""
_KIND: Final = b"{kind}"
"""Placeholder of the journal's kind in the page."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: no other site is contacted."""


async def openapi(call: Call) -> Answer:
    """The OpenAPI document."""
    return _unless_known(call, call.document, "application/json")


ERRORS: Final = "errors.html"
"""The page of error codes, target of the `docs` links of errors."""


async def page(call: Call) -> Answer:
    """The page."""
    content = await call.engine.bridge.read(_read, "index.html")
    return _unless_known(call, content.replace(_KIND, call.engine.kind.encode()), "text/html")


async def file(call: Call) -> Answer:
    """One of FILES, or ERRORS."""
    name = call.path["file"]
    if name == ERRORS:
        return _unless_known(call, error_page(), "text/html")
    if name not in FILES:
        raise Problem("not_found")
    return _unless_known(call, await call.engine.bridge.read(_read, name), FILES[name])


@cache
def _read(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _unless_known(call: Call, content: bytes, media: str) -> Answer:
    """The content, or 304 if the client has it."""
    etag = f'"{blake2b(content, digest_size=16).hexdigest()}"'
    headers = {
        "Content-Type": media if media == "application/json" else f"{media}; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        "ETag": etag,
    }
    known = [tag.strip().removeprefix("W/") for tag in (call.known or "").split(",")]
    if etag in known or known == ["*"]:
        return Answer(304, b"", headers)
    return Answer(200, content, headers)


# --- the lifecycle of orders ----------------------------------------------------------------------


class Transition(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A fact possible in a status (null: the order does not exist yet), and the status after it."""

    before: shapes.OrderStatus | None
    fact: str
    after: shapes.OrderStatus


class StatusBody(msgspec.Struct, frozen=True):
    """A status of orders."""

    status: shapes.OrderStatus
    is_terminal: bool
    is_cancellable: bool


class LifecycleBody(msgspec.Struct, frozen=True):
    """The lifecycle of orders. Transitions not listed are impossible."""

    statuses: list[StatusBody]
    transitions: list[Transition]
    cancelled_reasons: list[shapes.CancelledReason]


def lifecycle() -> LifecycleBody:
    """The transition table of orders."""
    return LifecycleBody(
        [
            StatusBody(status, status in order.TERMINAL, status in order.CANCELLABLE)
            for status in shapes.WORDS["OrderStatus"]
        ],
        [Transition(before, fact.__name__, after) for (before, fact), after in order.NEXT.items()],
        list(order.REASONS),
    )


async def order_lifecycle(call: Call) -> Answer:  # noqa: ARG001  (every handler's shape)
    """The lifecycle of orders."""
    return Answer(200, encode(lifecycle()))
