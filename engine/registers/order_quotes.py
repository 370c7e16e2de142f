"""The register `order_quotes`: quotes of orders (`engine.domain.order_quote`) until they have expired.

An account has ORDER_QUOTES_MAX at most. Each new one purges expired ones of all accounts.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from engine.domain.order_quote import OrderQuote
from engine.journal.store import CompanionWrite, Store, no_companion
from engine.kernel.limits import ORDER_QUOTE_KEPT_US, ORDER_QUOTES_MAX, ORDER_QUOTES_PURGED
from engine.registers.operations import Operations


class OrderQuotes:
    """The table `order_quotes`. Thread-safe."""

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._table = operations.order_quotes

    def keep(self, tenant: str, quote: OrderQuote, also: CompanionWrite = no_companion) -> None:
        """Adds a quote; the oldest of its account make room. `also` writes in the same transaction.

        Raises Unavailable.
        """
        account = quote.terms.account
        row = {
            "id": quote.id,
            "tenant": tenant,
            "account": account,
            "expires_at_us": quote.expires_at_us,
            "body": msgspec.json.encode(quote),
        }
        with self._store.writing() as connection:
            connection.execute(self._table.insert(), row)
            self._purge(connection, quote.terms.at_us - ORDER_QUOTE_KEPT_US)
            self._make_room(connection, account)
            also(connection, quote)

    def find(self, tenant: str, account: str, quote: str) -> OrderQuote | None:
        """A quote of an account; None if it is unknown, purged or another account's."""
        columns = self._table.c
        query = sa.select(columns.body).where(
            columns.id == quote, columns.tenant == tenant, columns.account == account
        )
        with self._store.reading() as connection:
            body = connection.execute(query).scalar()
        try:
            return None if body is None else msgspec.json.decode(body, type=OrderQuote)
        except msgspec.ValidationError:  # of another release, and about to expire
            return None

    def _purge(self, connection: sa.Connection, before_us: int) -> None:
        """Deletes some expired quotes; those that another process is deleting are left to it."""
        columns = self._table.c
        old = (
            sa.select(columns.id)
            .where(columns.expires_at_us < before_us)
            .order_by(columns.expires_at_us)
            .limit(ORDER_QUOTES_PURGED)
            .with_for_update(skip_locked=True)
        )
        connection.execute(self._table.delete().where(columns.id.in_(old)))

    def _make_room(self, connection: sa.Connection, account: str) -> None:
        """Deletes the oldest quotes of an account that has too many: ids sort by time."""
        columns = self._table.c
        newest = (
            sa.select(columns.id)
            .where(columns.account == account)
            .order_by(columns.id.desc())
            .offset(ORDER_QUOTES_MAX)
            .limit(1)
        )
        last = connection.execute(newest).scalar()
        if last is not None:
            mine = (columns.account == account, columns.id <= last)
            connection.execute(self._table.delete().where(*mine))
