"""A field of an order has one name from the request to the client; a place without it is named here."""

from __future__ import annotations

import inspect

import pytest

from api.handlers.orders import WORD
from api.http.fields import ORDER
from engine.domain.order import Placed
from engine.domain.order_request import ASKED
from order_engine_client import Client, Order
from projections.resources import OrderBody

ELSEWHERE = {"instrument", WORD}
"""Fields of the request that are no part of what the rules are asked: which, and a label."""

SIDES = {"buy": {"quantity"}, "sell": {"cash_amount", "automatic_rollover"}}
"""Method of the client -> fields that its side of an order has not."""


def test_what_a_body_may_hold_is_what_the_rules_are_asked() -> None:
    assert {field.name for field in ORDER} - ELSEWHERE == set(ASKED)


def test_what_is_asked_is_recorded_and_shown() -> None:
    assert set(ASKED) - {"order_type"} <= set(Placed.__struct_fields__)
    assert Placed.order_type
    assert {field.name for field in ORDER} <= set(OrderBody.__struct_fields__)
    assert Order.__struct_fields__ == OrderBody.__struct_fields__


@pytest.mark.parametrize(("side", "not_of_it"), SIDES.items())
def test_the_client_can_give_every_field(side: str, not_of_it: set[str]) -> None:
    given = inspect.signature(getattr(Client, side)).parameters.keys()
    assert {field.name for field in ORDER} - {"order_type", "side"} - not_of_it <= given
    assert not given & not_of_it
