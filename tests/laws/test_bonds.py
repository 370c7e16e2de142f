"""Accrued interest, coupon dates, coupons and yields of made-up bonds, as QuantLib has them.

QuantLib shares no code with the engine and works in binary floating point: amounts of 100 face value
agree to 7 decimals. Not compared is what conventions differ in: regular coupons, which QuantLib pays by
days under `30_360` and `actual_365_fixed`, and yields of conventions in which it counts no periods.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
import QuantLib as ql  # noqa: N813  (as its own documentation has it)

from engine.domain.accrual import EQUAL_COUPONS, accrued_interest, coupon_amount
from engine.domain.coupon_schedule import FREQUENCIES, BondTerms, CouponSchedule, schedule_of
from engine.domain.day_count import DAY_COUNTS, is_month_end
from engine.domain.yields import yield_to_maturity

BONDS = 5_000
SETTLEMENTS = 3
NEAR = Decimal("0.0000001")
NEAR_YIELD = Decimal("0.000001")


class Made(NamedTuple):
    terms: BondTerms
    schedule: CouponSchedule
    oracle: ql.FixedRateBond
    day_count: ql.DayCounter
    frequency: int


def made_up(chance: random.Random) -> Made:
    """A bond of any convention, frequency and first period, some of them paying at month ends."""
    convention, frequency = chance.choice(DAY_COUNTS), chance.choice(FREQUENCIES)
    months = 12 // frequency
    maturity = date(2000, 1, 1) + timedelta(days=chance.randrange(20_000))
    if chance.random() < 0.3:
        maturity = (maturity.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    terms = BondTerms(
        Decimal(chance.randrange(1, 120)) / 8, maturity, frequency, day_count_convention=convention,
        ex_coupon_days=chance.choice((0, 0, 0, 1, 7, 10)),
    )  # fmt: skip
    whole = _schedule(terms)
    first = whole.quasi_date(chance.randrange(1, 12 * min(frequency, 4)))
    back = chance.choice(("regular", "short", "long"))
    if maturity.day > 28 and not is_month_end(maturity):
        # The oracle goes on from 28 February on the 28th, as if there were no 29th or 30th to return to.
        back = "regular"
        while first.day != maturity.day:
            first = whole.quasi_date(whole.steps_at(first) + 1)
    days = {
        "regular": (first - whole.quasi_date(whole.steps_at(first) + 1)).days,
        "short": chance.randrange(1, 28 * months),
        "long": chance.randrange(31 * months, 59 * months),
    }[back]
    terms = terms._replace(issue_date=first - timedelta(days=days), first_coupon_date=first)
    pays_month_end = is_month_end(maturity)
    assert terms.issue_date is not None
    dates = ql.Schedule(
        _ql(terms.issue_date), _ql(maturity), ql.Period(months, ql.Months), ql.NullCalendar(),
        ql.Unadjusted, ql.Unadjusted, ql.DateGeneration.Backward, pays_month_end, _ql(first),
    )  # fmt: skip
    day_count = {
        "30_360": ql.Thirty360(ql.Thirty360.USA if pays_month_end else ql.Thirty360.BondBasis),
        "actual_360": ql.Actual360(),
        "actual_365_fixed": ql.Actual365Fixed(),
        "actual_actual": ql.ActualActual(ql.ActualActual.ISMA, dates),
    }[convention]
    assert terms.coupon is not None
    oracle = ql.FixedRateBond(
        0, 100.0, dates, [float(terms.coupon) / 100], day_count, ql.Unadjusted, 100.0,
        _ql(terms.issue_date), ql.NullCalendar(), ql.Period(terms.ex_coupon_days, ql.Days),
        ql.NullCalendar(), ql.Unadjusted, False,
    )  # fmt: skip
    return Made(terms, _schedule(terms), oracle, day_count, frequency)


def _schedule(terms: BondTerms) -> CouponSchedule:
    schedule = schedule_of(terms)
    assert isinstance(schedule, CouponSchedule), schedule
    return schedule


def _ql(day: date) -> ql.Date:
    return ql.Date(day.day, day.month, day.year)


def _near(ours: Decimal, theirs: float, near: Decimal = NEAR) -> bool:
    return abs(ours - Decimal(theirs)) <= near


def differences(made: Made, chance: random.Random) -> Iterator[str]:
    """Everything in which the engine and the oracle do not agree."""
    terms, schedule, oracle, _, _ = made
    assert terms.issue_date is not None
    assert terms.maturity_date is not None
    coupons = schedule.coupon_dates(terms.issue_date, terms.maturity_date)
    flows = [flow for flow in oracle.cashflows() if ql.as_coupon(flow) is not None]
    if [_ql(day) for day in coupons] != [flow.date() for flow in flows]:
        yield f"coupon dates: {coupons}"
        return
    convention = terms.day_count_convention
    for day, flow in ((coupons[0], flows[0]), (coupons[-1], flows[-1])):
        is_equal = convention in EQUAL_COUPONS and schedule.period_of(day).is_regular
        if not is_equal or _counts_periods(made):
            ours = coupon_amount(terms, day)
            if not _near(ours, flow.amount()):
                yield f"coupon of {day}: {ours} and {flow.amount()}"
    length = (terms.maturity_date - terms.issue_date).days
    days = [terms.issue_date + timedelta(days=chance.randrange(length)) for _ in range(SETTLEMENTS)]
    for day in (*days, coupons[0] - timedelta(days=chance.randrange(12))):
        if day < terms.issue_date:
            continue
        ours, theirs = accrued_interest(terms, day), oracle.accruedAmount(_ql(day))
        if not _near(ours, theirs):
            yield f"accrued interest on {day}: {ours} and {theirs}"
    yield from _yields(made, days[0], chance)


def _counts_periods(made: Made) -> bool:
    """Whether all whole periods are alike to the oracle too; in months of 30 days there is a 31st."""
    assert made.terms.issue_date is not None
    is_even = max(made.schedule.day, made.terms.issue_date.day) <= 28
    convention = made.terms.day_count_convention
    return convention == "actual_actual" or (convention == "30_360" and is_even)


def _yields(made: Made, day: date, chance: random.Random) -> Iterator[str]:
    terms, schedule, oracle, day_count, frequency = made
    if not _counts_periods(made) or day.day > 28:
        return
    price = Decimal(chance.randrange(7_000, 13_000)) / 100
    ours = yield_to_maturity(terms, day, price)
    assert ours is not None
    is_last = schedule.next_coupon(day) == terms.maturity_date
    compounding = ql.Simple if is_last else ql.Compounded
    rate = ql.InterestRate(float(ours) / 100, day_count, compounding, frequency)
    worth = ql.CashFlows.npv(oracle.cashflows(), rate, False, _ql(day), _ql(day))
    dirty = float(price) + oracle.accruedAmount(_ql(day))
    if abs(worth - dirty) > 1e-6 * max(1.0, dirty):
        yield f"yield on {day} at {price}: {ours}, at which it is worth {worth} and not {dirty}"


def law(bonds: int, seed: int) -> None:
    chance = random.Random(seed)
    kinds: Counter[tuple[str | None, int]] = Counter()
    for number in range(bonds):
        made = made_up(chance)
        kinds[made.terms.day_count_convention, made.frequency] += 1
        found = list(differences(made, chance))
        assert not found, f"bond {number} of seed {seed}: {made.terms}: {found}"
    assert len(kinds) == len(DAY_COUNTS) * len(FREQUENCIES)


def test_bonds_are_as_quantlib_has_them() -> None:
    law(BONDS, 20260312)


@pytest.mark.torture
def test_sixty_thousand_bonds_are_as_quantlib_has_them() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    law(60_000, seed)
