"""Deliveries: events enqueued for webhooks, in order, with their status.

Of a resource's deliveries to a webhook only the first open one has a due time; when it is finished, the
next gets one. So the sender finds due deliveries by one index, however many wait. The follower records
outcomes, new deliveries and its offset in one transaction, so nothing is enqueued twice. A webhook with
a backlog has its own, earlier offset: events after it are not enqueued yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from engine.domain.attempts import Attempt, NextAttempt
from engine.journal.schema import Tables
from engine.journal.store import CompanionWrite, Store, no_companion
from engine.journal.witness import SealedPoint
from engine.journal.writer import Lease
from engine.kernel.errors import LeaseLost, StaleOffset
from engine.kernel.limits import DELIVERIES_SWEPT
from engine.registers.operations import Operations

_LOCK: Final = 0x6465_6C69_76  # "deliv"; held by writers of deliveries on PostgreSQL
_PAIRS_MAX: Final = 500
"""(webhook, resource) pairs of one statement: both databases bind that many values."""


class NewDelivery(NamedTuple):
    """A delivery to enqueue. `event_offset` 0: a test, without a fact."""

    webhook: str
    tenant: str
    resource: str
    event: str
    event_offset: int
    event_us: int


class Delivery(NamedTuple):
    """A row. `tries` are the attempts of the current round, `attempts` all attempts."""

    seq: int
    webhook: str
    tenant: str
    resource: str
    event: str
    event_offset: int
    event_us: int
    created_us: int
    status: str
    attempts: int
    tries: int
    due_us: int | None
    finished_us: int | None


class AttemptNote(NamedTuple):
    """The outcome of an attempt, and the delivery's next state."""

    delivery: Delivery
    attempt: Attempt
    next: NextAttempt


@dataclass
class DeliveryBatch:
    """The follower's changes of one transaction. Its offset moves from `start` to `end`."""

    start: int
    end: int
    notes: list[AttemptNote] = field(default_factory=list)
    new: list[NewDelivery] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    postponed: list[tuple[int, int]] = field(default_factory=list)
    """(seq, due_us) of deliveries that could not be attempted."""
    places: dict[str, int | None] = field(default_factory=dict)
    """Webhook -> offset up to which its events are enqueued; None: up to the follower's."""
    seal: SealedPoint | None = None
    """MAC of the point at `end`."""

    @property
    def has_rows(self) -> bool:
        """Whether there is more to write than the offset."""
        return bool(self.notes or self.new or self.deleted or self.postponed or self.places)


_COLUMNS: Final = ", ".join(Delivery._fields)
_INSERT: Final = (
    "INSERT INTO deliveries (webhook, tenant, resource, event, event_offset, event_us, created_us,"
    " status, attempts, tries) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, 0)"
)
_NOTE: Final = (
    "UPDATE deliveries SET status = ?, attempts = ?, tries = ?, due_us = ?, finished_us = ?"
    " WHERE seq = ? AND status = 'pending'"
)
_ATTEMPT: Final = (
    "INSERT INTO delivery_attempts (delivery, number, at_us, outcome, status, duration_us)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_PLACE: Final = (
    "INSERT INTO webhook_backlogs (webhook, position) VALUES (?, ?)"
    " ON CONFLICT (webhook) DO UPDATE SET position = excluded.position"
)
_FIRST: Final = (
    "UPDATE deliveries SET due_us = ? WHERE due_us IS NULL AND seq IN ("  # noqa: S608  our own words
    "SELECT (SELECT waiting.seq FROM deliveries AS waiting WHERE waiting.status = 'pending'"
    " AND waiting.webhook = pair.column1 AND waiting.resource = pair.column2"
    " ORDER BY waiting.seq LIMIT 1) FROM (VALUES {pairs}) AS pair)"
    " RETURNING " + _COLUMNS
)
"""Makes the first open delivery of each (webhook, resource) due, if it has no due time."""


