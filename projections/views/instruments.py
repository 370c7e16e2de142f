"""Instruments, except for the days to maturity, which are counted when read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Final

from engine.domain import instrument
from engine.domain.instrument import Instrument
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Shown, Single, Where, list_rows
from projections.resources import InstrumentBody, fill_days_to_maturity, instrument_template
from projections.tables import Row, Table
from projections.view import PageRows, View

INSTRUMENTS: Final = Table(
    "view_instruments",
    {
        "first_offset": "integer",
        "id": "text",
        "symbol": "text",
        "instrument_type": "text",
        "trading_status": "text",
        "body": "bytes",
    },
    "first_offset",
    {"unique_id": "id", "symbol": "symbol"},
    stream="id",
)


class InstrumentsView(View):
    """One row per instrument."""

    name = "instruments"
    shape = 2
    streams = frozenset({"ins"})
    tables = (INSTRUMENTS,)
    bodies = (InstrumentBody,)
    reads = frozenset(fact for _, fact in instrument.NEXT)

    def feed(self, change: Change, page: PageRows) -> None:
        after = change.after
        page.upsert(INSTRUMENTS, after.first_offset, partial(_row, after, page))


def _row(subject: Folded[Instrument], page: PageRows) -> Row:
    state, terms = subject.state, subject.state.terms
    return (
        subject.first_offset,
        state.id,
        terms.symbol,
        terms.instrument_type,
        terms.trading_status,
        page.body(state.id, state, instrument_template),
    )


def one(instrument_id: str, symbol: str | None = None) -> Single:
    """An instrument without the days to maturity (see `dated`); with `symbol` only if it has it."""
    wanted = Where().equal("id", instrument_id).equal("symbol", symbol)
    return Single("instruments", INSTRUMENTS, instrument_id, wanted)


def listed(
    views: Reader,
    business_date: date,
    *,
    limit: int,
    before: str | None = None,
    instrument_types: Sequence[str] = (),
    trading_statuses: Sequence[str] = (),
) -> Listed:
    """Instruments, newest first, of any of the types and statuses (all if none is given).

    Raises ViewBehind, or Refused `invalid_param` for an unknown `before`.
    """
    wanted = Where()
    wanted.among("instrument_type", instrument_types or None)
    wanted.among("trading_status", trading_statuses or None)
    scope = RowScope("instruments")
    found = list_rows(views, INSTRUMENTS, wanted, scope=scope, before=before, limit=limit)
    rows = [Shown(row.id, dated(business_date, row.body)) for row in found.rows]
    return found._replace(rows=rows)


def dated(business_date: date, body: bytes) -> bytes:
    """An instrument of the view with the days to maturity."""
    _, found, rest = body.partition(b'"maturity_date":"')
    matures = date.fromisoformat(rest[: len("2026-03-12")].decode()) if found else None
    return fill_days_to_maturity(body, matures, business_date)
