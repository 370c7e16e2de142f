"""The base class of facts, the envelope, and the recorded form.

Facts, and the states folded from them, are trees: `gc=False` spares the garbage collector looking for
cycles among hundreds of thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_US = 86_400 * 1_000_000
_MICROSECOND = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Microseconds since 1970-01-01T00:00Z. `at` must be aware."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(at_us: int) -> datetime:
    """The inverse of `to_us`, exact, in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def day_of(at_us: int) -> date:
    """The UTC date of a time."""
    return date.fromordinal(_EPOCH_DAY + at_us // _DAY_US)


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An immutable record of something that happened, named in the past tense.

    Fields are stored by place, so a stored fact changes in one way only: a new field goes at the very
    end of the struct, after `at_us`, with a default that says what its absence meant. The same holds for
    the structs inside it. Anything else (another meaning, type or place, one less) is a new stored name
    with an upcaster. Nothing depends on a field's place from the end. See docs/adr/0002.
    Field types: str, int, bool, bytes, Decimal, date, datetime (aware, UTC), None, other
    `array_like` structs, and tuples of these. No floats: they are not exact.
    """


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The metadata of every fact. An absent word costs one byte.

    at_us          wall-clock time of recording, microseconds since the epoch, never before the time
                   of the stream's previous fact
    business_date  the engine's business day (CONTRACT 10), which the sandbox clock may have advanced
    tenant         owner of the data
    actor          a client id, or the name of a follower
    command        id of the command that recorded it, 16 bytes: the same on all facts of an append
    request_id     the HTTP request behind it
    cause          offset of the fact that made a follower issue the command
    reason         an operator's words (a code, never personal data)
    on_behalf_of   the person behind the actor, by an opaque id that the client chose
    request        digest of the canonical request, if it came with an idempotency key and the
                   facts do not carry it themselves
    """

    at_us: int
    business_date: date | None = None
    tenant: str | None = None
    actor: str | None = None
    command: bytes | None = None
    request_id: str | None = None
    cause: int | None = None
    reason: str | None = None
    on_behalf_of: str | None = None
    request: bytes | None = None

    @property
    def at(self) -> datetime:
        """`at_us` as an aware datetime."""
        return from_us(self.at_us)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A fact with its `offset` in the journal (1, 2, 3 ...) and its `version` in the stream."""

    fact: Fact
    stream: str
    version: int
    offset: int
    envelope: Envelope

    @property
    def originator_id(self) -> str:
        """`stream`, under the eventsourcing library's name."""
        return self.stream

    @property
    def originator_version(self) -> int:
        """`version`, under the eventsourcing library's name."""
        return self.version


class StreamAppend(msgspec.Struct, frozen=True, gc=False):
    """Facts for one stream whose current version must be `expected_version` (0: none yet)."""

    stream: str
    expected_version: int
    facts: Sequence[Fact]
