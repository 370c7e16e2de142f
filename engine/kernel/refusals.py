"""Every refusal of a business rule: one table, printed in docs/errors.md and on `/docs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.kernel.errors import Refused
from engine.kernel.limits import PARAM_FAULTS_IN_DETAIL
from engine.kernel.sentences import fill_in


class Refusal(NamedTuple):
    """A code with which a rule refuses.

    `when`     meaning and remedy, a sentence or two; printed in the docs
    `details`  sentences with figures; the first whose words are all known is used

    Its HTTP status stands in `api.http.problems`.
    """

    when: str
    details: tuple[str, ...] = ()


REFUSALS: Final = {
    "invalid_request": Refusal("The request as a whole is invalid; `detail` has the reason."),
    "invalid_param": Refusal("A value has a wrong type, shape or range; `params` names each."),
    "missing_param": Refusal("A required value is missing; `params` names each."),
    "not_found": Refusal("No resource of this id for this client (400 for an id inside a body)."),
    "instrument_not_trading": Refusal(
        "The instrument is not traded, a split is due, or it was not to wait for its market to open.",
        (
            "A {instrument_type} with trading status {trading_status} is not traded here.",
            "The market is closed until {opens}; without `Prefer: no-wait` the order waits for it.",
        ),
    ),
    "instrument_buy_only": Refusal("The instrument can only be bought at present."),
    "instrument_sell_only": Refusal("The instrument can only be sold at present."),
    "currency_not_supported": Refusal(
        "The currency is neither the account's base currency nor one of its funding currencies.",
        ("The account holds {supported}, not {currency}; add it to `funding_currencies` first.",),
    ),
    "insufficient_funds": Refusal(
        "The available cash is too low. Deposit cash or reduce the amount.",
        ("The {purpose} needs {required} {currency}; {available} {currency} is available.",),
    ),
    "insufficient_units": Refusal(
        "The available units are too few. Sell fewer.",
        ("The order needs {required} units; {available} units are available.",),
    ),
    "missing_price": Refusal(
        "The instrument has no price yet. It can be traded once a price is recorded."
    ),
    "price_too_old": Refusal(
        "The last price is older than the operator allows for new orders. Try again after the next.",
        ("The last price is {age_s} s old, too old for new orders; try again after the next price.",),
    ),
    "order_too_large": Refusal(
        "The order's value exceeds the operator's limit for one order.",
        ("The order is worth {amount} {currency}; one order may be worth {limit} {currency}.",),
    ),
    "account_daily_limit": Refusal(
        "The order exceeds the account's limit for a business day.",
        ("The order is worth {amount} {currency}; {available} of the account's {limit} a day is left.",),
    ),
    "tenant_daily_limit": Refusal(
        "The order exceeds the tenant's limit for a business day.",
        ("The order is worth {amount} {currency}; {available} of the tenant's {limit} a day is left.",),
    ),
    "duplicate_order": Refusal(
        "The account has just placed the same order. Wait if it is meant twice.",
        ("The account has just placed the same order, {order}; wait if it is meant twice.",),
    ),
    "instrument_too_close_to_maturity": Refusal(
        "The order would settle on or after the instrument's maturity.",
        ("The order would settle on {settlement_date}; the instrument matures on {maturity_date}.",),
    ),
    "account_overdrawn": Refusal(
        "The account is overdrawn. Deposits, sells, cancelled buys bring cash; buys and cancelled sells"
        " units.",
        ("The account lacks {lacking}; until it is back, it cannot withdraw, or buy anything else.",),
    ),
    "trading_halted": Refusal(
        "An operator has halted trading. Orders are accepted again when trading resumes.",
        ("Trading of the whole {halted} is halted since {since}; try again when it resumes.",),
    ),
    "buy_order_forbidden": Refusal(
        "Buys need an active account whose `can_place_buy_order` is true.",
        ("The account is {status}, `can_place_buy_order` {can_place_buy_order}: no buys.",),
    ),
    "sell_order_forbidden": Refusal(
        "Sells need an account that is not closed or suspended, and `can_place_sell_order`.",
        ("The account is {status}, `can_place_sell_order` {can_place_sell_order}: no sells.",),
    ),
    "deposit_forbidden": Refusal(
        "Status or `can_deposit` of the account forbids it, it has ended, or its creator completes it.",
        (
            "The account is {status}, `can_deposit` {can_deposit}: no deposits.",
            "The deposit has {status}, which cannot be changed.",
        ),
    ),
    "withdrawal_forbidden": Refusal(
        "Status or `can_withdraw` of the account forbids it, it has ended, or its creator completes it.",
        (
            "The account is {status}, `can_withdraw` {can_withdraw}: no withdrawals.",
            "The withdrawal has {status}, which cannot be changed.",
        ),
    ),
    "idempotency_key_too_long": Refusal(
        "`Idempotency-Key` is 1 to 255 visible ASCII characters.",
        (
            "`Idempotency-Key` has {characters} characters; it is 1 to {characters_max} long.",
            "Character {place} of `Idempotency-Key` is not visible ASCII: use no blanks, no accents.",
        ),
    ),
    "idempotency_key_conflict": Refusal(
        "The `Idempotency-Key` was used with another request. Use a new key for a new request."
    ),
    "idempotency_key_expired": Refusal(
        "The `Idempotency-Key` is over 24 hours old. Check its effect, and use a new key.",
    ),
    "order_cancel_forbidden": Refusal(
        "The order can no longer be cancelled, or is a rollover whose old position has not matured.",
        (
            "The order is {status} and can no longer be cancelled.",
            "The order reinvests {position}, and cannot be cancelled before that has matured.",
        ),
    ),
    "rollover_locked": Refusal(
        "`automatic_rollover` is locked 4 days before maturity, or on the day of the rollover.",
        ("`automatic_rollover` is locked since {cutoff}, shortly before the maturity on {maturity}.",),
    ),
    "same_client": Refusal("Confirmation needs another client than the one that requested it."),
    "report_not_bookable": Refusal(
        "Only reports parked as `late`, `too_much`, `worse_than_limit`, `too_dear`, `unknown_trade` or"
        " `not_yet_bookable` can be booked. Reject this one.",
        ("The report cannot be booked: {fault}. Reject it, or leave it open.",),
    ),
    "quote_invalid": Refusal(
        "No such quote of the account, expired, or given for another order. Ask for a new one.",
        (
            "The quote expired at {expired_at}; ask for a new one.",
            "The quote was given for another order, which differs in {differs}; ask for a new one.",
            "Terms have changed since the quote was given ({changed}); ask for a new one.",
        ),
    ),
    "quote_already_consumed": Refusal(
        "An order was placed by this quote; a quote serves one order. Ask for a new one.",
        ("The order {order} was placed by this quote; ask for a new one.",),
    ),
    "quote_price_moved": Refusal(
        "The price has moved too far since the quote, up or down. Ask for a new one.",
        ("A unit is {price} now and was {quoted} in the quote, past the tolerance of {tolerance}.",),
    ),
    "price_changed": Refusal(
        "The waiting price has changed. Read it again before you confirm.",
        ("The waiting price is now {bid} to {ask}; read it again before you confirm.",),
    ),
    "duplicate_webhook": Refusal(
        "Another webhook of the tenant has this URL. Change that one.",
        ("The webhook {webhook} has this URL; change that one.",),
    ),
    "webhook_inactive": Refusal(
        "The webhook is not active. Set `is_active` first.",
        ("The webhook is {status}; set `is_active` to send to it.",),
    ),
    "too_many_webhooks": Refusal(
        "The tenant has the maximum number of webhooks. Delete one first.",
        ("The tenant has {limit} webhooks, the maximum; delete one first.",),
    ),
}

PARAM_FAULTS: Final = {
    "missing_param": "is needed",
    "unexpected_param": "does not go with the rest of the request",
    "invalid_decimal": "must be a plain decimal of the allowed scale",
    "not_positive": "must be greater than zero",
    "not_supported": "is not supported by the instrument or the account",
    "off_increment": "must be a multiple of the increment",
    "below_minimum_amount": "is below the minimum, or leaves nothing after the fee",
    "below_minimum_quantity": "is below the minimum quantity, or buys less than one increment",
    "quantity_too_large": "makes more units or money than can be booked",
    "invalid_value": "must be one of the allowed values",
    "already_taken": "is taken already",
    "not_https": "must begin with https://",
    "not_public": "must name a public host, not an address or a name inside a network",
    "not_changeable": "cannot be changed any more",
}
"""Codes of single values in `params`, phrased to follow the value's name: "`amount` is needed."."""

