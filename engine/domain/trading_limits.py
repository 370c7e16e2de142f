"""Trading limits of a tenant's customers, set by an operator. See docs/limits.md.

Checked when an order is placed, never afterwards. Limits of an account are checked against its own
facts, so they are exact for any number of processes; a tenant's are in `tally`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from engine.domain.pricing import unit_price
from engine.domain.rounding import modes_of
from engine.kernel.fact import Fact
from engine.kernel.limits import RECENT_ORDERS_MAX
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, UNITS, ZERO, Side, round_to, zero_like

if TYPE_CHECKING:
    from engine.domain.order import Placed

USER: Final = "user_request"
"""Only orders of this purpose are limited: the engine's own orders follow from one of them."""


class Limits(NamedTuple):
    """Amounts by currency; a currency not listed has no limit. None, or empty: off."""

    order: Mapping[str, Decimal] = {}
    account_day: Mapping[str, Decimal] = {}
    tenant_day: Mapping[str, Decimal] = {}
    price_refuse_age_us: int | None = None
    duplicate_window_us: int | None = None

    @property
    def counts_accounts(self) -> bool:
        """Whether an account has to count its orders."""
        return bool(self.account_day or self.duplicate_window_us)


# --- facts ---------------------------------------------------------------------------------------


class OrderCounted(Fact, frozen=True):
    """An accepted order counts against its account's limits, with `worth`, on a business day.

    `amount` is the requested one: cash of a buy, units of a sell. Recorded only while such a limit is
    set.
    """

    order: str
    business_date: date
    side: Side
    instrument: str
    amount: Decimal
    currency: str
    worth: Decimal
    at_us: int


# --- state ---------------------------------------------------------------------------------------


class Recent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order that a later one may duplicate."""

    order: str
    side: Side
    instrument: str
    amount: Decimal
    at_us: int

    def is_like(self, other: OrderCounted) -> bool:
        """Whether both request the same."""
        return (self.instrument, self.side, self.amount) == (other.instrument, other.side, other.amount)


class Activity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An account's ordered worth on `day`, by currency, and its last orders, each distinct one once."""

    day: date | None = None
    worth: dict[str, Decimal] = {}
    recent: tuple[Recent, ...] = ()

    def worth_on(self, day: date) -> Mapping[str, Decimal]:
        """The counted worth of a day; an earlier day than the last counts as the last, for clocks
        differ.
        """
        return self.worth if self.day is not None and day <= self.day else {}


# --- decisions -----------------------------------------------------------------------------------


def worth_of(placed: Placed) -> Decimal:
    """The counted worth of an order: a buy's cash, a sell's units at the bid, rounded as fees are.

    A limit below the bid does not count: its units are sold at the bid all the same. Up, except for
    orders of the first release: many small sells count no less than a large one.
    """
    if placed.cash_amount is not None:
        return placed.cash_amount
    assert placed.quantity is not None
    price = placed.price if placed.bid is None else placed.bid
    unit = unit_price(price, placed.accrued_interest, placed.price_type, placed.par_value)
    worth = EXACT.multiply(placed.quantity, unit)
    return round_to(worth, UNITS[placed.currency], modes_of(placed.rounding).fees)


def count(limits: Limits, placed: Placed, activity: Activity, business_date: date) -> list[Fact]:
    """Counts an order about to be accepted, if a limit needs it.

    Raises Refused `price_too_old`, `order_too_large`, `duplicate_order`, `account_daily_limit`.
    """
    if placed.purpose != USER:
        return []
    currency, worth = placed.currency, worth_of(placed)
    age_us = placed.at_us - placed.price_at_us
    if limits.price_refuse_age_us is not None and age_us > limits.price_refuse_age_us:
        raise refused("price_too_old", age_s=age_us // 1_000_000)
    largest = limits.order.get(currency)
    if largest is not None and worth > largest:
        raise refused("order_too_large", currency=currency, amount=worth, limit=largest)
    if not limits.counts_accounts:
        return []
    counted = OrderCounted(
        placed.order,
        business_date,
        placed.side,
        placed.instrument,
        placed.amount,
        currency,
        worth,
        placed.at_us,
    )
    _check_duplicate(limits.duplicate_window_us, counted, activity)
    known = activity.worth_on(business_date).get(currency, ZERO)
    check_day("account_daily_limit", limits.account_day, currency, worth, known)
    return [counted]


def _check_duplicate(window_us: int | None, counted: OrderCounted, activity: Activity) -> None:
    if window_us is None:
        return
    for known in activity.recent:
        if known.is_like(counted) and counted.at_us - known.at_us < window_us:
            raise refused("duplicate_order", order=known.order)


def check_day(
    code: str, limits: Mapping[str, Decimal], currency: str, worth: Decimal, known: Decimal
) -> None:
    """Raises Refused `code` if `known` plus `worth` exceeds the day's limit."""
    limit = limits.get(currency)
    if limit is not None and EXACT.add(known, worth) > limit:
        available = max(EXACT.subtract(limit, known), zero_like(limit))
        raise refused(code, currency=currency, amount=worth, limit=limit, available=available)


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Activity, fact: OrderCounted) -> Activity:
    """The account's activity after one more order."""
    day, worth = state.day, state.worth
    if day is None or fact.business_date > day:
        day, worth = fact.business_date, {}
    worth = worth | {fact.currency: EXACT.add(worth.get(fact.currency, ZERO), fact.worth)}
    latest = Recent(fact.order, fact.side, fact.instrument, fact.amount, fact.at_us)
    others = [known for known in state.recent if not known.is_like(fact)]
    return Activity(day, worth, (*others[-RECENT_ORDERS_MAX + 1 :], latest))
