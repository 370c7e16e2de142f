"""Day-count conventions: days of interest and days of a year.

Sources: ISDA 2006 Definitions 4.16; ICMA Rule 251; Mayle, Standard Securities Calculation Methods
(SIFMA) for `30_360`.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Final, Literal, get_args

DayCount = Literal["30_360", "actual_360", "actual_365_fixed", "actual_actual"]
DAY_COUNTS: Final[tuple[str, ...]] = get_args(DayCount)

YEAR_DAYS: Final = {"30_360": 360, "actual_360": 360, "actual_365_fixed": 365}
"""Days of a year by convention. `actual_actual` has none: it counts in coupon periods."""


def is_month_end(day: date) -> bool:
    """Whether `day` is the last of its month."""
    return day.day == monthrange(day.year, day.month)[1]


def days_between(convention: str, start: date, end: date, *, pays_month_end: bool = False) -> int:
    """Days from `start` to `end` by one of `DAY_COUNTS`.

    `pays_month_end`: coupons fall on the last of their months; used by `30_360` only.
    """
    if convention == "30_360":
        return _days_30_360(start, end, pays_month_end=pays_month_end)
    return (end - start).days


def _days_30_360(start: date, end: date, *, pays_month_end: bool) -> int:
    """30/360 US, "bond basis": months of 30 days.

    The last of February counts as the 30th only for bonds that pay at month ends: else half a year from
    28 February to 28 August would be 178 days.
    """
    first, last = start.day, end.day
    if pays_month_end and start.month == 2 and is_month_end(start):
        if end.month == 2 and is_month_end(end):
            last = 30
        first = 30
    if last == 31 and first >= 30:
        last = 30
    first = min(first, 30)
    return 360 * (end.year - start.year) + 30 * (end.month - start.month) + last - first
