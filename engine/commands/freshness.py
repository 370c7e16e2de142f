"""When a cached state may be decided on: the status of an entry, the events that change it, and what a
decision has to do first. Literal data: the caches run on it, docs/decider.md is printed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeVar

V = TypeVar("V")

Status = Literal["absent", "current", "ahead", "overtaken", "stale"]
Trust = Literal["trusted", "followed", "contested", "expired"]
Action = Literal["use", "reload", "catch up", "read its facts"]

STATUSES: Final[Mapping[Status, str]] = {
    "absent": "Not cached: never read, or dropped as least recently used.",
    "current": "The newest recorded version that this process knows of.",
    "ahead": "The state once the appends of this process that are under way are recorded.",
    "overtaken": "Appends are under way, and another process has recorded a fact that they did not see:"
    " they fail, and with them all that is decided on them.",
    "stale": "Behind the journal, or in doubt. Never decided on.",
}
TRUST: Final[Mapping[Trust, str]] = {
    "trusted": "No other process is known to write the stream, or this command has read it already. If"
    " there is a newer version, the journal refuses the append and the command is decided again.",
    "followed": "Another process writes it too, and catch-ups cover it: accounts.",
    "contested": "Another process writes it too, and no catch-up covers it.",
    "expired": "A reference stream that was last read too long ago. No conflict would tell.",
}
"""How far an entry is trusted by one command."""


def _row(absent: V, current: V, ahead: V, overtaken: V, stale: V) -> Mapping[Status, V]:
    """A row of a table: one cell for each status."""
    return {
        "absent": absent,
        "current": current,
        "ahead": ahead,
        "overtaken": overtaken,
        "stale": stale,
    }


# -------------------- entry is    absent    current   ahead   overtaken    stale
ACTIONS: Final[Mapping[Trust, Mapping[Status, Action]]] = {
    "trusted": _row("reload", "use", "use", "use", "reload"),
    "followed": _row("reload", "catch up", "use", "use", "reload"),
    "contested": _row("reload", "reload", "use", "use", "reload"),
    "expired": _row("reload", "reload", "use", "use", "reload"),
}
"""The step before a decision. An entry with appends under way is always used: decisions on it are
recorded only if they are."""


class Event(NamedTuple):
    """Something that happens to a stream, and the status that an entry of each status has afterwards."""

    name: str
    meaning: str
    next: Mapping[Status, Status]


# ------------------------- was    absent    current    ahead    overtaken    stale
READ_NEWER: Final = Event(
    "read, newer",
    "The journal was read and had a newer version, or the stream was not cached.",
    _row("current", "current", "current", "current", "current"),
)
READ_SAME: Final = Event(
    "read, same",
    "The journal was read and had the entry's version.",
    _row("current", "current", "ahead", "current", "current"),
)
READ_OLDER: Final = Event(
    "read, older",
    "The journal was read and had an older version: appends are under way, or the read was slow.",
    _row("absent", "current", "ahead", "overtaken", "stale"),
)
SUBMITTED: Final = Event(
    "submitted",
    "An append to the stream was handed to the writer.",
    _row("ahead", "ahead", "ahead", "overtaken", "overtaken"),
)
RECORDED: Final = Event(
    "recorded",
    "The last append under way is in the journal. An earlier one changes no status.",
    _row("absent", "current", "current", "stale", "stale"),
)
FAILED: Final = Event(
    "failed",
    "An append was not recorded that was decided on the entry. It goes back to its last recorded state.",
    _row("absent", "stale", "stale", "stale", "stale"),
)
FAILED_FIRST: Final = Event(
    "failed, first",
    "The same, and no recorded state is known.",
    _row("absent", "absent", "absent", "absent", "absent"),
)
FACT_NEXT: Final = Event(
    "fact, next",
    "The fact after the entry's version was read: by a catch-up, or by a reader of all facts. A current"
    " entry takes it over. Only a reader of all facts knows that a stream begins.",
    _row("current", "current", "overtaken", "overtaken", "stale"),
)
FACT_LATER: Final = Event(
    "fact, later",
    "The same, with facts missing before it; or the state cannot be given the fact.",
    _row("absent", "stale", "overtaken", "overtaken", "stale"),
)
FORGOTTEN: Final = Event(
    "forgotten",
    "A decision failed on states of different moments: what it read is to be read anew.",
    _row("absent", "absent", "ahead", "overtaken", "absent"),
)

EVENTS: Final = (
    READ_NEWER,
    READ_SAME,
    READ_OLDER,
    SUBMITTED,
    RECORDED,
    FAILED,
    FAILED_FIRST,
    FACT_NEXT,
    FACT_LATER,
    FORGOTTEN,
)
