"""Coupon dates: counted backwards from maturity, with a first period that may be short or long.

Dates are those of the terms, before any move to a business day, for which no interest accrues.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from engine.domain.day_count import DAY_COUNTS, is_month_end
from engine.kernel.limits import BOND_YEARS, COUPON_SCHEDULES_MAX

FREQUENCIES: Final = (1, 2, 3, 4, 6, 12)
"""Coupons a year: whole months apart."""


class BondTerms(NamedTuple):
    """The terms that determine an instrument's interest.

    `coupon` is percent a year, `coupon_frequency` coupons a year, `ex_coupon_days` calendar days.
    Interest runs from `issue_date`, without one from the coupon date before the first coupon.
    """

    coupon: Decimal | None
    maturity_date: date | None
    coupon_frequency: int | None = None
    first_coupon_date: date | None = None
    issue_date: date | None = None
    day_count_convention: str | None = None
    par_value: Decimal = Decimal(100)
    ex_coupon_days: int = 0

    @property
    def has_coupons(self) -> bool:
        """Whether coupons are paid, even of 0; bills have neither coupon nor frequency."""
        return bool(self.coupon) or self.coupon_frequency is not None


class Period(NamedTuple):
    """The days from `start` to `end`, for which `end` pays a coupon.

    `is_regular`: it is one step of the schedule.
    """

    start: date
    end: date
    is_regular: bool


class CouponSchedule(NamedTuple):
    """The coupon dates of a bond: every `months` months back from maturity, on `day` or a month's last.

    `start`: interest runs from here; None: as far back as the schedule. `first`: the first coupon, None
    if `start` is None. Quasi-coupon dates are all dates of the schedule, with or without a coupon.
    """

    maturity: date
    months: int
    day: int
    start: date | None
    first: date | None

    @property
    def pays_month_end(self) -> bool:
        """Whether all coupons fall on the last of their months."""
        return self.day == _LONGEST_MONTH

    def quasi_date(self, steps: int) -> date:
        """The quasi-coupon date `steps` before maturity; step 0 is maturity itself."""
        return _on_day(_months_of(self.maturity) - steps * self.months, self.day)

    def steps_at(self, day: date) -> int:
        """The steps before maturity of the last quasi-coupon date not after `day`."""
        steps = -(-(_months_of(self.maturity) - _months_of(day)) // self.months)
        return steps if self.quasi_date(steps) <= day else steps + 1

    def has_quasi_date(self, day: date) -> bool:
        """Whether `day` is a quasi-coupon date."""
        return self.quasi_date(self.steps_at(day)) == day

    def quasi_period(self, day: date) -> tuple[date, date]:
        """The quasi-coupon dates around `day`: the last one not after it, and the next."""
        steps = self.steps_at(day)
        return self.quasi_date(steps), self.quasi_date(steps - 1)

    def next_coupon(self, day: date) -> date | None:
        """The first coupon date after `day`; None from maturity on."""
        if day >= self.maturity:
            return None
        if self.first is not None and day < self.first:
            return self.first
        return self.quasi_period(day)[1]

    def coupon_dates(self, after: date, until: date) -> list[date]:
        """The coupon dates after `after`, up to and including `until`."""
        dates = []
        day = self.next_coupon(after)
        while day is not None and day <= until:
            dates.append(day)
            day = self.next_coupon(day)
        return dates

    def is_coupon_date(self, day: date) -> bool:
        """Whether a coupon is paid on `day`."""
        return self.next_coupon(day - timedelta(days=1)) == day

    def period_of(self, coupon_date: date) -> Period:
        """The interest period of the coupon on `coupon_date`, a date of the schedule."""
        before = self.quasi_date(self.steps_at(coupon_date) + 1)
        if self.start is None or coupon_date != self.first:
            return Period(before, coupon_date, is_regular=True)
        return Period(self.start, coupon_date, is_regular=self.start == before)


class TermsFault(NamedTuple):
    """The reason why terms accrue no interest: the field at fault, and a sentence."""

    field: str
    detail: str


_LONGEST_MONTH: Final = 31
_SHORTEST_MONTH: Final = 28


def fault_of(terms: BondTerms) -> TermsFault | None:
    """The fault for which these terms accrue no interest, or None.

    An instrument without coupons has no fault. Stored terms may be of any kind.
    """
    if not terms.has_coupons:
        is_given = terms.day_count_convention is not None
        return (_fault_in_convention(terms) if is_given else None) or _fault_in_dates(terms)
    found = schedule_of(terms)
    return found if isinstance(found, TermsFault) else None


@lru_cache(maxsize=COUPON_SCHEDULES_MAX)
def schedule_of(terms: BondTerms) -> CouponSchedule | TermsFault:
    """The schedule of a bond's coupons, or the fault of its terms."""
    fault = _fault_in_convention(terms) or _fault_in_words(terms) or _fault_in_dates(terms)
    if fault is not None:
        return fault
    assert terms.maturity_date is not None
    assert terms.coupon_frequency is not None
    maturity, first = terms.maturity_date, terms.first_coupon_date
    months = 12 // terms.coupon_frequency
    schedule = CouponSchedule(maturity, months, _roll_day(maturity, first), terms.issue_date, first)
    if schedule.quasi_date(0) != maturity or (first is not None and not schedule.has_quasi_date(first)):
        return TermsFault("first_coupon_date", f"is no whole number of {months} months before maturity")
    start = schedule.start
    if start is None and first is not None:
        start = schedule.quasi_date(schedule.steps_at(first) + 1)
    elif start is not None and first is None:
        first = schedule.quasi_period(start)[1]
    return schedule._replace(start=start, first=first)


