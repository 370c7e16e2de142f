"""The interest of a price: its quote's own, else that of the instrument's schedule."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.domain.instrument import Instrument, Terms, put, with_interest, yield_of
from engine.domain.pricing import Price
from engine.kernel.errors import Refused

BOND = Terms(
    "Bond", "B", "bond", "USD", price_type="percent", par_value=Decimal(1000),
    coupon=Decimal(6), coupon_frequency=2, maturity_date=date(2030, 6, 30),
    issue_date=date(2020, 6, 30), first_coupon_date=date(2020, 12, 30),
    day_count_convention="30_360", ex_coupon_days=7,
)  # fmt: skip
CLEAN = Price(Decimal(99), Decimal(101), 1, accrues=True)


@pytest.mark.parametrize(
    ("settles", "interest"),
    [
        (date(2026, 9, 30), "15.00000000"),  # 90 of 360 days of 60.00
        (date(2026, 12, 22), "28.66666667"),
        (date(2026, 12, 23), "-1.16666667"),  # ex: the coupon is the seller's
        (date(2026, 12, 30), "0"),
        (date(2027, 1, 1), "0.16666667"),
        (date(2030, 6, 30), "0"),
    ],
)
def test_a_clean_price_has_the_interest_of_its_settlement_date(settles: date, interest: str) -> None:
    price = with_interest(BOND, CLEAN, settles)
    assert price is not None
    assert price.accrued_interest == Decimal(interest)
    assert (price.bid, price.ask, price.accrues) == (CLEAN.bid, CLEAN.ask, False)


def test_a_quote_that_brings_its_own_interest_keeps_it() -> None:
    own = Price(Decimal(99), Decimal(101), 1, Decimal("-0.5"))
    assert with_interest(BOND, own, date(2026, 9, 30)) == own
    assert with_interest(BOND, None, date(2026, 9, 30)) is None


def test_a_side_of_which_a_unit_would_cost_nothing_is_no_price() -> None:
    cheap = replace(CLEAN, bid=Decimal("0.1"), ask=Decimal("0.2"))  # 1.00 and 2.00 a unit
    price = with_interest(BOND, cheap, date(2026, 12, 23))
    assert price is not None
    assert (price.bid, price.ask) == (0, Decimal("0.2"))


def test_what_has_no_schedule_accrues_nothing() -> None:
    stored = replace(BOND, day_count_convention="ACT/ACT")
    price = with_interest(stored, CLEAN, date(2026, 9, 30))
    assert price is not None
    assert price.accrued_interest == 0
    assert yield_of(stored, Decimal(100), date(2026, 9, 30)) is None


def test_the_yield_of_a_trade_is_of_its_price_in_percent() -> None:
    at_par = yield_of(BOND, Decimal(100), date(2026, 12, 30))
    assert at_par == Decimal(6)
    money = replace(BOND, price_type="money")
    assert yield_of(money, Decimal(1000), date(2026, 12, 30)) == at_par
    assert yield_of(replace(BOND, instrument_type="stock"), Decimal(100), date(2026, 12, 30)) is None


@pytest.mark.parametrize(
    ("changes", "at_fault"),
    [
        ({"day_count_convention": "ACT/365"}, "day_count_convention"),
        ({"coupon_frequency": 5}, "coupon_frequency"),
        ({"coupon_frequency": None}, "coupon_frequency"),
        ({"maturity_date": None}, "maturity_date"),
        ({"issue_date": date(2031, 1, 1)}, "maturity_date"),
        ({"first_coupon_date": date(2021, 1, 15)}, "first_coupon_date"),
        ({"ex_coupon_days": 200}, "ex_coupon_days"),
        ({"ex_coupon_days": 91}, "ex_coupon_days"),
        ({"maturity_period": "3m"}, "maturity_period"),
    ],
)
def test_new_terms_at_fault_are_refused(changes: dict[str, object], at_fault: str) -> None:
    with pytest.raises(Refused) as refused:
        put(None, "ins_1", replace(BOND, **changes), at_us=1)
    assert [entry["path"] for entry in refused.value.context["params"]] == [at_fault]


def test_stored_terms_at_fault_can_be_kept_while_others_change() -> None:
    old = replace(BOND, day_count_convention="ACT/365")
    known = Instrument("ins_1", "listed", old, 1, 1)
    assert put(known, "ins_1", replace(old, trading_status="sell_only"), at_us=2)
    with pytest.raises(Refused):
        put(known, "ins_1", replace(old, ex_coupon_days=3), at_us=2)
