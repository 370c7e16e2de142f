"""Positions from trades as a table writes them: `+10@03-13` is a buy that settles on 13 March 2026."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from functools import reduce

from engine.domain import position
from engine.domain.bookings import (
    BuyBooked,
    BuySettled,
    PositionClosed,
    PositionOpened,
    SellBooked,
    SellSettled,
    UnitsReserved,
)
from engine.domain.position import Position, PositionFact

_TRADE = re.compile(r"([+-])([0-9.]+)@([0-9-]+)(\*?)")


def held_by(trades: str, *, places: int = 2, currency: str = "USD") -> Position:
    """The position after these trades, in this order; a `*` after the date: it has settled.

    It is closed when it has no units and all has settled, and opened anew by the next buy.
    """
    known: Position | None = None
    for number, text in enumerate(trades.split(), 1):
        found = _TRADE.fullmatch(text)
        assert found is not None, text
        side, quantity, day, settled = found.groups()
        known = reduce(
            position.evolve,
            _facts(known, number, side, quantity, day, settled=bool(settled), places=places,
                   currency=currency),
            known,
        )  # fmt: skip
    assert known is not None
    return known


def _facts(
    known: Position | None,
    number: int,
    side: str,
    quantity: str,
    day: str,
    *,
    settled: bool,
    places: int,
    currency: str,
) -> list[PositionFact]:
    units = Decimal(quantity).quantize(Decimal(1).scaleb(-places))
    facts: list[PositionFact] = []
    pos = known.id if known and known.closed_at_us is None else f"pos_{number}"
    if known is None or known.closed_at_us is not None:
        facts.append(PositionOpened(pos, "ins_1", currency, places, number))
    words = {
        "order": f"ord_{number}", "trade": f"trd_{number}", "position": pos, "instrument": "ins_1",
        "currency": currency, "price": Decimal(1), "quantity": units, "notional": units,
        "fee": Decimal(0), "settlement_date": date.fromisoformat(f"2026-{day}"), "at_us": number,
    }  # fmt: skip
    common = (f"ord_{number}", f"trd_{number}", pos, "ins_1")
    if side == "+":
        facts.append(BuyBooked(**words, automatic_rollover=False))  # type: ignore[arg-type]
        facts += [BuySettled(*common, units, number)] if settled else []
        return facts
    # Units of a sell come from its reservation.
    facts.append(UnitsReserved(f"ord_{number}", "ins_1", units, number))
    facts.append(SellBooked(**words))  # type: ignore[arg-type]
    if settled:
        facts.append(SellSettled(*common, currency, units, number))
        left = known.units.total - units if known else units
        if not left and known is not None and known.unsettled_trades == 0:
            facts.append(PositionClosed(pos, "ins_1", number))
    return facts
