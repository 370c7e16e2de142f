"""The state of each stream: one fold for all views, by the engine's own rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from engine.domain import bookings, corporate_action, order, script
from engine.domain.order import Order
from engine.domain.payment import Payment
from engine.domain.stored import EVENTS, PARTS
from engine.domain.streams import FOLDS, fold_of, prefix_of
from engine.kernel.codec import Codec
from engine.kernel.fact import Recorded
from engine.kernel.fingerprint import fingerprint

S = TypeVar("S", bound=msgspec.Struct)

SHAPE: Final = 1
"""Shape number of `Folded` and its content. A change rebuilds every view."""


class Folded(msgspec.Struct, Generic[S], frozen=True, array_like=True):
    """A stream's state after its fact number `version`, with the history that views need.

    `first_offset` and `tenant` are those of its first fact, `events` counts the events of its own
    resource, `opened` has the offset at which the last position of each instrument was opened; of an
    instrument, those at which its open actions were announced; of scripts, those of the open ones.
    """

    version: int
    first_offset: int
    tenant: str
    events: int
    opened: dict[str, int]
    state: S


class Change(msgspec.Struct, frozen=True, gc=False):
    """One fact of a stream, with the stream's state before (None at first) and after it."""

    recorded: Recorded
    before: Folded[Any] | None
    after: Folded[Any]


PREFIXES: Final = frozenset({"acc", "ord", "dep", "wdr", "ins", "rep", "scr"})
"""Prefixes of the streams that feed views."""


def is_over(state: object) -> bool:
    """Whether facts hardly ever follow, so that the state need not be cached."""
    match state:
        case Order(status=status):
            return status in order.TERMINAL
        case Payment(status=status):
            return status != "open"
    return False


def keep_states(kept: dict[str, Folded[Any]], after: Mapping[str, Folded[Any]], *, most: int) -> None:
    """Caches states that may change again; beyond `most`, the least recently used are dropped."""
    for stream, state in after.items():
        kept.pop(stream, None)
        if not is_over(state.state):
            kept[stream] = state
    while len(kept) > most:
        del kept[next(iter(kept))]


def shape_of(prefixes: Iterable[str]) -> str:
    """The shape of rows from these streams: numbers that only increase."""
    return ".".join([str(SHAPE), *(str(FOLDS[prefix].shape) for prefix in sorted(prefixes))])


def stored_shape(stream: str) -> str:
    """The shape of a stored state. One of another shape is never read."""
    prefix = prefix_of(stream)
    kind: Any = FOLDS[prefix].kind
    return f"{shape_of([prefix])} {fingerprint(Folded)} {fingerprint(kind)}"


_COUNTED: Final = frozenset(kind for kind, name in EVENTS.items() if name.partition(".")[0] not in PARTS)


def fold(before: Folded[Any] | None, recorded: Recorded) -> Folded[Any]:
    """The stream after one more fact. Raises UnknownFact, or any error, for a fact that does not fit."""
    fact = recorded.fact
    evolve = fold_of(recorded.stream).evolve
    counted = type(fact) in _COUNTED
    if before is None:
        state = evolve(None, fact)
        tenant = getattr(state, "tenant", None) or recorded.envelope.tenant or ""
        opened = _opened({}, recorded)
        return Folded(recorded.version, recorded.offset, tenant, int(counted), opened, state)
    opened = _opened(before.opened, recorded)
    return Folded(
        recorded.version,
        before.first_offset,
        before.tenant,
        before.events + counted,
        opened,
        evolve(before.state, fact),
    )


def _opened(opened: dict[str, int], recorded: Recorded) -> dict[str, int]:
    match recorded.fact:
        case bookings.PositionOpened(instrument=instrument):
            return opened | {instrument: recorded.offset}
        case corporate_action.ActionAnnounced(action=action):
            return opened | {action: recorded.offset}
        case script.ScriptWritten(script=written):
            return opened | {written: recorded.offset}
        case (
            corporate_action.ActionWithdrawn(action=ended)
            | corporate_action.ActionCompleted(action=ended)
            | script.ScriptTaken(script=ended)
        ):
            return {known: offset for known, offset in opened.items() if known != ended}
    return opened


def fold_all(start: Folded[Any] | None, facts: Iterable[Recorded]) -> Folded[Any] | None:
    """The stream after all of `facts`."""
    for recorded in facts:
        start = fold(start, recorded)
    return start


def unpack(codec: Codec, stream: str, packed: bytes) -> Folded[Any]:
    """The inverse of `codec.pack_state` for a stream's `Folded`. Raises JournalDamaged."""
    kind = fold_of(stream).kind
    return codec.unpack_state(packed, Folded[kind])  # type: ignore[valid-type]
