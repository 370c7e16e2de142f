"""Operations on accounts, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from order_engine_client.history import AccountFact, ExplainedAccount
from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import (
    Account,
    Balance,
    Position,
    Transaction,
)
from order_engine_client.values import (
    SAME,
    Same,
    accounts_path,
    given,
    path,
    query,
    state_query,
)


def open_account(
    name: str,
    base_currency: str,
    *,
    reference: str | None = None,
    funding_currencies: Sequence[str] = (),
) -> Operation[Account]:
    """Opens an account. It has no idempotency key: after NoAnswer, look up the `reference`."""
    body = given(
        name=name,
        reference=reference,
        base_currency=base_currency,
        funding_currencies=list(funding_currencies),
    )
    return Operation("POST", path("accounts"), Account, body=body)


def accounts(*, page_size: int | None = None) -> Listing[Account]:
    """All accounts of the tenant."""
    return Listing(path("accounts"), Account, query({"limit": page_size}))


def account(id_or_reference: str) -> Operation[Account]:
    """One account."""
    return Operation("GET", accounts_path(id_or_reference), Account)


def change_account(
    account: str,
    *,
    name: str | None = None,
    reference: str | Same | None = SAME,
    status: str | None = None,
    funding_currencies: Sequence[str] | None = None,
    can_deposit: bool | None = None,
    can_withdraw: bool | None = None,
    can_place_buy_order: bool | None = None,
    can_place_sell_order: bool | None = None,
) -> Operation[Account]:
    """Changes what is given of an account; a `reference` of None takes it away."""
    body = given(
        name=name,
        status=status,
        funding_currencies=funding_currencies,
        can_deposit=can_deposit,
        can_withdraw=can_withdraw,
        can_place_buy_order=can_place_buy_order,
        can_place_sell_order=can_place_sell_order,
    )
    if not isinstance(reference, Same):
        body["reference"] = reference
    return Operation("PATCH", accounts_path(account), Account, body=body)


def account_history(account: str, *, page_size: int | None = None) -> Listing[AccountFact]:
    """Each fact of an account, and the account and its cash after it."""
    return Listing(accounts_path(account, "history"), AccountFact, query({"limit": page_size}))


def account_at(
    account: str, *, version: int | None = None, asof: datetime | None = None
) -> Operation[Account]:
    """The account as it was after its fact of a version, or by a time."""
    return Operation("GET", accounts_path(account, "history"), Account, state_query(version, asof))


def explain_account(
    account: str, *, version: int | None = None, asof: datetime | None = None
) -> Operation[ExplainedAccount]:
    """The account now or then and, for each of its fields, the fact that last set it."""
    words = {"explain": True, "version": version, "asof": asof}
    return Operation("GET", accounts_path(account, "history"), ExplainedAccount, query(words))


def cash_balances(account: str, *, asof: datetime | None = None) -> Operation[list[Balance]]:
    """Cash now or as of a time, a balance for each currency of the account."""
    where = accounts_path(account, "cash-balances")
    return Operation("GET", where, list[Balance], query({"asof": asof}))


def positions(
    account: str, *, open_only: bool = False, page_size: int | None = None
) -> Listing[Position]:
    """Positions of an account."""
    words = {"open_only": open_only, "limit": page_size}
    return Listing(accounts_path(account, "positions"), Position, query(words))


def position(account: str, position: str) -> Operation[Position]:
    """One position."""
    return Operation("GET", accounts_path(account, "positions", position), Position)


def change_position(account: str, position: str, *, automatic_rollover: bool) -> Operation[Position]:
    """Chooses whether a position is reinvested at maturity, until its cut-off."""
    body = {"automatic_rollover": automatic_rollover}
    return Operation("PUT", accounts_path(account, "positions", position), Position, body=body)


def transactions(
    account: str,
    *,
    transaction_types: Sequence[str] | str | None = None,
    page_size: int | None = None,
) -> Listing[Transaction]:
    """The ledger of an account."""
    words = {"transaction_types": transaction_types, "limit": page_size}
    return Listing(accounts_path(account, "transactions"), Transaction, query(words))
