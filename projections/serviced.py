"""Queries of the servicing follower: due instruments, holders, open orders, totals.

Tables of another shape are unreadable: `Sets.reached` says so.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from engine.domain.corporate_action import REDEMPTIONS, Action
from engine.kernel.limits import QUARANTINED_SERVED_MAX, SERVED_BATCH
from engine.kernel.values import total_of
from projections.database import Views
from projections.views.positions import OPEN
from projections.views.working import Waiting


class DueInstrument(NamedTuple):
    """An instrument with something to do on `day` or later."""

    day: str
    instrument: str


class Holder(NamedTuple):
    """An account to be served; `tenant` is "" if not known here."""

    account: str
    tenant: str


class Total(NamedTuple):
    """Accounts that had an action, and the cash of all."""

    accounts: int
    amount: Decimal


class Sets:
    """The working sets of the servicing follower, in the views' database."""

    USED: Final = ("servicing", "positions", "working", "accounts")

    def __init__(self, views: Views) -> None:
        self._views = views

    def reached(self) -> int:
        """The offset that all views used here show. Raises ViewBehind while one is being rebuilt."""
        return min(self._views.check(view) for view in self.USED)

    def due(self, day: date, limit: int, after: DueInstrument | None) -> list[DueInstrument]:
        """Instruments with something to do by `day`, the longest due first."""
        self._views.check("servicing")
        rows = self._views.query(
            "SELECT next_on, id FROM view_serviced WHERE next_on <= ?"
            " AND (next_on, id) > (?, ?) ORDER BY next_on, id LIMIT ?",
            (day.isoformat(), *(after or ("", "")), limit),
        )
        return [DueInstrument(*row) for row in rows]

    def holders(self, of: str, action: Action, after: str, limit: int) -> list[Holder]:
        """Accounts after `after` that may have to have an action and did not have it yet, by id.

        For a redemption: accounts that hold the instrument; else also those that held it, by settlement,
        on the day before the ex date.
        """
        kind = action.terms.action_type
        since = OPEN if kind in REDEMPTIONS else action.terms.ex_date.isoformat()
        had = "" if kind in REDEMPTIONS else action.id  # a redeemed position is no longer open
        rows = self._views.query(
            "SELECT DISTINCT held.account, coalesce(owner.tenant, '') FROM view_positions AS held"
            " LEFT JOIN view_accounts AS owner ON owner.id = held.account"
            " LEFT JOIN view_distributions AS had ON had.action = ? AND had.account = held.account"
            " WHERE held.instrument = ? AND held.account > ? AND held.held_until >= ?"
            " AND had.place IS NULL ORDER BY held.account LIMIT ?",
            (had, of, after, since, limit),
        )
        return [Holder(*row) for row in rows]

    def is_used(self, of: str) -> bool:
        """Whether there are open orders, or positions open or closed, of an instrument."""
        statement = (
            "SELECT EXISTS (SELECT 1 FROM view_positions WHERE instrument = ?)"
            " OR EXISTS (SELECT 1 FROM view_working WHERE instrument = ?)"
        )
        return bool(self._views.query(statement, (of, of))[0][0]) or bool(self.withheld())

    def withheld(self) -> list[Holder]:
        """Accounts whose positions cannot be shown: each may be a holder."""
        found = {
            one.stream: one.tenant
            for view in ("positions", "servicing")
            for one in self._views.quarantined(view, QUARANTINED_SERVED_MAX)
            if one.stream.startswith("acc_")
        }
        return [Holder(*one) for one in found.items()]

    def orders(self, of: str, stage: str, after: int, limit: int) -> list[Waiting]:
        """Orders of an instrument that are `waiting` or `at_venue`, oldest first."""
        rows = self._views.query(
            "SELECT first_offset, id, account, instrument FROM view_working"
            " WHERE instrument = ? AND stage = ? AND first_offset > ? ORDER BY first_offset LIMIT ?",
            (of, stage, after, limit),
        )
        return [Waiting(*row) for row in rows]

    def total(self, action: str) -> Total:
        """The accounts that had an action so far, and the cash of all. Reads them page by page."""
        count, amount, after = 0, Decimal(0), ("", 0)
        while True:
            rows = self._views.query(
                "SELECT account, place, amount FROM view_distributions"
                " WHERE action = ? AND (account, place) > (?, ?) ORDER BY account, place LIMIT ?",
                (action, *after, SERVED_BATCH),
            )
            count += len(rows)
            amount = total_of((amount, *(Decimal(row[2]) for row in rows)))
            if len(rows) < SERVED_BATCH:
                return Total(count, amount)
            after = rows[-1][:2]
