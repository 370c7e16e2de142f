"""Orders, rendered completely, beside the columns used by filters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from engine.domain import order
from engine.domain.order import Order
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Single, Where, list_rows
from projections.resources import OrderBody
from projections.tables import Row, Table
from projections.view import PageRows, View

ORDERS: Final = Table(
    "view_orders",
    {
        "first_offset": "integer",
        "id": "text",
        "account": "text",
        "tenant": "text",
        "status": "text",
        "side": "text",
        "instrument": "text",
        "created_us": "integer",
        "is_open": "integer",
        "body": "bytes",
    },
    "first_offset",
    {
        "unique_id": "id",
        "account": "account, first_offset",
        "open": "account, first_offset WHERE is_open = 1",
    },
    stream="id",
)


class OrdersView(View):
    """One row per order."""

    name = "orders"
    shape = 1
    streams = frozenset({"ord"})
    tables = (ORDERS,)
    bodies = (OrderBody,)
    reads = frozenset(fact for _, fact in order.NEXT)

    def feed(self, change: Change, page: PageRows) -> None:
        after = change.after
        page.upsert(ORDERS, after.first_offset, partial(_row, after, page))


def _row(subject: Folded[Order], page: PageRows) -> Row:
    state, terms = subject.state, subject.state.terms
    return (
        subject.first_offset,
        terms.order,
        terms.account,
        subject.tenant,
        state.status,
        terms.side,
        terms.instrument,
        terms.at_us,
        int(state.status not in order.TERMINAL),
        page.order(state),
    )


def one(account: str, order_id: str) -> Single:
    """An order of `account`."""
    wanted = Where().equal("id", order_id).equal("account", account)
    return Single("orders", ORDERS, order_id, wanted, owner=account)


def of_account(
    views: Reader,
    account: str,
    *,
    limit: int,
    before: str | None = None,
    statuses: Sequence[str] = (),
    side: str | None = None,
    instrument: str | None = None,
    created_from_us: int | None = None,
    created_to_us: int | None = None,
    ids: Sequence[str] | None = None,
) -> Listed:
    """An account's orders, newest first. Bounds of the time of creation are inclusive.

    `ids` selects only these (for a search by personal data). Raises ViewBehind, or Refused
    `invalid_param` for a `before` that is not an order of the account.
    """
    wanted = _of(account)
    wanted.among("status", statuses or None).among("id", ids)
    wanted.equal("side", side).equal("instrument", instrument)
    wanted.at_least("created_us", created_from_us).at_most("created_us", created_to_us)
    return _listed(views, account, wanted, before, limit)


def pending(views: Reader, account: str, *, limit: int, before: str | None = None) -> Listed:
    """An account's orders in no terminal state, newest first. Raises as `of_account`."""
    return _listed(views, account, _of(account).literally("is_open = 1"), before, limit)


def _of(account: str) -> Where:
    return Where().equal("account", account)


def _listed(views: Reader, account: str, wanted: Where, before: str | None, limit: int) -> Listed:
    scope = RowScope("orders", "account", account)
    return list_rows(views, ORDERS, wanted, scope=scope, before=before, limit=limit)
