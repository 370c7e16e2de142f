"""The effect of a coupon, dividend or redemption on one account. See docs/instruments.md.

Accounts of every status are paid alike, closed ones too: they were entitled before. Each account has an
action once: a payment is noted in its position, a redemption leaves no units.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from engine.domain import rollover
from engine.domain.account import Account
from engine.domain.bookings import PositionClosed
from engine.domain.corporate_action import INCOME, Action
from engine.domain.decided import Decided
from engine.domain.instrument import Instrument
from engine.domain.order import Order
from engine.domain.position import Position
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused
from engine.kernel.values import EXACT, UNITS, ZERO, divide_to, plain

NOTHING: Final = Decided([], [], [])
NewId = Callable[[str], str]
"""A new id of a prefix."""


def amount_for(action: Action, units: Decimal, currency: str) -> Decimal:
    """The cash of `units` by an action: units x amount / divisor, rounded down once; 0 of none."""
    if units <= ZERO or action.terms.amount is None:
        return EXACT.multiply(ZERO, UNITS[currency])
    total = EXACT.multiply(units, action.terms.amount)
    return divide_to(total, Decimal(action.terms.divisor), UNITS[currency], ROUND_FLOOR)


def pay(action: Action, position: Position | None, new_id: NewId, *, at_us: int) -> list[Fact]:
    """Pays a coupon or dividend once, for the units entitled to it. `new_id`: a new id by its prefix.

    Nothing is recorded for an amount of 0.
    """
    if position is None or action.id in position.applied:
        return []
    units = position.entitled(action.terms.ex_date)
    amount = amount_for(action, units, position.currency)
    if not amount:
        return []
    is_coupon = action.terms.action_type == "coupon"
    kind, prefix = (CouponPaid, "cpn") if is_coupon else (DividendPaid, "div")
    return [
        kind(
            new_id(prefix),
            action.id,
            position.id,
            position.instrument,
            position.currency,
            units,
            amount,
            at_us,
        )
    ]


def redeem(
    action: Action,
    instrument: Instrument,
    account: Account,
    *,
    rolled: Order | None,
    new_id: NewId,
    at_us: int,
) -> Decided:
    """Exchanges the units of an account for cash and closes its position, once.

    A coupon or dividend that has started is paid first. `rolled`: the position's rollover, paid with
    that cash (see `rollover.at_maturity`).

    Raises Refused `invalid_request` while a trade of the position is unsettled or an order may still
    sell it, and if more was sold than held.
    """
    position = account.holdings.positions.get(instrument.id)
    if position is None or position.closed_at_us is not None:
        return NOTHING
    matured = rollover.at_maturity(position, rolled, at_us=at_us)
    _check_redeemable(position, matured.pledged)
    facts: list[Fact] = []
    for due in instrument.servicing.actions:
        if due.terms.action_type in INCOME and due.is_started:
            facts += pay(due, position, new_id, at_us=at_us)
    units = position.units
    if units.total:
        redeemed = PositionMatured(
            action=action.id,
            position=position.id,
            instrument=position.instrument,
            currency=position.currency,
            ex_date=action.terms.ex_date,
            quantity=units.settled,
            pledged=matured.pledged,
            amount=amount_for(action, units.total, position.currency),
            rollover=matured.order,
            at_us=at_us,
        )
        facts += [redeemed, *matured.account]
    closed = PositionClosed(position.id, position.instrument, at_us)
    return Decided([*facts, closed], matured.subject, [])


def _check_redeemable(position: Position, pledged: Decimal) -> None:
    """Raises Refused `invalid_request` while the position has to wait. `pledged` units wait for it."""
    units, reason = position.units, ""
    if position.unsettled_trades:
        reason = f"{position.unsettled_trades} of its trades have not settled"
    elif units.reserved != pledged:
        sold = EXACT.subtract(units.reserved, pledged)
        reason = f"an order has {plain(sold)} of its units reserved"
    elif units.total < 0:
        reason = f"the account lacks {plain(EXACT.minus(units.total))} units"
    if reason:
        raise refused("invalid_request", f"{position.id} is not redeemed yet: {reason}.")
