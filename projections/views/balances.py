"""Cash balances and the ledger behind them: per currency, the ledger's sum is the balance's total."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from engine.domain.account import Account, AccountChanged, AccountOpened
from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    Reversal,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
)
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverPaid,
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
    BuyCorrected,
    SellCorrected,
    BuyBusted,
    SellBusted,
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverPaid,
}


class BalancesView(View):
    """One row of balances per account, one row per line of its ledger."""

    name = "balances"
    shape = 3
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
    assert isinstance(fact, BuyBooked | SellBooked | RolloverPaid)
    kind, doing, amount = (
        ("sell", "selling", fact.notional)
        if isinstance(fact, SellBooked)
        else ("buy", "buying", EXACT.minus(fact.notional))
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


def _reversal(recorded: Recorded) -> list[TransactionBody]:
    """The consideration of a busted trade, then its fee, both back: settled on the day of the bust."""
    fact, day = recorded.fact, recorded.envelope.business_date
    assert isinstance(fact, Reversal)
    is_buy = isinstance(fact, BuyBusted)
    quantity, doing = plain(fact.quantity), "buying" if is_buy else "selling"
    back = TransactionBody(
        id=_id(recorded, 0),
        summary=f"Reversal of {doing} {quantity} {fact.instrument}",
        booked_at=rfc3339(recorded.envelope.at_us),
        settlement_date=day.isoformat() if day else None,
        cash_amount=plain(fact.notional if is_buy else EXACT.minus(fact.notional)),
        unit_quantity=quantity,
        unit_price=None,
        currency=fact.currency,
        instrument=fact.instrument,
        transaction_type="reversal",
        reference=fact.trade,
        reference_type="trade",
    )
    fee = replace(
        back,
        id=_id(recorded, 1),
        summary=f"Reversal of the fee of {doing} {quantity} {fact.instrument}",
        cash_amount=plain(fact.fee),
        unit_quantity=None,
    )
    return [back, fee]


def _coupon(recorded: Recorded) -> list[TransactionBody]:
    fact = recorded.fact
    assert isinstance(fact, CouponPaid)
    source = Source("coupon_payment", "Coupon of", "coupon", fact.coupon, fact.units)
    return [_serviced(recorded, fact, source)]


def _dividend(recorded: Recorded) -> list[TransactionBody]:
    fact = recorded.fact
    assert isinstance(fact, DividendPaid)
    source = Source("dividend", "Dividend of", "dividend", fact.dividend, fact.units)
    return [_serviced(recorded, fact, source)]


def _redemption(recorded: Recorded) -> list[TransactionBody]:
    """The redemption of a position, at maturity or by a call."""
    fact = recorded.fact
    assert isinstance(fact, PositionMatured)
    units = EXACT.add(fact.quantity, fact.pledged)
    source = Source("maturity", "Redemption of", "position", fact.position, units)
    return [_serviced(recorded, fact, source)]


def _fraction(recorded: Recorded) -> list[TransactionBody]:
    """The cash for the fraction of a unit that a split lost; no line without cash."""
    fact = recorded.fact
    assert isinstance(fact, PositionSplit)
    if not fact.amount:
        return []
    source = Source("split", "Fraction after a split of", "position", fact.position, None)
    return [_serviced(recorded, fact, source)]


class Source(NamedTuple):
    """The origin of a line that an instrument brought."""

    transaction_type: str
    title: str
    reference_type: str
    reference: str
    units: Decimal | None


def _serviced(
    recorded: Recorded,
    fact: CouponPaid | DividendPaid | PositionMatured | PositionSplit,
    source: Source,
) -> TransactionBody:
    """Cash that an instrument brought; it settles on the day it is booked."""
    day = recorded.envelope.business_date
    quantity = None if source.units is None else plain(source.units)
    return TransactionBody(
        id=_id(recorded, 0),
        summary=" ".join(filter(None, (source.title, quantity, fact.instrument))),
        booked_at=rfc3339(recorded.envelope.at_us),
        settlement_date=day.isoformat() if day else None,
        cash_amount=plain(fact.amount),
        unit_quantity=quantity,
        unit_price=None,
        currency=fact.currency,
        instrument=fact.instrument,
        transaction_type=source.transaction_type,
        reference=source.reference,
        reference_type=source.reference_type,
    )


def _id(recorded: Recorded, place: int) -> str:
    return derived("txn", recorded.envelope.at_us, recorded.offset * LINES_PER_FACT + place)


LINES: Final[dict[type[Fact], Callable[[Recorded], list[TransactionBody]]]] = {
    CashDeposited: _payment,
    CashWithdrawn: _payment,
    BuyBooked: _trade,
    SellBooked: _trade,
    BuyApplied: _trade,
    SellApplied: _trade,
    BuyCorrected: _trade,
    SellCorrected: _trade,
    BuyBusted: _reversal,
    SellBusted: _reversal,
    RolloverPaid: _trade,
    CouponPaid: _coupon,
    DividendPaid: _dividend,
    PositionMatured: _redemption,
    PositionSplit: _fraction,
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
