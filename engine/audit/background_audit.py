"""The background audit of `serve`: verifies digests slowly, to the end, and starts again.

Its position is a word of the journal's meta table, with the digest there. It only detects changed bytes
and keeps no states; `order-engine audit` also checks the meaning of facts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from engine.audit.audit import AuditFinding
from engine.audit.auditing import Scan
from engine.followers.acting import BlockedOrders, CheckCancelled, Timer
from engine.journal.datastore import Datastore
from engine.journal.store import upsert
from engine.kernel import wall
from engine.kernel.limits import AUDIT_PAUSE_S, AUDIT_SAVE_S, AUDIT_STEP_FACTS, AUDIT_STEP_S
from engine.kernel.meters import MetricsSource, Sample

NAME: Final = "audit"
KEY: Final = "audited"
"""The meta word that holds its position."""


class AuditPosition(msgspec.Struct, frozen=True):
    """The audit's progress: `position` in this round, and its digest; `rounds` completed."""

    position: int = 0
    digest: str = ""
    rounds: int = 0
    ended_us: int | None = None


class BackgroundAudit:
    """The acting part of the follower (see `acting.Acting`)."""

    def __init__(self, datastore: Datastore, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.faults = BlockedOrders(NAME)
        self._datastore = datastore
        self._pause = Timer(monotonic, AUDIT_STEP_S)
        self._saving = Timer(monotonic, AUDIT_SAVE_S)
        self._saving.restart()
        self._place = read_place(datastore)
        self._scan = Scan(datastore, self._place.position, self._place.digest)

    @property
    def offset(self) -> int:
        """The last position audited."""
        return self._scan.position

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Audits a few facts if due. See `acting.Acting`."""
        if not self._pause.is_due:
            return self._pause.due_in_s
        check_cancelled()
        self._pause.restart()
        is_over = self._scan.step(AUDIT_STEP_FACTS)
        if self._scan.findings:
            self._tell(self._scan.findings[0])
        if is_over:
            self._begin_again()
        elif self._saving.is_due:
            self._save()
        return self._pause.due_in_s

    def finish(self) -> None:
        """Saves its position."""
        self._save()

    def _tell(self, finding: AuditFinding) -> None:
        self._datastore.damage.note(finding.position, f"{finding.check}: {finding.text}")

    def _begin_again(self) -> None:
        self._place = AuditPosition(rounds=self._place.rounds + 1, ended_us=wall.now_us())
        self._scan = Scan(self._datastore)
        self._pause.restart(AUDIT_PAUSE_S)
        self._save()

    def _save(self) -> None:
        scan, place = self._scan, self._place
        if scan.digest is not None:
            self._place = msgspec.structs.replace(
                place, position=scan.position, digest=scan.digest.hex()
            )
            write_place(self._datastore, self._place)
        self._saving.restart()


def read_place(datastore: Datastore) -> AuditPosition:
    """The saved position, of any process. Raises Unavailable."""
    rows = datastore.store.query(
        f"SELECT value FROM {datastore.tables.meta.name} WHERE key = '{KEY}'"  # noqa: S608  ours
    )
    return msgspec.json.decode(rows[0][0], type=AuditPosition) if rows else AuditPosition()


def write_place(datastore: Datastore, place: AuditPosition) -> None:
    """Saves the position for every process. Raises Unavailable."""
    meta, value = datastore.tables.meta, msgspec.json.encode(place).decode()
    with datastore.store.writing() as connection:
        upsert(connection, meta, {"key": KEY, "value": value})


def audit_source(datastore: Datastore) -> MetricsSource:
    """Metrics: whether the journal is marked as damaged, and the audit's progress."""

    def samples() -> Iterator[Sample]:
        datastore.damage.refresh()
        place = read_place(datastore)
        yield "journal_damaged", (), datastore.damage.mark is not None
        yield "audit_offset", (), place.position
        yield "audit_rounds", (), place.rounds

    return samples
