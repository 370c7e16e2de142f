"""The history of an order or an account: each fact with the state after it, and the fact that set each
field.

Read from the journal itself, so no view has to catch up.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from api.http import reading
from api.http.call import Answer, Call
from api.http.problems import Problem
from engine.history import history
from engine.history.history import Step, When
from engine.kernel.errors import Refused
from engine.kernel.limits import HISTORY_PAGE_BYTES
from engine.kernel.refusals import invalid
from projections.history import ACCOUNTS, ORDERS, Shown
from projections.resources import cash_balances_json, filled


class Found(NamedTuple):
    """A result: `body` shows the journal up to `offset`; `rest`: the next page begins before this
    version.
    """

    body: bytes
    offset: int
    rest: int = 0


async def of_order(call: Call) -> Answer:
    """An order's history."""
    account = await reading.own_account(call)
    return await _answer(call, ORDERS, call.path["order_id"], account)


async def of_account(call: Call) -> Answer:
    """An account's history."""
    return await _answer(call, ACCOUNTS, await reading.own_account(call))


async def balances_at(call: Call, account: str) -> Answer:
    """The cash of an account at an earlier time."""
    found = await call.engine.bridge.read(_balances, call, account)
    return Answer(200, found.body, reading.recorded(call, found.offset))


async def _answer(call: Call, shown: Shown, subject: str, owner: str | None = None) -> Answer:
    when = _when(call)
    found = await call.engine.bridge.read(_find, call, shown, subject, when, owner)
    headers = reading.recorded(call, found.offset)
    if found.rest:
        headers["Link"] = reading.following(call, str(found.rest))
    return Answer(200, found.body, headers)


def _when(call: Call) -> When:
    """The requested version or time. Raises Refused `invalid_param`."""
    query = call.query
    asked = [name for name in ("version", "asof") if query[name] is not None]
    if len(asked) > 1:
        raise invalid("query.asof", "unexpected_param", "must not be given beside `version`")
    if query["before"] is not None and (asked or query["explain"]):
        raise invalid("query.before", "unexpected_param", "goes with a list only")
    return When(query["version"], query["asof"])


# --- in a thread ----------------------------------------------------------------------------------


def _find(call: Call, shown: Shown, subject: str, when: When, owner: str | None) -> Found:
    journal = call.engine.bridge.journal
    first = journal.stream(subject, version=1)
    if not first or owner not in {None, getattr(first[0].fact, "account", None)}:
        raise Problem("not_found")
    version = _version(call, subject, when)
    words = call.engine.personal.words([subject]).get(subject, {})
    resource = partial(_resource, shown, words)
    if call.query["explain"]:
        set_by = shown.set_by(history.read_setting(journal, subject, version))
        state = history.state_at(journal, subject, version)
        return Found(shown.explained(resource(state), set_by), _offset(call, subject, version))
    if when != history.NOW:
        state = history.state_at(journal, subject, version)
        return Found(resource(state), _offset(call, subject, version))
    upto = min(version, (call.query["before"] or version + 1) - 1)
    after = max(0, upto - call.query["limit"])
    steps = history.read(journal, subject, after, upto)
    page = _page(shown, resource, steps)
    rest = upto - len(page) + 1 if page and upto > len(page) else 0
    return Found(b"[" + b",".join(page) + b"]", steps[-1].recorded.offset if steps else 0, rest)


def _page(shown: Shown, resource: Any, steps: list[Step]) -> list[bytes]:
    """Steps newest first, as many as HISTORY_PAGE_BYTES allows and at least one."""
    page: list[bytes] = []
    size = 0
    for step in reversed(steps):
        body = shown.fact(step, resource(step.state))
        size += len(body)
        if page and size > HISTORY_PAGE_BYTES:
            break
        page.append(body)
    return page


def _resource(shown: Shown, words: dict[str, str], state: Any) -> bytes:
    return filled(shown.resource(state), shown.words, words)


def _balances(call: Call, account: str) -> Found:
    version = _version(call, account, When(at_us=call.query["asof"]))
    state = history.state_at(call.engine.bridge.journal, account, version)
    return Found(cash_balances_json(state), _offset(call, account, version))


def _version(call: Call, subject: str, when: When) -> int:
    try:
        return history.version_of(call.engine.bridge.journal, subject, when)
    except Refused as error:
        param: Any = error.context["params"][0]  # type: ignore[index]
        raise invalid(f"query.{param['path']}", param["code"], param["detail"]) from None


def _offset(call: Call, subject: str, version: int) -> int:
    return call.engine.bridge.journal.stream(subject, after=version - 1, version=version)[0].offset
