"""Payment dates of bonds and bills, and rollover dates of maturing bills."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from engine.domain.calendar import business_day_after, calendars_of, is_business_day

ROLLOVER_DAYS: Final = {"US": 1, "GB": 1}
"""Issuer country -> business days before maturity on which the next bill is bought. Others: 2. Equal to
the settlement cycle of bills, so that the purchase settles on the day the old bill is paid."""
OTHER_ROLLOVER_DAYS: Final = 2
ROLLOVER_LOCK_DAYS: Final = 4
"""Calendar days before maturity from which the setting `automatic_rollover` is locked."""


def payment_date(day: date, issuer_country: str | None, instrument_type: str, currency: str) -> date:
    """The payment date of an amount due on `day`: that day, or the next on which market and currency are
    open. No interest accrues meanwhile.
    """
    return business_day_after(day, 0, *calendars_of(issuer_country, instrument_type, currency))


def rollover_date(maturity: date, issuer_country: str | None, currency: str) -> date:
    """The day on which the bill following one that matures on `maturity` is bought."""
    calendars = calendars_of(issuer_country, "bill", currency)
    day = maturity
    for _ in range(ROLLOVER_DAYS.get(issuer_country or "", OTHER_ROLLOVER_DAYS)):
        day -= timedelta(days=1)
        while not is_business_day(day, *calendars):
            day -= timedelta(days=1)
    return day


def rollover_lock_date(maturity: date, issuer_country: str | None, currency: str) -> date:
    """The first day on which `automatic_rollover` can no longer change: ROLLOVER_LOCK_DAYS before the
    maturity, or the day of the rollover where holidays make it earlier.
    """
    usual = maturity - timedelta(days=ROLLOVER_LOCK_DAYS)
    return min(usual, rollover_date(maturity, issuer_country, currency))
