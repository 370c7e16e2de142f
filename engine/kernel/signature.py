"""Signatures of requests that the engine sends, as the Standard Webhooks specification has them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  as the specification writes them


def signature(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> str:
    """`Webhook-Signature`: one `v1,...` for each key."""
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signed = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in signed)


def key_of(secret: str) -> bytes:
    """The key of a secret: `whsec_` and base64 of 24 to 64 bytes. Raises ValueError, not naming it."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"a secret is {SECRET_PREFIX} and base64 of 24 to 64 bytes")
    return key
