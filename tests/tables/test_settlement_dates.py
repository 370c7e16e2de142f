"""Golden settlement dates, written by hand from the markets' published holidays."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest

from engine.domain import calendar
from engine.domain.calendar import business_day_after, is_business_day, local_date, settlement_date
from engine.domain.exchanges import EURO, EXCHANGES, SUBDIVISIONS, WEEKENDS, ZONES
from engine.kernel.fact import to_us
from engine.kernel.limits import CALENDAR_YEARS_MAX, SETTLEMENT_DATES_MAX
from tests.support.models.table import rows

DATES = """
traded     | country | type        | currency | days | settles    | because
2026-03-12 | US      | stock       | USD      |      | 2026-03-13 | T+1
2026-03-13 | US      | stock       | USD      |      | 2026-03-16 | over a weekend
2026-03-14 | US      | stock       | USD      |      | 2026-03-16 | traded on a Saturday: the next business day is the first
2025-04-17 | US      | stock       | USD      |      | 2025-04-21 | Good Friday: New York is closed
2025-04-17 | US      | bond        | USD      |      | 2025-04-21 | Good Friday 2025: bonds too
2026-04-02 | US      | etf         | USD      |      | 2026-04-06 | Good Friday 2026: New York is closed
2026-04-02 | US      | bill        | USD      |      | 2026-04-03 | Good Friday 2026: bonds trade half a day
2025-10-10 | US      | bill        | USD      |      | 2025-10-14 | Columbus Day: no bonds
2025-10-10 | US      | stock       | USD      |      | 2025-10-14 | Columbus Day: stocks trade, no dollar is paid (FINRA 99-83)
2025-10-13 | US      | stock       | USD      |      | 2025-10-14 | traded on Columbus Day
2025-11-10 | US      | bond        | USD      |      | 2025-11-12 | Veterans Day: no bonds
2025-11-10 | US      | stock       | USD      |      | 2025-11-12 | Veterans Day: the same (FINRA 88-82)
2025-10-10 | US      | stock       | EUR      |      | 2025-10-13 | Columbus Day: the euro is paid
2026-04-30 | US      | stock       | EUR      |      | 2026-05-04 | the first of May: the euro is not
2026-12-24 | DE      | stock       | EUR      |      | 2026-12-29 | Christmas Eve: Frankfurt does not trade, TARGET settles
2026-07-02 | US      | stock       | USD      |      | 2026-07-06 | Independence Day observed on Friday
2025-01-08 | US      | stock       | USD      |      | 2025-01-10 | a day of mourning
2026-03-12 | US      | mutual_fund | USD      |      | 2026-03-16 | all else T+2
2026-04-02 | GB      | bill        | GBP      |      | 2026-04-07 | Good Friday and Easter Monday
2026-04-02 | GB      | stock       | GBP      |      | 2026-04-08 | the same, T+2
2025-12-24 | GB      | bill        | GBP      |      | 2025-12-29 | Christmas and Boxing Day
2026-05-22 | GB      | bill        | GBP      |      | 2026-05-26 | Spring bank holiday
2026-04-01 | DE      | bond        | EUR      |      | 2026-04-07 | TARGET keeps Good Friday and Easter Monday
2026-04-30 | FR      | stock       | EUR      |      | 2026-05-05 | TARGET keeps the first of May
2026-05-22 | DE      | stock       | EUR      |      | 2026-05-26 | TARGET works on Whit Monday
2026-12-24 | IT      | bond        | EUR      |      | 2026-12-29 | TARGET closes on 25 and 26 December
2026-03-13 |         | bond        | EUR      |      | 2026-03-17 | an issuer without a country
2026-05-29 | KE      | bond        | KES      |      | 2026-06-03 | Madaraka Day, Kenya's public holidays
2026-06-04 | SA      | stock       | SAR      |      | 2026-06-08 | the weekend is Friday and Saturday
2026-06-04 | SA      | stock       | USD      |      | 2026-06-09 | Riyadh rests on Friday, the dollar on Sunday
2026-06-04 | KW      | stock       | USD      |      | 2026-06-09 | Kuwait alike
2026-06-04 | KW      | stock       | KWD      |      | 2026-06-08 | in dinar Sunday is a business day
2026-06-03 | QA      | bond        | USD      |      | 2026-06-08 | Qatar: Thursday, then Monday
2026-06-04 | KW      | stock       | EUR      |      | 2026-06-09 | the euro rests on Sunday too
2026-06-04 | US      | mutual_fund | KWD      |      | 2026-06-09 | and an American fund in dinar on Friday and Sunday
2026-03-12 | VE      | bond        | USD      |      | 2026-03-16 | Venezuela rests on Sundays; Caracas does not settle on Saturday
2026-03-12 | PY      | bond        | USD      |      | 2026-03-16 | Paraguay alike
2026-03-12 | CD      | bond        | CDF      |      | 2026-03-16 | Congo alike, in its own francs
2026-02-12 | NE      | bond        | XOF      |      | 2026-02-16 | Niger alike, whose franc has no country
2026-03-12 | BN      | bond        | BND      |      | 2026-03-16 | Brunei rests on Friday and Sunday and has no exchange
2026-01-01 | IL      | stock       | ILS      |      | 2026-01-05 | Tel Aviv's last Sunday: 4 January 2026
2026-01-08 | IL      | stock       | ILS      |      | 2026-01-12 | and its first Friday: the 9th
2021-12-29 | AE      | stock       | AED      |      | 2022-01-02 | Dubai: the last Sunday
2022-01-05 | AE      | stock       | AED      |      | 2022-01-07 | Dubai: the first Friday
2026-03-12 |         | bond        | XAU      |      | 2026-03-16 | no calendar known: weekends
2026-03-12 | US      | stock       | USD      | 0    | 2026-03-12 | the instrument says T+0
2026-03-14 | US      | stock       | USD      | 0    | 2026-03-16 | T+0 on a Saturday
2026-03-12 | US      | stock       | USD      | 3    | 2026-03-17 | the instrument says T+3
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(DATES), ids=lambda row: f"{row['traded']} {row['because']}")
def test_settlement_date(row: dict[str, str]) -> None:
    days = int(row["days"]) if row["days"] else None
    settles = settlement_date(
        date.fromisoformat(row["traded"]), row["country"] or None, row["type"], row["currency"], days
    )
    assert settles == date.fromisoformat(row["settles"])


