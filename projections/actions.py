"""Resources of an instrument's life: corporate actions, and coupons and dividends paid. See
docs/instruments.md.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from engine.domain.corporate_action import Action, ActionCompleted
from engine.domain.instrument import Instrument
from engine.domain.servicing import CouponPaid, DividendPaid
from engine.kernel.fact import Recorded
from engine.kernel.times import rfc3339
from engine.kernel.values import EXACT, PRICE_PLACES, STEPS, UNITS, divide_to, plain, zero_like
from projections import shapes
from projections.resources import encode, price

# --- corporate actions -----------------------------------------------------------------------------


class CorporateActionBody(msgspec.Struct, frozen=True):
    """A corporate action of an instrument.

    `amount` is what a unit is paid, at 8 decimals (a coupon's exact amount is paid); a split makes
    `units_to` of `units_from` units, and pays `fraction_price` for a unit lost by rounding. `source`:
    `terms` if the engine announced it by the instrument's terms. `accounts` and `total_amount` are known
    when it is completed.
    """

    id: shapes.ActionId
    instrument: shapes.InstrumentId
    action_type: shapes.KindOfAction
    status: shapes.ActionStatus
    ex_date: shapes.Day
    record_date: shapes.Day
    pay_date: shapes.Day
    amount: shapes.Price | None
    units_to: shapes.Count | None
    units_from: shapes.Count | None
    fraction_price: shapes.Price | None
    source: shapes.SourceOfAction
    accounts: shapes.Count | None
    total_amount: shapes.Money | None
    created_at: shapes.Time
    modified_at: shapes.Time


def action_json(
    of: Instrument, action: Action, status: str, *, at_us: int, done: ActionCompleted | None = None
) -> bytes:
    """An action of an instrument as of its last fact, at `at_us`; `done` once it is completed."""
    terms, unit = action.terms, UNITS[of.terms.trading_currency]
    return encode(
        CorporateActionBody(
            id=action.id,
            instrument=of.id,
            action_type=terms.action_type,
            status=status,
            ex_date=terms.ex_date.isoformat(),
            record_date=terms.record_date.isoformat(),
            pay_date=terms.pay_date.isoformat(),
            amount=_per_unit(terms.amount, terms.divisor),
            units_to=terms.units_to,
            units_from=terms.units_from,
            fraction_price=_per_unit(terms.fraction_price, 1),
            source=terms.source,
            accounts=done.accounts if done else None,
            total_amount=plain(EXACT.add(done.amount, zero_like(unit))) if done else None,
            created_at=rfc3339(action.created_at_us),
            modified_at=rfc3339(at_us),
        )
    )


def _per_unit(amount: Decimal | None, divisor: int) -> str | None:
    if amount is None:
        return None
    return price(divide_to(amount, Decimal(divisor), STEPS[PRICE_PLACES], ROUND_HALF_EVEN))


# --- income ---------------------------------------------------------------------------------------


class CouponBody(msgspec.Struct, frozen=True):
    """A coupon that an account was paid: `amount` for the `units` with a settlement date before its ex
    date.
    """

    id: shapes.CouponId
    account: shapes.AccountId
    position: shapes.PositionId
    instrument: shapes.InstrumentId
    action: shapes.ActionId
    units: shapes.Units
    amount: shapes.Money
    currency: shapes.Currency
    payment_date: shapes.Day | None
    created_at: shapes.Time


class DividendBody(CouponBody, frozen=True):
    """A cash dividend that an account was paid: `amount` for the `units` with a settlement date before
    its ex date.
    """

    id: shapes.DividendId


def income_json(account: str, recorded: Recorded) -> bytes:
    """A CouponPaid or DividendPaid of `account`. It is paid on the day it is booked."""
    fact, envelope = recorded.fact, recorded.envelope
    assert isinstance(fact, CouponPaid | DividendPaid)
    kind, income = (
        (CouponBody, fact.coupon) if isinstance(fact, CouponPaid) else (DividendBody, fact.dividend)
    )
    return encode(
        kind(
            id=income,
            account=account,
            position=fact.position,
            instrument=fact.instrument,
            action=fact.action,
            units=plain(fact.units),
            amount=plain(fact.amount),
            currency=fact.currency,
            payment_date=None if envelope.business_date is None else envelope.business_date.isoformat(),
            created_at=rfc3339(envelope.at_us),
        )
    )
