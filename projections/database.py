"""The views' own database: a SQLite file of its own, or tables beside the journal's in PostgreSQL.

    view_checkpoints   offset of each view, and the shape of its tables
    view_quarantine    streams with a fact that a view could not fold: see `projections.quarantine`
    view_released      streams released from quarantine
    view_meta          the journal they belong to
    view_folds         states of long streams, so that a cold start need not fold all their facts
    view_rebuilds      rebuilds and verifications: requested, running, done
    view_standing      blocked orders, as reported by followers
    view_kept          previous tables of a rebuild, for `rollback`
    view_...           the views' tables
    view_...__N        tables filled by rebuild number N; view_...__old are previous ones

All of it can be rebuilt from the journal at any time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from engine.journal.datastore import make_directory_for, open_store
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Column, Store
from engine.journal.witness import SealedPoint
from engine.kernel.errors import BadSettings, StaleOffset, ViewBehind, ViewQuarantined, ViewsDamaged
from engine.kernel.limits import (
    FAULT_CHARACTERS_MAX,
    QUARANTINED_SHOWN_MAX,
    VIEW_POLL_S,
    VIEWS_CHECKED_BYTES_MAX,
    VIEWS_RETRY_S,
)
from projections import folds
from projections.quarantine import QUARANTINE, RELEASED, Quarantined, release
from projections.registry import VIEWS
from projections.tables import MARKS, Table
from projections.view import View

CHECKPOINTS: Final = Table(
    "view_checkpoints",
    {
        "view": "text",
        "shape": "text",
        "reached": "integer",
        "rebuilt_to": "integer",
        "digest": "bytes",
        "mac": "bytes",
    },
    "view",
    {},
)
"""`rebuilt_to`: a view's offset when it was emptied; it must not be read before it is there again.
`digest` belongs to the fact at `reached`, `mac` is the journal's MAC of both (see `witness`)."""
FOLDS: Final = Table(
    "view_folds",
    {"stream": "text", "shape": "text", "version": "integer", "body": "bytes"},
    "stream",
    {},
)
META: Final = Table("view_meta", {"word": "text", "value": "text"}, "word", {})
KEPT: Final = Table(
    "view_kept",
    {
        "view": "text",
        "shape": "text",
        "reached": "integer",
        "faults": "bytes",
        "digest": "bytes",
        "mac": "bytes",
    },
    "view",
    {},
)
"""The offset of previous tables, and their rows of `view_quarantine`."""
STANDING: Final = Table(
    "view_standing",
    {"number": "integer", "follower": "text", "subject": "text", "error": "text"},
    "number",
    {"follower": "follower"},
)
REBUILDS: Final = Table(
    "view_rebuilds",
    {
        "number": "integer",
        "kind": "text",
        "views": "text",
        "keeps_old": "integer",
        "state": "text",
        "phase": "text",
        "reached": "integer",
        "target": "integer",
        "asked_us": "integer",
        "began_us": "integer",
        "ended_us": "integer",
        "error": "text",
        "findings": "bytes",
    },
    "number",
    {},
)
COMMON: Final = (CHECKPOINTS, QUARANTINE, RELEASED, FOLDS, META, KEPT, STANDING, REBUILDS)
"""The tables shared by all views."""
NAME: Final = "views"
"""The name for their checkpoints' MAC."""
SCHEMA: Final = 2
"""Schema number of the shared tables. Those of a newer release are recreated."""
UNKNOWN: Final = 2**62
"""`rebuilt_to` of views emptied while they may be read: the runner sets the offset to reach."""
FROM_START: Final = -1
"""`rebuilt_to` of views older than the journal's first visible fact: they are complete, whatever their
lag."""
_ADVISORY_LOCK: Final = 0x7669_6577_73  # "views"; held by writers of the views on PostgreSQL
_log: Final = logging.getLogger(__name__)

_CHECK: Final = """
    SELECT shape, reached, rebuilt_to, account, tenant, bad_offset
    FROM view_checkpoints AS checkpoint
    LEFT JOIN view_quarantine AS bad ON bad.view = checkpoint.view AND bad.stream = ?
    WHERE checkpoint.view = ?"""


