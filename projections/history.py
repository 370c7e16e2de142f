"""Histories as the API shows them: a fact, its moves, the resource after it; and the fact that set a
field.

The resource is rendered by the same function as elsewhere. See docs/history.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw

from engine.history.history import NAMES, Booked, Step, explain, fields_of, flat
from engine.kernel.fact import Recorded
from engine.kernel.times import rfc3339
from engine.kernel.values import plain
from projections import shapes
from projections.resources import account_json, cash_balances_json, encode, order_json

REF: Final = "#/components/schemas/"
decode: Final = msgspec.json.Decoder().decode

OrderRef = Annotated[Raw, Meta(extra_json_schema={"$ref": f"{REF}Order"})]
AccountRef = Annotated[Raw, Meta(extra_json_schema={"$ref": f"{REF}Account"})]
BalancesRef = Annotated[
    Raw, Meta(extra_json_schema={"type": "array", "items": {"$ref": f"{REF}Balance"}})
]

# --- one fact -------------------------------------------------------------------------------------


class LegBody(msgspec.Struct, frozen=True):
    """Cash or units that arrive at a place, or leave it (below 0). `offset` and `name` identify the
    account's fact.
    """

    asset: shapes.Asset
    currency: shapes.Currency | None
    instrument: shapes.InstrumentId | None
    place: shapes.Place
    amount: shapes.SignedMoney
    offset: shapes.Offset
    name: shapes.FactName


class _Fact(msgspec.Struct, frozen=True):
    version: shapes.Count
    offset: shapes.Offset
    name: shapes.FactName
    recorded_at: shapes.Time
    business_date: shapes.Day | None
    actor: str | None
    request_id: str | None
    cause: shapes.Offset | None
    reason: str | None
    on_behalf_of: str | None
    fields: dict[str, Any]
    legs: list[LegBody]


class OrderFactBody(_Fact, frozen=True):
    """One fact of an order, its moves of the account's cash and units, and the order after it.

    `cause` is the offset of the fact that triggered the engine; `reason` an operator's words.
    """

    order: OrderRef


class AccountFactBody(_Fact, frozen=True):
    """One fact of an account, and the account and its cash after it."""

    account: AccountRef
    cash_balances: BalancesRef


def _fact(step: Step) -> dict[str, Any]:
    recorded, envelope = step.recorded, step.recorded.envelope
    return {
        "version": recorded.version,
        "offset": recorded.offset,
        "name": step.name,
        "recorded_at": rfc3339(envelope.at_us),
        "business_date": envelope.business_date.isoformat() if envelope.business_date else None,
        "actor": envelope.actor,
        "request_id": envelope.request_id,
        "cause": envelope.cause,
        "reason": envelope.reason,
        "on_behalf_of": envelope.on_behalf_of,
        "fields": fields_of(recorded.fact),
        "legs": [_leg(booked) for booked in step.booked],
    }


def _leg(booked: Booked) -> LegBody:
    leg, recorded = booked
    is_cash = leg.asset == "cash"
    return LegBody(
        leg.asset,
        leg.of if is_cash else None,
        None if is_cash else leg.of,
        leg.place,
        plain(leg.amount),
        recorded.offset,
        NAMES[type(recorded.fact)],
    )


# --- which fact set a field -----------------------------------------------------------------------


class SetByBody(msgspec.Struct, frozen=True):
    """The fact that last changed a field."""

    version: shapes.Count
    offset: shapes.Offset
    name: shapes.FactName
    recorded_at: shapes.Time
    actor: str | None


class ExplainedOrderBody(msgspec.Struct, frozen=True):
    """An order and, for each of its fields by path (`trades.0.price`), the fact that last set it.

    Null for `client_reference`, which is in no fact.
    """

    order: OrderRef
    set_by: dict[str, SetByBody | None]


class ExplainedAccountBody(msgspec.Struct, frozen=True):
    """An account and, for each of its fields, the fact that last set it.

    Null for `name` and `reference`, which are in no fact.
    """

    account: AccountRef
    set_by: dict[str, SetByBody | None]


def _set_by(recorded: Recorded) -> SetByBody:
    return SetByBody(
        recorded.version,
        recorded.offset,
        NAMES[type(recorded.fact)],
        rfc3339(recorded.envelope.at_us),
        recorded.envelope.actor,
    )


# --- answers --------------------------------------------------------------------------------------


def _any_of(fact: str, resource: str, explained: str) -> Meta:
    return Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "array", "items": {"$ref": REF + fact}},
                {"$ref": REF + resource},
                {"$ref": REF + explained},
            ]
        }
    )


OrderHistory = Annotated[Raw, _any_of("OrderFact", "Order", "ExplainedOrder")]
"""The facts; with `version` or `asof` the order; with `explain` the fact that set each field."""
AccountHistory = Annotated[Raw, _any_of("AccountFact", "Account", "ExplainedAccount")]
BODIES: Final = (OrderFactBody, AccountFactBody, ExplainedOrderBody, ExplainedAccountBody)
"""The structs in both answers."""


class Shown(NamedTuple):
    """The forms of a kind of resource: itself, after a fact, and explained.

    `words` are the personal ones; `fact` and `explained` receive the resource with these filled in.
    """

    words: tuple[str, ...]
    resource: Callable[[Any], bytes]
    fact: Callable[[Step, bytes], bytes]
    explained: Callable[[bytes, dict[str, SetByBody | None]], bytes]

    def set_by(self, steps: Iterable[Step]) -> dict[str, SetByBody | None]:
        """Path of each field -> the fact that last set it."""
        known = explain(steps, lambda state: flat(decode(self.resource(state))))
        return {
            path: None if path in self.words else _set_by(recorded)
            for path, (_, recorded) in known.items()
        }


ORDERS: Final = Shown(
    ("client_reference",),
    order_json,
    lambda step, body: encode(OrderFactBody(**_fact(step), order=Raw(body))),
    lambda body, set_by: encode(ExplainedOrderBody(Raw(body), set_by)),
)
ACCOUNTS: Final = Shown(
    ("reference", "name"),
    account_json,
    lambda step, body: encode(
        AccountFactBody(
            **_fact(step), account=Raw(body), cash_balances=Raw(cash_balances_json(step.state))
        )
    ),
    lambda body, set_by: encode(ExplainedAccountBody(Raw(body), set_by)),
)
