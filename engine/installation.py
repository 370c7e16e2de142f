"""An installation: a data directory, a master key and a journal that belong together.

`migrate` creates or upgrades it; all other commands open it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import sqlalchemy as sa

from engine.commands import declaring
from engine.config.keys import MasterKey, create_key, find_key, read_key
from engine.config.settings import Settings
from engine.domain.kind import JournalKind
from engine.domain.stored import engine_codec
from engine.journal import schema
from engine.journal.datastore import Datastore, make_directory_for
from engine.journal.journal import Journal
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel import packages, wall
from engine.kernel.errors import BadSettings, JournalDamaged, WrongKey, WrongKind, WrongUsage
from engine.kernel.ids import IdSource
from engine.proof.checkpoint import origin_of
from engine.proof.sealing_keys import SealingKeys
from engine.registers import acts, operations
from engine.registers.clients import Clients
from engine.registers.market import Market, Symbols
from engine.registers.personal import Personal
from engine.registers.refusal_log import RefusalLog
from engine.registers.signing import SigningKeys

FINGERPRINT: Final = "key_fingerprint"
"""The meta word with the fingerprint of the journal's master key."""


Outcome = Literal["created", "updated", "already up to date"]


@dataclass(frozen=True)
class Migrated:
    """The findings and actions of `migrate`."""

    outcome: Outcome
    schema: int
    journal_id: str
    kind: JournalKind | None
    place: str
    key: str
    key_created: bool


@dataclass(frozen=True)
class Installation:
    """One process's journal, and its operational tables. Close it when done."""

    journal: Journal
    kind: JournalKind
    key: MasterKey
    market: Market
    symbols: Symbols
    personal: Personal
    refusals: RefusalLog
    clients: Clients
    signing: SigningKeys
    sealing: SealingKeys

    @property
    def journal_id(self) -> str:
        """The journal's id: 32 hexadecimal digits, assigned at its creation."""
        return self.journal.meta["journal_id"]

    def refresh(self) -> None:
        """Reads changes of other processes. Call it at intervals, off the event loop."""
        self.market.refresh()
        self.clients.refresh()
        self.signing.refresh()

    def close(self) -> None:
        """Writes queued appends and closes every connection."""
        self.refusals.close()
        self.journal.close()


def open_installation(settings: Settings, ids: IdSource | None = None) -> Installation:
    """Opens an installation created by `migrate`.

    Raises SchemaMissing, SchemaTooNew, WrongKey, WrongKind, Unavailable.
    """
    journal = open_journal(settings)
    try:
        kind = declaring.required(journal.datastore)
        key = read_key(settings)
        store, tables = journal.datastore.store, operations.define_operations()
        installation = Installation(
            journal=journal,
            kind=kind,
            key=key,
            market=Market(store, tables, jump_max=settings.price_jump_max),
            symbols=Symbols(store, tables),
            personal=Personal(store, tables),
            refusals=RefusalLog(store, tables),
            clients=Clients(store, tables, key, ids or IdSource()),
            signing=SigningKeys(store, tables, key),
            sealing=SealingKeys(store, tables, key, origin_of(journal.meta["journal_id"])),
        )
        installation.market.refresh()
        installation.clients.refresh()
    except BaseException:
        journal.close()
        raise
    return installation


@contextmanager
def opened_journal(settings: Settings) -> Iterator[Journal]:
    """The journal alone, for reading.

    Raises SchemaMissing, SchemaTooNew, WrongKind, BadSettings, Unavailable.
    """
    with closing(_found(settings)):
        pass
    with Journal(settings.journal_url, engine_codec()) as journal:
        yield journal


@contextmanager
def opened_datastore(settings: Settings) -> Iterator[Datastore]:
    """The datastore without the codec, however damaged. Raises as `opened_journal`."""
    with closing(_found(settings)) as datastore:
        yield datastore


def _found(settings: Settings, *, allows_older: bool = False) -> Datastore:
    """The existing journal, checked to be usable by this release."""
    check_closed(settings)
    datastore = open_journal_datastore(settings)
    try:
        check_declared(datastore)
        with datastore.store.reading() as connection:
            schema.check(connection, datastore.tables, allows_older=allows_older)
    except BaseException:
        datastore.close()
        raise
    return datastore


def check_backed_up(settings: Settings) -> None:
    """Raises unless this is a journal that can be copied, of this or an older schema. As
    `opened_journal`.
    """
    with closing(_found(settings, allows_older=True)):
        pass


def check_declared(datastore: Datastore) -> None:
    """Raises WrongKind without a journal, or for one without a kind, of any schema.

    Checked before any other fault of a journal: only `migrate --live|--sandbox` helps.
    """
    if not exists(datastore):
        raise WrongKind(
            f"there is no journal at {place_of(datastore.store)}: name it with --data or --journal-url;"
            f" for a new one {declaring.SAY_ONE}"
        )
    with suppress(JournalDamaged):  # noted; a damaged journal must still be inspected
        declaring.required(datastore)


def open_journal(settings: Settings) -> Journal:
    """The journal with the secret for the MACs of its points, for followers.

    Raises SchemaMissing, SchemaTooNew, SchemaTooOld, WrongKey, WrongKind, Unavailable.
    """
    with closing(_found(settings)) as datastore:
        secret = open_master_key(settings, datastore).derive("witnesses")
    return Journal(settings.journal_url, engine_codec(), secret)


def check_closed(settings: Settings) -> None:
    """Raises BadSettings for a data directory that others can read: it holds clients' data."""
    with suppress(OSError):
        mode = settings.data.stat().st_mode & 0o777
        if mode & 0o077:
            raise BadSettings(
                f"{settings.data} is open to others (mode {mode:04o}) and holds clients' data:"
                f" run `chmod 700 {settings.data}`"
            )


