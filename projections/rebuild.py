"""Rebuilds views beside the live ones, compares both, and swaps them; or only compares.

    folding -> catching up -> comparing, and indexing beside it -> swapping

Readers use the live tables until the swap, which is one transaction, and then the new ones. A process
that dies before it leaves unused tables, which the next rebuild drops.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from engine.journal.journal import Journal
from engine.journal.store import allow_time
from engine.journal.witness import Point, SealedPoint, judge
from engine.kernel.errors import EngineError, NothingKept, Unavailable, Unrecordable, ViewsDamaged
from engine.kernel.limits import (
    REBUILD_ALONE_FACTS,
    REBUILD_LATE_ROWS,
    REBUILD_PAGE_FACTS,
    REBUILD_REPORT_S,
    REBUILD_TRIES_MAX,
    VIEW_PAGE_FACTS,
)
from engine.kernel.wall import now_us
from projections import checkpoints, claim, jobs, parts
from projections.comparing import compare, explain, snapshot
from projections.database import CHECKPOINTS, KEPT, NAME, Views
from projections.folding import CannotWrite
from projections.jobs import Findings, Job, JobKind, Phase
from projections.quarantine import QUARANTINE
from projections.shadow import GONE, OLD, Shadow, packed_faults, throw_away, unpacked_faults
from projections.view import View

ReportProgress = Callable[[Job], None]


class _Live(NamedTuple):
    """The offset of a live view. `is_whole`: its tables are readable, and complete up to `reached`."""

    shape: str
    reached: int
    is_whole: bool
    digest: bytes
    mac: bytes


class RebuildRequest(NamedTuple):
    """A job for the rebuild, with its views.

    `rebuild` replaces them by new ones, `verify` reports the differences, and `rollback` restores,
    caught up, the previous tables of a rebuild (`keeps_old`). `number` is that of a requested job, 0 for
    a new one.
    """

    kind: JobKind
    names: Sequence[str]
    keeps_old: bool = False
    number: int = 0
    page: int = REBUILD_PAGE_FACTS
    processes: int = 1


def run(
    journal: Journal, views: Views, wanted: RebuildRequest, report: ReportProgress = lambda _: None
) -> Job:
    """Runs a job, and returns its result. If it raises, nothing has changed.

    Raises RebuildRunning; NothingKept, if a rollback finds no previous tables of our shape;
    JournalDamaged; Unavailable.
    """
    with claim.alone(views.store):
        try:
            return _run(journal, views, wanted, report)
        except ViewsDamaged as error:
            if wanted.kind != "rebuild":
                raise
            views.make_again(str(error))  # all of them; the keeper of the live views fills them
            return _run(journal, views, wanted._replace(number=0), report)


def _run(journal: Journal, views: Views, wanted: RebuildRequest, report: ReportProgress) -> Job:
    selected = [views.views[name] for name in dict.fromkeys(wanted.names)]
    # A verification compares the existing rows, even those without a valid checkpoint.
    (checkpoints.check if wanted.kind == "verify" else checkpoints.tend)(journal, views)
    names = [view.name for view in selected]
    job = jobs.begin(views, wanted.kind, names, keeps_old=wanted.keeps_old, number=wanted.number)
    rebuild = _Rebuild(journal, views, wanted, job, report)
    try:
        throw_away(views, selected)
        if wanted.kind == "rollback":
            for view in selected:
                rebuild.bring_back(view)
        else:
            rebuild.make_again()
    except BaseException as error:
        rebuild.fail(error)
        raise
    return rebuild.finish()


class _Rebuild:
    """One run."""

    def __init__(
        self,
        journal: Journal,
        views: Views,
        wanted: RebuildRequest,
        job: Job,
        report: ReportProgress,
    ) -> None:
        self._journal = journal
        self._views = views
        self._selected = tuple(views.views[name] for name in job.names)
        self._wanted = wanted
        self._job = job
        self._report = report
        self._shown_s = 0.0

    # --- the whole --------------------------------------------------------------------------------

    def make_again(self) -> None:
        """Rebuilds or verifies."""
        shadow = Shadow(self._journal, self._views, self._selected, str(self._job.number))
        live = self._live()
        whole = [view for view in self._selected if live[view.name].is_whole]
        target = max((live[view.name].reached for view in whole), default=self._journal.head)
        self._show("folding", target=target, reached=0)
        shadow.create()
        self._fold_all(shadow, target)
        is_to_stay = self._job.kind == "rebuild"
        findings = self._compare(shadow, whole, also=shadow.index if is_to_stay else None)
        self._job = self._job._replace(findings=msgspec.json.encode(findings))
        if is_to_stay:
            put_aside = OLD if self._job.keeps_old else GONE
            self._swap(shadow, put_aside)

    def bring_back(self, view: View) -> None:
        """Rolls one view back."""
        rows = self._views.query(
            "SELECT shape, reached, faults, digest, mac FROM view_kept WHERE view = ?", (view.name,)
        )
        if not rows:
            raise NothingKept(f"no former tables of {view.name} are kept", view=view.name)
        shape, reached, faults, digest, mac = rows[0]
        if shape != self._views.shapes[view.name]:
            raise NothingKept(
                f"the former tables of {view.name} are of another release, which can bring them back",
                view=view.name,
            )

        kept = Point(reached, bytes(digest))
        there = self._journal.datastore.damage.digest_at(reached)
        if judge(self._journal.witness, NAME, kept, bytes(mac), there) != "good":
            raise NothingKept(
                f"the former tables of {view.name} are not of this journal as it is", view=view.name
            )

        def note(connection: sa.Connection, shadow: Shadow, end: int) -> None:
            packed = packed_faults(list(shadow.faults.values()))
            _, *seal = self._sealed(end)
            KEPT.write(connection, [(view.name, shape, end, packed, *seal)])

        shadow = Shadow(self._journal, self._views, [view], OLD, note)
        shadow.offset, shadow.faults = reached, unpacked_faults(bytes(faults))
        self._swap(shadow, OLD)

    def finish(self) -> Job:
        """Stores success. Clean-up can come later."""
        with contextlib.suppress(EngineError):
            throw_away(self._views, self._selected)
        self._job = self._job._replace(state="done", phase="", ended_us=now_us())
        jobs.update(self._views, self._job)
        self._report(self._job)
        return self._job

    def fail(self, error: BaseException) -> None:
        """Stores the reason of failure, if possible."""
        code = getattr(error, "code", type(error).__name__)
        text = f"{code}: {error}" if isinstance(error, EngineError) else code
        self._job = self._job._replace(state="failed", error=text, ended_us=now_us())
        with contextlib.suppress(EngineError):  # if the database has failed, the next job detects it
            throw_away(self._views, self._selected)
            jobs.update(self._views, self._job)

    # --- folding ----------------------------------------------------------------------------------

    def _fold_all(self, shadow: Shadow, target: int) -> None:
        """Folds from the first fact to `target`, in several processes if worthwhile."""
        names = [view.name for view in self._selected]
        share = parts.Share(names, self._job.number, target, self._wanted.page, REBUILD_LATE_ROWS)
        if target > REBUILD_ALONE_FACTS:
            share = msgspec.structs.replace(share, parts=self._wanted.processes)
        show = partial(self._show, "folding")
        try:
            faults = parts.fold_all(self._journal, self._views, self._selected, share, show)
        except Unrecordable:  # only immediately written rows reveal the bad fact
            throw_away(self._views, self._selected)
            shadow.create()
            share = msgspec.structs.replace(share, late=0)
            faults = parts.fold_all(self._journal, self._views, self._selected, share, show)
        shadow.faults |= faults
        shadow.offset = target
        self._show("folding", reached=target, is_due=True)

    def _catch_up(self, shadow: Shadow) -> None:
        """Catches up with the live views, or nearly, by its own pages.

        Up to the journal's head if no process keeps the live views.
        """
        while True:
            goal = self._goal(shadow)
            if goal - shadow.offset <= VIEW_PAGE_FACTS:
                return
            end = min(shadow.offset + self._wanted.page, goal)
            shadow.advance(self._journal.read(shadow.offset, end - shadow.offset), end)
            self._show("catching up", reached=shadow.offset, target=goal)

    def _goal(self, shadow: Shadow) -> int:
        live, head = self._live(), self._journal.head
        return max(shadow.offset, *(min(live[view.name].reached, head) for view in shadow.selected))

    def _close_up(self, connection: sa.Connection, shadow: Shadow, goal: int) -> bool:
        """Inside a write transaction, which stops the live views: folds the last facts before `goal`."""
        if goal - shadow.offset > VIEW_PAGE_FACTS:
            return False
        if goal > shadow.offset:
            shadow.advance_inside(connection, self._journal.read(shadow.offset, goal - shadow.offset))
        return True

    def _met(self, shadow: Shadow, then: Callable[[sa.Connection], None] = lambda _: None) -> None:
        """Brings the shadow to the live views' offset, and calls `then` at that moment."""
        for _ in range(REBUILD_TRIES_MAX):
            self._catch_up(shadow)
            try:
                with self._views.writing() as connection:
                    if self._close_up(connection, shadow, self._goal(shadow)):
                        then(connection)
                        return
            except CannotWrite:  # a separate page finds the bad fact
                end = self._goal(shadow)
                shadow.states.clear()
                shadow.advance(self._journal.read(shadow.offset, end - shadow.offset), end)
        raise Unavailable("the live views move faster than they can be followed")

    # --- comparing --------------------------------------------------------------------------------

    def _compare(
        self, shadow: Shadow, whole: Sequence[View], also: Callable[[], None] | None
    ) -> Findings:
        """Compares both at the same offset and moment; of `whole` those that have reached it.

        `also` runs in parallel, since comparing only reads.
        """
        with ThreadPoolExecutor(1) as beside:
            for _ in range(REBUILD_TRIES_MAX):
                self._met(shadow)
                self._show("comparing", reached=shadow.offset, target=shadow.offset, is_due=True)
                with snapshot(self._views) as connection:
                    allow_time(connection)  # it looks at whole tables
                    live = self._live(connection)
                    if any(live[view.name].reached > shadow.offset for view in whole):
                        continue  # they moved in between
                    there = [view for view in whole if live[view.name].reached == shadow.offset]
                    done = beside.submit(also) if also else None
                    compared = compare(connection, shadow, there)
                # Outside the snapshot: PostgreSQL ends idle sessions in a transaction.
                if done:
                    done.result()
                return explain(self._journal, compared)
        raise Unavailable("the live views move faster than they can be compared")

    # --- changing places --------------------------------------------------------------------------

    def _swap(self, shadow: Shadow, put_aside: str) -> None:
        self._show("swapping", is_due=True)
        # no process keeps the live views
        if self._journal.head - self._goal(shadow) > REBUILD_PAGE_FACTS:
            self._catch_up_to_end(shadow)
        self._met(shadow, partial(self._change_places, shadow, put_aside))
        self._job = self._job._replace(reached=shadow.offset, target=shadow.offset)

    def _catch_up_to_end(self, shadow: Shadow) -> None:
        head = self._journal.head
        while shadow.offset < head:
            end = min(shadow.offset + self._wanted.page, head)
            shadow.advance(self._journal.read(shadow.offset, end - shadow.offset), end)
            self._show("catching up", reached=shadow.offset, target=head)

    def _change_places(self, shadow: Shadow, put_aside: str, connection: sa.Connection) -> None:
        live, sealed = self._live(connection), self._sealed(shadow.offset)
        shadow.make_room(connection)
        kept = []
        for view in shadow.selected:
            columns = ", ".join(QUARANTINE.columns)
            rows = connection.execute(
                sa.text(f"SELECT {columns} FROM view_quarantine WHERE view = :view"), {"view": view.name}
            )
            faults = packed_faults([tuple(row) for row in rows])
            one = live[view.name]
            kept.append((view.name, one.shape, one.reached, faults, one.digest, one.mac))
        shadow.put_in_place(connection, put_aside)
        KEPT.remove(connection, [view.name for view in shadow.selected])
        if put_aside == OLD:
            KEPT.write(connection, kept)
        CHECKPOINTS.write(
            connection,
            [
                (view.name, self._views.shapes[view.name], sealed.offset, 0, sealed.digest, sealed.mac)
                for view in shadow.selected
            ],
        )

    # --- looking and showing ----------------------------------------------------------------------

    def _live(self, connection: sa.Connection | None = None) -> dict[str, _Live]:
        statement = "SELECT view, shape, reached, rebuilt_to, digest, mac FROM view_checkpoints"
        rows = (
            [tuple(row) for row in connection.exec_driver_sql(statement)]
            if connection is not None
            else self._views.query(statement)
        )
        found, head = {}, self._journal.head
        for view, shape, reached, rebuilt_to, digest, mac in rows:
            is_whole = self._views.shapes.get(view) == shape and max(1, rebuilt_to) <= reached <= head
            found[view] = _Live(shape, reached, is_whole, bytes(digest), bytes(mac))
        return found

    def _sealed(self, offset: int) -> SealedPoint:
        return self._journal.witness.sealed(NAME, self._journal.point(offset))

    def _show(
        self,
        phase: Phase,
        reached: int | None = None,
        target: int | None = None,
        *,
        is_due: bool = False,
    ) -> None:
        """Reports progress: at once here, to other processes at intervals."""
        is_new = phase != self._job.phase
        self._job = self._job._replace(
            phase=phase,
            reached=self._job.reached if reached is None else reached,
            target=self._job.target if target is None else target,
        )
        self._report(self._job)
        if is_new or is_due or time.monotonic() - self._shown_s > REBUILD_REPORT_S:
            self._shown_s = time.monotonic()
            with contextlib.suppress(Unavailable):  # a slow disk: the next report will do
                jobs.update(self._views, self._job)
