"""The journal's tables, the same on both databases, and their guarded creation.

    journal        position, version, name, stream, command, body, digest; append-only by trigger
    journal_head   one row: the last position and its digest; locking it is the right to append
    journal_names  stored names as small numbers, so that a fact does not repeat its name
    journal_meta   schema number, journal id, kind of stream ids, fingerprint of the master key
    alembic_version    the same schema number, for the scripts in `engine/journal/migrations`
    tracking       the offset of each named follower, with a MAC: see `witness`
    leases         the holder of each follower's role, with its epoch
    snapshots      folded states; disposable

All names can carry a prefix, so that several applications can share a database.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.dialects.sqlite import BLOB

from engine.journal.store import allow_pauses
from engine.kernel.chain import GENESIS
from engine.kernel.errors import BadSettings, JournalDamaged, SchemaMissing, SchemaTooNew, SchemaTooOld
from engine.kernel.limits import MIGRATION_PAUSE_S

SCHEMA: Final = 8
"""Number of this release's schema, and of the last script in `migrations`. A journal with a greater one
is refused, and one with a smaller one until `order-engine migrate` has upgraded it."""

ENCODING: Final = "UTF8"
"""Encoding of a PostgreSQL database: with any other some names fail with a 500."""

StreamKind = Literal["uuid", "text"]

_log: Final = logging.getLogger(__name__)
_PREFIX: Final = re.compile(r"([a-z][a-z0-9_]{0,38}_)?")
_ADVISORY_LOCK: Final = 0x6F72_6465_7265  # "ordere"; serialises schema creation on PostgreSQL


@dataclass(frozen=True)
class Tables:
    """The tables of one application, as SQLAlchemy objects."""

    prefix: str
    stream_kind: StreamKind
    metadata: sa.MetaData
    journal: Table
    head: Table
    names: Table
    meta: Table
    tracking: Table
    leases: Table
    snapshots: Table

    @property
    def channel(self) -> str:
        """The NOTIFY channel signalled after an append (PostgreSQL)."""
        return f"{self.journal.name}_appended"


def stream_type(kind: StreamKind) -> sa.types.TypeEngine[Any]:
    """The column type of a stream id: 16 bytes for UUIDs, text in byte order otherwise."""
    if kind == "uuid":
        return LargeBinary(16).with_variant(PG_UUID(), "postgresql").with_variant(BLOB(16), "sqlite")
    return Text().with_variant(Text(collation="C"), "postgresql")


def side_table(metadata: sa.MetaData, name: str, kind: StreamKind) -> Table:
    """A table of events by stream and version, without positions: snapshots and their like."""
    return Table(
        name,
        metadata,
        Column("stream", stream_type(kind), primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


@lru_cache(maxsize=8)  # one journal per process, and a few in tests
def define(prefix: str, kind: StreamKind) -> Tables:
    """The tables under `prefix` ("" or lower-case letters ending in "_")."""
    if not _PREFIX.fullmatch(prefix):
        raise BadSettings(f"a table prefix is lower-case letters, at most 40, ending in _: {prefix!r}")
    metadata = sa.MetaData()
    journal = Table(
        prefix + "journal",
        metadata,
        Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("name", SmallInteger, nullable=False),
        Column("stream", stream_type(kind), nullable=False),
        Column("command", LargeBinary),
        Column("body", LargeBinary, nullable=False),
        Column("digest", LargeBinary(32), nullable=False),
    )
    journal.c.position.autoincrement = False
    sa.Index(f"{prefix}journal_stream_version", journal.c.stream, journal.c.version, unique=True)
    sa.Index(
        f"{prefix}journal_command",
        journal.c.command,
        unique=True,
        sqlite_where=journal.c.command.is_not(None),
        postgresql_where=journal.c.command.is_not(None),
    )
    head = Table(
        prefix + "journal_head",
        metadata,
        Column(
            "one", SmallInteger, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False
        ),
        Column("position", BigInteger, nullable=False),
        Column("digest", LargeBinary(32), nullable=False),
    )
    names = Table(
        prefix + "journal_names",
        metadata,
        Column("code", SmallInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("name", Text, nullable=False, unique=True),
    )
    meta = Table(
        prefix + "journal_meta",
        metadata,
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    tracking = Table(
        prefix + "tracking",
        metadata,
        Column("follower", Text, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("digest", LargeBinary(32)),
        Column("mac", LargeBinary(32)),
    )
    leases = Table(
        prefix + "leases",
        metadata,
        Column("name", Text, primary_key=True),
        Column("holder", Text),
        Column("epoch", BigInteger, nullable=False),
        Column("beat", BigInteger, nullable=False),
    )
    snapshots = side_table(metadata, prefix + "snapshots", kind)
    return Tables(
        prefix=prefix,
        stream_kind=kind,
        metadata=metadata,
        journal=journal,
        head=head,
        names=names,
        meta=meta,
        tracking=tracking,
        leases=leases,
        snapshots=snapshots,
    )


_STATEMENTS: Final = {
    "sqlite": (
        """CREATE TRIGGER IF NOT EXISTS {journal}_no_update BEFORE UPDATE ON {journal}
           BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
        """CREATE TRIGGER IF NOT EXISTS {journal}_no_delete BEFORE DELETE ON {journal}
           BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    ),
    "postgresql": (
        # Every append updates the one row: free space in its page keeps it there.
        "ALTER TABLE {journal}_head SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0)",
        """CREATE OR REPLACE FUNCTION {journal}_refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$""",
        "DROP TRIGGER IF EXISTS {journal}_append_only ON {journal}",
        """CREATE TRIGGER {journal}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {journal}
           FOR EACH STATEMENT EXECUTE FUNCTION {journal}_refuse()""",
    ),
}


Migration = Literal["created", "upgraded", "unchanged"]


def migrate(connection: sa.Connection, tables: Tables) -> Migration:
    """Brings the schema to `SCHEMA` inside the caller's write transaction.

    Safe for concurrent processes: one does the work, the others find it done. Raises SchemaTooNew for a
    journal of a newer release, SchemaTooOld for an older one under a prefix.
    """
    dialect = connection.dialect.name
    allow_pauses(connection, MIGRATION_PAUSE_S)
    if dialect == "postgresql":
        _check_encoding(connection)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    if sa.inspect(connection).has_table(tables.meta.name):
        outcome: Migration = "upgraded" if _upgrade(connection, tables) else "unchanged"
        check(connection, tables)
        _mend(connection, tables)
        return outcome
    from engine.journal import migrations  # noqa: PLC0415  alembic costs 100 ms, and only here

    tables.metadata.create_all(connection)
    migrations.stamp(connection, tables.prefix)
    _make_append_only(connection, tables)
    connection.execute(tables.head.insert().values(one=1, position=0, digest=GENESIS))
    facts = _first_words(tables)
    connection.execute(tables.meta.insert(), [{"key": k, "value": v} for k, v in facts.items()])
    return "created"


def _first_words(tables: Tables) -> dict[str, str]:
    """The meta words of a new journal."""
    return {
        "schema": str(SCHEMA),
        "journal_id": secrets.token_hex(16),
        "stream_kind": tables.stream_kind,
    }


def statements(connection: sa.Connection, tables: Tables) -> list[str]:
    """The SQL of `migrate` on this PostgreSQL database, which is only read.

    Raises SchemaTooNew, JournalDamaged, BadSettings for another kind of stream ids or encoding.
    """
    from engine.journal import migrations  # noqa: PLC0415  as above

    _check_encoding(connection)
    there = sa.inspect(connection).get_table_names()
    lock = f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"
    meta, head = tables.meta.name, tables.head.name
    if meta in there:
        schema = int(check(connection, tables, allows_older=True)["schema"])
        if schema == SCHEMA:
            return []
        scripts = migrations.statements(schema, there, tables.prefix)
        noted = f"UPDATE {meta} SET value = '{SCHEMA}' WHERE key = 'schema'"  # noqa: S608  our own names
        return [lock, *scripts, noted]
    words = ", ".join(f"('{key}', '{value}')" for key, value in _first_words(tables).items())
    return [
        lock,
        *creation(tables.metadata),
        *migrations.statements(None, there, tables.prefix),
        *(text.format(journal=tables.journal.name) for text in _STATEMENTS["postgresql"]),
        f"INSERT INTO {head} VALUES (1, 0, decode('{GENESIS.hex()}', 'hex'))",  # noqa: S608
        f"INSERT INTO {meta} VALUES {words}",  # noqa: S608
    ]


def creation(metadata: sa.MetaData, there: Collection[str] = ()) -> list[str]:
    """The statements that create the tables which are not `there`, on PostgreSQL."""
    made = list[str]()

    def noted(ddl: sa.schema.ExecutableDDLElement, *_: object, **__: object) -> None:
        made.append(str(ddl.compile(dialect=postgresql.dialect())).strip())  # type: ignore[no-untyped-call]

    engine = sa.create_mock_engine("postgresql+psycopg://", noted)
    missing = [table for table in metadata.sorted_tables if table.name not in there]
    metadata.create_all(engine, tables=missing, checkfirst=False)
    return made


def _check_encoding(connection: sa.Connection) -> None:
    """Raises BadSettings for a database encoding that cannot store every text."""
    encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())
    if encoding != ENCODING:
        raise BadSettings(
            f"this PostgreSQL database keeps text in {encoding}, which does not hold every name:"
            f" create one with ENCODING '{ENCODING}' TEMPLATE template0"
        )


def _upgrade(connection: sa.Connection, tables: Tables) -> bool:
    """Runs the scripts that this journal lacks; whether there were any."""
    schema = int(_words(connection, tables)["schema"])
    if schema >= SCHEMA:
        return False
    from engine.journal import migrations  # noqa: PLC0415  as above

    migrations.upgrade(connection, schema, tables.prefix)
    meta = tables.meta
    connection.execute(meta.update().where(meta.c.key == "schema").values(value=str(SCHEMA)))
    return True


def _make_append_only(connection: sa.Connection, tables: Tables) -> None:
    for statement in _STATEMENTS[connection.dialect.name]:
        connection.exec_driver_sql(statement.format(journal=tables.journal.name))


def _mend(connection: sa.Connection, tables: Tables) -> None:
    """Recreates missing triggers, as after a repair that bypassed them, and logs it."""
    journal = tables.journal.name
    if connection.dialect.name == "sqlite":
        wanted, known = 2, f"sqlite_schema WHERE type = 'trigger' AND tbl_name = '{journal}'"
    else:
        wanted, known = 1, f"pg_trigger WHERE tgname = '{journal}_append_only'"
    if connection.exec_driver_sql(f"SELECT count(*) FROM {known}").scalar_one() >= wanted:  # noqa: S608
        return
    _make_append_only(connection, tables)
    _log.warning("the triggers of %s were missing and are recreated: find out who removed them", journal)


def check(connection: sa.Connection, tables: Tables, *, allows_older: bool = False) -> dict[str, str]:
    """The journal's meta words, if this release can work with it, or at least copy it (`allows_older`).

    Raises SchemaMissing, SchemaTooNew, SchemaTooOld, JournalDamaged for invalid words, or BadSettings
    for another kind of stream ids.
    """
    meta = _words(connection, tables)
    schema = int(meta["schema"])
    if schema > SCHEMA:
        raise SchemaTooNew(
            f"a newer release made this journal (schema {schema}, this release knows {SCHEMA})",
            schema=schema,
            known=SCHEMA,
        )
    if schema < SCHEMA and not allows_older:
        raise _too_old(schema)
    if meta["stream_kind"] != tables.stream_kind:
        raise BadSettings(
            f"this journal's stream ids are {meta['stream_kind']}, not {tables.stream_kind}"
        )
    return meta


def _words(connection: sa.Connection, tables: Tables) -> dict[str, str]:
    if not sa.inspect(connection).has_table(tables.meta.name):
        raise SchemaMissing("there is no journal here yet: run `order-engine migrate`")
    rows = connection.execute(sa.select(tables.meta.c.key, tables.meta.c.value))
    meta: dict[str, str] = dict(rows.tuples().all())
    if not meta.get("schema", "").isdecimal() or not {"journal_id", "stream_kind"} <= meta.keys():
        raise JournalDamaged(f"{tables.meta.name} does not say which journal this is")
    return meta


def _too_old(schema: int) -> SchemaTooOld:
    return SchemaTooOld(
        f"an older release made this journal (schema {schema}, this release needs {SCHEMA}):"
        " back it up and run `order-engine migrate`",
        schema=schema,
        needed=SCHEMA,
    )
