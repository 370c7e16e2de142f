"""A journal in PostgreSQL, through psycopg: bounded waits, durable commits."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from engine.journal.postgres_connection import BoundedConnection
from engine.journal.store import ConnectionBroken, Store, Violation
from engine.kernel.errors import (
    DiskFull,
    EngineError,
    Inaccessible,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
    Unrecordable,
)
from engine.kernel.limits import (
    CONNECT_TIMEOUT_S,
    IDLE_IN_TRANSACTION_S,
    LOCK_TIMEOUT_S,
    READERS_MAX,
    WRITE_WAIT_S,
)

APPLICATION: Final = "order-engine"
"""Name of the engine's connections in `pg_stat_activity`."""


_READ_ONLY_S: Final = 1.0
"""Age from which connections are replaced when a server takes no writes."""


class PostgresStore(Store):
    """A PostgreSQL database, through psycopg."""

    dialect = "postgresql"
    _broken_s = 0.0  # monotonic time of the last break

    def _query(self, raw: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with raw.cursor(binary=True) as cursor:
            return cursor.execute(statement.replace("?", "%b"), values).fetchall()  # type: ignore[no-any-return]

    def _create_engines(self) -> tuple[sa.Engine, sa.Engine]:
        return self._engine("AUTOCOMMIT"), self._engine("READ COMMITTED")

    @property
    def location(self) -> str:
        url = self.url
        shown = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database)
        hosts = "" if url.host else f"?host={','.join(self._hosts)}" * bool(self._hosts)
        return shown.render_as_string() + hosts

    @property
    def _hosts(self) -> tuple[str, ...]:
        """Hosts that the URL names in its query: `?host=one:5432&host=two:5432`."""
        hosts = self.url.query.get("host", ())
        return (hosts,) if isinstance(hosts, str) else hosts

    @property
    def driver_error(self) -> type[Exception]:
        return psycopg.Error

    def raw_connection(self) -> BoundedConnection:
        """A separate psycopg connection in autocommit mode, outside the pools."""
        if self._is_closed:
            raise Unavailable("the journal is closed")
        try:
            connection = self._connected()
        except psycopg.Error as error:
            raise Unavailable(f"{self.location}: PostgreSQL cannot be reached: {error}") from error
        connection.autocommit = True
        return connection

    def _engine(self, isolation_level: str) -> sa.Engine:
        engine = sa.create_engine(
            self._driver_url,
            creator=self._connected,
            hide_parameters=True,  # not in errors, which are logged
            pool_size=READERS_MAX,
            max_overflow=0,
            pool_timeout=WRITE_WAIT_S,
            isolation_level=isolation_level,
        )
        sa.event.listen(engine, "checkout", self._check_out)
        sa.event.listen(engine, "checkin", _bound_again)
        return engine

    @property
    def _driver_url(self) -> sa.URL:
        return self.url.set(drivername="postgresql+psycopg")

    def _connected(self) -> BoundedConnection:
        """A new connection. Raises psycopg.Error."""
        _, options = self._driver_url.get_dialect()().create_connect_args(self._driver_url)
        if len(self._hosts) > 1:  # else the first that answers, which may be a replica
            options.setdefault("target_session_attrs", "read-write")
        ours = self._connect_args()
        ours["options"] = " ".join(filter(None, (options.get("options"), ours["options"])))
        connection = BoundedConnection.connect(**{**options, **ours})
        try:
            _keep_commits_durable(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def is_broken(self, raw: Any) -> bool:
        return bool(raw.closed)

    def is_outdated(self, connection: BoundedConnection) -> bool:
        """Whether an idle connection is to be replaced: it ended, or another one of its time did."""
        return connection.born_s < self._broken_s or connection.is_stale

    def _check_out(self, raw: Any, *_: object) -> None:
        """Has a pool replace its connections before a statement fails on one."""
        if self.is_outdated(raw):
            raise sa.exc.InvalidatePoolError

    def _named(self, error: EngineError) -> EngineError:
        """Takes note of errors after which all connections are replaced: they broke, or lead to a server
        that takes no writes.
        """
        if isinstance(error, ConnectionBroken | Inaccessible):
            now_s = monotonic()
            if isinstance(error, Inaccessible):  # which may last: not more than once a second
                now_s -= _READ_ONLY_S
            self._broken_s = max(self._broken_s, now_s)
        return super()._named(error)

    @staticmethod
    def _connect_args() -> dict[str, Any]:
        milliseconds = {
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_S,
            "lock_timeout": LOCK_TIMEOUT_S,
        }
        return {
            "application_name": APPLICATION,
            "client_encoding": "utf8",  # else a database without an encoding returns bytes for text
            "connect_timeout": int(CONNECT_TIMEOUT_S),
            "options": " ".join(f"-c {k}={int(v * 1000)}" for k, v in milliseconds.items()),
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": int(WRITE_WAIT_S * 1000),
        }

    def translate(self, error: BaseException) -> EngineError:
        text = str(error)
        for kind, meaning in _POSTGRES_ERRORS:
            if isinstance(error, kind):
                # "timeout expired" alone does not name the database.
                return meaning(f"{self.location}: {text}" if issubclass(meaning, Unavailable) else text)
        return EngineError(text)


_POSTGRES_ERRORS: Final[tuple[tuple[type[Exception], type[EngineError]], ...]] = (
    (psycopg.errors.UniqueViolation, Violation),
    (psycopg.errors.LockNotAvailable, Unavailable),
    (psycopg.errors.IdleInTransactionSessionTimeout, ConnectionBroken),
    (psycopg.errors.DiskFull, DiskFull),
    (psycopg.errors.ReadOnlySqlTransaction, Inaccessible),
    (psycopg.errors.InsufficientPrivilege, Inaccessible),
    (psycopg.errors.UndefinedTable, SchemaMissing),
    (psycopg.errors.UndefinedColumn, SchemaMissing),
    (psycopg.errors.DataCorrupted, JournalDamaged),
    (psycopg.errors.IndexCorrupted, JournalDamaged),
    (psycopg.DataError, Unrecordable),
    (psycopg.OperationalError, ConnectionBroken),
    (psycopg.InterfaceError, ConnectionBroken),
)
"""psycopg's error -> the engine's; the first match counts."""


def _bound_again(raw: Any, _: object) -> None:
    if raw is not None:
        raw.bound_s = BoundedConnection.bound_s


def _keep_commits_durable(raw: Any) -> None:
    """Raises `synchronous_commit` to `on`; an operator's stricter setting (replicas) is kept."""
    was_autocommit = raw.autocommit
    raw.autocommit = True
    if raw.execute("SHOW synchronous_commit").fetchone()[0] in {"off", "local"}:
        raw.execute("SET synchronous_commit = on")
    raw.autocommit = was_autocommit
