"""Arguments as text in paths, queries and bodies."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from order_engine_client.operations import Query

Amount: TypeAlias = Decimal | int | str


class Same:
    """See SAME."""

    def __repr__(self) -> str:
        return "SAME"


SAME: Final = Same()
"""The default of what a change leaves alone, where None would empty it."""


def written(value: Any) -> Any:
    """A value as JSON has it. Raises TypeError for a float, ValueError for a time without a zone."""
    match value:
        case float():
            raise TypeError("amounts are Decimal, int or str: a float is not exact")
        case Decimal():
            return f"{value:f}"
        case datetime(tzinfo=None):
            raise ValueError("a time needs its time zone")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
    return value


def span(length: timedelta | str) -> str:
    """A duration in ISO 8601, to the second; text is taken as it is, for the engine to judge.

    Raises ValueError for one that is negative or finer than a second.
    """
    if isinstance(length, str):
        return length
    if length.microseconds or length < timedelta():
        raise ValueError("business time moves forward, by whole seconds")
    hours, seconds = divmod(length.seconds, 3600)
    return f"P{length.days}DT{hours}H{seconds // 60}M{seconds % 60}S"


def path(*segments: str) -> str:
    """A path of words and ids. Raises ValueError for what cannot be an id."""
    if any(segment.strip(".") == "" for segment in segments):
        raise ValueError(f"not an id: {segments!r}")
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def given(**words: Any) -> dict[str, Any]:
    """A body of all that is not None."""
    return {name: written(value) for name, value in words.items() if value is not None}


def query(words: Mapping[str, Any]) -> Query:
    """All that is not None; what holds several is repeated."""
    pairs: list[tuple[str, str]] = []
    for name, value in words.items():
        match value:
            case None:
                pass
            case bool():
                pairs.append((name, str(value).lower()))
            case list() | tuple() | set() | frozenset():
                pairs += [(name, str(written(one))) for one in value]
            case _:
                pairs.append((name, str(written(value))))
    return tuple(pairs)


KEY_CHARACTERS_MAX: Final = 255


def key_of(chosen: str | None) -> str:
    """An idempotency key: the chosen one, or a random one. Raises ValueError."""
    if chosen is None:
        return uuid.uuid4().hex
    if not 0 < len(chosen) <= KEY_CHARACTERS_MAX or any(not "!" <= letter <= "~" for letter in chosen):
        raise ValueError(f"a key is 1 to {KEY_CHARACTERS_MAX} visible ASCII characters")
    return chosen


def accounts_path(account: str, *more: str) -> str:
    """The path of an account, or of something of it. Raises ValueError."""
    return path("accounts", account, *more)


def state_query(version: int | None, asof: datetime | None) -> Query:
    """The query for a state in the past. Raises ValueError when neither is given."""
    if version is None and asof is None:
        raise ValueError("give a version or a time")
    return query({"version": version, "asof": asof})
