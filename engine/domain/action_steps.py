"""The steps of a corporate action: announced from the terms, started on its day, completed.

Coupons are announced on their ex date, maturity on its day. Nothing is paid in retrospect: the first
payment is that on the day from which the engine follows the terms (`Servicing.since`) or later.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from engine.domain import instrument as instruments
from engine.domain.accrual import coupon_per_unit, ex_date
from engine.domain.corporate_action import (
    INCOME,
    REDEMPTIONS,
    SPLITS,
    Action,
    ActionAnnounced,
    ActionCompleted,
    ActionStarted,
    ActionTerms,
    ActionType,
    ScheduleFollowed,
)
from engine.domain.coupon_schedule import CouponSchedule, schedule_of
from engine.domain.instrument import YIELDING, Instrument
from engine.kernel.fact import Fact
from engine.kernel.limits import ACTION_DAYS_MAX, ACTIONS_OPEN_MAX, PAYMENT_WAIT_DAYS_MAX

BY_TERMS: Final = "engine"
"""Author of actions that the terms announce."""


# --- decisions ------------------------------------------------------------------------------------


def follow_schedule(
    state: Instrument | None, since: date, *, former: Instrument | None = None, at_us: int
) -> list[Fact]:
    """From business date `since` on, the engine pays by the terms, if there is anything to pay.

    Once, and again for a schedule that has changed since `former`: what it would have brought before is
    not paid. Not while a coupon of the former one is overdue, for that would be lost.
    """
    if state is None or not _has_schedule(state):
        return []
    if state.servicing.since is not None:
        if former is None or former.terms.bond == state.terms.bond:
            return []
        overdue = _next_coupon(former, former.servicing.since or since)
        if since <= state.servicing.since or (overdue is not None and overdue.pay_date < since):
            return []
    return [ScheduleFollowed(since, at_us)]


def announce_due(
    state: Instrument | None, action: str, business_date: date, *, at_us: int
) -> list[Fact]:
    """Announces the next coupon or maturity under the new id `action`, if its ex date has come."""
    terms = upcoming(state) if state else None
    if terms is None or terms.ex_date > business_date:
        return []
    return [ActionAnnounced(action, terms, BY_TERMS, at_us)]


def start(
    state: Instrument | None, action: str, business_date: date, market_date: date, *, at_us: int
) -> list[Fact]:
    """Starts an action whose day has come (see `is_due`).

    Splits and redemptions change units: one waits for those due before it.
    """
    known = state.servicing.action(action) if state else None
    if state is None or known is None or known.is_started:
        return []
    if not is_due(known, business_date, market_date) or _waits(state, known):
        return []
    return [ActionStarted(action, at_us)]


def complete(
    state: Instrument | None, action: str, accounts: int, amount: Decimal, *, at_us: int
) -> list[Fact]:
    """Closes an action that `accounts` have had, for `amount` in all."""
    known = state.servicing.action(action) if state else None
    if known is None or not known.is_started:
        return []
    return [ActionCompleted(action, accounts, amount, at_us)]


# --- the next step --------------------------------------------------------------------------------


def next_step(state: Instrument) -> date | None:
    """The next date on which something is to be done for the instrument; None: nothing.

    A date in the past: something is due, or under way. A split counts from the day before: at markets in
    the east a day begins before it does in UTC.
    """
    if state.servicing.since is None and _has_schedule(state):
        return date.min
    days = [
        one.starts_on - timedelta(days=one.terms.action_type in SPLITS)
        for one in state.servicing.actions
    ]
    terms = _next_of_terms(state)
    if terms is not None:
        days.append(terms.ex_date)
    return min(days, default=None)


def is_due(known: Action, business_date: date, market_date: date) -> bool:
    """Whether the day of an action has come: for a split at the market, for a redemption in UTC, for a
    coupon or dividend in both. West of UTC the day before still lasts at the market at 00:00 UTC, and a
    trade that settles on its own day may be entitled.
    """
    kind, today = known.terms.action_type, business_date
    if kind in SPLITS:
        today = market_date
    elif kind in INCOME:
        today = min(business_date, market_date)
    return known.starts_on <= today


def upcoming(state: Instrument) -> ActionTerms | None:
    """The next coupon of the terms that is not announced, else their maturity.

    None too while there is no place for it (see `left_out`).
    """
    return _next_of_terms(state) if len(state.servicing.actions) < ACTIONS_OPEN_MAX else None


def left_out(state: Instrument, business_date: date) -> ActionTerms | None:
    """The next of the terms, if due by a day and without a place: ACTIONS_OPEN_MAX are open."""
    if len(state.servicing.actions) < ACTIONS_OPEN_MAX:
        return None
    terms = _next_of_terms(state)
    return terms if terms is not None and terms.ex_date <= business_date else None


def _next_of_terms(state: Instrument) -> ActionTerms | None:
    since = state.servicing.since
    return (_next_coupon(state, since) or _maturity(state, since)) if since is not None else None


def brings_maturity(state: Instrument, today: date) -> bool:
    """Whether the maturity is yet to be announced from the terms."""
    return _maturity(state, state.servicing.since or today) is not None


def coupon_across(state: Instrument, day: date) -> tuple[date, date] | None:
    """The ex date and the coupon date of the coupon of the terms that has gone ex by `day` and is due
    later; None if `day` is in no such period. Its interest, to the coupon date, is of earlier holders.
    """
    bond = state.terms.bond
    schedule = schedule_of(bond) if bond.coupon else None
    due = schedule.next_coupon(day) if isinstance(schedule, CouponSchedule) else None
    if due is None or ex_date(bond, due) > day:
        return None
    return ex_date(bond, due), due


def brings_coupon(state: Instrument, ex: date) -> bool:
    """Whether the terms bring a coupon of ex date `ex`, announced or not."""
    if any(
        one.terms.action_type == "coupon" and one.terms.source == "terms" and one.terms.ex_date == ex
        for one in state.servicing.actions
    ):
        return True
    bond = state.terms.bond
    schedule = schedule_of(bond) if bond.coupon else None
    if not isinstance(schedule, CouponSchedule) or bond.ex_coupon_days > ACTION_DAYS_MAX:
        return False
    day = ex + timedelta(days=bond.ex_coupon_days)
    return schedule.is_coupon_date(day) and not any(day > ends for ends in _redemption_dates(state))


def is_overdue(state: Instrument, today: date) -> bool:
    """Whether the instrument has matured, and nothing redeems what is still held of it."""
    terms, day = state.terms, state.terms.maturity_date
    if day is None or terms.instrument_type not in YIELDING or day > today:
        return False
    return not _redemption_dates(state) and not brings_maturity(state, today)


def _next_coupon(state: Instrument, since: date) -> ActionTerms | None:
    bond, servicing = state.terms.bond, state.servicing
    schedule = schedule_of(bond) if bond.coupon else None
    if not isinstance(schedule, CouponSchedule) or servicing.is_redeemed:
        return None
    if bond.ex_coupon_days > ACTION_DAYS_MAX:  # stored terms only: accounts do not remember that long
        return None
    after = servicing.coupons_through or since - timedelta(days=PAYMENT_WAIT_DAYS_MAX)
    day = schedule.next_coupon(after)
    while day is not None and instruments.pays_on(state.terms, day) < since:
        day = schedule.next_coupon(day)
    if day is None or any(day > ends for ends in _redemption_dates(state)):
        return None
    amount, divisor = coupon_per_unit(bond, day)
    return _by_terms(
        "coupon", ex_date(bond, day), instruments.pays_on(state.terms, day), amount, divisor
    )


def _maturity(state: Instrument, since: date) -> ActionTerms | None:
    terms, day = state.terms, state.terms.maturity_date
    if day is None or terms.instrument_type not in YIELDING:
        return None
    if state.servicing.is_redeemed or any(_redemption_dates(state)):
        return None
    pay_date = instruments.pays_on(terms, day)
    return _by_terms("maturity", day, pay_date, terms.par_value) if pay_date >= since else None


def _by_terms(
    kind: ActionType, ex: date, pay_date: date, amount: Decimal, divisor: int = 1
) -> ActionTerms:
    record_date = ex - timedelta(days=1)
    return ActionTerms(kind, ex, record_date, pay_date, "terms", amount=amount, divisor=divisor)


def _redemption_dates(state: Instrument) -> list[date]:
    actions = state.servicing.actions
    return [one.terms.ex_date for one in actions if one.terms.action_type in REDEMPTIONS]


def _has_schedule(state: Instrument) -> bool:
    """Whether the terms bring anything: coupons, or a maturity."""
    terms = state.terms
    return bool(terms.bond.coupon) or (
        terms.maturity_date is not None and terms.instrument_type in YIELDING
    )


def _waits(state: Instrument, known: Action) -> bool:
    """Whether a change of units waits for another one, or for the start of a payment due before it.

    A split waits for the start of an earlier one only: an account for which the earlier one waits is
    split by both in their order (see `split.apply`), and does not hold up the others.
    """
    actions = state.servicing.actions
    changes = [one for one in actions if one.terms.action_type in SPLITS | REDEMPTIONS]
    if known not in changes:
        return False
    if known.terms.action_type in SPLITS:
        changes = [one for one in changes if not (one.is_started and one.terms.action_type in SPLITS)]
    first = min(changes, key=lambda one: (not one.is_started, one.starts_on))
    return first is not known or any(
        one.starts_on <= known.starts_on
        for one in actions
        if one.terms.action_type in INCOME and not one.is_started
    )
