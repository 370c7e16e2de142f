"""Fact <-> bytes: msgpack bodies under stable stored names.

A body is one msgpack array: the eight words of the envelope, then the fact's fields by place. An
envelope with one of the later words is an array of its own, which may grow at its end.

    [at_us, business_day, tenant, actor, command, request_id, cause, reason, field, field, ...]
    [[at_us, ..., reason, on_behalf_of, request], field, field, ...]

`business_day` is days since 1970-01-01. Extension types, their payloads fixed for ever:

    1  Decimal   its plain digits in ASCII, scale kept: b"100.00"
    2  date      days since 1970-01-01, signed 32-bit, big-endian
    3  datetime  microseconds since the epoch, UTC, signed 64-bit, big-endian

A stored name is `subject.fact.N`. Bytes written under a name are read for ever: a fact may grow at its
end (missing fields take their defaults); any other change of shape is a new N and an upcaster from the
old one: see `fact.Fact`. `tests/golden` keeps bytes of every shape that was ever released.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack
import msgspec
from msgpack import ExtType

from engine.kernel.errors import JournalDamaged, UnknownFact, Unrecordable
from engine.kernel.fact import Envelope, Fact, from_us, to_us
from engine.kernel.limits import BODY_BYTES_MAX, NAME_BYTES_MAX

StateT = TypeVar("StateT", bound=msgspec.Struct)

Upcast = tuple[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]
"""(newer stored name, old field values -> new field values)."""

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_ENVELOPE_WORDS: Final = 8
"""Length of an envelope without the later words, whose array is not nested."""
_DECIMAL, _DATE, _DATETIME = 1, 2, 3
_DAYS: Final = struct.Struct(">i")
_MICROSECONDS: Final = struct.Struct(">q")
_NATIVE: Final = (str, int, bool, bytes, Decimal, date, datetime, type(None))


def _extend(value: Any) -> Any:
    kind = type(value)
    if kind is Decimal:
        return _decimal(str(value))
    # ExtType's own constructor repeats checks already done here, at three times the cost.
    if kind is date:
        return tuple.__new__(ExtType, (_DATE, _DAYS.pack(value.toordinal() - _EPOCH_DAY)))
    if kind is datetime:
        if value.utcoffset() is None:
            raise Unrecordable("a time without a zone cannot be recorded")
        return tuple.__new__(ExtType, (_DATETIME, _MICROSECONDS.pack(to_us(value))))
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.astuple(value)
    raise Unrecordable(f"{kind.__name__} cannot be recorded")


@lru_cache(maxsize=4_096)  # orders of an instrument repeat its price, its steps and their rates
def _decimal(digits: str) -> ExtType:
    number = Decimal(digits)
    if not number.is_finite():
        raise Unrecordable(f"{digits} is not an amount")
    if "E" in digits:
        digits = format(number, "f")
    return tuple.__new__(ExtType, (_DECIMAL, digits.encode()))


@lru_cache(maxsize=4_096)
def _day(days: int) -> date:
    return date.fromordinal(days + _EPOCH_DAY)


@lru_cache(maxsize=65_536)  # the facts of one order repeat its amounts; 10 MB when full
def _restore(code: int, payload: bytes) -> object:
    if code == _DECIMAL:
        return Decimal(payload.decode("ascii"))
    if code == _DATE:
        return _day(_DAYS.unpack(payload)[0])
    if code == _DATETIME:
        return from_us(_MICROSECONDS.unpack(payload)[0])
    raise ValueError(f"unknown extension type {code}")


class _Packers(threading.local):
    """A packer keeps a buffer between calls and is not to be shared between threads."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer(default=_extend).pack


def _is_nested(kind: type[msgspec.Struct]) -> bool:
    """Whether a struct holds structs or tuples and needs a conversion; flat ones are just called.

    Raises TypeError for a field type that does not survive a round trip.
    """
    nested = False
    for name, hint in get_type_hints(kind).items():
        for part in _parts(hint, f"{kind.__name__}.{name}"):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                if not part.__struct_config__.array_like:
                    raise TypeError(f"{part.__name__} in {kind.__name__}.{name} is not array_like")
                _is_nested(part)
                nested = True
            elif part is tuple:
                nested = True
            elif part not in _NATIVE:
                raise TypeError(f"{kind.__name__}.{name}: {part} cannot be stored exactly")
    return nested


def _parts(hint: Any, where: str) -> list[Any]:
    """The plain types that a type hint is made of."""
    origin = get_origin(hint)
    if origin is None:
        return [hint]
    if origin is Literal:
        return [type(word) for word in get_args(hint)]
    if origin is tuple:
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return [tuple, *(part for hint in inner for part in _parts(hint, where))]
    if origin is Union or origin is UnionType:
        return [part for hint in get_args(hint) for part in _parts(hint, where)]
    raise TypeError(f"{where}: {hint} cannot be stored exactly")


