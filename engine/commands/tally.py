"""Daily order totals by tenant, as one process knows them, for the daily limit of a tenant.

An exact sum over all accounts would make a tenant's orders wait for each other. So each process counts
the orders that it has read from the journal, and those that it accepted and has not read yet. A single
process is exact. With several, an order may pass although unread orders of another used the limit up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from engine.domain.order import Placed
from engine.domain.trading_limits import USER, check_day, worth_of
from engine.journal.journal import Journal
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.limits import PAGE_FACTS, TALLY_HELD_MAX
from engine.kernel.values import EXACT, ZERO


class _Held(NamedTuple):
    tenant: str
    currency: str
    worth: Decimal
    day: date


class Tally:
    """Totals by tenant and currency of the last business day seen. For one thread.

    `limits` by currency, for each tenant. A hold is no fact: the caller has to `drop` it if the order is
    not recorded; that of a recorded order ends when the order is read.
    """

    def __init__(self, limits: Mapping[str, Decimal]) -> None:
        self._limits = limits
        self._day: date | None = None
        self._sums: dict[tuple[str, str], Decimal] = {}
        self._held: dict[str, _Held] = {}
        self.offset = 0
        """Offset up to which the journal was read."""

    def known(self, tenant: str, currency: str) -> Decimal:
        """The total of today, held and read."""
        return self._sums.get((tenant, currency), ZERO)

    def hold(self, placed: Placed, tenant: str, day: date) -> None:
        """Counts an order before it is recorded; the same one again counts once.

        Raises Refused `tenant_daily_limit`, or Unavailable when far too much is held.
        """
        if placed.purpose != USER or placed.currency not in self._limits:
            return
        self.drop(placed.order)
        day = self._come_to(day)
        held = _Held(tenant, placed.currency, worth_of(placed), day)
        known = self.known(tenant, held.currency)
        check_day("tenant_daily_limit", self._limits, held.currency, held.worth, known)
        if len(self._held) >= TALLY_HELD_MAX:
            raise Unavailable("the journal cannot be read: a tenant's daily limit cannot be judged")
        self._held[placed.order] = held
        self._add(held, held.worth)

    def check(self, placed: Placed, tenant: str, day: date) -> None:
        """Raises Refused `tenant_daily_limit` for an order that could not be held now."""
        if placed.purpose == USER and placed.currency in self._limits:
            self._come_to(day)
            known = self.known(tenant, placed.currency)
            check_day("tenant_daily_limit", self._limits, placed.currency, worth_of(placed), known)

    def drop(self, order: str) -> None:
        """Ends a hold: the order was not recorded, or was read."""
        held = self._held.pop(order, None)
        if held is not None:
            self._add(held, EXACT.minus(held.worth))

    def follow(self, facts: Iterable[Recorded]) -> None:
        """Counts facts of the journal, in its order; those seen before change nothing."""
        for recorded in facts:
            if recorded.offset <= self.offset:
                continue
            self.offset = recorded.offset
            placed, envelope = recorded.fact, recorded.envelope
            if not isinstance(placed, Placed) or placed.purpose != USER:
                continue
            self.drop(placed.order)
            day = envelope.business_date
            if envelope.tenant is None or day is None or placed.currency not in self._limits:
                continue
            if day == self._come_to(day):
                read = _Held(envelope.tenant, placed.currency, worth_of(placed), day)
                self._add(read, read.worth)

    def _come_to(self, day: date) -> date:
        """The day that is counted now: the last one seen. A later day ends all holds."""
        if self._day is None or day > self._day:
            self._day = day
            self._sums.clear()
            self._held.clear()
        return self._day

    def _add(self, held: _Held, worth: Decimal) -> None:
        key = held.tenant, held.currency
        self._sums[key] = EXACT.add(self._sums.get(key, ZERO), worth)


def start_of_day(journal: Journal, day: date) -> int:
    """An offset at or before the first fact of `day`, by bisection: days ascend.

    One page is added, as processes with different clocks may have mixed two days.
    """
    low, high = 0, journal.head
    while low < high:
        middle = (low + high) // 2
        known = journal.read(middle, 1)[0].envelope.business_date
        if known is not None and known < day:
            low = middle + 1
        else:
            high = middle
    return max(0, low - PAGE_FACTS)
