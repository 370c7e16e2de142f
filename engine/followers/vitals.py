"""Health probes of the journal and its followers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.followers.follow import Lag, Watch
from engine.journal.datastore import Datastore
from engine.journal.sqlite_store import SqliteStore
from engine.kernel.health import Finding
from engine.kernel.limits import FREE_BYTES_MIN


class JournalProbe:
    """Reads the journal's head and the followers' lags, and keeps both for readers."""

    def __init__(self, datastore: Datastore, followers: Sequence[str]) -> None:
        self._datastore = datastore
        self._watch = Watch(datastore, followers)
        self.lags: list[Lag] = []
        self.head = 0

    def findings(self) -> Iterator[Finding]:
        """Findings about unreadable or damaged journals. Raises Unavailable and the like."""
        self.lags = self._watch.poll()
        self.head = self._datastore.pages.head().position
        if mark := self._datastore.damage.mark:
            yield Finding(mark.code, f"{mark.sentence} Nothing is written.")


def disk_findings(datastore: Datastore) -> Iterator[Finding]:
    """Findings about the free disk space of a SQLite journal."""
    store = datastore.store
    if not isinstance(store, SqliteStore):
        return
    try:
        free = shutil.disk_usage(Path(store.path).parent).free
    except OSError:
        return  # missing: the journal's readers report that
    if free < FREE_BYTES_MIN:
        yield Finding("disk_low", f"{free / 1e6:.0f} MB are free where the journal is.")
