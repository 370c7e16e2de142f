"""Folds the journal into the views, page by page: rows, checkpoints and quarantine in one transaction.

Views at the same offset form a *lane*, fed from the same page and folded states. A new or emptied view
starts its own lane at 0, catches up beside the others and joins them. Tables of another shape are left
to `rebuild`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.journal.journal import Journal
from engine.journal.witness import START, Point, SealedPoint, thinned
from engine.kernel.errors import JournalWentBack, StaleOffset, Unrecordable, ViewsDamaged
from engine.kernel.fact import Recorded
from engine.kernel.limits import SNAPSHOT_EVERY, STATES_CACHED_MAX, VIEW_PAGE_FACTS
from projections import checkpoints, folds
from projections.database import FOLDS, META, NAME, Views
from projections.folding import CannotWrite, Page, Past, Write, advance
from projections.folds import Folded
from projections.quarantine import QUARANTINE, release_one
from projections.tables import Row
from projections.view import View


@dataclass
class _Lane:
    """Views at one offset, and the states of streams there (least recently used first)."""

    at: Point
    views: list[View]
    states: dict[str, Folded[Any]] = field(default_factory=dict)

    @property
    def offset(self) -> int:
        """The lane's offset."""
        return self.at.offset


class Runner:
    """Keeps `views` up to date with `journal`. Not thread-safe; any number of processes may run one."""

    def __init__(self, journal: Journal, views: Views, *, page: int = VIEW_PAGE_FACTS) -> None:
        self._journal = journal
        self._views = views
        self._past = Past(journal, views)
        self._page = page
        self._lanes: list[_Lane] = []
        self._quarantined: set[tuple[str, str]] = set()
        self._trail: list[Point] = []
        self.is_full = False
        """Whether a page of the last run was full, so that more is waiting."""

    def run_once(self) -> bool:
        """Moves every lane by at most a page; False if all are up to date.

        Raises Unavailable, JournalDamaged for unreadable facts, JournalWentBack if the views have seen
        facts now missing; then no lane has moved.
        """
        if not self._lanes:
            self._start()
        has_moved = self.is_full = False
        for lane in list(self._lanes):
            try:
                has_moved |= self._advance(lane)
            except StaleOffset:  # another runner did this page, or a view was emptied
                self._lanes = []
                return True
            except ViewsDamaged:  # they start anew
                self._lanes = []
                raise
        self._merge()
        if not has_moved and self._were_moved():
            self._lanes = []
            return True
        return has_moved

    def _were_moved(self) -> bool:
        """Whether the views are at other offsets than this runner left: emptied, or another file."""
        kept = self._views.checkpoints()
        return any(
            kept.get(view.name, SealedPoint(0, b"", b"")).offset != lane.offset
            for lane in self._lanes
            for view in lane.views
        )

    step = run_once

    def catch_up(self, report: Callable[[int, int], None] | None = None) -> int:
        """Runs until every view has reached the journal's current head, which it returns.

        `report` is called with (least offset of a view, head) after each page.
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

    # --- lanes ------------------------------------------------------------------------------------

    def _start(self) -> None:
        checkpoints.tend(self._journal, self._views)
        places, head = self._views.checkpoints(), self._journal.head
        lanes: dict[Point, _Lane] = {}
        for name, place in places.items():
            at = place.point if place.offset else START
            lanes.setdefault(at, _Lane(at, [])).views.append(self._views.views[name])
        if START in lanes:  # emptied, or new beside an older journal
            self._views.expect(head)
        self._lanes = sorted(lanes.values(), key=lambda lane: -lane.offset)
        self._trail = checkpoints.trail_of(self._views)
        rows = self._views.query("SELECT view, stream FROM view_quarantine")
        self._quarantined = set(rows)

    def _merge(self) -> None:
        """Joins lanes at the same offset."""
        merged: dict[int, _Lane] = {}
        for lane in self._lanes:
            if lane.offset in merged:
                merged[lane.offset].views += lane.views
            else:
                merged[lane.offset] = lane
        self._lanes = list(merged.values())

    def _room(self, lane: _Lane) -> int:
        """Facts until the next lane ahead, where this one must stop to join; at most a page."""
        ahead = [other.offset - lane.offset for other in self._lanes if other.offset > lane.offset]
        return min([self._page, *ahead])

    def _advance(self, lane: _Lane) -> bool:
        room = self._room(lane)
        facts, digests = self._read(lane, room)
        self.is_full |= len(facts) == room
        if not facts:
            return False

        def fold(facts: Sequence[Recorded], blamed: Sequence[CannotWrite]) -> Page:
            page = Page(lane.views, self._quarantined)
            page.fold(facts, lane.states, self._past.load, blamed)
            return page

        def write(page: Page, facts: Sequence[Recorded]) -> None:
            self._write(lane, page, Point(facts[-1].offset, digests[len(facts) - 1]), facts)

        page, facts = advance(facts, fold, write)
        lane.at = Point(facts[-1].offset, digests[len(facts) - 1])
        self._keep(lane, page)
        return True

    def _read(self, lane: _Lane, room: int) -> tuple[Sequence[Recorded], Sequence[bytes]]:
        """The next facts after the lane's point."""
        try:
            return self._journal.page(lane.at, room)
        except JournalWentBack:
            self._lanes = []
            checkpoints.accuse(self._journal, self._views, lane.at)
            raise

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, lane: _Lane, page: Page, end: Point, facts: Sequence[Recorded]) -> None:
        """Writes a page in one transaction. Raises StaleOffset, CannotWrite."""
        writes = page.rendered()
        try:
            self._write_all(lane, page, end, writes)
        except Unrecordable as error:  # e.g. a NUL, which PostgreSQL's text cannot hold
            raise CannotWrite(page.views_of(facts[0]), error) from error

    def _write_all(self, lane: _Lane, page: Page, end: Point, writes: Sequence[Write]) -> None:
        sealed = self._journal.witness.sealed(NAME, end)
        with self._views.writing() as connection:
            self._views.move(connection, [view.name for view in lane.views], lane.offset, sealed)
            waiting = connection.exec_driver_sql("SELECT view, stream FROM view_quarantine")
            if set(waiting.tuples()) != self._quarantined:
                raise StaleOffset("a stream has come into quarantine, or out of it, meanwhile")
            for write in writes:
                write.table.write(connection, write.upserts)
                write.table.remove(connection, write.deletes)
                write.table.add(connection, write.inserts)
            QUARANTINE.write(connection, list(page.faults.values()))
            FOLDS.write(connection, self._snapshots(page))
            if end > max(self._trail, default=START):
                self._trail = thinned([*self._trail, end])
                META.write(connection, [checkpoints.packed(self._trail)])

    def _snapshots(self, page: Page) -> list[Row]:
        """States of streams that have grown past another `SNAPSHOT_EVERY` facts."""
        return [
            (stream, folds.stored_shape(stream), after.version, self._journal.codec.pack_state(after))
            for stream, after in page.states.items()
            if after.version // SNAPSHOT_EVERY > page.starts[stream] // SNAPSHOT_EVERY
        ]

    def _keep(self, lane: _Lane, page: Page) -> None:
        """Caches the states after a page within a bound; finished ones are dropped."""
        self._quarantined |= page.faults.keys()
        folds.keep_states(lane.states, page.states, most=STATES_CACHED_MAX)

    # --- quarantine -------------------------------------------------------------------------------

    def retry(self, name: str, stream: str) -> bool:
        """Folds a quarantined stream into one view again; True if it was released.

        Raises KeyError for an unknown view, StaleOffset if the view moves meanwhile.
        """
        view, place = (
            self._views.views[name],
            self._views.checkpoints().get(name, SealedPoint(0, b"", b"")),
        )
        offset = place.offset
        self._lanes = []  # they know of the quarantine that ends here
        page = Page([view], set())
        facts = [fact for fact in self._journal.stream(stream) if fact.offset <= offset]
        page.fold(facts, {}, self._past.load)
        try:
            writes = page.rendered()
        except CannotWrite:
            return False
        if page.faults:
            return False
        with self._views.writing() as connection:
            self._views.move(connection, [name], offset, place)
            for write in writes:  # rows from before the bad fact exist already
                write.table.write(connection, [*write.upserts, *write.inserts])
                write.table.remove(connection, write.deletes)
            release_one(connection, name, stream, offset)
        return True
