"""Random runs in which orders may have a limit, and their time may be over."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from engine.domain.pricing import Price
from tests.laws.market_runs import MarketRun


class LimitRun(MarketRun):
    """A run at a real market with limit orders."""

    CHANCES = MarketRun.CHANCES | {"random_expiry": 6, "random_start_of_a_limit": 8}

    def __init__(self, seed: int, *, twice: bool = False) -> None:
        super().__init__(seed, twice=twice)
        self.limiting = Random(seed + 4)

    def some_limit(self, of: str) -> Decimal | None:
        if self.limiting.random() < 0.6:
            return None
        return Decimal(self.limiting.choice((*self.prices[of], *self.prices[of], "0")))

    def usual_price(self, order: str, price: Price) -> str:
        limit = self.world.order(order).terms.limit_price
        return super().usual_price(order, price) if limit is None else str(limit)

    def some_interest(self, of: str, order: str) -> Decimal:
        """Now and then a venue reports interest of what bears none: it counts beside the limit."""
        usual = super().some_interest(of, order)
        known = self.world.order(order) if order in self.started else None
        if known is None or known.terms.limit_price is None or self.limiting.random() < 0.8:
            return usual
        is_dear = (
            min(Decimal(one) for one in self.prices[of]) > 1
        )  # else a unit would cost less than nothing
        return Decimal(self.limiting.choice(("0.00000001", "0.5", "-0.5" if is_dear else "0.1")))

    def random_start_of_a_limit(self) -> None:
        """Without a price, at a venue that needs one or does not; or when its time is over."""
        order = self.some_order("placed", "pending")
        known = self.world.order(order) if order else None
        if known is None or known.terms.limit_price is None:
            return
        name = known.terms.order
        words = {"needs_price": self.limiting.random() < 0.3, "is_expired": self.limiting.random() < 0.2}
        self.started.setdefault(name, str(known.terms.limit_price))
        self._step(
            f"start {name} without a price {words}",
            lambda: self.world.start(name, None, **words),
            lambda: self.model.start_execution(name, **words),
        )

    def random_expiry(self) -> None:
        order = self.some_order("placed", "pending", "executing", "executing")
        if order:
            self._step(
                f"expire {order}", lambda: self.world.expire(order), lambda: self.model.expire(order)
            )
