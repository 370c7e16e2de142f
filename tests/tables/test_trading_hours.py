"""Market hours: sessions, half days, daylight saving; golden times from the markets' calendars."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.calendar import is_business_day
from engine.domain.exchanges import MARKETS
from engine.domain.half_days import HALF_DAYS, half_days_of
from engine.domain.trading_hours import (
    TradingHours,
    faults,
    is_open,
    next_opening,
    parse,
    session_end,
)
from engine.kernel.fact import from_us, to_us
from engine.kernel.limits import SESSIONS_MAX
from tests.support.models.table import rows

HOURS = {
    "NYSE": "XNYS America/New_York 09:30-16:00",
    "NYSE by UTC": "XNYS UTC 14:30-21:00",
    "London": "XLON Europe/London 08:00-16:30",
    "Xetra": "XETR Europe/Berlin 09:00-17:30",
    "Tokyo": "XJPX Asia/Tokyo 09:00-11:30 12:30-15:30",
    "Hong Kong": "XHKG Asia/Hong_Kong 09:30-12:00 13:00-16:00",
    "bonds": "XSIF America/New_York 08:00-17:00",
    "Nairobi": "KE Africa/Nairobi 09:30-15:00",
    "Riyadh": "XSAU Asia/Riyadh 10:00-15:00",
    "all day": "XNYS America/New_York 00:00-24:00",
}

TIMES = """
hours      |at              |is    |opens           |ends            |because
NYSE       |2026-03-06 14:29|closed|2026-03-06 14:30|2026-03-06 21:00|winter: 09:29 in New York
NYSE       |2026-03-06 14:30|open  |2026-03-09 13:30|2026-03-06 21:00|on Monday an hour earlier by UTC
NYSE       |2026-03-09 13:30|open  |2026-03-10 13:30|2026-03-09 20:00|summer time since Sunday
NYSE       |2026-03-09 20:00|closed|2026-03-10 13:30|2026-03-10 20:00|at the close it is closed
NYSE       |2026-10-30 20:30|closed|2026-11-02 14:30|2026-11-02 21:00|London has changed, New York not
NYSE       |2026-07-02 20:30|closed|2026-07-06 13:30|2026-07-06 20:00|Independence Day is kept on Friday
NYSE       |2026-11-27 17:59|open  |2026-11-30 14:30|2026-11-27 18:00|the day after Thanksgiving: 13:00
NYSE       |2026-11-27 18:00|closed|2026-11-30 14:30|2026-11-30 21:00|the same, over
NYSE by UTC|2026-11-27 18:00|closed|2026-11-30 14:30|2026-11-30 21:00|the early close is New York's
NYSE       |2025-07-03 17:00|closed|2025-07-07 13:30|2025-07-07 20:00|3 July, to 13:00
NYSE       |2027-07-02 18:00|open  |2027-07-06 13:30|2027-07-02 20:00|before a Monday off: a whole day
London     |2026-12-24 12:29|open  |2026-12-29 08:00|2026-12-24 12:30|Christmas Eve, to 12:30
London     |2026-12-24 12:30|closed|2026-12-29 08:00|2026-12-29 16:30|then Boxing Day on Monday
London     |2028-12-22 12:30|closed|2028-12-27 08:00|2028-12-27 16:30|24 December is a Sunday
London     |2026-03-30 07:00|open  |2026-03-31 07:00|2026-03-30 15:30|summer time since Sunday
Xetra      |2026-12-24 10:00|closed|2026-12-28 08:00|2026-12-28 16:30|Frankfurt is closed, TARGET is not
Xetra      |2026-12-30 13:00|closed|2027-01-04 08:00|2027-01-04 16:30|the last trading day, to 14:00
Xetra      |2026-05-25 08:00|open  |2026-05-26 07:00|2026-05-25 15:30|Whit Monday is traded
Tokyo      |2026-03-12 02:29|open  |2026-03-12 03:30|2026-03-12 06:30|the morning
Tokyo      |2026-03-12 02:30|closed|2026-03-12 03:30|2026-03-12 06:30|lunch
Tokyo      |2026-05-01 06:30|closed|2026-05-07 00:00|2026-05-07 06:30|Golden Week
Tokyo      |2026-12-30 06:00|open  |2027-01-04 00:00|2026-12-30 06:30|the last day is a whole one
Hong Kong  |2026-02-16 04:00|closed|2026-02-20 01:30|2026-02-20 08:00|lunar New Year's Eve: mornings
bonds      |2026-04-03 15:59|open  |2026-04-06 12:00|2026-04-03 16:00|Good Friday of payrolls: 12:00
NYSE       |2026-04-03 15:59|closed|2026-04-06 13:30|2026-04-06 20:00|the same day, stocks
bonds      |2025-04-17 18:00|closed|2025-04-21 12:00|2025-04-21 21:00|the day before Good Friday: 14:00
bonds      |2026-10-12 14:00|closed|2026-10-13 12:00|2026-10-13 21:00|Columbus Day: no bonds
NYSE       |2026-10-12 14:00|open  |2026-10-13 13:30|2026-10-12 20:00|Columbus Day: stocks trade
Nairobi    |2026-05-29 12:00|closed|2026-06-02 06:30|2026-06-02 12:00|Madaraka Day on Monday
Riyadh     |2026-03-12 12:30|closed|2026-03-15 07:00|2026-03-15 12:00|Friday and Saturday are off
all day    |2026-03-07 04:59|open  |2026-03-09 04:00|2026-03-07 05:00|Friday until New York's midnight
"""


def at_us(text: str) -> int:
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize("row", rows(TIMES), ids=lambda row: f"{row['hours']} {row['at']}")
def test_golden_times(row: dict[str, str]) -> None:
    hours, now_us = parse(HOURS[row["hours"]]), at_us(row["at"])
    assert is_open(hours, now_us) == (row["is"] == "open"), row["because"]
    assert f"{from_us(next_opening(hours, now_us)):%Y-%m-%d %H:%M}" == row["opens"], row["because"]
    assert f"{from_us(session_end(hours, now_us)):%Y-%m-%d %H:%M}" == row["ends"], row["because"]


def test_without_hours_it_is_always_open_and_the_session_is_the_business_day() -> None:
    for text in ("2026-03-12 00:00", "2026-03-14 23:59", "2026-12-25 12:00"):
        assert is_open(None, at_us(text))
    assert session_end(None, at_us("2026-03-12 00:00")) == at_us("2026-03-13 00:00")
    assert session_end(None, at_us("2026-03-12 23:59")) == at_us("2026-03-13 00:00")


def test_a_time_that_is_skipped_or_occurs_twice_is_one_moment() -> None:
    """Berlin, 29 March and 25 October 2026, both Sundays: a market that trades on Sundays."""
    early = TradingHours("XSAU", "Europe/Berlin", (("02:30", "06:00"),))
    assert next_opening(early, at_us("2026-03-28 12:00")) == at_us("2026-03-29 01:30")
    assert next_opening(early, at_us("2026-10-24 12:00")) == at_us("2026-10-25 00:30")
    assert session_end(early, at_us("2026-10-25 01:00")) == at_us("2026-10-25 05:00")


def _instants() -> st.SearchStrategy[int]:
    return st.integers(at_us("2026-01-01 00:00"), at_us("2030-01-01 00:00"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(HOURS)), _instants())
def test_law_of_openings(name: str, now_us: int) -> None:
    """Closed from the close to the opening, open from then on; the next opening is the first one."""
    hours = parse(HOURS[name])
    opens_us = next_opening(hours, now_us)
    assert opens_us > now_us
    assert is_open(hours, opens_us)
    assert not is_open(hours, opens_us - 1) or name == "all day"
    if not is_open(hours, now_us):
        middle_us = (now_us + opens_us) // 2
        assert not is_open(hours, middle_us)
        assert next_opening(hours, middle_us) == opens_us
    local = from_us(opens_us).astimezone(ZoneInfo(hours.time_zone))
    assert f"{local:%H:%M}" in {opens for opens, _ in hours.sessions}
    assert is_business_day(local.date(), hours.calendar)
    end_us = session_end(hours, now_us)
    assert end_us > now_us
    assert is_open(hours, end_us - 1)


# --- half days ------------------------------------------------------------------------------------

AWRY = {
    ("XSIF", date(2025, 1, 9)),  # a day of mourning, announced singly
    *(("XASX", day) for day in (
        date(2028, 12, 22), date(2028, 12, 29), date(2033, 12, 23), date(2033, 12, 30),
        date(2034, 12, 22), date(2034, 12, 29), date(2039, 12, 23), date(2039, 12, 30),
    )),  # the eves fall on weekends: the last business day before, as in 2022 and 2023
}  # fmt: skip
"""Half days that only one of the two tables has."""


def _published(calendar: str, year: int) -> Iterator[date]:
    """Half days by the `holidays` package, which states them one by one, with other code."""
    known = holidays.financial_holidays(calendar)
    if holidays.HALF_DAY in known.supported_categories:
        days = holidays.financial_holidays(calendar, years=year, categories=(holidays.HALF_DAY,))
        yield from (day for day in days if is_business_day(day, calendar))


@pytest.mark.parametrize("calendar", sorted(set(HALF_DAYS) - {"XETR", "XFRA"}))
def test_half_days_agree_with_another_table(calendar: str) -> None:
    for year in range(2025, 2041):
        other = set(_published(calendar, year)) ^ set(half_days_of(calendar, year))
        assert {(calendar, day) for day in other} <= AWRY


def test_every_market_with_half_days_can_be_named() -> None:
    assert set(HALF_DAYS) <= set(MARKETS)
    assert set(MARKETS) <= set(holidays.list_supported_financial())
    years = range(2025, 2028)
    whole = {name for name in MARKETS if any(set(_published(name, year)) for year in years)}
    assert whole - set(HALF_DAYS) == {
        "XBOG", "XBUE",  # announced year by year
        "XCME",  # each of its products closes at another time
    }  # fmt: skip


# --- bad hours ------------------------------------------------------------------------------------

NEW_YORK = ("XNYS", "America/New_York")
BAD = {
    "unknown calendar": (TradingHours("XXXX", "UTC", (("09:00", "17:00"),)), "calendar"),
    "a country with markets": (TradingHours("US", "UTC", (("09:00", "17:00"),)), "calendar"),
    "an alias": (TradingHours("NYSE", "UTC", (("09:00", "17:00"),)), "calendar"),
    "a country that is none": (TradingHours("ZZ", "UTC", (("09:00", "17:00"),)), "calendar"),
    "unknown zone": (TradingHours("XNYS", "America/Gotham", (("09:00", "17:00"),)), "time_zone"),
    "a path": (TradingHours("XNYS", "../../etc/passwd", (("09:00", "17:00"),)), "time_zone"),
    "no sessions": (TradingHours(*NEW_YORK, ()), "sessions"),
    "too many": (
        TradingHours(*NEW_YORK, tuple((f"{n:02}:00", f"{n:02}:30") for n in range(SESSIONS_MAX + 1))),
        "sessions",
    ),
    "no time": (TradingHours(*NEW_YORK, (("9:30", "16:00"),)), "sessions"),
    "a time of no day": (TradingHours(*NEW_YORK, (("09:30", "24:01"),)), "sessions"),
    "other digits": (TradingHours(*NEW_YORK, (("٠٩:30", "16:00"),)), "sessions"),
    "backwards": (TradingHours(*NEW_YORK, (("16:00", "09:30"),)), "sessions"),
    "empty": (TradingHours(*NEW_YORK, (("09:30", "09:30"),)), "sessions"),
    "overlapping": (TradingHours(*NEW_YORK, (("09:00", "12:00"), ("11:59", "16:00"))), "sessions"),
    "out of order": (TradingHours(*NEW_YORK, (("13:00", "16:00"), ("09:00", "12:00"))), "sessions"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_hours_have_a_sentence(name: str) -> None:
    hours, field = BAD[name]
    ((at_fault, detail),) = faults(hours)
    assert at_fault == field
    assert detail.startswith("must ")


@pytest.mark.parametrize("name", HOURS)
def test_good_hours_are_read_as_they_are_written(name: str) -> None:
    hours = parse(HOURS[name])
    assert list(faults(hours)) == []
    assert str(hours) == HOURS[name]


@pytest.mark.parametrize("text", ["", "XNYS", "XNYS UTC", "XNYS UTC 09:30", "XNYS UTC 9-10-11"])
def test_text_that_is_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a calendar, a time zone and sessions"):
        parse(text)


def test_sessions_that_touch_are_one_after_the_other() -> None:
    hours = TradingHours(*NEW_YORK, (("09:30", "12:00"), ("12:00", "24:00")))
    assert list(faults(hours)) == []
    noon_us = at_us("2026-03-12 16:00")
    assert is_open(hours, noon_us - 1)
    assert is_open(hours, noon_us)
    assert from_us(noon_us).astimezone(ZoneInfo("America/New_York")).hour == 12
    assert session_end(hours, noon_us) == at_us("2026-03-13 04:00")
    assert timedelta(microseconds=session_end(hours, noon_us) - noon_us) == timedelta(hours=12)
