"""Accounts: status, flags, currencies, and `is_overdrawn`.

Their holdings are in `balances` and `positions`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from engine.domain import account, moves
from engine.domain.account import Account
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Single, Where, list_rows
from projections.resources import AccountBody, account_json
from projections.tables import Row, Table
from projections.view import PageRows, View

ACCOUNTS: Final = Table(
    "view_accounts",
    {
        "first_offset": "integer",
        "id": "text",
        "tenant": "text",
        "status": "text",
        "body": "bytes",
    },
    "first_offset",
    {"unique_id": "id", "tenant": "tenant, first_offset"},
    stream="id",
)


class AccountsView(View):
    """One row per account."""

    name = "accounts"
    shape = 2
    streams = frozenset({"acc"})
    tables = (ACCOUNTS,)
    bodies = (AccountBody,)
    reads = frozenset(fact for _, fact in account.NEXT) | moves.FACTS

    def feed(self, change: Change, page: PageRows) -> None:
        before, after = change.before, change.after
        is_move = type(change.recorded.fact) in moves.FACTS
        if is_move and before and before.state.is_overdrawn == after.state.is_overdrawn:
            return  # without effect on the row
        page.upsert(ACCOUNTS, after.first_offset, partial(_row, after, page))


def _row(subject: Folded[Account], page: PageRows) -> Row:
    state = subject.state
    body = page.body(state.id, state, account_json)
    return subject.first_offset, state.id, state.tenant, state.status, body


def one(tenant: str, account: str) -> Single:
    """An account of `tenant`."""
    wanted = Where().equal("id", account).equal("tenant", tenant)
    return Single("accounts", ACCOUNTS, account, wanted, owner=tenant)


def of_tenant(views: Reader, tenant: str, *, limit: int, before: str | None = None) -> Listed:
    """A tenant's accounts, newest first.

    Raises ViewBehind, or Refused `invalid_param` for a `before` that is not an account of the tenant.
    """
    scope = RowScope("accounts", "tenant", tenant)
    return list_rows(views, ACCOUNTS, scope.where(), scope=scope, before=before, limit=limit)
