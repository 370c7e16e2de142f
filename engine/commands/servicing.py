"""Commands of an instrument's life: its corporate actions, and their effect on accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from engine.commands.command import Decision, DecisionContext, Past, changes
from engine.domain import action_steps, announcing, distribution, split, trading
from engine.domain.account import Account
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import INCOME, REDEMPTIONS
from engine.domain.instrument import Instrument, local_date
from engine.domain.order import ExpiryRequested, Order, can
from engine.kernel.fact import Fact
from engine.kernel.ids import IdSource, is_id
from engine.kernel.refusals import refused

# --- of the operator ------------------------------------------------------------------------------


def announce_action(
    context: DecisionContext, *, instrument: str, action: str, request: ActionRequest, by: str
) -> Decision:
    """Announces an action under the new id `action`. Raises Refused as `announcing.announce` does."""
    known: Instrument | None = (yield instrument) if is_id(instrument, "ins") else None
    today = _today(context, known)
    facts = announcing.announce(known, action, request, by=by, today=today, at_us=context.at_us)
    return changes({instrument: facts})


def correct_action(
    context: DecisionContext, *, instrument: str, action: str, request: ActionRequest, by: str
) -> Decision:
    """Replaces the terms of an action. Raises Refused as `announcing.correct` does."""
    known: Instrument | None = yield instrument
    today = _today(context, known)
    facts = announcing.correct(known, action, request, by=by, today=today, at_us=context.at_us)
    return changes({instrument: facts})


def withdraw_action(
    context: DecisionContext, *, instrument: str, action: str, reason: str, by: str
) -> Decision:
    """Withdraws an action. Raises Refused as `announcing.withdraw` does."""
    known: Instrument | None = yield instrument
    today = _today(context, known)
    facts = announcing.withdraw(known, action, reason, by=by, today=today, at_us=context.at_us)
    return changes({instrument: facts})


# --- of the engine --------------------------------------------------------------------------------


def follow_schedule(context: DecisionContext, *, instrument: str) -> Decision:
    """Pays by the instrument's terms from today on, if it did not yet."""
    known: Instrument | None = yield instrument
    facts = action_steps.follow_schedule(known, context.business_date, at_us=context.at_us)
    return changes({instrument: facts})


def announce_due(context: DecisionContext, *, ids: IdSource, instrument: str) -> Decision:
    """Announces the coupon or maturity that the terms bring next, if its ex date has come."""
    known: Instrument | None = yield instrument
    today = context.business_date
    facts = action_steps.announce_due(known, ids.new("cac"), today, at_us=context.at_us)
    return changes({instrument: facts})


def start_action(context: DecisionContext, *, instrument: str, action: str) -> Decision:
    """Starts an action whose day has come."""
    known: Instrument | None = yield instrument
    facts = action_steps.start(
        known, action, context.business_date, _market_date(context, known), at_us=context.at_us
    )
    return changes({instrument: facts})


def apply_action(
    context: DecisionContext,
    *,
    ids: IdSource,
    instrument: str,
    action: str,
    account: str,
    orders: Sequence[str] = (),
) -> Decision:
    """Applies a started action to an account, once. `orders`: its own at a venue, if units change.

    Raises Refused `invalid_request` with the reason why the account has to wait.
    """
    known: Instrument = yield instrument
    one = known.servicing.action(action)
    owner: Account = yield account
    if one is None or not one.is_started:
        raise refused("invalid_request", f"{action} of {instrument} has not started.")
    kind = one.terms.action_type
    held = owner.holdings.positions.get(instrument)
    if kind in INCOME:
        split.check_applied(known, held, one.terms.ex_date)
        return changes({account: distribution.pay(one, held, ids.new, at_us=context.at_us)})
    if kind in REDEMPTIONS:
        split.check_applied(known, held, one.terms.ex_date)
        order = held.rollover if held and held.rollover else ""
        decided = distribution.redeem(
            one,
            known,
            owner,
            rolled=(yield order) if order else None,
            new_id=ids.new,
            at_us=context.at_us,
        )
        return changes({account: decided.account, order: decided.subject})
    executing: list[Order] = []
    for order in orders:
        executing += [(yield order)]
    return changes({account: split.apply(one, held, executing, at_us=context.at_us)})


def complete_action(
    context: DecisionContext, *, instrument: str, action: str, accounts: int, amount: Decimal
) -> Decision:
    """Closes a started action that every account has had."""
    known: Instrument | None = yield instrument
    facts = action_steps.complete(known, action, accounts, amount, at_us=context.at_us)
    return changes({instrument: facts})


def cancel_waiting(
    context: DecisionContext, *, order: str, reason: str, placed_by_us: int | None = None
) -> Decision:
    """Cancels an order that no venue has yet, for one of `order.REASONS`. `placed_by_us`: only one that
    was placed by then.
    """
    known: Order | None = yield order
    if known is None or (placed_by_us is not None and known.terms.at_us > placed_by_us):
        return []
    yield known.terms.account
    decided = trading.cancel(known, reason, at_us=context.at_us)
    return changes({known.terms.account: decided.account, order: decided.subject})


def end_resting(context: DecisionContext, *, order: str) -> Decision:
    """Has the venue asked to cancel a limit order, which may rest there for ever, as if its time were
    over.
    """
    known: Order | None = yield order
    is_resting = known is not None and known.terms.limit_price is not None
    if known is None or not is_resting or not can(known, ExpiryRequested):
        return []
    asked: Sequence[Fact] = yield Past(order, ExpiryRequested)
    return changes({order: trading.expire(known, len(asked), at_us=context.at_us).subject})


# --- helpers --------------------------------------------------------------------------------------


def _market_date(context: DecisionContext, known: Instrument | None) -> date:
    """The business date at the instrument's market."""
    if known is None:
        return context.business_date
    return local_date(known.terms, context.business_time_us)


def _today(context: DecisionContext, known: Instrument | None) -> date:
    """The business date in UTC or at the market, whichever is later."""
    return max(context.business_date, _market_date(context, known))
