"""Operations on deposits and withdrawals."""

from __future__ import annotations

from collections.abc import Sequence

from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import (
    Deposit,
    Withdrawal,
)
from order_engine_client.values import (
    Amount,
    accounts_path,
    given,
    key_of,
    query,
)


def create_deposit(
    account: str,
    amount: Amount,
    currency: str,
    *,
    payment_reference: str | None = None,
    key: str | None = None,
) -> Operation[Deposit]:
    """Announces money that is to come."""
    body = given(amount=amount, currency=currency, payment_reference=payment_reference)
    return Operation("POST", accounts_path(account, "deposits"), Deposit, body=body, key=key_of(key))


def deposits(
    account: str,
    *,
    status: Sequence[str] | str | None = None,
    page_size: int | None = None,
) -> Listing[Deposit]:
    """Deposits of an account."""
    words = {"status": status, "limit": page_size}
    return Listing(accounts_path(account, "deposits"), Deposit, query(words))


def deposit(account: str, deposit: str) -> Operation[Deposit]:
    """One deposit."""
    return Operation("GET", accounts_path(account, "deposits", deposit), Deposit)


def complete_deposit(account: str, deposit: str) -> Operation[Deposit]:
    """The money has come."""
    return Operation("POST", accounts_path(account, "deposits", deposit, "complete"), Deposit)


def fail_deposit(account: str, deposit: str) -> Operation[Deposit]:
    """The money will not come."""
    return Operation("POST", accounts_path(account, "deposits", deposit, "fail"), Deposit)


def create_withdrawal(
    account: str, amount: Amount, currency: str, *, key: str | None = None
) -> Operation[Withdrawal]:
    """Asks for money to be paid out; it is reserved."""
    body = given(amount=amount, currency=currency)
    return Operation(
        "POST", accounts_path(account, "withdrawals"), Withdrawal, body=body, key=key_of(key)
    )


def withdrawals(
    account: str,
    *,
    status: Sequence[str] | str | None = None,
    page_size: int | None = None,
) -> Listing[Withdrawal]:
    """Withdrawals of an account."""
    words = {"status": status, "limit": page_size}
    return Listing(accounts_path(account, "withdrawals"), Withdrawal, query(words))


def withdrawal(account: str, withdrawal: str) -> Operation[Withdrawal]:
    """One withdrawal."""
    return Operation("GET", accounts_path(account, "withdrawals", withdrawal), Withdrawal)


def complete_withdrawal(account: str, withdrawal: str) -> Operation[Withdrawal]:
    """The money has left."""
    return Operation("POST", accounts_path(account, "withdrawals", withdrawal, "complete"), Withdrawal)


def fail_withdrawal(account: str, withdrawal: str) -> Operation[Withdrawal]:
    """The money stays."""
    return Operation("POST", accounts_path(account, "withdrawals", withdrawal, "fail"), Withdrawal)
