"""Half days: the days on which a market closes early, and when.

Each row of a market is a published rule. Days outside the rules (a day of mourning) are announced singly
and are not in the table; neither are late openings. An early close counts only on a day on which the
market is open at all.

    XNYS, XNAS  13:00 on 3 July, the day after Thanksgiving, 24 December (nyse.com: hours and calendars)
    XSIF        14:00 on the day before Good Friday, Memorial Day, Independence Day, Christmas, New Year,
                and the day after Thanksgiving; 12:00 on a Good Friday that is a day of payrolls
                (sifma.org/resources/general/holiday-schedule: recommended closes)
    XLON, XDUB  12:30, 13:00 on the last days before Christmas and New Year (londonstockexchange.com:
                business days; euronext.com: trading hours and holidays)
    XAMS, XBRU, XLIS, XPAR  14:05 on 24 and 31 December (euronext.com); XOSL  13:00 on the Wednesday
                before Easter
    XETR, XFRA  14:00 on the last trading day of the year (xetra.com: trading calendar)
    XMAD        14:00 on 24 and 31 December (bolsasymercados.es)
    XJSE        12:00 on 24 and 31 December (jse.co.za)
    XTSE        13:00 on 24 December (tsx.com: calendar and trading hours)
    XASX, XNZE  14:10, 13:30 on the last days before Christmas and New Year (asx.com.au, nzx.com)
    XHKG, XSES  12:00 on the eves of the lunar New Year, Christmas and New Year (hkex.com.hk, sgx.com)
    XIST        12:30 on 28 October and the eves of the two feasts (borsaistanbul.com)
    XJPX        none: the half days at the turn of the year ended in 2009 (jpx.co.jp)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from engine.domain.calendar import early_days, is_business_day
from engine.domain.exchanges import ZONES
from engine.kernel.limits import CALENDAR_YEARS_MAX

Rule = Callable[[str, int], tuple[date, ...]]
"""(calendar, year) -> days of that year; those on which the market is closed do not count."""


class EarlyClose(NamedTuple):
    """The market closes at `close`, HH:MM in its own time, on the days of a rule."""

    close: str
    rule: Rule


class HalfDays(NamedTuple):
    """A market's own time zone and its early closes."""

    zone: str
    closes: tuple[EarlyClose, ...]


# --- rules ----------------------------------------------------------------------------------------


def _on(month: int, day: int) -> Rule:
    """That date."""
    return lambda _, year: (date(year, month, day),)


def _last_before(calendar: str, day: date) -> date:
    day -= timedelta(days=1)
    while not is_business_day(day, calendar):
        day -= timedelta(days=1)
    return day


def _before(month: int, day: int) -> Rule:
    """The last business day before a holiday of fixed date; of 1 January, that of the next year."""

    def rule(calendar: str, year: int) -> tuple[date, ...]:
        holiday = date(year + (month == 1), month, day)
        return (_last_before(calendar, holiday),)

    return rule


def _easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Astronomical Algorithms, 1991, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return date(year, month, day + 1)


def _before_easter(days: int) -> Rule:
    """That many days before Easter Sunday."""
    return lambda _, year: (_easter(year) - timedelta(days=days),)


def _before_good_friday(calendar: str, year: int) -> tuple[date, ...]:
    """Thursday, if Good Friday itself is closed."""
    friday = _easter(year) - timedelta(days=2)
    return () if is_business_day(friday, calendar) else (friday - timedelta(days=1),)


def _before_memorial_day(_: str, year: int) -> tuple[date, ...]:
    """The Friday before the last Monday of May."""
    last = date(year, 5, 31)
    return (last - timedelta(days=last.weekday() + 3),)


def _after_thanksgiving(_: str, year: int) -> tuple[date, ...]:
    """The Friday after the fourth Thursday of November."""
    first = date(year, 11, 1)
    return (first + timedelta(days=(3 - first.weekday()) % 7 + 22),)


_EVES: Final = (_on(12, 24), _on(12, 31))
_LAST_DAYS: Final = (_before(12, 25), _before(1, 1))


def _at(close: str, *rules: Rule) -> tuple[EarlyClose, ...]:
    return tuple([EarlyClose(close, rule) for rule in rules])


_NEW_YORK: Final = HalfDays(ZONES["US"], _at("13:00", _on(7, 3), _after_thanksgiving, _on(12, 24)))
_BONDS: Final = (
    *_at("12:00", _before_easter(2)),
    *_at("14:00", _before_good_friday, _before_memorial_day, _before(7, 4), _after_thanksgiving),
    *_at("14:00", *_LAST_DAYS),
)
_FRANKFURT: Final = HalfDays(ZONES["DE"], _at("14:00", _before(1, 1)))

HALF_DAYS: Final = {
    "XAMS": HalfDays(ZONES["NL"], _at("14:05", *_EVES)),
    "XASX": HalfDays(ZONES["AU"], _at("14:10", *_LAST_DAYS)),
    "XBRU": HalfDays(ZONES["BE"], _at("14:05", *_EVES)),
    "XDUB": HalfDays(ZONES["IE"], _at("13:00", *_LAST_DAYS)),
    "XETR": _FRANKFURT,
    "XFRA": _FRANKFURT,
    "XHKG": HalfDays(ZONES["HK"], _at("12:00", early_days)),
    "XIST": HalfDays(ZONES["TR"], _at("12:30", early_days)),
    "XJPX": HalfDays(ZONES["JP"], ()),
    "XJSE": HalfDays(ZONES["ZA"], _at("12:00", *_EVES)),
    "XLIS": HalfDays(ZONES["PT"], _at("13:05", *_EVES)),
    "XLON": HalfDays(ZONES["GB"], _at("12:30", *_LAST_DAYS)),
    "XMAD": HalfDays(ZONES["ES"], _at("14:00", *_EVES)),
    "XNAS": _NEW_YORK,
    "XNYS": _NEW_YORK,
    "XNZE": HalfDays(ZONES["NZ"], _at("13:30", *_LAST_DAYS)),
    "XOSL": HalfDays(ZONES["NO"], _at("13:00", _before_easter(4))),
    "XPAR": HalfDays(ZONES["FR"], _at("14:05", *_EVES)),
    "XSES": HalfDays(ZONES["SG"], _at("12:00", early_days)),
    "XSIF": HalfDays(ZONES["US"], _BONDS),
    "XTSE": HalfDays(ZONES["CA"], _at("13:00", _on(12, 24))),
}
"""Calendar -> its half days. Markets that are not listed have none, or publish no rule."""


# --- look-up --------------------------------------------------------------------------------------


@lru_cache(maxsize=CALENDAR_YEARS_MAX)
def half_days_of(calendar: str, year: int) -> dict[date, str]:
    """Days of a year on which a market closes early -> its close, HH:MM in the market's own time."""
    known = HALF_DAYS.get(calendar)
    return {
        day: early.close
        for early in (known.closes if known else ())
        for day in early.rule(calendar, year)
        if is_business_day(day, calendar)
    }
