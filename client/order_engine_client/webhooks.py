"""Verification of webhooks that the engine sends: Standard Webhooks, scheme `v1`."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Final

from order_engine_client.errors import InvalidSignature
from order_engine_client.events import Event, read_event

TOLERANCE_S: Final = 300.0
"""A signature older than this may be a recorded one, replayed by someone else (Standard Webhooks)."""
_PREFIX: Final = "whsec_"
_DIGITS_MAX: Final = 12
"""Of a timestamp in seconds."""


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
) -> Event:
    """The event of a webhook request, once its signature is verified.

    `body` is the request's body as it came, before parsing. `headers` may be in any case. `secret` is
    that of `create_webhook` (`whsec_...`). For 48 hours after a rotation the engine signs with the new
    and the former secret, so either verifies; a sequence of secrets is accepted too. `tolerance_s`
    bounds the age of the signature, and how far its clock may be ahead. Raises InvalidSignature;
    ValueError for a malformed secret; UnexpectedAnswer for a signed body that is not an event.
    """
    raw = body.encode() if isinstance(body, str) else body
    verify_signature(raw, headers, secret, tolerance_s=tolerance_s)
    return read_event(raw)


def verify_signature(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Verifies a request of the engine that is not an event, such as an order to a gateway.

    Arguments and errors as in `verify_webhook`.
    """
    raw = body.encode() if isinstance(body, str) else body
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    known = {name.lower(): value for name, value in headers.items()}
    try:
        message, signed_at, signatures = (
            known[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as error:
        raise InvalidSignature(f"the header {error.args[0]} is missing") from None
    if not (signed_at.isascii() and signed_at.isdigit() and len(signed_at) <= _DIGITS_MAX):
        raise InvalidSignature("webhook-timestamp is not a number of seconds")
    if abs(time.time() - int(signed_at)) > tolerance_s:
        raise InvalidSignature(f"signed more than {tolerance_s:g} s ago, or in the future")
    content = f"{message}.{signed_at}.".encode() + raw
    expected = [b"v1," + base64.b64encode(hmac.digest(key, content, "sha256")) for key in keys]
    given = [signature.encode() for signature in signatures.split(" ")]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        raise InvalidSignature("no signature matches: another secret, or an altered body")


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("a webhook secret is `whsec_` and base64")  # without the secret itself
    return key
