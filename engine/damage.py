"""The mark of a damaged journal: its first finding, where every process of every machine sees it.

Whoever finds that facts are not as recorded marks the journal. From then on nothing is appended to it,
by no process, and no command is decided: what it would rest on cannot be trusted. Reads go on. An
operator lifts the mark (`order-engine audit --reopen`), once a whole audit finds nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec
import sqlalchemy as sa

from engine import wall
from engine.errors import EngineError, JournalDamaged
from engine.limits import DAMAGE_LOOK_S
from engine.schema import Tables
from engine.store import Store

KEY: Final = "damage"
"""The meta word that holds it."""
_log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """The first finding. `position` is None where none can be told."""

    position: int | None
    text: str
    at_us: int


class Damage:
    """One journal's mark as this process knows it. Thread-safe."""

    def __init__(
        self, store: Store, tables: Tables, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._meta = tables.meta
        self._sql = f"SELECT value FROM {tables.meta.name} WHERE key = '{KEY}'"  # noqa: S608  ours
        self._monotonic = monotonic
        self._looked_s = -DAMAGE_LOOK_S
        self._lock = threading.Lock()
        self._is_kept = True
        self.mark: Mark | None = None

    def check(self) -> None:
        """Raises JournalDamaged if the journal is known to be. Costs next to nothing."""
        if self.mark is not None:
            raise JournalDamaged(
                f"nothing is written since damage was found: {self.mark.text}",
                position=self.mark.position,
            )

    def look(self) -> None:
        """Has `check` know what others found, unless it was looked at a moment ago."""
        if self._monotonic() - self._looked_s >= DAMAGE_LOOK_S:
            self.refresh()

    def refresh(self) -> None:
        """The same, now. Raises Unavailable, SchemaMissing."""
        self._looked_s = self._monotonic()
        rows = self._store.query(self._sql)
        if rows:
            self.mark = msgspec.json.decode(rows[0][0], type=Mark)
        elif self._is_kept:
            self.mark = None
        elif self.mark is not None:  # we found it, and could not say so yet
            self._keep(self.mark)

    def note(self, position: int | None, text: str) -> None:
        """Marks the journal, if nobody has before. Raises nothing: this process at least knows."""
        with self._lock:
            if self.mark is not None:
                return
            self.mark = Mark(position, text, wall.now_us())
        _log.critical("the journal is damaged at position %s: nothing is written any more", position)
        self._keep(self.mark)

    def _keep(self, mark: Mark) -> None:
        value = msgspec.json.encode(mark).decode()
        self._is_kept = False
        try:
            with self._store.writing() as connection:
                known = sa.select(self._meta.c.key).where(self._meta.c.key == KEY)
                if connection.execute(known).first() is None:
                    connection.execute(self._meta.insert().values(key=KEY, value=value))
            self._is_kept = True
        except EngineError as error:
            _log.error("the mark of a damaged journal was not kept: %s", type(error).__name__)

    def lift(self) -> bool:
        """Takes the mark away; whether there was one. Other processes know within DAMAGE_LOOK_S."""
        with self._store.writing() as connection:
            done = connection.execute(self._meta.delete().where(self._meta.c.key == KEY))
        self.mark, self._is_kept = None, True
        return bool(done.rowcount)
