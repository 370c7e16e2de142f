"""Corporate actions that an operator announces, corrects and withdraws. See docs/instruments.md.

What the terms of an instrument bring by themselves is announced by `action_steps`.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec.structs import replace

from engine.domain import action_steps, rollover
from engine.domain import instrument as instruments
from engine.domain.corporate_action import (
    ACTION_TYPES,
    REDEMPTIONS,
    SPLITS,
    Action,
    ActionAnnounced,
    ActionCorrected,
    ActionTerms,
    ActionType,
    ActionWithdrawn,
)
from engine.domain.instrument import Instrument, Terms
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact
from engine.kernel.limits import (
    ACTION_DAYS_MAX,
    ACTIONS_OF_TERMS_MAX,
    ACTIONS_OPEN_MAX,
    BOND_YEARS,
    SPLIT_RATIO_MAX,
)
from engine.kernel.reasons import check_reason
from engine.kernel.refusals import fault, invalid, refused, sentence_of
from engine.kernel.values import PRICE_PLACES, at_scale

FUNDS_AND_SHARES: Final = frozenset({"stock", "etf", "mutual_fund", "money_market_fund", "amc"})
FITTING: Final[dict[ActionType, frozenset[str]]] = {
    "cash_dividend": FUNDS_AND_SHARES,
    "stock_split": FUNDS_AND_SHARES,
    "reverse_split": FUNDS_AND_SHARES,
    "coupon": frozenset({"bond", "amc"}),
    "maturity": frozenset({"bill", "bond"}),
    "call": frozenset({"bill", "bond", "amc"}),
}
"""Action -> types of instruments that have it."""
NEEDED: Final[dict[ActionType, frozenset[str]]] = {
    "cash_dividend": frozenset({"amount"}),
    "stock_split": frozenset({"units_to", "units_from"}),
    "reverse_split": frozenset({"units_to", "units_from"}),
    "coupon": frozenset({"amount"}),
    "maturity": frozenset(),
    "call": frozenset({"amount"}),
}
"""Action -> values that it needs."""
OPTIONAL: Final[dict[ActionType, frozenset[str]]] = {
    "stock_split": frozenset({"fraction_price"}),
    "reverse_split": frozenset({"fraction_price"}),
    "maturity": frozenset({"amount"}),
}
"""Action -> values that it may have. Without a fraction there is no price for it; a maturity pays the
par value unless it says otherwise."""
VALUES: Final = ("amount", "units_to", "units_from", "fraction_price")
OPERATORS_OPEN_MAX: Final = ACTIONS_OPEN_MAX - ACTIONS_OF_TERMS_MAX


class ActionRequest(NamedTuple):
    """An action as an operator states it.

    `amount` is in the trading currency per unit, `fraction_price` per lost unit. Without a `pay_date` it
    is paid on the ex date; without a `record_date` that is the day before.
    """

    action_type: ActionType
    ex_date: date
    pay_date: date | None = None
    record_date: date | None = None
    amount: Decimal | None = None
    units_to: int | None = None
    units_from: int | None = None
    fraction_price: Decimal | None = None


def announce(
    state: Instrument | None, action: str, request: ActionRequest, *, by: str, today: date, at_us: int
) -> list[Fact]:
    """Announces an action under the new id `action`.

    Raises Refused `not_found`, `invalid_param` or `missing_param` with every faulty value, or
    `invalid_request` if the instrument cannot have it or has too many.
    """
    known = _listed(state)
    if known.servicing.action(action) is not None:
        return []
    terms = _checked(known, request, None, today)
    count = sum(one.terms.source == "operator" for one in known.servicing.actions)
    if count >= OPERATORS_OPEN_MAX:
        raise refused(
            "invalid_request",
            f"The instrument has {count} open corporate actions, the maximum; wait until one is complete"
            " or withdraw one.",
        )
    return [ActionAnnounced(action, terms, by, at_us)]


def correct(
    state: Instrument | None, action: str, request: ActionRequest, *, by: str, today: date, at_us: int
) -> list[Fact]:
    """Replaces the terms of an announced action before its ex date; no facts if they are the same.

    Raises Refused as `announce` does, and `not_changeable` for its type or from the ex date on.
    """
    known = _listed(state)
    open_action = _changeable(known, action, today)
    if request.action_type != open_action.terms.action_type:
        raise invalid(
            "action_type", "not_changeable", "cannot be changed: withdraw it, announce another"
        )
    terms = _checked(known, request, open_action, today)
    return [ActionCorrected(action, terms, by, at_us)] if terms != open_action.terms else []


def withdraw(
    state: Instrument | None, action: str, reason: str, *, by: str, today: date, at_us: int
) -> list[Fact]:
    """Withdraws an announced action before its ex date.

    Raises Refused `not_found`, and `invalid_param` for a bad reason or from the ex date on.
    """
    check_reason(reason)
    _changeable(_listed(state), action, today)
    return [ActionWithdrawn(action, reason, by, at_us)]


def _listed(state: Instrument | None) -> Instrument:
    if state is None:
        raise refused("not_found", "No such instrument.", path="instrument")
    return state


def _changeable(state: Instrument, action: str, today: date) -> Action:
    known = state.servicing.action(action)
    if known is None:
        raise refused("not_found", "No open corporate action of this id.", path="action")
    if known.terms.source == "terms":
        raise invalid("source", "not_changeable", "is `terms`: change the instrument instead")
    if known.is_started or known.terms.ex_date <= today:
        detail = f"cannot be changed any more: the ex date, {known.terms.ex_date}, has come"
        raise invalid("ex_date", "not_changeable", detail)
    return known


# --- values ---------------------------------------------------------------------------------------


def _checked(
    state: Instrument, request: ActionRequest, former: Action | None, today: date
) -> ActionTerms:
    """The terms of a sound request. `former`: the action that it corrects."""
    if request.action_type not in ACTION_TYPES:
        raise invalid("action_type", "invalid_value", f"must be one of {', '.join(ACTION_TYPES)}")
    request = request._replace(
        pay_date=request.pay_date or request.ex_date,
        record_date=request.record_date or request.ex_date - timedelta(days=1),
    )
    faults = _value_faults(request) + _date_faults(request, today) + _clashes(state, request, former)
    if faults:
        codes = {entry["code"] for entry in faults}
        words = " ".join(sentence_of(entry["path"], entry["detail"]) for entry in faults)
        raise refused(
            "missing_param" if codes == {"missing_param"} else "invalid_param", words, params=faults
        )
    _check_fits(state, request, former, today)
    return _terms(state.terms, request)


def _terms(terms: Terms, request: ActionRequest) -> ActionTerms:
    assert request.pay_date is not None
    assert request.record_date is not None
    pays_face = request.action_type == "maturity" and request.amount is None
    is_split = request.action_type in SPLITS
    return ActionTerms(
        request.action_type,
        request.ex_date,
        request.record_date,
        request.pay_date if is_split else instruments.pays_on(terms, request.pay_date),
        "operator",
        amount=terms.par_value if pays_face else request.amount,
        units_to=request.units_to,
        units_from=request.units_from,
        fraction_price=request.fraction_price,
    )


def _check_fits(state: Instrument, request: ActionRequest, former: Action | None, today: date) -> None:
    """Raises Refused for an action that such an instrument does not have, or has no more."""
    kind, terms, servicing = request.action_type, state.terms, state.servicing
    matures = terms.maturity_date
    if terms.instrument_type not in FITTING[kind] or (kind == "maturity" and matures is None):
        detail = f"does not fit: this {terms.instrument_type} has no {kind}"
        raise invalid("action_type", "not_supported", detail)
    for one in servicing.actions:
        if kind in REDEMPTIONS and one.terms.action_type in REDEMPTIONS and one is not former:
            detail = f"It is repaid on {one.starts_on} already, by {one.id}."
            raise refused("invalid_request", detail)
    if servicing.is_redeemed and kind not in REDEMPTIONS:
        raise refused("invalid_request", "The instrument has been repaid.")
    if kind == "coupon" and action_steps.brings_coupon(state, request.ex_date):
        raise refused("invalid_request", "The engine pays the coupon of that ex date by the terms.")
    if matures is not None and not (servicing.is_redeemed and kind == "call"):
        _check_maturity(state, kind, request.ex_date, matures, today)
    _check_interest(state, request, former)


def _check_interest(state: Instrument, request: ActionRequest, former: Action | None) -> None:
    """Raises Refused for a call between a coupon's ex date and its payment.

    An issuer pays a coupon that has gone ex in full, to its holders of that day; a call then would repay
    the interest of the same days once more, to the holders of now.
    """
    others = [one.terms for one in state.servicing.actions if one is not former]
    pay_date = request.pay_date or request.ex_date
    if request.action_type == "call":
        coupons = [one for one in others if one.action_type == "coupon" and one.source == "operator"]
        paid = [(one.ex_date, one.pay_date) for one in coupons]
        across = action_steps.coupon_across(state, request.ex_date)
        for ex, due in [*paid, *([across] if across else [])]:
            if ex <= request.ex_date < due:
                detail = (
                    f"must be before {ex} or from {due} on: between the two a coupon that has gone ex is"
                    " still to be paid, and its interest would be paid twice"
                )
                raise invalid("ex_date", "invalid_value", detail)
    if request.action_type == "coupon":
        for one in others:
            if one.action_type == "call" and request.ex_date <= one.ex_date < pay_date:
                detail = (
                    f"must not be after {one.ex_date} for a coupon that goes ex by then: the instrument"
                    " is called on that day, and interest would be paid twice"
                )
                raise invalid("pay_date", "invalid_value", detail)


def check_terms(state: Instrument | None, terms: Terms, today: date) -> None:
    """Raises Refused `invalid_request` for terms that an operator's action, open or just complete, does
    not go with: such as a schedule with a coupon of the same ex date.
    """
    if state is None or _kind_of(state.terms) == _kind_of(terms):
        return
    after = replace(state, terms=terms)
    for one in state.servicing.actions:
        if one.terms.source == "operator":
            request = ActionRequest(one.terms.action_type, one.terms.ex_date, one.terms.pay_date)
            try:
                _check_fits(after, request, one, today)
            except Refused as error:
                what = one.terms.action_type.replace("_", " ")
                raise refused(
                    "invalid_request",
                    f"The {what} {one.id} of {one.terms.ex_date} does not go with these terms:"
                    f" {error.detail} Withdraw it first, or wait until it is complete.",
                ) from None
    done = state.servicing.last_ex_date
    is_new = done is not None and not action_steps.brings_coupon(state, done)
    if done is not None and is_new and action_steps.brings_coupon(after, done):
        detail = f"These terms bring a coupon with the ex date {done}, of which an action is complete."
        raise refused("invalid_request", detail)


def _kind_of(terms: Terms) -> tuple[object, ...]:
    return terms.instrument_type, terms.maturity_date, terms.bond


def _check_maturity(
    state: Instrument, kind: ActionType, ex_date: date, matures: date, today: date
) -> None:
    """Raises Refused for an ex date on the wrong side of the maturity, or of a bill's rollover."""
    if kind != "maturity" and ex_date >= matures:
        detail = f"must be before the instrument matures, on {matures}"
        raise invalid("ex_date", "invalid_value", detail)
    rolled = rollover.rolls_on(state.terms) if state.terms.instrument_type == "bill" else None
    if kind == "call" and rolled is not None and ex_date >= rolled:
        detail = f"must be before {rolled}, the day on which positions are rolled over at face value"
        raise invalid("ex_date", "invalid_value", detail)
    if kind == "maturity" and ex_date < matures:
        detail = f"must not be before the instrument matures, on {matures}; an earlier one is a `call`"
        raise invalid("ex_date", "invalid_value", detail)
    if kind == "maturity" and action_steps.brings_maturity(state, today):
        raise refused("invalid_request", f"The engine pays it by the terms, on {matures}.")