class Codec:
    """Translates between facts and (stored name, body). Built once from literal tables.

    `stored` names every fact this release writes; `upcasts` leads from each older name, step by step, to
    one of them. Raises TypeError or ValueError on construction for inconsistent tables.
    """

    def __init__(
        self, stored: Mapping[str, type[Fact]], upcasts: Mapping[str, Upcast] | None = None
    ) -> None:
        self._names = {kind: name for name, kind in stored.items()}
        if len(self._names) != len(stored):
            raise ValueError("two stored names for one fact")
        self._plans = {name: (kind, _is_nested(kind)) for name, kind in stored.items()}
        self._upcasts = dict(upcasts or {})
        for name in (*stored, *self._upcasts):
            if not name.isascii() or len(name) > NAME_BYTES_MAX:
                raise ValueError(f"not a stored name: {name!r}")
        for name in self._upcasts:
            self._newest(name, ())
        self._packers = _Packers()

    @property
    def names(self) -> frozenset[str]:
        """Every stored name that can be read."""
        return frozenset(self._plans) | frozenset(self._upcasts)

    def name(self, fact: Fact) -> str:
        """The stored name of a fact. Raises Unrecordable when it has none."""
        try:
            return self._names[type(fact)]
        except KeyError:
            raise Unrecordable(f"{type(fact).__name__} has no stored name") from None

    def names_of(self, kinds: Iterable[type[Fact]]) -> list[str]:
        """Every stored name that is read as a fact of one of these kinds, old ones too."""
        wanted = {self._names[kind] for kind in kinds}
        return sorted(name for name in self.names if self._newest(name, ())[0] in wanted)

    def encode(self, envelope: Envelope, fact: Fact, *, has_command: bool = True) -> tuple[str, bytes]:
        """(stored name, body). Raises Unrecordable for values that do not survive a round trip.

        With `has_command` False the command's id is left out: it is stored beside the body.
        """
        name = self.name(fact)
        day = envelope.business_date
        words: tuple[Any, ...] = (
            envelope.at_us,
            None if day is None else day.toordinal() - _EPOCH_DAY,
            envelope.tenant,
            envelope.actor,
            envelope.command if has_command else None,
            envelope.request_id,
            envelope.cause,
            envelope.reason,
        )
        if envelope.on_behalf_of is not None or envelope.request is not None:
            words = ((*words, envelope.on_behalf_of, envelope.request),)
        try:
            body: bytes = self._packers.pack(words + msgspec.structs.astuple(fact))
        except (OverflowError, UnicodeEncodeError, ValueError, TypeError) as error:
            raise Unrecordable(f"{name}: {error}") from error
        if len(body) > BODY_BYTES_MAX:
            raise Unrecordable(f"{name}: {len(body)} bytes, at most {BODY_BYTES_MAX}")
        return name, body

    def decode(self, name: str, body: bytes, command: bytes | None = None) -> tuple[Envelope, Fact]:
        """The inverse of `encode`, upcast to the newest shape.

        `command` is the id stored beside the body: for the first fact of an append, the only copy.

        Raises UnknownFact for a name this release does not have, JournalDamaged for bytes that are not a
        complete body of that name.
        """
        plan = self._plans.get(name)
        try:
            words = msgpack.unpackb(body, ext_hook=_restore, use_list=False)
            if words and type(words[0]) is tuple:
                head, values = words[0], words[1:]
            else:
                head, values = words[:_ENVELOPE_WORDS], words[_ENVELOPE_WORDS:]
            if plan is None:
                name, values = self._newest(name, values)
                plan = self._plans[name]
            kind, nested = plan
            fact = msgspec.convert(values, kind) if nested else kind(*values)
            at_us, days, tenant, actor, inner, request_id, cause, reason, *later = head
            day = None if days is None else _day(days)
            command = inner if command is None else command
            envelope = Envelope(at_us, day, tenant, actor, command, request_id, cause, reason, *later)
        except UnknownFact:
            raise
        except Exception as error:  # any failure here is the fault of the bytes
            raise JournalDamaged(f"a body of {name} cannot be read: {error}", name=name) from error
        return envelope, fact

    def pack_state(self, state: msgspec.Struct) -> bytes:
        """A folded state packed for a snapshot."""
        packed: bytes = self._packers.pack(state)
        return packed

    @staticmethod
    def unpack_state(packed: bytes, kind: type[StateT]) -> StateT:
        """The inverse of `pack_state`. Raises JournalDamaged if the bytes are not such a state."""
        try:
            words = msgpack.unpackb(packed, ext_hook=_restore, use_list=False, strict_map_key=False)
            return msgspec.convert(words, kind)
        except Exception as error:
            raise JournalDamaged(f"a snapshot of {kind.__name__} cannot be read: {error}") from error

    def _newest(self, name: str, values: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """Follows the upcasters from an older name. Without values it only checks the path."""
        for _ in range(len(self._upcasts) + 1):
            if name in self._plans:
                return name, values
            if name not in self._upcasts:
                break
            name, upcast = self._upcasts[name]
            if values:
                values = upcast(values)
        raise UnknownFact(f"no fact is known by the stored name {name!r}", name=name)
