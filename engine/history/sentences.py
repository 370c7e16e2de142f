"""Facts of trades that a venue takes back, of an instrument's life and of scripts in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from engine.domain.bookings import BuyBusted, BuyCorrected, Reversal, SellBusted, SellCorrected
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionCompleted,
    ActionCorrected,
    ActionStarted,
    ActionTerms,
    ActionWithdrawn,
    ScheduleFollowed,
)
from engine.domain.order import RolloverFunded, TradeBusted, TradeCorrected
from engine.domain.script import ScriptPlayed, ScriptTaken, ScriptWritten
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
    RolloverSet,
    RolloverSkipped,
)
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, plain


def sentence(fact: Fact) -> str | None:
    """A fact in words, None for one whose moves or fields say all."""
    tell = _SENTENCES.get(type(fact))
    return tell(fact) if tell else None


# --- accounts -------------------------------------------------------------------------------------


def _coupon(fact: CouponPaid) -> str:
    return f"Coupon of {plain(fact.amount)} {fact.currency} for {plain(fact.units)} {fact.instrument}"


def _dividend(fact: DividendPaid) -> str:
    return f"Dividend of {plain(fact.amount)} {fact.currency} for {plain(fact.units)} {fact.instrument}"


def _matured(fact: PositionMatured) -> str:
    units = plain(EXACT.add(fact.quantity, fact.pledged))
    return f"Redemption of {units} {fact.instrument} for {plain(fact.amount)} {fact.currency}"


def _split(fact: PositionSplit) -> str:
    before, after = plain(fact.quantity_before), plain(fact.quantity_after)
    words = f"Split {fact.units_to} for {fact.units_from} of {before} {fact.instrument} into {after}"
    paid = f"{plain(fact.amount)} {fact.currency} for {plain(fact.fraction)} of a unit"
    return f"{words}, and {paid}" if fact.amount else words


def _set(fact: RolloverSet) -> str:
    word = "rolls over" if fact.automatic_rollover else "does not roll over"
    return f"{fact.position} {word} at maturity"


def _reserved(fact: RolloverReserved) -> str:
    units, cash = f"{plain(fact.quantity)} {fact.instrument}", f"{plain(fact.amount)} {fact.currency}"
    return f"Rollover {fact.order} of {units}, which bring {cash}"


def _released(fact: RolloverReleased) -> str:
    return f"Rollover {fact.order} has ended: {plain(fact.quantity)} {fact.instrument} mature as cash"


def _booked(fact: RolloverBooked) -> str:
    bought = f"{plain(fact.quantity)} {fact.instrument} at {plain(fact.price)}"
    return f"Rollover into {bought}, paid when {fact.order} gets its cash"


def _paid(fact: RolloverPaid) -> str:
    cost = plain(EXACT.add(fact.notional, fact.fee))
    return f"Rollover of {plain(fact.quantity)} {fact.instrument} paid with {cost} {fact.currency}"


def _skipped(fact: RolloverSkipped) -> str:
    return f"{fact.position} is not rolled over: {fact.reason}"


def _changed(fact: BuyCorrected | SellCorrected) -> str:
    done = "buy" if isinstance(fact, BuyCorrected) else "sell"
    units = f"{plain(fact.quantity)} {fact.instrument} at {plain(fact.price)}"
    return f"Corrected {done} of {units}, {fact.trade} in place of {fact.corrects}"


def _reversed(fact: Reversal) -> str:
    done = "Buy" if isinstance(fact, BuyBusted) else "Sell"
    settled = "settled" if fact.is_settled else "unsettled"
    return f"{done} of {plain(fact.quantity)} {fact.instrument} busted, {settled}: {fact.trade}"


# --- orders ---------------------------------------------------------------------------------------


def _busted(fact: TradeBusted) -> str:
    less = f"{plain(fact.notional)} and {plain(fact.fee)} in fees less"
    return f"{fact.venue} busts {fact.trade} by {fact.execution_reference}: {less}"


def _trade_corrected(fact: TradeCorrected) -> str:
    units = f"{plain(fact.quantity)} at {plain(fact.price)}"
    return f"{fact.venue} corrects {fact.corrects} by {fact.execution_reference}: {fact.trade}, {units}"


def _funded(fact: RolloverFunded) -> str:
    return f"Cash of the matured position has come; {plain(fact.amount)} of it stays reserved"


# --- instruments ----------------------------------------------------------------------------------


def _terms(terms: ActionTerms) -> str:
    if terms.units_to is not None:
        what = f"{terms.units_to} for {terms.units_from}"
    else:
        per_unit = plain(terms.amount or Decimal(0))
        what = f"{per_unit} / {terms.divisor} per unit" if terms.divisor > 1 else f"{per_unit} per unit"
    days = f"ex {terms.ex_date}, paid {terms.pay_date}"
    return f"{terms.action_type.replace('_', ' ')} of {what}, {days}"


def _announced(fact: ActionAnnounced) -> str:
    return f"{fact.action} announced: {_terms(fact.terms)}"


def _corrected(fact: ActionCorrected) -> str:
    return f"{fact.action} corrected: {_terms(fact.terms)}"


def _withdrawn(fact: ActionWithdrawn) -> str:
    return f"{fact.action} withdrawn: {fact.reason}"


def _completed(fact: ActionCompleted) -> str:
    return f"{fact.action} completed: {fact.accounts} accounts, {plain(fact.amount)} in all"


# --- scripts --------------------------------------------------------------------------------------


def _written(fact: ScriptWritten) -> str:
    steps = ", ".join(step.kind for step in fact.steps)
    return f"{fact.script} for {fact.subject_kind} {fact.subject}: {steps}"


_SENTENCES: Final[dict[type[Fact], Callable[[Any], str]]] = {
    CouponPaid: _coupon,
    DividendPaid: _dividend,
    PositionMatured: _matured,
    PositionSplit: _split,
    RolloverSet: _set,
    RolloverReserved: _reserved,
    RolloverReleased: _released,
    RolloverBooked: _booked,
    RolloverPaid: _paid,
    RolloverSkipped: _skipped,
    RolloverFunded: _funded,
    BuyBusted: _reversed,
    SellBusted: _reversed,
    BuyCorrected: _changed,
    SellCorrected: _changed,
    TradeBusted: _busted,
    TradeCorrected: _trade_corrected,
    ScheduleFollowed: lambda fact: f"Its terms are paid from {fact.since} on",
    ActionAnnounced: _announced,
    ActionCorrected: _corrected,
    ActionWithdrawn: _withdrawn,
    ActionStarted: lambda fact: f"{fact.action} started: accounts have it from now on",
    ActionCompleted: _completed,
    ScriptWritten: _written,
    ScriptTaken: lambda fact: f"{fact.script} is taken by {fact.order}",
    ScriptPlayed: lambda fact: f"All reports of {fact.script} have been taken",
}
"""Fact of an instrument's life -> its sentence."""
