"""The history of one stream: each fact and the state after it. See docs/history.md.

Read from the journal alone, never from a view. The HTTP history, the command `replay` and the memorandum
of an order all start here; the functions above the last section are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from engine.domain import account
from engine.domain.account import Account
from engine.domain.bookings import (
    BuyApplied,
    BuyBooked,
    BuyBusted,
    BuyCorrected,
    BuySettled,
    CashDeposited,
    CashWithdrawn,
    FundsReleased,
    FundsReserved,
    SellApplied,
    SellBooked,
    SellBusted,
    SellCorrected,
    SellSettled,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.moves import Leg, legs
from engine.domain.order import (
    Cancelled,
    Filled,
    Placed,
    RolloverFunded,
    TradeApplied,
    TradeBusted,
    TradeCorrected,
    TradeRecorded,
    TradeSettled,
)
from engine.domain.payment import (
    DepositCompleted,
    WithdrawalCompleted,
    WithdrawalFailed,
    WithdrawalOpened,
)
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
)
from engine.domain.stored import STORED
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.fact import Fact, Recorded, to_us
from engine.kernel.fold import Fold
from engine.kernel.refusals import invalid
from engine.kernel.times import rfc3339
from engine.kernel.values import plain

NAMES: Final[dict[type[Fact], str]] = {kind: name for name, kind in STORED.items()}

OWNERS: Final[dict[type[Fact], tuple[type[Fact], ...]]] = {
    CashDeposited: (DepositCompleted,),
    CashWithdrawn: (WithdrawalCompleted,),
    FundsReserved: (Placed, WithdrawalOpened, RolloverFunded),
    FundsReleased: (Filled, Cancelled, WithdrawalFailed),
    UnitsReserved: (Placed,),
    UnitsReleased: (Filled, Cancelled),
    BuyBooked: (TradeRecorded,),
    SellBooked: (TradeRecorded,),
    BuyApplied: (TradeApplied,),
    SellApplied: (TradeApplied,),
    BuyCorrected: (TradeCorrected,),
    SellCorrected: (TradeCorrected,),
    BuyBusted: (TradeBusted,),
    SellBusted: (TradeBusted,),
    BuySettled: (TradeSettled,),
    SellSettled: (TradeSettled,),
    CouponPaid: (),
    DividendPaid: (),
    PositionMatured: (RolloverFunded,),
    PositionSplit: (),
    RolloverReserved: (Placed,),
    RolloverReleased: (Cancelled,),
    RolloverBooked: (TradeRecorded,),
    RolloverPaid: (RolloverFunded,),
}
"""Fact of an account's cash or units -> the facts of orders and payments recorded with it in one append,
whose money it moves. Those of an instrument's life have their cause in the instrument's stream."""


class Booked(NamedTuple):
    """One leg, with its account's fact."""

    leg: Leg
    recorded: Recorded


class Step(NamedTuple):
    """One fact, its moves of cash and units, and the state after it."""

    recorded: Recorded
    booked: tuple[Booked, ...]
    state: Any

    @property
    def name(self) -> str:
        """The stored name of its fact."""
        return NAMES[type(self.recorded.fact)]


def tell(
    fold: Fold[Any],
    facts: Iterable[Recorded],
    companions: Iterable[Recorded] = (),
    before: Any = None,
) -> list[Step]:
    """The steps of these facts, from the state `before` them.

    `companions` are facts of accounts from the same appends: see `Journal.companions`.
    """
    others: dict[bytes | None, list[Recorded]] = {}
    for companion in companions:
        others.setdefault(companion.envelope.command, []).append(companion)
    steps, state = [], before
    for recorded in facts:
        state = fold.evolve(state, recorded.fact)
        movers = [one for one in others.get(recorded.envelope.command, ()) if _belongs(one, recorded)]
        booked = [Booked(leg, one) for one in (*movers, recorded) for leg in legs(one.fact)]
        steps.append(Step(recorded, tuple(booked), state))
    return steps


