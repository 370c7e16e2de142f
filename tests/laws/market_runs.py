"""Random runs in which venues take trades back or report them anew, and persons book parked reports."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from engine.domain.report import Report, ReportKind
from tests.laws.agreement import scaled
from tests.laws.lives import Action, Life
from tests.laws.runs import ACCRUED, Run
from tests.support.engines.world import VENUE
from tests.support.models.orders import Trade


class MarketRun(Run):
    """A run with the steps of a real market."""

    CHANCES = Run.CHANCES | {"random_bust": 16, "random_correct": 16, "random_book": 12}

    def __init__(self, seed: int, *, twice: bool = False) -> None:
        super().__init__(seed, twice=twice)
        self.model.may_be_overdrawn = True

    def random_bust(self) -> None:
        order, refers_to = self.some_trade()
        if order:
            self.take_back("trade_bust", self.name("x"), order, refers_to)

    def random_correct(self) -> None:
        order, refers_to = self.some_trade()
        known = self.world.order(order) if order else None
        if known is None:
            return
        of = known.terms.instrument
        step = Decimal(1).scaleb(-self.terms[of].decimal_precision)
        trades = [one.terms for one in known.trades if one.terms.execution_reference == refers_to]
        price, quantity = (trades[0].price, trades[0].quantity) if trades else (Decimal(1), step)
        part = Decimal(self.random.choice(("1", "1", "0.5", "0.9", "0.01", "1.01", "2")))
        quantity = max((quantity * part).quantize(step), step)
        price = Decimal(self.random.choice((price, price, *self.prices[of])))
        accrued = Decimal(self.random.choice(ACCRUED.get(of, ("0",))))
        self.take_back("trade_correct", self.name("x"), order, refers_to, price, quantity, accrued)

    def some_trade(self) -> tuple[str, str]:
        """An order and the reference of one of its trades, busted or not; now and then of none."""
        traded = [name for name, order in self.model.orders.items() if order.trades]
        if self.random.random() < 0.05:
            return self.some_order() or "", self.random.choice(("nothing", f"x{self.number + 2}"))
        if not traded:
            return "", ""
        order = self.random.choice(traded[-8:])
        known = self.model.orders[order]
        trades = known.standing if known.standing and self.random.random() < 0.9 else known.trades
        return order, self.random.choice(trades).execution_reference

    def take_back(
        self,
        kind: ReportKind,
        reference: str,
        order: str,
        refers_to: str,
        price: Decimal | None = None,
        quantity: Decimal | None = None,
        accrued: Decimal = Decimal(0),
    ) -> None:
        report = Report(VENUE, reference, order, kind, price, quantity, accrued, refers_to=refers_to)
        of = self.world.order(order).terms.instrument
        instead = None
        if price is not None and quantity is not None:
            places, day = self.terms[of].decimal_precision, self.model.settles_on.get(of, "")
            figures = scaled(price, 8), scaled(quantity, places), scaled(accrued, 8)
            instead = Trade(VENUE, reference, *figures, day, 0, 0)
        self._step(
            f"{kind} {reference} {order} {refers_to} {quantity} at {price} + {accrued}",
            lambda: self.world.report(report),
            lambda: self.model.bust(
                order, venue=VENUE, execution_reference=reference, refers_to=refers_to, instead=instead
            ),
        )

    def random_book(self) -> None:
        parked = [reference for _, reference in self.model.parked]
        if parked:
            reference = self.random.choice(parked[-6:])
            self._step(
                f"book {reference}",
                lambda: self.world.book(reference),
                lambda: self.model.book_parked(VENUE, reference),
            )

    def random_settle(self) -> None:
        """Also late trades, of orders that have ended."""
        ended = ("filled", "settled", "cancelled")
        orders = [
            name
            for name, order in self.model.orders.items()
            if order.status in ended and any(trade.is_due for trade in order.trades)
        ]
        if not orders:
            return
        order = self.random.choice(orders)
        trade = self.random.choice(self.model.orders[order].trades)
        name = f"trd_{VENUE}/{trade.execution_reference}"

        def other() -> str:
            answer = self.model.settle_trade(order, VENUE, trade.execution_reference)
            self.model.settle_order(order)
            return answer

        self._step(f"settle {name} {order}", lambda: self.world.settle(order, name), other)


class MarketLife(Life):
    """A life of instruments in which trades are taken back; nothing is booked by hand."""

    CHANCES = Life.CHANCES | {"random_bust": 16, "random_correct": 16}
    random_bust, random_correct = MarketRun.random_bust, MarketRun.random_correct
    some_trade, take_back = MarketRun.some_trade, MarketRun.take_back

    def __init__(self, seed: int, *, twice: bool = False) -> None:
        super().__init__(seed, twice=twice)
        self.model.may_be_overdrawn = True

    def start(self, of: str, kind: Any, ex_date: date, **words: Any) -> Action:
        """A redemption puts the instrument's trades out of reach."""
        if kind in ("maturity", "call"):
            self.model.redeemed.add(of)
        return super().start(of, kind, ex_date, **words)
