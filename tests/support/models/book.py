"""The double-entry book of the integer model, and what one position cost."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import gcd

from tests.support.models.orders import Trade

# Names of the double-entry book: the asset that moves, and its places.
Asset = tuple[str, str]  # ("cash" | "cash due" | "units" | "units due", currency or instrument)
Place = tuple[str, ...]  # (account, "free" | "reserved" | "due") or one of the three below
OUTSIDE, FEES, MARKET = ("outside",), ("fees",), ("market",)


class Book:
    """Double entry: what leaves one place arrives at another, so each asset sums to 0 for ever."""

    def __init__(self) -> None:
        self.amounts: defaultdict[tuple[Asset, Place], int] = defaultdict(int)

    def move(self, asset: Asset, amount: int, source: Place, target: Place) -> None:
        assert amount >= 0, f"a move of {amount} {asset} from {source} to {target}"
        self.amounts[asset, source] -= amount
        self.amounts[asset, target] += amount

    def at(self, asset: Asset, *place: str) -> int:
        return self.amounts.get((asset, place), 0)


@dataclass
class Holding:
    """One position from its opening buy to its close. The average cost is kept as an exact fraction."""

    cost: int = 0
    per: int = 1
    trades: list[Trade] = field(default_factory=list)

    def average_in(self, price: int, quantity: int, held: int) -> None:
        """Units bought join at their trade price; a sell takes units out at the average: no change."""
        cost, per = self.cost * held + price * quantity * self.per, self.per * (held + quantity)
        shared = gcd(cost, per)
        self.cost, self.per = cost // shared, per // shared
