"""Business days, trade dates and settlement dates. See the tables in docs/money.md.

A trade settles on a day on which both its market and its currency are open. Calendars come from the
`holidays` package, at a pinned version; each year is built on first use and cached within a bound.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from engine.domain.exchanges import (
    EURO,
    EXCHANGES,
    PAYMENTS,
    SATURDAY_SUNDAY,
    SUBDIVISIONS,
    WEEKENDS,
    ZONES,
)
from engine.kernel.fact import from_us, to_us
from engine.kernel.limits import CALENDAR_YEARS_MAX, SETTLEMENT_DATES_MAX


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

WEEKENDS_ONLY: Final = "weekends"
"""A calendar of Saturdays and Sundays, the fallback."""

_WEEKENDS: Final = {EXCHANGES.get(country, country): weekend for country, weekend in WEEKENDS.items()}
"""Calendar -> weekends that are or were not Saturday and Sunday."""


def prepare() -> None:
    """Imports the holidays package: a third of a second that the first order would wait for."""
    is_business_day(date(2026, 1, 2), EURO)


def market_calendar(issuer_country: str | None, currency: str) -> str:
    """The calendar of an instrument's market if `SETTLEMENT` names none: its issuer's country's.

    Without an issuer's country it is the currency's own market.
    """
    return _calendar_of(issuer_country) if issuer_country else payment_calendar(currency)


def payment_calendar(currency: str) -> str:
    """The calendar of days on which a currency is paid.

    The first two letters of a currency's code are its country's (ISO 4217).
    """
    return PAYMENTS.get(currency) or _calendar_of(currency[:2])


def _calendar_of(country: str) -> str:
    if country in EXCHANGES:
        return EXCHANGES[country]
    return country if has_holidays(country) else WEEKENDS_ONLY


def has_holidays(country: str) -> bool:
    """Whether the public holidays of a country (ISO 3166 alpha-2) are known."""
    return country in _countries()


def local_date(time_us: int, issuer_country: str | None, currency: str) -> date:
    """The date at an instrument's market, where Tokyo's day begins nine hours before London's.

    UTC if neither the issuer nor the currency has a country.
    """
    return from_us(time_us).astimezone(_zone(issuer_country, currency)).date()


def day_start_us(day: date, issuer_country: str | None, currency: str) -> int:
    """The start of a day at an instrument's market, microseconds since the epoch."""
    return to_us(datetime.combine(day, time(), _zone(issuer_country, currency)))


def _zone(issuer_country: str | None, currency: str) -> ZoneInfo:
    country = issuer_country or ("DE" if currency == "EUR" else currency[:2])  # T2 runs at Frankfurt
    return ZoneInfo(ZONES.get(country, "UTC"))


@lru_cache(maxsize=1)
def _countries() -> frozenset[str]:
    import holidays  # noqa: PLC0415  (takes 0.1 s: paid by who settles, not by who imports)

    return frozenset(holidays.list_supported_countries())


@lru_cache(maxsize=CALENDAR_YEARS_MAX)
def _holidays(calendar: str, year: int) -> frozenset[date]:
    """One calendar's holidays in one year. Raises NotImplementedError for an unknown calendar."""
    import holidays  # noqa: PLC0415  (as above)

    if calendar == WEEKENDS_ONLY:
        return frozenset()
    if len(calendar) == len("GB"):
        return frozenset(
            holidays.country_holidays(calendar, subdiv=SUBDIVISIONS.get(calendar), years=year)
        )
    return frozenset(holidays.financial_holidays(calendar, years=year))


def early_days(calendar: str, year: int) -> tuple[date, ...]:
    """The half days of a market that depend on moons, from the `holidays` package."""
    import holidays  # noqa: PLC0415  (as above)

    return tuple(holidays.financial_holidays(calendar, years=year, categories=(holidays.HALF_DAY,)))


def is_business_day(day: date, *calendars: str) -> bool:
    """Whether all of these calendars are open on `day`."""
    return not any(
        day.weekday() in _weekend(calendar, day) or day in _holidays(calendar, day.year)
        for calendar in calendars
    )


def _weekend(calendar: str, day: date) -> frozenset[int]:
    known = _WEEKENDS.get(calendar)
    if known is None or (known.until is not None and day >= known.until):
        return SATURDAY_SUNDAY
    return known.days


def rule_of(issuer_country: str | None, instrument_type: str) -> Rule:
    """The row of `SETTLEMENT` for an instrument, or `OTHERS`."""
    return SETTLEMENT.get((issuer_country or "", instrument_type), OTHERS)


def calendars_of(issuer_country: str | None, instrument_type: str, currency: str) -> tuple[str, str]:
    """The calendars of an instrument's market and of its currency."""
    market = rule_of(issuer_country, instrument_type).calendar
    return market or market_calendar(issuer_country, currency), payment_calendar(currency)


def business_day_after(day: date, days: int, *calendars: str) -> date:
    """The `days`-th business day after `day`; with 0, `day` itself or the first one after it."""
    if days == 0:
        day, days = day - timedelta(days=1), 1
    for _ in range(days):
        day += timedelta(days=1)
        while not is_business_day(day, *calendars):
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
    """The settlement date of a trade: both market and currency are open.

    An instrument's `settlement_days` overrides the table.
    """
    days = settlement_days
    if days is None:
        days = rule_of(issuer_country, instrument_type).days
    return business_day_after(trade_date, days, *calendars_of(issuer_country, instrument_type, currency))
