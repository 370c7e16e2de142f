"""Stored names as small numbers: a fact keeps two bytes in place of twenty.

The database assigns each number once; digests cover the name itself, so that a changed number is
detected like any other edit.
"""

from __future__ import annotations

import sqlalchemy as sa

from engine.journal.schema import Tables
from engine.journal.store import Store
from engine.kernel.errors import JournalDamaged, Unrecordable
from engine.kernel.limits import NAMES_MAX


class NameTable:
    """The names known to this process. Thread-safe: entries are only added, or all replaced."""

    def __init__(self, store: Store, tables: Tables) -> None:
        self._store = store
        self._tables = tables
        self._table = tables.names
        self._head = tables.head
        self.known: dict[str, tuple[int, bytes]] = {}
        """name -> (number, name in UTF-8)"""
        self.by_code: dict[int, str] = {}

    def learn(self, names: set[str]) -> None:
        """Makes all of `names` known, assigning numbers to new ones."""
        new = [name for name in names if name not in self.known]
        if not new:
            return
        self._reload()
        new = sorted(name for name in new if name not in self.known)
        if not new:
            return
        if len(self.known) + len(new) > NAMES_MAX:
            raise Unrecordable(f"more than {NAMES_MAX} stored names")
        with self._store.writing() as connection:
            # The head's lock prevents two processes from assigning the same number.
            connection.execute(sa.select(self._head.c.one).with_for_update())
            known = connection.execute(sa.select(self._table.c.name, self._table.c.code))
            taken: dict[str, int] = dict(known.tuples().all())
            free = max(taken.values(), default=0) + 1
            fresh = [name for name in new if name not in taken]
            rows = [{"code": code, "name": name} for code, name in enumerate(fresh, free)]
            if (
                rows
            ):  # few statements: a process that waits for its turn long within a transaction loses it
                connection.execute(self._table.insert(), rows)
        self._reload()

    def learn_again(self) -> None:
        """Reloads all known names: the journal may have lost some."""
        fresh = NameTable(self._store, self._tables)
        fresh.learn(set(self.known))
        self.known, self.by_code = fresh.known, fresh.by_code

    def name_of(self, code: int, position: int) -> str:
        """The name for a number stored at `position`.

        Raises JournalDamaged for a number never assigned.
        """
        name = self.by_code.get(code)
        if name is None:
            self._reload()
            name = self.by_code.get(code)
        if name is None:
            raise JournalDamaged(
                f"position {position} names number {code}, which was never given", position=position
            )
        return name

    def codes_of(self, names: set[str]) -> list[int]:
        """The numbers of the names that have one."""
        if any(name not in self.known for name in names):
            self._reload()
        return sorted(self.known[name][0] for name in names if name in self.known)

    def _reload(self) -> None:
        with self._store.reading() as connection:
            for code, name in connection.execute(sa.select(self._table.c.code, self._table.c.name)):
                self.known[name] = (code, name.encode())
                self.by_code[code] = name
