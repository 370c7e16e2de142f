"""Rounding rules of an order's money. See docs/money.md.

Clients choose the size of their orders, and many small orders could exploit rounding. A rule that rounds
to the nearest favours half of them; `directed` favours none.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP
from typing import Final, Literal, NamedTuple

from engine.kernel.errors import UnknownFact

RoundingName = Literal["half_up", "directed"]


class Rounding(NamedTuple):
    """Modes of `decimal`: of a buy's notional, of a sell's, and of the fees of both."""

    buy: str
    sell: str
    fees: str


ROUNDINGS: Final[dict[str, Rounding]] = {
    "half_up": Rounding(ROUND_HALF_UP, ROUND_HALF_UP, ROUND_HALF_UP),
    "directed": Rounding(ROUND_CEILING, ROUND_FLOOR, ROUND_CEILING),
}
"""Rule that an order was placed under -> its modes. `half_up` is that of the first release, whose orders
name no rule. An order keeps its rule, so no entry ever changes."""
CURRENT: Final[RoundingName] = "directed"
"""The rule of new orders."""


def modes_of(name: str) -> Rounding:
    """The modes of a rule. Raises UnknownFact for a rule of a newer release."""
    if name not in ROUNDINGS:
        raise UnknownFact(f"no rounding rule is called {name!r:.40}")
    return ROUNDINGS[name]
