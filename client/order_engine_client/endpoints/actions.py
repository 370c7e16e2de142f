"""Operations on corporate actions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import CorporateAction
from order_engine_client.values import Amount, given, key_of, path, query


def corporate_actions(
    *,
    instrument: str | None = None,
    status: Sequence[str] | str | None = None,
    action_type: Sequence[str] | str | None = None,
    page_size: int | None = None,
) -> Listing[CorporateAction]:
    """Corporate actions, of one instrument or of all."""
    words = {
        "instrument": instrument,
        "status": status,
        "action_type": action_type,
        "limit": page_size,
    }
    return Listing(path("corporate-actions"), CorporateAction, query(words))


def corporate_action(action: str) -> Operation[CorporateAction]:
    """One corporate action."""
    return Operation("GET", path("corporate-actions", action), CorporateAction)


def announce_action(
    instrument: str,
    action_type: str,
    ex_date: date,
    *,
    pay_date: date | None = None,
    record_date: date | None = None,
    amount: Amount | None = None,
    units_to: int | None = None,
    units_from: int | None = None,
    fraction_price: Amount | None = None,
    key: str | None = None,
) -> Operation[CorporateAction]:
    """Announces a corporate action. `amount` is per unit, in the instrument's currency."""
    words = {name: value for name, value in locals().items() if name != "key"}
    return Operation(
        "POST", path("corporate-actions"), CorporateAction, body=given(**words), key=key_of(key)
    )


def correct_action(
    action: str,
    action_type: str,
    ex_date: date,
    *,
    pay_date: date | None = None,
    record_date: date | None = None,
    amount: Amount | None = None,
    units_to: int | None = None,
    units_from: int | None = None,
    fraction_price: Amount | None = None,
) -> Operation[CorporateAction]:
    """Replaces the terms of an announced action, before its ex date."""
    words = {name: value for name, value in locals().items() if name != "action"}
    return Operation("PUT", path("corporate-actions", action), CorporateAction, body=given(**words))


def withdraw_action(action: str, reason: str, *, key: str | None = None) -> Operation[CorporateAction]:
    """Withdraws an announced action, before its ex date."""
    where = path("corporate-actions", action, "withdraw")
    return Operation("POST", where, CorporateAction, body=given(reason=reason), key=key_of(key))
