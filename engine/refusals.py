"""Every reason for which a rule says no: one table, printed in docs/money.md."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.errors import Refused


class Refusal(NamedTuple):
    """`status` is the HTTP status that a code is answered with, `when` its reason for people."""

    status: int
    when: str


REFUSALS: Final = {
    "invalid_request": Refusal(400, "the request as a whole cannot be done like this"),
    "invalid_param": Refusal(400, "a value has a wrong type, shape or range; `params` names it"),
    "missing_param": Refusal(400, "a value that is needed was not given; `params` names it"),
    "not_found": Refusal(404, "no such thing for this client (400 for an id inside a body)"),
    "instrument_not_trading": Refusal(400, "the instrument is listed and not traded"),
    "instrument_buy_only": Refusal(400, "a sell of an instrument that can only be bought"),
    "instrument_sell_only": Refusal(400, "a buy of an instrument that can only be sold"),
    "currency_not_supported": Refusal(400, "not a base or funding currency of the account"),
    "insufficient_funds": Refusal(400, "more cash than `available`"),
    "insufficient_units": Refusal(400, "more units than `available`"),
    "missing_price": Refusal(400, "the instrument never had a price"),
    "price_too_old": Refusal(400, "the last price is older than the operator's bound for new orders"),
    "order_too_large": Refusal(400, "worth more than the operator's `limit` for one order"),
    "account_daily_limit": Refusal(400, "more than is `available` of the account's `limit` for the day"),
    "tenant_daily_limit": Refusal(400, "more than is `available` of the tenant's `limit` for the day"),
    "duplicate_order": Refusal(409, "the account has just placed the same; `order` is that one"),
    "instrument_too_close_to_maturity": Refusal(400, "it would settle on or after maturity"),
    "trading_halted": Refusal(403, "an operator has halted trading; `halted` says of whom"),
    "buy_order_forbidden": Refusal(403, "the account's flag or status forbids buys"),
    "sell_order_forbidden": Refusal(403, "the account's flag or status forbids sells"),
    "deposit_forbidden": Refusal(
        403, "the account's flag or status forbids it, it ended otherwise, or its creator completes it"
    ),
    "withdrawal_forbidden": Refusal(
        403, "the account's flag or status forbids it, it ended otherwise, or its creator completes it"
    ),
    "idempotency_key_too_long": Refusal(400, "over 255 characters, or not visible ASCII"),
    "idempotency_key_conflict": Refusal(409, "the key was used with another request"),
    "idempotency_key_expired": Refusal(409, "the key was used more than 24 hours ago"),
    "order_cancel_forbidden": Refusal(409, "the order can no longer be cancelled"),
    "duplicate_webhook": Refusal(
        409, "another webhook of the tenant has this URL; `webhook` is that one"
    ),
    "webhook_inactive": Refusal(409, "nothing is sent to the webhook until it is made active"),
    "too_many_webhooks": Refusal(409, "the tenant has as many webhooks as it can have, `limit`"),
}

PARAM_FAULTS: Final = {
    "missing_param": "needed here",
    "unexpected_param": "does not go with the rest of the request",
    "invalid_decimal": "not a plain decimal of the allowed scale",
    "not_positive": "must be greater than zero",
    "not_supported": "the instrument or the account does not have this",
    "off_increment": "not a multiple of the increment",
    "below_minimum_amount": "nothing is left after the fee, or under the instrument's minimum",
    "below_minimum_quantity": "buys less than one increment, or under the instrument's minimum",
    "invalid_value": "not one of the allowed values",
    "already_taken": "another one has it",
    "not_https": "begins with https://",
    "not_public": "a host's public name is needed, not an address or a name inside a network",
    "not_changeable": "fixed since it was first set, or by what is held",
}
"""Codes of single values inside `params`."""


def refused(code: str, detail: str = "", **context: object) -> Refused:
    """A refusal by a code of REFUSALS; without a `detail` of its own it gives the code's."""
    return Refused(code, detail or REFUSALS[code].when, **context)


def fault(path: str, code: str, detail: str = "") -> dict[str, str]:
    """One entry of `params`. `path` is the field's name, dotted where it is nested."""
    return {"path": path, "detail": detail or PARAM_FAULTS[code], "code": code}


def invalid(path: str, code: str, detail: str = "", **context: object) -> Refused:
    """A refusal for one bad value: `missing_param` if that is its code, else `invalid_param`."""
    kind = code if code == "missing_param" else "invalid_param"
    param = fault(path, code, detail)
    return refused(kind, f"{path}: {param['detail']}", params=[param], **context)
