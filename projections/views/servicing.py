"""Working sets of an instrument's life: instruments with something to do, and holders to be served.

They are read by followers: see `projections.serviced`.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any, Final

from engine.domain import action_steps, instrument
from engine.domain.instrument import Instrument
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured, PositionSplit
from engine.kernel.fact import Fact
from engine.kernel.values import plain
from projections.folds import Change
from projections.tables import Row, Table
from projections.view import PageRows, View

SERVICED: Final = Table(
    "view_serviced",
    {"id": "text", "next_on": "text"},
    "id",
    {"next": "next_on, id"},
    stream="id",
)
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
    """One row per instrument with a next step, one per account that had an action."""

    name = "servicing"
    shape = 2
    streams = frozenset({"ins", "acc"})
    tables = (SERVICED, DISTRIBUTIONS)
    bodies = ()
    reads = frozenset(fact for _, fact in instrument.NEXT) | _DISTRIBUTED

    def feed(self, change: Change, page: PageRows) -> None:
        fact: Any = change.recorded.fact
        state = change.after.state
        if isinstance(state, Instrument):
            day = action_steps.next_step(state)
            page.upsert(SERVICED, state.id, partial(_row, state.id, day) if day else None)
        else:
            page.insert(
                DISTRIBUTIONS, (change.recorded.offset, state.id, fact.action, plain(fact.amount))
            )


def _row(instrument_id: str, next_on: date) -> Row:
    return instrument_id, next_on.isoformat()
