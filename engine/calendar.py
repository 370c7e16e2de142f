"""Business days and settlement dates. See the table in docs/money.md.

Calendars are those of the `holidays` package, at a pinned version; a year of one is built when it is
first asked for and kept within a bound.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from engine.limits import CALENDAR_YEARS_MAX, SETTLEMENT_DATES_MAX


class Rule(NamedTuple):
    """Settlement on the `days`-th business day after the trade date; None: the market's calendar."""

    days: int
    calendar: str | None


SETTLEMENT: Final = {
    ("US", "bill"): Rule(1, "XSIF"),
    ("US", "bond"): Rule(1, "XSIF"),
    ("US", "stock"): Rule(1, "XNYS"),
    ("US", "etf"): Rule(1, "XNYS"),
    ("GB", "bill"): Rule(1, "XLON"),
}
"""(issuer country, instrument type) -> rule. Everything else: `OTHERS`."""
OTHERS: Final = Rule(2, None)

EXCHANGES: Final = {
    "AU": "XASX", "BR": "BVMF", "CA": "XTSE", "CH": "XSWX", "CN": "XSHG", "CO": "XBOG",
    "GB": "XLON", "HK": "XHKG", "IN": "XNSE", "JP": "XJPX", "KR": "XKRX", "MX": "XMEX", "NZ": "XNZE",
    "PK": "XKAR", "PL": "XWAR", "SA": "XSAU", "SG": "XSES", "TR": "XIST", "TW": "XTAI", "US": "XNYS",
    "ZA": "XJSE",
}  # fmt: skip
"""Country -> financial calendar, where the package has one. Countries without: their public holidays."""
SUBDIVISIONS: Final = {"BA": "BIH", "DE": "HE", "ES": "MD", "FM": "PNI", "MY": "14"}
"""Where public holidays differ inside a country: the part that its market keeps."""
EURO: Final = "XECB"
WEEKENDS: Final = "weekends"
"""A calendar of Saturdays and Sundays, where nothing better is known."""


def prepare() -> None:
    """Imports the holidays' package: a third of a second, which the first order would wait for."""
    is_business_day(date(2026, 1, 2), EURO)


def calendar_for(issuer_country: str | None, currency: str) -> str:
    """The calendar a trade settles by when `SETTLEMENT` names none.

    What trades in euro settles on the euro's days; else the issuer's country decides, and without one
    the currency's (the first two letters of a currency's code are its country's).
    """
    if currency == "EUR":
        return EURO
    country = issuer_country or currency[:2]
    if country in EXCHANGES:
        return EXCHANGES[country]
    return country if country in _countries() else WEEKENDS


@lru_cache(maxsize=1)
def _countries() -> frozenset[str]:
    import holidays  # noqa: PLC0415  (takes 0.1 s: paid by who settles, not by who imports)

    return frozenset(holidays.list_supported_countries())


class _Year(NamedTuple):
    holidays: frozenset[date]
    weekend: frozenset[int]


@lru_cache(maxsize=CALENDAR_YEARS_MAX)
def _year(calendar: str, year: int) -> _Year:
    """One calendar's days off in one year. Raises NotImplementedError for an unknown calendar."""
    import holidays  # noqa: PLC0415  (as above)

    if calendar == WEEKENDS:
        return _Year(frozenset(), frozenset({5, 6}))
    if len(calendar) == len("GB"):
        days = holidays.country_holidays(calendar, subdiv=SUBDIVISIONS.get(calendar), years=year)
    else:
        days = holidays.financial_holidays(calendar, years=year)
    return _Year(frozenset(days), frozenset(days.weekend))


def is_business_day(day: date, calendar: str) -> bool:
    """Whether a market by that calendar settles on `day`."""
    year = _year(calendar, day.year)
    return day.weekday() not in year.weekend and day not in year.holidays


def business_day_after(day: date, days: int, calendar: str) -> date:
    """The `days`-th business day after `day`; with 0, `day` itself or the first one after it."""
    if days == 0:
        day, days = day - timedelta(days=1), 1
    for _ in range(days):
        day += timedelta(days=1)
        while not is_business_day(day, calendar):
            day += timedelta(days=1)
    return day


@lru_cache(maxsize=SETTLEMENT_DATES_MAX)
def settlement_date(
    trade_date: date,
    issuer_country: str | None,
    instrument_type: str,
    currency: str,
    settlement_days: int | None = None,
) -> date:
    """When a trade of `trade_date` settles. An instrument's `settlement_days` overrides the table."""
    rule = SETTLEMENT.get((issuer_country or "", instrument_type), OTHERS)
    days = rule.days if settlement_days is None else settlement_days
    calendar = rule.calendar or calendar_for(issuer_country, currency)
    return business_day_after(trade_date, days, calendar)
