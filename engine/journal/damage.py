"""The damage mark of a journal: its first finding, visible to every process and machine.

    journal_damaged    facts differ from what was recorded
    journal_went_back  acknowledged facts are missing: an older copy, or a truncated one

Any process that detects either marks the journal. From then on no process appends or decides. An
operator removes the mark: `order-engine audit --reopen` after a full audit without findings,
`order-engine journal accept-loss` to continue without the missing facts.

`Damage.poll` also compares the facts this process has seen (`witness.Trail`) with the journal. Whenever
the mark changes, or an operator accepts a loss, `era` increases: everything a process caches of the
journal belongs to an era, and is dropped with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from engine.journal.schema import Tables
from engine.journal.store import Store, insert_into, upsert
from engine.journal.witness import Point, Trail, last_common
from engine.kernel import wall
from engine.kernel.errors import EngineError, JournalDamaged, JournalWentBack
from engine.kernel.limits import DAMAGE_POLL_S

KEY: Final = "damage"
"""The meta word that holds the mark."""
LOSSES: Final = "accepted_losses"
"""The meta word that counts the losses accepted by an operator."""
DAMAGED: Final = "journal_damaged"
WENT_BACK: Final = "journal_went_back"
_ERRORS: Final[dict[str, tuple[type[EngineError], str]]] = {
    DAMAGED: (JournalDamaged, "nothing is written since damage was found"),
    WENT_BACK: (JournalWentBack, "nothing is written since the journal went back"),
}
"""Code of a mark -> error raised."""
_log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """The first finding. `position`: the first bad fact, None if unknown; for a journal that went back,
    the last common position.
    """

    position: int | None
    text: str
    at_us: int
    code: str = DAMAGED

    @property
    def is_of_loss(self) -> bool:
        """Whether acknowledged facts are missing while the remaining ones are sound."""
        return self.code == WENT_BACK

    @property
    def sentence(self) -> str:
        """The finding as a sentence for people."""
        if self.is_of_loss:
            return f"The journal went back: it shares position {self.position} with what it was."
        where = f"at position {self.position}" if self.position else "as a whole"
        return f"The journal is damaged {where}."

    def error(self) -> EngineError:
        """The error raised to writers."""
        kind, words = _ERRORS[self.code]
        return kind(f"{words}: {self.text}", position=self.position)


class Damage:
    """One journal's mark as this process knows it. Thread-safe."""

    def __init__(
        self, store: Store, tables: Tables, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._meta = tables.meta
        journal, head = tables.journal.name, tables.head.name
        self._sql = f"SELECT key, value FROM {tables.meta.name} WHERE key IN ('{KEY}', '{LOSSES}')"  # noqa: S608  ours
        self._there_sql = (
            f"SELECT position, (SELECT digest FROM {journal} WHERE position = ?) FROM {head}"  # noqa: S608
        )
        self._digest_sql = f"SELECT digest FROM {journal} WHERE position = ?"  # noqa: S608
        self._monotonic = monotonic
        self._looked_s = -DAMAGE_POLL_S
        self._lock = threading.Lock()
        self._is_kept = True
        self._losses: str | None = None
        self.trail = Trail()
        """The facts that this process has seen of the journal."""
        self.is_sound: Callable[[int], bool] = lambda _: True
        """Whether the fact at a position is as recorded; if not, marks the journal."""
        self.on_era: list[Callable[[], None]] = []
        """Callbacks for the start of an era. They must not raise."""
        self.era = 0
        self.mark: Mark | None = None

    def check(self) -> None:
        """Raises JournalDamaged or JournalWentBack if the journal is marked. Almost free."""
        if self.mark is not None:
            raise self.mark.error()

    def check_reads(self) -> None:
        """Raises JournalWentBack if reads could miss facts, or show lost ones."""
        if self.mark is not None and self.mark.code == WENT_BACK:
            raise self.mark.error()

    def check_absence(self) -> None:
        """As `check_reads`, with a comparison now: required before answering that something does not
        exist.

        Raises Unavailable and the like too.
        """
        self.refresh()
        self.check_reads()

    def poll(self) -> None:
        """Updates the mark from the database, at most once per interval."""
        if self._monotonic() - self._looked_s >= DAMAGE_POLL_S:
            self.refresh()

    def refresh(self) -> None:
        """Updates the mark now, and compares the journal with the trail. Raises Unavailable,
        SchemaMissing.
        """
        self._looked_s = self._monotonic()
        with self._lock:
            kept = self.mark if self._is_kept else None
        words = dict(self._store.query(self._sql))
        losses = words.get(LOSSES, "")
        if KEY in words:
            self._take(msgspec.json.decode(words[KEY], type=Mark))
        elif kept is not None and kept == self.mark:
            self._take(None)
        elif self.mark is not None:  # found here, not yet stored, or by another thread since the query
            self._keep(self.mark)
        if self._losses is not None and losses != self._losses:
            self._begin_era()
        self._losses = losses
        if self.mark is None:
            self._compare()

    def note(self, position: int | None, text: str, code: str = DAMAGED) -> None:
        """Marks the journal, unless it is marked. Raises nothing: this process at least knows."""
        with self._lock:
            if self.mark is not None:
                return
            self._is_kept = False
            self.mark = mark = Mark(position, text, wall.now_us(), code)
        if code == WENT_BACK:
            _log.critical(
                "the journal went back: it shares position %s with what it was, and acknowledged facts"
                " after it are gone; nothing is written any more: %s", position, text,
            )  # fmt: skip
        else:
            _log.critical("the journal is damaged at position %s: nothing is written any more", position)
        self._begin_era()
        self._keep(mark)

    def digest_at(self, position: int) -> bytes | None:
        """The stored digest of a position, None if missing."""
        rows = self._store.query(self._digest_sql, (position,))
        return bytes(rows[0][0]) if rows else None

    def accuse(self, name: str, points: Sequence[Point]) -> None:
        """Marks the journal if, checked again, it lacks the furthest point that `name` stored.

        That point must carry a valid MAC; the others only help to find the last common position.
        """
        kept = max(points)
        if not self._lacks(*kept) or not self._is_undamaged(kept.offset):
            return
        ((head, _),) = self._store.query(self._there_sql, (0,))
        own = self.trail.points()
        past = [*points, *own] if kept in own else points  # else it may come from another past
        self.note(
            last_common(past, self.digest_at),
            f"{name} has seen position {kept.offset}, and the journal, which ends at {head}, does not"
            " have that fact",
            WENT_BACK,
        )

    def _compare(self) -> None:
        """Marks the journal if it lacks facts that this process has seen."""
        seen = self.trail.last  # read before the journal is queried
        if seen.offset and self._lacks(seen.offset, seen.digest):
            self.accuse("this process", [seen])

    def _lacks(self, position: int, digest: bytes) -> bool:
        rows = self._store.query(self._there_sql, (position,))
        if not rows:  # a missing head row is damage, not another past
            return False
        ((_, there),) = rows
        return there is None or bytes(there) != digest

    def _is_undamaged(self, position: int) -> bool:
        """Whether another valid fact, or none, is at the position: else it is damage."""
        ((head, _),) = self._store.query(self._there_sql, (0,))
        return head < position or self.is_sound(position)

    def _take(self, mark: Mark | None) -> None:
        if mark != self.mark:
            self.mark = mark
            self._begin_era()

    def _begin_era(self) -> None:
        """Drops everything that this process caches of the journal."""
        self.trail.forget()
        self.era += 1
        for forget in self.on_era:
            forget()

    def _keep(self, mark: Mark) -> None:
        value = msgspec.json.encode(mark).decode()
        self._is_kept = False
        try:
            with self._store.writing() as connection:
                first = insert_into(connection, self._meta).values(key=KEY, value=value)
                connection.execute(first.on_conflict_do_nothing())  # several processes find it at once
            self._is_kept = True
        except EngineError as error:
            _log.error("the mark of a damaged journal was not kept: %s", type(error).__name__)

    def lift(self) -> bool:
        """Removes the mark of damage; whether there was one. Other processes notice within
        DAMAGE_POLL_S.
        """
        with self._store.writing() as connection:
            is_lifted = self._delete(connection, DAMAGED)
        self._is_kept = True
        self.refresh()
        return is_lifted

    def accept_loss(self, connection: sa.Connection) -> None:
        """Removes the mark of a journal that went back, in the caller's transaction.

        Every process drops its caches, even one that never saw the mark.
        """
        self._delete(connection, WENT_BACK)
        of_losses = self._meta.c.key == LOSSES
        known = connection.execute(sa.select(self._meta.c.value).where(of_losses)).scalar()
        upsert(connection, self._meta, {"key": LOSSES, "value": str(int(known or 0) + 1)})

    def _delete(self, connection: sa.Connection, code: str) -> bool:
        of_mark = self._meta.c.key == KEY
        value = connection.execute(sa.select(self._meta.c.value).where(of_mark)).scalar()
        if value is None or msgspec.json.decode(value, type=Mark).code != code:
            return False
        connection.execute(self._meta.delete().where(of_mark))
        return True
