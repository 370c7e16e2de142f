"""The posted prices, as the simulated venue of the sandbox sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.commands.desk import Desk
from engine.domain import split
from engine.domain.instrument import Instrument, local_date, opening, price_of
from engine.domain.pricing import Price
from engine.registers.market import Market
from engine.venues.resting import Posted


class MarketTape:
    """See `resting.Tape`. Prices posted while an instrument's market was closed execute nothing until
    its opening, by the business clock as it is now.
    """

    def __init__(
        self, desk: Desk, market: Market, ahead_us: Callable[[], int], now_us: Callable[[], int]
    ) -> None:
        self._desk = desk
        self._market = market
        self._ahead_us = ahead_us
        self._now_us = now_us

    def current(self, instrument: str) -> Price | None:
        """The price at which an instrument is traded now."""
        security: Instrument | None = self._desk.state(instrument)
        if security is None:
            return None
        return self._traded_at(security, self._market.latest(security.terms.symbol), self._now_us())

    def since(self, instrument: str, at_us: int, number: int) -> Sequence[Posted]:
        """The prices of an instrument posted after one."""
        security: Instrument | None = self._desk.state(instrument)
        if security is None:
            return ()
        rows = self._market.since(security.terms.symbol, at_us, number)
        prices = [(number, quote.price) for number, quote in rows]
        return [
            Posted(price.at_us, number, self._traded_at(security, price, price.at_us))
            for number, price in prices
        ]

    def _traded_at(self, security: Instrument, price: Price | None, at_us: int) -> Price | None:
        """None while the market is closed, and from a split's ex date until the split has started: the
        price is of units of before.
        """
        business_us = at_us + self._ahead_us()
        if opening(security.terms, business_us) is not None:
            return None
        if split.is_to_start(security, local_date(security.terms, business_us)):
            return None
        return price_of(security, price)
