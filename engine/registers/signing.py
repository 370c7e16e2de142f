"""Signing keys of tokens: Ed25519, encrypted at rest, shared by every process of the engine.

Ed25519 instead of HS256: a verifier need not hold the signing key. Verification costs 0.1 ms, once per
token thanks to a cache. Private keys are sealed by AES-256-GCM under a key derived from the master key,
each bound to its own id.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.config.keys import MasterKey
from engine.journal.store import Store, Violation
from engine.kernel.errors import Unavailable, WrongKey
from engine.kernel.limits import CLOCKS_APART_S, ROTATE_ATTEMPTS_MAX, TOKEN_LIFE_S
from engine.registers import acts
from engine.registers.operations import Operations

_NONCE_BYTES: Final = 12
_REFRESH_S: Final = 1.0
"""Anyone can send an unknown key id: the table is read at most this often."""
_OVERLAP_US: Final = (TOKEN_LIFE_S + 2 * CLOCKS_APART_S) * 1_000_000
"""A retired key verifies until its last token has expired, wherever it was issued."""


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key: 32 bytes each. `retired_us` is None for the active one."""

    kid: str
    private: bytes = field(repr=False)
    public: bytes
    created_us: int
    retired_us: int | None

    @property
    def verifies_until_us(self) -> int | None:
        """When its last token expires; None for the active key."""
        return None if self.retired_us is None else self.retired_us + _OVERLAP_US


class SigningKeys:
    """The table `signing_keys`. Thread-safe.

    After the first `active` or `refresh` both `active` and `find` answer from memory.
    """

    def __init__(
        self,
        store: Store,
        operations: Operations,
        key: MasterKey,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._table = operations.signing_keys
        self._cipher = AESGCM(key.derive("signing_keys"))
        self._now_us = now_us
        self._monotonic = monotonic
        self._loading = threading.Lock()
        self._keys: dict[str, SigningKey] = {}
        self._active: SigningKey | None = None
        self._loaded_s = float("-inf")

    def active(self) -> SigningKey:
        """The active key, created on first use. Raises Unavailable, WrongKey."""
        return self._active or self._load()

    def find(self, kid: str) -> SigningKey | None:
        """The key with that id, if known and its tokens can still be valid."""
        key = self._keys.get(kid)
        if key and key.verifies_until_us is not None and self._now_us() > key.verifies_until_us:
            return None
        return key

    def known(self) -> list[SigningKey]:
        """The active key, and retired ones with tokens that can still be valid: newest first."""
        newest = sorted(self._keys.values(), key=lambda key: key.created_us, reverse=True)
        return [key for key in newest if self.find(key.kid)]

    def refresh(self) -> None:
        """Reads changes of other processes, at most once a second."""
        if self._monotonic() - self._loaded_s >= _REFRESH_S:
            self._load()

    def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Retires the active key and creates another; keys without valid tokens are deleted.

        Tokens of the old key stay valid; with `at_once` (it was stolen) every older key is deleted, and
        all tokens issued before become invalid. Raises Unavailable.
        """
        self.active()
        table, columns, now_us = self._table, self._table.c, self._now_us()
        is_over = columns.retired_us < now_us - _OVERLAP_US
        retired = {"state": "retired", "retired_us": now_us}
        steps: tuple[sa.Delete | sa.Update, ...] = (
            table.delete().where(is_over),
            table.update().where(columns.state == "active").values(retired),
        )
        for _ in range(ROTATE_ATTEMPTS_MAX):
            with contextlib.suppress(Violation), self._store.writing() as connection:
                for step in (table.delete(),) if at_once else steps:
                    connection.execute(step)
                kid = self._create(connection)  # Violation if another process has just rotated
                acts.note(
                    connection,
                    "key.rotated",
                    actor=acts.COMMAND_LINE,
                    subject=kid,
                    context={"at_once": at_once},
                    at_us=now_us,
                )
                break
            if not at_once:
                break  # the other process's key serves as well
        else:
            raise Unavailable("others have rotated the signing key first, too often")
        return self._load()

    def _load(self) -> SigningKey:
        with self._loading:
            keys = self._read()
            if not any(key.retired_us is None for key in keys):
                # Another process may be first: the index allows one active key.
                with contextlib.suppress(Violation), self._store.writing() as connection:
                    self._create(connection)
                keys = self._read()
            self._keys = {key.kid: key for key in keys}
            active = next(key for key in keys if key.retired_us is None)
            self._active, self._loaded_s = active, self._monotonic()
            return active

    def _read(self) -> list[SigningKey]:
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(self._table)).all()
        return [self._open(row) for row in rows]

    def _create(self, connection: sa.Connection) -> str:
        kid, nonce = secrets.token_urlsafe(9), secrets.token_bytes(_NONCE_BYTES)
        private = Ed25519PrivateKey.generate().private_bytes_raw()
        row = {
            "kid": kid,
            "sealed": nonce + self._cipher.encrypt(nonce, private, kid.encode()),
            "created_us": self._now_us(),
            "state": "active",
        }
        connection.execute(self._table.insert().values(row))
        return kid

    def _open(self, row: Any) -> SigningKey:
        kid, sealed = row.kid, bytes(row.sealed)
        try:
            nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            private = self._cipher.decrypt(nonce, content, kid.encode())
        except (InvalidTag, ValueError):
            raise WrongKey(
                f"signing key {kid} does not open: it was changed, or made under another master key"
            ) from None
        public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        return SigningKey(kid, private, public, row.created_us, row.retired_us)
