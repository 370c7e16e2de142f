"""Cash balances and the ledger behind them: per currency, the ledger's sum is the balance's total."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from engine.domain.account import Account, AccountChanged, AccountOpened
from engine.domain.holdings import (
    BuyApplied,
    BuyBooked,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    SellApplied,
    SellBooked,
    SellSettled,
)
from engine.kernel.fact import Fact, Recorded
from engine.kernel.times import rfc3339
from engine.kernel.values import EXACT, plain
from projections.folds import Change
from projections.ids import derived, number_of
from projections.listing import Listed, Reader, Single, Where, page_of
from projections.resources import BalanceBody, TransactionBody, cash_balances_json, encode, price
from projections.tables import Row, Table
from projections.view import PageRows, View

LINES_PER_FACT: Final = 4
"""A line's number is its fact's offset times this, plus its index in the fact."""

BALANCES: Final = Table(
    "view_balances", {"account": "text", "body": "bytes"}, "account", {}, stream="account"
)
TRANSACTIONS: Final = Table(
    "view_transactions",
    {
        "line": "integer",
        "id": "text",
        "account": "text",
        "transaction_type": "text",
        "body": "bytes",
    },
    "line",
    {"account": "account, line"},
    stream="account",
    keys_per_fact=LINES_PER_FACT,
)

_FACTS: Final[set[type[Fact]]] = {
    AccountOpened,
    AccountChanged,
    CashDeposited,
    CashWithdrawn,
    FundsReserved,
    FundsReleased,
    BuyBooked,
    SellBooked,
    SellSettled,
    BuyApplied,
    SellApplied,
}


class BalancesView(View):
    """One row of balances per account, one row per line of its ledger."""

    name = "balances"
    shape = 1
    streams = frozenset({"acc"})
    tables = (BALANCES, TRANSACTIONS)
    bodies = (BalanceBody, TransactionBody)
    reads = frozenset(_FACTS)

    def feed(self, change: Change, page: PageRows) -> None:
        recorded, state = change.recorded, change.after.state
        page.upsert(BALANCES, state.id, partial(_row, state))
        lines = LINES.get(type(recorded.fact))
        if lines:
            for line, body in enumerate(lines(recorded), recorded.offset * LINES_PER_FACT):
                row = (line, body.id, state.id, body.transaction_type, encode(body))
                page.insert(TRANSACTIONS, row)


def _row(state: Account) -> Row:
    return state.id, cash_balances_json(state)


def _payment(recorded: Recorded) -> list[TransactionBody]:
    """Money received or paid; it settles on the day it is booked."""
    fact, day = recorded.fact, recorded.envelope.business_date
    assert isinstance(fact, CashDeposited | CashWithdrawn)
    if isinstance(fact, CashDeposited):
        kind, amount, reference = "deposit", fact.amount, fact.deposit
    else:
        kind, amount, reference = "withdrawal", EXACT.minus(fact.amount), fact.withdrawal
    return [
        TransactionBody(
            id=_id(recorded, 0),
            summary=f"{kind.capitalize()} of {plain(fact.amount)} {fact.currency}",
            booked_at=rfc3339(recorded.envelope.at_us),
            settlement_date=day.isoformat() if day else None,
            cash_amount=plain(amount),
            unit_quantity=None,
            unit_price=None,
            currency=fact.currency,
            instrument=None,
            transaction_type=kind,
            reference=reference,
            reference_type=kind,
        )
    ]


def _trade(recorded: Recorded) -> list[TransactionBody]:
    """A trade's consideration, then its fee."""
    fact, booked_at = recorded.fact, rfc3339(recorded.envelope.at_us)
    assert isinstance(fact, BuyBooked | SellBooked)
    kind, doing, amount = (
        ("buy", "buying", EXACT.minus(fact.notional))
        if isinstance(fact, BuyBooked)
        else ("sell", "selling", fact.notional)
    )
    settlement_date, instrument = fact.settlement_date.isoformat(), fact.instrument
    quantity, unit_price = plain(fact.quantity), price(fact.price)
    return [
        TransactionBody(
            id=_id(recorded, 0),
            summary=f"{kind.capitalize()} of {quantity} {instrument} at {unit_price}",
            booked_at=booked_at,
            settlement_date=settlement_date,
            cash_amount=plain(amount),
            unit_quantity=quantity,
            unit_price=unit_price,
            currency=fact.currency,
            instrument=instrument,
            transaction_type=kind,
            reference=fact.trade,
            reference_type="trade",
        ),
        TransactionBody(
            id=_id(recorded, 1),
            summary=f"Fee of {doing} {quantity} {instrument}",
            booked_at=booked_at,
            settlement_date=settlement_date,
            cash_amount=plain(EXACT.minus(fact.fee)),
            unit_quantity=None,
            unit_price=None,
            currency=fact.currency,
            instrument=instrument,
            transaction_type="fee",
            reference=fact.trade,
            reference_type="trade",
        ),
    ]


def _id(recorded: Recorded, place: int) -> str:
    return derived("txn", recorded.envelope.at_us, recorded.offset * LINES_PER_FACT + place)


LINES: Final[dict[type[Fact], Callable[[Recorded], list[TransactionBody]]]] = {
    CashDeposited: _payment,
    CashWithdrawn: _payment,
    BuyBooked: _trade,
    SellBooked: _trade,
    BuyApplied: _trade,
    SellApplied: _trade,
}
"""Fact -> its lines in the ledger. Other facts move cash only inside the account."""


def of_account(account: str) -> Single:
    """All balances of an account as one JSON array."""
    return Single("balances", BALANCES, account, Where().equal("account", account))


def transactions(
    views: Reader,
    account: str,
    *,
    limit: int,
    before: str | None = None,
    transaction_types: Sequence[str] = (),
) -> Listed:
    """An account's ledger, newest first, of any of the types (all if none is given).

    Raises ViewQuarantined. An unknown `before` gives an empty page.
    """
    views.check("balances", account)
    wanted = Where().equal("account", account)
    wanted.among("transaction_type", transaction_types or None)
    if before is not None:
        wanted.below("line", number_of("txn", before) or 0)
    return page_of(views, TRANSACTIONS, wanted, limit)
