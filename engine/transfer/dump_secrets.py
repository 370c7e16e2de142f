"""Rows of a dump that hold secrets, encrypted for the holder of an X25519 key or of a passphrase.

    key        X25519: HKDF-SHA256(shared secret, salt = ephemeral key | recipient's key)
               passphrase: scrypt(passphrase, salt)
    row n      AES-256-GCM(key, nonce = n in 12 bytes, row as JSON, associated = journal id and digest)

A key encrypts one dump only (the ephemeral key or the salt is fresh), so counted nonces never repeat.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from engine.config.keys import hkdf, read_private
from engine.kernel.errors import BadDump, BadSettings, WrongKey
from engine.kernel.files import read_regular
from engine.kernel.limits import KEY_FILE_BYTES_MAX, PASSPHRASE_CHARACTERS_MIN
from engine.transfer.dump_format import Header, RowLine, SealedLine, decode_json, plain

_LABEL: Final = b"order-engine dump secrets 1"
_SCRYPT: Final = {"n": 2**16, "r": 8, "p": 1}
"""64 MB and a quarter of a second for each guess. Fixed by the format."""


class Sealer:
    """Encrypts rows. `how` is its description in the header."""

    def __init__(self, how: dict[str, Any], key: bytes) -> None:
        self.how = how
        self._cipher = AESGCM(key)
        self._number = 0

    def seal(self, header: Header, row: RowLine) -> SealedLine:
        """The next sealed row."""
        self._number += 1
        content = msgspec.json.encode((row.table, plain(row.values)))
        nonce = self._number.to_bytes(12, "big")
        return SealedLine(self._number, self._cipher.encrypt(nonce, content, _bound_to(header)))


def for_recipient(path: Path) -> Sealer:
    """Encrypts for the owner of an X25519 private key; takes the public key in PEM. Raises WrongKey."""
    recipient = _public_key(path)
    ephemeral = X25519PrivateKey.generate()
    mine, theirs = _raw(ephemeral.public_key()), _raw(recipient)
    how = {"for": "x25519", "recipient": theirs.hex(), "ephemeral": mine.hex()}
    return Sealer(how, hkdf(ephemeral.exchange(recipient), _LABEL, salt=mine + theirs))


def for_passphrase(path: Path) -> Sealer:
    """Encrypts with the passphrase in a file. Raises WrongKey."""
    salt = os.urandom(16)
    return Sealer({"for": "passphrase", "salt": salt.hex()}, _stretched(_passphrase(path), salt))


class Opener:
    """Decrypts the rows of one dump."""

    def __init__(self, header: Header, *, identity: Path | None, passphrase: Path | None) -> None:
        """Raises WrongKey for the wrong key, or the wrong kind of key."""
        self._header = header
        how = header.secrets or {}
        try:
            match how.get("for"):
                case "x25519" if identity:
                    key = _shared(identity, how)
                case "passphrase" if passphrase:
                    key = _stretched(_passphrase(passphrase), bytes.fromhex(how["salt"]))
                case "x25519" | "passphrase":
                    raise WrongKey(f"this dump's secrets are encrypted for {_named(how)}")
                case _:
                    raise WrongKey("this dump holds no secrets")
        except (KeyError, TypeError, ValueError):
            raise BadDump("the header does not say how its secrets are encrypted") from None
        self._cipher = AESGCM(key)
        self._number = 0

    def open(self, sealed: SealedLine) -> RowLine:
        """The decrypted row. Raises WrongKey for another's key, ValueError for an altered one."""
        self._number += 1
        if sealed.number != self._number:
            raise ValueError("a sealed row is missing, or not in its place")
        nonce = sealed.number.to_bytes(12, "big")
        try:
            content = self._cipher.decrypt(nonce, sealed.content, _bound_to(self._header))
        except InvalidTag:
            raise WrongKey(
                f"the secrets do not open with this key: for {_named(self._header.secrets)}"
            ) from None
        match decode_json(content):
            case [str(table), dict(values)]:
                return RowLine(table, values)
        raise ValueError("a sealed row is none")


def _bound_to(header: Header) -> bytes:
    return f"{header.journal_id} {header.digest}".encode()


def _named(how: Mapping[str, Any] | None) -> str:
    if how and how.get("for") == "x25519":
        key = base64.b64encode(unpack_hex(how.get("recipient"))).decode()
        return f"the X25519 key {key}"
    return "a passphrase"


def unpack_hex(text: object) -> bytes:
    """Bytes from hexadecimal digits. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("not hexadecimal")
    return bytes.fromhex(text)


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _public_key(path: Path) -> X25519PublicKey:
    try:
        key = load_pem_public_key(read_regular(path, KEY_FILE_BYTES_MAX))
    except BadSettings as error:
        raise WrongKey(str(error)) from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PublicKey):
        raise WrongKey(f"{path} is not a public X25519 key in PEM (openssl pkey -pubout makes one)")
    return key


def _shared(path: Path, how: Mapping[str, Any]) -> bytes:
    try:
        key = load_pem_private_key(_private(path).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise WrongKey(f"{path} is not a private X25519 key in PEM (openssl genpkey makes one)")
    theirs, mine = unpack_hex(how["ephemeral"]), _raw(key.public_key())
    shared = key.exchange(X25519PublicKey.from_public_bytes(theirs))
    return hkdf(shared, _LABEL, salt=theirs + mine)


def _passphrase(path: Path) -> bytes:
    text = _private(path).strip()
    if len(text) < PASSPHRASE_CHARACTERS_MIN:
        raise WrongKey(f"{path}: a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters")
    return text.encode()


def _private(path: Path) -> str:
    try:
        return read_private(path)
    except OSError as error:
        raise WrongKey(f"{path} cannot be read: {error.strerror}") from error


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase)