@pytest.mark.parametrize("year", range(2015, 2031))
def test_london_keeps_the_bank_holidays_of_england(year: int) -> None:
    england = holidays.country_holidays("GB", subdiv="ENG", years=year)
    london = holidays.financial_holidays("XLON", years=year)
    assert {day for day in england if day.weekday() < 5} == {day for day in london if day.weekday() < 5}


@pytest.mark.parametrize("name", sorted({*EXCHANGES.values(), EURO, "XFED", "XSIF"}))
def test_every_calendar_named_has_holidays_and_a_weekend(name: str) -> None:
    year = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    open_days = sum(is_business_day(day, name) for day in year)
    assert 235 <= open_days <= 260


@pytest.mark.parametrize("country", SUBDIVISIONS)
def test_every_subdivision_named_exists(country: str) -> None:
    assert business_day_after(date(2026, 3, 12), 2, country) >= date(2026, 3, 14)


COUNTRIES = sorted(holidays.list_supported_countries(include_aliases=False))
MIDWEEK = {"AE", "BD", "BH", "DZ", "EG", "IL", "IQ", "IR", "JO", "KW", "LY", "MV", "NP", "OM", "PS",
           "QA", "SA", "SD", "SY"}  # fmt: skip
"""Countries with an exchange that rests or rested on a Friday."""


@pytest.mark.parametrize("currency", ["USD", "EUR", "GBP", "CHF", "JPY"])
def test_no_country_settles_a_major_currency_on_a_saturday_or_sunday(currency: str) -> None:
    thursdays = (date(2026, 6, 4), date(2026, 11, 26), date(2026, 12, 31))
    settled = [
        (country, settlement_date(day + timedelta(days=ahead), country, kind, currency))
        for country in COUNTRIES
        for kind in ("stock", "bill")
        for day in thursdays
        for ahead in range(3)
    ]
    assert [(country, day) for country, day in settled if day.weekday() > 4] == []
    rests = [(country, day) for country, day in settled if country in MIDWEEK and day.weekday() == 4]
    assert {country for country, _ in rests} <= {"AE", "IL"}


def test_only_exchanges_with_another_weekend_settle_on_one_in_their_own_currency() -> None:
    week = [date(2026, 6, 1) + timedelta(days=number) for number in range(7)]
    odd = {
        country
        for country in COUNTRIES
        for day in week
        if day.weekday() > 4 and is_business_day(day, calendar.market_calendar(country, ""))
    }
    assert odd == MIDWEEK - {"AE", "IL"}
    assert set(WEEKENDS) == MIDWEEK


TRADED = """
at (UTC)         | country | currency | trade date | because
2026-03-12T14:59 | JP      | JPY      | 2026-03-12 | 23:59 in Tokyo
2026-03-12T15:00 | JP      | JPY      | 2026-03-13 | midnight
2026-03-13T03:30 | US      | USD      | 2026-03-12 | late evening in New York, summer time
2026-01-13T04:30 | US      | USD      | 2026-01-12 | the same in winter
2026-03-12T10:59 | NZ      | NZD      | 2026-03-12 | Auckland, 13 hours ahead in summer
2026-03-12T11:00 | NZ      | NZD      | 2026-03-13 | midnight
2026-03-12T15:00 |         | JPY      | 2026-03-13 | without an issuer's country the currency's
2026-03-12T23:30 | FR      | EUR      | 2026-03-13 | Paris
2026-03-12T23:30 |         | EUR      | 2026-03-13 | Frankfurt
2026-03-12T23:30 | GB      | EUR      | 2026-03-12 | the issuer's market, not the currency's
2026-03-12T23:30 |         | XAU      | 2026-03-12 | nobody's market: UTC
"""


@pytest.mark.parametrize("row", rows(TRADED), ids=lambda row: f"{row['at (UTC)']} {row['because']}")
def test_the_trade_date_is_the_markets(row: dict[str, str]) -> None:
    at_us = to_us(datetime.fromisoformat(row["at (UTC)"]).replace(tzinfo=UTC))
    traded = local_date(at_us, row["country"] or None, row["currency"])
    assert traded == date.fromisoformat(row["trade date"])


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_country_has_a_zone_and_a_calendar(country: str) -> None:
    assert ZoneInfo(ZONES[country])
    assert settlement_date(date(2026, 3, 12), country, "stock", "USD") > date(2026, 3, 12)


def test_importing_the_rules_builds_no_calendar() -> None:
    check = (
        "import sys, engine.domain.stored, engine.domain.trading; sys.exit('holidays' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_is_kept_is_bounded() -> None:
    assert calendar._holidays.cache_info().maxsize == CALENDAR_YEARS_MAX
    assert settlement_date.cache_info().maxsize == SETTLEMENT_DATES_MAX
