"""Clients: who may ask for tokens, for which tenant, and with which scopes.

A secret is 256 random bits, shown once. Kept is its HMAC-SHA-256 under a pepper derived from the master
key: a guess costs 2**255 tries whatever the hash, so a slow one would only be a door to overload.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, get_args

import sqlalchemy as sa

from engine.ids import IdSource
from engine.keys import MasterKey
from engine.limits import TENANT_CHARACTERS_MAX
from engine.operations import Operations
from engine.refusals import fault, refused
from engine.store import Store

Scope = Literal["read", "trade", "operate", "admin"]
SCOPES: Final[tuple[str, ...]] = get_args(Scope)
"""In the order in which they are shown."""

SECRET_BYTES: Final = 32
_TENANT: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{TENANT_CHARACTERS_MAX - 1}}}", re.ASCII)
_ID: Final = re.compile(r"cli_[1-9A-Za-z]{22}", re.ASCII)
_NOBODY: Final = "cli_1111111111111111111111"


@dataclass(frozen=True)
class Client:
    """A client of one tenant. Holds no secret."""

    id: str
    tenant: str
    scopes: frozenset[str]
    created_us: int
    is_disabled: bool = False


@dataclass(frozen=True)
class NewClient:
    """A client just made, with its secret, which is known to nobody after this object."""

    client: Client
    secret: str = field(repr=False)


def in_order(scopes: Collection[str]) -> str:
    """Scopes as one line, always in the same order."""
    return " ".join(scope for scope in SCOPES if scope in scopes)


def tenants(store: Store, operations: Operations) -> list[str]:
    """Every tenant that was ever given a client."""
    query = sa.select(operations.clients.c.tenant).distinct()
    with store.reading() as connection:
        return sorted(connection.execute(query).scalars())


class Clients:
    """The table `clients`. Thread-safe; `is_revoked` answers from memory."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        key: MasterKey,
        ids: IdSource,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store = store
        self._table = operations.clients
        self._pepper = key.derive("client_secrets")
        self._ids = ids
        self._now_us = now_us
        self._revoked: frozenset[str] = frozenset()

    def create(self, tenant: str, scopes: Collection[str]) -> NewClient:
        """A new client. Raises Refused `invalid_param` for a tenant or scope that cannot be."""
        faults = []
        if not _TENANT.fullmatch(tenant):
            text = f"1 to {TENANT_CHARACTERS_MAX} letters, digits, dots, dashes and underscores"
            faults.append(fault("tenant", "invalid_value", text))
        if not scopes or set(scopes) - set(SCOPES):
            faults.append(fault("scope", "invalid_value", f"one or more of {', '.join(SCOPES)}"))
        if faults:
            raise refused("invalid_param", "; ".join(f"{f['path']}: {f['detail']}" for f in faults),
                          params=faults)  # fmt: skip
        secret = secrets.token_urlsafe(SECRET_BYTES)
        client = Client(self._ids.new("cli"), tenant, frozenset(scopes), self._now_us())
        row = {
            "id": client.id,
            "tenant": tenant,
            "scopes": in_order(scopes),
            "digest": self._digest(client.id, secret),
            "created_us": client.created_us,
        }
        with self._store.writing() as connection:
            connection.execute(self._table.insert().values(row))
        return NewClient(client, secret)

    def get(self, client_id: str) -> Client | None:
        """The client with that id."""
        found = self._find(client_id)
        return found[0] if found else None

    def authenticate(self, client_id: str, secret: str) -> Client | None:
        """The client, if this is its secret and it is not disabled.

        Unknown, wrong and disabled look alike and take the same: one look-up, one digest, one compare.
        """
        is_well_formed = bool(_ID.fullmatch(client_id))  # else PostgreSQL might refuse to look
        found = self._find(client_id if is_well_formed else _NOBODY)
        expected = found[1] if found else bytes(sha256().digest_size)
        is_right = hmac.compare_digest(self._digest(client_id, secret), expected)
        return found[0] if found and is_right and not found[0].is_disabled else None

    def disable(self, client_id: str) -> bool:
        """Refuses the client from now on, here at once and elsewhere by `refresh`; False if unknown."""
        columns = self._table.c
        change = self._table.update().where(columns.id == client_id, columns.disabled_us.is_(None))
        with self._store.writing() as connection:
            connection.execute(change.values(disabled_us=self._now_us()))
        self.refresh()
        return client_id in self._revoked

    def refresh(self) -> None:
        """Reads which clients are disabled."""
        query = sa.select(self._table.c.id).where(self._table.c.disabled_us.is_not(None))
        with self._store.reading() as connection:
            self._revoked = frozenset(connection.execute(query).scalars())

    def is_revoked(self, client_id: str) -> bool:
        """Whether the client was disabled, as of the last `refresh`: its tokens are worth nothing."""
        return client_id in self._revoked

    def _digest(self, client_id: str, secret: str) -> bytes:
        # With the id in it a digest that is copied to another client's row opens nothing.
        message = f"{client_id}:{secret}".encode("utf-8", "backslashreplace")
        return hmac.digest(self._pepper, message, "sha256")

    def _find(self, client_id: str) -> tuple[Client, bytes] | None:
        query = sa.select(self._table).where(self._table.c.id == client_id)
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        scopes = frozenset(row.scopes.split())
        is_disabled = row.disabled_us is not None
        return Client(row.id, row.tenant, scopes, row.created_us, is_disabled), bytes(row.digest)
