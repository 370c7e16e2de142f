"""Checkpoints of the journal in the formats C2SP `tlog-checkpoint` and `signed-note`. Pure.

    order-engine/2d206afe81971d10f8aa613912bd4f1e          the origin of the tree
    1042                                                   its size in facts
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=           its root (see engine.proof.merkle), base64

    — order-engine/2d20... Az3grlgtzPICa5OS8npVmf1M...     signature: base64(key id | Ed25519)

The key id is the first 4 bytes of SHA-256(name | 0x0A | 0x01 | public key). A public key is written as
`name+key id in hex+base64(0x01 | public key)`, readable by other tools for signed notes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engine.kernel.limits import SEAL_BYTES_MAX

_ED25519: Final = b"\x01"
_DASH: Final = "\N{EM DASH}"
_BODY: Final = re.compile(r"([^\s+]+)\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n", re.ASCII)
_SIGNATURE: Final = re.compile(rf"{_DASH} ([^\s+]+) ([A-Za-z0-9+/]+=*)", re.ASCII)


class BadNote(ValueError):
    """The text is not a checkpoint, or not signed by a known key."""


class Checkpoint(NamedTuple):
    """The signed statement: the tree of the first `size` facts of the journal `origin` has this root."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> str:
        """The signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class PublicKey(NamedTuple):
    """A signer's name, and the 32 bytes of an Ed25519 key."""

    name: str
    raw: bytes

    @property
    def id(self) -> bytes:
        """Distinguishes keys of one name; 4 bytes."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether the signature of the text is valid."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        """The form given to verifiers."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.raw).decode()}"


class Signer:
    """Signs checkpoints under a name. Deterministic: the same checkpoint gives the same note."""

    def __init__(self, name: str, private: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private)
        self.public = PublicKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note."""
        body = checkpoint.body
        signature = self.public.id + self._private.sign(body.encode())
        return f"{body}\n{_DASH} {self.public.name} {base64.b64encode(signature).decode()}\n"

    def sign_text(self, text: bytes) -> bytes:
        """The signature of any text."""
        return self._private.sign(text)


def read_key(text: str) -> PublicKey:
    """The inverse of `str` of a public key. Raises BadNote."""
    name, _, rest = text.strip().partition("+")
    identifier, _, encoded = rest.partition("+")
    raw = _decoded(encoded)
    if raw[:1] != _ED25519 or len(raw) != 33:
        raise BadNote("not a public key as `order-engine seal key` prints it")
    key = PublicKey(name, raw[1:])
    if key.id.hex() != identifier:
        raise BadNote("the id of a public key is not that of its bytes")
    return key


def origin_of(journal_id: str) -> str:
    """The origin, and the name of the keys, of a journal."""
    return f"order-engine/{journal_id}"


def read_note(text: str) -> tuple[Checkpoint, list[tuple[str, bytes, bytes]]]:
    """The checkpoint of a note, and (name, key id, signature) of its signers, unverified.

    Raises BadNote.
    """
    body, blank, signed = text.rpartition("\n\n")
    parts = _BODY.fullmatch(body + "\n")
    if len(text) > SEAL_BYTES_MAX or not blank or not parts or not signed.endswith("\n"):
        raise BadNote("not a signed checkpoint")
    signatures = []
    for line in signed[:-1].split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if not found:
            raise BadNote("a signature line is malformed")
        raw = _decoded(found[2])
        signatures.append((found[1], raw[:4], raw[4:]))
    return Checkpoint(parts[1], int(parts[2]), _decoded(parts[3])), signatures


def open_note(text: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """The checkpoint of a note, verified against one of `keys`. Raises BadNote."""
    checkpoint, signatures = read_note(text)
    known = {(key.name, key.id): key for key in keys}
    is_signed = False
    for name, key_id, signature in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue  # an unknown key is no reason to refuse, by the specification
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, checkpoint.body.encode())
        except InvalidSignature:
            raise BadNote(f"the signature of key {key_id.hex()} is wrong") from None
        is_signed = True
    if not is_signed:
        raise BadNote("no known key has signed it")
    return checkpoint


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadNote("not base64") from None
