"""The operational tables: authoritative, but not facts. They are in the journal's database.

    prices         quotes as they arrived; `seq` is the order of arrival and of commit
    order_quotes   quotes of orders, until they have expired; disposable
    waiting_prices the newest jump of each symbol, until another client confirms it
    symbols        the instrument of each symbol
    personal       personal data, kept out of facts so that it can be erased
    refusals       refused requests with client and reason; append-only by trigger
    keys           first answers to idempotency keys not reproducible from facts (key_register)
    acts           administrative acts and denied access (acts); append-only by trigger
    clients        API clients, with a digest of the secret
    former_secrets digests of clients' former secrets, with their expiry
    signing_keys   signing keys of tokens, encrypted; at most one active
    webhooks       URL and description of each webhook
    webhook_secrets    signing secrets of webhooks, encrypted
    sealing_keys   signing keys of checkpoints, encrypted; at most one active
    seals          checkpoints of the journal; append-only by trigger
    seal_nodes     hashes of full subtrees; disposable, recomputed from the digests
    deliveries     events enqueued for webhooks, with status; `seq` is the order of sending
    delivery_attempts  outcome of each attempt
    heartbeats     liveness of processes and their parts; disposable
    webhook_backlogs   webhooks with a backlog: the offset after which events are not enqueued

Reasons: docs/adr/0016-operational-tables.md. To change one: `engine/journal/migrations`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Table, Text

from engine.journal import schema

PersonalWord = str
"""A personal word: `name`, `reference`, `payment_reference` or `client_reference`."""


@dataclass(frozen=True)
class Operations:
    """The operational tables, as SQLAlchemy objects."""

    metadata: sa.MetaData
    prices: Table
    waiting_prices: Table
    order_quotes: Table
    symbols: Table
    personal: Table
    refusals: Table
    acts: Table
    keys: Table
    clients: Table
    former_secrets: Table
    signing_keys: Table
    webhooks: Table
    webhook_secrets: Table
    sealing_keys: Table
    seals: Table
    seal_nodes: Table
    deliveries: Table
    delivery_attempts: Table
    webhook_backlogs: Table
    heartbeats: Table


def _label() -> sa.types.TypeEngine[str]:
    """Text compared byte by byte on both databases, so that both sort and search alike."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _sequence(name: str) -> Column[int]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


