"""Parked venue reports, which contradict their order, with their status."""

from __future__ import annotations

from functools import partial
from typing import Final

from engine.domain import report
from engine.domain.report import ParkedReport
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Single, Where, list_rows
from projections.resources import ParkedReportBody, parked_report_json
from projections.tables import Row, Table
from projections.view import PageRows, View

PARKED: Final = Table(
    "view_parked",
    {"first_offset": "integer", "id": "text", "status": "text", "body": "bytes"},
    "first_offset",
    {"unique_id": "id", "open": "first_offset WHERE status = 'open'"},
    stream="id",
)


class ParkedView(View):
    """One row per report."""

    name = "parked"
    shape = 2
    streams = frozenset({"rep"})
    tables = (PARKED,)
    bodies = (ParkedReportBody,)
    reads = frozenset(fact for _, fact in report.NEXT)

    def feed(self, change: Change, page: PageRows) -> None:
        stream, after = change.recorded.stream, change.after
        page.upsert(PARKED, after.first_offset, partial(_row, stream, after))


def _row(stream: str, folded: Folded[ParkedReport]) -> Row:
    body = parked_report_json(stream, folded.state)
    return folded.first_offset, stream, folded.state.status, body


def one(report_id: str) -> Single:
    """A parked report."""
    return Single("parked", PARKED, report_id, Where().equal("id", report_id))


def listed(views: Reader, *, limit: int, before: str | None = None, status: str | None = None) -> Listed:
    """Parked reports, newest first, those of a status or all.

    Raises ViewBehind, or Refused `invalid_param` for an unknown `before`.
    """
    wanted = (
        Where().literally("status = 'open'") if status == "open" else Where().equal("status", status)
    )
    return list_rows(views, PARKED, wanted, scope=RowScope("parked"), before=before, limit=limit)
