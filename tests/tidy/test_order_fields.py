"""A field of an order has one name from the request to the client; a place without it is named here."""

from __future__ import annotations

import inspect

from api.handlers.orders import WORD
from api.http.fields import ORDER
from engine.domain.order import Placed
from engine.domain.order_request import ASKED
from order_engine_client import Client, Order
from projections.resources import OrderBody

ELSEWHERE = {"instrument", "order_type", WORD}
"""Fields of the request that are no part of what the rules are asked: which, the only type, a label."""


def test_what_a_body_may_hold_is_what_the_rules_are_asked() -> None:
    assert {field.name for field in ORDER} - ELSEWHERE == set(ASKED)


def test_what_is_asked_is_recorded_and_shown() -> None:
    assert set(ASKED) <= set(Placed.__struct_fields__)
    assert {field.name for field in ORDER} <= set(OrderBody.__struct_fields__)
    assert Order.__struct_fields__ == OrderBody.__struct_fields__


def test_the_client_can_give_every_field() -> None:
    given = {*inspect.signature(Client.buy).parameters, *inspect.signature(Client.sell).parameters}
    assert {field.name for field in ORDER} - {"order_type", "side"} <= given
