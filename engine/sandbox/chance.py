"""Random prices, orders and outcomes of a generated journal, all from one seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from random import Random
from typing import Final

from engine.domain.account import Account
from engine.domain.kind import SIMULATED
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.kernel.limits import SANDBOX_PRICE_MAX_AGE_US
from engine.kernel.values import STEPS, ZERO, Side, round_half_up
from engine.sandbox.maturing import Listing
from engine.sandbox.sandbox import LISTINGS
from engine.venues.port import Ticket
from engine.venues.simulated import answers_to

VENUE: Final = SIMULATED
STALE_EVERY: Final = 7
"""Every n-th hour an instrument has no fresh price, and its orders wait."""
STALE_HOUR: Final = 3
BUYS_IN_10: Final = 6
AMOUNTS: Final = ("cents", "cents", "cents", "hundreds", "hundreds", "5001", "5002", "5003")
"""Amounts of buys, equally likely: `venue` explains 5001 to 5003."""
SELLS: Final = (60, 25, 12, 3)
"""Weights of sells: some units, all, 20 (the venue executes a quarter), too many."""
FATES: Final = {
    "go": 900,  # to the venue, which executes it its own way
    "cancel": 40,  # cancelled by its client before it has started
    "cancel_executing": 30,  # cancelled by its client at the venue, in time
    "cancel_too_late": 20,  # the same, but the venue rejects the cancel
    "late_fill": 10,  # reported by the venue once more after the end: parked
}
"""Fate of an order -> frequency per thousand."""


class Prices(dict[str, Price]):
    """Latest prices by symbol (see `commands.Prices`)."""

    def latest(self, symbol: str) -> Price | None:
        """The latest price, None if there never was one."""
        return self.get(symbol)


class Chance:
    """Draws the next events. The same seed and calls give the same results."""

    def __init__(self, seed: int) -> None:
        self.prices = Prices()
        self._random = Random(seed)  # noqa: S311  nothing here is a secret
        self._promised: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)

    def begin_hour(self, hour: int, now_us: int) -> None:
        """Moves every price a little around its start; one may go stale."""
        self._promised.clear()
        stale = self._random.randrange(len(LISTINGS)) if hour % STALE_EVERY == STALE_HOUR else None
        for n, listing in enumerate(LISTINGS):
            percent = Decimal(self._random.randint(9_800, 10_200)).scaleb(-4)
            self.prices[listing.terms.symbol] = Price(
                round_half_up(listing.bid * percent, STEPS[4]),
                round_half_up(listing.ask * percent, STEPS[4]),
                now_us if n != stale else now_us - 2 * SANDBOX_PRICE_MAX_AGE_US,
            )

    def account(self, accounts: Sequence[str]) -> str:
        """A random account."""
        return self._random.choice(accounts)

    def order_request(self, account: Account) -> tuple[Listing, OrderRequest]:
        """A random order: sells of holdings, some too large, and buys."""
        free = [(one, self._free(account, one.id)) for one in LISTINGS]
        held = [(one, units) for one, units in free if units > 0]
        side: Side = "buy" if not held or self._random.randrange(10) < BUYS_IN_10 else "sell"
        if side == "buy":
            return self._random.choice(LISTINGS), OrderRequest("buy", cash_amount=self._amount())
        listing, units = self._random.choice(held)
        step = listing.terms.trading_increment
        part = step * self._random.randint(1, int(units / step))
        quantity = self._random.choices((part, units, min(units, Decimal(20)), 2 * units), SELLS)[0]
        self._promised[account.id, listing.id] += quantity
        return listing, OrderRequest("sell", quantity=quantity.quantize(step))

    def is_one_in(self, count: int) -> bool:
        """True once in `count` times."""
        return self._random.randrange(count) == 0

    def fate(self) -> str:
        """A random fate, one of FATES."""
        return self._random.choices(list(FATES), list(FATES.values()))[0]

    def _free(self, account: Account, instrument: str) -> Decimal:
        """Units that can still be sold; the outcomes of this hour's orders are not known yet."""
        position = account.holdings.positions.get(instrument)
        return position.units.available - self._promised[account.id, instrument] if position else ZERO

    def _amount(self) -> Decimal:
        kind = self._random.choice(AMOUNTS)
        if kind == "cents":
            return Decimal(self._random.randint(2_000, 400_000)).scaleb(-2)
        return Decimal(100 * self._random.randint(1, 50)) if kind == "hundreds" else Decimal(kind)


def reports_of(fate: str, ticket: Ticket, at_us: int) -> list[Report]:
    """The venue's reports of an order with this fate."""
    word = partial(Report, VENUE, order=ticket.order)
    if fate == "cancel_executing":
        return [word(f"{ticket.venue_order}-cancelled", kind="cancelled")]
    reports = answers_to(VENUE, ticket, at_us)
    if fate == "cancel_too_late":
        reports.insert(0, word(f"{ticket.venue_order}-rejected", kind="cancel_rejected"))
    if fate == "late_fill":
        late = partial(word, f"{ticket.venue_order}-late", kind="trade", price=ticket.price)
        reports.append(late(quantity=ticket.trading_increment))
    return reports
