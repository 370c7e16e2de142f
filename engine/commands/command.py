"""Commands: what a caller wants decided, what a decision is given, and the outcome."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec

from engine.domain import clock, kind
from engine.domain.clock import Clock
from engine.kernel.fact import Fact, Recorded

Changes = list[tuple[str, list[Fact]]]
"""(stream, new facts) in the order in which they are appended: an account's before its orders'."""
Decision = Generator[str, Any, Changes]
"""Yields ids of streams, is sent the state of each (None if it does not exist), returns what changes.
`Past` asks for facts."""


def changes(facts: Mapping[str, list[Fact]]) -> Changes:
    """The streams that have new facts."""
    return [(stream, new) for stream, new in facts.items() if new]


class Computed(Changes):
    """The result of a decision that only computes: nothing changes, the outcome has the `value`."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


class Past(str):
    """Yielded in place of a stream, after its state: the decision is sent the facts of some `kinds` that
    led to that state. The stream is read once, then what is new, so it is for rare decisions.
    """

    __slots__ = ("kinds",)

    kinds: tuple[type[Fact], ...]

    def __new__(cls, stream: str, *kinds: type[Fact]) -> Past:
        """`kinds` include their subclasses."""
        past = super().__new__(cls, stream)
        past.kinds = kinds
        return past


COMMAND_BYTES: Final = 16


class DecisionContext:
    """When a decision is made. `at_us` is wall time, never before the last fact of what was read."""

    __slots__ = ("at_us", "clock")

    def __init__(self, at_us: int, clock: Clock | None) -> None:
        self.at_us = at_us
        self.clock = clock

    def see(self, stream: str, at_us: int) -> None:
        """Notes a stream that was read and the time of its last fact. The journal's kind has no time."""
        if stream != kind.STREAM:
            self.at_us = max(self.at_us, at_us)

    @property
    def business_time_us(self) -> int:
        """Business time, microseconds since the epoch."""
        return clock.business_time_us(self.clock, self.at_us)

    @property
    def business_date(self) -> date:
        """The business day, in UTC."""
        return clock.business_date(self.clock, self.at_us)


def new_command_id() -> bytes:
    """A random id, for a command that is sent once."""
    return secrets.token_bytes(COMMAND_BYTES)


class Command(msgspec.Struct, frozen=True):
    """A request to decide something once.

    `decide` may be called several times and must have no effects. `id` is stored with the facts. The id
    of a repeatable command comes from outside, so the command may come again: the outcome is then what
    was recorded the first time, unless `check_repeat` (given those facts) raises Refused. The remaining
    fields go into the envelope.

    `refresh` brings up to date what `decide` reads beside streams, such as prices. It blocks, and is
    called once before a refusal is answered.
    """

    decide: Callable[[DecisionContext], Decision]
    tenant: str | None
    actor: str
    id: bytes = msgspec.field(default_factory=new_command_id)
    is_repeatable: bool = False
    check_repeat: Callable[[Sequence[Recorded]], None] | None = None
    request_id: str | None = None
    cause: int | None = None
    reason: str | None = None
    on_behalf_of: str | None = None
    request: bytes | None = None
    refresh: Callable[[], object] | None = None


class Outcome(NamedTuple):
    """The result of a command.

    `states`: every stream read or changed, by id, after the command. A repeat has the streams that the
    first time changed, as they were then, without accounts: these would have to be folded from their
    first fact. `facts` are empty if there was nothing to do; `offset` is then the journal's end, and
    `versions` are those of the streams read. `day` is the business day of the decision; `value` is what
    one that only computes has computed.
    """

    states: Mapping[str, Any]
    facts: Sequence[Recorded]
    is_repeat: bool
    offset: int
    day: date | None = None
    versions: Mapping[str, int] = {}
    value: Any = None