def _value_faults(request: ActionRequest) -> list[dict[str, str]]:
    """Missing, unexpected and impossible amounts and ratios."""
    kind, faults = request.action_type, []
    needed, optional = NEEDED[kind], OPTIONAL.get(kind, frozenset())
    for name in VALUES:
        value = getattr(request, name)
        if value is None:
            faults += [fault(name, "missing_param")] if name in needed else []
        elif name not in needed | optional:
            faults.append(fault(name, "unexpected_param"))
        elif value <= 0:
            faults.append(fault(name, "not_positive"))
        elif isinstance(value, int) and value > SPLIT_RATIO_MAX:
            faults.append(fault(name, "invalid_value", f"must be at most {SPLIT_RATIO_MAX}"))
        elif isinstance(value, Decimal) and at_scale(value, PRICE_PLACES) is None:
            faults.append(fault(name, "invalid_decimal", places=PRICE_PLACES))
    return faults or _ratio_faults(request)


def _ratio_faults(request: ActionRequest) -> list[dict[str, str]]:
    to, from_ = request.units_to, request.units_from
    if to is None or from_ is None:
        return []
    faults = []
    if request.action_type == "stock_split" and to <= from_:
        faults.append(
            fault("units_to", "invalid_value", "must be above `units_from`: a split makes more units")
        )
    if request.action_type == "reverse_split" and to >= from_:
        faults.append(
            fault(
                "units_to",
                "invalid_value",
                "must be below `units_from`: a reverse split makes fewer units",
            )
        )
    if from_ > 1 and request.fraction_price is None:
        detail = "is needed: a fraction of a unit may be lost, and is paid at this price"
        faults.append(fault("fraction_price", "missing_param", detail))
    return faults


