"""Working sets of an instrument's life: instruments with something to do, and holders to be served.

They are read by followers: see `projections.serviced`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from engine.domain import action_steps, bond_dates, instrument
from engine.domain.instrument import Instrument
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured, PositionSplit
from engine.kernel.fact import Fact
from engine.kernel.values import plain
from projections.folds import Change
from projections.tables import Row, Table
from projections.view import PageRows, View

SERVICED: Final = Table(
    "view_serviced",
    {"id": "text", "next_on": "text", "rolls_on": "text"},
    "id",
    {"next": "next_on, id", "rolls": "rolls_on, id"},
    stream="id",
)
"""Dates are "" where there is nothing to do."""
DISTRIBUTIONS: Final = Table(
    "view_distributions",
    {"place": "integer", "account": "text", "action": "text", "amount": "text"},
    "place",
    {"action": "action, account, place"},
    stream="account",
    keys_per_fact=1,
)
_DISTRIBUTED: Final[set[type[Fact]]] = {CouponPaid, DividendPaid, PositionMatured, PositionSplit}


class ServicingView(View):
    """One row per instrument with a next step or a rollover date, one per account that had an action."""

    name = "servicing"
    shape = 1
    streams = frozenset({"ins", "acc"})
    tables = (SERVICED, DISTRIBUTIONS)
    bodies = ()
    reads = frozenset(fact for _, fact in instrument.NEXT) | _DISTRIBUTED

    def feed(self, change: Change, page: PageRows) -> None:
        fact: Any = change.recorded.fact
        state = change.after.state
        if isinstance(state, Instrument):
            row = _dates(state)
            page.upsert(SERVICED, state.id, partial(_row, state.id, *row) if any(row) else None)
        else:
            page.insert(
                DISTRIBUTIONS, (change.recorded.offset, state.id, fact.action, plain(fact.amount))
            )


def _row(instrument_id: str, next_on: str, rolls_on: str) -> Row:
    return instrument_id, next_on, rolls_on


def _dates(state: Instrument) -> tuple[str, str]:
    next_on, rolls_on, terms = action_steps.next_step(state), None, state.terms
    if terms.instrument_type == "bill" and terms.maturity_date and not state.servicing.is_redeemed:
        rolls_on = bond_dates.rollover_date(
            terms.maturity_date, terms.issuer_country, terms.trading_currency
        )
    return next_on.isoformat() if next_on else "", rolls_on.isoformat() if rolls_on else ""