_FIGURES: Final = {
    "invalid_decimal": ("must be a plain decimal with at most {places} decimals",),
    "off_increment": ("must be a multiple of {increment}",),
    "below_minimum_amount": (
        "is worth {value} {currency}; an order must be worth at least {minimum} {currency}",
        "must be at least {minimum}",
        "leaves nothing to invest after the fee of {fees}",
    ),
    "quantity_too_large": (
        "makes {quantity} units worth {value} {currency}; both may have {digits_max} digits at most",
    ),
    "below_minimum_quantity": ("makes {quantity} units; the minimum is {minimum}",),
}
"""The same with figures."""


def refused(code: str, detail: str = "", **context: object) -> Refused:
    """A refusal by a code of REFUSALS; `detail` defaults to the code's sentence."""
    known = REFUSALS[code]
    return Refused(code, detail or fill_in((*known.details, known.when), context), **context)


def fault(path: str, code: str, detail: str = "", **context: object) -> dict[str, str]:
    """One entry of `params`: the field's name, dotted where it is nested, and its fault."""
    templates = (*_FIGURES.get(code, ()), PARAM_FAULTS[code])
    return {"path": path, "detail": detail or fill_in(templates, context), "code": code}


def invalid(path: str, code: str, detail: str = "", **context: object) -> Refused:
    """A refusal for one bad value: `missing_param` if that is its code, else `invalid_param`."""
    kind = code if code == "missing_param" else "invalid_param"
    param = fault(path, code, detail, **context)
    return refused(kind, sentence_of(path, param["detail"]), params=[param], **context)


