"""Folding a page of facts in memory: states after it, rows, and faults.

Page     folds facts for some views, and renders their rows Past     states of streams that are not in
memory, from the journal advance  folds and writes a page, and finds the bad fact if a row cannot be made
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from engine.domain.streams import prefix_of
from engine.journal.journal import Journal
from engine.kernel.errors import JournalDamaged
from engine.kernel.fact import Recorded
from engine.kernel.limits import FAULT_CHARACTERS_MAX
from projections import folds
from projections.database import Views
from projections.folds import PREFIXES, Change, Folded
from projections.quarantine import quarantine_key
from projections.tables import Row, Table
from projections.view import PageRows, View

States = Mapping[str, Folded[Any]]
"""Stream -> its state."""
Load = Callable[[str, int], tuple[Folded[Any] | None, Sequence[Recorded]]]
"""(stream, version) -> a state at or before that version, and the facts from there."""


class CannotWrite(Exception):
    """A row cannot be made or stored. A smaller page finds the bad fact."""

    def __init__(self, views: Sequence[View], error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.views = views


class Write(NamedTuple):
    """A page's changes of one table: upserts by key, deletes, inserts."""

    table: Table
    upserts: list[Row]
    deletes: list[Any]
    inserts: list[Row]


class Page:
    """The result of a page of facts before it is written: rows, states after it, faults."""

    def __init__(self, views: Sequence[View], quarantined: Set[tuple[str, str]]) -> None:
        bodies: dict[str, tuple[object, bytes]] = {}
        self.rows = {view.name: PageRows(bodies) for view in views}
        self.states: dict[str, Folded[Any]] = {}
        self.starts: dict[str, int] = {}
        self.faults: dict[tuple[str, str], Row] = {}
        self._views = views
        self._quarantined = quarantined
        self._fed: dict[str, tuple[View, ...]] = {
            prefix: tuple(view for view in views if prefix in view.streams) for prefix in PREFIXES
        }

    def views_of(self, recorded: Recorded) -> tuple[View, ...]:
        """The views fed by a stream, except those that have it in quarantine."""
        stream = recorded.stream
        views = self._fed.get(prefix_of(stream), ())
        if not self._quarantined and not self.faults:
            return views
        waiting = (self._quarantined, self.faults)
        return tuple(v for v in views if all((v.name, stream) not in known for known in waiting))

    def fold(
        self, facts: Sequence[Recorded], states: States, load: Load, blamed: Sequence[CannotWrite] = ()
    ) -> None:
        """Folds a page of facts onto `states`. `blamed`: views that skip its only fact."""
        for error in blamed:
            for view in error.views:
                self.quarantine(view, facts[0], states.get(facts[0].stream), error)
        for recorded in facts:
            views = self.views_of(recorded)
            if views:
                self._fold_one(recorded, views, states, load)

    def _fold_one(self, recorded: Recorded, views: Sequence[View], states: States, load: Load) -> None:
        stream = recorded.stream
        before = self.states.get(stream) or states.get(stream)
        facts: Sequence[Recorded] = ()
        if (before.version if before else 0) != recorded.version - 1:
            before, facts = load(stream, recorded.version - 1)
        try:
            if facts:
                before = folds.fold_all(before, facts)
            after = folds.fold(before, recorded)
        except Exception as error:  # noqa: BLE001  (whatever a fact provokes, the others flow)
            for view in views:
                self.quarantine(view, recorded, before, error)
            return
        self.starts.setdefault(stream, recorded.version - 1)
        self.states[stream] = after
        change, kind = Change(recorded, before, after), type(recorded.fact)
        for view in views:
            if kind in view.reads:
                try:
                    view.feed(change, self.rows[view.name])
                except Exception as error:  # noqa: BLE001  (as above)
                    self.quarantine(view, recorded, after, error)

    def quarantine(
        self, view: View, recorded: Recorded, known: Folded[Any] | None, error: Exception
    ) -> None:
        """Quarantines the stream in `view` from this fact on."""
        fault = f"{type(error).__name__}: {error}"[:FAULT_CHARACTERS_MAX]
        self.faults[view.name, recorded.stream] = (
            quarantine_key(view.name, recorded.stream),
            view.name,
            recorded.stream,
            _account_of(recorded, known),
            (known.tenant if known else recorded.envelope.tenant) or "",
            recorded.offset,
            fault.replace("\0", ""),
        )

    def rendered(self) -> list[Write]:
        """All rows of the page. Call it once. Raises CannotWrite."""
        writes = []
        for view in self._views:
            page = self.rows[view.name]
            for table in view.tables:
                write = Write(table, [], [], page.inserts[table])
                try:
                    for key, row in page.upserts[table].items():
                        if row is None:
                            write.deletes.append(key)
                        else:
                            write.upserts.append(row())
                except Exception as error:
                    raise CannotWrite([view], error) from error
                writes.append(write)
            page.upserts.clear()  # its rows refer to it: both would live until a garbage collection
        return writes


def _account_of(recorded: Recorded, known: Folded[Any] | None) -> str:
    """The account of a stream, as far as known; else ""."""
    if recorded.stream.startswith("acc"):
        return recorded.stream
    state = known.state if known else None
    for owner in (recorded.fact, state, getattr(state, "terms", None)):
        account = getattr(owner, "account", None)
        if isinstance(account, str):
            return account
    return ""


class Past:
    """Past states of streams, for shards and views that start in the middle."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self._journal = journal
        self._views = views

    def load(self, stream: str, version: int) -> tuple[Folded[Any] | None, Sequence[Recorded]]:
        """A stream's stored state at or before `version`, and its facts from there to `version`."""
        stored: Folded[Any] | None = None
        rows = self._views.query(
            "SELECT body FROM view_folds WHERE stream = ? AND shape = ? AND version <= ?",
            (stream, folds.stored_shape(stream), version),
        )
        if rows:
            with contextlib.suppress(JournalDamaged):  # the journal is authoritative
                stored = folds.unpack(self._journal.codec, stream, rows[0][0])
        start = stored.version if stored else 0
        return stored, self._journal.stream(stream, after=start, version=version) if version else ()


def advance(
    facts: Sequence[Recorded],
    fold: Callable[[Sequence[Recorded], Sequence[CannotWrite]], Page],
    write: Callable[[Page, Sequence[Recorded]], None],
) -> tuple[Page, Sequence[Recorded]]:
    """Folds and writes a page; returns the written part, which is shorter if a row could not be made.

    In that case the page is halved until only the bad fact is left.
    """
    blamed: list[CannotWrite] = []
    while True:
        page = fold(facts, blamed)
        try:
            write(page, facts)
        except CannotWrite as error:
            if len(facts) > 1:
                facts = facts[: len(facts) // 2]
            else:
                blamed.append(error)
        else:
            return page, facts
