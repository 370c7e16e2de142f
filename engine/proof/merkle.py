"""The Merkle tree of RFC 6962 (and 9162): hashes, roots, and proofs that a leaf is in a tree.

    leaf   SHA-256(0x00 | data)            node   SHA-256(0x01 | left | right)

A tree of n leaves is split at the largest power of two below n, so that all except its right edge
consists of full subtrees, which never change. Pure: callers supply their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

EMPTY: Final = sha256(b"").digest()
"""The root of a tree without leaves."""
TIER: Final = 8
"""Levels between two stored ones: 256 hashes make one, as in C2SP's tiles."""
TILE: Final = 1 << TIER

Fetch = Callable[[int, int], bytes]
"""(level, index) -> the hash of the full subtree over the 2**level leaves from index * 2**level on."""


class Node(NamedTuple):
    """The hash of a full subtree, with its position: see Fetch."""

    level: int
    place: int
    hash: bytes


def leaf(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return sha256(b"\1" + left + right).digest()


def full(hashes: Sequence[bytes]) -> bytes:
    """The hash over 1, 2, 4, 8 ... hashes of one level."""
    row = list(hashes)
    assert row
    assert len(row) & (len(row) - 1) == 0
    while len(row) > 1:
        row = [node(row[n], row[n + 1]) for n in range(0, len(row), 2)]
    return row[0]


def root(size: int, fetch: Fetch) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _over(0, size, fetch) if size else EMPTY


def inclusion(index: int, size: int, fetch: Fetch) -> list[bytes]:
    """The inclusion proof of leaf `index` (from 0) in a tree of `size` leaves: siblings, the leaf's
    first.
    """
    assert 0 <= index < size
    start, end, path = 0, size, list[bytes]()
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_over(middle, end, fetch))
            end = middle
        else:
            path.append(_over(start, middle, fetch))
            start = middle
    return path[::-1]


def root_of(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root computed from a proof; None for a malformed proof (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    place, last, made = index, size - 1, leaf_hash
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            made = node(sibling, made)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            made = node(made, sibling)
        place, last = place >> 1, last >> 1
    return made if last == 0 else None


class Frontier:
    """The right edge of a growing tree: sufficient to append, and to compute the root.

    `peaks` are its full subtrees from left to right, one for each bit of `size`.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        assert len(peaks) == size.bit_count()
        self.size, self.peaks = size, list(peaks)

    @classmethod
    def at(cls, size: int, fetch: Fetch) -> Frontier:
        """The frontier of the first `size` leaves."""
        peaks, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                peaks.append(fetch(level, start >> level))
                start += 1 << level
        return cls(size, peaks)

    def copy(self) -> Frontier:
        """An independent copy."""
        return Frontier(self.size, self.peaks)

    def append(self, leaf_hash: bytes) -> Iterator[Node]:
        """Adds a leaf; yields the completed full subtrees at tier levels, which must be stored.

        The leaf is added only when the iterator is exhausted.
        """
        made, level, rest = leaf_hash, 0, self.size
        while rest & 1:
            made, level, rest = node(self.peaks.pop(), made), level + 1, rest >> 1
            if level % TIER == 0:
                yield Node(level, rest, made)
        self.peaks.append(made)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root of all leaves appended."""
        if not self.peaks:
            return EMPTY
        *rest, made = self.peaks
        for peak in reversed(rest):
            made = node(peak, made)
        return made


def _split(count: int) -> int:
    """The largest power of two below `count`, for `count` over 1."""
    return 1 << (count - 1).bit_length() - 1


def _over(start: int, end: int, fetch: Fetch) -> bytes:
    """The hash over leaves [start, end), where a subtree of that size may start."""
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return fetch(level, start >> level)
    middle = start + _split(count)
    return node(_over(start, middle, fetch), _over(middle, end, fetch))
