"""A world in which days pass: the decisions of an instrument's life, on states in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from engine.commands import servicing
from engine.domain import rollover, trading
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionStarted,
    ActionTerms,
)
from engine.domain.fees import FeeRule
from engine.domain.pricing import Price
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact
from tests.support.engines.world import World

Changed = list[tuple[str, str, list[Fact]]]


@dataclass
class Moment:
    """The time of a decision's context: noon of a business day."""

    at_us: int
    business_date: date

    @property
    def business_time_us(self) -> int:
        noon = datetime.combine(self.business_date, time(12), UTC)
        return int(noon.timestamp()) * 10**6


class Ids:
    """Ids of a world: each one is new."""

    def __init__(self) -> None:
        self.number = 0

    def new(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}_{self.number}"


class LivingWorld(World):
    """Answers "waits" besides a world's own: the action comes to the account later."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = Ids()

    def start_action(self, of: str, action: str, terms: ActionTerms) -> None:
        """Announced and started at once: its effect on accounts is what the runs are about."""
        self.now_us += 1
        self.record("instrument", of, ActionAnnounced(action, terms, "cli_test", self.now_us))
        self.record("instrument", of, ActionStarted(action, self.now_us))

    def apply(self, to: str, of: str, action: str) -> str:
        """An action of instrument `of` comes to account `to`."""
        orders = [
            name
            for (subject, name), state in self.states.items()
            if subject == "order" and (state.terms.account, state.terms.instrument) == (to, of)
        ]
        return self._waited(
            lambda: self._command(
                servicing.apply_action(
                    Moment(self.now_us, self.today),  # type: ignore[arg-type]
                    ids=self.ids,  # type: ignore[arg-type]
                    instrument=of,
                    action=action,
                    account=to,
                    orders=orders,
                )
            )
        )

    def _waited(self, decide: Callable[[], Changed]) -> str:
        answer = self._do(decide)
        return "waits" if answer == "invalid_request" else answer

    def cancel(self, name: str, reason: str) -> str:
        """The engine's own end of an order that waits."""
        known = self.order(name)
        return self._do(
            lambda: self._traded(
                known.terms.account, name, trading.cancel(known, reason, at_us=self.now_us)
            )
        )

    def choose_rollover(self, to: str, of: str, wanted: bool) -> str:
        held = self.account(to).holdings.positions.get(of)
        moment = Moment(self.now_us, self.today)

        def decide() -> Changed:
            if held is None:
                raise Refused("not_found", "")
            facts = rollover.choose(
                held,
                self.instrument(of).terms,
                wanted=wanted,
                business_time_us=moment.business_time_us,
                at_us=self.now_us,
            )
            return [("account", to, facts)]

        return self._do(decide)

    def roll(
        self,
        name: str,
        to: str,
        of: str,
        target: str | None,
        *,
        price: Price | None,
        fee: FeeRule,
        minimum_value: Decimal | None = None,
    ) -> str:
        """A rollover into `target`, the bill that was chosen; None: there is no bill."""
        found = rollover.Offer(self.instrument(target), price, self.today) if target else "no_bill"
        return self._do(
            lambda: self._traded(
                to,
                name,
                rollover.place(
                    self.account(to),
                    self.instrument(of),
                    found,
                    fee=fee,
                    order_id=name,
                    business_date=self.today,
                    at_us=self.now_us,
                    minimum_value=minimum_value,
                ),
            )
        )

    def _command(self, decision: Any) -> Changed:
        """Runs a decision on the states that it asks for."""
        asked = next(decision)
        while True:
            try:
                asked = decision.send(self._known(asked))
            except StopIteration as done:
                return [(self._subject(stream), stream, facts) for stream, facts in done.value]

    def _known(self, stream: str) -> Any:
        return next((state for (_, name), state in self.states.items() if name == stream), None)

    def _subject(self, stream: str) -> str:
        return next(subject for subject, name in self.states if name == stream)
