"""The master key, and the keys derived from it: one for each purpose.

The master key is 32 random bytes: `ORDER_ENGINE_KEY` (64 hexadecimal digits, or base64), else the file
`master.key` in the data directory, readable by its owner only. Derived keys are HKDF-SHA256(master key,
label of the purpose), RFC 5869.

Key material is never part of a message, a `repr` or a log line. A fingerprint, itself the start of a
derived key, identifies a key without revealing it.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.config.settings import MASTER_KEY, Settings
from engine.kernel.errors import BadSettings, WrongKey

KEY_BYTES: Final = 32

Purpose = Literal[
    "client_secrets",
    "webhook_secrets",
    "command_ids",
    "signing_keys",
    "sealing_keys",
    "journal_check",
    "repeated_secrets",
    "dump_marks",
    "witnesses",
]

PURPOSES: Final[dict[Purpose, bytes]] = {
    "client_secrets": b"order-engine client secrets 1",  # the pepper of their digests
    "webhook_secrets": b"order-engine webhook secrets 1",  # encrypts them at rest
    "command_ids": b"order-engine command ids 1",  # digests of idempotency keys
    "signing_keys": b"order-engine signing keys 1",  # encrypts token-signing keys at rest
    "sealing_keys": b"order-engine sealing keys 1",  # encrypts the seals' signing keys at rest
    # encrypts secrets that a repeated request may show again
    "repeated_secrets": b"order-engine repeated secrets 1",
    "dump_marks": b"order-engine dump marks 1",  # authenticates a dump for a restore with the same key
    "witnesses": b"order-engine witnesses 1",  # MAC of points of the journal stored outside of it
    "journal_check": b"order-engine journal check 1",  # its start is the fingerprint
}
"""Labels are permanent: another label is another key, and data of the old one becomes unreadable."""


def hkdf(key: bytes, label: bytes, *, salt: bytes | None = None, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 (RFC 5869), extract and expand."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=label).derive(key)


class MasterKey:
    """The master key. `source` says where it came from."""

    def __init__(self, key: bytes, source: str) -> None:
        if len(key) != KEY_BYTES:
            raise WrongKey(f"{source}: a master key has {KEY_BYTES} bytes, not {len(key)}")
        # No random key looks like this (fewer than one in 10**40): zeros, or a documentation sample.
        if len(set(key)) < 8:
            raise WrongKey(f"{source}: this is a placeholder, not a random key")
        self._key = key
        self.source = source

    def derive(self, purpose: Purpose) -> bytes:
        """The 32-byte key for one purpose."""
        return hkdf(self._key, PURPOSES[purpose])

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint stored by a journal: 32 hexadecimal digits."""
        return self.derive("journal_check")[:16].hex()

    def check(self, fingerprint: str) -> None:
        """Raises WrongKey unless this is the key with that fingerprint."""
        if fingerprint != self.fingerprint:
            raise WrongKey(
                f"{self.source} is not the key this journal was made with: bring back the right one"
                f" (its fingerprint is {fingerprint}, this one's is {self.fingerprint})",
                expected=fingerprint,
                found=self.fingerprint,
            )

    def __repr__(self) -> str:
        """Shows the key's source, never the key."""
        return f"<MasterKey from {self.source}>"


def find_key(settings: Settings) -> MasterKey | None:
    """The master key, None if there is none yet. Raises WrongKey for an unusable one."""
    if settings.master_key is not None:
        return MasterKey(_parse(settings.master_key, MASTER_KEY), MASTER_KEY)
    path = settings.key_file
    try:
        text = read_private(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WrongKey(f"{path} cannot be read: {error.strerror}") from error
    return MasterKey(_parse(text, str(path)), str(path))


def read_key(settings: Settings) -> MasterKey:
    """The master key. Raises WrongKey if it is missing or unusable."""
    key = find_key(settings)
    if key is None:
        raise WrongKey(
            f"{settings.key_file} is missing and {MASTER_KEY} is not set: bring the key back from its"
            " backup; for a new journal `order-engine migrate` makes one"
        )
    return key


def create_key(settings: Settings) -> MasterKey:
    """Creates a key file, or finds one that another process has just created."""
    path = settings.key_file
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        _write_private(draft, secrets.token_bytes(KEY_BYTES).hex() + "\n")
        try:
            # A link is atomic, and never replaces an existing key.
            os.link(draft, path)
            sync_directory(path.parent)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise BadSettings(f"{path} cannot be written: {error.strerror}") from error
    return read_key(settings)


def _parse(text: str, source: str) -> bytes:
    text = text.strip()
    try:
        if len(text) == 2 * KEY_BYTES:
            return binascii.unhexlify(text)
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise WrongKey(
            f"{source} is malformed: a master key is {2 * KEY_BYTES} hexadecimal digits"
            f" or {KEY_BYTES} bytes in base64"
        ) from None


def read_private(path: Path) -> str:
    """A secret from a file of at most a kilobyte. Raises WrongKey if others can use the file."""
    # Without O_NONBLOCK a named pipe in its place would block forever.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise WrongKey(f"{path} is not a file")
        if status.st_mode & 0o077:
            raise WrongKey(
                f"{path} is open to other users (mode {status.st_mode & 0o777:04o}): if they have not"
                f" read it, run `chmod 600 {path}`"
            )
        return os.read(file, 1024).decode("ascii", "replace")
    finally:
        os.close(file)


def _write_private(path: Path, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
