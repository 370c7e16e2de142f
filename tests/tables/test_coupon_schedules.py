"""Coupon dates: month ends, leap years, first periods; the next coupon, and those between two dates."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from engine.domain.coupon_schedule import BondTerms, CouponSchedule, schedule_of
from engine.kernel.limits import COUPON_SCHEDULES_MAX
from tests.support.models.table import rows

SCHEDULES = """
# Coupons after `after`, as many as are written.
a year | issue      | first      | maturity   | after      | coupons                          | because
2      |            |            | 2028-05-15 | 2026-05-15 | 2026-11-15 2027-05-15 2027-11-15 2028-05-15 . | a coupon date is not after itself
2      |            |            | 2028-05-15 | 2026-05-14 | 2026-05-15 2026-11-15            | and the day before it is
2      |            |            | 2028-05-15 | 2028-05-15 | .                                | maturity
1      |            |            | 2028-02-29 | 2023-03-01 | 2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29 . | month ends, once a year
2      |            |            | 2027-02-28 | 2024-01-01 | 2024-02-29 2024-08-31 2025-02-28 2025-08-31 | month ends
2      |            | 2024-08-28 | 2027-02-28 | 2024-01-01 | 2024-08-28 2025-02-28 2025-08-28 | the 28th, as the first coupon was
2      |            | 2024-08-29 | 2027-02-28 | 2024-01-01 | 2024-08-29 2025-02-28 2025-08-29 | the 29th, as the first coupon was
2      |            | 2024-08-30 | 2027-02-28 | 2023-09-01 | 2024-08-30 2025-02-28 2025-08-30 | the 30th, as the first coupon was
2      |            |            | 2028-02-28 | 2025-03-01 | 2025-08-28 2026-02-28 2026-08-28 2027-02-28 | no month end in a leap year
2      |            |            | 2030-06-30 | 2026-07-01 | 2026-12-31 2027-06-30            | 30 June is a month end
2      |            | 2026-12-30 | 2030-06-30 | 2026-07-01 | 2026-12-30 2027-06-30            | 30 June and 30 December are the 30th
2      |            |            | 2030-08-30 | 2026-09-01 | 2027-02-28 2027-08-30 2028-02-29 2028-08-30 | back from February to the 30th
4      |            |            | 2027-01-31 | 2026-01-31 | 2026-04-30 2026-07-31 2026-10-31 2027-01-31 . | quarters at month ends
12     |            |            | 2026-04-30 | 2025-12-31 | 2026-01-31 2026-02-28 2026-03-31 2026-04-30 . | months
12     |            |            | 2026-04-29 | 2026-01-01 | 2026-01-29 2026-02-28 2026-03-29 2026-04-29 . | months on the 29th
6      |            |            | 2026-12-15 | 2026-07-01 | 2026-08-15 2026-10-15 2026-12-15 . | every two months
3      |            |            | 2027-03-15 | 2026-03-15 | 2026-07-15 2026-11-15 2027-03-15 . | every four
2      | 2026-03-12 |            | 2027-05-15 | 2020-01-01 | 2026-05-15 2026-11-15 2027-05-15 . | a short first period, taken for granted
2      | 2026-03-12 | 2026-11-15 | 2027-05-15 | 2020-01-01 | 2026-11-15 2027-05-15 .          | a long one
2      | 2026-03-12 | 2027-11-15 | 2028-05-15 | 2020-01-01 | 2027-11-15 2028-05-15 .          | a very long one
2      | 2026-05-15 |            | 2027-05-15 | 2020-01-01 | 2026-11-15 2027-05-15 .          | issued on a coupon date
1      | 2026-03-12 | 2026-11-15 | 2026-11-15 | 2026-03-12 | 2026-11-15 .                     | a single coupon
2      |            | 2026-11-15 | 2027-05-15 | 2020-01-01 | 2026-11-15 2027-05-15 .          | without a date of issue
"""  # noqa: E501  (a table)

PERIODS = """
a year | issue      | first      | maturity   | coupon     | from       | regular
2      |            |            | 2028-05-15 | 2026-11-15 | 2026-05-15 | yes
2      | 2026-03-12 |            | 2028-05-15 | 2026-05-15 | 2026-03-12 | no
2      | 2026-03-12 | 2026-11-15 | 2028-05-15 | 2026-11-15 | 2026-03-12 | no
2      | 2026-03-12 | 2026-11-15 | 2028-05-15 | 2027-05-15 | 2026-11-15 | yes
2      | 2026-05-15 | 2026-11-15 | 2028-05-15 | 2026-11-15 | 2026-05-15 | yes
2      |            | 2026-11-15 | 2028-05-15 | 2026-11-15 | 2026-05-15 | yes
2      | 2026-02-28 |            | 2028-08-31 | 2026-08-31 | 2026-02-28 | yes
2      | 2026-02-27 | 2026-08-31 | 2028-08-31 | 2026-08-31 | 2026-02-27 | no
"""


def schedule(row: dict[str, str]) -> CouponSchedule:
    issue, first, maturity = (
        date.fromisoformat(row[name]) if row[name] else None for name in ("issue", "first", "maturity")
    )
    terms = BondTerms(Decimal(5), maturity, int(row["a year"]), first, issue, "actual_actual")
    made = schedule_of(terms)
    assert isinstance(made, CouponSchedule), made
    return made


@pytest.mark.parametrize("row", rows(SCHEDULES), ids=lambda row: row["because"])
def test_coupon_dates(row: dict[str, str]) -> None:
    made, after = schedule(row), date.fromisoformat(row["after"])
    written = row["coupons"].split()
    days = [date.fromisoformat(text) for text in written if text != "."]
    # One by one, all at once up to the last that is written, and each of them by itself.
    day: date | None = after
    for expected in days:
        assert day is not None
        day = made.next_coupon(day)
        assert day == expected
    if "." in written:
        assert made.next_coupon(days[-1] if days else after) is None
        assert made.coupon_dates(after, date(2999, 12, 31)) == days
    assert made.coupon_dates(after, days[-1] if days else after) == days
    assert made.coupon_dates(after, days[-1] - timedelta(days=1) if days else after) == days[:-1]
    assert all(made.is_coupon_date(day) for day in days)
    assert not any(made.is_coupon_date(day + timedelta(days=1)) for day in days)


@pytest.mark.parametrize("row", rows(PERIODS), ids=lambda row: f"{row['coupon']} {row['from']}")
def test_periods(row: dict[str, str]) -> None:
    coupon_date = date.fromisoformat(row["coupon"])
    start, end, is_regular = schedule(row).period_of(coupon_date)
    assert (start, end) == (date.fromisoformat(row["from"]), coupon_date)
    assert is_regular == (row["regular"] == "yes")


def test_what_is_kept_is_bounded() -> None:
    assert schedule_of.cache_info().maxsize == COUPON_SCHEDULES_MAX
