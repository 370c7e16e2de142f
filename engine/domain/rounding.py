"""Which way the money of an order is rounded. See docs/money.md.

Orders are often much smaller than the smallest amount of their currency is fine, and whoever places them
chooses the size. A rule that rounds to the nearest pays half of them; `directed` pays none.
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
"""Rule that an order was placed under -> its modes. `half_up` is the first release's, whose orders name
no rule. An order keeps its rule to its end, so no entry is ever changed."""
CURRENT: Final[RoundingName] = "directed"
"""The rule of new orders."""


def modes_of(name: str) -> Rounding:
    """Raises UnknownFact for a rule of a newer release."""
    if name not in ROUNDINGS:
        raise UnknownFact(f"no rounding rule is called {name!r:.40}")
    return ROUNDINGS[name]
