"""The status of the views: lag, quarantined streams, and rebuilds."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from engine.journal.journal import Journal
from engine.kernel.errors import JournalDamaged, StaleOffset, Unavailable
from engine.kernel.limits import REBUILD_TRIES_MAX, VIEW_WAIT_S
from engine.kernel.refusals import refused
from engine.kernel.wall import now_us
from projections import jobs
from projections.comparing import row_count
from projections.database import Views
from projections.jobs import Job
from projections.runner import Runner

ViewState = Literal["live", "behind", "quarantined", "rebuilding", "outdated"]


class Projection(NamedTuple):
    """A view's status. `rows` of all its tables; `kept_offset`: that of the tables which `rollback`
    restores.

    `behind_s` is the age of its oldest unread fact, None if unreadable. `rebuild` is the last or the
    running one.
    """

    name: str
    state: ViewState
    offset: int
    head: int
    behind_s: float | None
    shape: str
    rows: int
    quarantined: int
    kept_offset: int | None
    rebuild: Job | None

    @property
    def behind(self) -> int:
        """The number of unread facts."""
        return max(0, self.head - self.offset)


def statuses(journal: Journal, views: Views, now: Callable[[], int] = now_us) -> list[Projection]:
    """The status of each view. Counts rows, so it takes longer for larger views. Raises Unavailable."""
    jobs.settle_killed(views)
    head = journal.head
    places = {
        name: (shape, reached, rebuilt_to)
        for name, shape, reached, rebuilt_to in views.query(
            "SELECT view, shape, reached, rebuilt_to FROM view_checkpoints"
        )
    }
    kept = dict(views.query("SELECT view, reached FROM view_kept"))
    waiting = Counter(dict(views.query("SELECT view, count(*) FROM view_quarantine GROUP BY view")))
    last: dict[str, Job] = {}
    for job in reversed(jobs.jobs(views)):
        last |= dict.fromkeys(job.names, job)
    ages = {reached: _age_s(journal, reached, head, now()) for _, reached, _ in places.values()}
    found = []
    for name, view in views.views.items():
        shape, reached, rebuilt_to = places[name]
        rebuild = last.get(name)
        state: ViewState = "live"
        if rebuild and rebuild.state == "running" and rebuild.kind != "verify":
            state = "rebuilding"
        elif shape != views.shapes[name]:
            state = "outdated"
        elif reached < rebuilt_to:
            state = "rebuilding"
        elif waiting[name]:
            state = "quarantined"
        elif (ages[reached] or 0) > VIEW_WAIT_S:
            state = "behind"
        rows = sum(row_count(views, table) for table in view.tables)
        found.append(
            Projection(
                name=name,
                state=state,
                offset=reached,
                head=head,
                behind_s=ages[reached],
                shape=shape,
                rows=rows,
                quarantined=waiting[name],
                kept_offset=kept.get(name),
                rebuild=rebuild,
            )
        )
    return found


def _age_s(journal: Journal, reached: int, head: int, now: int) -> float | None:
    if reached >= head:
        return 0.0
    with contextlib.suppress(JournalDamaged):
        facts = journal.read(reached, 1, is_checked=False)
        return max(0.0, (now - facts[0].envelope.at_us) / 1e6) if facts else 0.0
    return None


def check_waits(journal: Journal, views: Views, name: str, stream: str) -> None:
    """Raises Refused `not_found` for a stream not in quarantine; Unavailable."""
    if views.query("SELECT 1 FROM view_quarantine WHERE view = ? AND stream = ?", (name, stream)):
        return
    if not journal.stream(stream, version=1):
        raise refused("not_found", f"The journal has no stream {stream:.60}.")
    raise refused(
        "not_found", f"View {name} shows {stream:.60}: nothing of it waits to be folded again."
    )


def retry(journal: Journal, views: Views, name: str, stream: str) -> bool:
    """Folds a quarantined stream again; whether it is released now, or was already.

    Raises KeyError for an unknown view, Unavailable.
    """
    runner, waiting = (
        Runner(journal, views),
        "SELECT 1 FROM view_quarantine WHERE view = ? AND stream = ?",
    )
    for _ in range(REBUILD_TRIES_MAX):
        if not views.query(waiting, (name, stream)):
            return True
        with contextlib.suppress(StaleOffset):  # the view moves meanwhile
            return runner.retry(name, stream)
    raise Unavailable(f"{name} moves faster than a stream can be folded")
