"""Deposits and withdrawals across two streams: the account's facts first, then the payment's."""

from __future__ import annotations

from decimal import Decimal

from engine.domain import account as accounts
from engine.domain import checks, holdings
from engine.domain import payment as payments
from engine.domain.account import Account
from engine.domain.decided import Decided
from engine.domain.payment import Payment, PaymentKind
from engine.kernel.fact import Fact
from engine.kernel.refusals import invalid, refused
from engine.kernel.values import CURRENCIES, at_scale


def create(
    account: Account | None,
    payment: Payment | None,
    kind: PaymentKind,
    *,
    payment_id: str,
    currency: str,
    amount: Decimal,
    at_us: int,
    request: bytes | None = None,
) -> Decided:
    """Announces a deposit, or requests a withdrawal and reserves its cash, once.

    Raises Refused: `not_found`, `deposit_forbidden`, `withdrawal_forbidden`, `currency_not_supported`,
    `invalid_param`, `account_overdrawn`, `insufficient_funds`.
    """
    if payment is not None:
        return Decided([], [], [])
    if account is None:
        raise refused("not_found", "No such account.", path="account")
    accounts.check(account, kind, currency)
    scaled = at_scale(amount, CURRENCIES[currency])
    if scaled is None:
        raise invalid("amount", "invalid_decimal", places=CURRENCIES[currency])
    if not scaled:
        raise invalid("amount", "not_positive")
    reserved: list[Fact] = []
    if kind == "withdrawal":
        checks.check_overdrawn(account.lacking)
        reserved = holdings.reserve_withdrawal(
            account.holdings, payment_id, currency, scaled, at_us=at_us
        )
    created = payments.create(kind, payment_id, account.id, currency, scaled, request, at_us)
    return Decided(reserved, [created], [])


def complete(account: Account, payment: Payment | None, *, at_us: int) -> Decided:
    """Books the money. Raises Refused `not_found`, or `..._forbidden` if it failed before."""
    known = _found(payment)
    ended = payments.complete(known, at_us=at_us)
    if ended and known.kind == "deposit" and account.status == "closed":
        raise refused(
            "deposit_forbidden", "The account is closed and takes no deposits.", status=account.status
        )
    return Decided(holdings.pay(known, at_us=at_us) if ended else [], ended, [])


def fail(payment: Payment | None, *, at_us: int) -> Decided:
    """Releases a withdrawal's reservation. Raises Refused as `complete` does."""
    known = _found(payment)
    ended = payments.fail(known, at_us=at_us)
    return Decided(holdings.release_withdrawal(known, at_us=at_us) if ended else [], ended, [])


def _found(payment: Payment | None) -> Payment:
    if payment is None:
        raise refused("not_found", "No such payment.", path="payment")
    return payment