def open_journal_datastore(settings: Settings) -> Datastore:
    """The engine's own journal in any state. Connections open on first use."""
    return Datastore(settings.journal_url, prefix="", kind="text")


def place_of(store: Store) -> str:
    """A journal's location for people: without password and other secrets of the URL."""
    return store.location


def open_master_key(settings: Settings, datastore: Datastore) -> MasterKey:
    """The master key, verified to be this journal's. Raises WrongKey, SchemaMissing, Unavailable."""
    key = read_key(settings)
    with datastore.store.reading() as connection:
        meta = schema.check(connection, datastore.tables)
    if FINGERPRINT not in meta:
        raise WrongKey("this journal was never given a master key: run `order-engine migrate`")
    key.check(meta[FINGERPRINT])
    return key


def migrate(
    settings: Settings,
    kind: JournalKind | None = None,
    *,
    adopts: bool = False,
    at_us: int | None = None,
) -> Migrated:
    """Creates the directory, the schema, the operational tables and the key, each if missing.

    `kind` is declared for a new journal, at `at_us`; an existing one must be of that kind, unless it has
    none and a person confirmed (`adopts`). None accepts the existing kind. Safe for concurrent processes
    on several machines. Tables, fingerprint and kind are written together or not at all. Raises
    WrongKind for a journal of another kind, or of none, and with None if there is no journal; WrongKey
    for another key than the journal's, SchemaTooNew, Unavailable, BadSettings.
    """
    at_us = wall.now_us() if at_us is None else at_us
    with _open_to_migrate(settings) as datastore:
        if kind is None:
            check_declared(datastore)

        def declare(connection: sa.Connection, *, is_new: bool) -> bool:
            if kind is not None and (is_new or adopts):
                is_declared = declaring.write(connection, datastore, kind, at_us=at_us)
                if is_declared:
                    acts.note(
                        connection,
                        "kind.declared",
                        actor=acts.COMMAND_LINE,
                        context={"kind": kind},
                        at_us=at_us,
                    )
                return is_declared
            declaring.check(connection, datastore.tables, kind)
            return False

        return _migrate(settings, datastore, declare)


def statements(settings: Settings) -> list[str]:
    """The SQL of `migrate` on PostgreSQL, for an administrator to run; nothing is changed.

    The key, its fingerprint and the kind are left to `migrate`, which then only inserts.
    Raises WrongUsage for SQLite, SchemaTooNew, Unavailable.
    """
    with _open_to_migrate(settings) as datastore:
        if isinstance(datastore.store, SqliteStore):
            raise WrongUsage("migrate --sql is for PostgreSQL: a file in SQLite has no other owner")
        with datastore.store.reading() as connection:
            tables = operations.define_operations()
            return [
                *schema.statements(connection, datastore.tables),
                *operations.statements(connection, tables),
            ]


def make_tables(settings: Settings) -> None:
    """Creates everything that `migrate` does except a kind, which a restored dump contains."""
    with _open_to_migrate(settings) as datastore:
        _migrate(settings, datastore, lambda _, **__: False)


def exists(datastore: Datastore) -> bool:
    """Whether there is a journal, of any kind. Raises Unavailable."""
    store = datastore.store
    if isinstance(store, SqliteStore) and not Path(store.path).exists():
        return False
    with store.reading() as connection:
        return sa.inspect(connection).has_table(datastore.tables.meta.name)


@contextmanager
def _open_to_migrate(settings: Settings) -> Iterator[Datastore]:
    check_closed(settings)
    with closing(open_journal_datastore(settings)) as datastore:
        yield datastore


def _migrate(settings: Settings, datastore: Datastore, declare: Callable[..., bool]) -> Migrated:
    packages.check()
    given = find_key(settings)  # a malformed key is refused before anything is created
    _make_directory(settings)
    make_directory_for(datastore.store)
    with datastore.store.writing() as connection:
        outcome = schema.migrate(connection, datastore.tables)
        is_changed = operations.migrate(connection, operations.define_operations())
        meta = schema.check(connection, datastore.tables)
        is_changed |= declare(connection, is_new=outcome == "created")
        # Inside the transaction, which serialises processes: two must not create two keys.
        key = given or _missing_key(settings, meta)
        _keep_fingerprint(connection, datastore.tables, meta, key)
    return Migrated(
        outcome=_told(outcome, is_changed=is_changed),
        schema=int(meta["schema"]),
        journal_id=meta["journal_id"],
        kind=declaring.declared(datastore),
        place=place_of(datastore.store),
        key=key.source,
        key_created=given is None and FINGERPRINT not in meta,
    )


def _told(outcome: schema.Migration, *, is_changed: bool) -> Outcome:
    if outcome == "created":
        return "created"
    return "updated" if outcome == "upgraded" or is_changed else "already up to date"


def _missing_key(settings: Settings, meta: dict[str, str]) -> MasterKey:
    # A new key cannot be that of an existing journal.
    return read_key(settings) if FINGERPRINT in meta else create_key(settings)


def _keep_fingerprint(
    connection: sa.Connection, tables: schema.Tables, meta: dict[str, str], key: MasterKey
) -> None:
    if FINGERPRINT in meta:
        key.check(meta[FINGERPRINT])
    else:
        connection.execute(tables.meta.insert().values(key=FINGERPRINT, value=key.fingerprint))


def _make_directory(settings: Settings) -> None:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"{settings.data} cannot be created: {error.strerror}") from error
