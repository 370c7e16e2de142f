"""A persistence module for the `eventsourcing` library: `PERSISTENCE_MODULE=engine.recorder`.

Any application of that library can use it, on SQLite and PostgreSQL alike:

    JOURNAL_URL          sqlite:////absolute/path/journal.db | postgresql://user:password@host/database
    JOURNAL_PREFIX       of the table names; default: the application's name in lower case and "_"
    ORIGINATOR_ID_TYPE   uuid (default) | text
    CREATE_TABLE         whether to create missing tables; default yes

Beyond the library's interface: positions are 1, 2, 3 ... without gaps, in commit order, for any number
of processes; every event is part of a digest chain verified on reading; appends of many threads share
commits; an append can carry a command id for idempotency, and a lease, so that a worker that lost its
role cannot append.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from threading import Event
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import sqlalchemy as sa
from eventsourcing import persistence
from eventsourcing.persistence import (
    InfrastructureFactory,
    Notification,
    StoredEvent,
    Tracking,
    WaitInterruptedError,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from engine.journal import schema
from engine.journal.datastore import Datastore, int64, text
from engine.journal.store import Violation, insert_into
from engine.journal.writer import Append, Lease, Tracked
from engine.kernel import errors
from engine.kernel.limits import (
    APPEND_FACTS_MAX,
    COMMAND_BYTES_MAX,
    NAME_BYTES_MAX,
)

P = ParamSpec("P")
R = TypeVar("R")


_LIBRARY_ERRORS: Final[Mapping[type[errors.EngineError], type[Exception]]] = {
    errors.VersionConflict: persistence.IntegrityError,
    errors.StaleOffset: persistence.IntegrityError,
    errors.LeaseLost: persistence.IntegrityError,
    errors.Unrecordable: persistence.DataError,
    errors.OutcomeUnknown: persistence.OperationalError,
    errors.Unavailable: persistence.OperationalError,
    errors.JournalDamaged: persistence.InternalError,
    errors.SchemaMissing: persistence.ProgrammingError,
}
"""Error of the engine -> what the library calls it; the first that fits."""


@cache
def _twin(kind: type[errors.EngineError]) -> type[errors.EngineError] | None:
    """A class that is both the engine's error and the library's: users of either can catch it."""
    library = next((other for own, other in _LIBRARY_ERRORS.items() if issubclass(kind, own)), None)
    if library is None or issubclass(kind, library):
        return None
    return type(kind.__name__, (kind, library), {"__module__": __name__, "__doc__": kind.__doc__})


def _library_error(error: errors.EngineError) -> errors.EngineError:
    twin = _twin(type(error))  # type: ignore[arg-type]  # mypy looks for the __hash__ of an instance
    return twin(str(error), **error.context) if twin else error


def _speaking_the_librarys_errors(method: Callable[P, R]) -> Callable[P, R]:
    @wraps(method)
    def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except errors.EngineError as error:
            raise _library_error(error) from error

    return translated


class JournalRecorder:
    """Base of all recorders."""

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore


class JournalAggregateRecorder(JournalRecorder, persistence.AggregateRecorder):
    """Events by stream and version in a side table, without positions, such as snapshots."""

    def __init__(self, datastore: Datastore, purpose: str) -> None:
        super().__init__(datastore)
        tables = datastore.tables
        self.table = tables.snapshots
        if purpose != "snapshots":
            name = f"{tables.prefix}{purpose}"
            self.table = schema.side_table(sa.MetaData(), name, datastore.kind)

    @_speaking_the_librarys_errors
    def create_table(self) -> None:
        """Creates the side table if it is missing."""
        self.datastore.migrate()
        with self.datastore.store.writing() as connection:
            self.table.create(connection, checkfirst=True)

    @_speaking_the_librarys_errors
    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> None:
        """Writes the events, all or none. Raises VersionConflict if one exists."""
        if not stored_events:
            return
        rows = [
            {
                "stream": stored.stream,
                "version": stored.version,
                "name": event.topic,
                "body": stored.body,
            }
            for event, stored in zip(stored_events, self.datastore.rows(stored_events), strict=True)
        ]
        try:
            with self.datastore.store.writing() as connection:
                connection.execute(self.table.insert(), rows)
        except Violation as violation:
            raise errors.VersionConflict(str(violation)) from violation

    @_speaking_the_librarys_errors
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream with versions in (gt, lte], by version."""
        table, version = self.table, self.table.c.version
        key, _ = self.datastore.key(originator_id)
        query = sa.select(version, table.c.name, table.c.body).where(table.c.stream == key)
        if gt is not None:
            query = query.where(version > gt)
        if lte is not None:
            query = query.where(version <= lte)
        query = query.order_by(version.desc() if desc else version).limit(limit)
        with self.datastore.store.reading() as connection:
            rows = connection.execute(query).all()
        return [StoredEvent(originator_id, row.version, row.name, bytes(row.body)) for row in rows]