def _belongs(companion: Recorded, recorded: Recorded) -> bool:
    """Whether a companion, from the same append, is the money side of `recorded`."""
    if not isinstance(recorded.fact, OWNERS.get(type(companion.fact), ())):
        return False
    trade = getattr(companion.fact, "trade", None)
    return trade is None or trade == getattr(recorded.fact, "trade", trade)


def explain(
    steps: Iterable[Step], face: Callable[[Any], Mapping[str, Any]]
) -> dict[str, tuple[Any, Recorded]]:
    """field of the last state -> (its value, the fact that last set it).

    `face` returns the fields of a state. A fact sets a field if its value differs before and after, or
    the field is new.
    """
    known: dict[str, tuple[Any, Recorded]] = {}
    for step in steps:
        fields = face(step.state)
        known = {
            field: known[field]
            if field in known and known[field][0] == value
            else (value, step.recorded)
            for field, value in fields.items()
        }
    return known


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a JSON value by dotted path: `trades.0.price`. Empty containers are leaves."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= flat(part, f"{path}.{name}" if path else str(name))
    return found or {path: value}


def fields_of(fact: msgspec.Struct) -> dict[str, Any]:
    """A fact's fields as JSON: decimals as text, `executed_at_us` as the time `executed_at`."""
    found = {}
    for name, value in msgspec.structs.asdict(fact).items():
        is_time = name == "at_us" or name.endswith("_at_us")
        shown = rfc3339(value) if is_time and value is not None else _json(value)
        found[name.removesuffix("_us") if is_time else name] = shown
    return found


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(part) for part in value]
    for kind, shown in _JSON.items():
        if isinstance(value, kind):
            return shown(value)
    return value


_JSON: Final[dict[type, Callable[[Any], Any]]] = {
    Decimal: plain,
    bytes: bytes.hex,
    datetime: lambda at: rfc3339(to_us(at)),
    date: date.isoformat,
    msgspec.Struct: fields_of,
}


# --- reading --------------------------------------------------------------------------------------

SHOWN: Final[dict[type, tuple[type[Fact], ...]]] = {
    Account: tuple(dict.fromkeys(kind for _, kind in account.NEXT)),
}
"""Kind of a long stream's state -> the facts that set fields of its resource. An account's other facts,
by far the most, only move its holdings."""


class When(NamedTuple):
    """Selects a state by version or by time; both None: the last."""

    version: int | None = None
    at_us: int | None = None


NOW: Final = When()


def version_of(journal: Journal, stream: str, when: When) -> int:
    """The selected version, 0 for a stream that does not exist.

    Raises Refused `invalid_param` for a version past the end, or a time before the first fact; the paths
    of its params are `version` and `asof`.
    """
    if when.at_us is not None:
        version = journal.version_at(stream, when.at_us)
        first = () if version else journal.stream(stream, version=1)
        if first:
            began = rfc3339(first[0].envelope.at_us)
            raise invalid(
                "asof",
                "invalid_value",
                f"must not be before the first fact, which was recorded at {began}",
            )
        return version
    last = journal.last(stream)
    length = last.version if last else 0
    if when.version is not None and length and when.version > length:
        raise invalid("version", "invalid_value", f"must be at most {length}, the last version")
    return length if when.version is None else min(when.version, length)


def state_at(journal: Journal, stream: str, version: int) -> Any:
    """The state of a stream at a version."""
    return journal.load_at(fold_of(stream), stream, version=version).state


def read(journal: Journal, stream: str, after: int, upto: int) -> list[Step]:
    """The steps of a stream with versions in (after, upto]."""
    fold = fold_of(stream)
    before = state_at(journal, stream, after) if after else None
    facts = journal.stream(stream, after=after, version=upto)
    companions: Sequence[Recorded] = ()
    if fold.kind is not Account:  # its own facts have the legs
        companions = journal.companions(facts)
    return tell(fold, facts, companions, before)


def read_setting(journal: Journal, stream: str, upto: int) -> list[Step]:
    """The steps that may have set a field of the stream's resource, up to version `upto`."""
    fold = fold_of(stream)
    kinds = SHOWN.get(fold.kind)
    facts = journal.of_kinds(stream, kinds, upto) if kinds else journal.stream(stream, version=upto)
    return tell(fold, facts)
