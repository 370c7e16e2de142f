"""Deposits and withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from engine.domain import payment
from engine.domain.payment import Payment, PaymentKind
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Single, Where, list_rows
from projections.resources import DepositBody, WithdrawalBody, payment_json
from projections.tables import Row, Table
from projections.view import PageRows, View

PAYMENTS: Final = Table(
    "view_payments",
    {
        "first_offset": "integer",
        "id": "text",
        "account": "text",
        "kind": "text",
        "status": "text",
        "body": "bytes",
    },
    "first_offset",
    {"unique_id": "id", "account": "account, kind, first_offset"},
    stream="id",
)


class PaymentsView(View):
    """One row per payment."""

    name = "payments"
    shape = 2
    streams = frozenset({"dep", "wdr"})
    tables = (PAYMENTS,)
    bodies = (DepositBody, WithdrawalBody)
    reads = frozenset(fact for _, fact in payment.NEXT)

    def feed(self, change: Change, page: PageRows) -> None:
        after = change.after
        page.upsert(PAYMENTS, after.first_offset, partial(_row, after, page))


def _row(subject: Folded[Payment], page: PageRows) -> Row:
    state = subject.state
    body = page.body(state.id, state, payment_json)
    return subject.first_offset, state.id, state.account, state.kind, state.status, body


def one(account: str, kind: PaymentKind, payment_id: str) -> Single:
    """A deposit or withdrawal of `account`."""
    wanted = Where().equal("id", payment_id).equal("account", account).equal("kind", kind)
    return Single("payments", PAYMENTS, payment_id, wanted, owner=account)


def of_account(
    views: Reader,
    account: str,
    kind: PaymentKind,
    *,
    limit: int,
    before: str | None = None,
    statuses: Sequence[str] = (),
) -> Listed:
    """An account's deposits or withdrawals, newest first, of any of the statuses (all if none is given).

    Raises ViewBehind, or Refused `invalid_param` for a `before` that is not the account's.
    """
    wanted = Where().equal("account", account).equal("kind", kind).among("status", statuses or None)
    scope = RowScope("payments", "account", account)
    return list_rows(views, PAYMENTS, wanted, scope=scope, before=before, limit=limit)
