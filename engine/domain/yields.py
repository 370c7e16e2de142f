"""Yield to maturity from a clean price, by the street convention.

Source: Mayle, Standard Securities Calculation Methods (SIFMA), formulas 1 to 8. Future coupons are
discounted by the bond's own coupon period, with the fraction of a period until the next coupon as a
fractional exponent; within the last coupon period, and without coupons, interest is simple.
"""

from __future__ import annotations

import decimal
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from engine.domain.accrual import accrued_interest, coupon_fraction, ex_date, quasi_periods
from engine.domain.coupon_schedule import BondTerms, CouponSchedule, TermsFault, schedule_of
from engine.domain.day_count import DAY_COUNTS, YEAR_DAYS, days_between
from engine.kernel.limits import COUPONS_MAX, YIELD_STEPS_MAX
from engine.kernel.values import PRICE_PLACES, STEPS, ZERO

_CONTEXT: Final = decimal.Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[decimal.InvalidOperation])
"""Precision beyond the 8 decimals of a yield; independent of a thread's own context."""
_ENOUGH: Final = Decimal("1e-20")
"""The solver stops after a step smaller than this."""
_ONE: Final = Decimal(1)
_HUNDRED: Final = Decimal(100)


class Payments(NamedTuple):
    """Payments on future coupon dates, in percent of par value; the last includes the face value.

    The first is `periods` coupon periods after settlement, the others one period apart.
    """

    periods: Fraction
    amounts: list[Fraction]


def yield_to_maturity(terms: BondTerms, settlement: date, clean_price: Decimal) -> Decimal | None:
    """Percent a year, 8 decimals half even, of a clean price in percent of par value.

    None without a yield: no future payment, no day until it (`30_360` has none from the 30th to the
    31st), no price above 0 with accrued interest, faulty terms (`fault_of`), or more than `COUPONS_MAX`
    coupons.
    """
    maturity = terms.maturity_date
    if maturity is None or settlement >= maturity:
        return None
    if not terms.has_coupons:
        return _simple_yield(terms, settlement, maturity, clean_price)
    schedule = schedule_of(terms)
    if isinstance(schedule, TermsFault) or schedule.steps_at(settlement) > COUPONS_MAX:
        return None
    per_hundred = terms._replace(par_value=_HUNDRED)
    dirty = Fraction(clean_price) + Fraction(accrued_interest(per_hundred, settlement))
    if dirty <= 0:
        return None
    payments, frequency = payments_to_come(terms, schedule, settlement), Fraction(12, schedule.months)
    solve = _within_last_period if len(payments.amounts) == 1 else _compounded
    return solve(payments, dirty, frequency)


def payments_to_come(terms: BondTerms, schedule: CouponSchedule, settlement: date) -> Payments:
    """Coupons and face value of a bond bought for `settlement`; from its ex date on a coupon is 0."""
    assert terms.coupon is not None
    coupons = schedule.coupon_dates(settlement, schedule.maturity)
    amounts = [
        Fraction(terms.coupon) * coupon_fraction(terms, schedule, schedule.period_of(coupon_date))
        for coupon_date in coupons
    ]
    if settlement >= ex_date(terms, coupons[0]):
        amounts[0] = Fraction(0)
    amounts[-1] += 100
    return Payments(_periods_to(terms, schedule, settlement, coupons[0]), amounts)


def _periods_to(
    terms: BondTerms, schedule: CouponSchedule, settlement: date, coupon_date: date
) -> Fraction:
    """Coupon periods, with a fraction, from settlement to the next coupon.

    The fraction is of actual days; `30_360` uses its 30-day months.
    """
    if terms.day_count_convention != "30_360":
        return quasi_periods(schedule, settlement, coupon_date)
    days = days_between("30_360", settlement, coupon_date, pays_month_end=schedule.pays_month_end)
    return Fraction(days, 30 * schedule.months)


def _within_last_period(payments: Payments, price: Fraction, frequency: Fraction) -> Decimal | None:
    if not payments.periods:
        return None
    return _rounded((payments.amounts[0] / price - 1) * frequency / payments.periods * 100)


def _compounded(payments: Payments, price: Fraction, frequency: Fraction) -> Decimal | None:
    """The yearly rate, compounded with each coupon, at which payments are worth `price`.

    Newton's method on the logarithm of their worth, which is convex in the continuous rate of a period
    and nearly linear: it converges from any start in few steps.
    """
    context = _CONTEXT
    periods, amounts = _decimal(payments.periods), [_decimal(amount) for amount in payments.amounts]
    sought, rate = context.ln(_decimal(price)), ZERO
    for _ in range(YIELD_STEPS_MAX):
        discount, each = (
            context.exp(context.multiply(rate.copy_negate(), time)) for time in (periods, _ONE)
        )
        worth = slope = ZERO
        for number, amount in enumerate(amounts):
            discounted = context.multiply(amount, discount)
            worth = context.add(worth, discounted)
            slope = context.fma(context.add(periods, number), discounted, slope)
            discount = context.multiply(discount, each)
        miss = context.subtract(context.ln(worth), sought)
        step = context.divide(context.multiply(miss, worth), slope)
        rate = context.add(rate, step)
        if step.copy_abs() < _ENOUGH:
            growth = context.subtract(context.exp(rate), _ONE)
            return _quantized(context.multiply(_decimal(frequency * 100), growth))
    return None


def _simple_yield(terms: BondTerms, settlement: date, maturity: date, price: Decimal) -> Decimal | None:
    """Discount / price x days of a year / days: the yield of a bill.

    A year has the days of the convention; for `actual_actual`, or without a convention, those until the
    date a year after settlement (31 CFR 356 App. B VI.D.1).
    """
    convention = terms.day_count_convention or "actual_actual"
    if convention not in DAY_COUNTS or price <= 0:
        return None
    days = days_between(convention, settlement, maturity)
    if not days:
        return None
    year = YEAR_DAYS.get(convention) or (_year_after(settlement) - settlement).days
    return _rounded((Fraction(100) / Fraction(price) - 1) * year / days * 100)


def _year_after(day: date) -> date:
    if (day.month, day.day) == (2, 29):
        return date(day.year + 1, 3, 1)
    return day.replace(year=day.year + 1)


def _rounded(number: Fraction) -> Decimal:
    return _quantized(_decimal(number))


def _quantized(number: Decimal) -> Decimal:
    return number.quantize(STEPS[PRICE_PLACES], context=_CONTEXT)


def _decimal(number: Fraction) -> Decimal:
    return _CONTEXT.divide(Decimal(number.numerator), Decimal(number.denominator))
