"""Bills that mature, and positions that are to be rolled over: the working sets of rollovers.

A position leaves the set when it has its rollover, or is skipped. Read by `projections.rolling`.
"""

from __future__ import annotations

from functools import partial
from typing import Final, get_args

from engine.domain import instrument, position, rollover
from engine.domain.bookings import BuyApplied, BuyCorrected, SellApplied, SellCorrected
from engine.domain.instrument import Instrument, Terms
from engine.domain.position import Position
from engine.domain.servicing import RolloverBooked
from engine.kernel.fact import Fact
from projections.folds import Change
from projections.tables import Row, Table
from projections.view import PageRows, View

BILLS: Final = Table(
    "view_bills",
    {
        "id": "text",
        "issuer_country": "text",
        "maturity_period": "text",
        "trading_currency": "text",
        "rolls_on": "text",
        "matures_on": "text",
        "issued_on": "text",
    },
    "id",
    {
        "matures": "matures_on, id",
        "family": "issuer_country, maturity_period, trading_currency, matures_on",
    },
    stream="id",
)
"""Instruments with a maturity; without a period no bill follows. "" where there is nothing to say."""
ROLLING: Final = Table(
    "view_rolling",
    {"first_offset": "integer", "account": "text", "tenant": "text", "instrument": "text"},
    "first_offset",
    {"instrument": "instrument, first_offset", "account": "account, instrument"},
    stream="account",
)
"""Positions to be rolled over, by the offset of their first fact."""


_APPLIED: Final = (BuyApplied, SellApplied, BuyCorrected, SellCorrected, RolloverBooked)


class RolloversView(View):
    """One row per instrument with a maturity, one per position to be rolled over."""

    name = "rollovers"
    shape = 2
    streams = frozenset({"ins", "acc"})
    tables = (BILLS, ROLLING)
    bodies = ()
    reads = frozenset[type[Fact]](
        {*(fact for _, fact in instrument.NEXT), *get_args(position.PositionFact), *_APPLIED}
    )

    def feed(self, change: Change, page: PageRows) -> None:
        state = change.after.state
        if isinstance(state, Instrument):
            row = partial(_bill, state.id, state.terms) if state.terms.maturity_date else None
            page.upsert(BILLS, state.id, row)
            return
        of = change.recorded.fact.instrument  # type: ignore[attr-defined]
        before = change.before.state.holdings.positions.get(of) if change.before else None
        is_rolling = _is_rolling(state.holdings.positions[of])
        if is_rolling != _is_rolling(before):
            offset = change.after.opened[of]
            known = (offset, state.id, change.after.tenant, of)
            page.upsert(ROLLING, offset, (lambda: known) if is_rolling else None)


def _is_rolling(held: Position | None) -> bool:
    return held is not None and held.awaits_rollover and held.status == "open"


def _bill(instrument_id: str, terms: Terms) -> Row:
    country, period, currency = rollover.family_of(terms) or (terms.issuer_country, "", "")
    day, matures, issued = rollover.rolls_on(terms), terms.maturity_date, terms.issue_date
    assert day is not None
    assert matures is not None
    dates = day.isoformat(), matures.isoformat(), issued.isoformat() if issued else ""
    return instrument_id, country or "", period, currency, *dates
