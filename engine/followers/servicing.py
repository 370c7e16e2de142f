"""Servicing: coupons, dividends, redemptions and splits, on their day by the business clock.

It has no offset in the journal: instruments with something to do come from a view. An action is
started in the instrument's stream; then each holder has it in a command of its own, which does nothing
the second time; when all have had it, it is completed. An account that has to wait is blocked and tried
again, the others continue.

Holders come from views, so they are read only when the views show all that was recorded before the
action started. Later trades settle on or after the day, and have no part in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

from engine.commands import servicing
from engine.commands.desk import Command, Decision, Desk, Outcome
from engine.domain import action_steps, clock, split
from engine.domain import instrument as instruments
from engine.domain.corporate_action import REDEMPTIONS, SPLITS, Action
from engine.domain.instrument import Instrument
from engine.followers.acting import BlockedOrders, Burst, CheckCancelled, Timer, pages
from engine.kernel import wall
from engine.kernel.errors import ViewBehind
from engine.kernel.ids import IdSource
from engine.kernel.limits import (
    ACTIONS_OPEN_MAX,
    SERVED_BATCH,
    SERVED_BLOCKED_MAX,
    SERVICE_RETRY_S,
    SERVICE_S,
    UNITS_QUIET_S,
    VIEW_POLL_S,
)
from engine.kernel.process import SERVICING
from engine.kernel.refusals import refused


class Due(Protocol):
    """An instrument with something to do."""

    @property
    def instrument(self) -> str: ...


class Holder(Protocol):
    """An account that may have to have an action."""

    @property
    def account(self) -> str: ...
    @property
    def tenant(self) -> str: ...


class WaitingOrder(Protocol):
    """An open order of an instrument, and the offset of its first fact."""

    @property
    def offset(self) -> int: ...
    @property
    def order(self) -> str: ...
    @property
    def account(self) -> str: ...


class Total(Protocol):
    """Accounts that had an action, and the cash of all."""

    @property
    def accounts(self) -> int: ...
    @property
    def amount(self) -> Decimal: ...


class ServicingSets(Protocol):
    """The working sets: see `projections.serviced.Sets`."""

    def reached(self) -> int: ...
    def due(self, day: date, limit: int, after: Any) -> Sequence[Due]: ...
    def holders(self, of: str, action: Action, after: str, limit: int) -> Sequence[Holder]: ...
    def withheld(self) -> Sequence[Holder]: ...
    def orders(self, of: str, stage: str, after: int, limit: int) -> Sequence[WaitingOrder]: ...
    def total(self, action: str) -> Total: ...


CANCELLED_FOR: Final = dict.fromkeys(REDEMPTIONS, "matured") | dict.fromkeys(SPLITS, "corporate_action")
"""Action -> reason for which waiting orders of the instrument end."""


class Servicing:
    """The acting part of the follower (see `follow.Acting`)."""

    offset: Final = None

    def __init__(
        self,
        desk: Desk,
        sets: ServicingSets,
        ids: IdSource,
        *,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = BlockedOrders(SERVICING)
        self._desk = desk
        self._burst = Burst(desk)
        self._sets = sets
        self._ids = ids
        self._now_us = now_us
        self._monotonic = monotonic
        self._polling = Timer(monotonic, SERVICE_S)
        self._pausing = Timer(monotonic, 0.0)
        self._work: Iterator[float] | None = None
        self._left: dict[str, list[Holder]] = {}  # action -> accounts that have to wait
        self._retries: dict[str, Timer] = {}  # instrument -> when to try those again
        self._executing: dict[str, set[str]] = {}  # action -> orders that it waits for
        self._quiet: dict[str, Timer] = {}  # action -> when no process sends orders any more

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Serves one batch of accounts. See `follow.Acting`."""
        check_cancelled()
        if self._work is None:
            if not self._polling.is_due:
                return self._polling.due_in_s
            self._polling.restart()
            self._work = self._poll(check_cancelled)
        if not self._pausing.is_due:  # woken by a fact
            return self._pausing.due_in_s
        rest_s = next(self._work, None)
        if rest_s is None:
            self._work = None
            return self._polling.due_in_s
        self._pausing.restart(rest_s)
        return rest_s

    def finish(self) -> None:
        """No state to save."""

    def _business_date(self) -> date:
        return clock.business_date(self._desk.state(clock.STREAM), self._now_us())

    def _market_date(self, state: Instrument) -> date:
        now_us = clock.business_time_us(self._desk.state(clock.STREAM), self._now_us())
        return instruments.local_date(state.terms, now_us)

    def _poll(self, check_cancelled: CheckCancelled) -> Iterator[float]:
        """Every instrument with something to do today; yields seconds to pause after each step."""
        today = self._business_date()
        after: Due | None = None
        try:
            while True:
                rows = self._sets.due(today, SERVED_BATCH, after)
                for row in rows:
                    timer = self._retries.get(row.instrument)
                    if timer is None or timer.is_due:
                        yield from self._service(row.instrument, check_cancelled)
                if len(rows) < SERVED_BATCH:
                    break
                after = rows[-1]
        except ViewBehind as error:
            self.faults.show("views", error)
        else:
            self.faults.clear("views")

    def _service(self, instrument: str, check_cancelled: CheckCancelled) -> Iterator[float]:
        """Announces and starts what is due of an instrument, and applies what has started."""
        try:
            self._advance(instrument)
        except Exception as error:  # noqa: BLE001  `note` raises what concerns others too
            self.faults.note(instrument, error)
            self._retry(instrument)
            return
        is_crowded = self._tell_left_out(instrument)
        is_done = yield from self._start_splits(instrument, check_cancelled)
        state: Instrument = self._desk.state(instrument)
        for action in state.servicing.actions:
            if action.is_started:
                is_done &= yield from self._apply(instrument, action, check_cancelled)
        if is_done and not is_crowded:
            self._retries.pop(instrument, None)
        else:
            self._retry(instrument)

    def _tell_left_out(self, instrument: str) -> bool:
        """Shows an instrument as blocked for whose terms there is no place; whether it is one."""
        terms = action_steps.left_out(self._desk.state(instrument), self._business_date())
        if terms is None:
            self.faults.clear(instrument)
            return False
        detail = (
            f"It has {ACTIONS_OPEN_MAX} open corporate actions, the maximum: its {terms.action_type}"
            f" of {terms.ex_date} is not announced. Withdraw one, or see what those started wait for."
        )
        self.faults.show(instrument, refused("invalid_request", detail))
        return True

    def _retry(self, instrument: str) -> None:
        self._retries[instrument] = timer = Timer(self._monotonic, SERVICE_RETRY_S)
        timer.restart()

    def _advance(self, instrument: str) -> None:
        """Announces what the terms bring and starts what is due, but no split; payments first."""
        self._do(servicing.follow_schedule, instrument=instrument)
        while self._do(servicing.announce_due, ids=self._ids, instrument=instrument).facts:
            pass
        state: Instrument = self._desk.state(instrument)
        today, market_date = self._business_date(), self._market_date(state)
        for action in sorted(state.servicing.actions, key=_order):
            is_due = action_steps.is_due(action, today, market_date)
            if action.is_started or action.terms.action_type in SPLITS or not is_due:
                continue
            if action.terms.action_type not in REDEMPTIONS or self._is_quiet(action):
                self._do(servicing.start_action, instrument=instrument, action=action.id)

    def _start_splits(
        self, instrument: str, check_cancelled: CheckCancelled
    ) -> Generator[float, None, bool]:
        """Starts the splits that are due at the market, each when no order of the instrument is open.

        Orders are refused and not sent from that day on, by every process within UNITS_QUIET_S. Returns
        whether none is left.
        """
        state: Instrument = self._desk.state(instrument)
        today = self._market_date(state)
        for action in split.of(state):
            if action.is_started or action.starts_on > today:
                continue
            if not self._is_quiet(action):
                return False
            yield from self._shown(self._desk.journal.head)
            yield from self._cancel_waiting(instrument, action, None, check_cancelled)
            yield from self._shown(self._desk.journal.head)
            is_waiting = self._sets.orders(instrument, "waiting", 0, 1)
            executing = self._executing_before(instrument, action)
            if executing or is_waiting:
                self._end_resting(executing, check_cancelled)
                return False
            self._do(servicing.start_action, instrument=instrument, action=action.id)
        return True

    def _is_quiet(self, action: Action) -> bool:
        """Whether a change of units has been due for UNITS_QUIET_S."""
        if action.id not in self._quiet:
            self._quiet[action.id] = timer = Timer(self._monotonic, UNITS_QUIET_S)
            timer.restart()
        return self._quiet[action.id].is_due

    def _apply(
        self, instrument: str, action: Action, check_cancelled: CheckCancelled
    ) -> Generator[float, None, bool]:
        """Applies an action to its holders; whether all have had it, so that it is completed."""
        yield from self._shown(self._desk.journal.head)
        executing: Sequence[WaitingOrder] = ()
        if action.terms.action_type in CANCELLED_FOR:
            # After the start of a redemption no order is placed; clocks of processes may differ.
            since_us = action.modified_at_us if action.terms.action_type in SPLITS else None
            yield from self._cancel_waiting(instrument, action, since_us, check_cancelled)
            # Read before the holders: a trade of an order that has ended since is among them.
            executing = self._executing_before(instrument, action)
        left: list[Holder] = []
        for page in self._pages(instrument, action):
            left += self._serve(instrument, action, page, executing, check_cancelled)
            yield 0.0
        self._left.pop(action.id, None)
        if not left and not executing:
            yield from self._complete(instrument, action)
            return True
        if not executing and len(left) <= SERVED_BLOCKED_MAX:
            self._left[action.id] = left
        return False

    def _pages(self, instrument: str, action: Action) -> Iterator[Sequence[Holder]]:
        """The accounts to serve: those left the last time, or all."""
        known = self._left.get(action.id)
        if known is not None:
            yield from (known[at : at + SERVED_BATCH] for at in range(0, len(known), SERVED_BATCH))
            return
        yield self._sets.withheld()
        after, is_full = "", True
        while is_full:
            page = self._sets.holders(instrument, action, after, SERVED_BATCH)
            is_full = len(page) == SERVED_BATCH
            if page:
                after = page[-1].account
                yield page

    def _serve(
        self,
        instrument: str,
        action: Action,
        page: Sequence[Holder],
        executing: Sequence[WaitingOrder],
        check_cancelled: CheckCancelled,
    ) -> list[Holder]:
        """Applies an action to some accounts; returns those that have to wait, such as for the end of
        `executing` orders.
        """
        commands = [
            self._command(
                servicing.apply_action,
                one.tenant or None,
                ids=self._ids,
                instrument=instrument,
                action=action.id,
                account=one.account,
                orders=[order.order for order in executing if order.account == one.account],
            )
            for one in page
        ]
        subjects = [f"{one.account}/{instrument}" for one in page]
        outcomes = self._burst.do_all(commands, check_cancelled)
        are_done = self.faults.note_all(subjects, outcomes)
        return [one for one, is_done in zip(page, are_done, strict=True) if not is_done]

    def _complete(self, instrument: str, action: Action) -> Iterator[float]:
        yield from self._shown(self._desk.journal.head)
        self._quiet.pop(action.id, None)
        total = self._sets.total(action.id)
        self._do(
            servicing.complete_action,
            instrument=instrument,
            action=action.id,
            accounts=total.accounts,
            amount=total.amount,
        )

    # --- orders -----------------------------------------------------------------------------------

    def _cancel_waiting(
        self, instrument: str, action: Action, placed_by_us: int | None, check_cancelled: CheckCancelled
    ) -> Iterator[float]:
        """Cancels orders that no venue has, placed before the action started."""
        waiting = partial(self._sets.orders, instrument, "waiting", limit=SERVED_BATCH)
        for rows in pages(waiting, SERVED_BATCH):
            commands = [
                self._command(
                    servicing.cancel_waiting,
                    self._desk.tenants.of(row.order),
                    order=row.order,
                    reason=CANCELLED_FOR[action.terms.action_type],
                    placed_by_us=placed_by_us,
                )
                for row in rows
            ]
            outcomes = self._burst.do_all(commands, check_cancelled)
            self.faults.note_all([row.order for row in rows], outcomes)
            yield 0.0

    def _end_resting(self, executing: Sequence[WaitingOrder], check_cancelled: CheckCancelled) -> None:
        """Has venues asked to cancel limit orders; others end by themselves."""
        commands = [
            self._command(servicing.end_resting, self._desk.tenants.of(row.order), order=row.order)
            for row in executing
        ]
        for row, outcome in zip(executing, self._burst.do_all(commands, check_cancelled), strict=True):
            if isinstance(outcome, Exception):
                self.faults.note(row.order, outcome)

    def _executing_before(self, instrument: str, action: Action) -> Sequence[WaitingOrder]:
        """Orders at a venue that may still trade units of before the action. Shown as blocked. Those
        sent before an earlier split do not hold up the start of the next one.
        """
        rows = self._sets.orders(instrument, "at_venue", 0, SERVED_BATCH)
        if action.terms.action_type in SPLITS:
            splits = self._desk.state(instrument).servicing.splits
            levels = range(action.number) if action.is_started else (splits,)
            rows = [row for row in rows if self._desk.state(row.order).splits in levels]
        now = {row.order for row in rows}
        for order in self._executing.pop(action.id, set()) - now:
            self.faults.clear(order)
        what = action.terms.action_type.replace("_", " ")
        for order in now:
            detail = f"It is at its venue; the {what} of {instrument} waits for its end."
            self.faults.show(order, refused("invalid_request", detail))
        if now:
            self._executing[action.id] = now
        return rows

    # --- helpers ----------------------------------------------------------------------------------

    def _shown(self, offset: int) -> Iterator[float]:
        """Waits until the views show the fact at `offset`."""
        while self._sets.reached() < offset:
            yield VIEW_POLL_S

    def _do(self, decision: Callable[..., Decision], **words: Any) -> Outcome:
        return self._desk.do(self._command(decision, None, **words))

    @staticmethod
    def _command(decision: Callable[..., Decision], tenant: str | None, **words: Any) -> Command:
        return Command(partial(decision, **words), tenant, SERVICING)


def _order(action: Action) -> tuple[date, bool]:
    return action.starts_on, action.terms.action_type in CANCELLED_FOR
