"""Ids of rows derived from facts: computed from time and offset, so that a rebuild gives the same ones.

They have the layout of all ids (UUIDv7 after a prefix); instead of random bits they hold a number.
"""

from __future__ import annotations

from typing import Final

from engine.kernel.ids import decode, encode_alike

_MARKS: Final = 0x7 << 76 | 0b10 << 62
"""Version 7 and the variant of RFC 9562."""
_LOW: Final = (1 << 62) - 1


def derived(prefix: str, at_us: int, number: int) -> str:
    """The id of number (below 2**62), e.g. `evt_` and 22 characters, for a fact of time `at_us`."""
    return f"{prefix}_{encode_alike((at_us // 1000 << 80) | _MARKS | number)}"


def number_of(prefix: str, identifier: str) -> int | None:
    """The number inside an id that `derived` may have made; None for any other text."""
    head, _, text = identifier.partition("_")
    try:
        return decode(text) & _LOW if head == prefix else None
    except ValueError:
        return None