class JournalApplicationRecorder(JournalRecorder, persistence.ApplicationRecorder):
    """The journal as the library's application recorder."""

    @_speaking_the_librarys_errors
    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        command: bytes | None = None,
        lease: Lease | None = None,
        **_: Any,
    ) -> Sequence[int]:
        """Records the events, and moves `tracking`, together or not at all; returns their positions.

        Raises VersionConflict, StaleOffset, LeaseLost (all IntegrityError of the library), Unrecordable,
        Unavailable, OutcomeUnknown, JournalDamaged.
        """
        return list(
            self.append(stored_events, tracking=tracking, command=command, lease=lease).positions
        )

    @_speaking_the_librarys_errors
    def append(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        command: bytes | None = None,
        lease: Lease | None = None,
        taken: Sequence[tuple[Any, int]] = (),
    ) -> Append:
        """As `insert_events`; the result tells whether `command` had been recorded before. Raises
        VersionConflict unless the keys `taken` are in the journal.

        For a repeated command nothing is added, and the positions are the original ones: from its first
        fact to the next fact that begins a command. (Exact if every append has a command, as in
        `Journal`.)
        """
        if len(stored_events) > APPEND_FACTS_MAX:
            raise errors.Unrecordable(f"one append is at most {APPEND_FACTS_MAX} facts")
        if command is not None and not (
            command.__class__ is bytes and 0 < len(command) <= COMMAND_BYTES_MAX
        ):
            raise errors.Unrecordable(f"a command id is 1 to {COMMAND_BYTES_MAX} bytes")
        if lease is not None:
            text(lease.name, NAME_BYTES_MAX, "a name")
            int64(lease.epoch, "an epoch")
        append = Append(
            self.datastore.rows(stored_events, command),
            command=command if stored_events else None,
            tracking=_tracked(tracking) if tracking else None,
            lease=lease,
            taken=taken,
        )
        return self.datastore.append(append) if append.rows or append.tracking else append

    @_speaking_the_librarys_errors
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream with versions in (gt, lte], by version."""
        stream = self.datastore.stream_id(originator_id)
        rows = self.datastore.pages.stream(stream, after=gt, upto=lte, is_descending=desc, limit=limit)
        return [
            StoredEvent(stream, version, name, body) for _, version, name, stream, _, body, _ in rows
        ]

    @_speaking_the_librarys_errors
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The log from `start` to `stop`, at most `limit` events, of all or the given topics."""
        after = (start or 0) - inclusive_of_start
        pages = self.datastore.pages
        rows = pages.log_of(topics, after, limit, stop) if topics else pages.log(after, limit, stop=stop)
        return [
            Notification(stream, version, name, body, position)
            for position, version, name, stream, _, body, _ in rows
        ]

    @_speaking_the_librarys_errors
    def max_notification_id(self) -> int | None:
        """The last position, None for an empty journal."""
        return self.datastore.pages.head().position or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        """Follows the log after `gt`: existing events, then new ones, without end."""
        return JournalSubscription(self, gt, topics)


