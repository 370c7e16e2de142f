"""Quarantine: streams with a fact that a view could not fold. Only their rows are withheld.

    view_quarantine   the streams, with the offset of the first bad fact
    view_released     released streams, with the view's offset at that time

A reader of events past a bad fact has missed the stream's later events. From its own offset
`view_released` tells what it missed, even after a disconnect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from engine.kernel.limits import RELEASES_KEPT
from projections.tables import Table

QUARANTINE: Final = Table(
    "view_quarantine",
    {
        "view_stream": "text",
        "view": "text",
        "stream": "text",
        "account": "text",
        "tenant": "text",
        "bad_offset": "integer",
        "fault": "text",
    },
    "view_stream",
    {"view": "view"},
)
RELEASED: Final = Table(
    "view_released",
    {
        "view_stream_offset": "text",
        "view": "text",
        "stream": "text",
        "tenant": "text",
        "bad_offset": "integer",
        "released_offset": "integer",
    },
    "view_stream_offset",
    {"view": "view, released_offset"},
)


class Quarantined(NamedTuple):
    """A stream whose rows in a view are withheld: its fact at `bad_offset` could not be folded."""

    view: str
    stream: str
    account: str
    tenant: str
    bad_offset: int
    fault: str


def quarantine_key(view: str, stream: str) -> str:
    """The key of a stream's row in `QUARANTINE`."""
    return f"{view} {stream}"


def release(
    connection: sa.Connection, view: str, offset: int, still_bad: Mapping[str, int] | None = None
) -> None:
    """Ends the quarantine of a view at `offset`, and records the released streams.

    `still_bad` are streams quarantined again at once: stream -> offset of the bad fact.
    """
    still_bad = still_bad or {}
    of_view = {"view": view}
    rows: list[Any] = [
        (f"{view} {stream} {bad_offset}", view, stream, tenant, bad_offset, offset)
        for stream, tenant, bad_offset in connection.execute(
            sa.text("SELECT stream, tenant, bad_offset FROM view_quarantine WHERE view = :view"), of_view
        ).tuples()
        if still_bad.get(stream) != bad_offset
    ]
    connection.execute(sa.text("DELETE FROM view_quarantine WHERE view = :view"), of_view)
    _record(connection, rows)


def release_one(connection: sa.Connection, view: str, stream: str, offset: int) -> None:
    """Ends the quarantine of one stream in a view at `offset`."""
    row = connection.execute(
        sa.text("SELECT tenant, bad_offset FROM view_quarantine WHERE view_stream = :key"),
        {"key": quarantine_key(view, stream)},
    ).first()
    if row is not None:
        QUARANTINE.remove(connection, [quarantine_key(view, stream)])
        tenant, bad_offset = row
        _record(
            connection, [(f"{view} {stream} {bad_offset}", view, stream, tenant, bad_offset, offset)]
        )


def _record(connection: sa.Connection, rows: list[Any]) -> None:
    if not rows:
        return
    RELEASED.write(connection, rows)
    connection.execute(
        sa.text(
            "DELETE FROM view_released WHERE view_stream_offset NOT IN (SELECT view_stream_offset"
            " FROM view_released ORDER BY released_offset DESC, view_stream_offset LIMIT :most)"
        ),
        {"most": RELEASES_KEPT},
    )
