"""Kinds of values in bodies and queries, and the types of the field tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from engine.domain.trading_hours import TIME_OF_DAY
from engine.kernel.errors import Refused
from engine.kernel.fact import from_us, to_us
from engine.kernel.limits import ENTRIES_MAX, ID_CHARACTERS_MAX
from engine.kernel.refusals import PARAM_FAULTS
from engine.kernel.text import ALLOWED, is_plain
from engine.kernel.values import CURRENCIES, parse_decimal, parse_signed

FAULTS: Final = PARAM_FAULTS | {
    "not_found": "names no resource of this client",
    "unknown_param": "is not a known field",
    "repeated_param": "must be given once",
    "invalid_type": "has the wrong JSON type",
    "too_long": "is too long",
    "too_many": "has too many entries",
}
"""Codes of single values inside `params`: the rules' own, and those of the shape."""

ABSENT: Final = msgspec.UNSET
"""The default of a field that is absent from the values if not given."""


class Number(str):
    """A JSON number in its original text."""

    __slots__ = ()


class Fault(Exception):
    """A value is not of its kind. `code` is one of FAULTS; `path` is appended to the field's own.

    `more` are further faults of the same array.
    """

    def __init__(self, code: str, detail: str = "", path: str = "") -> None:
        super().__init__(code)
        self.code, self.detail, self.path = code, detail or FAULTS[code], path
        self.more: list[Fault] = []


class Kind(Protocol):
    """The kind of a field's values."""

    def read(self, raw: Any) -> Any:
        """The value of a JSON value (str, Number, bool, dict, list). Raises Fault."""

    def from_query(self, text: str) -> Any:
        """The JSON value for a word of a query string."""


class _Kind(msgspec.Struct, frozen=True):
    def from_query(self, text: str) -> Any:
        return text


def _text(raw: Any) -> str:
    if type(raw) is not str:
        raise Fault("invalid_type", "must be a string")
    return raw


class Text(_Kind, frozen=True):
    """1 to `most` characters, none of them hidden (see `engine.kernel.text`), and not all blank."""

    most: int

    def read(self, raw: Any) -> str:
        """The text as it came."""
        text = _text(raw)
        if len(text) > self.most:
            raise Fault("too_long", f"must have at most {self.most} characters")
        if not is_plain(text):
            raise Fault("invalid_value", ALLOWED)
        if not text.strip():
            raise Fault("invalid_value", "must not be empty")
        return text


class Word(_Kind, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, raw: Any) -> str:
        """The word."""
        if _text(raw) not in self.words:
            one_of = "one of " if len(self.words) > 1 else ""
            raise Fault("invalid_value", f"must be {one_of}{', '.join(self.words)}")
        return str(raw)


class Currency(_Kind, frozen=True):
    """An active ISO 4217 code."""

    def read(self, raw: Any) -> str:
        """The code."""
        if _text(raw) not in CURRENCIES:
            raise Fault("invalid_value", "must be an active ISO 4217 currency")
        return str(raw)


class Boolean(_Kind, frozen=True):
    """`true` or `false`."""

    def read(self, raw: Any) -> bool:
        """The truth value."""
        if raw is not True and raw is not False:
            raise Fault("invalid_type", "must be true or false")
        return raw

    def from_query(self, text: str) -> Any:
        """`true` and `false` as words."""
        return {"true": True, "false": False}.get(text, text)


_WHOLE: Final = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.0{1,18})?", re.ASCII)


class Integer(_Kind, frozen=True):
    """A whole number from `least` to `most`, in plain digits; 6.0 is 6, as JSON Schema has it."""

    least: int
    most: int

    def read(self, raw: Any) -> int:
        """The number."""
        if type(raw) is not Number:
            raise Fault("invalid_type", "must be a whole number")
        parts = _WHOLE.fullmatch(raw)
        if not parts or not self.least <= int(parts[1]) <= self.most:
            raise Fault("invalid_value", f"must be a whole number from {self.least} to {self.most}")
        return int(parts[1])

    def from_query(self, text: str) -> Any:
        """Numbers are unquoted in a query."""
        return Number(text)


class Amount(_Kind, frozen=True):
    """A plain decimal with at most `places` decimals, as a string or a number. See `values`."""

    places: int
    signed: bool = False

    def read(self, raw: Any) -> Decimal:
        """The number, at `places` decimals."""
        if not isinstance(raw, str):
            raise Fault("invalid_type", "must be a decimal, as a string")
        try:
            return (parse_signed if self.signed else parse_decimal)(raw, self.places, "")
        except Refused as error:
            detail = f"must be a plain decimal with at most {self.places} decimals"
            raise Fault("invalid_decimal", detail) from error

    def from_query(self, text: str) -> Any:
        """As in a body."""
        return text


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


class Day(_Kind, frozen=True):
    """A date, `YYYY-MM-DD`."""

    def read(self, raw: Any) -> date:
        """The date."""
        text = _text(raw)
        if not _DATE.fullmatch(text):
            raise Fault("invalid_value", "must be a date, YYYY-MM-DD")
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise Fault("invalid_value", "must be a day of the calendar") from error


