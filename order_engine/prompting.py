"""The journal, as far as the simulated venue has to know it for its scripts."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial
from typing import Final

from engine.commands import scripts
from engine.commands.desk import Command, Desk
from engine.domain import clock
from engine.domain.clock import Clock
from engine.domain.order import Order
from engine.kernel.ids import is_id
from engine.kernel.limits import EXECUTION_BATCH
from engine.kernel.process import EXECUTION
from engine.venues.port import EXECUTING, CancelTicket, SentOrder, sent_order
from projections.listing import Reader
from projections.views import scripts as view

PAGE: Final = EXECUTION_BATCH


class JournalPrompter:
    """See `simulated.Prompter`. Follows the view from page to page, and begins again at its end."""

    def __init__(self, desk: Desk, views: Reader) -> None:
        self._desk = desk
        self._views = views
        self._place = 0

    def ahead_us(self) -> int:
        """Business time minus wall time, as far as the execution has read the journal."""
        known: Clock | None = self._desk.remembered([clock.STREAM]).get(clock.STREAM)
        if known is None:
            known = self._desk.state(clock.STREAM)
        return known.ahead_us if known else 0

    def unplayed(self, known: Container[str]) -> Sequence[SentOrder]:
        """Orders whose execution is over and whose script is not played; those at the venue are asked
        about by the execution.
        """
        rows = view.playing(self._views, limit=PAGE, after=self._place)
        self._place = rows[-1].place if len(rows) == PAGE else 0
        found = [self._sent(row.order, is_over=True) for row in rows if row.order not in known]
        return [sent for sent in found if sent]

    def cancels(self, order: str) -> Sequence[CancelTicket]:
        """All requests to cancel an order."""
        sent = self._sent(order)
        return sent.cancels if sent else ()

    def _sent(self, order_id: str, *, is_over: bool = False) -> SentOrder | None:
        order: Order | None = self._desk.state(order_id) if is_id(order_id, "ord") else None
        if order is None or (is_over and order.status == EXECUTING):
            return None
        return sent_order(order, self._desk.journal.stream(order_id))

    def played(self, script: str, order: str) -> None:
        """Records that all reports of a script have been taken."""
        decide = partial(scripts.end_script, played=script, order=order)
        self._desk.do(
            Command(
                decide,
                self._desk.tenants.of(order),
                EXECUTION,
                id=scripts.end_command_id(script),
                is_repeatable=True,
            )
        )
