"""The registers for compliance: acts and refusals, as JSON or as CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from api.http import reading
from api.http.call import Answer, Call
from engine.kernel.csv_export import csv_text
from engine.kernel.refusals import invalid
from engine.kernel.times import rfc3339
from engine.registers import records
from engine.registers.acts import DEEDS
from engine.registers.operations import define_operations
from engine.registers.records import Filters
from projections import shapes
from projections.ids import derived, number_of
from projections.resources import encode

CSV: Final = "text/csv"
PREFIXES: Final = {"acts": "act", "refusals": "rfs"}
_Context = Annotated[dict[str, Any], Meta(examples=[{}])]


class ActBody(msgspec.Struct, frozen=True):
    """An administrative act, or denied access: how often (`count`) within a minute, from where
    (`source`), and with which `code`. `on_behalf_of` is the person behind the client, as named by the
    client.
    """

    id: Annotated[str, Meta(pattern="^act_", examples=["act_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    deed: Annotated[str, Meta(examples=["prices.recorded"], extra_json_schema={"enum": list(DEEDS)})]
    at: shapes.Time
    tenant: Annotated[str | None, Meta(examples=["acme"])]
    actor: Annotated[str | None, Meta(examples=["cli_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    on_behalf_of: Annotated[str | None, Meta(examples=["emp-4711"])]
    request_id: Annotated[str | None, Meta(examples=["req_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    source: Annotated[str | None, Meta(examples=[None])]
    code: Annotated[str | None, Meta(examples=[None])]
    count: shapes.Count
    subject: Annotated[str | None, Meta(examples=[None])]
    account: Annotated[str | None, Meta(examples=[None])]
    reason: Annotated[str | None, Meta(examples=[None])]
    context: _Context


class RefusalBody(msgspec.Struct, frozen=True):
    """A refused command: the request, and the answer."""

    id: Annotated[str, Meta(pattern="^rfs_", examples=["rfs_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    at: shapes.Time
    tenant: Annotated[str | None, Meta(examples=["acme"])]
    account: Annotated[str | None, Meta(examples=["acc_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    actor: Annotated[str | None, Meta(examples=["cli_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    request_id: Annotated[str | None, Meta(examples=["req_2ZKe7J5mPpQ3xVtYbNhWcR"])]
    action: Annotated[str, Meta(examples=["POST /accounts/{account_id}/orders"])]
    code: Annotated[str, Meta(examples=["insufficient_funds"])]
    detail: Annotated[str, Meta(examples=[""])]
    context: _Context


BODIES: Final[dict[str, type[ActBody | RefusalBody]]] = {"acts": ActBody, "refusals": RefusalBody}


async def listed(register: str, filters: Sequence[str], call: Call) -> Answer:
    """A page of a register: the caller's tenant's, or all for scope `admin`."""
    query, prefix = call.query, PREFIXES[register]
    before = None
    if query["before"] is not None:
        before = number_of(prefix, query["before"])
        if before is None:
            raise invalid("query.before", "invalid_value", "names nothing in this list")
    wanted = Filters(
        None if "admin" in call.principal.scopes else call.principal.tenant,
        {name: query[name] for name in filters},
        query["created_from"],
        query["created_to"],
    )
    limit: int = query["limit"]
    ask = partial(records.page, limit=limit + 1, before=before)
    store = call.engine.bridge.journal.datastore.store
    rows = await call.engine.bridge.read(ask, store, define_operations(), register, wanted)
    bodies = [body_of(register, row) for row in rows[:limit]]
    headers = {"Link": reading.following(call, bodies[-1].id)} if len(rows) > limit else {}
    if query["format"] == "csv" or (query["format"] is None and call.accept.startswith(CSV)):
        headers["Content-Type"] = f"{CSV}; charset=utf-8"
        return Answer(200, as_csv(register, bodies).encode(), headers)
    return Answer(200, encode(bodies), headers)


def body_of(register: str, row: dict[str, Any]) -> ActBody | RefusalBody:
    """A row of the table as a resource."""
    words = dict(row)
    number, at_us, context = words.pop("id"), words.pop("at_us"), json.loads(words.pop("context"))
    kind = BODIES[register]
    identifier = derived(PREFIXES[register], at_us, number)
    return kind(id=identifier, at=rfc3339(at_us), context=context, **words)


def as_csv(register: str, bodies: Sequence[ActBody | RefusalBody]) -> str:
    """The rows as CSV; `context` is JSON."""
    titles = BODIES[register].__struct_fields__
    rows = ([_cell(getattr(body, name)) for name in titles] for body in bodies)
    return csv_text(titles, rows)


def _cell(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


ACT_FILTERS: Final = ("actor", "on_behalf_of", "deed", "code", "account", "subject", "request_id")
REFUSAL_FILTERS: Final = ("actor", "code", "account", "request_id")
list_acts: Final = partial(listed, "acts", ACT_FILTERS)
list_refusals: Final = partial(listed, "refusals", REFUSAL_FILTERS)