class JournalSubscription(persistence.Subscription[JournalApplicationRecorder]):
    """Reads page by page in its consumer's thread, and waits for wake-ups in between.

    `stop()` is thread-safe. Read errors are raised to the consumer, which may continue.
    """

    PAGE: Final = 500

    def __init__(
        self, recorder: JournalApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._journal, self._names, self._is_stopped = recorder, topics, False
        self._bell = recorder.datastore.bell
        self._page: Iterator[Notification] = iter(())
        self._seen = gt or 0
        self._bell.listen()

    def stop(self) -> None:
        """Ends the iteration, even a waiting one."""
        if not self._is_stopped:
            self._is_stopped = True
            super().stop()
            self._bell.unlisten()
            self._bell.ring()

    def __next__(self) -> Notification:
        """The next notification; blocks until there is one."""
        while not self._is_stopped:
            notification = next(self._page, None)
            if notification is not None:
                return notification
            rings = self._bell.rings
            if not self._turn_page():
                self._bell.wait(rings)
        raise StopIteration

    def _turn_page(self) -> bool:
        """Reads the next page; True if it has events."""
        journal = self._journal
        head = journal.max_notification_id() or 0
        if head <= self._seen:
            return False
        page = journal.select_notifications(
            self._seen, self.PAGE, head, self._names, inclusive_of_start=False
        )
        # With topics the head counts as read too, else every poll would scan the same facts.
        self._seen = page[-1].id if len(page) == self.PAGE else head
        self._page = iter(page)
        return True

    def __del__(self) -> None:
        """Stops listening when the subscription is garbage-collected."""
        self.stop()


def _tracked(tracking: Tracking) -> Tracked:
    follower = text(tracking.application_name, NAME_BYTES_MAX, "a name")
    return Tracked(follower, int64(tracking.notification_id, "an offset"))


class JournalTrackingRecorder(JournalRecorder, persistence.TrackingRecorder):
    """Offsets of followers. Views subclass it to store rows and offset together."""

    WAIT_S: Final = 0.02
    """Poll interval for another process's progress; this process's is noticed at once."""

    @_speaking_the_librarys_errors
    def create_table(self) -> None:
        """Creates the tables if they are missing."""
        self.datastore.migrate()

    @contextmanager
    def tracking_with(self, tracking: Tracking) -> Iterator[sa.Connection]:
        """A write transaction for a view's own rows that also moves the offset.

        Raises StaleOffset, and rolls back, if the stored offset is the same or greater.
        """
        table = self.datastore.tables.tracking
        follower, position, *_ = _tracked(tracking)
        try:
            with self.datastore.store.writing() as connection:
                insert = insert_into(connection, table).values(follower=follower, position=position)
                moved = connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=[table.c.follower],
                        set_={"position": insert.excluded.position, "digest": None, "mac": None},
                        where=table.c.position < insert.excluded.position,
                    ).returning(table.c.position)
                )
                if moved.first() is None:
                    raise errors.StaleOffset(f"{follower} is at {position} or further already")
                yield connection
        except errors.EngineError as error:
            raise _library_error(error) from error
        self.datastore.bell.ring()

    def insert_tracking(self, tracking: Tracking) -> None:
        """Moves an offset forward. Raises StaleOffset if the stored one is the same or greater."""
        with self.tracking_with(tracking):
            pass

    @_speaking_the_librarys_errors
    def max_tracking_id(self, application_name: str) -> int | None:
        """The offset, None before the first."""
        table = self.datastore.tables.tracking
        query = sa.select(table.c.position).where(table.c.follower == application_name)
        with self.datastore.store.reading() as connection:
            return connection.execute(query).scalar()

    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Returns once the offset has reached `notification_id`.

        Raises TimeoutError after `timeout` seconds, WaitInterruptedError if `interrupt` is set.
        """
        bell = self.datastore.bell
        deadline = monotonic() + timeout
        while True:
            rings = bell.rings
            if self.has_tracking_id(application_name, notification_id):
                return
            if interrupt and interrupt.is_set():
                raise WaitInterruptedError
            if monotonic() >= deadline:
                raise TimeoutError(
                    f"{application_name} has not reached {notification_id} in {timeout} s"
                )
            bell.wait(rings, min(self.WAIT_S, timeout))


class JournalProcessRecorder(
    JournalTrackingRecorder, JournalApplicationRecorder, persistence.ProcessRecorder
):
    """A journal whose appends can also move an offset in the same transaction."""


class JournalFactory(InfrastructureFactory[JournalTrackingRecorder]):
    """Builds the recorders from an application's environment."""

    JOURNAL_URL = "JOURNAL_URL"
    JOURNAL_PREFIX = "JOURNAL_PREFIX"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"
    CREATE_TABLE = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        url = self.env.get(self.JOURNAL_URL)
        if not url:
            raise OSError(f"{self.JOURNAL_URL} is not set")
        kind = (self.env.get(self.ORIGINATOR_ID_TYPE) or "uuid").lower()
        if kind not in {"uuid", "text"}:
            raise OSError(f"{self.ORIGINATOR_ID_TYPE} is uuid or text, not {kind!r}")
        prefix = self.env.get(self.JOURNAL_PREFIX)
        if prefix is None:
            prefix = re.sub(r"\W", "_", self.env.name.lower(), flags=re.ASCII)
            prefix += "_" if prefix else ""
        self.datastore = Datastore(url, prefix, "text" if kind == "text" else "uuid")

    @property
    def creates_tables(self) -> bool:
        """Whether missing tables are created."""
        return strtobool(self.env.get(self.CREATE_TABLE) or "yes")

    def aggregate_recorder(self, purpose: str = "events") -> persistence.AggregateRecorder:
        """A recorder on the side table for `purpose`."""
        recorder = JournalAggregateRecorder(self.datastore, purpose)
        if self.creates_tables:
            recorder.create_table()
        return recorder

    def application_recorder(self) -> JournalApplicationRecorder:
        """A recorder on the journal."""
        self._migrate()
        return JournalApplicationRecorder(self.datastore)

    def tracking_recorder(
        self, tracking_recorder_class: type[JournalTrackingRecorder] | None = None
    ) -> JournalTrackingRecorder:
        """A tracking recorder, or the given subclass, or the one named by TRACKING_RECORDER_TOPIC."""
        if tracking_recorder_class is None:
            topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
            tracking_recorder_class = resolve_topic(topic) if topic else JournalTrackingRecorder
        assert tracking_recorder_class is not None
        recorder = tracking_recorder_class(self.datastore)
        if self.creates_tables:
            recorder.create_table()
        return recorder

    def process_recorder(self) -> JournalProcessRecorder:
        """A recorder on the journal that also tracks."""
        self._migrate()
        return JournalProcessRecorder(self.datastore)

    def close(self) -> None:
        """Writes queued appends and closes every connection."""
        self.datastore.close()

    @_speaking_the_librarys_errors
    def _migrate(self) -> None:
        if self.creates_tables:
            self.datastore.migrate()
