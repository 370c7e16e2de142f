"""What a handler is given and what it gives back; what a row of the table of routes says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from api.http.kinds import Body, Fields
from api.http.services import Services
from api.http.streams import Line
from api.http.tokens import Principal

NOBODY: Final = Principal("", "", frozenset())
"""Who calls a route that is open to all."""

PREFIXES: Final = {
    "account_id": "acc",
    "order_id": "ord",
    "position_id": "pos",
    "deposit_id": "dep",
    "withdrawal_id": "wdr",
    "event_id": "evt",
    "report_id": "rep",
    "webhook_id": "whk",
    "delivery_id": "whd",
}
"""Parameter of a path -> prefix of the ids that it may be. Any other is the id of nothing."""


class Call:
    """One request, read and checked: a handler needs to look at nothing else.

    `path` are the values of the path's parameters, `query` and `body` the values of the route's fields
    (see `api.http.fields`). `accept` is the header of that name. `key` is the Idempotency-Key, `digest`
    then the SHA-256 of the request. `on_behalf_of` is the person behind the client of a command.
    `min_offset` is how far views must be at least. `url` and `raw_query` are as they came. Routes that
    are open to all have `basic`, what HTTP Basic gave; `known`, the If-None-Match; and `document`, the
    API's description of itself. `address` is who is counted on such a route, and `limits` what the
    answer says of that (see `api.http.rates`). A stream has `token`, to be looked at again while it
    lasts, and `last_event`, the Last-Event-ID.
    """

    __slots__ = (
        "accept", "address", "basic", "body", "digest", "document", "engine", "key", "known",
        "last_event", "limits", "min_offset", "on_behalf_of", "path",
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
    """What is sent back: `body` is JSON. With a `stream`, what that sends comes in place of a body."""

    status: int
    body: bytes
    headers: Mapping[str, str] | None = None
    stream: Callable[[Line], Awaitable[None]] | None = None


Handler = Callable[[Call], Awaitable[Answer]]


class Route(NamedTuple):
    """One row of the table of routes.

    `scope` None: open to all. `name` is what clients' programs call it: it never changes. `answers` are
    the types of what is sent, by status; `refusals` the codes that only its own rules give
    (`not_found` here: of an id inside the body). `body` None: there must be none. `is_form`: the
    body is a form, whose bytes the handler is given.
    `is_fact` False: what it writes is in no journal. `is_viewed`: it waits for a view, as each GET may.
    `is_sandbox`: not found elsewhere. `is_probe`: asked by load
    balancers, with a quota of its own. `or_scope` is another scope that opens it.
    `media` is what it sends instead of JSON.
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
    or_scope: str | None = None
    media: str = "application/json"

    @property
    def has_key(self) -> bool:
        """Whether an Idempotency-Key is looked at: of all that write, but for tokens."""
        return self.method != "GET" and self.scope is not None


class Leaf(NamedTuple):
    """A route, and the names of its path's parameters in their order."""

    route: Route
    names: tuple[str, ...]


class Node:
    """One segment of the tree of paths: what may follow it, and the routes that end here by method."""

    __slots__ = ("leaves", "parameter", "words")

    def __init__(self) -> None:
        self.words: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.leaves: dict[str, Leaf] = {}


def tree_of(routes: tuple[Route, ...]) -> Node:
    """The routes as a tree: a path is found by one look-up a segment. HEAD goes where GET does."""
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
