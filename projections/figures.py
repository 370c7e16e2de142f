"""What is told about views: how far behind they are, and what waits (see `engine.metrics`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from engine.journal import Journal
from engine.meters import Sample, Source
from projections.database import Views


def views_source(views: Views, journal: Journal) -> Source:
    """Each view's lag and streams in quarantine, as the databases show them."""

    def samples() -> Iterator[Sample]:
        head, offsets = journal.head, views.offsets()
        waiting = Counter(one.view for one in views.quarantined())
        for view, offset in offsets.items():
            yield "view_behind_facts", (view,), max(0, head - offset)
            yield "view_quarantined", (view,), waiting[view]

    return samples
