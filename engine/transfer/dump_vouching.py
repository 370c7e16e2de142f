"""What vouches for a dump: a signature by the journal's sealing key, a mark under the master key.

A digest chain shows that a dump is whole, not where it comes from: whoever may write the file can
compute all digests anew. Signature and mark are over journal id, number of lines and the SHA-256 of all
bytes before them.

    signature  Ed25519 by the journal's sealing key: for those who hold its public half (`seal key`)
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
    """What a dump is signed and marked with."""

    signer: Signer
    key: MasterKey


class SignedAt(NamedTuple):
    """A signature, and what stands before it: how many lines, with which SHA-256."""

    signed: Signed
    lines: int
    sha256: str


class Vouchers(NamedTuple):
    """What a restore believes: the journal's own master key, if it is at hand, and public keys."""

    key: MasterKey | None
    trusted: Collection[PublicKey] = ()


def sign(signing: Signing, header: Header, lines: int, sha256: str) -> Signed:
    """The line that vouches for the lines before it."""
    text = _text(header, lines, sha256)
    signature = signing.signer.sign_text(text)
    return Signed(str(signing.signer.public), signature, _mark(signing.key, text))


def voucher(header: Header, found: SignedAt | None, vouchers: Vouchers) -> str | None:
    """What vouches for a dump, in words; None for nothing. Raises ValueError for a wrong signature."""
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
    """No checkpoint reads like this, so that no signature of one is good for the other."""
    return f"order-engine dump 1\n{header.journal_id}\n{lines}\n{sha256}\n".encode()


def _mark(key: MasterKey, text: bytes) -> bytes:
    return hmac.digest(key.derive("dump_marks"), text, "sha256")
