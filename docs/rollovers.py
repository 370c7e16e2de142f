"""Worked examples of rollovers for docs/instruments.md, by the engine's own rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Final

from msgspec.structs import replace

from engine.domain import bond_dates, fees, pricing, rollover
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.kernel.times import rfc3339
from engine.kernel.values import UNITS, plain, round_to

BILL: Final = Terms("A bill", "BILL", "bill", "USD", maturity_period="3m")

MONEY: Final = (("10.00", "98"), ("10.00", "99.5"), ("0.50", "98"), ("10.15", "101"))
"""Units of par 100 that mature, and the ask of the next bill."""
DATES: Final = (
    ("US", "USD", date(2026, 3, 12)),
    ("US", "USD", date(2026, 1, 20)),
    ("GB", "GBP", date(2026, 4, 7)),
    ("KE", "KES", date(2026, 3, 16)),
    ("DE", "EUR", date(2026, 4, 7)),
    ("JP", "JPY", date(2026, 5, 7)),
)
"""Issuer's country, currency, maturity."""


def money() -> Iterator[tuple[str, ...]]:
    """(units, face value, price, fee inside, units bought, spent, fees, cash at the maturity)."""
    rule, step = FeeRule(), UNITS["USD"]
    for units, ask in MONEY:
        face = rollover.face_value(BILL, Decimal(units))
        net = fees.net_of(rule, face, step)
        bought = pricing.quantity_for(net, Decimal(ask), BILL.trading_increment)
        spent = round_to(bought * Decimal(ask), step, ROUND_CEILING)
        charged = fees.of_buy(
            rule, cash_amount=face, net_cash_amount=net, traded_notional=spent, step=step
        )
        figures = (face, Decimal(ask), face - net, bought, spent, charged, face - spent - charged)
        yield units, *(plain(figure) for figure in figures)


def dates() -> Iterator[tuple[str, ...]]:
    """(country, maturity, cut-off, day of the rollover, day of payment)."""
    for country, currency, matures in DATES:
        terms = replace(BILL, issuer_country=country, trading_currency=currency, maturity_date=matures)
        cutoff = rollover.cutoff_us(terms)
        assert cutoff is not None
        paid = bond_dates.payment_date(matures, country, "bill", currency)
        rolled = bond_dates.rollover_date(matures, country, currency)
        yield country, _day(matures), rfc3339(cutoff), _day(rolled), _day(paid)


def _day(day: date) -> str:
    return f"{day:%a} {day}"
