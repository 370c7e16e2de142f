"""The digest chain: every fact's digest covers the fact and, through the one before, all before it.

    digest(n) = SHA-256( digest(n-1) | position n | version | lengths | stream | name | command | body )

Numbers are big-endian: position 8 bytes, version 4, then the lengths of stream, name and command, 2
bytes each. `digest(0)` is 32 zero bytes. Nothing else is needed to check a journal from an export.

What it shows: an accident or a clumsy edit anywhere. What it cannot show: a cut tail, or a chain that
was recomputed by somebody who may write to the database; those need a seal kept elsewhere.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final

GENESIS: Final = bytes(32)

_numbers = struct.Struct(">QiHHH").pack


def link(
    before: bytes, position: int, version: int, stream: bytes, name: bytes, command: bytes, body: bytes
) -> bytes:
    """The digest of the fact at `position`, given the digest `before` it (32 bytes each)."""
    numbers = _numbers(position, version, len(stream), len(name), len(command))
    return sha256(b"".join((before, numbers, stream, name, command, body))).digest()
