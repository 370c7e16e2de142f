"""The audit that `serve` has run beside it: digests, slowly, to the end, and again from the beginning.

Its place is a word of the journal's meta table, with the digest that it stands on. What facts mean is
for `order-engine audit`: this one looks for bytes that changed, and keeps no states.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import sqlalchemy as sa

from engine.audit.audit import Finding
from engine.audit.auditing import Scan
from engine.followers.acting import Breathe, Faults, Timer
from engine.journal.datastore import Datastore
from engine.kernel import wall
from engine.kernel.limits import AUDIT_PAUSE_S, AUDIT_SAVE_S, AUDIT_STEP_FACTS, AUDIT_STEP_S
from engine.kernel.meters import Sample, Source

NAME: Final = "audit"
KEY: Final = "audited"
"""The meta word that holds its place."""


class Place(msgspec.Struct, frozen=True):
    """How far it has come: `position` in this round, and its digest; `rounds` that came to an end."""

    position: int = 0
    digest: str = ""
    rounds: int = 0
    ended_us: int | None = None


class BackgroundAudit:
    """The acting part of the follower (see `acting.Acting`)."""

    def __init__(self, datastore: Datastore, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.faults = Faults(NAME)
        self._datastore = datastore
        self._pause = Timer(monotonic, AUDIT_STEP_S)
        self._saving = Timer(monotonic, AUDIT_SAVE_S)
        self._saving.restart()
        self._place = read_place(datastore)
        self._scan = Scan(datastore, self._place.position, self._place.digest)

    @property
    def offset(self) -> int:
        """The last position looked at."""
        return self._scan.position

    def turn(self, breathe: Breathe) -> float:
        """A few facts, if it is time. See `acting.Acting`."""
        if not self._pause.is_due:
            return self._pause.rest_s
        breathe()
        self._pause.restart()
        is_over = self._scan.step(AUDIT_STEP_FACTS)
        if self._scan.findings:
            self._tell(self._scan.findings[0])
        if is_over:
            self._begin_again()
        elif self._saving.is_due:
            self._save()
        return self._pause.rest_s

    def finish(self) -> None:
        """Keeps its place."""
        self._save()

    def _tell(self, finding: Finding) -> None:
        self._datastore.damage.note(finding.position, f"{finding.check}: {finding.text}")

    def _begin_again(self) -> None:
        self._place = Place(rounds=self._place.rounds + 1, ended_us=wall.now_us())
        self._scan = Scan(self._datastore)
        self._pause.restart(AUDIT_PAUSE_S)
        self._save()

    def _save(self) -> None:
        scan, place = self._scan, self._place
        if scan.digest is not None:
            self._place = msgspec.structs.replace(
                place, position=scan.position, digest=scan.digest.hex()
            )
            _write_place(self._datastore, self._place)
        self._saving.restart()


def read_place(datastore: Datastore) -> Place:
    """Where the audit of whichever process stands. Raises Unavailable."""
    rows = datastore.store.query(
        f"SELECT value FROM {datastore.tables.meta.name} WHERE key = '{KEY}'"  # noqa: S608  ours
    )
    return msgspec.json.decode(rows[0][0], type=Place) if rows else Place()


def _write_place(datastore: Datastore, place: Place) -> None:
    meta, value = datastore.tables.meta, msgspec.json.encode(place).decode()
    with datastore.store.writing() as connection:
        done = connection.execute(sa.update(meta).where(meta.c.key == KEY).values(value=value))
        if not done.rowcount:
            connection.execute(meta.insert().values(key=KEY, value=value))


def audit_source(datastore: Datastore) -> Source:
    """For metrics: whether the journal is marked as damaged, and how far the audit has come."""

    def samples() -> Iterator[Sample]:
        datastore.damage.refresh()
        place = read_place(datastore)
        yield "journal_damaged", (), datastore.damage.mark is not None
        yield "audit_offset", (), place.position
        yield "audit_rounds", (), place.rounds

    return samples
