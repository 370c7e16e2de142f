"""A deterministic desk: every command's id, and every id it creates, is numbered.

A decision may be made twice with the same result: its ids are derived from the command's id, not drawn
from a stateful source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar

from engine.commands import decisions, rollovers, servicing
from engine.commands.decisions import Firm, Prices
from engine.commands.desk import Command, Decision, DecisionContext, Desk, Outcome
from engine.domain import idempotency
from engine.journal.journal import Journal
from engine.kernel.fact import Fact
from engine.kernel.ids import IdSource
from engine.kernel.limits import SANDBOX_PRICE_MAX_AGE_US

NEED_A_FIRM: Final = (
    decisions.place_order, decisions.start_execution, decisions.take_report, rollovers.roll_over,
)  # fmt: skip
NEED_IDS: Final = (servicing.announce_due, servicing.apply_action)

F = TypeVar("F", bound=Fact)


class SeededDesk:
    """Decides commands of one tenant at `now_us`, which the caller moves forward."""

    def __init__(self, journal: Journal, seed: int, tenant: str, prices: Prices, now_us: int) -> None:
        self.journal = journal
        self.now_us = now_us
        self._seed = seed
        self._tenant = tenant
        self._prices = prices
        self._desk = Desk(journal, now_us=lambda: self.now_us)
        self._count = 0
        self._ids = self._ids_of(self._next_command())

    def new_id(self, prefix: str) -> str:
        """The next id of a new object."""
        return self._ids.new(prefix)

    def command(self, function: Callable[..., Decision], actor: str, **words: Any) -> Command:
        """The next command: one of `commands` with all arguments except its context and firm."""
        command_id = self._next_command()

        def decide(context: DecisionContext) -> Decision:
            if function in NEED_IDS:
                return function(context, ids=self._ids_of(command_id), **words)
            if function not in NEED_A_FIRM:
                return function(context, **words)
            firm = Firm(self._ids_of(command_id), self._prices, {}, SANDBOX_PRICE_MAX_AGE_US)
            return function(context, firm=firm, **words)

        return Command(decide, self._tenant, actor, command_id)

    def state(self, stream: str) -> Any:
        """A stream's state as the journal has it now; None if it does not exist."""
        return self._desk.state(stream)

    def last(self, stream: str, kind: type[F]) -> F:
        """The last fact of a kind in a stream."""
        facts = [one.fact for one in self.journal.stream(stream)]
        return next(fact for fact in reversed(facts) if isinstance(fact, kind))

    def do_all(self, todo: Sequence[Command]) -> list[Outcome | Exception]:
        """As `Desk.do_all`."""
        return self._desk.do_all(todo)

    def _next_command(self) -> bytes:
        self._count += 1
        return idempotency.command_id(["seeded", str(self._seed), str(self._count)])

    def _ids_of(self, command_id: bytes) -> IdSource:
        return IdSource(lambda: self.now_us // 1_000, bits_of(command_id))


def bits_of(seed: bytes) -> Callable[[int], int]:
    """n -> n bits, up to 256, deterministic for a seed. Creating a `Random` takes 20 times as long."""
    state = seed

    def bits(count: int) -> int:
        nonlocal state
        state = sha256(state).digest()
        return int.from_bytes(state, "big") >> (256 - count)

    return bits
