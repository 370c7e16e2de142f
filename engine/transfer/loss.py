"""`journal accept-loss`: continuing a journal that lost facts.

The journal itself is not changed: its current facts count. Data derived from lost facts, beyond the last
common position, is set back in one transaction with the removal of the mark:

    offsets of followers   restart there: commands are idempotent, so nothing is done twice
    backlogs of webhooks   likewise; pending deliveries of events beyond it are cancelled
    seals, tree            those beyond it are deleted
    leases                 jump to epochs never used
    snapshots              all are deleted and recreated

The caller empties the views first, which are in another database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.journal.damage import WENT_BACK, Mark
from engine.journal.datastore import Datastore
from engine.kernel import wall
from engine.kernel.errors import BadSettings
from engine.kernel.reasons import check_reason
from engine.registers import acts
from engine.registers.operations import Operations, without_triggers

_EPOCHS_APART: Final = 1_000_000
"""Gap between epochs, so that a holder of a lost epoch cannot be mistaken for a new one."""


def mark_of(datastore: Datastore) -> Mark:
    """The mark of a journal that went back. Raises BadSettings without one."""
    datastore.damage.refresh()
    mark = datastore.damage.mark
    if mark is None or mark.code != WENT_BACK:
        raise BadSettings("nothing is to be accepted: this journal is not marked as one that went back")
    return mark


def accept(
    datastore: Datastore,
    operations: Operations,
    mark: Mark,
    *,
    actor: str,
    reason: str,
) -> Mapping[str, int]:
    """Sets back everything beyond the mark's position, and removes the mark; counts by kind.

    Raises Refused `invalid_param` for an invalid reason.
    """
    check_reason(reason)
    common = mark.position or 0
    done: dict[str, int] = {}
    tables = datastore.tables

    def run(what: str, statement: Any) -> None:
        done[what] = connection.execute(statement).rowcount

    with datastore.store.writing() as connection:
        places = tables.tracking
        unsealed = {"position": common, "digest": None, "mac": None}
        run("places", places.update().where(places.c.position > common).values(unsealed))
        backlogs = operations.webhook_backlogs
        run("backlogs", backlogs.update().where(backlogs.c.position > common).values(position=common))
        sent = operations.deliveries
        ended = {"status": "cancelled", "due_us": None, "finished_us": wall.now_us()}
        is_beyond = (sent.c.event_offset > common, sent.c.status == "pending")
        run("deliveries", sent.update().where(*is_beyond).values(ended))
        seals = operations.seals
        with without_triggers(connection, seals.name):
            run("seals", seals.delete().where(seals.c.size > common))
        connection.execute(operations.seal_nodes.delete())
        run("snapshots", tables.snapshots.delete())
        epochs = {"holder": None, "epoch": tables.leases.c.epoch + _EPOCHS_APART}
        connection.execute(tables.leases.update().values(epochs))
        acts.note(
            connection,
            "loss.accepted",
            actor=actor,
            reason=reason,
            context={"common_position": common, "evidence": mark.text, **done},
        )
        datastore.damage.accept_loss(connection)
    datastore.damage.refresh()
    return done