def invalid_values(faults: Sequence[dict[str, str]]) -> Refused:
    """A refusal for several bad values: `missing_param` if all are missing, else `invalid_param`."""
    is_missing = all(one["code"] == "missing_param" for one in faults)
    told = [sentence_of(leaf_of(one["path"]), one["detail"]) for one in faults[:PARAM_FAULTS_IN_DETAIL]]
    if len(faults) > PARAM_FAULTS_IN_DETAIL:
        told.append(f"And {len(faults) - PARAM_FAULTS_IN_DETAIL} more.")
    code = "missing_param" if is_missing else "invalid_param"
    return refused(code, " ".join(told), params=list(faults))


def sentence_of(path: str, detail: str) -> str:
    """The fault of a value as a sentence: "`cash_amount` must be greater than zero."."""
    return detail if detail.endswith(".") else f"{_named(path)} {detail}."


def _named(path: str) -> str:
    """A path counted from 1, for people: `status.0` is "Entry 1 of `status`", `3.bid` "`bid` of entry
    4".
    """
    before, dot, last = path.rpartition(".")
    first, _, behind = path.partition(".")
    if dot and last.isdecimal():
        return f"Entry {int(last) + 1} of {_named(before)}"
    if first.isdecimal():
        return f"{_named(behind)} of entry {int(first) + 1}" if behind else f"Entry {int(first) + 1}"
    return f"`{path}`"


def leaf_of(path: str) -> str:
    """The name of a value without its part of the request (`body.`, `query.`, `path.`)."""
    return path.removeprefix("body.").removeprefix("query.").removeprefix("path.")
