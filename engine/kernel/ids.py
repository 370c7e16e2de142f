"""Ids: a prefix and a UUIDv7 (RFC 9562, 5.7) in 22 base-58 characters, `ord_1C8xWqVd...`.

Base 58 (digits and letters without 0 O I l) in ASCII order and fixed width, so ids sort by time as
text and as bytes, and indexes grow at one end. 48 bits of milliseconds, 74 random bits.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from uuid import UUID

from engine.kernel.forks import register_forkable

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_WIDTH: Final = 22  # 58**22 > 2**128
_TEXT: Final = re.compile(f"[{_ALPHABET}]{{{_WIDTH}}}", re.ASCII)

_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_BITS: Final = 74
_STEP_BITS: Final = 32  # a step inside one millisecond: unguessable, and 2**42 steps fit


def encode(number: int) -> str:
    """A 128-bit number as 22 characters, order kept."""
    upper, lower = divmod(number, 58**12)  # two machine words divide faster than one big number
    pairs = _PAIRS
    lower, k = divmod(lower, 3364)
    lower, j = divmod(lower, 3364)
    lower, i = divmod(lower, 3364)
    lower, h = divmod(lower, 3364)
    f, g = divmod(lower, 3364)
    return f"{_upper(upper)}{pairs[f]}{pairs[g]}{pairs[h]}{pairs[i]}{pairs[j]}{pairs[k]}"


def encode_alike(number: int) -> str:
    """`encode` for many numbers in a row: all but four characters repeat, and are cached."""
    upper, lower = divmod(number, 58**4)
    a, b = divmod(lower, 3364)
    return f"{_head(upper)}{_PAIRS[a]}{_PAIRS[b]}"


@lru_cache(maxsize=64)
def _head(upper: int) -> str:
    return encode(upper * 58**4)[:-4]


@lru_cache(maxsize=64)  # ids of one millisecond share it
def _upper(upper: int) -> str:
    upper, e = divmod(upper, 3364)
    upper, d = divmod(upper, 3364)
    upper, c = divmod(upper, 3364)
    a, b = divmod(upper, 3364)
    return "".join([_PAIRS[pair] for pair in (a, b, c, d, e)])


def decode(text: str) -> int:
    """The inverse of `encode`. Raises ValueError for anything that `encode` cannot have made."""
    if not _TEXT.fullmatch(text):
        raise ValueError(f"not {_WIDTH} base-58 characters: {text!r}")
    number = 0
    for character in text:
        number = number * 58 + _VALUES[character]
    if number >> 128:
        raise ValueError(f"over 128 bits: {text!r}")
    return number


@lru_cache(maxsize=64)
def _form(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"{prefix}_[A-Za-z0-9_-]{{1,60}}", re.ASCII)


def is_id(text: str, prefix: str) -> bool:
    """Whether the text can be a stream's id; text from outside may be anything."""
    return _form(prefix).fullmatch(text) is not None


def to_uuid(identifier: str) -> UUID:
    """The UUIDv7 inside an id such as `ord_...`. Raises ValueError for a malformed id."""
    _, _, text = identifier.partition("_")
    return UUID(int=decode(text))


def made_ms(identifier: str) -> int:
    """The time encoded in an id, by its maker's clock: milliseconds since the epoch.

    Raises ValueError for an id of another form.
    """
    _, _, text = identifier.partition("_")
    return decode(text) >> 80


class RandomBits:
    """Random bits of the operating system, fetched in bulk.

    Each fetch gives up the interpreter's lock, and getting it back from a busy thread takes far longer
    than the fetch. Not thread-safe; a forked child fetches its own.
    """

    POOL_BYTES: Final = 4_096

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0
        register_forkable(self)

    def __call__(self, count: int) -> int:
        """A number of `count` random bits."""
        size = -(-count // 8)
        pool, start = self._pool, self._used
        self._used = end = start + size
        if end > len(pool):
            self._pool = pool = secrets.token_bytes(self.POOL_BYTES)
            start, self._used = 0, size
        return int.from_bytes(pool[start : start + size], "big") >> (8 * size - count)

    def before_fork(self) -> None:
        """No action in the parent."""

    def after_fork(self) -> None:
        """Drops the pool: with the parent's bits a child would issue the parent's ids."""
        self._pool = b""


class IdSource:
    """Makes ids, strictly ascending within one source even inside a millisecond or a clock step back.

    `now_ms` (milliseconds since the epoch) and `random_bits` (n -> n random bits) are ports, so that a
    simulation can seed them. Thread-safe.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[int], int] | None = None,
    ) -> None:
        self._now_ms = now_ms
        self._random_bits = random_bits or RandomBits()
        self._lock = threading.Lock()
        self._last_ms = -1
        self._random = 0

    def number(self) -> int:
        """The next UUIDv7 as a 128-bit number."""
        with self._lock:
            now_ms = self._now_ms()
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                self._random = self._random_bits(_RANDOM_BITS)
            else:
                self._random += 1 + self._random_bits(_STEP_BITS)
                if self._random >> _RANDOM_BITS:  # borrow from the next millisecond
                    self._last_ms += 1
                    self._random = self._random_bits(_RANDOM_BITS)
            high, low = divmod(self._random, 1 << 62)
            return (self._last_ms << 80) | _VERSION_7 | (high << 64) | _VARIANT | low

    def new(self, prefix: str) -> str:
        """A new id, e.g. `new("ord")` -> `ord_` and 22 characters."""
        return f"{prefix}_{encode(self.number())}"
