"""Idempotency keys: one key, one request, one outcome."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from engine.kernel.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX, IDEMPOTENCY_KEY_LIFE_US
from engine.kernel.refusals import refused

KEY_PATTERN: Final = rf"[!-~]{{1,{IDEMPOTENCY_KEY_CHARACTERS_MAX}}}"
_VISIBLE: Final = re.compile(KEY_PATTERN, re.ASCII)


def check_key(key: str) -> None:
    """Raises Refused `idempotency_key_too_long` for a key that is not 1 to 255 visible ASCII.

    One code for every fault; the detail names it.
    """
    if _VISIBLE.fullmatch(key):
        return
    most = IDEMPOTENCY_KEY_CHARACTERS_MAX
    if not 0 < len(key) <= most:
        raise refused("idempotency_key_too_long", characters=len(key), characters_max=most)
    place = next(n for n, character in enumerate(key, 1) if not "!" <= character <= "~")
    raise refused("idempotency_key_too_long", place=place, characters_max=most)


def check_repeat(first: bytes | None, request: bytes, *, first_at_us: int, at_us: int) -> None:
    """Checks that a repeated key comes with the same request, whose first outcome is then the answer.

    Both requests are digests in canonical form. Raises Refused `idempotency_key_expired` for a key first
    used over 24 hours ago, `idempotency_key_conflict` for another request.
    """
    if at_us - first_at_us > IDEMPOTENCY_KEY_LIFE_US:
        raise refused("idempotency_key_expired")
    if first != request:
        raise refused("idempotency_key_conflict")


def command_id(parts: Sequence[str], key: bytes = b"") -> bytes:
    """A command's id of 16 bytes, derived from its words: the same words, the same command.

    A client's words are digested under a secret `key` (BLAKE2b, RFC 7693), so that readers of the
    journal cannot recover them.
    """
    words = [part.encode() for part in parts]
    whole = b"".join([len(word).to_bytes(4, "big") + word for word in words])
    return hashlib.blake2b(whole, key=key, digest_size=16).digest()