def _fault_in_words(terms: BondTerms) -> TermsFault | None:
    if terms.coupon is None or terms.coupon < 0:
        return TermsFault("coupon", "must be given, in percent a year")
    if terms.maturity_date is None:
        return TermsFault("maturity_date", "must be given for an instrument with a coupon")
    if terms.coupon_frequency not in FREQUENCIES:
        return TermsFault(
            "coupon_frequency", f"must be one of {', '.join(map(str, FREQUENCIES))} a year"
        )
    longest = 12 // terms.coupon_frequency * _SHORTEST_MONTH - 1
    if not 0 <= terms.ex_coupon_days <= longest:
        return TermsFault(
            "ex_coupon_days", f"must be 0 to {longest}, less than from one coupon to the next"
        )
    return None


def _fault_in_convention(terms: BondTerms) -> TermsFault | None:
    if terms.day_count_convention not in DAY_COUNTS:
        return TermsFault("day_count_convention", f"must be one of {', '.join(DAY_COUNTS)}")
    return None


def _fault_in_dates(terms: BondTerms) -> TermsFault | None:
    issue, first, maturity = terms.issue_date, terms.first_coupon_date, terms.maturity_date
    dates = {"issue_date": issue, "first_coupon_date": first, "maturity_date": maturity}
    for name, day in dates.items():
        if day is not None and day.year not in BOND_YEARS:
            return TermsFault(name, f"must be in the years {BOND_YEARS.start} to {BOND_YEARS.stop - 1}")
    if issue is not None and maturity is not None and issue >= maturity:
        return TermsFault("maturity_date", "must be after `issue_date`")
    if first is not None and maturity is not None and first > maturity:
        return TermsFault("first_coupon_date", "must not be after `maturity_date`")
    if first is not None and issue is not None and first <= issue:
        return TermsFault("first_coupon_date", "must be after `issue_date`")
    return None


def _roll_day(maturity: date, first: date | None) -> int:
    """The day of the month of all coupons, 31 for the last of each.

    A bond that matures at a month's end pays at month ends, unless its first coupon differs: a first
    coupon on the 30th means that 28 February stands for the 30th.
    """
    if is_month_end(maturity) and (first is None or is_month_end(first)):
        return _LONGEST_MONTH
    return max(maturity.day, first.day if first is not None else 0)


def _months_of(day: date) -> int:
    return day.year * 12 + day.month - 1


def _on_day(months: int, day: int) -> date:
    """The `day`-th of a month counted from year 0, or its last day."""
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day, monthrange(year, month + 1)[1]))
