"""FIX fields as text: messages, decimals and times. FIX 4.4, volume 1, "FIX tag=value syntax".

A field is (tag, value); a message is its fields in their order, from BeginString to CheckSum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from engine.kernel.fact import from_us, to_us
from engine.kernel.limits import FIX_FIELDS, FIX_NUMBER_CHARS

Field = tuple[int, str]
Fields = Sequence[Field]

SOH: Final = "\x01"
CHARSET: Final = "latin-1"
"""Every byte is a character, so that text of any encoding is kept as it came."""
DATA: Final = {93: 89, 90: 91, 95: 96, 212: 213, 348: 349, 350: 351, 354: 355, 356: 357, 358: 359}
"""Tag of a length -> tag of the data that follow it and may contain SOH."""

_NUMBER: Final = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_TAG: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{8}", re.ASCII)
_TIME: Final = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?", re.ASCII
)


class Garbled(ValueError):
    """Bytes that are no FIX message, or a value that is not of its type; the text says why."""


def decode(raw: bytes) -> list[Field]:
    """The fields of one message. Raises Garbled, also for a wrong BodyLength or CheckSum."""
    text = raw.decode(CHARSET)
    fields: list[Field] = []
    at = 0
    while at < len(text):
        if len(fields) == FIX_FIELDS:
            raise Garbled(f"more than {FIX_FIELDS} fields")
        field, at = _field_at(text, at, fields[-1] if fields else (0, ""))
        fields.append(field)
    _check_frame(raw, fields)
    return fields


def _field_at(text: str, at: int, before: Field) -> tuple[Field, int]:
    """The field that begins at `at`, and the beginning of the next."""
    tag, equals, _ = text[at : at + 11].partition("=")
    if not equals or not _TAG.fullmatch(tag):
        raise Garbled(f"no tag at character {at}")
    start = at + len(tag) + 1
    if DATA.get(before[0]) == int(tag):
        end = start + _length(before[1])
        if text[end : end + 1] != SOH:
            raise Garbled(f"the data of tag {tag} are not as long as tag {before[0]} says")
    else:
        end = text.find(SOH, start)
    if end <= start:
        raise Garbled(f"tag {tag} has no value, or no end")
    return (int(tag), text[start:end]), end + 1


def _check_frame(raw: bytes, fields: Fields) -> None:
    if [tag for tag, _ in (*fields[:3], *fields[-1:])] != [8, 9, 35, 10]:
        raise Garbled("a message begins with tags 8, 9, 35 and ends with tag 10")
    (_, begin), (_, length), *_, (_, given) = fields
    head = len(f"8={begin}{SOH}9={length}{SOH}")
    end = len(raw) - len(f"10={given}{SOH}")
    if _length(length) != end - head:
        raise Garbled(f"BodyLength is {length}, the body has {end - head} bytes")
    if given != checksum(raw[:end]):
        raise Garbled(f"CheckSum is {given}, the message has {checksum(raw[:end])}")


def _length(text: str) -> int:
    if not _LENGTH.fullmatch(text):
        raise Garbled(f"{text!r:.20} is no length")
    return int(text)


def checksum(raw: bytes) -> str:
    """CheckSum of the bytes before it: their sum modulo 256, in three digits."""
    return f"{sum(raw) % 256:03}"


def number_of(text: str) -> Decimal:
    """A FIX float, exactly: digits, at most one point, perhaps a minus sign. Raises Garbled."""
    if len(text) > FIX_NUMBER_CHARS or not _NUMBER.fullmatch(text):
        raise Garbled(f"{text!r:.50} is no number")
    return Decimal(text)


def time_of(text: str) -> int:
    """A UTCTimestamp in microseconds since the epoch. Raises Garbled.

    A leap second counts as the second before it.
    """
    found = _TIME.fullmatch(text)
    try:
        if found:
            year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
            micros = int((found[7] or "").ljust(6, "0"))
            if second == 60:
                second, micros = 59, 999_999
            return to_us(datetime(year, month, day, hour, minute, second, micros, UTC))
    except (ValueError, OverflowError):
        pass
    raise Garbled(f"{text!r:.30} is no UTC time such as 20260312-14:30:00.000")


def date_of(text: str) -> date:
    """A LocalMktDate, `20260312`. Raises Garbled."""
    try:
        if _DATE.fullmatch(text):
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        pass
    raise Garbled(f"{text!r:.30} is no date such as 20260312")


def time_text(at_us: int) -> str:
    """A UTCTimestamp; FIX 4.4 knows milliseconds, so the rest is cut off."""
    return f"{from_us(at_us):%Y%m%d-%H:%M:%S}.{at_us // 1_000 % 1_000:03}"
