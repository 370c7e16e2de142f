"""Rollovers: reinvests maturing bills on the business day before they are paid.

It has no offset in the journal: positions come from a view with a lag, and one that has its rollover, or
is skipped, has no effect. Waiting sells of a position end first, so that its units are free. Views are
waited for, so that no trade of the day before is missed. A position that cannot be rolled over for an
error is blocked and tried again, the others continue; at maturity it becomes cash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any, Final, Protocol

from engine.commands import rollovers
from engine.commands.decisions import Firm
from engine.commands.desk import Command, Decision, Desk
from engine.domain import clock, rollover
from engine.domain.rollover import Family
from engine.followers.acting import BlockedOrders, Burst, CheckCancelled, Timer, pages
from engine.kernel import wall
from engine.kernel.errors import ViewBehind
from engine.kernel.limits import (
    BILLS_CONSIDERED_MAX,
    ROLL_RETRY_S,
    ROLL_S,
    ROLLED_BATCH,
    VIEW_POLL_S,
)
from engine.kernel.process import ROLLOVERS
from engine.kernel.refusals import refused
from engine.kernel.times import rfc3339


class Maturing(Protocol):
    """An instrument whose positions are to be rolled over; `family` None: no bill follows."""

    @property
    def instrument(self) -> str: ...
    @property
    def family(self) -> Family | None: ...


class Rolling(Protocol):
    """A position to be rolled over, and the offset of its first fact."""

    @property
    def offset(self) -> int: ...
    @property
    def account(self) -> str: ...
    @property
    def tenant(self) -> str: ...


class WaitingOrder(Protocol):
    """An order that no venue has, and the offset of its first fact."""

    @property
    def offset(self) -> int: ...
    @property
    def order(self) -> str: ...


class RollingSets(Protocol):
    """The working sets: see `projections.rolling.Sets`."""

    def reached(self) -> int: ...
    def maturing(self, day: date, limit: int, after: Any) -> Sequence[Maturing]: ...
    def rolling(self, of: str, limit: int, after: int) -> Sequence[Rolling]: ...
    def waiting(self, of: str, limit: int, after: int) -> Sequence[WaitingOrder]: ...
    def outstanding(self, family: Family, day: date, limit: int) -> Sequence[str]: ...


class Rollovers:
    """The acting part of the follower (see `follow.Acting`)."""

    offset: Final = None

    def __init__(
        self,
        desk: Desk,
        firm: Firm,
        sets: RollingSets,
        *,
        refresh: Callable[[], object],
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refresh` learns the latest prices."""
        self.faults = BlockedOrders(ROLLOVERS)
        self._desk = desk
        self._burst = Burst(desk)
        self._firm = firm
        self._sets = sets
        self._refresh = refresh
        self._now_us = now_us
        self._monotonic = monotonic
        self._polling = Timer(monotonic, ROLL_S)
        self._work: Iterator[float] | None = None

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Rolls over one batch of positions. See `follow.Acting`."""
        check_cancelled()
        if self._work is None:
            if not self._polling.is_due:
                return self._polling.due_in_s
            self._polling.restart()
            self._work = self._poll(check_cancelled)
        rest_s = next(self._work, None)
        if rest_s is None:
            self._work = None
            return self._polling.due_in_s
        return rest_s

    def finish(self) -> None:
        """No state to save."""

    def _poll(self, check_cancelled: CheckCancelled) -> Iterator[float]:
        """Every instrument that rolls today; yields seconds to pause after each step."""
        today = clock.business_date(self._desk.state(clock.STREAM), self._now_us())
        after: Maturing | None = None
        began_s, has_worked = self._monotonic(), False
        try:
            while rows := self._sets.maturing(today, ROLLED_BATCH, after):
                for row in rows:
                    if self._sets.rolling(row.instrument, 1, 0):
                        has_worked = True
                        yield from self._roll(row, today, check_cancelled)
                after = rows[-1]
        except ViewBehind as error:
            self.faults.show("views", error)
        else:
            self.faults.clear("views")
        if has_worked:  # what is left has to wait: for a sell at its venue, or while trading is halted
            self._polling.restart(ROLL_RETRY_S, least_s=self._monotonic() - began_s)

    def _roll(self, maturing: Maturing, today: date, check_cancelled: CheckCancelled) -> Iterator[float]:
        """Every position in an instrument."""
        of, head = maturing.instrument, self._desk.journal.head
        while self._sets.reached() < head:
            yield VIEW_POLL_S
        self._refresh()
        family, bills = maturing.family, []
        if family is not None:
            bills = [*self._sets.outstanding(family, today, BILLS_CONSIDERED_MAX)]
        if self._is_undecided(of, bills):
            return
        yield from self._cancel_sells(of, check_cancelled)
        for rows in pages(partial(self._sets.rolling, of, ROLLED_BATCH), ROLLED_BATCH):
            commands = [
                self._command(
                    rollovers.roll_over,
                    row.tenant,
                    firm=self._firm,
                    account=row.account,
                    instrument=of,
                    order=self._firm.ids.new("ord"),
                    bills=bills,
                )
                for row in rows
            ]
            self._do([f"{row.account}/{of}" for row in rows], commands, check_cancelled)
            yield 0.0

    def _is_undecided(self, of: str, bills: Sequence[str]) -> bool:
        """Whether no bill can be bought yet, which is shown: an operator can list or price one."""
        old, *known = [self._desk.state(one) for one in (of, *bills)]
        now_us = clock.business_time_us(self._desk.state(clock.STREAM), self._now_us())
        if rollovers.next_bill(self._firm, old, known, now_us) is not None:
            self.faults.clear(of)
            return False
        decided_us = rollover.decided_at_us(old.terms)
        assert decided_us is not None
        detail = (
            "No bill follows that is listed, traded and priced. Without one its positions become cash"
        )
        self.faults.show(of, refused("invalid_request", f"{detail}; decided at {rfc3339(decided_us)}."))
        return True

    def _cancel_sells(self, of: str, check_cancelled: CheckCancelled) -> Iterator[float]:
        """Cancels the sells of these positions that no venue has."""
        for rows in pages(partial(self._sets.waiting, of, ROLLED_BATCH), ROLLED_BATCH):
            orders = [row.order for row in rows]
            tenants = self._desk.tenants
            commands = [
                self._command(rollovers.cancel_sell, tenants.of(order), order=order) for order in orders
            ]
            self._do(orders, commands, check_cancelled)
            yield 0.0

    def _do(
        self, subjects: Sequence[str], commands: Sequence[Command], check_cancelled: CheckCancelled
    ) -> None:
        self.faults.note_all(subjects, self._burst.do_all(commands, check_cancelled))

    @staticmethod
    def _command(decision: Callable[..., Decision], tenant: str | None, **words: Any) -> Command:
        return Command(partial(decision, **words), tenant, ROLLOVERS)
