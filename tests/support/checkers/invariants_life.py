"""The allowed transitions (I6), and that versions and times only grow (I7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.checkers.invariants_read import Row, Wrong

_LISTED = """changed schedule_followed action_announced action_corrected action_withdrawn action_started
    action_completed"""
_CHANGED = ("trade_busted", "trade_corrected")
NEXT = {
    "order": {
        "": {"placed": "placed"},
        "placed": {
            "rollover_funded": "placed",
            "made_pending": "pending",
            "execution_started": "executing",
            "cancelled": "cancelled",
        },
        "pending": {
            "rollover_funded": "pending",
            "made_pending": "pending",
            "execution_started": "executing",
            "cancelled": "cancelled",
        },
        "executing": {
            "rollover_funded": "executing",
            "trade_recorded": "executing",
            "trade_applied": "executing",
            "trade_settled": "executing",
            "trade_busted": "executing",
            "trade_corrected": "executing",
            "expiry_requested": "executing",
            "cancel_requested": "executing",
            "cancel_rejected": "executing",
            "filled": "filled",
            "cancelled": "cancelled",
        },
        "filled": {
            "settled": "settled",
            **dict.fromkeys(["trade_settled", "trade_applied", *_CHANGED], "filled"),
        },
        "settled": dict.fromkeys(["trade_settled", "trade_applied", *_CHANGED], "settled"),
        "cancelled": dict.fromkeys(["trade_settled", "trade_applied", *_CHANGED], "cancelled"),
    },
    "account": {
        "": {"opened": "active"},
        "active": {
            "changed": "active",
            "suspended": "suspended",
            "closing": "closing",
            "closed": "closed",
        },
        "suspended": {
            "changed": "suspended",
            "activated": "active",
            "closing": "closing",
            "closed": "closed",
        },
        "closing": {"changed": "closing", "activated": "active", "closed": "closed"},
        "closed": {},
    },
    "deposit": {"": {"opened": "open"}, "open": {"completed": "completed", "failed": "failed"}},
    "withdrawal": {"": {"opened": "open"}, "open": {"completed": "completed", "failed": "failed"}},
    "report": {
        "": {"parked": "open"},
        "open": {"booked": "declared", "rejected": "rejected", "booking_requested": "booking"},
        "declared": {"booking_requested": "booking"},
        "booking": {"applied": "booked", "rejected": "rejected"},
    },
    "instrument": {
        "": {"listed": "listed"},
        "listed": dict.fromkeys(_LISTED.split(), "listed"),
    },
    "order_quote": {"": {"consumed": "consumed"}, "consumed": {}},
    "kind": {"": {"declared": "declared"}, "declared": {}},
    "clock": {"": {"advanced": "running"}, "running": {"advanced": "running"}},
    "script": {
        "": {"written": "used"},
        "used": dict.fromkeys(("written", "taken", "played"), "used"),
    },
}
"""Kind of stream -> status -> what may happen -> status then. What is not here cannot happen."""

_MONEY = """cash_deposited cash_withdrawn funds_reserved funds_released units_reserved units_released
    position_opened buy_booked sell_booked buy_applied sell_applied buy_corrected sell_corrected
    buy_busted sell_busted buy_settled sell_settled
    position_closed order_counted coupon_paid dividend_paid position_matured position_split rollover_set
    rollover_reserved rollover_released rollover_booked rollover_paid rollover_skipped"""
MONEY = frozenset(_MONEY.split())
"""Facts of an account that leave its status alone; it must exist."""
AFTERWARDS = frozenset(
    ["coupon_paid", "dividend_paid", "funds_reserved", "funds_released", "cash_withdrawn"]
)
"""Facts that a closed account may still have: it is paid for what it held, and withdraws that."""


@dataclass
class Life:
    """One stream: where it stands, and what it has been, with the position of each change."""

    kind: str
    status: str = ""
    version: int = 0
    recorded_us: int = 0
    happened_us: int = 0
    history: list[tuple[int, str]] = field(default_factory=list)

    def status_at(self, position: int) -> str:
        """The status that the facts up to a position of the journal make; "" before the first."""
        before = [status for place, status in self.history if place <= position]
        return before[-1] if before else ""

    @property
    def first_position(self) -> int:
        return self.history[0][0]


class Lives:
    """All streams, fact by fact."""

    def __init__(self) -> None:
        self.by_stream: dict[str, Life] = {}

    def take(self, row: Row) -> None:
        """Raises Wrong for a fact that cannot stand where it stands."""
        kind, _, happened = row.what.partition(".")
        life = self.by_stream.setdefault(row.stream, Life(kind))
        if row.version != life.version + 1:
            raise Wrong(f"I7: {row.stream} has version {row.version} after {life.version}")
        if kind != life.kind:
            raise Wrong(f"I6: {row.stream} is of {life.kind}, and has {row.what}")
        for name, at_us in (("recorded_us", row.envelope["at_us"]), ("happened_us", row.at_us)):
            if at_us < getattr(life, name):
                raise Wrong(f"I7: the time of {row.stream} falls: {getattr(life, name)} to {at_us}")
            setattr(life, name, at_us)
        may_be = AFTERWARDS if life.status == "closed" else MONEY
        if kind == "account" and happened in may_be and life.status:
            status = life.status
        elif happened in NEXT[kind].get(life.status, {}):
            status = NEXT[kind][life.status][happened]
        else:
            raise Wrong(f"I6: {row.stream} is {life.status or 'not there yet'}, and has {row.what}")
        life.version = row.version
        life.status = status
        life.history.append((row.position, status))
