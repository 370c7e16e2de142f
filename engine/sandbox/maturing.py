"""Instruments of the sandbox that live while one watches: a bond with monthly coupons, three bills.

Their dates count from the first start. At ten seconds a business day the first bill matures after
80 seconds, and rolls over into the second, which is issued by then.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from engine.domain.instrument import Terms


class Listing(NamedTuple):
    """An instrument of the sandbox with its price."""

    id: str
    terms: Terms
    bid: Decimal
    ask: Decimal


BOND, *BILLS = SYMBOLS = ("DEMOCPN", "DEMOBILL1", "DEMOBILL2", "DEMOBILL3")
FIRST, BETWEEN, TERM = timedelta(days=8), timedelta(days=21), timedelta(days=28)
"""The first maturity, the time between two, and that from a bill's issue to its maturity: when one rolls
over, only the next has been issued.
"""
COUPON_DAYS: Final = 3
"""Days until the first coupon, except at the end of a month."""


def maturing(today: date) -> tuple[Listing, ...]:
    """The bond and the bills, with dates from `today` on."""
    return (_bond(today), *(_bill(today, number) for number in range(1, len(BILLS) + 1)))


def _bond(today: date) -> Listing:
    first = today + timedelta(days=COUPON_DAYS)
    first = first.replace(day=min(first.day, 28))
    terms = Terms(
        "Demo Coupon Bond",
        BOND,
        "bond",
        "USD",
        issuer="Demo Treasury",
        issuer_country="US",
        price_type="percent",
        coupon=Decimal(6),
        coupon_frequency=12,
        day_count_convention="30_360",
        issue_date=first.replace(year=first.year - 1),
        maturity_date=first.replace(year=first.year + 2),
    )
    return Listing("ins_demo_coupon", terms, Decimal("101.00"), Decimal("101.10"))


def _bill(today: date, number: int) -> Listing:
    matures = today + FIRST + (number - 1) * BETWEEN
    terms = Terms(
        f"Demo Bill {number}",
        BILLS[number - 1],
        "bill",
        "USD",
        issuer="Demo Treasury",
        issuer_country="US",
        issue_date=matures - TERM,
        maturity_date=matures,
        maturity_period="1m",
        supports_automatic_rollover=True,
    )
    return Listing(f"ins_demo_bill_{number}", terms, Decimal("99.80"), Decimal("99.82"))
