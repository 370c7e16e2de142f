"""Endpoints of webhooks: URL, description and secrets, kept out of facts.

A URL's path is often a password, and a description may name a person, so both can be changed and erased.
Secrets are 32 random bytes, shown once, sealed by AES-256-GCM under a key derived from the master key,
each bound to its webhook.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.config.keys import MasterKey, hkdf
from engine.domain.addresses import Target
from engine.domain.webhook import Destination, check_new
from engine.journal.store import CompanionWrite, Store, Violation, no_companion
from engine.kernel import wall
from engine.kernel.errors import WrongKey
from engine.kernel.limits import WEBHOOK_CLAIM_S, WEBHOOK_OVERLAP_US, WEBHOOK_SECRETS_MAX
from engine.kernel.refusals import refused
from engine.kernel.signature import SECRET_PREFIX
from engine.registers.operations import Operations

SECRET_BYTES: Final = 32

_NONCE_BYTES: Final = 12
_URLS: Final = b"order-engine webhook urls 1"
_LOCK: Final = 0x7765_6268_6F6F_6B  # "webhook"; held by claimers of a URL on PostgreSQL


@dataclass(frozen=True)
class Endpoint:
    """A webhook's endpoint. `secrets` are keys, newest first, each with its expiry.

    None of it may be logged: `repr` hides the values.
    """

    webhook: str
    tenant: str
    url: str = field(repr=False)
    description: str | None = field(repr=False)
    claimed_us: int
    secrets: tuple[tuple[bytes, int | None], ...] = field(default=(), repr=False)

    def keys_at(self, at_us: int) -> list[bytes]:
        """The keys that sign a message at that time: newest first."""
        return [key for key, until_us in self.secrets if until_us is None or at_us < until_us]


def secret_text(key: bytes) -> str:
    """A secret in the form given to receivers."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


