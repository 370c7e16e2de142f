"""Scripts of the simulated venue, and orders that are executed by one."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

from engine.domain.script import Script, ScriptPlayed, Scripts, ScriptTaken, ScriptWritten
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Where, list_rows
from projections.scripts import ScriptBody, script_json
from projections.tables import Row, Table
from projections.view import PageRows, View

SCRIPTS: Final = Table(
    "view_scripts",
    {"first_offset": "integer", "id": "text", "scripts": "text", "status": "text", "body": "bytes"},
    "first_offset",
    {"unique_id": "id", "status": "status, first_offset"},
    stream="scripts",
)
PLAYING: Final = Table(
    "view_playing",
    {"script": "text", "scripts": "text", "place": "integer", "ordered": "text"},
    "script",
    {"place": "place"},
    stream="scripts",
)


class ScriptsView(View):
    """One row per script, and one per order whose script has reports to come."""

    name = "scripts"
    shape = 1
    streams = frozenset({"scr"})
    tables = (SCRIPTS, PLAYING)
    bodies = (ScriptBody,)
    reads = frozenset({ScriptWritten, ScriptTaken, ScriptPlayed})

    def feed(self, change: Change, page: PageRows) -> None:
        fact: Any = change.recorded.fact
        stream, offset = change.recorded.stream, change.recorded.offset
        if isinstance(fact, ScriptPlayed):
            page.upsert(PLAYING, fact.script, None)
            return
        # A script that was taken is no longer part of the state.
        taken = fact if isinstance(fact, ScriptTaken) else None
        subject: Folded[Scripts] | None = change.before if taken else change.after
        assert subject is not None
        script = subject.state.find(fact.script)
        assert script is not None, f"{fact.script} is not open"
        first_offset = subject.opened[fact.script]
        page.upsert(SCRIPTS, first_offset, partial(_row, stream, first_offset, script, taken))
        if taken:
            page.upsert(PLAYING, script.id, lambda: (script.id, stream, offset, taken.order))


def _row(stream: str, first_offset: int, script: Script, taken: ScriptTaken | None) -> Row:
    status = "taken" if taken else "open"
    return first_offset, script.id, stream, status, script_json(script, taken)


def listed(views: Reader, *, limit: int, before: str | None = None, status: str | None = None) -> Listed:
    """Scripts, newest first, those of a status or all.

    Raises ViewBehind, or Refused `invalid_param` for an unknown `before`.
    """
    wanted = Where().equal("status", status)
    return list_rows(views, SCRIPTS, wanted, scope=RowScope("scripts"), before=before, limit=limit)


class Playing(NamedTuple):
    """An order that is executed by a script; `place` is the offset at which it took it."""

    place: int
    order: str


def playing(views: Reader, *, limit: int, after: int = 0) -> list[Playing]:
    """Orders whose script has reports to come, the longest playing first, after a place."""
    if not views.is_ours("scripts"):
        return []
    rows = views.query(
        "SELECT place, ordered FROM view_playing WHERE place > ? ORDER BY place LIMIT ?", (after, limit)
    )
    return [Playing(*row) for row in rows]
