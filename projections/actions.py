"""Resources of an instrument's life: coupons and dividends paid. See docs/instruments.md."""

from __future__ import annotations

import msgspec

from engine.domain.servicing import CouponPaid, DividendPaid
from engine.kernel.fact import Recorded
from engine.kernel.times import rfc3339
from engine.kernel.values import plain
from projections import shapes
from projections.resources import encode


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
