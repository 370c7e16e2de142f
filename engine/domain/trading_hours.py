"""Trading hours of an instrument: the sessions of its market's days, in local time.

A session is open from its opening until just before its close. Times are local, so they follow daylight
saving: a time that is skipped counts from before the change, one that occurs twice is its first. Early
closes of the market (see `half_days`) cut sessions short. Business time decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from engine.domain.calendar import has_holidays, is_business_day
from engine.domain.exchanges import EXCHANGES, MARKETS
from engine.domain.half_days import HALF_DAYS, half_days_of
from engine.kernel.fact import day_of, from_us, to_us
from engine.kernel.limits import CLOSED_DAYS_MAX, SESSIONS_MAX, TRADING_DAYS_MAX

MIDNIGHT: Final = "24:00"
"""The close of a session that ends with the day."""
TIME_OF_DAY: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"
_TIME: Final = re.compile(TIME_OF_DAY, re.ASCII)


class TradingHours(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When an instrument is traded: on the days of a `calendar`, in `sessions` of (opening, close),
    HH:MM in `time_zone`. Stored by position: append only.
    """

    calendar: str
    time_zone: str
    sessions: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """As in a CSV file: `XJPX Asia/Tokyo 09:00-11:30 12:30-15:30`."""
        return " ".join((self.calendar, self.time_zone, *("-".join(pair) for pair in self.sessions)))


def parse(text: str) -> TradingHours:
    """The inverse of `str`; `faults` checks the values. Raises ValueError."""
    words = text.split()
    sessions = [session.split("-") for session in words[2:]]
    if not sessions or any(len(pair) != 2 for pair in sessions):
        raise ValueError(
            "must be a calendar, a time zone and sessions: XNYS America/New_York 09:30-16:00"
        )
    return TradingHours(words[0], words[1], tuple([(opens, closes) for opens, closes in sessions]))


# --- validation -----------------------------------------------------------------------------------


def faults(hours: TradingHours) -> Iterator[tuple[str, str]]:
    """(field, detail) of each fault of new hours."""
    is_country = has_holidays(hours.calendar) and hours.calendar not in EXCHANGES
    if hours.calendar not in MARKETS and not is_country:
        yield "calendar", f"must be one of {', '.join(MARKETS)}, or a country without a market there"
    if hours.time_zone not in available_timezones():
        yield "time_zone", "must be a time zone of the tz database, such as America/New_York"
    if not 0 < len(hours.sessions) <= SESSIONS_MAX:
        yield "sessions", f"must have 1 to {SESSIONS_MAX} entries"
    elif not all(_TIME.fullmatch(time) for session in hours.sessions for time in session):
        yield "sessions", "must be pairs of times HH:MM, from 00:00 to 24:00"
    else:
        yield from _order_faults(hours.sessions)


def _order_faults(sessions: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    before = "00:00"
    for opens, closes in sessions:
        if opens >= closes:
            detail = f"must open before they close, unlike {opens} to {closes}; midnight parts two"
            yield "sessions", detail
        elif opens < before:
            yield "sessions", f"must not overlap: {opens} to {closes} opens before {before}"
        before = max(before, closes)


# --- opening times --------------------------------------------------------------------------------


def is_open(hours: TradingHours | None, time_us: int) -> bool:
    """Whether an instrument is traded at a business time; without hours always."""
    if hours is None:
        return True
    sessions = _sessions_on(hours, local_date(hours, time_us))
    return any(opens_us <= time_us < closes_us for opens_us, closes_us in sessions)


def next_opening(hours: TradingHours, time_us: int) -> int:
    """The first opening after a business time, microseconds since the epoch.

    A market that does not open within CLOSED_DAYS_MAX counts as opening after them.
    """
    today = local_date(hours, time_us)
    for days in range(CLOSED_DAYS_MAX):
        for opens_us, _ in _sessions_on(hours, today + timedelta(days=days)):
            if opens_us > time_us:
                return opens_us
    return _instant(today + timedelta(days=CLOSED_DAYS_MAX), "00:00", hours.time_zone)


def session_end(hours: TradingHours | None, time_us: int) -> int:
    """The last close of the trading day under way at a business time, or else of the next one.

    Without hours the business day's end.
    """
    if hours is None:
        return _instant(day_of(time_us), MIDNIGHT, "UTC")
    for begins_us in (time_us, next_opening(hours, time_us)):
        for _, closes_us in reversed(_sessions_on(hours, local_date(hours, begins_us))):
            if begins_us < closes_us:
                return closes_us
    return begins_us


def local_date(hours: TradingHours, time_us: int) -> date:
    """The date where an instrument is traded."""
    return from_us(time_us).astimezone(ZoneInfo(hours.time_zone)).date()


@lru_cache(maxsize=TRADING_DAYS_MAX)
def _sessions_on(hours: TradingHours, day: date) -> tuple[tuple[int, int], ...]:
    """(opening, close) of each session of a day, in order, microseconds since the epoch."""
    if not is_business_day(day, hours.calendar):
        return ()
    early = half_days_of(hours.calendar, day.year).get(day)
    last_us = _instant(day, early, HALF_DAYS[hours.calendar].zone) if early else None
    sessions = []
    for opens, closes in hours.sessions:
        opens_us, closes_us = (_instant(day, time, hours.time_zone) for time in (opens, closes))
        if last_us is not None:
            closes_us = min(closes_us, last_us)
        if opens_us < closes_us:
            sessions.append((opens_us, closes_us))
    return tuple(sessions)


def _instant(day: date, time: str, zone: str) -> int:
    if time == MIDNIGHT:
        day, time = day + timedelta(days=1), "00:00"
    local = datetime.fromisoformat(f"{day} {time}").replace(tzinfo=ZoneInfo(zone))
    return to_us(local.astimezone(UTC))
