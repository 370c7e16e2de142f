"""Verification of the views' checkpoints, with their MACs, against the journal.

    verdicts the verdict on each checkpoint (see `witness.Verdict`); changes nothing
    check    marks a journal that lacks facts they have seen; empties nothing
    tend     the same, and empties views without a valid checkpoint, with a log line
    trail_of, packed    the points that the views have passed, as stored

Read checkpoints before the journal: they are stored after their facts, so one beyond the head has seen
facts now missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from engine.journal.journal import Journal
from engine.journal.witness import Point, Verdict, judge, thinned
from projections.database import NAME, Views

FIRST_SHOWN: Final = 1
"""Views show facts after this offset: the first fact is the journal's kind."""
_log: Final = logging.getLogger(__name__)


def verdicts(journal: Journal, views: Views) -> Mapping[str, tuple[Verdict, Point]]:
    """View -> the verdict on its checkpoint, for views of our shape."""
    kept = views.checkpoints()
    there = {
        offset: journal.datastore.damage.digest_at(offset)
        for offset in {one.offset for one in kept.values()}
    }
    return {
        name: (judge(journal.witness, NAME, one.point, one.mac, there[one.offset]), one.point)
        for name, one in kept.items()
    }


def check(journal: Journal, views: Views) -> None:
    """For commands that only read views. Raises JournalWentBack, JournalDamaged, Unavailable."""
    _accuse_of_loss(journal, views, verdicts(journal, views))


def tend(journal: Journal, views: Views) -> None:
    """For processes that fill views. Raises as `check` does."""
    journal_id = journal.meta["journal_id"]
    if former := views.belong_to(journal_id, is_new=journal.head <= FIRST_SHOWN):
        _log.critical("the views belonged to journal %s and are rebuilt", former)
    found = verdicts(journal, views)
    foreign = sorted(name for name, (verdict, _) in found.items() if verdict == "foreign")
    if foreign:
        is_old = all(not views.checkpoints()[name].mac for name in foreign)
        _log.log(
            logging.WARNING if is_old else logging.CRITICAL,
            "views without a valid MAC under this journal's key are rebuilt: %s", ", ".join(foreign),
        )  # fmt: skip
        views.forget(foreign)
    _accuse_of_loss(journal, views, found)


def _accuse_of_loss(journal: Journal, views: Views, found: Mapping[str, tuple[Verdict, Point]]) -> None:
    gone = [point for verdict, point in found.values() if verdict == "gone"]
    if gone:
        accuse(journal, views, max(gone))


def accuse(journal: Journal, views: Views, kept: Point) -> None:
    """Checks again a point that the journal seems to lack, and raises the result."""
    damage = journal.datastore.damage
    earlier = [point for point in trail_of(views) if point.offset < kept.offset]
    damage.accuse("a view", [*earlier, kept])
    damage.check()


def trail_of(views: Views) -> list[Point]:
    """Points that the views have passed. They need no MAC, since they are only compared."""
    kept = msgspec.json.decode(views.word("trail") or "[]", type=list[tuple[int, bytes]])
    return [Point(*one) for one in kept]


def packed(points: Sequence[Point]) -> tuple[str, str]:
    """The row of `view_meta` that stores them."""
    return "trail", msgspec.json.encode(thinned(points)).decode()