class Time(_Kind, frozen=True):
    """A time of RFC 3339, with its offset, to the microsecond."""

    def read(self, raw: Any) -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        parts = _TIME.fullmatch(_text(raw))
        if not parts:
            raise Fault("invalid_value", "must be a time like 2026-03-12T14:30:00Z")
        day, clock, fraction, zone = parts.groups()
        zone = "+00:00" if zone in {"Z", "z"} else zone
        try:
            at_us = to_us(datetime.fromisoformat(f"{day}T{clock}{fraction or ''}{zone}"))
            from_us(at_us)  # a date at the calendar's end may overflow in UTC
        except (ValueError, OverflowError) as error:
            raise Fault("invalid_value", "must be a time of the calendar") from error
        return at_us


_SPAN: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,3})D)?(?:T(?=[0-9])(?:([0-9]{1,3})H)?(?:([0-9]{1,3})M)?(?:([0-9]{1,3})S)?)?",
    re.ASCII,
)
_SPAN_US: Final = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000)


class Span(_Kind, frozen=True):
    """A length of time of ISO 8601 in days, hours, minutes and seconds: `P1D`, `PT1H30M`; `-PT1H` if it
    is `signed`.
    """

    signed: bool = False

    def read(self, raw: Any) -> int:
        """Microseconds, above 0 unless it is signed."""
        text = _text(raw)
        if self.signed and text.startswith("-"):
            return -Span().read(text[1:])
        parts = _SPAN.fullmatch(text)
        if not parts:
            raise Fault("invalid_value", "must be a length of time like P1D or PT1H30M")
        length_us = sum(
            int(count or 0) * unit_us for count, unit_us in zip(parts.groups(), _SPAN_US, strict=True)
        )
        if not length_us:
            raise Fault("not_positive")
        return length_us


class Id(_Kind, frozen=True):
    """An id, `prefix_...`. An id of another form is treated as unknown."""

    prefix: str

    def read(self, raw: Any) -> str:
        """The id."""
        text = _text(raw)
        if len(text) > ID_CHARACTERS_MAX:
            raise Fault("invalid_value", f"must be an id, {self.prefix}_...")
        return text


_TIME_OF_DAY: Final = re.compile(TIME_OF_DAY, re.ASCII)


class TimeOfDay(_Kind, frozen=True):
    """A local time to the minute, `HH:MM`; the end of a day is `24:00`."""

    def read(self, raw: Any) -> str:
        """The time."""
        if not _TIME_OF_DAY.fullmatch(_text(raw)):
            raise Fault("invalid_value", "must be a time HH:MM, from 00:00 to 24:00")
        return str(raw)


class Several(_Kind, frozen=True):
    """An array of `least` to `most` values of one kind; in a query a parameter that may be repeated."""

    kind: Kind
    most: int = ENTRIES_MAX
    least: int = 0

    def read(self, raw: Any) -> tuple[Any, ...]:
        """The values, in order."""
        if type(raw) is not list:
            raise Fault("invalid_type", "must be an array")
        if len(raw) > self.most:
            raise Fault("too_many", f"must have at most {self.most} entries")
        if len(raw) < self.least:
            raise Fault("invalid_value", f"must have at least {self.least} entries")
        values, faults = [], []
        for index, entry in enumerate(raw):
            try:
                values.append(self.kind.read(entry))
            except Fault as fault:
                faults += _inside(fault, str(index))
        if faults:
            raise _joined(faults)
        return tuple(values)


def _inside(fault: Fault, place: str) -> list[Fault]:
    """The faults of an entry, by their place in the whole."""
    return [Fault(one.code, one.detail, f".{place}{one.path}") for one in (fault, *fault.more)]


def _joined(faults: Sequence[Fault]) -> Fault:
    # A new exception: the caught one has a traceback to this frame, which would be a cycle.
    first, *more = faults
    joined = Fault(first.code, first.detail, first.path)
    joined.more = more
    return joined


class Field(msgspec.Struct, frozen=True):
    """One field of a body or parameter of a query.

    `default` is its value if omitted or null; `ABSENT` leaves it out. With `can_be_null` null is a
    separate value (None). `about` and `example` are for the documentation.
    """

    name: str
    kind: Kind
    about: str = ""
    is_needed: bool = False
    default: Any = None
    can_be_null: bool = False
    example: str | None = None


class Group(_Kind, frozen=True):
    """An object."""

    fields: tuple[Field, ...]

    def read(self, raw: Any) -> dict[str, Any]:
        """The values by field."""
        if type(raw) is not dict:
            raise Fault("invalid_type", "must be an object")
        values: dict[str, Any] = {}
        known = {field.name for field in self.fields}
        faults = [Fault("unknown_param", path=f".{name[:64]}") for name in raw if name not in known]
        for field in self.fields:
            try:
                if raw.get(field.name) is not None:
                    values[field.name] = field.kind.read(raw[field.name])
                elif field.is_needed:
                    raise Fault("missing_param")
                else:
                    values[field.name] = field.default
            except Fault as fault:
                faults += _inside(fault, field.name)
        if faults:
            raise _joined(faults)
        return values


class Rows(msgspec.Struct, frozen=True):
    """A body that is an array of at most `most` objects."""

    fields: tuple[Field, ...]
    most: int


Fields = tuple[Field, ...]
Body = Fields | Rows
