"""The register `keys`: first answers to idempotency keys that the journal alone cannot reproduce.

A command that appends facts is found in the journal by its id. Rows here are for all others, written in
the transaction of the change:

    subject   id of a new resource, claimed before anything is written ahead of its facts
    answer    status and body of a change that appends no fact (prices, redeliver, replay, rebuild)
    states    versions of the unchanged streams from which a command's answer is made
    secret    data shown once in an answer, sealed by AES-256-GCM under the master key

After 24 hours only the key stays, so that it is refused; later writers clear the rest.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.config.keys import MasterKey
from engine.journal.store import Store, Violation
from engine.kernel.errors import WrongKey
from engine.kernel.limits import IDEMPOTENCY_KEY_LIFE_US, KEYS_CLEARED
from engine.registers.operations import Operations

_NONCE_BYTES: Final = 12


class KeyRow(NamedTuple):
    """A row. `request` is the digest of the first request; `day` the business day of `states`."""

    command: bytes
    request: bytes
    at_us: int
    subject: str | None = None
    status: int | None = None
    body: bytes | None = None
    states: str | None = None
    day: str | None = None
    position: int | None = None
    sealed: bytes | None = None

    @property
    def versions(self) -> dict[str, int] | None:
        """Versions by stream, for a command that changed nothing."""
        found: dict[str, int] | None = None if self.states is None else json.loads(self.states)
        return found

    @property
    def business_date(self) -> date | None:
        """`day` as a date."""
        return None if self.day is None else date.fromisoformat(self.day)


class KeyRegister:
    """The table `keys`. Thread-safe."""

    def __init__(self, store: Store, operations: Operations, key: MasterKey) -> None:
        self._store = store
        self._table = operations.keys
        self._cipher = AESGCM(key.derive("repeated_secrets"))

    def find(self, command: bytes) -> KeyRow | None:
        """The row of a command."""
        query = sa.select(self._table).where(self._table.c.command == command)
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _kept(row)

    def claim(self, kept: KeyRow) -> KeyRow:
        """Adds a row in its own transaction, or returns the existing one."""
        try:
            with self._store.writing() as connection:
                self.add(connection, kept)
        except Violation:
            first = self.find(kept.command)
            if first is None:
                raise
            return first
        return kept

    def add(self, connection: sa.Connection, kept: KeyRow) -> None:
        """Adds a row in the transaction of the change; raises Violation if there is one."""
        connection.execute(self._table.insert().values(kept._asdict()))
        self._clear(connection, kept.at_us - IDEMPOTENCY_KEY_LIFE_US)

    def keep_secret(self, connection: sa.Connection, command: bytes, words: Mapping[str, Any]) -> None:
        """Stores data that is shown once with a command's row, sealed."""
        mine = self._table.update().where(self._table.c.command == command)
        connection.execute(mine.values(sealed=self.sealed(command, words)))

    def complete(self, kept: KeyRow, words: Mapping[str, Any]) -> dict[str, Any]:
        """The words for every answer to a command: those of its row, else these, stored now.

        Call it before the first answer. Raises WrongKey.
        """
        kept = kept._replace(sealed=self.sealed(kept.command, words))
        known = self.opened(self.claim(kept))
        if not words.keys() - known.keys():
            return known
        columns = self._table.c
        mine = sa.select(self._table).where(columns.command == kept.command).with_for_update()
        with self._store.writing() as connection:
            known = {**words, **self.opened(_kept(connection.execute(mine).one()))}
            self.keep_secret(connection, kept.command, known)
        return known

    def sealed(self, command: bytes, words: Mapping[str, Any]) -> bytes:
        """The words encrypted under the master key, bound to the command."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(words).encode(), command)

    def opened(self, kept: KeyRow | None) -> dict[str, Any]:
        """The decrypted words; empty if they were cleared. Raises WrongKey."""
        if kept is None or kept.sealed is None:
            return {}
        nonce, content = kept.sealed[:_NONCE_BYTES], kept.sealed[_NONCE_BYTES:]
        try:
            words: dict[str, Any] = json.loads(self._cipher.decrypt(nonce, content, kept.command))
        except (InvalidTag, ValueError):
            raise WrongKey("a kept secret does not open: it was made under another master key") from None
        return words

    def _clear(self, connection: sa.Connection, before_us: int) -> None:
        """Clears some expired rows except for the key."""
        columns = self._table.c
        old = (
            sa.select(columns.command)
            .where(columns.at_us < before_us, columns.is_whole)
            .order_by(columns.at_us)
            .limit(KEYS_CLEARED)
        )
        cleared = dict.fromkeys(KeyRow._fields[3:]) | {"is_whole": False}
        connection.execute(
            self._table.update().where(columns.command.in_(old.scalar_subquery())).values(cleared)
        )


def _kept(row: Any) -> KeyRow:
    words = {name: getattr(row, name) for name in KeyRow._fields}
    for name in ("command", "request", "body", "sealed"):
        words[name] = None if words[name] is None else bytes(words[name])
    return KeyRow(**words)