class Endpoints:
    """The tables `webhooks` and `webhook_secrets`. Thread-safe."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        key: MasterKey,
        now_us: Callable[[], int] = wall.now_us,
    ) -> None:
        self._store = store
        self._table = operations.webhooks
        self._secrets = operations.webhook_secrets
        master = key.derive("webhook_secrets")
        self._cipher = AESGCM(master)
        self._url_key = hkdf(master, _URLS)
        self._now_us = now_us

    def where(self, target: Target) -> Destination:
        """The part of a URL stored in facts: the digest reveals a change but not the URL."""
        return Destination(target.origin, hmac.digest(self._url_key, target.url.encode(), "sha256")[:16])

    def claim(
        self,
        tenant: str,
        webhook: str,
        url: str,
        description: str | None,
        *,
        dead: Collection[str] = (),
        also: CompanionWrite = no_companion,
    ) -> str:
        """Claims the URL for a new webhook, and returns its secret, which is never shown again.

        `dead` are ids without a webhook: see `is_stale`. `also` is called with the connection and the
        secret, to write in the same transaction. Raises Refused `duplicate_webhook`,
        `too_many_webhooks`.
        """
        key, columns = secrets.token_bytes(SECRET_BYTES), self._table.c
        row = {
            "id": webhook,
            "tenant": tenant,
            "url": url,
            "description": description,
            "claimed_us": self._now_us(),
        }
        query = sa.select(columns.id, columns.url).where(columns.tenant == tenant)
        with self._claiming() as connection:
            self._forget(connection, dead)
            check_new(url, [(other.id, other.url) for other in connection.execute(query)])
            connection.execute(self._table.insert().values(row))
            self._add_secret(connection, webhook, 1, key)
            also(connection, secret_text(key))
        return secret_text(key)

    def is_stale(self, endpoint: Endpoint) -> bool:
        """Whether it should have facts by now: if not, the process that claimed it is gone."""
        return endpoint.claimed_us < self._now_us() - int(WEBHOOK_CLAIM_S * 1_000_000)

    def change(self, tenant: str, webhook: str, url: str, description: str | None) -> None:
        """Changes URL and description. Raises Refused `duplicate_webhook`."""
        columns = self._table.c
        update = self._table.update().where(columns.id == webhook)
        try:
            with self._store.writing() as connection:
                connection.execute(update.values(url=url, description=description))
        except Violation:  # without a cause: the database's message quotes the URL
            query = sa.select(columns.id).where(columns.tenant == tenant, columns.url == url)
            with self._store.reading() as connection:
                same = connection.execute(query).scalar()
            raise refused("duplicate_webhook", webhook=same) from None

    def rotate(self, webhook: str, also: CompanionWrite = no_companion) -> tuple[str, int] | None:
        """Creates a secret; returns it with the expiry of the previous one. None if the webhook is
        unknown.

        `also` is called with the connection and both, to write in the same transaction.
        """
        key, columns = secrets.token_bytes(SECRET_BYTES), self._secrets.c
        mine, former_until_us = columns.webhook == webhook, self._now_us() + WEBHOOK_OVERLAP_US
        with self._claiming() as connection:
            numbers = list(
                connection.execute(
                    sa.select(columns.number).where(mine).order_by(columns.number)
                ).scalars()
            )
            if not numbers:
                return None
            ending = self._secrets.update().where(mine, columns.until_us.is_(None))
            connection.execute(ending.values(until_us=former_until_us))
            oldest = numbers[-1] - WEBHOOK_SECRETS_MAX + 2
            connection.execute(
                self._secrets.delete().where(
                    mine, sa.or_(columns.number < oldest, columns.until_us < self._now_us())
                )
            )
            self._add_secret(connection, webhook, numbers[-1] + 1, key)
            also(connection, secret_text(key), former_until_us)
        return secret_text(key), former_until_us

    def remove(self, webhook: str) -> None:
        """Erases URL, description and secrets."""
        with self._store.writing() as connection:
            self._forget(connection, [webhook])

    def of_tenant(self, tenant: str) -> list[Endpoint]:
        """A tenant's endpoints, without secrets. Some may have no facts, or be deleted."""
        query = sa.select(self._table).where(self._table.c.tenant == tenant)
        with self._store.reading() as connection:
            return [Endpoint(*row) for row in connection.execute(query)]

    def get(self, webhook: str) -> Endpoint | None:
        """One endpoint, without secrets."""
        query = sa.select(self._table).where(self._table.c.id == webhook)
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else Endpoint(*row)

    def all(self) -> list[Endpoint]:
        """Every endpoint, with secrets. Raises WrongKey for a secret that cannot be decrypted."""
        columns = self._secrets.c
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(self._table)).all()
            newest = sa.select(self._secrets).order_by(columns.number.desc())
            sealed = connection.execute(newest).all()
        keys: dict[str, list[tuple[bytes, int | None]]] = {}
        for secret in sealed:
            keys.setdefault(secret.webhook, []).append((self._open(secret), secret.until_us))
        return [replace(Endpoint(*row), secrets=tuple(keys.get(row.id, ()))) for row in rows]

    @contextlib.contextmanager
    def _claiming(self) -> Iterator[sa.Connection]:
        """A write transaction, serialised: counts read in it stay true."""
        with self._store.writing() as connection:
            if self._store.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def _forget(self, connection: sa.Connection, webhooks: Collection[str]) -> None:
        if webhooks:
            connection.execute(self._table.delete().where(self._table.c.id.in_(webhooks)))
            connection.execute(self._secrets.delete().where(self._secrets.c.webhook.in_(webhooks)))

    def _add_secret(self, connection: sa.Connection, webhook: str, number: int, key: bytes) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, key, _bound_to(webhook, number))
        row = {"webhook": webhook, "number": number, "sealed": sealed}
        connection.execute(self._secrets.insert().values(row))

    def _open(self, row: Any) -> bytes:
        sealed = bytes(row.sealed)
        nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, content, _bound_to(row.webhook, row.number))
        except (InvalidTag, ValueError):
            raise WrongKey(
                f"the secret of {row.webhook} does not open: it was changed, or made under another"
                " master key"
            ) from None


def _bound_to(webhook: str, number: int) -> bytes:
    return f"{webhook} {number}".encode()
