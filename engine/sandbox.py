"""What a sandbox starts with: instruments, prices, an account with cash, and a client that may use them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from engine.instrument import Terms

PRICE_MAX_AGE_US: Final = 24 * 3_600_000_000
"""In a sandbox a price is good for a day."""


class Listing(NamedTuple):
    """An instrument of the sandbox and what it trades at."""

    id: str
    terms: Terms
    bid: Decimal
    ask: Decimal


LISTINGS: Final = (
    Listing(
        "ins_demo_bond",
        Terms(
            "Demo Treasury Bond",
            "DEMOBOND",
            "bond",
            "USD",
            issuer="Demo Treasury",
            issuer_country="US",
            price_type="percent",
        ),
        Decimal(100),
        Decimal(100),
    ),
    Listing(
        "ins_demo_stock",
        Terms(
            "Demo Industries",
            "DEMOCO",
            "stock",
            "USD",
            trading_increment=Decimal("0.0001"),
            decimal_precision=4,
            issuer_country="US",
        ),
        Decimal("187.42"),
        Decimal("187.50"),
    ),
    Listing(
        "ins_demo_etf",
        Terms("Demo Europe ETF", "DEMOETF", "etf", "EUR", issuer_country="IE"),
        Decimal("54.10"),
        Decimal("54.14"),
    ),
)
