"""The aggregates: what an account holds, what an instrument costs, what becomes of an order."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event

CENT = Decimal("0.01")
FEE_RATE = Decimal("0.005")
ZERO = Decimal("0.00")


class Rejected(Exception):
    """A request that the rules do not allow."""


def fee_of(amount: Decimal) -> Decimal:
    return (amount * FEE_RATE).quantize(CENT, ROUND_HALF_UP)


class Instrument(Aggregate):
    @event("Listed")
    def __init__(self, name: str, currency: str, increment: Decimal) -> None:
        self.name = name
        self.currency = currency
        self.increment = increment
        self.ask: Decimal | None = None

    @staticmethod
    def create_id(name: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/instruments/{name}")

    @event("Priced")
    def price(self, ask: Decimal) -> None:
        self.ask = ask

    def quantity_for(self, cash: Decimal) -> Decimal:
        if self.ask is None:
            raise Rejected("missing_price")
        return (cash / self.ask / self.increment).to_integral_value(ROUND_DOWN) * self.increment


class Account(Aggregate):
    @event("Opened")
    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.total = ZERO
        self.reserved = ZERO
        self.units: dict[str, Decimal] = {}
        self.units_unsettled: dict[str, Decimal] = {}

    @event("Deposited")
    def deposit(self, amount: Decimal) -> None:
        self.total += amount

    def reserve(self, amount: Decimal) -> None:
        if amount > self.total - self.reserved:
            raise Rejected("insufficient_funds")
        self._reserve(amount)

    @event("FundsReserved")
    def _reserve(self, amount: Decimal) -> None:
        self.reserved += amount

    @event("BuyBooked")
    def book_buy(
        self, instrument: str, quantity: Decimal, notional: Decimal, fee: Decimal, released: Decimal
    ) -> None:
        self.reserved -= released
        self.total -= notional + fee
        self.units[instrument] = self.units.get(instrument, ZERO) + quantity
        self.units_unsettled[instrument] = self.units_unsettled.get(instrument, ZERO) + quantity

    @event("BuySettled")
    def settle_buy(self, instrument: str, quantity: Decimal) -> None:
        self.units_unsettled[instrument] -= quantity


class Order(Aggregate):
    @event("Placed")
    def __init__(
        self,
        account_id: UUID,
        instrument: str,
        currency: str,
        cash_amount: Decimal,
        fee: Decimal,
    ) -> None:
        self.account_id = account_id
        self.instrument = instrument
        self.currency = currency
        self.cash_amount = cash_amount
        self.quoted_fee = self.fee = fee
        self.net_cash_amount = cash_amount - fee
        self.status = "placed"
        self.price = self.quantity = self.notional = ZERO

    def fee_for(self, notional: Decimal) -> Decimal:
        return min(self.quoted_fee, fee_of(self.cash_amount * notional / self.net_cash_amount))

    @event("Filled")
    def fill(self, price: Decimal, quantity: Decimal, notional: Decimal, fee: Decimal) -> None:
        self.price, self.quantity, self.notional, self.fee = price, quantity, notional, fee
        self.status = "filled"

    @event("Settled")
    def settle(self) -> None:
        self.status = "settled"