@cache
def define_operations() -> Operations:
    """The tables of an installation. Money and prices are text: SQLite's numbers lose digits."""
    metadata = sa.MetaData()
    prices = Table(
        "prices",
        metadata,
        _sequence("seq"),
        Column("symbol", _label(), nullable=False),
        Column("quality", Text, nullable=False),
        Column("currency", Text),
        Column("bid", Text, nullable=False),
        Column("ask", Text, nullable=False),
        Column("accrued_interest", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("recorded_us", BigInteger, nullable=False),
        *_authorship(),
        sqlite_autoincrement=True,  # a number is never reused, even if old rows are deleted
    )
    sa.Index("prices_symbol", prices.c.symbol, prices.c.at_us, prices.c.seq)
    symbols = Table(
        "symbols",
        metadata,
        Column("symbol", _label(), primary_key=True),
        Column("instrument", _label(), nullable=False),
    )
    return Operations(
        metadata=metadata,
        prices=prices,
        waiting_prices=_waiting_prices(metadata),
        order_quotes=_order_quotes(metadata),
        symbols=symbols,
        personal=_personal(metadata),
        refusals=_refusals(metadata),
        acts=_acts(metadata),
        keys=_keys(metadata),
        clients=_clients(metadata),
        former_secrets=_former_secrets(metadata),
        signing_keys=_signing_keys(metadata),
        webhooks=_webhooks(metadata),
        webhook_secrets=_webhook_secrets(metadata),
        sealing_keys=_sealing_keys(metadata),
        seals=_seals(metadata),
        seal_nodes=_seal_nodes(metadata),
        deliveries=_deliveries(metadata),
        delivery_attempts=_delivery_attempts(metadata),
        webhook_backlogs=_webhook_backlogs(metadata),
        heartbeats=_heartbeats(metadata),
    )


def _waiting_prices(metadata: sa.MetaData) -> Table:
    return Table(
        "waiting_prices",
        metadata,
        Column("symbol", _label(), primary_key=True),
        Column("quality", Text, nullable=False),
        Column("currency", Text),
        Column("bid", Text, nullable=False),
        Column("ask", Text, nullable=False),
        Column("accrued_interest", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("recorded_us", BigInteger, nullable=False),
        *_authorship(),
    )


def _order_quotes(metadata: sa.MetaData) -> Table:
    table = Table(
        "order_quotes",
        metadata,
        Column("id", _label(), primary_key=True),
        Column("tenant", _label(), nullable=False),
        Column("account", _label(), nullable=False),
        Column("expires_at_us", BigInteger, nullable=False),
        Column("body", LargeBinary, nullable=False),
    )
    sa.Index("order_quotes_account", table.c.account, table.c.id)
    sa.Index("order_quotes_expiry", table.c.expires_at_us)
    return table


def _authorship() -> list[Column[Any]]:
    """Columns missing in quotes of the first release."""
    return [
        Column("author", Text),
        Column("unit", Text),
        Column("stated_us", BigInteger),
        Column("confirmed_by", Text),
    ]


def _personal(metadata: sa.MetaData) -> Table:
    table = Table(
        "personal",
        metadata,
        Column("subject", _label(), primary_key=True),
        Column("word", _label(), primary_key=True),
        Column("tenant", _label(), nullable=False),
        Column("text", _label(), nullable=False),
    )
    columns = table.c
    sa.Index("personal_text", columns.tenant, columns.word, columns.text, columns.subject)
    # An account is found by its reference, which is unique in a tenant; other words may repeat.
    sa.Index(
        "personal_reference",
        columns.tenant,
        columns.text,
        unique=True,
        sqlite_where=columns.word == "reference",
        postgresql_where=columns.word == "reference",
    )
    return table


def _refusals(metadata: sa.MetaData) -> Table:
    table = Table(
        "refusals",
        metadata,
        _sequence("id"),
        Column("at_us", BigInteger, nullable=False),
        Column("tenant", Text),
        Column("account", Text),
        Column("actor", Text),
        Column("request_id", Text),
        Column("action", Text, nullable=False),
        Column("code", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("context", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    sa.Index("refusals_tenant", table.c.tenant, table.c.id)
    return table


def _acts(metadata: sa.MetaData) -> Table:
    table = Table(
        "acts",
        metadata,
        _sequence("id"),
        Column("at_us", BigInteger, nullable=False),
        Column("deed", Text, nullable=False),
        Column("tenant", _label()),
        Column("actor", Text),
        Column("on_behalf_of", Text),
        Column("request_id", Text),
        Column("source", Text),
        Column("code", Text),
        Column("count", Integer, nullable=False),
        Column("subject", Text),
        Column("account", Text),
        Column("reason", Text),
        Column("context", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    sa.Index("acts_tenant", table.c.tenant, table.c.id)
    return table


def _keys(metadata: sa.MetaData) -> Table:
    table = Table(
        "keys",
        metadata,
        Column("command", LargeBinary(16), primary_key=True),
        Column("request", LargeBinary(32), nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("subject", _label()),
        Column("status", Integer),
        Column("body", LargeBinary),
        Column("states", Text),
        Column("day", Text),
        Column("position", BigInteger),
        Column("sealed", LargeBinary),
        Column("is_whole", sa.Boolean, nullable=False, default=True),
    )
    columns = table.c
    sa.Index(
        "keys_whole",
        columns.at_us,
        sqlite_where=columns.is_whole,
        postgresql_where=columns.is_whole,
    )
    return table


def _clients(metadata: sa.MetaData) -> Table:
    return Table(
        "clients",
        metadata,
        Column("id", _label(), primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("digest", LargeBinary(32), nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("disabled_us", BigInteger),
    )


def _former_secrets(metadata: sa.MetaData) -> Table:
    return Table(
        "former_secrets",
        metadata,
        Column("client", _label(), primary_key=True),
        Column("digest", LargeBinary(32), primary_key=True),
        Column("until_us", BigInteger, nullable=False),
    )


def _signing_keys(metadata: sa.MetaData) -> Table:
    table = Table(
        "signing_keys",
        metadata,
        Column("kid", _label(), primary_key=True),
        Column("sealed", LargeBinary, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("state", Text, sa.CheckConstraint("state IN ('active', 'retired')"), nullable=False),
        Column("retired_us", BigInteger),
    )
    active = table.c.state == "active"
    sa.Index(
        "signing_keys_active", table.c.state, unique=True, sqlite_where=active, postgresql_where=active
    )
    return table


def _webhooks(metadata: sa.MetaData) -> Table:
    table = Table(
        "webhooks",
        metadata,
        Column("id", _label(), primary_key=True),
        Column("tenant", _label(), nullable=False),
        Column("url", _label(), nullable=False),
        Column("description", Text),
        Column("claimed_us", BigInteger, nullable=False),
    )
    sa.Index("webhooks_url", table.c.tenant, table.c.url, unique=True)
    return table


def _webhook_secrets(metadata: sa.MetaData) -> Table:
    return Table(
        "webhook_secrets",
        metadata,
        Column("webhook", _label(), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("until_us", BigInteger),
    )


def _sealing_keys(metadata: sa.MetaData) -> Table:
    table = Table(
        "sealing_keys",
        metadata,
        Column("id", _label(), primary_key=True),
        Column("public", LargeBinary(32), nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("retired_us", BigInteger),
        Column("state", Text, sa.CheckConstraint("state IN ('active', 'retired')"), nullable=False),
    )
    active = table.c.state == "active"
    sa.Index(
        "sealing_keys_active", table.c.state, unique=True, sqlite_where=active, postgresql_where=active
    )
    return table


def _seals(metadata: sa.MetaData) -> Table:
    return Table(
        "seals",
        metadata,
        Column("size", BigInteger, primary_key=True, autoincrement=False),
        Column("root", LargeBinary(32), nullable=False),
        Column("note", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
    )


def _seal_nodes(metadata: sa.MetaData) -> Table:
    return Table(
        "seal_nodes",
        metadata,
        Column("level", SmallInteger, primary_key=True, autoincrement=False),
        Column("place", BigInteger, primary_key=True, autoincrement=False),
        Column("hash", LargeBinary(32), nullable=False),
    )


def _deliveries(metadata: sa.MetaData) -> Table:
    table = Table(
        "deliveries",
        metadata,
        _sequence("seq"),
        Column("webhook", _label(), nullable=False),
        Column("tenant", _label(), nullable=False),
        Column("resource", _label(), nullable=False),
        Column("event", Text, nullable=False),
        Column("event_offset", BigInteger, nullable=False),
        Column("event_us", BigInteger, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("status", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("due_us", BigInteger),
        Column("finished_us", BigInteger),
        sqlite_autoincrement=True,  # ids are derived from numbers
    )
    columns = table.c
    is_open, is_due = columns.status == "pending", columns.due_us.is_not(None)
    # The next delivery of a resource; due deliveries of a webhook; recent ones, for people.
    sa.Index("deliveries_open", columns.webhook, columns.resource, columns.seq,
             sqlite_where=is_open, postgresql_where=is_open)  # fmt: skip
    sa.Index("deliveries_due", columns.webhook, columns.due_us,
             sqlite_where=is_due, postgresql_where=is_due)  # fmt: skip
    sa.Index("deliveries_webhook", columns.webhook, columns.seq)
    sa.Index("deliveries_tenant", columns.tenant, columns.seq)
    return table


def _delivery_attempts(metadata: sa.MetaData) -> Table:
    return Table(
        "delivery_attempts",
        metadata,
        Column("delivery", BigInteger, primary_key=True, autoincrement=False),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("at_us", BigInteger, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("status", Integer),
        Column("duration_us", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _webhook_backlogs(metadata: sa.MetaData) -> Table:
    return Table(
        "webhook_backlogs",
        metadata,
        Column("webhook", _label(), primary_key=True),
        Column("position", BigInteger, nullable=False),
    )


def _heartbeats(metadata: sa.MetaData) -> Table:
    return Table(
        "heartbeats",
        metadata,
        Column("process", Text, primary_key=True),
        Column("beat", BigInteger, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("report", Text, nullable=False),
    )


_APPEND_ONLY: Final = ("refusals", "acts", "seals")
_STATEMENTS: Final = {
    "sqlite": (
        """CREATE TRIGGER IF NOT EXISTS {table}_no_update BEFORE UPDATE ON {table}
           BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END""",
        """CREATE TRIGGER IF NOT EXISTS {table}_no_delete BEFORE DELETE ON {table}
           BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END""",
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION '{table} are append-only'; END $$""",
        "DROP TRIGGER IF EXISTS {table}_append_only ON {table}",
        """CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
           FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()""",
    ),
}


@contextlib.contextmanager
def without_triggers(connection: sa.Connection, table: str) -> Iterator[None]:
    """Allows deletes from an append-only table, inside the caller's write transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_no_delete")
    else:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
    yield
    for statement in _STATEMENTS[connection.dialect.name]:
        connection.exec_driver_sql(statement.format(table=table))


def statements(connection: sa.Connection, operations: Operations) -> list[str]:
    """The SQL of `migrate` on this PostgreSQL database, which is only read."""
    there = set(sa.inspect(connection).get_table_names())
    if operations.metadata.tables.keys() <= there:
        return []
    triggers = [text.format(table=table) for table in _APPEND_ONLY for text in _STATEMENTS["postgresql"]]
    return [*schema.creation(operations.metadata, there), *triggers]


def migrate(connection: sa.Connection, operations: Operations) -> bool:
    """Creates missing tables inside the caller's write transaction; True if there were any.

    Call `schema.migrate` first in the same transaction: its lock serialises processes.
    """
    inspector = sa.inspect(connection)
    if all(inspector.has_table(name) for name in operations.metadata.tables):
        return False
    operations.metadata.create_all(connection)
    for table in _APPEND_ONLY:
        for statement in _STATEMENTS[connection.dialect.name]:
            connection.exec_driver_sql(statement.format(table=table))
    return True
