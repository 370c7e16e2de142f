"""Events: changes of resources, each with the resource as it was then, typed by the event's name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from order_engine_client.errors import UnexpectedAnswer
from order_engine_client.resources import (
    Account,
    Coupon,
    Deposit,
    Dividend,
    Order,
    Position,
    Resource,
    Trade,
    Withdrawal,
)

T = TypeVar("T")


class EventResource(Resource, frozen=True):
    """The resource of an event."""

    id: str
    resource_type: str


class Event(Resource, frozen=True):
    """A change of a resource.

    `offset` is its position in the journal, `sequence` its number among the events of its resource. Each
    is an OrderEvent, TradeEvent ... by its name, with `data` typed: check with `isinstance` or `match`.
    An event of a name that this client does not know stays an Event, its `data` plain JSON.
    """

    id: str
    name: str
    resource: EventResource
    data: Any
    created_at: datetime
    offset: int
    sequence: int


class OrderEvent(Event, frozen=True):
    """An event `order.*`."""

    data: Order


class TradeEvent(Event, frozen=True):
    """An event `trade.*`."""

    data: Trade


class PositionEvent(Event, frozen=True):
    """An event `position.*`."""

    data: Position


class AccountEvent(Event, frozen=True):
    """An event `account.*`."""

    data: Account


class DepositEvent(Event, frozen=True):
    """An event `deposit.*`."""

    data: Deposit


class WithdrawalEvent(Event, frozen=True):
    """An event `withdrawal.*`."""

    data: Withdrawal


class CouponEvent(Event, frozen=True):
    """An event `coupon.*`."""

    data: Coupon


class DividendEvent(Event, frozen=True):
    """An event `dividend.*`."""

    data: Dividend


KINDS: Final[Mapping[str, type[Event]]] = {
    "order": OrderEvent,
    "trade": TradeEvent,
    "position": PositionEvent,
    "account": AccountEvent,
    "deposit": DepositEvent,
    "withdrawal": WithdrawalEvent,
    "coupon": CouponEvent,
    "dividend": DividendEvent,
}
"""The part of a name before the dot -> the type of such events."""


def read_event(body: bytes) -> Event:
    """An event from its JSON. Raises UnexpectedAnswer."""
    try:
        return typed(msgspec.json.decode(body, type=Event))
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(f"not an event: {error}") from error


def typed(decoded: T) -> T:
    """Events with `data` as its type says; anything else as it is. Raises msgspec.ValidationError."""
    found: Any = decoded
    match found:
        case Event():
            found = _typed(found)
        case [Event(), *_]:
            found = [_typed(event) for event in found]
    result: T = found
    return result


def _typed(event: Event) -> Event:
    kind = KINDS.get(event.name.partition(".")[0])
    return event if kind is None else msgspec.convert(event, kind, from_attributes=True)
