"""Histories: the facts of an order or account, and the fact that set each field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from order_engine_client.resources import Account, Balance, Order, Resource


class Leg(Resource, frozen=True):
    """Cash or units that arrive at a place, or leave it (below 0); the account's fact that says so."""

    asset: str
    currency: str | None
    instrument: str | None
    place: str
    amount: Decimal
    offset: int
    name: str


class _Fact(Resource, frozen=True):
    version: int
    offset: int
    name: str
    recorded_at: datetime
    business_date: date | None
    actor: str | None
    request_id: str | None
    cause: int | None
    reason: str | None
    on_behalf_of: str | None
    fields: Mapping[str, Any]
    legs: tuple[Leg, ...]


class OrderFact(_Fact, frozen=True):
    """One fact of an order, and the order after it. `fields` are the fact's own, as plain JSON."""

    order: Order


class AccountFact(_Fact, frozen=True):
    """One fact of an account, and the account and its cash after it."""

    account: Account
    cash_balances: tuple[Balance, ...]


class SetBy(Resource, frozen=True):
    """The fact that last gave a field another value."""

    version: int
    offset: int
    name: str
    recorded_at: datetime
    actor: str | None


class ExplainedOrder(Resource, frozen=True):
    """An order and, for each field by path (`trades.0.price`), what set it; None: it is in no fact."""

    order: Order
    set_by: Mapping[str, SetBy | None]


class ExplainedAccount(Resource, frozen=True):
    """An account and, for each field, what set it; None: it stands in no fact."""

    account: Account
    set_by: Mapping[str, SetBy | None]
