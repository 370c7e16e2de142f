"""Waiting orders: sent once their market is open and their instrument has a fresh price, oldest first.

    an opening comes, by a timer     -> all that wait are walked, and those that can go are started
    a new price comes                -> the same
    an order arrives behind others   -> it is started after the walk: no order overtakes an older one
    every WAITING_ALL_S              -> the others are decided again, as some have to be cancelled

Orders of a closed market are left alone until it opens, or until their instrument changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from engine.commands.decisions import Firm
from engine.commands.desk import Desk
from engine.domain.instrument import Instrument, opening, price_of
from engine.domain.order import TERMINAL, Order
from engine.followers.acting import CheckCancelled, Stopped, Sweep, Timer, Working, WorkingSet
from engine.followers.business_clock import BusinessClock
from engine.kernel import wall
from engine.kernel.errors import LeaseLost
from engine.kernel.limits import OPENING_SOON_US, WAITING_ALL_S, WAITING_RECENT_MAX, WAITING_S

BEGUN: Final = frozenset({"executing", "filled", *TERMINAL})


_LINED_UP: Final = frozenset({"market_closed", "price_too_old"})
"""Reasons for which all orders of an instrument wait."""


class Starting(NamedTuple):
    """An order that may be ready to be sent; `cause` is the offset of its fact, None if it waited."""

    order: str
    instrument: str
    cause: int | None


Start = Callable[[Sequence[Starting], CheckCancelled], None]
"""Starts orders, in their order."""


class Waiting:
    """The waiting orders of one follower. `rows`: all of them, from a view with a lag.

    `refresh` reads new prices; how many.
    """

    def __init__(
        self,
        desk: Desk,
        firm: Firm,
        rows: WorkingSet,
        start: Start,
        *,
        refresh: Callable[[], int],
        business: BusinessClock,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._firm = firm
        self._start = start
        self._refresh = refresh
        self._now_us = now_us
        self._monotonic = monotonic
        self._ready = Sweep(rows, Timer(monotonic, inf))
        self._all = Sweep(rows, Timer(monotonic, WAITING_ALL_S))
        self._pricing = Timer(monotonic, WAITING_S)
        self._business = business
        self._opens_us: dict[str, int] = {}  # closed instruments with waiting orders, business time
        self._next_us: int | None = None  # the first of them, or earlier
        self._is_known = False  # whether the next is complete
        self._lined_up: set[str] = set()  # instruments with waiting orders
        self._met: set[str] = set()  # the same, as far as the current walk has come
        self._recent: dict[str, Starting] = {}  # the last to arrive: the view may lack them
        self._changed: set[str] = set()  # closed instruments whose orders are to be decided again
        self._changed_since: set[str] = set()  # the same, since the current walk began

    @property
    def due_in_s(self) -> float:
        """Seconds until there is something to do."""
        opening_s = inf
        if self._next_us is not None:
            opening_s = max(0, self._next_us - self._business.now_us()) / 1_000_000
        return min(opening_s, self._ready.due_in_s, self._all.due_in_s, self._pricing.due_in_s)

    # --- what happens ---------------------------------------------------------------------------------

    def learn_prices(self) -> None:
        """Reads new prices; orders that waited for them are walked."""
        if self._refresh():
            self._ready.hurry()

    def hurry(self) -> None:
        """All orders are decided again, before any new one."""
        self._is_known = False
        self._ready.hurry()
        self._all.hurry()

    def look_at(self, instruments: Collection[str]) -> None:
        """Orders of these instruments are decided again, even while the market is closed."""
        known = self._lined_up.intersection(instruments) if self._is_known else instruments
        if known:
            self._changed.update(known)
            self._changed_since.update(known)
            self._ready.hurry()
            self._all.hurry()

    def admit(self, orders: Sequence[Starting]) -> list[Starting]:
        """New orders that may be started now; the others follow the older ones."""
        names = {one.instrument for one in orders}
        lined_up = self._lined_up & names if self._is_known else names
        ready = self._ready_of(lined_up, soon_us=OPENING_SOON_US)
        behind = [one for one in orders if one.instrument in ready]
        self._remember(behind)
        if behind and self._ready.due_in_s:
            self._ready.hurry()
        return [one for one in orders if one.instrument not in ready]

    def line_up(self, one: Starting, order: Order) -> None:
        """Notes an order that waits for its market or a price."""
        if order.status != "pending" or order.pending_reason not in _LINED_UP:
            return
        self._lined_up.add(one.instrument)
        if one.cause is not None:
            self._remember([one])
        is_news = order.pending_reason == "market_closed" and one.instrument not in self._opens_us
        if is_news and self._can_go(one.instrument):  # since a moment
            self._ready.hurry()

    def _remember(self, orders: Sequence[Starting]) -> None:
        self._recent |= {one.order: one for one in orders}
        while len(self._recent) > WAITING_RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    # --- walks ----------------------------------------------------------------------------------------

    def turn(self, offset: int, check_cancelled: CheckCancelled) -> None:
        """One page of each walk that is due. Orders placed after `offset` arrive by `admit`."""
        if self._pricing.is_due:
            self._pricing.restart()
            self.learn_prices()
        self._open_markets()
        try:
            self._walk_ready(offset, check_cancelled)
            self._walk_all(offset, check_cancelled)
        except (Stopped, LeaseLost):
            raise
        except Exception:  # new orders do not wait for a view that cannot be read
            self._start_recent(frozenset(), check_cancelled)
            raise

    def _open_markets(self) -> None:
        now_us = self._business.now_us()
        if self._next_us is None or now_us < self._next_us:
            return
        due = {instrument for instrument, opens_us in self._opens_us.items() if opens_us <= now_us}
        for instrument in due:
            del self._opens_us[instrument]
        self._next_us = min(self._opens_us.values(), default=None)
        self.look_at(due)

    def _walk_ready(self, offset: int, check_cancelled: CheckCancelled) -> None:
        walks = self._ready.walks
        with self._ready.page(self._monotonic) as rows:
            names = {row.instrument for row in rows}
            ready = self._ready_of(names - self._met)  # else older ones have just been passed
            self._met |= names - ready
            older = [row for row in rows if row.instrument in ready and row.order not in self._recent]
            self._start_rows(older, offset, check_cancelled)
        if self._ready.walks == walks:
            return
        self._is_known, self._lined_up, self._met = True, self._met, set()
        self._start_recent(self._lined_up, check_cancelled)

    def _start_recent(self, passed: Collection[str], check_cancelled: CheckCancelled) -> None:
        """Starts the last to arrive, except those of instruments whose older orders were passed."""
        names = {one.instrument for one in self._recent.values()}
        ready = self._ready_of(names.difference(passed))
        due = [one for one in self._recent.values() if one.instrument in ready]
        for one in due:
            del self._recent[one.order]
        self._lined_up |= {one.instrument for one in self._recent.values()}
        self._start_unless_begun(due, check_cancelled)

    def _walk_all(self, offset: int, check_cancelled: CheckCancelled) -> None:
        """Orders that can go are left to the other walk, if it is under way; a closed market's are
        skipped.
        """
        walks = self._all.walks
        with self._all.page(self._monotonic) as rows:
            if rows:
                self.learn_prices()  # avoids a cancel for a price half a second old
            names = {row.instrument for row in rows}
            ready = self._ready_of(names)
            due = {name for name in names - ready if not self._is_quiet(name)}
            due |= ready if self._ready.due_in_s else set()
            self._start_rows([row for row in rows if row.instrument in due], offset, check_cancelled)
        if self._all.walks > walks:
            self._changed, self._changed_since = self._changed_since, set()

    def _is_quiet(self, instrument: str) -> bool:
        """Whether the market is closed and its orders have been decided since."""
        return instrument in self._opens_us and instrument not in self._changed and self._all.walks > 0

    def _start_rows(self, rows: Sequence[Working], offset: int, check_cancelled: CheckCancelled) -> None:
        orders = [Starting(row.order, row.instrument, None) for row in rows if row.offset <= offset]
        self._start_unless_begun(orders, check_cancelled)

    def _start_unless_begun(self, orders: Sequence[Starting], check_cancelled: CheckCancelled) -> None:
        """Starts orders that have not started as far as known.

        Starting others too would treat them as in doubt and query the venue about each, while the lag
        of the views grows.
        """
        known = self._desk.remembered(one.order for one in orders)
        begun = {order for order, state in known.items() if has_begun(state)}
        self._start([one for one in orders if one.order not in begun], check_cancelled)

    # --- instruments ----------------------------------------------------------------------------------

    def _ready_of(self, instruments: Iterable[str], soon_us: int = 0) -> set[str]:
        return {name for name in set(instruments) if self._can_go(name, soon_us)}

    def _can_go(self, instrument: str, soon_us: int = 0) -> bool:
        """Whether an order of the instrument could be sent now, or within `soon_us`."""
        security: Instrument | None = self._desk.state(instrument)
        if security is None:
            return False
        now_us = self._business.now_us()
        opens_us = opening(security.terms, now_us)
        if opens_us is None:
            if self._opens_us.pop(instrument, None) is not None:
                self._ready.hurry()
        else:
            self._opens_us[instrument] = opens_us
            self._next_us = opens_us if self._next_us is None else min(self._next_us, opens_us)
            if opens_us - now_us > soon_us:
                return False
        price = price_of(security, self._firm.prices.latest(security.terms.symbol))
        return price is not None and self._now_us() - price.at_us <= self._firm.price_max_age_us


def has_begun(order: Order) -> bool:
    """Whether an order is with a venue, or over."""
    return order.status in BEGUN
