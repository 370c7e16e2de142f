"""What the API says of itself: its document, a page to read it with, and what can happen to an order."""

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
"""What the page is made of; all of it is here."""
_KIND: Final = b"{kind}"
"""What the page has where it says what the journal is."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: nothing is asked of any other site."""


async def openapi(call: Call) -> Answer:
    """The OpenAPI document."""
    return _unless_known(call, call.document, "application/json")


ERRORS: Final = "errors.html"
"""The page of error codes, whose paragraphs `docs` of an error names."""


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
    """The content, or 304 to who has it."""
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


# --- what can happen to an order ------------------------------------------------------------------


class Transition(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A fact that an order may have in a status (null: it does not exist yet), and its status then."""

    before: shapes.OrderStatus | None
    fact: str
    after: shapes.OrderStatus


class StatusBody(msgspec.Struct, frozen=True):
    """A status of orders."""

    status: shapes.OrderStatus
    is_terminal: bool
    is_cancellable: bool


class LifecycleBody(msgspec.Struct, frozen=True):
    """All that can happen to an order. What is not listed cannot."""

    statuses: list[StatusBody]
    transitions: list[Transition]
    cancelled_reasons: list[shapes.CancelledReason]


def lifecycle() -> LifecycleBody:
    """The table by which orders are decided."""
    return LifecycleBody(
        [
            StatusBody(status, status in order.TERMINAL, status in order.CANCELLABLE)
            for status in shapes.WORDS["OrderStatus"]
        ],
        [Transition(before, fact.__name__, after) for (before, fact), after in order.NEXT.items()],
        list(order.REASONS),
    )


async def order_lifecycle(call: Call) -> Answer:  # noqa: ARG001  (every handler's shape)
    """What can happen to an order, and in which state."""
    return Answer(200, encode(lifecycle()))
