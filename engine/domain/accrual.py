"""Accrued interest and coupons, per unit of an instrument.

Every amount is one exact quotient, rounded once.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

from engine.domain.coupon_schedule import BondTerms, CouponSchedule, Period, TermsFault, schedule_of
from engine.domain.day_count import YEAR_DAYS, days_between
from engine.kernel.values import EXACT, PRICE_PLACES, STEPS, ZERO, divide_to, plain

EQUAL_COUPONS: Final = frozenset({"30_360", "actual_365_fixed", "actual_actual"})
"""Conventions with equal regular coupons, coupon / frequency, independent of a period's days: Treasuries
(31 CFR 356 App. B I.A.1), gilts, Canadas and JGBs. `actual_360` pays for the days of each period."""
NOTHING: Final = Decimal("0.00000000")


def accrued_interest(terms: BondTerms, settlement: date) -> Decimal:
    """Interest per unit for a trade that settles on `settlement`, 8 decimals half even.

    0 on a coupon date, before interest runs, from maturity on, and for terms with a fault (`fault_of`).
    Negative from the ex date to the coupon: the seller receives that coupon, and the buyer is
    compensated for the interest from settlement on.
    """
    schedule = schedule_of(terms)
    if isinstance(schedule, TermsFault):
        return NOTHING
    coupon_date = schedule.next_coupon(settlement)
    if coupon_date is None:
        return NOTHING
    period = schedule.period_of(coupon_date)
    if settlement <= period.start:
        return NOTHING
    if settlement >= ex_date(terms, coupon_date):
        rest = _amount(terms, year_fraction(terms, schedule, settlement, coupon_date))
        return EXACT.minus(rest) if rest else NOTHING
    return _amount(terms, year_fraction(terms, schedule, period.start, settlement))


def coupon_amount(terms: BondTerms, coupon_date: date) -> Decimal:
    """The coupon of `coupon_date` for one unit, 8 decimals half even, for display; see `coupon_for`."""
    return _amount(terms, _fraction_paid(terms, coupon_date))


def coupon_for(terms: BondTerms, coupon_date: date, units: Decimal, step: Decimal) -> Decimal:
    """The coupon of `coupon_date` for `units`, rounded down to `step`; 0 if not a coupon date.

    Computed from the exact quotient: a coupon per unit rounded up would overpay on millions of units.
    """
    return _amount(terms, _fraction_paid(terms, coupon_date), units, step, ROUND_FLOOR)


def coupon_per_unit(terms: BondTerms, coupon_date: date) -> tuple[Decimal, int]:
    """The exact coupon of one unit, amount / divisor; (0, 1) if not a coupon date."""
    fraction = _fraction_paid(terms, coupon_date)
    yearly = EXACT.scaleb(EXACT.multiply(terms.coupon or ZERO, terms.par_value), -2)
    amount = EXACT.multiply(yearly, Decimal(fraction.numerator))
    return Decimal(plain(amount.normalize(EXACT))), fraction.denominator


def ex_date(terms: BondTerms, coupon_date: date) -> date:
    """The first settlement date on which a trade excludes the coupon of `coupon_date`."""
    return coupon_date - timedelta(days=terms.ex_coupon_days)


def coupon_fraction(terms: BondTerms, schedule: CouponSchedule, period: Period) -> Fraction:
    """The coupon of a period as a fraction of a year's interest."""
    if period.is_regular and terms.day_count_convention in EQUAL_COUPONS:
        return Fraction(schedule.months, 12)
    return year_fraction(terms, schedule, period.start, period.end)


def year_fraction(terms: BondTerms, schedule: CouponSchedule, start: date, end: date) -> Fraction:
    """The years of interest from `start` to `end`, by the convention of the terms."""
    convention = terms.day_count_convention or ""
    if convention in YEAR_DAYS:
        days = days_between(convention, start, end, pays_month_end=schedule.pays_month_end)
        return Fraction(days, YEAR_DAYS[convention])
    return quasi_periods(schedule, start, end) * Fraction(schedule.months, 12)


def quasi_periods(schedule: CouponSchedule, start: date, end: date) -> Fraction:
    """The number of quasi-coupon periods between two dates: whole ones and fractions at both ends.

    Each fraction is days / days of its own period (ICMA Rule 251.1; 31 CFR 356 App. B I.A.3).
    """
    steps_start, steps_end = schedule.steps_at(start), schedule.steps_at(end)
    return steps_start - steps_end + _part(schedule, end) - _part(schedule, start)


def _part(schedule: CouponSchedule, day: date) -> Fraction:
    """The elapsed fraction of the quasi-coupon period that contains `day`."""
    before, after = schedule.quasi_period(day)
    return Fraction((day - before).days, (after - before).days)


def _fraction_paid(terms: BondTerms, coupon_date: date) -> Fraction:
    schedule = schedule_of(terms)
    if isinstance(schedule, TermsFault) or not schedule.is_coupon_date(coupon_date):
        return Fraction(0)
    return coupon_fraction(terms, schedule, schedule.period_of(coupon_date))


def _amount(
    terms: BondTerms,
    fraction: Fraction,
    units: Decimal = Decimal(1),
    step: Decimal = STEPS[PRICE_PLACES],
    mode: str = ROUND_HALF_EVEN,
) -> Decimal:
    """`fraction` of a year's coupon for `units`."""
    face = EXACT.multiply(terms.par_value, units)
    yearly = EXACT.scaleb(EXACT.multiply(terms.coupon or ZERO, face), -2)
    part = EXACT.multiply(yearly, fraction.numerator)
    return divide_to(part, Decimal(fraction.denominator), step, mode)
