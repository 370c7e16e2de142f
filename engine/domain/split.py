"""Splits: the units of a position become others, at the same cost. See docs/instruments.md.

From the ex date on the instrument is not traded until its split has started; then an account trades it
as soon as its own units are split. Orders carry the number of splits in whose units they count.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_FLOOR, Decimal

from engine.domain.bookings import PositionClosed
from engine.domain.corporate_action import SPLITS, Action
from engine.domain.instrument import Instrument
from engine.domain.order import Order
from engine.domain.position import Position, scaled
from engine.domain.servicing import PositionSplit
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Fact
from engine.kernel.limits import DECIMAL_DIGITS_MAX
from engine.kernel.refusals import refused
from engine.kernel.values import COST_PLACES, EXACT, STEPS, UNITS, ZERO, divide_to, plain


def awaits(
    security: Instrument, position: Position | None, today: date, placed_at_us: int | None = None
) -> bool:
    """Whether a split of the instrument has to be applied before the account trades it.

    `today` is the date at its market, `placed_at_us` the time of an order that waits: it is never before
    the start of a split that the process which placed it knew. Raises Unavailable
    for a position ahead of its instrument: the two were read at different moments; retry.
    """
    servicing, held = security.servicing, _open(position)
    if held is not None and held.splits > servicing.splits:
        raise Unavailable("the instrument was split at this moment")
    if held is not None and held.splits < servicing.splits:
        return True
    if any(one.is_started and _lacks(position, one) for one in of(security)):
        return True
    if placed_at_us is not None and placed_at_us < servicing.split_at_us:
        return True
    return is_to_start(security, today)


def is_to_start(security: Instrument, today: date) -> bool:
    """Whether a split is due at the market and waits for the end of open orders."""
    return any(not one.is_started and one.terms.ex_date <= today for one in of(security))


def of(security: Instrument) -> list[Action]:
    """The open splits of an instrument, in the order of their numbers, those not started last."""
    known = [one for one in security.servicing.actions if one.terms.action_type in SPLITS]
    return sorted(known, key=lambda one: (not one.is_started, one.number, one.terms.ex_date))


def check_applied(security: Instrument, position: Position | None, ex_date: date) -> None:
    """Raises Refused `invalid_request` while a position still has to be split before it is paid for
    units of `ex_date`.
    """
    for known in of(security):
        if known.terms.ex_date <= ex_date and _lacks(position, known):
            raise refused("invalid_request", f"{known.id} has to split the position before.")


def counts_otherwise(order: Order, security: Instrument, position: Position | None) -> bool:
    """Whether an order's trades are of other units than the account's position.

    An executing order that was sent before a split opens a position in the units of that time.
    """
    held = _open(position)
    if held is not None:
        return held.splits != order.splits
    splits = security.servicing.splits
    started = [one.number - 1 for one in of(security) if one.is_started]
    if order.status == "executing" and started:
        return order.splits < min(started)
    return order.splits != splits


def trades_otherwise(order: Order, security: Instrument, trade_date: date) -> bool:
    """Whether a trade of that day is of other units than its order: from the ex date on a market trades
    units of after the split, also while it waits to start.
    """
    return any(
        one.terms.ex_date <= trade_date and not (one.is_started and one.number <= order.splits)
        for one in of(security)
    )


def apply(
    action: Action, position: Position | None, orders: Iterable[Order], *, at_us: int
) -> list[Fact]:
    """Splits the units of a position, once; no facts if there are none. A position without units and
    without unsettled trades closes.

    `orders`: the account's in the instrument, as far as they are open. Raises Refused `invalid_request`
    with the reason for which the position has to wait.
    """
    held = position
    if held is None or not action.is_started or not _lacks(held, action):
        return []
    _check(action, held, orders)
    terms, units = action.terms, held.units
    to, from_, total = terms.units_to, terms.units_from, units.total
    assert to is not None
    assert from_ is not None
    after = scaled(total, to, from_, total, ROUND_FLOOR)
    if after.adjusted() >= DECIMAL_DIGITS_MAX:
        figures = f"{plain(after)} units have more than {DECIMAL_DIGITS_MAX} digits"
        raise refused("invalid_request", f"{held.id} cannot be split: {figures}.")
    lost = EXACT.subtract(EXACT.multiply(total, Decimal(to)), EXACT.multiply(after, Decimal(from_)))
    worth = EXACT.multiply(lost, terms.fraction_price or ZERO)
    facts: list[Fact] = [
        PositionSplit(
            action=action.id,
            position=held.id,
            instrument=held.instrument,
            currency=held.currency,
            number=action.number,
            ex_date=terms.ex_date,
            units_to=to,
            units_from=from_,
            quantity_before=total,
            quantity_after=after,
            unsettled_before=units.unsettled,
            unsettled_after=scaled(units.unsettled, to, from_, total, ROUND_FLOOR),
            fraction=divide_to(lost, Decimal(from_), STEPS[COST_PLACES], ROUND_FLOOR),
            amount=divide_to(worth, Decimal(from_), UNITS[held.currency], ROUND_FLOOR),
            at_us=at_us,
        )
    ]
    if not after and not held.unsettled_trades and held.closed_at_us is None:
        facts.append(PositionClosed(held.id, held.instrument, at_us))
    return facts


def _check(action: Action, held: Position, orders: Iterable[Order]) -> None:
    """Raises Refused `invalid_request` while the position has to wait."""
    reason = ""
    executing = [one.terms.order for one in orders if one.status == "executing"]
    if held.splits < action.number - 1:
        reason = "an earlier split of the instrument is not applied yet"
    elif executing:
        reason = f"{executing[0]} is at its venue; the split waits for its end"
    elif held.units.reserved:
        reason = f"{plain(held.units.reserved)} units are reserved; the split waits for their release"
    elif held.units.total < 0:
        lacking = plain(EXACT.minus(held.units.total))
        reason = f"the account lacks {lacking} units; the split waits for the report that brings them"
    if reason:
        raise refused("invalid_request", f"{held.id} is not split: {reason}.")


def _lacks(position: Position | None, split: Action) -> bool:
    """Whether a position still has to be split: an open one, or a closed one with trades that settle on
    the ex date or later, for they count in what is paid for those days.
    """
    if position is None or (split.is_started and position.splits >= split.number):
        return False
    return position.closed_at_us is None or any(one.day >= split.terms.ex_date for one in position.dated)


def _open(position: Position | None) -> Position | None:
    return position if position is not None and position.closed_at_us is None else None
