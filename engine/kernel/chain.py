"""The digest chain: each digest covers its fact and, through the previous digest, all earlier ones.

    digest(n) = SHA-256(digest(n-1) | n | version | lengths | stream | name | command | body)

Numbers are big-endian: the position n in 8 bytes, the version in 4, then the lengths of stream, name and
command in 2 each. `digest(0)` is 32 zero bytes. An export can be verified with these alone.

The chain detects accidents and clumsy edits anywhere. It cannot detect a cut tail, or a chain recomputed
by someone with write access to the database; those need a seal kept elsewhere.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final

GENESIS: Final = bytes(32)

_lengths: Final = struct.Struct(">iHHH").pack
_position: Final = struct.Struct(">Q").pack
_numbers: Final = struct.Struct(">QiHHH").pack


def content(version: int, stream: bytes, name: bytes, command: bytes, body: bytes) -> bytes:
    """The bytes that a fact's digest covers, apart from its position and the previous digest."""
    lengths = _lengths(version, len(stream), len(name), len(command))
    return b"".join((lengths, stream, name, command, body))


def link(before: bytes, position: int, content: bytes) -> bytes:
    """Digest of the fact at `position`, given the digest `before` it (32 bytes each)."""
    return sha256(before + _position(position) + content).digest()


def digest(  # noqa: PLR0917  (by name they would cost as much as the rest)
    before: bytes, position: int, version: int, stream: bytes, name: bytes, command: bytes, body: bytes
) -> bytes:
    """`link` of `content` in one step, for verification: half the time."""
    numbers = _numbers(position, version, len(stream), len(name), len(command))
    return sha256(b"".join((before, numbers, stream, name, command, body))).digest()
