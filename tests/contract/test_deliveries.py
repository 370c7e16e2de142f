"""Deliveries: who goes first of a resource, and that finding out costs the same however many wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.config.settings import Settings
from engine.domain.attempts import Attempt, NextAttempt
from engine.installation import open_journal_datastore
from engine.journal.datastore import Datastore
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel.errors import LeaseLost, StaleOffset
from engine.kernel.process import WEBHOOKS
from engine.registers.deliveries import _FIRST, AttemptNote, Deliveries, DeliveryBatch, NewDelivery
from engine.registers.operations import define_operations

DONE, AGAIN = NextAttempt("succeeded", None), NextAttempt("pending", 9_000)


@pytest.fixture
def datastore(installed: Settings) -> Iterator[Datastore]:
    made = open_journal_datastore(installed)
    with made.store.writing() as connection:
        connection.execute(made.tables.tracking.delete())
        connection.execute(made.tables.leases.delete())
    yield made
    made.close()


@pytest.fixture
def deliveries(datastore: Datastore) -> Deliveries:
    return Deliveries(datastore.store, define_operations(), datastore.tables)


@pytest.fixture
def lease(datastore: Datastore) -> Lease:
    taken = Leases(datastore.store, datastore.tables, "me").take(WEBHOOKS)
    assert taken is not None
    return taken


def new(resource: str, offset: int = 1, webhook: str = "whk_1") -> NewDelivery:
    return NewDelivery(webhook, "acme", resource, "order.placed", offset, 1)


def attempt() -> Attempt:
    return Attempt(1, "http", 500, 1)


def test_one_of_a_resource_is_due_and_then_the_next(deliveries: Deliveries, lease: Lease) -> None:
    given = [new("ord_1", 1), new("ord_2", 2), new("ord_1", 3), new("ord_1", 3, "whk_2")]
    due = deliveries.record(lease, DeliveryBatch(0, 3, new=given), now_us=5)
    assert [(one.webhook, one.resource, one.event_offset) for one in due] == [
        ("whk_1", "ord_1", 1), ("whk_1", "ord_2", 2), ("whk_2", "ord_1", 3),
    ]  # fmt: skip
    assert deliveries.due("whk_1", 5, 10) == due[:2]
    later = deliveries.record(
        lease, DeliveryBatch(3, 3, notes=[AttemptNote(due[0], attempt(), AGAIN)]), now_us=6
    )
    assert later == []
    assert deliveries.due("whk_1", 6, 10) == [due[1]]
    assert deliveries.next_due_us("whk_1") == 5
    first = deliveries.due("whk_1", 9_000, 10)[1]
    assert (first.attempts, first.tries, first.due_us) == (1, 1, 9_000)
    (follows,) = deliveries.record(
        lease, DeliveryBatch(3, 3, notes=[AttemptNote(first, attempt(), DONE)]), now_us=7
    )
    assert (follows.resource, follows.event_offset, follows.due_us) == ("ord_1", 3, 7)
    assert [number for number, _ in deliveries.attempts_of([first.seq])[first.seq]] == [1, 2]


def test_another_holder_or_another_place_writes_nothing(deliveries: Deliveries, lease: Lease) -> None:
    deliveries.record(lease, DeliveryBatch(0, 3, new=[new("ord_1")]), now_us=5)
    with pytest.raises(StaleOffset):
        deliveries.record(lease, DeliveryBatch(0, 4, new=[new("ord_2")]), now_us=5)
    with pytest.raises(LeaseLost):
        deliveries.record(
            Lease(WEBHOOKS, lease.epoch + 1), DeliveryBatch(3, 4, new=[new("ord_2")]), now_us=5
        )
    assert deliveries.open_count() == 1


def test_what_is_begun_again_goes_first_of_its_resource(deliveries: Deliveries, lease: Lease) -> None:
    first, other = deliveries.record(
        lease, DeliveryBatch(0, 1, new=[new("ord_1"), new("ord_2")]), now_us=5
    )
    done = [AttemptNote(first, attempt(), DONE), AttemptNote(other, attempt(), DONE)]
    deliveries.record(lease, DeliveryBatch(1, 1, notes=done), now_us=6)
    assert deliveries.open_count() == 0
    again = deliveries.restart(first.seq, now_us=7)
    assert (again.seq, again.status, again.attempts, again.tries, again.due_us) == (
        first.seq, "pending", 1, 0, 7,
    )  # fmt: skip
    deliveries.record(lease, DeliveryBatch(1, 2, deleted=["whk_1"]), now_us=8)
    assert [one.status for one in deliveries.listed("acme", limit=9)] == ["succeeded", "cancelled"]


def test_places_are_written_with_what_is_put_down(deliveries: Deliveries, lease: Lease) -> None:
    deliveries.record(
        lease, DeliveryBatch(0, 9, new=[new("ord_1")], places={"whk_1": 4, "whk_2": 5}), now_us=5
    )
    assert deliveries.places() == {"whk_1": 4, "whk_2": 5}
    with pytest.raises(StaleOffset):
        deliveries.record(lease, DeliveryBatch(0, 10, places={"whk_1": 7}), now_us=5)
    deliveries.record(lease, DeliveryBatch(9, 9, places={"whk_1": 7, "whk_2": None}), now_us=5)
    assert deliveries.places() == {"whk_1": 7}
    gone = DeliveryBatch(9, 10, new=[new("ord_2", 10)], deleted=["whk_1"], places={"whk_1": None})
    assert deliveries.record(lease, gone, now_us=8) == []
    assert deliveries.open_count() == 0, "what happened just before it was deleted is not sent either"
    assert deliveries.places() == {}


def test_old_ones_are_swept_and_open_ones_are_not(deliveries: Deliveries, lease: Lease) -> None:
    due = deliveries.record(lease, DeliveryBatch(0, 1, new=[new("ord_1"), new("ord_2")]), now_us=5)
    deliveries.record(lease, DeliveryBatch(1, 1, notes=[AttemptNote(due[0], attempt(), DONE)]), now_us=6)
    assert deliveries.sweep(5) == 0
    assert deliveries.sweep(6) == 1
    assert deliveries.attempts_of([due[0].seq]) == {}
    assert deliveries.listed("acme", limit=9) == [due[1]]


def test_finding_the_first_looks_at_one_row_however_many_wait(datastore: Datastore) -> None:
    statement = _FIRST.replace("{pairs}", "(?, ?), (?, ?)")
    with datastore.store.writing() as connection:
        if datastore.store.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a small table needs no index
            rows = connection.exec_driver_sql(
                "EXPLAIN " + statement.replace("?", "%s"), (1, "a", "b", "c", "d")
            ).all()
        else:
            rows = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN " + statement, (1, "a", "b", "c", "d")
            ).all()
    plan = " ".join(str(row[-1]) for row in rows)
    if datastore.store.dialect == "postgresql":
        assert "deliveries_open" in plan
        return
    assert "deliveries_open (webhook=? AND resource=?)" in plan
    assert "deliveries_webhook" not in plan
