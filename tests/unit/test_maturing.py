"""Instruments of the sandbox that live while one watches: sound terms, bills that follow each other."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from engine.domain import instrument
from engine.domain.instrument import Instrument, InstrumentListed
from engine.domain.pricing import Price
from engine.domain.rollover import Offer, on_the_run, rolls_on
from engine.sandbox.maturing import COUPON_DAYS, SYMBOLS, Listing, maturing
from tests.support.models.table import rows

FIRST = date(2027, 12, 20)
DAYS = [FIRST + timedelta(days=count) for count in range(0, 430, 3)]
"""First starts over more than a year, with a leap day, holidays and weekends."""


def listed(one: Listing) -> Instrument:
    facts = instrument.put(None, one.id, one.terms, at_us=1)  # raises for a faulty term
    (fact,) = facts
    assert isinstance(fact, InstrumentListed)
    return instrument.evolve(None, fact)


def test_each_bill_rolls_over_into_the_next_whatever_the_first_day() -> None:
    for today in DAYS:
        _, *bills = maturing(today)
        known = [listed(one) for one in bills]
        for bill, following in zip(known, [*known[1:], None], strict=True):
            day = rolls_on(bill.terms)
            assert day is not None
            price = Price(bills[0].bid, bills[0].ask, 1)
            found = on_the_run(Offer(one, price, day) for one in known if one is not bill)
            later = found.bill.id if isinstance(found, Offer) else found
            assert later == (following.id if following else "no_bill"), (today, bill.id)


COUPONS = """
today      | first
2026-11-30 | 2026-12-03
2026-12-01 | 2026-12-04
2028-02-26 | 2028-02-28
2027-01-28 | 2027-01-28
"""


@pytest.mark.parametrize("row", rows(COUPONS), ids=lambda row: row["today"])
def test_the_bond_pays_soon(row: dict[str, str]) -> None:
    """At a month's end its day is the 28th: the coupon of that day is the first of the schedule."""
    today, first = (date.fromisoformat(row[name]) for name in ("today", "first"))
    bond, *_ = maturing(today)
    matures = listed(bond).terms.maturity_date
    assert matures is not None
    assert (matures.day, matures.month) == (first.day, first.month)
    assert first - today <= timedelta(days=COUPON_DAYS)


def test_symbols_are_those_whose_prices_are_kept() -> None:
    assert tuple(one.terms.symbol for one in maturing(FIRST)) == SYMBOLS
