"""Signing keys of seals: separate Ed25519 keys, encrypted at rest.

Separate from tokens' keys, which rotate often: verifiers of seals keep the public key elsewhere for
years. Private keys are encrypted by AES-256-GCM under a key derived from the master key, each bound to
its public key. Public keys of retired keys are kept, as are their seals.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.config.keys import MasterKey
from engine.journal.store import Store, Violation
from engine.kernel.errors import WrongKey
from engine.proof.checkpoint import PublicKey, Signer
from engine.registers import acts
from engine.registers.operations import Operations

_NONCE_BYTES: Final = 12


class SealingKey(NamedTuple):
    """A key as verifiers know it. `retired_us` is None for the active one."""

    public: PublicKey
    created_us: int
    retired_us: int | None


class SealingKeys:
    """The table `sealing_keys`. `name` is the signer's name of all keys: the journal's origin."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        key: MasterKey,
        name: str,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store = store
        self._table = operations.sealing_keys
        self._cipher = AESGCM(key.derive("sealing_keys"))
        self._name = name
        self._now_us = now_us

    def signer(self) -> Signer:
        """The active key; created on first use. Raises Unavailable, WrongKey."""
        row = self._active()
        if row is None:
            # Another process may be first: the index allows one active key.
            with contextlib.suppress(Violation), self._store.writing() as connection:
                self._create(connection)
            row = self._active()
            assert row is not None
        return self._open(row)

    def rotate(self) -> Signer:
        """Replaces the active key; signatures of old keys stay verifiable."""
        retired = {"state": "retired", "retired_us": self._now_us()}
        with contextlib.suppress(Violation), self._store.writing() as connection:
            where = self._table.c.state == "active"
            connection.execute(self._table.update().where(where).values(retired))
            key = self._create(connection)  # violation if another process has rotated: that serves too
            acts.note(
                connection,
                "sealing_key.rotated",
                actor=acts.COMMAND_LINE,
                subject=key,
                at_us=self._now_us(),
            )
        return self.signer()

    def known(self) -> list[SealingKey]:
        """Every key, including retired ones, newest first.

        Raises WrongKey for a key not made under our master key: an attacker with write access to the
        database could add one, and sign with it.
        """
        query = sa.select(self._table).order_by(self._table.c.created_us.desc())
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        return [SealingKey(self._open(row).public, row.created_us, row.retired_us) for row in rows]

    def _active(self) -> Any:
        with self._store.reading() as connection:
            query = sa.select(self._table).where(self._table.c.state == "active")
            return connection.execute(query).first()

    def _create(self, connection: sa.Connection) -> str:
        private = Ed25519PrivateKey.generate()
        public = PublicKey(self._name, private.public_key().public_bytes_raw())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        row = {
            "id": public.id.hex(),
            "public": public.raw,
            "sealed": nonce
            + self._cipher.encrypt(nonce, private.private_bytes_raw(), str(public).encode()),
            "created_us": self._now_us(),
            "state": "active",
        }
        connection.execute(self._table.insert().values(row))
        return public.id.hex()

    def _open(self, row: Any) -> Signer:
        public, sealed = PublicKey(self._name, bytes(row.public)), bytes(row.sealed)
        try:
            nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            private = self._cipher.decrypt(nonce, content, str(public).encode())
        except (InvalidTag, ValueError):
            raise WrongKey(
                f"sealing key {row.id} does not open: it was changed, or made under another master key"
            ) from None
        return Signer(self._name, private)
