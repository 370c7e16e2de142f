"""Authenticity of a dump: a signature by the journal's sealing key, a MAC under the master key.

The digest chain proves that a dump is complete, not its origin: anyone with write access to the file can
recompute all digests. Signature and MAC cover the journal id, the number of lines and the SHA-256 of all
bytes before them.

    signature  Ed25519 by the journal's sealing key: for holders of its public key (`seal key`)
    mark       HMAC-SHA256 under a key derived from the master key: for a restore with the same one
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import NamedTuple

from engine.config.keys import MasterKey
from engine.proof.checkpoint import BadNote, PublicKey, Signer, origin_of, read_key
from engine.transfer.dump_format import Header, Signed


class Signing(NamedTuple):
    """The keys that sign a dump."""

    signer: Signer
    key: MasterKey


class SignedAt(NamedTuple):
    """A signature, with the number of lines before it and their SHA-256."""

    signed: Signed
    lines: int
    sha256: str


class Vouchers(NamedTuple):
    """The keys trusted by a restore: the journal's own master key, if available, and public keys."""

    key: MasterKey | None
    trusted: Collection[PublicKey] = ()


def sign(signing: Signing, header: Header, lines: int, sha256: str) -> Signed:
    """The line that signs the lines before it."""
    text = _text(header, lines, sha256)
    signature = signing.signer.sign_text(text)
    return Signed(str(signing.signer.public), signature, _mark(signing.key, text))


def voucher(header: Header, found: SignedAt | None, vouchers: Vouchers) -> str | None:
    """The proof of a dump's origin, in words, or None. Raises ValueError for a wrong signature."""
    if found is None:
        return None
    signed, lines, sha256 = found
    text = _text(header, lines, sha256)
    try:
        public = read_key(signed.key)
    except BadNote as error:
        raise ValueError(str(error)) from None
    if public.name != origin_of(header.journal_id) or not public.verifies(signed.signature, text):
        raise ValueError("the signature is wrong")
    if vouchers.key is not None and vouchers.key.fingerprint == header.key_fingerprint:
        if not hmac.compare_digest(signed.mark, _mark(vouchers.key, text)):
            raise ValueError("it was not made under this journal's master key")
        return "this journal's own keys"
    if public in vouchers.trusted:
        return f"the trusted key {public.id.hex()}"
    return None


def _text(header: Header, lines: int, sha256: str) -> bytes:
    """Differs from any checkpoint's text, so that a signature of one is never valid for the other."""
    return f"order-engine dump 1\n{header.journal_id}\n{lines}\n{sha256}\n".encode()


def _mark(key: MasterKey, text: bytes) -> bytes:
    return hmac.digest(key.derive("dump_marks"), text, "sha256")