def _date_faults(request: ActionRequest, today: date) -> list[dict[str, str]]:
    ex, pay, record = request.ex_date, request.pay_date, request.record_date
    assert pay is not None
    assert record is not None
    latest, faults = timedelta(days=ACTION_DAYS_MAX), []
    if ex.year not in BOND_YEARS:
        faults.append(fault("ex_date", "invalid_value", f"must be before {BOND_YEARS.stop}"))
    elif ex < today:
        faults.append(fault("ex_date", "invalid_value", f"must not be before today, {today}"))
    if request.action_type in SPLITS and pay != ex:
        faults.append(
            fault("pay_date", "invalid_value", "must be the ex date: that is when units are split")
        )
    elif not ex <= pay <= ex + latest:
        detail = f"must be the ex date or up to {ACTION_DAYS_MAX} days after it"
        faults.append(fault("pay_date", "invalid_value", detail))
    if not ex - latest <= record <= pay:
        detail = f"must be from {ACTION_DAYS_MAX} days before the ex date to the payment date"
        faults.append(fault("record_date", "invalid_value", detail))
    return faults


def _clashes(state: Instrument, request: ActionRequest, former: Action | None) -> list[dict[str, str]]:
    """Another operator's action of the same ex date: most likely the same one, entered twice."""
    for one in state.servicing.actions:
        same = one.terms.ex_date == request.ex_date and one.terms.source == "operator"
        if same and one is not former:
            detail = f"is that of {one.id} already: correct or withdraw that"
            return [fault("ex_date", "already_taken", detail)]
    if state.servicing.last_ex_date == request.ex_date:
        return [fault("ex_date", "already_taken", "is that of an action which is complete already")]
    return []
