"""Corporate actions of all instruments: announced, started, completed or withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from engine.domain.corporate_action import (
    Action,
    ActionAnnounced,
    ActionCompleted,
    ActionCorrected,
    ActionStarted,
    ActionWithdrawn,
)
from engine.domain.instrument import Instrument
from engine.kernel.fact import Fact
from projections.actions import CorporateActionBody, action_json
from projections.folds import Change, Folded
from projections.listing import Listed, Reader, RowScope, Where, list_rows
from projections.tables import Row, Table
from projections.view import PageRows, View

ACTIONS: Final = Table(
    "view_actions",
    {
        "first_offset": "integer",
        "id": "text",
        "instrument": "text",
        "action_type": "text",
        "status": "text",
        "body": "bytes",
    },
    "first_offset",
    {"unique_id": "id", "instrument": "instrument, first_offset"},
    stream="instrument",
)

STATUSES: Final[dict[type[Fact], str]] = {
    ActionAnnounced: "announced",
    ActionCorrected: "announced",
    ActionStarted: "started",
    ActionCompleted: "completed",
    ActionWithdrawn: "withdrawn",
}
"""Fact -> the action's status after it."""


class ActionsView(View):
    """One row per action."""

    name = "actions"
    shape = 1
    streams = frozenset({"ins"})
    tables = (ACTIONS,)
    bodies = (CorporateActionBody,)
    reads = frozenset(STATUSES)

    def feed(self, change: Change, page: PageRows) -> None:
        fact: Any = change.recorded.fact
        is_over = isinstance(fact, ActionCompleted | ActionWithdrawn)
        # An action that is over is no longer part of the instrument's state.
        subject: Folded[Instrument] | None = change.before if is_over else change.after
        action = subject.state.servicing.action(fact.action) if subject else None
        assert subject is not None
        assert action is not None, f"{fact.action} is not an open action"
        first_offset = subject.opened[fact.action]
        page.upsert(ACTIONS, first_offset, partial(_row, first_offset, subject.state, action, fact))


def _row(first_offset: int, of: Instrument, action: Action, fact: Any) -> Row:
    status = STATUSES[type(fact)]
    done = fact if isinstance(fact, ActionCompleted) else None
    body = action_json(of, action, status, at_us=fact.at_us, done=done)
    return first_offset, action.id, of.id, action.terms.action_type, status, body


class Known(NamedTuple):
    """An action of the view and the instrument whose stream it is in."""

    instrument: str
    body: bytes


def one(views: Reader, action_id: str) -> Known | None:
    """An action, None if not known. Raises ViewBehind, ViewQuarantined."""
    views.check("actions")
    wanted = Where().equal("id", action_id)
    rows = views.query(f"SELECT instrument, body FROM {ACTIONS.name}{wanted}", wanted.values)
    if not rows:
        return None
    instrument, body = rows[0]
    views.check("actions", instrument)
    return Known(instrument, bytes(body))


def listed(
    views: Reader,
    *,
    limit: int,
    before: str | None = None,
    instrument: str | None = None,
    statuses: Sequence[str] = (),
    action_types: Sequence[str] = (),
) -> Listed:
    """Actions, newest first, of any of the statuses and types (all if none is given).

    Raises ViewBehind, or Refused `invalid_param` for an unknown `before`.
    """
    wanted = Where().equal("instrument", instrument)
    wanted.among("status", statuses or None).among("action_type", action_types or None)
    scope = RowScope("actions")
    return list_rows(views, ACTIONS, wanted, scope=scope, before=before, limit=limit)
