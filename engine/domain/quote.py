"""Quotes: the market's prices of a symbol, their unit, and their plausibility.

A number without a unit is ambiguous: 99.5 may be percent of par or money. So a quote stores the unit at
receipt, and counts only while its instrument has the same one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, get_args

import msgspec

from engine.domain.pricing import Price, PriceType, unit_price
from engine.kernel.limits import PRICE_AHEAD_MAX_US
from engine.kernel.refusals import fault
from engine.kernel.values import CURRENCIES, EXACT, PRICE_PLACES, ZERO, at_scale

Quality = Literal["closing", "intraday", "realtime", "delayed"]
QUALITIES: Final = get_args(Quality)


class Quote(msgspec.Struct, frozen=True):
    """The bid and ask of a symbol at `at_us`. Decimals have at most 8 places, none is below 0.

    `at_us` None, allowed only before recording, means the time of receipt. Once recorded it is the
    earlier of the given timestamp and the receipt; `stated_us` keeps a timestamp ahead of the receipt.
    `accrued_interest` is per unit, may be below 0, and counts for this quote alone; None: that of the
    instrument's schedule. `currency` None means the instrument's own.

    `author` is the client that set it, `confirmed_by` the client that confirmed a jump, `unit` that of
    its prices (`instrument.unit_of`); None for quotes of the first release. A quote that `is_waiting`
    counts only once confirmed.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    at_us: int | None
    quality: Quality = "realtime"
    accrued_interest: Decimal | None = None
    currency: str | None = None
    author: str | None = None
    unit: str | None = None
    stated_us: int | None = None
    confirmed_by: str | None = None
    is_waiting: bool = False

    @property
    def price(self) -> Price:
        """The price of a recorded quote, for decisions."""
        assert self.at_us is not None
        accrued = self.accrued_interest
        return Price(self.bid, self.ask, self.at_us, accrued or ZERO, self.unit, accrues=accrued is None)


def quote_faults(quote: Quote, now_us: int, path: str = "") -> list[dict[str, str]]:
    """All faults of a quote, as entries of `params` whose paths start with `path`."""
    faults = [
        fault(path + name, "invalid_decimal", places=PRICE_PLACES)
        for name in ("bid", "ask")
        if at_scale(getattr(quote, name), PRICE_PLACES) is None
    ]
    accrued = quote.accrued_interest
    if accrued is not None and at_scale(accrued, PRICE_PLACES, signed=True) is None:
        faults.append(fault(path + "accrued_interest", "invalid_decimal", places=PRICE_PLACES))
    elif not faults and any(side and worth <= ZERO for side, worth in _sides(quote, quote.unit)):
        detail = "must leave a unit that costs more than 0"
        faults.append(fault(path + "accrued_interest", "invalid_value", detail))
    if not faults and quote.bid > quote.ask > ZERO:
        faults.append(fault(path + "bid", "invalid_value", "must not be above the ask"))
    if quote.quality not in QUALITIES:
        faults.append(fault(path + "quality", "invalid_value"))
    if quote.currency is not None and quote.currency not in CURRENCIES:
        faults.append(fault(path + "currency", "invalid_value", "must be an ISO 4217 currency"))
    if quote.at_us is not None and not 0 <= quote.at_us <= now_us + PRICE_AHEAD_MAX_US:
        faults.append(fault(path + "timestamp", "invalid_value", "must not be in the future"))
    return faults


def jumps(before: Quote, quote: Quote, most: Decimal) -> bool:
    """Whether a quote moves the price of a unit, either side, by more than `most` (0.2: a fifth).

    A price that returns from 0 is always a jump: else a detour through 0 would pass. A price that goes
    to 0 is not: it stops trading. A price in another unit is a jump, since there is nothing to compare
    it with; so is one after a change of the symbol if the last one has no unit.
    """
    if before.unit != quote.unit and (before.unit is not None or symbol_has_changed(quote.unit)):
        return True
    return any(
        new and EXACT.abs(EXACT.subtract(new, old)) > EXACT.multiply(most, old)
        for old, new in zip(_worth(before, quote.unit), _worth(quote, quote.unit), strict=True)
    )


def _worth(quote: Quote, unit: str | None) -> tuple[Decimal, Decimal]:
    """The cost of a unit at bid and ask, accrued interest included; 0 for a side without a price."""
    bid, ask = (worth if side else ZERO for side, worth in _sides(quote, unit))
    return bid, ask


def _sides(quote: Quote, unit: str | None) -> list[tuple[Decimal, Decimal]]:
    """(price, cost of a unit) of bid and ask."""
    price_type, par_value, _ = unit_words(unit)
    accrued = quote.accrued_interest or ZERO
    return [(side, unit_price(side, accrued, price_type, par_value)) for side in (quote.bid, quote.ask)]


def unit_words(unit: str | None) -> tuple[PriceType, Decimal, str | None]:
    """(price type, par value, currency) of a unit; money, par 100 and no currency for an unknown one."""
    if unit is None:
        return "money", Decimal(100), None
    price_type, par_value, currency = unit.split(" ")[:3]
    return ("percent" if price_type == "percent" else "money"), Decimal(par_value), currency


def symbol_has_changed(unit: str | None) -> bool:
    """Whether the unit's instrument had another symbol before."""
    return unit is not None and len(unit.split(" ")) > 3
