"""Days on which bonds and bills pay, and bills are rolled over, by hand from published holidays."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from engine.domain.bond_dates import payment_date, rollover_date, rollover_lock_date
from engine.domain.calendar import settlement_date
from tests.support.models.table import rows

ROLLOVERS = """
country | currency | maturity   | locked     | rolled     | paid       | because
US      | USD      | 2026-03-12 | 2026-03-08 | 2026-03-11 | 2026-03-12 | a Thursday: one business day before
US      | USD      | 2026-03-16 | 2026-03-12 | 2026-03-13 | 2026-03-16 | a Monday: over the weekend
US      | USD      | 2026-03-14 | 2026-03-10 | 2026-03-13 | 2026-03-16 | a Saturday
US      | USD      | 2026-03-15 | 2026-03-11 | 2026-03-13 | 2026-03-16 | a Sunday
US      | USD      | 2026-01-20 | 2026-01-16 | 2026-01-16 | 2026-01-20 | after Martin Luther King Day: on the lock date
US      | USD      | 2026-07-03 | 2026-06-29 | 2026-07-02 | 2026-07-06 | Independence Day, observed
US      | USD      | 2026-10-13 | 2026-10-09 | 2026-10-09 | 2026-10-13 | after Columbus Day
US      | USD      | 2026-11-12 | 2026-11-08 | 2026-11-10 | 2026-11-12 | after Veterans Day
US      | USD      | 2026-11-26 | 2026-11-22 | 2026-11-25 | 2026-11-27 | Thanksgiving
US      | USD      | 2026-04-03 | 2026-03-30 | 2026-04-02 | 2026-04-03 | Good Friday 2026: bonds trade half a day
US      | USD      | 2025-04-18 | 2025-04-14 | 2025-04-17 | 2025-04-21 | Good Friday 2025: they do not
US      | USD      | 2026-06-22 | 2026-06-18 | 2026-06-18 | 2026-06-22 | over Juneteenth, a Friday, and the weekend
US      | USD      | 2027-01-04 | 2026-12-31 | 2026-12-31 | 2027-01-04 | over the New Year's weekend
US      | USD      | 2026-12-25 | 2026-12-21 | 2026-12-24 | 2026-12-28 | Christmas Day, a Friday
GB      | GBP      | 2026-03-16 | 2026-03-12 | 2026-03-13 | 2026-03-16 | a Monday
GB      | GBP      | 2026-04-06 | 2026-04-02 | 2026-04-02 | 2026-04-07 | Easter Monday
GB      | GBP      | 2026-04-07 | 2026-04-02 | 2026-04-02 | 2026-04-07 | after Easter: rolled, and so locked, more than 4 days before
GB      | GBP      | 2026-12-29 | 2026-12-24 | 2026-12-24 | 2026-12-29 | Christmas and Boxing Day observed on the 28th
GB      | GBP      | 2026-12-28 | 2026-12-24 | 2026-12-24 | 2026-12-29 | that holiday itself
GB      | GBP      | 2026-05-26 | 2026-05-22 | 2026-05-22 | 2026-05-26 | after the Spring bank holiday
GB      | GBP      | 2026-09-01 | 2026-08-28 | 2026-08-28 | 2026-09-01 | after the Summer bank holiday
GB      | GBP      | 2026-08-31 | 2026-08-27 | 2026-08-28 | 2026-09-01 | that holiday itself
GB      | GBP      | 2027-01-04 | 2026-12-31 | 2026-12-31 | 2027-01-04 | over the New Year's weekend
KE      | KES      | 2026-03-12 | 2026-03-08 | 2026-03-10 | 2026-03-12 | a Thursday: two business days before
KE      | KES      | 2026-03-16 | 2026-03-12 | 2026-03-12 | 2026-03-16 | a Monday
KE      | KES      | 2026-06-02 | 2026-05-28 | 2026-05-28 | 2026-06-02 | after Madaraka Day: rolled, and so locked, more than 4 days before
KE      | KES      | 2026-06-01 | 2026-05-28 | 2026-05-28 | 2026-06-02 | Madaraka Day
KE      | KES      | 2026-10-20 | 2026-10-16 | 2026-10-16 | 2026-10-21 | Mashujaa Day, a Tuesday
KE      | KES      | 2026-12-28 | 2026-12-23 | 2026-12-23 | 2026-12-28 | after Christmas; Boxing Day is a Saturday
KE      | KES      | 2026-05-05 | 2026-04-30 | 2026-04-30 | 2026-05-05 | Labour Day, a Friday
KE      | KES      | 2027-01-04 | 2026-12-30 | 2026-12-30 | 2027-01-04 | over the New Year's weekend
DE      | EUR      | 2026-03-16 | 2026-03-12 | 2026-03-12 | 2026-03-16 | a Monday
DE      | EUR      | 2026-04-07 | 2026-04-01 | 2026-04-01 | 2026-04-07 | TARGET keeps Good Friday and Easter Monday
DE      | EUR      | 2026-05-01 | 2026-04-27 | 2026-04-29 | 2026-05-04 | and the first of May
DE      | EUR      | 2026-10-03 | 2026-09-29 | 2026-10-01 | 2026-10-05 | German Unity Day, a Saturday
DE      | EUR      | 2026-05-25 | 2026-05-21 | 2026-05-21 | 2026-05-25 | Whit Monday is a business day
DE      | EUR      | 2026-12-28 | 2026-12-23 | 2026-12-23 | 2026-12-28 | Christmas Eve is one too
DE      | EUR      | 2027-01-01 | 2026-12-28 | 2026-12-30 | 2027-01-04 | New Year's Day
DE      | USD      | 2026-10-12 | 2026-10-08 | 2026-10-08 | 2026-10-13 | a German bill in dollars: Columbus Day
DE      | EUR      | 2026-04-03 | 2026-03-30 | 2026-04-01 | 2026-04-07 | Good Friday itself
DE      | EUR      | 2027-03-30 | 2027-03-24 | 2027-03-24 | 2027-03-30 | Easter 2027: locked six days before
JP      | JPY      | 2026-03-16 | 2026-03-12 | 2026-03-12 | 2026-03-16 | a Monday
JP      | JPY      | 2026-03-20 | 2026-03-16 | 2026-03-18 | 2026-03-23 | the vernal equinox
JP      | JPY      | 2026-05-07 | 2026-04-30 | 2026-04-30 | 2026-05-07 | after Golden Week: rolled, and so locked, more than 4 days before
JP      | JPY      | 2026-05-04 | 2026-04-30 | 2026-04-30 | 2026-05-07 | within it
JP      | JPY      | 2026-09-21 | 2026-09-17 | 2026-09-17 | 2026-09-24 | three holidays in September
JP      | JPY      | 2026-09-24 | 2026-09-17 | 2026-09-17 | 2026-09-24 | after those three
JP      | JPY      | 2026-08-12 | 2026-08-07 | 2026-08-07 | 2026-08-12 | Mountain Day, a Tuesday
JP      | JPY      | 2026-11-24 | 2026-11-19 | 2026-11-19 | 2026-11-24 | Labour Thanksgiving Day, a Monday
JP      | JPY      | 2026-12-31 | 2026-12-27 | 2026-12-29 | 2027-01-04 | the exchange rests until 3 January
JP      | JPY      | 2027-01-04 | 2026-12-29 | 2026-12-29 | 2027-01-04 | after that
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(ROLLOVERS), ids=lambda row: f"{row['country']} {row['maturity']}")
def test_rollover_and_payment(row: dict[str, str]) -> None:
    maturity = date.fromisoformat(row["maturity"])
    dates = (
        rollover_lock_date(maturity, row["country"], row["currency"]),
        rollover_date(maturity, row["country"], row["currency"]),
        payment_date(maturity, row["country"], "bill", row["currency"]),
    )
    assert tuple(map(str, dates)) == (row["locked"], row["rolled"], row["paid"])


@pytest.mark.parametrize(
    ("country", "currency"),
    [
        ("US", "USD"),
        ("GB", "GBP"),
        ("KE", "KES"),
        ("DE", "EUR"),
        ("JP", "JPY"),
        ("US", "EUR"),
        (None, "XAU"),
    ],
)
def test_what_is_bought_at_a_rollover_settles_when_the_old_bill_is_paid(
    country: str | None, currency: str
) -> None:
    """Every maturity of a year."""
    for number in range(365):
        maturity = date(2026, 1, 1) + timedelta(days=number)
        bought = rollover_date(maturity, country, currency)
        assert bought < maturity
        assert settlement_date(bought, country, "bill", currency) == payment_date(
            maturity, country, "bill", currency
        )


def test_a_bond_is_paid_on_the_calendar_of_its_own_market() -> None:
    assert payment_date(date(2025, 10, 13), "US", "stock", "EUR") == date(2025, 10, 13)
    assert payment_date(date(2025, 10, 13), "US", "bond", "EUR") == date(2025, 10, 14)
    assert payment_date(date(2026, 5, 1), "US", "bond", "EUR") == date(2026, 5, 4)
