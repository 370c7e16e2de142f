"""The commands, each one transaction. A command that lost a race is tried again."""

from __future__ import annotations

from decimal import Decimal
from threading import Event
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError
from eventsourcing.utils import retry

from bench.peers.idiomatic.domain import CENT, Account, Instrument, Order, Rejected, fee_of


class Trading(Application[UUID]):
    log_section_size = 100  # notifications that a follower reads at a time

    def __init__(self, env: Any = None) -> None:
        super().__init__(env)
        self.wake_ups: list[Event] = []

    def save(self, *aggregates: Any, **kwargs: Any) -> Any:
        recordings = super().save(*aggregates, **kwargs)
        for wake_up in self.wake_ups:
            wake_up.set()
        return recordings

    def list_instrument(self, name: str, currency: str, increment: Decimal) -> UUID:
        instrument = Instrument(name, currency, increment)
        self.save(instrument)
        return instrument.id

    def price(self, name: str, ask: Decimal) -> None:
        instrument: Instrument = self.repository.get(Instrument.create_id(name))
        instrument.price(ask)
        self.save(instrument)

    def open_account(self, currency: str) -> UUID:
        account = Account(currency)
        self.save(account)
        return account.id

    @retry(IntegrityError, max_attempts=20)
    def deposit(self, account_id: UUID, amount: Decimal) -> None:
        account: Account = self.repository.get(account_id)
        account.deposit(amount)
        self.save(account)

    @retry(IntegrityError, max_attempts=20)
    def place_order(self, account_id: UUID, name: str, cash_amount: Decimal) -> Order:
        account: Account = self.repository.get(account_id)
        instrument: Instrument = self.repository.get(Instrument.create_id(name))
        if instrument.currency != account.currency:
            raise Rejected("currency_not_supported")
        order = Order(account_id, name, instrument.currency, cash_amount, fee_of(cash_amount))
        if instrument.quantity_for(order.net_cash_amount) <= 0:
            raise Rejected("below_minimum_quantity")
        account.reserve(cash_amount)
        self.save(account, order)
        return order

    @retry(IntegrityError, max_attempts=20)
    def execute_order(self, order_id: UUID) -> None:
        order: Order = self.repository.get(order_id)
        if order.status != "placed":
            return
        account: Account = self.repository.get(order.account_id)
        instrument: Instrument = self.repository.get(Instrument.create_id(order.instrument))
        assert instrument.ask is not None
        quantity = instrument.quantity_for(order.net_cash_amount)
        notional = (quantity * instrument.ask).quantize(CENT)
        order.fill(instrument.ask, quantity, notional, order.fee_for(notional))
        account.book_buy(order.instrument, quantity, notional, order.fee, order.cash_amount)
        self.save(account, order)

    @retry(IntegrityError, max_attempts=20)
    def settle_order(self, order_id: UUID) -> None:
        order: Order = self.repository.get(order_id)
        if order.status != "filled":
            return
        account: Account = self.repository.get(order.account_id)
        order.settle()
        account.settle_buy(order.instrument, order.quantity)
        self.save(account, order)
