"""Reads from views: at least as new as the client has seen, and as the journal was at the process's
start. Personal words are filled in page by page. For single resources see `current`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode

from api.http.call import Answer, Call
from api.http.current import JOURNAL, VIEW
from api.http.problems import Problem
from engine.kernel.errors import ViewBehind
from engine.kernel.limits import VIEW_WAIT_S
from projections.database import Views
from projections.listing import Listed, Shown
from projections.resources import filled

R = TypeVar("R")
_UNREAD: Final = 2**63
"""Beyond every offset."""


class Sight:
    """The views for one answer: see `listing.Reader`.

    Each must have reached `needed`; `offset` is the least of their offsets.
    """

    def __init__(self, views: Views, needed: int) -> None:
        self._views = views
        self._needed = needed
        self.offset = _UNREAD

    @property
    def shapes(self) -> Mapping[str, str]:
        return self._views.shapes

    def check(self, view: str, stream: str = "", owner: str = "") -> int:
        """Raises ViewBehind, ViewQuarantined."""
        return self._come(view, self._views.check(view, stream, owner))

    def withheld(self, view: str, column: str = "", owner: str = "") -> int:
        """Raises ViewBehind."""
        reached, count = self._views.come_to(view, column, owner)
        self._come(view, reached)
        return count

    def reach(self, view: str) -> int:
        """As `check`, for a caller that checks quarantine itself."""
        return self._come(view, self._views.offset(view))

    def _come(self, view: str, reached: int) -> int:
        if reached < self._needed:
            raise ViewBehind(f"{view} is at {reached}, not at {self._needed}", view=view)
        self.offset = min(self.offset, reached)
        return reached

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._views.query(statement, values)

    def is_ours(self, view: str) -> bool:
        return self._views.is_ours(view)


async def own_account(call: Call) -> str:
    """The account of the path. Raises Problem `not_found` unless it is the caller's tenant's."""
    account = call.path["account_id"]
    if not await call.engine.is_account_of(call.principal.tenant, account):
        raise Problem("not_found")
    return account


async def listed(
    call: Call,
    question: Callable[..., Listed],
    *words: Any,
    personal: Sequence[str] = (),
    shown: Callable[[bytes], bytes] | None = None,
    subject: Callable[[Shown], str] = lambda row: row.id,
    **filters: Any,
) -> Answer:
    """A page of a list: `question(views, *words, limit=, before=, **filters)`.

    `personal` names the words to fill in, for the subject of each row given by `subject`; `shown`
    completes a body, and may block. Raises Problem
    `view_behind`; ViewQuarantined; Refused for a `before` that is not in this list.
    """
    query = call.query
    asked = partial(question, limit=query["limit"], before=query["before"], **filters)
    page, headers = await viewed(call, lambda views: asked(views, *words))
    rows = [row.body for row in page.rows]
    if personal and rows:
        subjects = [subject(row) for row in page.rows]
        known = await call.engine.bridge.read(call.engine.personal.words, sorted(set(subjects)))
        rows = [
            filled(body, personal, known.get(one, {})) for body, one in zip(rows, subjects, strict=True)
        ]
    if shown is not None:
        rows = await call.engine.bridge.read(lambda: list(map(shown, rows)))
    headers |= withholding(page.withheld)
    if page.has_more:
        headers["Link"] = following(call, page.rows[-1].id)
    return Answer(200, b"[" + b",".join(rows) + b"]", headers)


def withholding(count: int) -> dict[str, str]:
    """The header with the number of withheld resources of the caller."""
    return {"Withheld-Resources": str(count)} if count else {}


async def viewed(
    call: Call, ask: Callable[[Sight], R], *, needed: int | None = None
) -> tuple[R, dict[str, str]]:
    """The result of `ask` on the views, and the header with their offset.

    They must have reached `needed`; None: the offset that this client has seen. Waits briefly. Raises
    Problem `view_behind`; ViewQuarantined.
    """
    loop, services, client = asyncio.get_running_loop(), call.engine, call.principal.client
    if needed is None:
        needed = max(call.min_offset, services.seen(client))
    deadline = loop.time() + VIEW_WAIT_S
    while True:
        sight = Sight(services.views, needed)
        try:
            answer = await services.bridge.read(ask, sight)
            break
        except ViewBehind as error:
            view = str(error.context["view"])
        while (await services.progress.look()).get(view, -1) < needed:
            if loop.time() > deadline:
                raise Problem("view_behind", context={"view": view, "needed": needed})
    assert sight.offset < _UNREAD, "it has asked no view"
    services.saw(client, sight.offset)
    return answer, {VIEW: str(sight.offset)}


def recorded(call: Call, offset: int) -> dict[str, str]:
    """The header of an answer read from the journal up to `offset`."""
    call.engine.saw(call.principal.client, offset)
    return {JOURNAL: str(offset)}


async def with_words(call: Call, body: bytes, subject: str, *names: str) -> bytes:
    """A resource with the personal words of `subject`."""
    known = await call.engine.bridge.read(call.engine.personal.words, [subject])
    return filled(body, names, known.get(subject, {}))


async def has_come_to(call: Call, offset: int) -> bool:
    """Whether the journal has a fact at this offset."""
    services = call.engine
    if offset > services.newest:
        await services.bridge.read(services.head)
    return offset <= services.newest


async def check_offset(call: Call) -> None:
    """Raises Problem `offset_in_future` for a `Min-Journal-Offset` past the journal's head."""
    if not await has_come_to(call, call.min_offset):
        head = call.engine.newest
        detail = f"Min-Journal-Offset is {call.min_offset}, and the journal ends at {head}"
        raise Problem("offset_in_future", detail, context={"head": head})


def following(call: Call, last: str) -> str:
    """The Link to the page after `last`."""
    kept = [pair for pair in parse_qsl(call.raw_query, keep_blank_values=True) if pair[0] != "before"]
    return f'<{call.url}?{urlencode([*kept, ("before", last)])}>; rel="next"'
