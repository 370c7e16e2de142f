"""Folds the journal into the views, page by page: rows, checkpoints and quarantine in one transaction.

Views that stand at the same offset form a *lane* and are fed from the same page and the same folded
states. A view that was emptied, or has a new shape, starts a lane of its own at 0, catches up beside the
others and joins them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.errors import JournalDamaged, StaleOffset, Unrecordable
from engine.fact import Recorded
from engine.journal import Journal
from engine.limits import FAULT_CHARACTERS_MAX, SNAPSHOT_EVERY, STATES_CACHED_MAX, VIEW_PAGE_FACTS
from projections import folds
from projections.database import FOLDS, QUARANTINE, Views, quarantine_key
from projections.folds import PREFIXES, Change, Folded
from projections.tables import Row, Table
from projections.view import PageRows, View


class _CannotWrite(Exception):
    """A row cannot be made, or not be stored. Which fact is to blame, a smaller page will tell."""

    def __init__(self, views: Sequence[View], error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.views = views


@dataclass
class _Lane:
    """Views at one offset, and states of streams as they are there (the longest untouched first)."""

    offset: int
    views: list[View]
    states: dict[str, Folded[Any]] = field(default_factory=dict)


class _Write(NamedTuple):
    """What a page does to one table: rows by key, keys that go, rows that are new."""

    table: Table
    kept: list[Row]
    gone: list[Any]
    added: list[Row]


class _Page:
    """What a page of facts comes to, before it is written: rows, states after it, faults found in it."""

    def __init__(self, views: Sequence[View], quarantined: Set[tuple[str, str]]) -> None:
        bodies: dict[int, tuple[object, bytes]] = {}
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
        """Views that a stream feeds, but for those that have it in quarantine."""
        stream = recorded.stream
        views = self._fed.get(stream[:3], ())
        if not self._quarantined and not self.faults:
            return views
        waiting = (self._quarantined, self.faults)
        return tuple(v for v in views if all((v.name, stream) not in known for known in waiting))

    def quarantine(
        self, view: View, recorded: Recorded, known: Folded[Any] | None, error: Exception
    ) -> None:
        """Rows of this stream in `view` wait from this fact on."""
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

    def rendered(self) -> list[_Write]:
        """All rows of the page. Raises _CannotWrite."""
        writes = []
        for view in self._views:
            page = self.rows[view.name]
            for table in view.tables:
                write = _Write(table, [], [], page.added[table])
                try:
                    for key, row in page.kept[table].items():
                        if row is None:
                            write.gone.append(key)
                        else:
                            write.kept.append(row())
                except Exception as error:
                    raise _CannotWrite([view], error) from error
                writes.append(write)
        return writes


def _account_of(recorded: Recorded, known: Folded[Any] | None) -> str:
    """The account that a stream belongs to, as far as it can be told; "" for none."""
    if recorded.stream.startswith("acc"):
        return recorded.stream
    state = known.state if known else None
    for owner in (recorded.fact, state, getattr(state, "terms", None)):
        account = getattr(owner, "account", None)
        if isinstance(account, str):
            return account
    return ""


class Runner:
    """Keeps `views` up with `journal`. Used by one thread; any number of processes may run one."""

    def __init__(self, journal: Journal, views: Views, *, page: int = VIEW_PAGE_FACTS) -> None:
        self._journal = journal
        self._views = views
        self._page = page
        self._lanes: list[_Lane] = []
        self._quarantined: set[tuple[str, str]] = set()

    def run_once(self) -> bool:
        """Moves every lane by at most a page; False if there was nothing to do.

        Raises Unavailable, or JournalDamaged for facts that cannot be read: then nothing has moved.
        """
        if not self._lanes:
            self._start()
        has_moved = False
        for lane in list(self._lanes):
            try:
                has_moved |= self._advance(lane)
            except StaleOffset:  # another runner did this page, or a view was emptied
                self._lanes = []
                return True
        self._merge()
        return has_moved

    step = run_once

    def catch_up(self, report: Callable[[int, int], None] | None = None) -> int:
        """Runs until every view shows the journal's present head, which it returns.

        `report` is called with (offset that the last view has come to, head) after each page.
        """
        self._start()
        head = self._journal.head
        while (reached := min(self._views.offsets().values(), default=head)) < head:
            self.run_once()
            if report:
                report(reached, head)
        if report:
            report(head, head)
        return head

    def rebuild(self, name: str, report: Callable[[int, int], None] | None = None) -> int:
        """Empties a view and folds it from the first fact to the present head. Raises KeyError."""
        self._views.reset(name)
        return self.catch_up(report)

    # --- lanes ------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._views.belong_to(self._journal.meta["journal_id"])
        offsets, head = self._views.offsets(), self._journal.head
        lanes: dict[int, _Lane] = {}
        for name, offset in offsets.items():
            if offset > head:  # the journal was put back to an earlier state
                self._views.reset(name)
            start = offset if offset <= head else 0
            lanes.setdefault(start, _Lane(start, [])).views.append(self._views.views[name])
        if 0 in lanes:  # emptied, or new beside a journal that is not
            self._views.expect(head)
        self._lanes = sorted(lanes.values(), key=lambda lane: -lane.offset)
        rows = self._views.query("SELECT view, stream FROM view_quarantine")
        self._quarantined = set(rows)

    def _merge(self) -> None:
        """Lanes that have met go on as one."""
        merged: dict[int, _Lane] = {}
        for lane in self._lanes:
            if lane.offset in merged:
                merged[lane.offset].views += lane.views
            else:
                merged[lane.offset] = lane
        self._lanes = list(merged.values())

    def _room(self, lane: _Lane) -> int:
        """Facts until the next lane ahead, where this one has to stop to join it; at most a page."""
        ahead = [other.offset - lane.offset for other in self._lanes if other.offset > lane.offset]
        return min([self._page, *ahead])

    def _advance(self, lane: _Lane) -> bool:
        facts = self._journal.read(lane.offset, self._room(lane))
        if not facts:
            return False
        blamed: list[_CannotWrite] = []
        while True:
            page = self._fold(lane, facts, blamed)
            try:
                self._write(lane, page, facts)
                break
            except _CannotWrite as error:
                if len(facts) > 1:
                    facts = facts[: len(facts) // 2]
                else:
                    blamed.append(error)
        lane.offset = facts[-1].offset
        self._keep(lane, page)
        return True

    # --- folding ----------------------------------------------------------------------------------

    def _fold(self, lane: _Lane, facts: Sequence[Recorded], blamed: Sequence[_CannotWrite]) -> _Page:
        """What a page of facts comes to, in memory. `blamed`: views that leave out its only fact."""
        page = _Page(lane.views, self._quarantined)
        for error in blamed:
            for view in error.views:
                page.quarantine(view, facts[0], lane.states.get(facts[0].stream), error)
        for recorded in facts:
            views = page.views_of(recorded)
            if views:
                self._fold_one(lane, page, recorded, views)
        return page

    def _fold_one(self, lane: _Lane, page: _Page, recorded: Recorded, views: Sequence[View]) -> None:
        stream = recorded.stream
        before = page.states.get(stream) or lane.states.get(stream)
        facts: Sequence[Recorded] = ()
        if (before.version if before else 0) != recorded.version - 1:
            before, facts = self._load(stream, recorded.version - 1)
        try:
            before = folds.fold_all(before, facts)
            after = folds.fold(before, recorded)
        except Exception as error:  # noqa: BLE001  (whatever a fact provokes, the others flow)
            for view in views:
                page.quarantine(view, recorded, before, error)
            return
        page.starts.setdefault(stream, recorded.version - 1)
        page.states[stream] = after
        change, kind = Change(recorded, before, after), type(recorded.fact)
        for view in views:
            if kind in view.reads:
                try:
                    view.feed(change, page.rows[view.name])
                except Exception as error:  # noqa: BLE001  (as above)
                    page.quarantine(view, recorded, after, error)

    def _load(self, stream: str, version: int) -> tuple[Folded[Any] | None, Sequence[Recorded]]:
        """A stream's stored state at `version` or before it, and its facts from there to `version`."""
        stored: Folded[Any] | None = None
        rows = self._views.query(
            "SELECT body FROM view_folds WHERE stream = ? AND shape = ? AND version <= ?",
            (stream, folds.shape_of([stream[:3]]), version),
        )
        if rows:
            with contextlib.suppress(JournalDamaged):  # the journal has the truth
                stored = folds.unpack(self._journal.codec, stream, rows[0][0])
        start = stored.version if stored else 0
        return stored, self._journal.stream(stream, after=start, version=version) if version else ()

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, lane: _Lane, page: _Page, facts: Sequence[Recorded]) -> None:
        """Writes a page in one transaction. Raises StaleOffset, _CannotWrite."""
        writes = page.rendered()
        try:
            self._write_all(lane, page, facts[-1].offset, writes)
        except Unrecordable as error:  # e.g. a NUL, which PostgreSQL has no room for in its text
            raise _CannotWrite(page.views_of(facts[0]), error) from error

    def _write_all(self, lane: _Lane, page: _Page, end: int, writes: Sequence[_Write]) -> None:
        with self._views.writing() as connection:
            self._views.move(connection, [view.name for view in lane.views], lane.offset, end)
            waiting = connection.exec_driver_sql("SELECT view, stream FROM view_quarantine")
            if set(waiting.tuples()) != self._quarantined:
                raise StaleOffset("a stream has come into quarantine, or out of it, meanwhile")
            for write in writes:
                write.table.write(connection, write.kept)
                write.table.remove(connection, write.gone)
                write.table.add(connection, write.added)
            QUARANTINE.write(connection, list(page.faults.values()))
            FOLDS.write(connection, self._snapshots(page))

    def _snapshots(self, page: _Page) -> list[Row]:
        """States of streams that have grown past another `SNAPSHOT_EVERY` facts."""
        return [
            (stream, folds.shape_of([stream[:3]]), after.version, self._journal.codec.pack_state(after))
            for stream, after in page.states.items()
            if after.version // SNAPSHOT_EVERY > page.starts[stream] // SNAPSHOT_EVERY
        ]

    def _keep(self, lane: _Lane, page: _Page) -> None:
        """Takes over what was written: the states stay in memory within a bound, those that ended go."""
        self._quarantined |= page.faults.keys()
        for stream, after in page.states.items():
            lane.states.pop(stream, None)
            if not folds.is_over(after.state):
                lane.states[stream] = after
        while len(lane.states) > STATES_CACHED_MAX:
            del lane.states[next(iter(lane.states))]

    # --- quarantine -------------------------------------------------------------------------------

    def retry(self, name: str, stream: str) -> bool:
        """Folds a quarantined stream anew into one view; True if that worked and its rows flow again.

        Raises KeyError for a view that there is not, StaleOffset if the view moves meanwhile.
        """
        view, offset = self._views.views[name], self._views.offset(name)
        self._lanes = []  # they know of the quarantine that ends here
        facts = [fact for fact in self._journal.stream(stream) if fact.offset <= offset]
        page = _Page([view], set())
        for recorded in facts:
            self._fold_one(_Lane(offset, [view]), page, recorded, [view])
        try:
            writes = page.rendered()
        except _CannotWrite:
            return False
        if page.faults:
            return False
        with self._views.writing() as connection:
            self._views.move(connection, [name], offset, offset)
            for write in writes:  # rows from before the bad fact are there already
                write.table.write(connection, [*write.kept, *write.added])
                write.table.remove(connection, write.gone)
            QUARANTINE.remove(connection, [quarantine_key(name, stream)])
        return True
