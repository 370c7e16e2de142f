"""Clients: credentials, tenant and scopes.

A secret is 256 random bits, shown once. The table holds its HMAC-SHA-256 under a pepper derived from the
master key: guessing takes 2**255 tries with any hash, so a slow one would only invite overload.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa

from engine.config.keys import MasterKey
from engine.domain.routing import NAME
from engine.journal.store import Store
from engine.kernel.ids import IdSource
from engine.kernel.limits import (
    CLOCKS_APART_S,
    REFERENCE_CHARACTERS_MAX,
    SCOPES_CHARACTERS_MAX,
    SECRET_OVERLAP_MAX_US,
    TENANT_CHARACTERS_MAX,
    TOKEN_LIFE_S,
)
from engine.kernel.refusals import fault, invalid, refused, sentence_of
from engine.registers import acts
from engine.registers.operations import Operations

Scope = Literal["read", "trade", "operate", "admin"]
SCOPES: Final[tuple[str, ...]] = get_args(Scope)
"""Scopes in display order."""
VENUE: Final = "venue"
"""A scope for one venue, written `venue:NAME`: its execution reports."""
PRICES: Final = "prices"
"""A scope for the prices of a symbol, written `prices:SYMBOL`, or `prices:START*` for many."""
_SYMBOL: Final = r"[!#-)+-\[\]-~]"  # what a scope may contain (RFC 6749, 3.3), without the star
_SCOPE: Final = re.compile(
    rf"{'|'.join(SCOPES)}|{VENUE}:{NAME.pattern}"
    rf"|{PRICES}:(?:{_SYMBOL}{{1,{REFERENCE_CHARACTERS_MAX}}}|{_SYMBOL}{{0,{REFERENCE_CHARACTERS_MAX}}}\*)",
    re.ASCII,
)

SECRET_BYTES: Final = 32
_TENANT: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{TENANT_CHARACTERS_MAX - 1}}}", re.ASCII)
_ID: Final = re.compile(r"cli_[1-9A-Za-z]{22}", re.ASCII)
_NOBODY: Final = "cli_1111111111111111111111"
_NO_DIGEST: Final = bytes(sha256().digest_size)
_TOKEN_LIFE_US: Final = (TOKEN_LIFE_S + 2 * CLOCKS_APART_S) * 1_000_000
"""Tokens of an old secret are recognised during their lifetime, in every process."""


@dataclass(frozen=True)
class Client:
    """A client of one tenant. Holds no secret.

    `secret_id` identifies the secret used to authenticate, else the current one. `former_until_us`: when
    the last former secret expires, if one is still valid.
    """

    id: str
    tenant: str
    scopes: frozenset[str]
    created_us: int
    secret_id: str
    disabled_us: int | None = None
    former_until_us: int | None = field(default=None, compare=False)

    @property
    def is_disabled(self) -> bool:
        """Whether it is disabled."""
        return self.disabled_us is not None


@dataclass(frozen=True)
class NewClient:
    """A new client with its secret, which is stored nowhere else."""

    client: Client
    secret: str = field(repr=False)


def in_order(scopes: Collection[str]) -> str:
    """Scopes as one line, always in the same order."""
    named = sorted(scope for scope in scopes if scope not in SCOPES)
    return " ".join([*(scope for scope in SCOPES if scope in scopes), *named])


def are_scopes(scopes: Collection[str]) -> bool:
    """Whether a client may have all of these: known ones, and one venue at most."""
    venues = {scope for scope in scopes if scope.startswith(f"{VENUE}:")}
    is_short = len(in_order(scopes)) <= SCOPES_CHARACTERS_MAX
    return is_short and len(venues) <= 1 and all(map(_SCOPE.fullmatch, scopes))


def faults_of(tenant: str, scopes: Collection[str]) -> list[dict[str, str]]:
    """Faults of a client with this tenant and these scopes."""
    faults = []
    if not _TENANT.fullmatch(tenant):
        text = f"must be 1 to {TENANT_CHARACTERS_MAX} letters, digits, dots, dashes and underscores"
        faults.append(fault("tenant", "invalid_value", text))
    if not scopes or not are_scopes(scopes):
        text = (
            f"must be one or more of {', '.join(SCOPES)}, venue:NAME for one venue, prices:SYMBOL or"
            f" prices:START* for symbols of a feed; at most {SCOPES_CHARACTERS_MAX} characters in all"
        )
        faults.append(fault("scope", "invalid_value", text))
    return faults


def check_row(client: Any, tenant: Any, scopes: Any) -> None:
    """Raises ValueError unless they are stored as `create` does."""
    if not isinstance(client, str) or not _ID.fullmatch(client):
        raise ValueError("a client's id is none that the engine makes")
    if not isinstance(tenant, str) or not isinstance(scopes, str):
        raise ValueError("tenant and scopes of a client are texts")
    if faults := faults_of(tenant, scopes.split(" ")):
        raise ValueError(" ".join(f"the client's {one['path']} {one['detail']}" for one in faults))
    if scopes != in_order(scopes.split(" ")):
        raise ValueError(f"the client's scopes stand once each, in the order {in_order(SCOPES)} venue:x")


def tenants(store: Store, operations: Operations) -> list[str]:
    """Every tenant that ever had a client."""
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
        self._former = former = operations.former_secrets
        asked = sa.select(sa.cast(sa.bindparam("client_id"), sa.Text).label("id")).subquery()
        self._query = (
            sa.select(self._table, former.c.digest.label("former_digest"), former.c.until_us)
            .select_from(asked)
            .outerjoin(self._table, self._table.c.id == asked.c.id)
            .outerjoin(former, former.c.client == asked.c.id)
        )
        self._revoked: frozenset[str] = frozenset()
        self._former_until_us: dict[str, int] = {}

    def create(self, tenant: str, scopes: Collection[str]) -> NewClient:
        """Creates a client. Raises Refused `invalid_param` for an invalid tenant or scope."""
        if faults := faults_of(tenant, scopes):
            raise refused("invalid_param", " ".join(sentence_of(f["path"], f["detail"]) for f in faults),
                          params=faults)  # fmt: skip
        client_id, secret = self._ids.new("cli"), secrets.token_urlsafe(SECRET_BYTES)
        row = {
            "id": client_id,
            "tenant": tenant,
            "scopes": in_order(scopes),
            "digest": self._digest(client_id, secret),
            "created_us": self._now_us(),
        }
        with self._store.writing() as connection:
            connection.execute(self._table.insert().values(row))
            self._note(connection, "client.created", client_id, tenant, scopes=row["scopes"])
        return self._new(client_id, secret)

    def all(self, tenant: str | None = None) -> list[Client]:
        """Every client, or all of a tenant: oldest first."""
        columns = self._table.c
        query = sa.select(self._table).order_by(columns.created_us, columns.id)
        if tenant is not None:
            query = query.where(columns.tenant == tenant)
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
            former = connection.execute(sa.select(self._former).order_by(self._former.c.until_us)).all()
        now_us = self._now_us()
        until_us = {row.client: row.until_us for row in former if row.until_us > now_us}
        return [replace(_client(row), former_until_us=until_us.get(row.id)) for row in rows]

    def get(self, client_id: str) -> Client | None:
        """The client with that id."""
        row = self._find(client_id)[0]
        return None if row.id is None else _client(row)

    def authenticate(self, client_id: str, secret: str) -> Client | None:
        """The client, if the secret is its current or a still valid former one, and it is not disabled.

        Unknown, wrong and disabled are indistinguishable, in time too: one look-up, one digest, and no
        processing of the row before the secret is verified.
        """
        is_well_formed = bool(_ID.fullmatch(client_id))  # else PostgreSQL might refuse the query
        rows = self._find(client_id if is_well_formed else _NOBODY)
        given, found = self._digest(client_id, secret), None
        for row in rows:
            if hmac.compare_digest(given, row.digest or _NO_DIGEST):
                found = row
            if hmac.compare_digest(given, row.former_digest or _NO_DIGEST) and (
                row.until_us > self._now_us()
            ):
                found = row
        if found is None or found.disabled_us is not None:
            return None
        return replace(_client(found), secret_id=_secret_id(given))

    def rotate(self, client_id: str, *, overlap_us: int) -> NewClient | None:
        """The client with a new secret; None if it is unknown or disabled.

        Its current secret, and tokens issued with it, stay valid for `overlap_us`; with 0 every former
        secret becomes invalid at once. Raises Refused `invalid_param` for too long an overlap.
        """
        if not 0 <= overlap_us <= SECRET_OVERLAP_MAX_US:
            days = SECRET_OVERLAP_MAX_US // 86_400_000_000
            raise invalid("overlap", "invalid_value", f"must be at most {days} days")
        secret, now_us = secrets.token_urlsafe(SECRET_BYTES), self._now_us()
        columns, former = self._table.c, self._former.c
        query = sa.select(columns.digest, columns.tenant).where(
            columns.id == client_id, columns.disabled_us.is_(None)
        )
        with self._store.writing() as connection:
            found = connection.execute(query.with_for_update()).first()
            if found is None:
                return None
            digest, tenant = found
            mine = former.client == client_id
            connection.execute(
                self._former.delete().where(mine, former.until_us < now_us - _TOKEN_LIFE_US)
            )
            if not overlap_us:
                ending = self._former.update().where(mine, former.until_us > now_us)
                connection.execute(ending.values(until_us=now_us))
            row = {"client": client_id, "digest": digest, "until_us": now_us + overlap_us}
            connection.execute(self._former.insert().values(row))
            changed = self._table.update().where(columns.id == client_id)
            connection.execute(changed.values(digest=self._digest(client_id, secret)))
            self._note(connection, "client.secret_rotated", client_id, tenant, overlap_us=overlap_us)
        self.refresh()
        return self._new(client_id, secret)

    def disable(self, client_id: str) -> bool:
        """Disables the client, here at once and in other processes by `refresh`; False if unknown."""
        columns = self._table.c
        change = self._table.update().where(columns.id == client_id, columns.disabled_us.is_(None))
        change = change.values(disabled_us=self._now_us()).returning(columns.tenant)
        with self._store.writing() as connection:
            tenant = connection.execute(change).scalar()
            if tenant is not None:
                self._note(connection, "client.disabled", client_id, tenant)
        self.refresh()
        return client_id in self._revoked

    def refresh(self) -> None:
        """Reads disabled clients, and the expiry of former secrets."""
        disabled = sa.select(self._table.c.id).where(self._table.c.disabled_us.is_not(None))
        former = self._former.c
        ended = sa.select(former.digest, former.until_us).where(
            former.until_us > self._now_us() - _TOKEN_LIFE_US
        )
        with self._store.reading() as connection:
            self._revoked = frozenset(connection.execute(disabled).scalars())
            rows = connection.execute(ended).all()
        self._former_until_us = {_secret_id(row.digest): row.until_us for row in rows}

    def is_revoked(self, client_id: str, secret_id: str) -> bool:
        """Whether tokens issued to the client with that secret are revoked.

        True if it was disabled, or the secret has expired, as of the last `refresh`.
        """
        if client_id in self._revoked:
            return True
        until_us = self._former_until_us.get(secret_id)
        return until_us is not None and self._now_us() >= until_us

    def _note(
        self, connection: sa.Connection, deed: str, client_id: str, tenant: str, **context: object
    ) -> None:
        acts.note(
            connection,
            deed,
            actor=acts.COMMAND_LINE,
            tenant=tenant,
            subject=client_id,
            context=context,
            at_us=self._now_us(),
        )

    def _new(self, client_id: str, secret: str) -> NewClient:
        client = self.get(client_id)
        assert client is not None
        return NewClient(client, secret)

    def _digest(self, client_id: str, secret: str) -> bytes:
        # The id is included, so that a digest copied to another client's row is useless.
        message = f"{client_id}:{secret}".encode("utf-8", "backslashreplace")
        return hmac.digest(self._pepper, message, "sha256")

    def _find(self, client_id: str) -> Sequence[Any]:
        """The client's row, once for each of its former secrets; a row of nulls if unknown.

        A missing row would be faster to read, and reveal unknown clients.
        """
        with self._store.reading() as connection:
            return connection.execute(self._query, {"client_id": client_id}).all()


def _client(row: Any) -> Client:
    scopes = frozenset(row.scopes.split())
    return Client(row.id, row.tenant, scopes, row.created_us, _secret_id(row.digest), row.disabled_us)


def _secret_id(digest: bytes) -> str:
    """Identifies a secret; useless without the pepper, and almost useless with it."""
    return digest[:8].hex()
