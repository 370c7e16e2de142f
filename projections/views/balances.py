"""Cash balances and the ledger behind them: per currency, the ledger's sum is the balance's total."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from engine.account import Account, AccountChanged, AccountOpened
from engine.fact import Fact
from engine.holdings import (
    BuyBooked,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    SellBooked,
    SellSettled,
)
from engine.values import plain
from projections.folds import Change
from projections.ids import derived, number_of
from projections.listing import Listed, Reader, Where, one_row, page_of
from projections.resources import TransactionBody, cash_balances_json, encode, price, time
from projections.tables import Row, Table
from projections.view import PageRows, View

LINES_PER_FACT: Final = 4
"""A line's number is its fact's offset times this, plus its place among the fact's lines."""

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
}


class BalancesView(View):
    """One row of balances an account, one row a line of its ledger."""

    name = "balances"
    shape = 1
    streams = frozenset({"acc"})
    tables = (BALANCES, TRANSACTIONS)
    reads = frozenset(_FACTS)

    def feed(self, change: Change, page: PageRows) -> None:
        recorded, state = change.recorded, change.after.state
        page.keep(BALANCES, state.id, partial(_row, state))
        lines = LINES.get(type(recorded.fact))
        if lines is None:
            return
        at_us, day = recorded.envelope.at_us, recorded.envelope.business_date
        for place, words in enumerate(lines(recorded.fact)):
            line = recorded.offset * LINES_PER_FACT + place
            if words["settlement_date"] is None and day:
                words["settlement_date"] = day.isoformat()
            body = TransactionBody(id=derived("txn", at_us, line), booked_at=time(at_us), **words)
            row = (line, body.id, state.id, body.transaction_type, encode(body))
            page.add(TRANSACTIONS, row)


def _row(state: Account) -> Row:
    return state.id, cash_balances_json(state)


def _payment(fact: CashDeposited | CashWithdrawn) -> list[dict[str, Any]]:
    """Money that came in or went out; it settles on the day it is booked."""
    comes = isinstance(fact, CashDeposited)
    kind = "deposit" if comes else "withdrawal"
    amount = fact.amount if comes else -fact.amount
    return [
        {
            "summary": f"{kind.capitalize()} of {plain(fact.amount)} {fact.currency}",
            "settlement_date": None,
            "cash_amount": plain(amount),
            "unit_quantity": None,
            "unit_price": None,
            "currency": fact.currency,
            "instrument": None,
            "transaction_type": kind,
            "reference": fact.deposit if isinstance(fact, CashDeposited) else fact.withdrawal,
            "reference_type": kind,
        }
    ]


def _trade(fact: BuyBooked | SellBooked) -> list[dict[str, Any]]:
    """A trade's consideration, then its fee."""
    buys = isinstance(fact, BuyBooked)
    quantity, unit_price = plain(fact.quantity), price(fact.price)
    common = {
        "settlement_date": fact.settlement_date.isoformat(),
        "currency": fact.currency,
        "instrument": fact.instrument,
        "reference": fact.trade,
        "reference_type": "trade",
    }
    traded = {
        "summary": f"{'Buy' if buys else 'Sell'} of {quantity} {fact.instrument} at {unit_price}",
        "cash_amount": plain(-fact.notional if buys else fact.notional),
        "unit_quantity": quantity,
        "unit_price": unit_price,
        "transaction_type": "buy" if buys else "sell",
    }
    fee = {
        "summary": f"Fee of {'buying' if buys else 'selling'} {quantity} {fact.instrument}",
        "cash_amount": plain(-fact.fee),
        "unit_quantity": None,
        "unit_price": None,
        "transaction_type": "fee",
    }
    return [common | traded, common | fee]


LINES: Final[dict[type[Fact], Callable[[Any], list[dict[str, Any]]]]] = {
    CashDeposited: _payment,
    CashWithdrawn: _payment,
    BuyBooked: _trade,
    SellBooked: _trade,
}
"""Fact -> its lines in the ledger. Other facts move cash only inside the account."""


def of_account(views: Reader, account: str) -> bytes | None:
    """All balances of an account as one JSON array, None if there is no such. Raises ViewQuarantined."""
    views.check("balances", account)
    return one_row(views, BALANCES, Where().equal("account", account))


def transactions(
    views: Reader,
    account: str,
    *,
    limit: int,
    before: str | None = None,
    transaction_types: Sequence[str] = (),
) -> Listed:
    """An account's ledger, newest first, of any of the types (all if none is given).

    Raises ViewQuarantined. A `before` that is no transaction of ours leaves nothing to show.
    """
    views.check("balances", account)
    wanted = Where().equal("account", account)
    wanted.among("transaction_type", transaction_types or None)
    if before is not None:
        wanted.below("line", number_of("txn", before) or 0)
    return page_of(views, TRANSACTIONS, wanted, limit)
