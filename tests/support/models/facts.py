"""Facts of no meaning, for tests of what carries facts."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from engine.journal.journal import Appended, Journal
from engine.kernel.codec import Codec
from engine.kernel.fact import Envelope, Fact, StreamAppend
from engine.kernel.fold import Fold


class Leg(msgspec.Struct, frozen=True, array_like=True):
    place: str
    amount: Decimal


class Opened(Fact, frozen=True):
    owner: str
    side: Literal["buy", "sell"] = "buy"
    day: date | None = None
    at: datetime | None = None


class Added(Fact, frozen=True):
    amount: Decimal
    legs: tuple[Leg, ...] = ()


class Sum(msgspec.Struct, frozen=True, array_like=True):
    total: Decimal = Decimal(0)
    count: int = 0


def evolve(state: Sum | None, fact: Fact) -> Sum:
    state = state or Sum()
    match fact:
        case Opened():
            return Sum(state.total, state.count + 1)
        case Added(amount=amount):
            return Sum(state.total + amount, state.count + 1)
    raise TypeError(fact)


CODEC = Codec({"test.opened.1": Opened, "test.added.1": Added})
FOLD = Fold("sum", 1, Sum, evolve)


def envelope(number: int, at_us: int = 1_000) -> Envelope:
    """An envelope of the command `number`."""
    return Envelope(at_us, command=number.to_bytes(16, "big"), tenant="tnt", actor="cli")


def append(journal: Journal, number: int, stream: str, at: int, *facts: Fact) -> Appended:
    """Appends facts to one stream at version `at` by the command `number`."""
    return journal.append([StreamAppend(stream, at, facts)], envelope(number))
