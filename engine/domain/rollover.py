"""Rollovers: the face value of a maturing bill buys the next one before it is paid. See
docs/instruments.md.

The order spends cash that the position will bring (`receivable`): units are reserved for it, no cash.
The account's facts of it are in `servicing`, their moves in `moves`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Final, NamedTuple

from msgspec.structs import replace

from engine.domain import action_steps, bond_dates, calendar, instrument, trading, trading_hours
from engine.domain.account import Account
from engine.domain.bookings import FundsReserved
from engine.domain.decided import Decided
from engine.domain.fees import FeeRule
from engine.domain.instrument import Instrument, Terms
from engine.domain.order import CANCELLABLE, ROLLOVER, Order, RolloverFunded
from engine.domain.order_request import OrderRequest, Pledge
from engine.domain.position import Position
from engine.domain.pricing import Price, is_quoted
from engine.domain.servicing import SKIPPED, RolloverPaid, RolloverSet, RolloverSkipped
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact, to_us
from engine.kernel.limits import ROLL_LEAD_US
from engine.kernel.refusals import invalid, refused
from engine.kernel.times import rfc3339
from engine.kernel.values import EXACT, UNITS, round_to, zero_like

# --- dates ---------------------------------------------------------------------------------------


def rolls_on(terms: Terms) -> date | None:
    """The day of the rollover into the next bill; None for an instrument without maturity."""
    if terms.maturity_date is None:
        return None
    return bond_dates.rollover_date(terms.maturity_date, terms.issuer_country, terms.trading_currency)


def cutoff_us(terms: Terms) -> int | None:
    """The moment from which `automatic_rollover` is locked: the start of the lock date at the market,
    microseconds since the epoch, or of the rollover's business day in UTC where that begins earlier.
    None for an instrument without maturity.
    """
    if terms.maturity_date is None:
        return None
    where = terms.issuer_country, terms.trading_currency
    at_market = calendar.day_start_us(bond_dates.rollover_lock_date(terms.maturity_date, *where), *where)
    rolled = bond_dates.rollover_date(terms.maturity_date, *where)
    return min(at_market, to_us(datetime.combine(rolled, time(), UTC)))


def decided_at_us(terms: Terms) -> int | None:
    """The moment at which a rollover without a bill to buy is skipped: the market's close on its day
    (without hours the end of that day), or ROLL_LEAD_US before the day ends in UTC, for then the bill is
    repaid. Microseconds since the epoch; None for an instrument without maturity.
    """
    day = rolls_on(terms)
    if day is None:
        return None
    where, next_day = (terms.issuer_country, terms.trading_currency), day + timedelta(days=1)
    closes_us = calendar.day_start_us(next_day, *where)
    if terms.trading_hours is not None:
        begins_us = calendar.day_start_us(day, *where)
        closes_us = trading_hours.session_end(terms.trading_hours, begins_us)
    return min(closes_us, to_us(datetime.combine(next_day, time(), UTC)) - ROLL_LEAD_US)


COUNTED_ON: Final = ("instrument_type", "maturity_date", "par_value")
"""Terms of a bill by which a rollover spends what the maturity will bring."""


def check_change(known: Instrument | None, terms: Terms, business_date: date) -> None:
    """Raises Refused `invalid_param` for a change of a bill's COUNTED_ON from the day of its rollover
    until its maturity is announced.
    """
    day = rolls_on(known.terms) if known and known.terms.instrument_type == "bill" else None
    if known is None or day is None or business_date < day:
        return
    changed = [name for name in COUNTED_ON if getattr(known.terms, name) != getattr(terms, name)]
    if changed and action_steps.brings_maturity(known, business_date):
        detail = f"cannot be changed since {day}, when positions were rolled over"
        raise invalid(changed[0], "not_changeable", detail)


# --- the setting ---------------------------------------------------------------------------------


def can_choose(terms: Terms, business_time_us: int, *, automatic_rollover: bool) -> bool:
    """Whether the setting of an open position, now `automatic_rollover`, can be changed."""
    cutoff = cutoff_us(terms)
    is_offered = terms.supports_automatic_rollover or automatic_rollover
    return is_offered and (cutoff is None or business_time_us < cutoff)


def choose(
    held: Position, terms: Terms, *, wanted: bool, business_time_us: int, at_us: int
) -> list[Fact]:
    """Sets whether a position rolls over; no facts if it is set so already.

    Raises Refused `rollover_locked` from the cut-off on, or `invalid_param` for a closed position, or
    for an instrument that does not roll over.
    """
    if held.automatic_rollover == wanted:
        return []
    if held.status == "closed":
        raise closed()
    if wanted and not terms.supports_automatic_rollover:
        raise invalid("automatic_rollover", "not_supported")
    cutoff = cutoff_us(terms)
    if cutoff is not None and business_time_us >= cutoff:
        raise refused("rollover_locked", maturity=terms.maturity_date, cutoff=rfc3339(cutoff))
    return [RolloverSet(held.id, held.instrument, wanted, at_us)]


def closed() -> Refused:
    """The refusal of a choice for a closed position."""
    said = "cannot be changed: the position is closed"
    return invalid("automatic_rollover", "not_changeable", said)


# --- the next bill -------------------------------------------------------------------------------

Family = tuple[str | None, str, str]
"""(issuer's country, maturity period, trading currency): bills that follow each other."""


class Offer(NamedTuple):
    """A bill that may be bought, its latest price, and the trade date of a buy at this moment."""

    bill: Instrument
    price: Price | None
    trade_date: date


def family_of(terms: Terms) -> Family | None:
    """The family of an instrument; None if no bill can follow it."""
    if terms.instrument_type != "bill" or terms.maturity_period is None:
        return None
    return terms.issuer_country, terms.maturity_period, terms.trading_currency


def on_the_run(offers: Iterable[Offer]) -> Offer | str:
    """The bill of a family that is bought now, or one of SKIPPED: why there is none.

    It is issued by the settlement of the trade, which is before its maturity; trading; priced. Of
    several the one that matures last, then the last issued, then the one of the lowest id.
    """
    known = [one for one in offers if _is_issued(one)]
    trading_ = [one for one in known if instrument.trading_fault(one.bill.terms, "buy") is None]
    priced = [one for one in trading_ if one.price is not None and is_quoted(one.price, "buy")]
    if not priced:
        return "missing_price" if trading_ else "instrument_not_trading" if known else "no_bill"
    by_id = sorted(priced, key=lambda one: one.bill.id)
    return max(by_id, key=lambda one: _age(one.bill.terms))  # the first of equals


def _is_issued(offer: Offer) -> bool:
    terms, issued = offer.bill.terms, offer.bill.terms.issue_date
    settlement_date = instrument.settles_on(terms, offer.trade_date)
    is_there = issued is None or issued <= settlement_date
    repaid_on = offer.bill.repaid_on
    return is_there and repaid_on is not None and settlement_date < repaid_on


def _age(terms: Terms) -> tuple[date, date]:
    return terms.maturity_date or date.min, terms.issue_date or date.min


# --- the order -----------------------------------------------------------------------------------

_STANDING: Final = {"suspended": "account_suspended", "closing": "account_closing"}
"""Status of an account -> why it does not roll over."""
_REASONS: Final = {
    "off_increment": "trading_rules",
    "not_positive": "below_minimum_amount",
    "instrument_sell_only": "instrument_not_trading",
}
"""Code of a refused buy -> its reason in SKIPPED, where the two differ."""


def face_value(terms: Terms, units: Decimal) -> Decimal:
    """The cash that `units` bring at maturity: their par value, rounded down."""
    value = EXACT.multiply(units, terms.par_value)
    return round_to(value, UNITS[terms.trading_currency], ROUND_FLOOR)


def is_due(held: Position | None, terms: Terms, business_date: date) -> bool:
    """Whether a position is to be rolled over now: from the day of the rollover until the maturity."""
    if held is None or held.status == "closed" or not held.awaits_rollover:
        return False
    day, matures = rolls_on(terms), terms.maturity_date
    return day is not None and matures is not None and day <= business_date < matures


def place(
    account: Account,
    old: Instrument,
    found: Offer | str,
    *,
    fee: FeeRule,
    order_id: str,
    business_date: date,
    at_us: int,
    minimum_value: Decimal | None = None,
) -> Decided:
    """Reinvests the units of a maturing position that no sell has reserved, or says why not, once.

    `found`: see `on_the_run`. Nothing is decided while sells have reserved all units. Raises Refused for
    a reason that is none of SKIPPED.
    """
    held = account.holdings.positions.get(old.id)
    if held is None or not is_due(held, old.terms, business_date) or held.units.available <= 0:
        return Decided([], [], [])
    reason = _STANDING.get(account.status) or (found if isinstance(found, str) else None)
    if reason is None and old.servicing.redeemed_on is not None:
        reason = "instrument_not_trading"  # called: other cash, on another day
    if reason is None:
        assert not isinstance(found, str)
        request = OrderRequest(
            "buy",
            cash_amount=face_value(old.terms, held.units.available),
            automatic_rollover=True,
            purpose=ROLLOVER,
            rolled_from=Pledge(held.id, old.id, held.units.available),
        )
        try:
            return trading.place(
                request,
                account,
                None,
                found.bill,
                price=found.price,
                fee=fee,
                order_id=order_id,
                business_date=business_date,
                trade_date=found.trade_date,
                at_us=at_us,
                minimum_value=minimum_value,
            )
        except Refused as error:
            reason = reason_of(error)
    return Decided([RolloverSkipped(held.id, old.id, reason, at_us)], [], [])


def reason_of(error: Refused) -> str:
    """Why a refused buy skips a rollover, one of SKIPPED. Raises any other refusal again."""
    params = error.context.get("params")
    code = params[0]["code"] if isinstance(params, list) and params else error.code
    reason = _REASONS.get(code, code)
    if reason not in SKIPPED:
        raise error
    return reason


# --- the maturity --------------------------------------------------------------------------------


class Matured(NamedTuple):
    """A rollover at the maturity of its position.

    `pledged` units leave from their reservation; `order` is the rollover if it is still open. Facts
    of the `account` follow its PositionMatured, those of the `subject` are the order's.
    """

    pledged: Decimal
    order: str | None
    account: list[Fact]
    subject: list[Fact]


def at_maturity(held: Position, order: Order | None, *, at_us: int) -> Matured:
    """Pays the trades of a position's rollover, and reserves cash for what it may still buy.

    `order`: the state of `held.rollover`, None without one. A position without a rollover that should
    have one is skipped as `too_late`: it came, or the engine ran, after the day.
    """
    if order is None or order.terms.rolled_from is None or not order.awaits_receivable:
        is_late = held.automatic_rollover and order is None and not held.is_rollover_skipped
        is_late = is_late and held.units.total > 0
        told = [RolloverSkipped(held.id, held.instrument, "too_late", at_us)] if is_late else []
        return Matured(zero_like(held.units.total), None, list(told), [])
    terms = order.terms
    paid: list[Fact] = [
        RolloverPaid(
            order=terms.order,
            trade=trade.terms.trade,
            position=trade.terms.position,
            instrument=terms.instrument,
            currency=terms.currency,
            price=trade.terms.price,
            quantity=trade.terms.quantity,
            notional=trade.terms.notional,
            fee=trade.terms.fee,
            settlement_date=trade.terms.settlement_date,
            at_us=at_us,
        )
        for trade in order.trades
        if trade.report is None
    ]
    pledged = order.terms.rolled_from.quantity
    if order.status not in CANCELLABLE:
        return Matured(pledged, None, paid, [])
    left = replace(order, is_funded=True).reserved
    reserved = [FundsReserved(terms.order, terms.currency, left, at_us)] if left else []
    return Matured(pledged, terms.order, [*paid, *reserved], [RolloverFunded(left, at_us)])
