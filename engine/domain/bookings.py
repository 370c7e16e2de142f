"""Facts of an account that reserve, exchange and settle cash and units. See docs/money.md.

Facts of coupons, maturity, splits and rollovers are in `servicing`; `moves` lists the legs of both.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from engine.kernel.fact import Fact
from engine.kernel.values import ZERO


class CashDeposited(Fact, frozen=True):
    """Money was received."""

    deposit: str
    currency: str
    amount: Decimal
    at_us: int


class CashWithdrawn(Fact, frozen=True):
    """Reserved money was paid out."""

    withdrawal: str
    currency: str
    amount: Decimal
    at_us: int


class FundsReserved(Fact, frozen=True):
    """Cash was reserved for an order or a withdrawal, `subject`."""

    subject: str
    currency: str
    amount: Decimal
    at_us: int


class FundsReleased(Fact, frozen=True):
    """Cash that `subject` did not need was released."""

    subject: str
    currency: str
    amount: Decimal
    at_us: int


class UnitsReserved(Fact, frozen=True):
    """Units were reserved for a sell."""

    order: str
    instrument: str
    quantity: Decimal
    at_us: int


class UnitsReleased(Fact, frozen=True):
    """Units that a sell did not need were released."""

    order: str
    instrument: str
    quantity: Decimal
    at_us: int


class PositionOpened(Fact, frozen=True):
    """The first buy of an instrument, or the first since its last position closed.

    `splits`: the instrument's splits when the buy was sent, in whose units it is counted.
    """

    position: str
    instrument: str
    currency: str
    decimal_precision: int
    at_us: int
    splits: int = 0


class BuyBooked(Fact, frozen=True):
    """A buy's trade: reserved cash was exchanged for units, unsettled until `settlement_date`, and a
    fee.
    """

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date
    automatic_rollover: bool
    at_us: int


class SellBooked(Fact, frozen=True):
    """A sell's trade: reserved units were exchanged for cash, unsettled until `settlement_date`, less a
    fee.
    """

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date
    at_us: int


class BuyApplied(BuyBooked, frozen=True):
    """A buy's trade from a parked report: without a reservation, paid from available cash."""


class SellApplied(SellBooked, frozen=True):
    """A sell's trade from a parked report: its units are taken from the available ones."""


class BuyCorrected(BuyBooked, frozen=True):
    """The buy's trade in place of `corrects`, which was busted before it in the same append.

    `reserved` of its cash come from the reservation; `cost` is that of the units held, counted anew.
    """

    corrects: str = ""
    reserved: Decimal = ZERO
    cost: Decimal = ZERO


class SellCorrected(SellBooked, frozen=True):
    """The sell's trade in place of `corrects`, which was busted before it in the same append.

    `reserved` of its units come from the reservation; `cost` is that of the units held, counted anew.
    """

    corrects: str = ""
    reserved: Decimal = ZERO
    cost: Decimal = ZERO


class Reversal(Fact, frozen=True):
    """A trade was cancelled by its venue: its cash and units go back. The base of the two facts below.

    `position` has lost or got back the units: the instrument's last one if it is not closed, else a
    new one. `reserved` goes back into the reservation: cash of a buy, units of a sell. `unsettled`:
    units of a buy not delivered yet, proceeds of a sell not paid yet, 0 if the trade `is_settled`.
    `cost` is that of the units held, counted anew from the remaining trades.
    """

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    unsettled: Decimal
    reserved: Decimal
    cost: Decimal
    settlement_date: date
    is_settled: bool
    at_us: int


class BuyBusted(Reversal, frozen=True):
    """A buy's trade was cancelled: its cash comes back, its units go."""


class SellBusted(Reversal, frozen=True):
    """A sell's trade was cancelled: its units come back, its cash goes."""


class BuySettled(Fact, frozen=True):
    """The units of a trade were delivered."""

    order: str
    trade: str
    position: str
    instrument: str
    quantity: Decimal
    at_us: int


class SellSettled(Fact, frozen=True):
    """The proceeds of a trade, less its fee, were paid."""

    order: str
    trade: str
    position: str
    instrument: str
    currency: str
    proceeds: Decimal
    at_us: int


class PositionClosed(Fact, frozen=True):
    """The position has no units left and every trade has settled."""

    position: str
    instrument: str
    at_us: int
