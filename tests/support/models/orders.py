"""Orders and their trades in the integer model: statuses, sums, fees."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support.models.values import WAYS, FeeRule, Instrument, rounded

# The status table of the contract. A status that leads nowhere is terminal.
NEXT: dict[str, set[str]] = {
    "placed": {"pending", "executing", "cancelled"},
    "pending": {"pending", "executing", "cancelled"},
    "executing": {"filled", "cancelled"},
    "filled": {"settled"},
    "settled": set(),
    "cancelled": set(),
}
LIVE = ("placed", "pending", "executing")


@dataclass
class Trade:
    """One execution; `fee` is the increase of the order's fees that this trade was charged.

    `owed`: the units that its settlement moves; a split scales them, never the trade's own figures.
    What is lost by that goes with the last trade to settle.
    """

    venue: str
    execution_reference: str
    price: int
    quantity: int
    accrued_interest: int
    settlement_date: str
    notional: int
    fee: int
    settlements: int = 0
    owed: int = 0
    splits: int = 0
    drawn: int = 0
    is_late: bool = False
    is_busted: bool = False
    replaced_by: "Trade | None" = None

    @property
    def is_due(self) -> bool:
        return not self.settlements and not self.is_busted

    def view(self) -> dict[str, Any]:
        names = "venue execution_reference price quantity accrued_interest notional fee"
        shown = {name: getattr(self, name) for name in names.split()}
        status = "settled" if self.settlements else "executed"
        return {**shown, "status": "busted" if self.is_busted else status}


class Reversal(NamedTuple):
    """The amounts that a bust gave back; `returned` of them into the reservation."""

    notional: int
    fee: int
    quantity: int
    returned: int


@dataclass
class Order:
    """`amount`, `reserved`: cash of a buy, units of a sell; `ordered`: the quantity at the venue.
    A `limit` fixes it at placing.

    `splits`: those of its instrument that had begun when it was placed. A rollover buys for the face
    value of `pledged` units `of` another instrument; until that matures it is not `funded`: it holds
    no cash of its own.
    """

    id: str
    account: str
    instrument: Instrument
    side: str
    rule: FeeRule
    amount: int
    ordered: int | None = None
    reserved: int = 0
    history: list[str] = field(default_factory=lambda: ["placed"])
    trades: list[Trade] = field(default_factory=list)
    cancel_requested: bool = False
    cancelled_reason: str | None = None
    rounding: str = "directed"
    waits_for: str | None = None
    splits: int = 0
    automatic_rollover: bool = False
    of: str | None = None
    pledged: int = 0
    funded: bool = True
    reversals: list[Reversal] = field(default_factory=list)
    is_by_hand: bool = False
    limit: int | None = None
    expiring: bool = False
    expiry_requests: int = 0

    @property
    def status(self) -> str:
        return self.history[-1]

    def is_worse(self, price: int, accrued: int) -> bool:
        """Whether a price, or what a unit comes to with its interest, is beyond the limit."""
        if self.limit is None:
            return False
        unit, bound = (self.instrument.unit_price(*one) for one in ((price, accrued), (self.limit, 0)))
        if self.side == "buy":
            return price > self.limit or unit > bound
        return price < self.limit or unit < bound

    def fee_of(self, amount: int) -> int:
        return self.rule.of(amount, WAYS[self.rounding]["fee"])

    def notional_of(self, consideration: int) -> int:
        return self.instrument.notional(consideration, WAYS[self.rounding][self.side])

    @property
    def quoted_fee(self) -> int:
        return self.fee_of(self.amount)

    @property
    def standing(self) -> list[Trade]:
        """The trades that were not busted."""
        return [trade for trade in self.trades if not trade.is_busted]

    @property
    def traded_quantity(self) -> int:
        return sum(trade.quantity for trade in self.standing)

    @property
    def traded_notional(self) -> int:
        given = sum(trade.notional for trade in self.trades)
        return given - sum(back.notional for back in self.reversals)

    @property
    def charged(self) -> int:
        return sum(trade.fee for trade in self.trades) - sum(back.fee for back in self.reversals)

    @property
    def drawn(self) -> int:
        """The part of the reservation that the trades hold."""
        drawn = sum(trade.drawn for trade in self.trades)
        return drawn - sum(back.returned for back in self.reversals)

    @property
    def net_cash_amount(self) -> int | None:
        """A buy's is fixed when placed; a sell's is what its trades brought after fees."""
        if self.side == "buy":
            return self.amount - self.quoted_fee
        return self.traded_notional - self.fees if self.trades else None

    @property
    def fees(self) -> int:
        """The quote while a buy waits for its first trade, then what was charged."""
        waiting = self.side == "buy" and not self.standing and self.status in LIVE
        return self.quoted_fee if waiting else self.charged

    def consideration(self) -> int:
        """Exact, before rounding: the sum of quantity x unit price."""
        unit_price = self.instrument.unit_price
        return sum(t.quantity * unit_price(t.price, t.accrued_interest) for t in self.standing)

    def fees_on(self, notional: int) -> int:
        """The fees of the whole order once `notional` minor units have traded."""
        if self.side == "sell":
            return min(notional, self.fee_of(notional))
        net = self.amount - self.quoted_fee
        full = self.rule.numerator * self.amount * notional
        share = rounded(full, self.rule.denominator * net, WAYS[self.rounding]["fee"])
        return min(self.quoted_fee, max(self.rule.minimum, share))

    def view(self) -> dict[str, Any]:
        names = "status side net_cash_amount traded_quantity traded_notional fees cancelled_reason"
        buy = self.side == "buy"
        return {name: getattr(self, name) for name in names.split()} | {
            "cash_amount": self.amount if buy else None,
            "quantity": (None if self.limit is None else self.ordered) if buy else self.amount,
            "limit": self.limit,
            "expiring": self.expiring,
            "currency": self.instrument.currency.code,
            "cancel_requested": self.cancel_requested,
            "cash_reserved": self.reserved if buy else 0,
            "units_reserved": 0 if buy else self.reserved,
            "trades": [trade.view() for trade in self.trades],
        }
