"""Going on without facts that are gone: what stood beyond the last common position is set back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.settings import Settings
from engine.installation import open_journal_datastore
from engine.journal.damage import WENT_BACK
from engine.journal.datastore import Datastore
from engine.kernel import wall
from engine.kernel.errors import BadSettings, EngineError, JournalDamaged
from engine.proof.outlets import Directory
from engine.proof.seals import Seal, note
from engine.registers.operations import define_operations
from engine.transfer import loss
from tests.support.engines.prepared import install

COMMON = 5
TABLES = define_operations()


@pytest.fixture
def datastore(journal_url: str, tmp_path: Path) -> Iterator[Datastore]:
    """An installation whose followers, webhooks and seals stand on both sides of position 5."""
    settings = Settings(data=tmp_path, journal_url=journal_url)
    install(settings)
    opened = open_journal_datastore(settings)
    words = dict.fromkeys(("webhook", "tenant", "resource", "event"), "x")
    words |= dict.fromkeys(("event_us", "created_us", "attempts", "tries"), 1)
    with opened.store.writing() as connection:
        for size in (3, 9):
            named = {"follower": f"f{size}", "position": size, "digest": b"d" * 32, "mac": b"m" * 32}
            connection.execute(opened.tables.tracking.insert().values(named))
            row = {"webhook": f"whk_{size}", "position": size}
            connection.execute(TABLES.webhook_backlogs.insert().values(row))
            row = words | {"seq": size, "event_offset": size, "status": "pending", "due_us": 1}
            connection.execute(TABLES.deliveries.insert().values(row))
            connection.execute(
                TABLES.seals.insert().values(size=size, root=b"r" * 32, note="n", at_us=1)
            )
        lease = {"name": "execution", "holder": "somebody", "epoch": 7, "beat": 1}
        connection.execute(opened.tables.leases.insert().values(lease))
    yield opened
    opened.close()


def rows(datastore: Datastore, statement: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in datastore.store.query(statement)]


def test_what_stood_beyond_is_set_back_and_the_rest_stays(datastore: Datastore) -> None:
    datastore.damage.note(COMMON, "a view has seen more", WENT_BACK)
    mark = loss.mark_of(datastore)
    done = loss.accept(datastore, TABLES, mark, actor="command line", reason="a test")
    assert done == {"places": 1, "backlogs": 1, "deliveries": 1, "seals": 1, "snapshots": 0}
    places = "SELECT follower, position, mac IS NULL FROM tracking ORDER BY follower"
    assert [(f, p, bool(m)) for f, p, m in rows(datastore, places)] == [
        ("f3", 3, False),
        ("f9", 5, True),
    ]
    assert rows(datastore, "SELECT position FROM webhook_backlogs ORDER BY position") == [(3,), (5,)]
    sent = "SELECT seq, status, due_us FROM deliveries ORDER BY seq"
    assert rows(datastore, sent) == [(3, "pending", 1), (9, "cancelled", None)]
    assert rows(datastore, "SELECT size FROM seals") == [(3,)]
    ((holder, epoch),) = rows(datastore, "SELECT holder, epoch FROM leases WHERE name = 'execution'")
    assert holder is None
    assert isinstance(epoch, int)
    assert epoch > 1_000, "no epoch that was lost is given again"
    assert datastore.damage.mark is None
    with pytest.raises(EngineError, match="append-only"), datastore.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM seals")
    with pytest.raises(BadSettings, match="nothing is to be accepted"):
        loss.mark_of(datastore)


def test_damage_is_not_accepted_so(datastore: Datastore) -> None:
    datastore.damage.note(3, "a flipped bit")
    with pytest.raises(BadSettings):
        loss.mark_of(datastore)


def test_a_seal_beyond_the_end_marks_the_journal_as_one_that_went_back(datastore: Datastore) -> None:
    error = JournalDamaged("9 facts were sealed, and the journal ends at 5", position=6, is_gone=True)
    note(datastore, error)
    mark = datastore.damage.mark
    assert mark is not None
    assert (mark.code, mark.position) == (WENT_BACK, COMMON)


def test_published_seals_beyond_it_are_put_aside(tmp_path: Path) -> None:
    """The next one must not be taken for a contradiction; what was published is not deleted."""
    from engine.proof.checkpoint import Checkpoint, Signer  # noqa: PLC0415

    signer = Signer("order-engine/aa", b"k" * 32)
    outlet = Directory(tmp_path, "order-engine/aa")
    for size in (3, 5, 9):
        body = signer.sign(Checkpoint("order-engine/aa", size, bytes([size]) * 32))
        outlet.put(Seal(size, bytes([size]) * 32, body, wall.now_us()))
    assert outlet.set_back(COMMON) == 1
    last = outlet.last()
    assert last is not None
    assert last.size == 5
    assert len([*tmp_path.glob("*.lost")]) == 1
    body = signer.sign(Checkpoint("order-engine/aa", 9, b"x" * 32))
    outlet.put(Seal(9, b"x" * 32, body, 1))
    assert outlet.set_back(0) == 3
    assert outlet.last() is None
