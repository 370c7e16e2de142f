"""Reads over HTTP: never older than what the client knows, filled with personal words, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from api.call import Answer, Call
from api.problems import Problem
from engine.limits import VIEW_POLL_S, VIEW_WAIT_S
from projections.listing import Listed, Shown
from projections.resources import filled

_BEHIND: Final = object()
Load = Callable[[str], Any]
"""Stream -> its state as the journal has it now; blocks."""


async def own_account(call: Call) -> str:
    """The account of the path. Raises Problem `not_found` unless it is the caller's tenant's."""
    account = call.path["account_id"]
    if not await call.engine.is_account_of(call.principal.tenant, account):
        raise Problem("not_found")
    return account


async def one(
    call: Call,
    view: str,
    question: Callable[..., bytes | None],
    *words: Any,
    state: Callable[[Load], bytes | None],
    subject: str = "",
    personal: Sequence[str] = (),
    is_all: bool = True,
) -> bytes:
    """One resource: `question(views, *words)` once the view shows what the client knows.

    Behind that, it is what `state` makes of the journal itself, unless the client asked to wait, or
    that is nothing and not `is_all` there is. `personal` names the words of `subject` that are filled
    in. Raises Problem `not_found`, `view_behind`; ViewQuarantined.
    """
    services, client = call.engine, call.principal.client

    def ask() -> tuple[bytes | None, int]:
        """In a thread: the answer, and how far it shows the journal if the view did not."""
        body, shown = _asked(call, view, services.seen(client), question, words), 0
        if body is _BEHIND:
            body, shown = state(services.bridge.load), services.bridge.journal.head
        if body and personal:
            body = filled(body, personal, services.personal.words([subject]).get(subject, {}))
        return body, shown

    if not call.min_offset:
        body, shown = await services.bridge.read(ask)
        if shown:  # perhaps more than the client's own writes: it must not disappear again
            services.saw(client, shown)
        if body or not shown or is_all:
            return found(body)
    body = found(await waited(call, view, question, *words))
    return await with_words(call, body, subject, *personal) if personal else body


def found(body: bytes | None) -> bytes:
    """The body. Raises Problem `not_found` for none."""
    if body is None:
        raise Problem("not_found")
    return body


async def listed(
    call: Call,
    view: str,
    question: Callable[..., Listed],
    *words: Any,
    personal: Sequence[str] = (),
    subject: Callable[[Shown], str] = lambda row: row.id,
    **filters: Any,
) -> Answer:
    """A page of a list: `question(views, *words, limit=, before=, **filters)`.

    `personal` names the words that are filled in, of what `subject` says each row is about. Raises
    Problem `view_behind`; ViewQuarantined; Refused for a `before` that is not of this list.
    """
    query = call.query
    asked = partial(question, limit=query["limit"], before=query["before"], **filters)
    page: Listed = await waited(call, view, asked, *words)
    rows = [row.body for row in page.rows]
    if personal and rows:
        subjects = [subject(row) for row in page.rows]
        known = await call.engine.bridge.read(call.engine.personal.words, sorted(set(subjects)))
        rows = [
            filled(body, personal, known.get(one, {})) for body, one in zip(rows, subjects, strict=True)
        ]
    headers = withholding(page.withheld)
    if page.has_more:
        headers["Link"] = following(call, page.rows[-1].id)
    return Answer(200, b"[" + b",".join(rows) + b"]", headers)


def withholding(count: int) -> dict[str, str]:
    """What an answer says of resources of the caller that cannot be shown."""
    return {"Withheld-Resources": str(count)} if count else {}


async def with_words(call: Call, body: bytes, subject: str, *names: str) -> bytes:
    """A resource with the personal words of `subject`, looked up."""
    known = await call.engine.bridge.read(call.engine.personal.words, [subject])
    return filled(body, names, known.get(subject, {}))


async def waited(call: Call, view: str, question: Callable[..., Any], *words: Any) -> Any:
    """The answer of a view that shows all that the client knows, waiting for that a little."""
    loop, services = asyncio.get_running_loop(), call.engine
    offset = max(call.min_offset, services.seen(call.principal.client))
    deadline = loop.time() + VIEW_WAIT_S
    while True:
        answer = await services.bridge.read(_asked, call, view, offset, question, words)
        if answer is not _BEHIND:
            return answer
        if loop.time() > deadline:
            raise Problem("view_behind", context={"view": view, "needed": offset})
        await asyncio.sleep(VIEW_POLL_S)  # off the loop there are few threads, and others need them


def _asked(
    call: Call, view: str, offset: int, question: Callable[..., Any], words: Sequence[Any]
) -> Any:
    """In a thread: the question, if the view has come so far."""
    views = call.engine.views
    if offset and views.offset(view) < offset:
        return _BEHIND
    return question(views, *words)


async def recorded(call: Call) -> None:
    """Waits a little until the journal has come to what the client asks for.

    Raises Problem `view_behind`.
    """
    loop, bridge = asyncio.get_running_loop(), call.engine.bridge
    deadline = loop.time() + VIEW_WAIT_S
    while call.min_offset and await bridge.read(_head, call) < call.min_offset:
        if loop.time() > deadline:
            raise Problem("view_behind", context={"view": "journal", "needed": call.min_offset})
        await asyncio.sleep(VIEW_POLL_S)


def _head(call: Call) -> int:
    return call.engine.bridge.journal.head


def following(call: Call, last: str) -> str:
    """The Link to the page that comes after `last`."""
    kept = [pair for pair in parse_qsl(call.raw_query, keep_blank_values=True) if pair[0] != "before"]
    return f'<{call.url}?{urlencode([*kept, ("before", last)])}>; rel="next"'
