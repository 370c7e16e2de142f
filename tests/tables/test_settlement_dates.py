"""Golden settlement dates, written by hand from the markets' published holidays."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import holidays
import pytest

from engine import calendar
from engine.calendar import business_day_after, is_business_day, settlement_date
from engine.limits import CALENDAR_YEARS_MAX, SETTLEMENT_DATES_MAX
from tests.table import rows

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
2025-10-10 | US      | stock       | USD      |      | 2025-10-13 | Columbus Day: stocks trade
2025-11-10 | US      | bond        | USD      |      | 2025-11-12 | Veterans Day: no bonds
2025-11-10 | US      | stock       | USD      |      | 2025-11-11 | Veterans Day: stocks trade
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


@pytest.mark.parametrize("name", [*calendar.EXCHANGES.values(), calendar.EURO, "XSIF"])
def test_every_calendar_named_has_holidays_and_a_weekend(name: str) -> None:
    year = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    open_days = sum(is_business_day(day, name) for day in year)
    assert 235 <= open_days <= 260


@pytest.mark.parametrize("country", calendar.SUBDIVISIONS)
def test_every_subdivision_named_exists(country: str) -> None:
    assert business_day_after(date(2026, 3, 12), 2, country) >= date(2026, 3, 14)


def test_importing_the_rules_builds_no_calendar() -> None:
    check = "import sys, engine.stored, engine.trading; sys.exit('holidays' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_is_kept_is_bounded() -> None:
    assert calendar._year.cache_info().maxsize == CALENDAR_YEARS_MAX
    assert settlement_date.cache_info().maxsize == SETTLEMENT_DATES_MAX
