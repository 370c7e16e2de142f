"""Rules of limit orders and their expiry, broken on purpose: random runs catch each."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import booking, order_request, pricing, report, trading
from engine.domain import order as orders
from engine.domain.order import ExpiryRequested
from tests.laws.limit_runs import LimitRun
from tests.laws.test_bust_mutants import RUNS, caught_by

Patch = pytest.MonkeyPatch

real_place, real_expire, real_evolve = orders.place, orders.expire, orders.evolve
real_limit, real_start = order_request.limit_of, orders.start_execution


def _places(patch: Patch, change: Callable[[Any], Any]) -> None:
    """Each limit order that is accepted is another one."""

    def place(*rest: Any, **words: Any) -> Any:
        placed = real_place(*rest, **words)
        return placed if placed.limit_price is None else change(placed)

    patch.setattr(orders, "place", place)


def _faultless(patch: Patch, fault: str) -> None:
    patch.setattr(booking, "_FAULTS", [one for one in booking._FAULTS if one[0] != fault])


def worse_than_the_limit_is_booked(patch: Patch) -> None:
    _faultless(patch, "worse_than_limit")


def the_limit_of_a_sell_bounds_from_above(patch: Patch) -> None:
    def is_worse(state: Any, said: Any, _: Decimal) -> bool:
        limit = state.terms.limit_price
        return limit is not None and said.price > limit

    faults = [(name, is_worse if name == "worse_than_limit" else one) for name, one in booking._FAULTS]
    patch.setattr(booking, "_FAULTS", faults)


def interest_does_not_count_beside_the_limit(patch: Patch) -> None:
    def is_worse(state: Any, said: Any, _: Decimal) -> bool:
        limit = state.terms.limit_price
        return limit is not None and not pricing.meets(state.terms.side, limit, said.price)

    faults = [(name, is_worse if name == "worse_than_limit" else one) for name, one in booking._FAULTS]
    patch.setattr(booking, "_FAULTS", faults)


def a_trade_at_the_limit_is_worse(patch: Patch) -> None:
    def is_worse(state: Any, said: Any, _: Decimal) -> bool:
        limit, is_buy = state.terms.limit_price, state.terms.side == "buy"
        return limit is not None and (said.price >= limit if is_buy else said.price <= limit)

    faults = [(name, is_worse if name == "worse_than_limit" else one) for name, one in booking._FAULTS]
    patch.setattr(booking, "_FAULTS", faults)


def worse_than_the_limit_can_never_be_booked(patch: Patch) -> None:
    patch.setattr(report, "BOOKABLE", report.BOOKABLE - {"worse_than_limit"})


def the_units_are_those_of_the_gross_amount(patch: Patch) -> None:
    def change(placed: Any) -> Any:
        if placed.cash_amount is None:
            return placed
        step = placed.trading_increment
        return replace(placed, quantity=pricing.quantity_for(placed.cash_amount, placed.price, step))

    _places(patch, change)


def the_units_follow_the_market(patch: Patch) -> None:
    """Those of the price at sending, as a market order has them."""

    def start(state: Any, asked: Any, price: Any, *rest: Any, **words: Any) -> Any:
        terms = state.terms
        if terms.limit_price is not None and terms.net_cash_amount and price is not None:
            step = terms.trading_increment
            asked = asked._replace(quantity=pricing.quantity_for(terms.net_cash_amount, price.ask, step))
        return real_start(state, asked, price, *rest, **words)

    patch.setattr(orders, "start_execution", start)


def bonds_have_limits(patch: Patch) -> None:
    patch.setattr(order_request, "LIMITED", ("etf", "stock", "bond"))


def a_limit_of_zero_is_one(patch: Patch) -> None:
    def limit_of(asked: Any, terms: Any) -> Any:
        if asked.limit_price == 0 and terms.instrument_type in order_request.LIMITED:
            return order_request.Limit(Decimal("0.00000001"), "day")
        return real_limit(asked, terms)

    patch.setattr(trading, "limit_of", limit_of)


def a_limit_order_waits_for_a_price_everywhere(patch: Patch) -> None:
    real = trading.start_execution
    patch.setattr(
        trading, "start_execution", lambda *rest, **words: real(*rest, **{**words, "needs_price": True})
    )


def an_expired_order_is_sent(patch: Patch) -> None:
    real = trading.start_execution
    patch.setattr(
        trading, "start_execution", lambda *rest, **words: real(*rest, **{**words, "is_expired": False})
    )


def an_expired_order_ends_without_its_venue(patch: Patch) -> None:
    def expire(state: Any, asked_before: int, *, at_us: int) -> Any:
        facts = real_expire(state, asked_before, at_us=at_us)
        is_asked = any(isinstance(fact, ExpiryRequested) for fact in facts)
        return orders.fill(state, "expired", at_us=at_us) if is_asked else facts

    patch.setattr(orders, "expire", expire)


def a_refusal_is_never_noticed(patch: Patch) -> None:
    def reject(state: Any, *, at_us: int) -> Any:
        return [orders.CancelRejected(at_us)] if state.cancel_requested else []

    patch.setattr(orders, "reject_cancel", reject)


def the_end_is_called_unfilled(patch: Patch) -> None:
    def ending(state: Any, said: Any) -> str:
        asked = said.kind == "cancelled" and state.cancel_requested
        return "requested" if asked else said.reason

    patch.setattr(trading, "_ending", ending)


MUTANTS: list[Callable[[Patch], None]] = [
    worse_than_the_limit_is_booked,
    the_limit_of_a_sell_bounds_from_above,
    interest_does_not_count_beside_the_limit,
    a_trade_at_the_limit_is_worse,
    worse_than_the_limit_can_never_be_booked,
    the_units_are_those_of_the_gross_amount,
    the_units_follow_the_market,
    bonds_have_limits,
    a_limit_of_zero_is_one,
    a_limit_order_waits_for_a_price_everywhere,
    an_expired_order_is_sent,
    an_expired_order_ends_without_its_venue,
    a_refusal_is_never_noticed,
    the_end_is_called_unfilled,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_of_limits_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert caught_by(RUNS, LimitRun), "no run noticed"
