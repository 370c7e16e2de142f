"""Metrics and health of the views: lag, and quarantined streams."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from engine.journal.journal import Journal
from engine.kernel.health import Finding
from engine.kernel.limits import HEALTH_SILENT_S
from engine.kernel.meters import MetricsSource, Sample
from engine.kernel.wall import lasting
from projections.database import Views


def views_source(views: Views, journal: Journal) -> MetricsSource:
    """Each view's lag and quarantined streams, from the databases."""

    def samples() -> Iterator[Sample]:
        head, offsets = journal.head, views.offsets()
        waiting = Counter(one.view for one in views.quarantined())
        for view, offset in offsets.items():
            yield "view_behind_facts", (view,), max(0, head - offset)
            yield "view_quarantined", (view,), waiting[view]

    return samples


class ViewsProbe:
    """Reads the offsets of the views and their blocked parts, and keeps both for readers.

    `head` returns the journal's last known head.
    """

    def __init__(
        self, views: Views, head: Callable[[], int], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._views = views
        self._head = head
        self._monotonic = monotonic
        self._moved: dict[str, tuple[int, float]] = {}  # view -> offset, time of its last change
        self.offsets: dict[str, int] = {}
        self.standing: Counter[str] = Counter()

    def findings(self) -> Iterator[Finding]:
        """Findings: unreadable, not moving, or incomplete views. Raises Unavailable and the like."""
        self.offsets = self._views.offsets()
        if outdated := sorted(self._views.views.keys() - self.offsets.keys()):
            yield Finding("views_outdated", f"Of another release's shape: {', '.join(outdated)}.")
        yield from self._behind()
        if unfinished := self._views.unfinished():
            yield Finding("views_made_again", f"{', '.join(unfinished)} are being filled.")
        if waiting := self._views.quarantined():
            views = ", ".join(sorted({one.view for one in waiting}))
            yield Finding("view_quarantined", f"{len(waiting)} streams wait in {views}.")
        self.standing = Counter(one.follower for one in self._views.standing())
        for follower, count in self.standing.items():
            yield Finding("orders_standing", f"{follower} has {count} blocked.", follower)

    def _behind(self) -> Iterator[Finding]:
        """One finding about all views that lag without moving."""
        head = self._head()
        still_s = {view: self._still_s(view, offset) for view, offset in self.offsets.items()}
        behind = sorted(view for view, lasted_s in still_s.items() if lasted_s >= HEALTH_SILENT_S)
        if behind:
            most = max(head - self.offsets[view] for view in behind)
            lasted = lasting(max(still_s[view] for view in behind))
            detail = (
                f"{', '.join(behind)} show up to {most} facts less than there are, for {lasted} now."
            )
            yield Finding("views_behind", detail)

    def _still_s(self, view: str, offset: int) -> float:
        """Seconds since a view last moved, while it lagged."""
        now_s = self._monotonic()
        seen, since_s = self._moved.get(view, (-1, now_s))
        if seen != offset or offset >= self._head():
            self._moved[view] = offset, now_s
            return 0.0
        return now_s - since_s
