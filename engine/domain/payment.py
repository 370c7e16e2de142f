"""Deposits and withdrawals, a stream each; the account's facts move the money."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, assert_never

import msgspec
from msgspec.structs import replace

from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused

PaymentKind = Literal["deposit", "withdrawal"]

# --- facts ---------------------------------------------------------------------------------------


class DepositOpened(Fact, frozen=True):
    """A deposit was announced; it is booked when the money arrives.

    `request` is a keyed digest of the request, compared when an idempotency key is repeated.
    """

    deposit: str
    account: str
    currency: str
    amount: Decimal
    request: bytes | None
    at_us: int


class DepositCompleted(Fact, frozen=True):
    """The money arrived."""

    at_us: int


class DepositFailed(Fact, frozen=True):
    """The money will not arrive."""

    at_us: int


class WithdrawalOpened(Fact, frozen=True):
    """A withdrawal was requested and its amount reserved. `request` as in DepositOpened."""

    withdrawal: str
    account: str
    currency: str
    amount: Decimal
    request: bytes | None
    at_us: int


class WithdrawalCompleted(Fact, frozen=True):
    """The money was paid out."""

    at_us: int


class WithdrawalFailed(Fact, frozen=True):
    """The money stays; its reservation is released."""

    at_us: int


PaymentFact = (
    DepositOpened
    | DepositCompleted
    | DepositFailed
    | WithdrawalOpened
    | WithdrawalCompleted
    | WithdrawalFailed
)

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class Payment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A deposit or a withdrawal; `amount` above 0 at the scale of `currency`."""

    id: str
    kind: PaymentKind
    account: str
    currency: str
    amount: Decimal
    status: str
    completed_at_us: int | None
    created_at_us: int
    modified_at_us: int


NEXT: Final[dict[tuple[str | None, type[PaymentFact]], str]] = {
    (None, DepositOpened): "open",
    (None, WithdrawalOpened): "open",
    ("open", DepositCompleted): "completed",
    ("open", DepositFailed): "failed",
    ("open", WithdrawalCompleted): "completed",
    ("open", WithdrawalFailed): "failed",
}
_OPENED: Final[dict[PaymentKind, type[DepositOpened | WithdrawalOpened]]] = {
    "deposit": DepositOpened,
    "withdrawal": WithdrawalOpened,
}
_ENDED: Final[dict[tuple[PaymentKind, str], type[Fact]]] = {
    ("deposit", "completed"): DepositCompleted,
    ("deposit", "failed"): DepositFailed,
    ("withdrawal", "completed"): WithdrawalCompleted,
    ("withdrawal", "failed"): WithdrawalFailed,
}

# --- decisions -----------------------------------------------------------------------------------


def create(  # noqa: PLR0917  (the fields of the fact, in its order)
    kind: PaymentKind,
    payment: str,
    account: str,
    currency: str,
    amount: Decimal,
    request: bytes | None,
    at_us: int,
) -> Fact:
    """Creates a payment. `account` checks whether it is allowed."""
    return _OPENED[kind](payment, account, currency, amount, request, at_us)


def complete(state: Payment, *, at_us: int) -> list[Fact]:
    """The money was transferred."""
    return _end(state, "completed", at_us)


def fail(state: Payment, *, at_us: int) -> list[Fact]:
    """The money will not be transferred."""
    return _end(state, "failed", at_us)


def _end(state: Payment, status: str, at_us: int) -> list[Fact]:
    """Ends a payment once; refused if it ended the other way."""
    if state.status == status:
        return []
    kind = _ENDED[state.kind, status]
    if (state.status, kind) not in NEXT:
        raise refused(f"{state.kind}_forbidden", status=state.status)
    return [kind(at_us)]


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Payment | None, fact: PaymentFact) -> Payment:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    status = NEXT.get((state.status if state else None, type(fact)))
    if status is None:
        raise UnknownFact(f"a payment has no {type(fact).__name__} here")
    match fact:
        case DepositOpened(deposit, account, currency, amount, _, at_us):
            return Payment(
                id=deposit,
                kind="deposit",
                account=account,
                currency=currency,
                amount=amount,
                status=status,
                completed_at_us=None,
                created_at_us=at_us,
                modified_at_us=at_us,
            )
        case WithdrawalOpened(withdrawal, account, currency, amount, _, at_us):
            return Payment(
                id=withdrawal,
                kind="withdrawal",
                account=account,
                currency=currency,
                amount=amount,
                status=status,
                completed_at_us=None,
                created_at_us=at_us,
                modified_at_us=at_us,
            )
        case DepositCompleted() | WithdrawalCompleted() | DepositFailed() | WithdrawalFailed():
            assert state is not None
            done = fact.at_us if status == "completed" else None
            return replace(state, status=status, completed_at_us=done, modified_at_us=fact.at_us)
        case _:
            assert_never(fact)
