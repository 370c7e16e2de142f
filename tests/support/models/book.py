"""The double-entry book of the integer model, and what one position cost."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from tests.support.models.orders import Trade

# Names of the double-entry book: the asset that moves, and its places.
Asset = tuple[str, str]  # ("cash" | "cash due" | "units" | "units due", currency or instrument)
Place = tuple[str, ...]  # (account, "free" | "reserved" | "due" | "receivable"), or one of these
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
    """One position from its opening buy to its close. The average cost is kept as an exact fraction.

    `splits`: how many of its instrument's splits it has been through. `rollover`: the order that its
    face value pays for; `rolled_from`, `rolled_into`: the instruments before and after it.
    """

    cost: int = 0
    per: int = 1
    trades: list[Trade] = field(default_factory=list)
    splits: int = 0
    automatic_rollover: bool = False
    rollover: str | None = None
    rollover_skipped: str | None = None
    rolled_from: set[str] = field(default_factory=set)
    rolled_into: str | None = None

    def life(self) -> dict[str, Any]:
        """Its changes by rollovers and splits."""
        names = ("splits", "automatic_rollover", "rollover", "rolled_from", "rolled_into")
        skipped = {"is_rollover_skipped": self.rollover_skipped is not None}
        return {name: getattr(self, name) for name in names} | skipped

    def average_in(self, price: int, quantity: int, held: int) -> None:
        """Units bought join at their trade price; a sell takes units out at the average: no change."""
        held = max(held, 0)  # units that are lacking have no cost, nor have those that offset them
        cost, per = self.cost * held + price * quantity * self.per, self.per * (held + quantity)
        shared = gcd(cost, per)
        self.cost, self.per = cost // shared, per // shared

    def scale(self, before: int, after: int) -> None:
        """A split: the same cost, other units."""
        if after:
            self.cost, self.per = self.cost * before, self.per * after