class Deliveries:
    """The tables `deliveries`, `delivery_attempts` and `webhook_backlogs`. Thread-safe."""

    def __init__(self, store: Store, operations: Operations, tables: Tables) -> None:
        self._store = store
        self._table = operations.deliveries
        self._attempts = operations.delivery_attempts
        self._backlogs = operations.webhook_backlogs
        self._leases = tables.leases
        self._tracking = tables.tracking

    # --- the follower's ---------------------------------------------------------------------------

    def record(self, lease: Lease, turn: DeliveryBatch, *, now_us: int) -> list[Delivery]:
        """Writes a turn in one transaction; returns the deliveries that became due.

        Raises LeaseLost, StaleOffset if another holder wrote first, Unavailable.
        """
        with self._writing() as connection:
            self._check(connection, lease)
            if turn.end != turn.start:
                self._move(connection, lease.name, turn)
            self._note(connection, turn.notes, now_us)
            if turn.postponed:
                statement = "UPDATE deliveries SET due_us = ? WHERE seq = ? AND due_us IS NOT NULL"
                self._many(connection, statement, [(due, seq) for seq, due in turn.postponed])
            self._many(connection, _INSERT, [(*new, now_us) for new in turn.new])
            for webhook in turn.deleted:  # with the changes just made
                self._cancel(connection, webhook, now_us)
            self._place(connection, turn.places)
            pairs = {(one.webhook, one.resource) for one in turn.new}
            pairs |= {
                (one.delivery.webhook, one.delivery.resource)
                for one in turn.notes
                if one.next.status != "pending"
            }
            return self._make_due(connection, pairs, now_us)

    def due(self, webhook: str, now_us: int, limit: int) -> list[Delivery]:
        """The due deliveries of a webhook, the longest overdue first."""
        statement = (
            f"SELECT {_COLUMNS} FROM deliveries WHERE webhook = ? AND due_us <= ?"  # noqa: S608
            " ORDER BY due_us, seq LIMIT ?"
        )
        rows = self._store.query(statement, (webhook, now_us, limit))
        return [Delivery(*row) for row in rows]

    def next_due_us(self, webhook: str) -> int | None:
        """The earliest due time of a webhook's deliveries."""
        statement = (
            "SELECT due_us FROM deliveries WHERE webhook = ? AND due_us IS NOT NULL"
            " ORDER BY due_us LIMIT 1"
        )
        rows = self._store.query(statement, (webhook,))
        return rows[0][0] if rows else None

    def sweep(self, before_us: int) -> int:
        """Deletes some finished deliveries from before that time; how many."""
        columns = self._table.c
        old = (
            sa.select(columns.seq)
            .where(columns.created_us < before_us, columns.finished_us.is_not(None))
            .order_by(columns.seq)
            .limit(DELIVERIES_SWEPT)
        )
        with self._writing() as connection:
            oldest = connection.execute(
                sa.select(columns.created_us).order_by(columns.seq).limit(1)
            ).scalar()
            if oldest is None or oldest >= before_us:
                return 0
            found = list(connection.execute(old).scalars())
            attempts = self._attempts
            connection.execute(attempts.delete().where(attempts.c.delivery.in_(found)))
            connection.execute(self._table.delete().where(columns.seq.in_(found)))
        return len(found)

    # --- people's ---------------------------------------------------------------------------------

    def add(
        self, new: Sequence[NewDelivery], now_us: int, also: CompanionWrite = no_companion
    ) -> list[int]:
        """Enqueues deliveries behind the existing ones; returns their numbers.

        `also` is called with the connection and the deliveries, to write in the same transaction.
        """
        with self._writing() as connection:
            before = connection.execute(sa.select(sa.func.max(self._table.c.seq))).scalar() or 0
            self._many(connection, _INSERT, [(*one, now_us) for one in new])
            self._make_due(connection, {(one.webhook, one.resource) for one in new}, now_us)
            columns = self._table.c
            query = sa.select(self._table).where(columns.seq > before).order_by(columns.seq)
            added = [Delivery(*row) for row in connection.execute(query)]
            also(connection, added)
            return [one.seq for one in added]

    def restart(self, seq: int, now_us: int, also: CompanionWrite = no_companion) -> Delivery:
        """Restarts a delivery at once, with the whole schedule, whatever its outcome so far.

        `also` is called with the connection and the delivery, to write in the same transaction.
        """
        columns = self._table.c
        with self._writing() as connection:
            mine = self._table.update().where(columns.seq == seq)
            connection.execute(mine.values(status="pending", tries=0, due_us=None, finished_us=None))
            row = connection.execute(sa.select(self._table).where(columns.seq == seq)).one()
            self._make_due(connection, {(row.webhook, row.resource)}, now_us)
            again = connection.execute(sa.select(self._table).where(columns.seq == seq)).one()
            delivery = Delivery(*again)
            also(connection, delivery)
            return delivery

    def get(self, seq: int, tenant: str) -> Delivery | None:
        """One delivery of a tenant."""
        columns = self._table.c
        query = sa.select(self._table).where(columns.seq == seq, columns.tenant == tenant)
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else Delivery(*row)

    def listed(
        self,
        tenant: str,
        *,
        limit: int,
        webhook: str | None = None,
        status: str | None = None,
        before: int | None = None,
    ) -> list[Delivery]:
        """A tenant's deliveries, newest first."""
        columns = self._table.c
        query = sa.select(self._table).where(columns.tenant == tenant)
        if webhook is not None:
            query = query.where(columns.webhook == webhook)
        if status is not None:
            query = query.where(columns.status == status)
        if before is not None:
            query = query.where(columns.seq < before)
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(columns.seq.desc()).limit(limit))
            return [Delivery(*row) for row in rows]

    def attempts_of(self, seqs: Sequence[int]) -> dict[int, list[tuple[int, Attempt]]]:
        """(number, attempt) of each of these deliveries, in order."""
        columns = self._attempts.c
        query = (
            sa.select(self._attempts)
            .where(columns.delivery.in_(seqs))
            .order_by(columns.delivery, columns.number)
        )
        found: dict[int, list[tuple[int, Attempt]]] = {}
        with self._store.reading() as connection:
            for delivery, number, *words in connection.execute(query):
                found.setdefault(delivery, []).append((number, Attempt(*words)))
        return found

    def places(self, webhook: str | None = None) -> dict[str, int]:
        """Offsets of webhooks (or one) with a backlog: events after them are not enqueued yet.

        All others are enqueued up to the follower's offset.
        """
        query = sa.select(self._backlogs)
        if webhook is not None:
            query = query.where(self._backlogs.c.webhook == webhook)
        with self._store.reading() as connection:
            return dict(connection.execute(query).tuples().all())

    def open_count(self) -> int:
        """The number of open deliveries."""
        statement = "SELECT count(*) FROM deliveries WHERE status = 'pending'"
        return int(self._store.query(statement)[0][0])

    # --- helpers ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A write transaction, serialised: all observers see the same order."""
        with self._store.writing() as connection:
            if self._store.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def _check(self, connection: sa.Connection, lease: Lease) -> None:
        columns = self._leases.c
        query = sa.select(columns.epoch).where(columns.name == lease.name)
        if self._store.dialect == "postgresql":
            query = query.with_for_update(read=True)
        if connection.execute(query).scalar() != lease.epoch:
            raise LeaseLost(f"another holder took the lease {lease.name}")

    def _move(self, connection: sa.Connection, name: str, turn: DeliveryBatch) -> None:
        columns = self._tracking.c
        moving = self._tracking.update().where(columns.follower == name, columns.position == turn.start)
        place: dict[str, Any] = {"position": turn.end, "digest": None, "mac": None}
        if turn.seal:
            place |= {"digest": turn.seal.digest, "mac": turn.seal.mac}
        if connection.execute(moving.values(place)).rowcount == 1:
            return
        query = sa.select(columns.position).where(columns.follower == name)
        if turn.start or connection.execute(query).scalar() is not None:
            raise StaleOffset(f"{name} is not at {turn.start} any more")
        connection.execute(self._tracking.insert().values(follower=name, **place))

    def _note(self, connection: sa.Connection, notes: Sequence[AttemptNote], now_us: int) -> None:
        changes, attempts = [], []
        for delivery, attempt, (status, due_us) in notes:
            number = delivery.attempts + 1
            finished_us = None if status == "pending" else now_us
            changes.append((status, number, delivery.tries + 1, due_us, finished_us, delivery.seq))
            attempts.append((delivery.seq, number, *attempt[:4]))
        self._many(connection, _NOTE, changes)
        self._many(connection, _ATTEMPT, attempts)

    def _cancel(self, connection: sa.Connection, webhook: str, now_us: int) -> None:
        columns = self._table.c
        mine = self._table.update().where(columns.webhook == webhook, columns.status == "pending")
        connection.execute(mine.values(status="cancelled", due_us=None, finished_us=now_us))

    def _place(self, connection: sa.Connection, places: dict[str, int | None]) -> None:
        held = [(webhook, place) for webhook, place in places.items() if place is not None]
        self._many(connection, _PLACE, held)
        ended = [webhook for webhook, place in places.items() if place is None]
        if ended:
            table = self._backlogs
            connection.execute(table.delete().where(table.c.webhook.in_(ended)))

    def _make_due(
        self, connection: sa.Connection, pairs: Iterable[tuple[str, str]], now_us: int
    ) -> list[Delivery]:
        wanted, due = sorted(pairs), []
        for start in range(0, len(wanted), _PAIRS_MAX):
            part = wanted[start : start + _PAIRS_MAX]
            statement = _FIRST.replace("{pairs}", ", ".join(["(?, ?)"] * len(part)))
            values = (now_us, *(word for pair in part for word in pair))
            rows = connection.exec_driver_sql(self._marked(statement), values)
            due += [Delivery(*row) for row in rows]
        return sorted(due)

    def _many(self, connection: sa.Connection, statement: str, rows: list[Any]) -> None:
        if rows:
            connection.exec_driver_sql(self._marked(statement), rows)

    def _marked(self, statement: str) -> str:
        return statement if self._store.dialect == "sqlite" else statement.replace("?", "%s")
