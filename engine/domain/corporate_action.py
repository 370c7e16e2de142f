"""Corporate actions: what an instrument pays or becomes on a day. See docs/instruments.md.

They are facts of the instrument's stream, so every decision that reads the instrument knows them. What
they do to an account is in `servicing`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, Literal, assert_never, get_args

import msgspec
from msgspec.structs import replace

from engine.kernel.fact import Fact

ActionType = Literal["cash_dividend", "stock_split", "reverse_split", "coupon", "maturity", "call"]
ActionSource = Literal["terms", "operator"]
ACTION_TYPES: Final = get_args(ActionType)
SPLITS: Final = frozenset({"stock_split", "reverse_split"})
REDEMPTIONS: Final = frozenset({"maturity", "call"})
INCOME: Final = frozenset({"coupon", "cash_dividend"})


class ActionTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of an action. Stored by position, as facts are: append only.

    A unit has `amount` / `divisor` of the trading currency, exactly; a split makes `units_to` of
    `units_from` units and pays `fraction_price` for each unit that is lost by rounding. `source`:
    `terms` if it follows from the instrument's own.
    """

    action_type: ActionType
    ex_date: date
    record_date: date
    pay_date: date
    source: ActionSource
    amount: Decimal | None = None
    divisor: int = 1
    units_to: int | None = None
    units_from: int | None = None
    fraction_price: Decimal | None = None


# --- facts ---------------------------------------------------------------------------------------


class ScheduleFollowed(Fact, frozen=True):
    """From business date `since` on, the engine pays what the instrument's terms say."""

    since: date
    at_us: int


class ActionAnnounced(Fact, frozen=True):
    """An action was announced, by a client or by the engine."""

    action: str
    terms: ActionTerms
    by: str
    at_us: int


class ActionCorrected(Fact, frozen=True):
    """The terms of an announced action as they are now."""

    action: str
    terms: ActionTerms
    by: str
    at_us: int


class ActionWithdrawn(Fact, frozen=True):
    """An announced action does not take place."""

    action: str
    reason: str
    by: str
    at_us: int


class ActionStarted(Fact, frozen=True):
    """The day has come: accounts have it from now on. A split changes the unit of prices."""

    action: str
    at_us: int


class ActionCompleted(Fact, frozen=True):
    """Every account has had it: `accounts` of them, `amount` in all."""

    action: str
    accounts: int
    amount: Decimal
    at_us: int


ActionFact = (
    ScheduleFollowed
    | ActionAnnounced
    | ActionCorrected
    | ActionWithdrawn
    | ActionStarted
    | ActionCompleted
)

# --- state ---------------------------------------------------------------------------------------


class Action(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open action. `number` counts the instrument's splits, this one included; 0 for others."""

    id: str
    terms: ActionTerms
    created_at_us: int
    modified_at_us: int
    is_started: bool = False
    number: int = 0

    @property
    def starts_on(self) -> date:
        """The day on which accounts have it: the ex date of a split, else the payment date."""
        return self.terms.ex_date if self.terms.action_type in SPLITS else self.terms.pay_date


class Servicing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of an instrument's state that actions change.

    `since`: the engine pays by the terms from this day on, None: not yet. `coupons_through`: the payment
    date of the last coupon announced from the terms; `is_redeemed`: its maturity was announced from the
    terms, or its redemption began. `last_ex_date`: the latest ex date of completed actions of operators.
    `split_at_us`: the start of its last split, 0: it was never split.
    """

    actions: tuple[Action, ...] = ()
    splits: int = 0
    since: date | None = None
    coupons_through: date | None = None
    is_redeemed: bool = False
    last_ex_date: date | None = None
    split_at_us: int = 0

    def action(self, action: str) -> Action | None:
        """An open action by id."""
        return next((known for known in self.actions if known.id == action), None)

    @property
    def redeemed_on(self) -> date | None:
        """The ex date of an operator's redemption, open or complete; None without one."""
        open_ones = [one.terms for one in self.actions if one.terms.action_type in REDEMPTIONS]
        days = [terms.ex_date for terms in open_ones if terms.source == "operator"]
        return min(days, default=self.last_ex_date if self.is_redeemed else None)


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Servicing, fact: ActionFact) -> Servicing:
    """The state after a fact of an action."""
    match fact:
        case ScheduleFollowed():
            return replace(state, since=fact.since)
        case ActionAnnounced():
            announced = Action(fact.action, fact.terms, fact.at_us, fact.at_us)
            return _announced(replace(state, actions=(*state.actions, announced)), fact.terms)
        case ActionCorrected():
            return _changed(state, fact.action, terms=fact.terms, modified_at_us=fact.at_us)
        case ActionStarted():
            return _started(state, fact)
        case ActionWithdrawn():
            return _without(state, fact.action)
        case ActionCompleted():
            return _completed(state, fact)
        case _:
            assert_never(fact)


def _announced(state: Servicing, terms: ActionTerms) -> Servicing:
    if terms.action_type == "coupon" and terms.source == "terms":
        return replace(state, coupons_through=terms.pay_date)
    if terms.action_type == "maturity" and terms.source == "terms":
        return replace(state, is_redeemed=True)
    return state


def _started(state: Servicing, fact: ActionStarted) -> Servicing:
    known = state.action(fact.action)
    number = 0
    if known is not None and known.terms.action_type in SPLITS:
        number = state.splits + 1
        state = replace(state, splits=number, split_at_us=fact.at_us)
    if known is not None and known.terms.action_type in REDEMPTIONS:
        state = replace(state, is_redeemed=True)
    return _changed(state, fact.action, is_started=True, number=number, modified_at_us=fact.at_us)


def _completed(state: Servicing, fact: ActionCompleted) -> Servicing:
    known = state.action(fact.action)
    if known is not None and known.terms.source == "operator":
        latest = max(known.terms.ex_date, state.last_ex_date or known.terms.ex_date)
        state = replace(state, last_ex_date=latest)
    return _without(state, fact.action)


def _without(state: Servicing, action: str) -> Servicing:
    return replace(state, actions=tuple([known for known in state.actions if known.id != action]))


def _changed(state: Servicing, action: str, **words: object) -> Servicing:
    actions = [replace(one, **words) if one.id == action else one for one in state.actions]
    return replace(state, actions=tuple(actions))
