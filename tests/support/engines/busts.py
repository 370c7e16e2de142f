"""Short words for what venues, clients and persons do with trades, for the tables of busts.

`buy a 100.00` and `sell a 4` place and send an order `a`; `trade x 0.99@100` is the venue's report `x`
of the order that was placed last, `bust y x` takes trade `x` back,
`correct y x 0.98@100` reports it anew as `y`, both by a report `y`. `end`, `settle x`, `book y`,
`fund 10.00`, `withdraw 10.00`, `close` are what they say.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order import Order
from engine.domain.order_request import OrderRequest
from engine.domain.position import Position
from engine.domain.pricing import Price
from engine.domain.report import Report, ReportKind
from engine.kernel.values import UNITS, plain
from tests.support.engines.world import VENUE, World

TERMS = Terms("Name", "SYM", "stock", "USD", issuer_country="US")


class Market(World):
    """An account and the instrument `ins`, whose price at placing and sending is `price`."""

    def __init__(
        self,
        cash: str = "1000.00",
        *,
        currency: str = "USD",
        price: str = "100",
        fee: FeeRule | None = None,
        **terms: Any,
    ) -> None:
        super().__init__()
        self.currency, self.fee = currency, fee or FeeRule()
        self.price = Price(Decimal(price), Decimal(price), 1)
        self.put("ins", replace(TERMS, trading_currency=currency, **terms))
        self.open("acc", currency)
        self.fund(cash, currency)
        self.named = ""
        self.ordered: dict[str, str] = {}
        """Reference of a trade's report -> its order."""

    def do(self, steps: str) -> str:
        """The answer to the last of some steps, separated by commas; the fault of a parked report."""
        answer = ""
        for step in filter(None, (one.strip() for one in steps.split(","))):
            verb, *words = step.split()
            answer = getattr(self, f"on_{verb}")(*words)
            if answer == "parked":
                answer = self.states["parked", f"{VENUE}/{words[0]}"].fault
        return answer

    def on_buy(self, name: str, cash: str, free: str = "") -> str:
        return self._send(name, OrderRequest("buy", Decimal(cash)), free)

    def on_sell(self, name: str, quantity: str, free: str = "") -> str:
        return self._send(name, OrderRequest("sell", quantity=Decimal(quantity)), free)

    def _send(self, name: str, asked: OrderRequest, free: str) -> str:
        self.named = name
        fee = FeeRule(Decimal(0)) if free else self.fee
        placed = self.place(name, asked, price=self.price, fee=fee)
        return self.start(name, self.price) if placed == "ok" else placed

    def on_trade(self, reference: str, said: str) -> str:
        return self._report(reference, "trade", said, self.named, None)

    def on_bust(self, reference: str, refers_to: str) -> str:
        order = self.ordered.get(refers_to, self.named)
        return self._report(reference, "trade_bust", "", order, refers_to)

    def on_correct(self, reference: str, refers_to: str, said: str, **words: Any) -> str:
        order = self.ordered.get(refers_to, self.named)
        return self._report(reference, "trade_correct", said, order, refers_to, **words)

    def _report(
        self,
        reference: str,
        kind: ReportKind,
        said: str,
        order: str,
        refers_to: str | None,
        **words: Any,
    ) -> str:
        """`said` is quantity@price, and +interest per unit after it."""
        if kind != "trade_bust":
            self.ordered[reference] = order
            quantity, _, price = said.partition("@")
            price, _, interest = price.partition("+")
            numbers = {"price": price, "quantity": quantity, "accrued_interest": interest or "0"}
            words |= {name: Decimal(number) for name, number in numbers.items()}
        return self.report(Report(VENUE, reference, order, kind, refers_to=refers_to, **words))

    def on_end(self) -> str:
        return self.end(self.named)

    def on_settle(self, reference: str) -> str:
        return self.settle(self.ordered[reference], f"trd_{VENUE}/{reference}")

    def on_book(self, reference: str) -> str:
        return self.book(reference)

    def on_fund(self, amount: str) -> str:
        return self.fund(amount, self.currency)

    def on_withdraw(self, amount: str) -> str:
        name = f"wdr_{self.now_us}"
        asked = self.pay("withdrawal", name, self.currency, Decimal(amount))
        return self.complete(name) if asked == "ok" else asked

    def on_close(self) -> str:
        return self.to_account("close")

    # ---- what is seen

    @property
    def cash(self) -> str:
        """total/reserved/available for withdrawal."""
        known = self.account().holdings.cash.get(self.currency)
        step = UNITS[self.currency]
        return "/".join(
            plain(one.quantize(step)) for one in (known.total, known.reserved, known.withdrawable)
        )

    @property
    def position(self) -> Position:
        """The last one of the instrument."""
        held: Position = self.account().holdings.positions["ins"]
        return held

    @property
    def units(self) -> str:
        """total/reserved/unsettled, status, average price."""
        known, average = self.position, self.position.average_price
        units = (known.units.total, known.units.reserved, known.unsettled)
        shown = "" if average is None else f" {average.normalize():f}"
        return f"{'/'.join(map(plain, units))} {known.status}{shown}"

    def seen(self, name: str) -> str:
        """status, fees, traded notional, statuses of its trades by their first letters."""
        order: Order = self.order(name)
        trades = "".join(trade.status[0] for trade in order.trades)
        return f"{order.status} {plain(order.fees)} {plain(order.traded_notional)} {trades}".strip()

    @property
    def flags(self) -> str:
        """`overdrawn` if it is."""
        return "overdrawn" if self.account().holdings.lacking else ""
