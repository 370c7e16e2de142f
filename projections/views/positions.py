"""Positions: the last of each account and instrument, and all closed ones before it."""

from __future__ import annotations

from functools import partial
from typing import Final, get_args

from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    BuySettled,
    PositionClosed,
    PositionOpened,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.position import Position, ServicingFact
from engine.domain.servicing import RolloverBooked
from engine.kernel.fact import Fact
from projections.folds import Change
from projections.listing import Listed, Reader, RowScope, Single, Where, list_rows
from projections.resources import PositionBody, position_json
from projections.tables import Row, Table
from projections.view import PageRows, View

POSITIONS: Final = Table(
    "view_positions",
    {
        "first_offset": "integer",
        "id": "text",
        "account": "text",
        "instrument": "text",
        "status": "text",
        "held_until": "text",
        "body": "bytes",
    },
    "first_offset",
    {
        "unique_id": "id",
        "account": "account, first_offset",
        "holder": "instrument, account, held_until",
    },
    stream="account",
)
OPEN: Final = "open"
"""`held_until` of a position that is not closed: sorts after every date."""


def held(change: Change) -> tuple[int, str, Position]:
    """(offset of its first fact, account, the position of a fact) after the fact."""
    after, instrument = change.after, change.recorded.fact.instrument  # type: ignore[attr-defined]
    position = after.state.holdings.positions[instrument]
    return after.opened[instrument], after.state.id, position


_FACTS: Final[set[type[Fact]]] = {
    PositionOpened,
    UnitsReserved,
    UnitsReleased,
    BuyBooked,
    SellBooked,
    BuyApplied,
    SellApplied,
    BuyCorrected,
    SellCorrected,
    BuyBusted,
    SellBusted,
    BuySettled,
    SellSettled,
    PositionClosed,
    *get_args(ServicingFact),
    RolloverBooked,
}


class PositionsView(View):
    """One row per position. A new position of the same instrument is a new row."""

    name = "positions"
    shape = 5
    streams = frozenset({"acc"})
    tables = (POSITIONS,)
    bodies = (PositionBody,)
    reads = frozenset(_FACTS)

    def feed(self, change: Change, page: PageRows) -> None:
        first_offset, account, position = held(change)
        page.upsert(POSITIONS, first_offset, partial(_row, first_offset, account, position))


def _row(first_offset: int, account: str, position: Position) -> Row:
    body = position_json(account, position)
    until = _held_until(position)
    return first_offset, position.id, account, position.instrument, position.status, until, body


def _held_until(position: Position) -> str:
    """OPEN, or the last settlement date of a closed position's trades: it has no part in coupons with a
    later ex date. "" if all were long ago.
    """
    if position.closed_at_us is None:
        return OPEN
    days = [one.day for one in position.dated[-1:]]
    days += [before.ex_date for before in position.before]
    return max(days).isoformat() if days else ""


def one(account: str, position_id: str) -> Single:
    """A position of `account`."""
    wanted = Where().equal("id", position_id).equal("account", account)
    return Single("positions", POSITIONS, account, wanted)


def of_account(
    views: Reader, account: str, *, limit: int, before: str | None = None, open_only: bool = False
) -> Listed:
    """An account's positions, newest first; `open_only` omits those closing or closed.

    Raises ViewQuarantined, or Refused `invalid_param` for a `before` that is not a position of the
    account.
    """
    views.check("positions", account)
    scope = RowScope("positions", "account", account)
    wanted = scope.where().equal("status", "open" if open_only else None)
    return list_rows(views, POSITIONS, wanted, scope=scope, before=before, limit=limit)
