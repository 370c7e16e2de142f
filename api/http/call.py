"""The types of routing: a handler's input and output, and a row of the table of routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from api.http.kinds import Body, Fields
from api.http.services import Services
from api.http.streams import Line
from api.http.tokens import Principal

NOBODY: Final = Principal("", "", frozenset())
"""The caller of a public route."""

PREFIXES: Final = {
    "account_id": "acc",
    "order_id": "ord",
    "position_id": "pos",
    "deposit_id": "dep",
    "withdrawal_id": "wdr",
    "event_id": "evt",
    "action_id": "cac",
    "report_id": "rep",
    "webhook_id": "whk",
    "delivery_id": "whd",
}
"""Parameter of a path -> prefix of its ids. An id with another prefix is unknown."""


class Call:
    """One request, parsed and validated: a handler's only input.

    `path` are the values of the path's parameters, `query` and `body` the values of the route's
    fields (see `api.http.fields`). `accept` is the header of that name. `key` is the Idempotency-
    Key, `digest` the digest of the request. `on_behalf_of` is the person behind the client of a
    command. `min_offset` is the least offset of views. `url` and `raw_query` are unparsed. Public
    routes have `basic`, the HTTP Basic credentials; `known`, the If-None-Match; and `document`, the
    OpenAPI document. `address` is counted by the rate limits of such a route, and `limits` are their
    headers (see `api.http.rates`). `may_wait` is false for a command with `Prefer: no-wait`. A
    stream has `token`, checked again while it lasts, and `last_event`, the Last-Event-ID.
    """

    __slots__ = (
        "accept", "address", "basic", "body", "digest", "document", "engine", "key", "known",
        "last_event", "limits", "may_wait", "min_offset", "on_behalf_of", "path",
        "principal", "query", "raw_query", "request_id", "route", "token", "url",
    )  # fmt: skip

    def __init__(self, engine: Services, route: Route, path: Mapping[str, str], request_id: str) -> None:
        self.engine = engine
        self.route = route
        self.path = path
        self.request_id = request_id
        self.url = ""
        self.raw_query = ""
        self.principal: Principal = NOBODY
        self.query: Mapping[str, Any] = {}
        self.body: Any = {}
        self.on_behalf_of: str | None = None
        self.may_wait = True
        self.key: str | None = None
        self.digest: bytes | None = None
        self.min_offset = 0
        self.token = ""
        self.last_event: int | None = None
        self.basic: str | None = None
        self.accept = ""
        self.address = ""
        self.limits: Mapping[str, str] = {}
        self.known: str | None = None
        self.document: bytes = b""


class Answer(NamedTuple):
    """A response: `body` is JSON. With a `stream`, its output replaces the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] | None = None
    stream: Callable[[Line], Awaitable[None]] | None = None


Handler = Callable[[Call], Awaitable[Answer]]


class Route(NamedTuple):
    """One row of the table of routes.

    `scope` None: public. `name` is its operation id, which never changes. `answers` are the types of
    responses by status; `refusals` the codes of its own rules (`not_found` here: of an id inside the
    body). `body` None: not allowed. `is_form`: the handler receives the form's bytes. `is_fact` False:
    it appends no facts. `is_viewed`: it waits for a view, as each GET may. `is_sandbox`: sandbox only.
    `is_probe`: for load balancers, with its own quota. `can_wait`: `Prefer: no-wait` applies.
    `or_scope` is an alternative scope. `media` replaces JSON.
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    summary: str
    body: Body | None = None
    query: Fields = ()
    name: str = ""
    answers: Mapping[int, Any] = {}
    refusals: tuple[str, ...] = ()
    is_form: bool = False
    is_fact: bool = True
    is_viewed: bool = False
    is_sandbox: bool = False
    is_probe: bool = False
    can_wait: bool = False
    or_scope: str | None = None
    media: str = "application/json"

    @property
    def has_key(self) -> bool:
        """Whether an Idempotency-Key applies: to all writes except tokens."""
        return self.method != "GET" and self.scope is not None


class Leaf(NamedTuple):
    """A route, with its path's parameters in order."""

    route: Route
    names: tuple[str, ...]


class Node:
    """One segment of the path tree: possible next segments, and the routes that end here by method."""

    __slots__ = ("leaves", "parameter", "words")

    def __init__(self) -> None:
        self.words: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.leaves: dict[str, Leaf] = {}


def tree_of(routes: tuple[Route, ...]) -> Node:
    """The routes as a tree: one look-up per segment of a path. HEAD is routed as GET."""
    root = Node()
    for route in routes:
        node, names = root, []
        for segment in route.path[1:].split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                node = node.words.setdefault(segment, Node())
        assert route.method not in node.leaves, f"two routes for {route.method} {route.path}"
        node.leaves[route.method] = Leaf(route, tuple(names))
        if route.method == "GET":
            node.leaves["HEAD"] = node.leaves["GET"]
    return root