class BlockedSubject(NamedTuple):
    """A blocked order or venue, as reported by a follower; the others continue."""

    follower: str
    subject: str
    error: str


class Views:
    """The views' database. Thread-safe. Close it when done.

    Opening creates missing tables; safe for concurrent processes. Tables of another shape belong to
    another release: they stay unread and unchanged until a rebuild replaces them. Raises BadSettings for
    a URL that cannot be used, Unavailable from any use.
    """

    def __init__(self, url: str, views: Sequence[View] = VIEWS, *, mends: bool = True) -> None:
        """`mends` False: read-only; nothing is created."""
        self.views: Mapping[str, View] = {view.name: view for view in views}
        self._shapes: Mapping[str, str] = {view.name: shape_of(view) for view in views}
        self.store: Store = open_store(url, is_disposable=True)
        self._making = threading.Lock()
        self._mends = mends
        self._rests_until_s = 0.0
        if not mends:
            return
        make_directory_for(self.store)
        try:
            self._prepare()
            self._probe()
        except ViewsDamaged as error:
            self.make_again(str(error))

    def _prepare(self, why: str = "") -> None:
        """Creates missing tables. With `why`, the reason to recreate them, they are not read before they
        are complete.

        Raises ViewsDamaged for tables of a newer release too.
        """
        with self.store.writing() as connection:
            self._lock(connection)
            for table in COMMON:
                _create(connection, table)
            _grow(connection, CHECKPOINTS, KEPT)
            schema = connection.exec_driver_sql("SELECT value FROM view_meta WHERE word = 'schema'")
            if int(schema.scalar() or SCHEMA) > SCHEMA:
                raise ViewsDamaged("a newer release made these views")
            META.write(connection, [("schema", str(SCHEMA))])
            rows = connection.exec_driver_sql("SELECT view FROM view_checkpoints")
            known = set(rows.scalars())
            for view in self.views.values():
                if view.name not in known:
                    self._empty(connection, view, UNKNOWN if why else 0)
                for table in view.tables if why else ():
                    _create(connection, table)

    def make_again(self, why: str) -> None:
        """Discards all tables and starts empty; the runner fills them.

        In SQLite `views.db` becomes a link to a new file, in PostgreSQL the tables are dropped. Raises
        ViewsDamaged if impossible, Unavailable.
        """
        with self._making:
            if not self._mends or time.monotonic() < self._rests_until_s or self._is_usable():
                return  # or another process was first
            self._rests_until_s = time.monotonic() + VIEWS_RETRY_S
            _log.critical("the views are unusable and are rebuilt: %s", why.partition("\n")[0])
            try:
                if isinstance(self.store, SqliteStore):
                    with self.store.turn():
                        self.store.renew()
                else:
                    self._drop_all()
                self._prepare(why)
            except BadSettings as error:
                raise ViewsDamaged(str(error)) from error

    def check_file(self) -> None:
        """At start: SQLite checks every page of a file up to a size limit; former files are removed."""
        store = self.store
        if isinstance(store, SqliteStore):
            store.sweep()
        if isinstance(store, SqliteStore) and store.size <= VIEWS_CHECKED_BYTES_MAX:
            found = self.query("PRAGMA quick_check(1)")
            if found != [("ok",)]:
                self.make_again(str(found[0][0]))

    def _probe(self) -> None:
        """Raises ViewsDamaged unless the tables of our shape exist with their columns."""
        rows = self.store.query("SELECT view, shape FROM view_checkpoints")
        ours = [name for name, shape in rows if self.shapes.get(name) == shape]
        tables = [CHECKPOINTS, QUARANTINE, RELEASED, FOLDS, KEPT, STANDING, REBUILDS]
        tables += (table for name in ours for table in self.views[name].tables)
        for table in tables:
            self.store.query(f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE 1 = 0")

    def _is_usable(self) -> bool:
        """A second check: whether the tables exist and are intact as far as their database can tell."""
        try:
            query = self.store.query
            if isinstance(self.store, SqliteStore) and query("PRAGMA quick_check(1)") != [("ok",)]:
                return False
            schema = query("SELECT value FROM view_meta WHERE word = 'schema'")
            if not schema or int(schema[0][0]) > SCHEMA:
                return False
            self._probe()
            with self.store.writing() as connection:
                self._lock(connection)
                META.write(connection, [("looked_at", "")])
        except (ViewsDamaged, ValueError):
            return False
        return True

    def _drop_all(self) -> None:
        with self.store.writing() as connection:
            self._lock(connection)
            statement = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            for name in connection.exec_driver_sql(statement).scalars().all():
                if name.startswith("view_"):
                    connection.exec_driver_sql(f"DROP TABLE {name}")

    def close(self) -> None:
        """Closes every connection, for good."""
        self.store.close()

    # --- reading ----------------------------------------------------------------------------------

    @property
    def shapes(self) -> Mapping[str, str]:
        """View -> the required shape of its tables."""
        return self._shapes

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a reading statement with `?` for each value.

        Raises ViewsDamaged if unreadable; recreation has then started.
        """
        with self._mending():
            return self.store.query(statement, values)

    def values(self, columns: Sequence[Column]) -> tuple[Any, ...]:
        """The value of each expression, all at one moment. Raises ViewsDamaged as `query` does."""
        with self._mending():
            return self.store.values(columns)

    @contextlib.contextmanager
    def _mending(self) -> Iterator[None]:
        try:
            yield
        except ViewsDamaged as error:
            self.make_again(str(error))
            raise

    def offsets(self) -> dict[str, int]:
        """View -> the offset of its last fact, for views of our shape."""
        rows = self.query("SELECT view, shape, reached FROM view_checkpoints")
        return {name: reached for name, shape, reached in rows if self.shapes.get(name) == shape}

    def whole(self) -> dict[str, int]:
        """The same, limited to readable views (see `check`)."""
        statement = "SELECT view, shape, reached FROM view_checkpoints WHERE reached >= rebuilt_to"
        rows = self.query(statement)
        return {name: reached for name, shape, reached in rows if self.shapes.get(name) == shape}

    def offset(self, view: str) -> int:
        """The offset of the last fact that a view shows, 0 if its tables have another shape."""
        rows = self.query(
            "SELECT reached FROM view_checkpoints WHERE view = ? AND shape = ?",
            (view, self.shapes.get(view, "")),
        )
        return rows[0][0] if rows else 0

    def unfinished(self) -> list[str]:
        """Views that were emptied and have not caught up yet."""
        rows = self.query("SELECT view FROM view_checkpoints WHERE reached < rebuilt_to ORDER BY view")
        return [view for (view,) in rows]

    def is_ours(self, view: str) -> bool:
        """Whether its tables have our shape."""
        statement = "SELECT 1 FROM view_checkpoints WHERE view = ? AND shape = ?"
        return bool(self.query(statement, (view, self.shapes[view])))

    def wait(self, view: str, offset: int, timeout_s: float) -> None:
        """Returns once a view shows the fact at `offset`. Raises ViewBehind after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while (reached := self.offset(view)) < offset:
            if time.monotonic() > deadline:
                raise ViewBehind(f"{view} is at {reached}, not at {offset}", view=view, offset=reached)
            pause.wait(VIEW_POLL_S)

    def quarantined(
        self, view: str | None = None, limit: int = QUARANTINED_SHOWN_MAX
    ) -> list[Quarantined]:
        """Quarantined streams, of one view or of all, by the offset of the first bad fact."""
        columns = ", ".join(Quarantined._fields)
        condition, values = ("", []) if view is None else (" WHERE view = ?", [view])
        statement = f"SELECT {columns} FROM view_quarantine{condition} ORDER BY bad_offset, view LIMIT ?"
        return [Quarantined(*row) for row in self.query(statement, [*values, limit])]

    def standing(self) -> list[BlockedSubject]:
        """The blocked orders and venues reported by followers."""
        rows = self.query("SELECT follower, subject, error FROM view_standing ORDER BY number")
        return [BlockedSubject(*row) for row in rows]

    def report_blocked(self, follower: str, faults: Mapping[str, str]) -> None:
        """Replaces a follower's report: subject -> error."""
        with self.writing() as connection:
            of = {"follower": follower}
            connection.execute(sa.text("DELETE FROM view_standing WHERE follower = :follower"), of)
            last = connection.exec_driver_sql("SELECT max(number) FROM view_standing").scalar() or 0
            rows = [
                (last + n, follower, subject, error[:FAULT_CHARACTERS_MAX].replace("\0", ""))
                for n, (subject, error) in enumerate(faults.items(), 1)
            ]
            STANDING.write(connection, rows)

    def check(self, view: str, stream: str = "", owner: str = "") -> int:
        """The offset of a view.

        Raises ViewQuarantined if the rows of `stream` are withheld; with an `owner` (account or tenant)
        only for its own streams. Raises ViewBehind for a view being filled for the first time, or of
        another shape: it would show an arbitrary past, or be unreadable.
        """
        rows = self.query(_CHECK, (stream, view))
        for shape, reached, rebuilt_to, account, tenant, bad_offset in rows:
            self._check_whole(view, shape, reached, rebuilt_to)
            if bad_offset is not None and (not owner or owner in {account, tenant}):
                raise ViewQuarantined(
                    f"{view} could not fold the fact at offset {bad_offset}",
                    view=view,
                    stream=stream,
                    offset=bad_offset,
                )
            return int(reached)
        raise ViewBehind(f"{view} is not there yet", view=view, offset=0)

    def withheld(self, view: str, column: str = "", owner: str = "") -> int:
        """The number of streams withheld from an owner, an `account` or `tenant`; without one, of all.

        Raises ViewBehind as `check` does.
        """
        _, count = self.come_to(view, column, owner)
        return count

    def come_to(self, view: str, column: str = "", owner: str = "") -> tuple[int, int]:
        """The offset of a view, and `withheld`. Raises ViewBehind as `check` does."""
        condition, values = (f" AND bad.{column} = ?", [owner]) if column else ("", [])
        rows = self.query(
            "SELECT shape, reached, rebuilt_to, (SELECT count(*) FROM view_quarantine AS bad"
            f" WHERE bad.view = checkpoint.view{condition})"
            " FROM view_checkpoints AS checkpoint WHERE view = ?",
            [*values, view],
        )
        for shape, reached, rebuilt_to, count in rows:
            self._check_whole(view, shape, reached, rebuilt_to)
            return int(reached), int(count)
        raise ViewBehind(f"{view} is not there yet", view=view, offset=0)

    def _check_whole(self, view: str, shape: str, reached: int, rebuilt_to: int) -> None:
        if reached < rebuilt_to or shape != self.shapes.get(view):
            raise ViewBehind(f"{view} is being rebuilt", view=view, offset=reached)

    # --- writing ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A write transaction, one at a time in the whole database.

        A page locks checkpoints before tables, emptying a view the other way round: without this they
        would deadlock on PostgreSQL.
        """
        try:
            with self.store.writing() as connection:
                self._lock(connection)
                yield connection
        except ViewsDamaged as error:
            self.make_again(str(error))
            raise

    def _lock(self, connection: sa.Connection) -> None:
        if self.store.dialect == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))

    def move(
        self, connection: sa.Connection, views: Collection[str], start: int, end: SealedPoint
    ) -> None:
        """Moves the checkpoints of `views` from `start` to `end`, inside the caller's transaction.

        Raises StaleOffset if any is at another offset, or its tables now have another shape.
        """
        mark = MARKS[connection.dialect.name]
        ours = " OR ".join([f"(view = {mark} AND shape = {mark})"] * len(views))
        statement = (
            f"UPDATE view_checkpoints SET reached = {mark}, digest = {mark}, mac = {mark}"
            f" WHERE reached = {mark} AND ({ours})"
        )
        names = [word for name in views for word in (name, self.shapes[name])]
        moved = connection.exec_driver_sql(statement, (*end, start, *names)).rowcount
        if moved != len(views):
            raise StaleOffset(f"{len(views) - moved} views are not at {start} any more")

    def word(self, word: str) -> str | None:
        """A word of `view_meta`."""
        rows = self.query("SELECT value FROM view_meta WHERE word = ?", (word,))
        return rows[0][0] if rows else None

    def checkpoints(self) -> dict[str, SealedPoint]:
        """View -> its checkpoint, for views of our shape."""
        rows = self.query("SELECT view, shape, reached, digest, mac FROM view_checkpoints")
        return {
            name: SealedPoint(reached, bytes(digest), bytes(mac))
            for name, shape, reached, digest, mac in rows
            if self.shapes.get(name) == shape
        }

    def belong_to(self, journal_id: str, *, is_new: bool) -> str | None:
        """Empties all views if they belong to another journal; returns its id, "" if none before.

        None if they belong to this journal. `is_new`: the journal has no visible fact yet, so empty
        views are complete.
        """
        statement = "SELECT value FROM view_meta WHERE word = 'journal_id'"
        if self.word("journal_id") == journal_id:
            return None
        with self.writing() as connection:
            known = connection.exec_driver_sql(statement).scalar()
            if known == journal_id:
                return None  # another process was first, and may have gone on
            used = "SELECT count(*) FROM view_checkpoints WHERE reached > 0 OR rebuilt_to > 0"
            if is_new and not connection.exec_driver_sql(used).scalar():
                connection.exec_driver_sql(f"UPDATE view_checkpoints SET rebuilt_to = {FROM_START}")
            else:
                self._forget(connection, self.views)
            META.write(connection, [("journal_id", journal_id)])
        return str(known or "")

    def reset(self, *names: str) -> None:
        """Empties views, so that they are rebuilt from the first fact. Raises KeyError."""
        with self.writing() as connection:
            for name in names:
                self._empty(connection, self.views[name])

    def forget(self, names: Iterable[str]) -> None:
        """Empties untrusted views and their stored states."""
        with self.writing() as connection:
            self._forget(connection, names)

    def _forget(self, connection: sa.Connection, names: Iterable[str]) -> None:
        for name in names:
            self._empty(connection, self.views[name], UNKNOWN)
        connection.exec_driver_sql("DELETE FROM view_folds")
        META.remove(connection, ["trail"])

    def expect(self, head: int) -> None:
        """Makes views at offset 0 unreadable until they reach `head`, except those as old as the
        journal.
        """
        with self.writing() as connection:
            mark = MARKS[connection.dialect.name]
            connection.exec_driver_sql(
                f"UPDATE view_checkpoints SET rebuilt_to = {mark}"
                f" WHERE reached = 0 AND rebuilt_to <> {FROM_START}",
                (head,),
            )

    @staticmethod
    def _empty(connection: sa.Connection, view: View, rebuilt_to: int = 0) -> None:
        for table in view.tables:
            for name in (table.name, *tables_beside(connection, table)):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
            _create(connection, table)
        of_view = {"view": view.name}
        KEPT.remove(connection, [view.name])
        reached = connection.execute(
            sa.text("SELECT reached, rebuilt_to FROM view_checkpoints WHERE view = :view"),
            of_view,
        ).first()
        offset = max(reached or (0, 0))
        release(connection, view.name, offset)
        row = (view.name, shape_of(view), 0, max(offset, rebuilt_to), b"", b"")
        CHECKPOINTS.write(connection, [row])


def tables_beside(connection: sa.Connection, table: Table) -> list[str]:
    """Names of the tables that rebuilds have created beside this one."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        statement = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    names = connection.exec_driver_sql(statement).scalars()
    return sorted(name for name in names if name.startswith(f"{table.name}__"))


def _create(connection: sa.Connection, table: Table) -> None:
    for statement in table.creation(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _grow(connection: sa.Connection, *tables: Table) -> None:
    """Adds the MAC columns to tables of the first release, empty: such checkpoints prove nothing."""
    for table in tables:
        known = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for name in ("digest", "mac"):
            if name not in known:
                kind = (
                    "BLOB NOT NULL DEFAULT x''"
                    if _is_sqlite(connection)
                    else "bytea NOT NULL DEFAULT ''"
                )
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}")


def _is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


def shape_of(view: View) -> str:
    """The shape of a view's rows: its own number and those of its folds."""
    return f"{view.shape}/{folds.shape_of(view.streams)}"
