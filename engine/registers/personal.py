"""Personal data: names and references, by the id of their subject. Never in facts, so erasable.

A subject is an account, an order or a payment; each word is one row. Words are written before the facts
of their subject: a crash between the two leaves words of an id without facts, which are never shown, but
never a subject without its words. So `find` may return ids without facts; their reference is free again
after `WORDS_CLAIM_S`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from engine.journal.store import Column, Store, Violation, upsert
from engine.kernel.limits import PERSONAL_CHARACTERS_MAX, SUBJECTS_MAX
from engine.kernel.refusals import fault, invalid, refused
from engine.kernel.text import ALLOWED, is_plain
from engine.registers.operations import Operations

WORDS: Final = ("name", "reference", "payment_reference", "client_reference")


class Personal:
    """The table `personal`. Thread-safe."""

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._table = operations.personal

    def put(self, tenant: str, subject: str, words: Mapping[str, str | None]) -> None:
        """Sets the subject's words; None deletes one, others stay unchanged.

        Idempotent. Raises Refused `invalid_param` for every text that is empty, over 255 characters or
        not storable, and for a `reference` of another subject of the tenant; Unavailable.
        """
        unknown = words.keys() - set(WORDS)
        assert not unknown, f"not personal words: {unknown}"
        faults = [
            found for word, text in words.items() if text is not None for found in _check(word, text)
        ]
        if faults:
            raise refused("invalid_param", params=faults)
        if not words:
            return
        rows = [
            {"subject": subject, "word": word, "tenant": tenant, "text": text}
            for word, text in sorted(words.items())
            if text is not None
        ]
        removed = [word for word, text in words.items() if text is None]
        columns = self._table.c
        try:
            with self._wiping() as connection:
                if removed:
                    mine = (columns.subject == subject, columns.word.in_(removed))
                    connection.execute(self._table.delete().where(*mine))
                if rows:
                    upsert(connection, self._table, *rows)
        except Violation:
            # Without a cause: the database's message quotes the text.
            raise invalid("reference", "already_taken") from None

    def words(self, subjects: Sequence[str]) -> dict[str, dict[str, str]]:
        """The words of up to 500 subjects, `{subject: {word: text}}`, omitting subjects without any."""
        assert len(subjects) <= SUBJECTS_MAX, f"at most {SUBJECTS_MAX} subjects at once"
        found: dict[str, dict[str, str]] = {}
        if subjects:
            marks = ", ".join("?" * len(subjects))
            # Every read of a resource runs this: the driver's fastest path.
            statement = f"SELECT subject, word, text FROM personal WHERE subject IN ({marks})"  # noqa: S608
            for subject, word, text in self._store.query(statement, subjects):
                found.setdefault(subject, {})[word] = text
        return found

    @staticmethod
    def columns(subject: str, words: Sequence[str]) -> list[Column]:
        """SQL expressions for those words of a subject, each null if missing."""
        return [
            ("(SELECT text FROM personal WHERE subject = ? AND word = ?)", (subject, word))
            for word in words
        ]

    def find(
        self, tenant: str, word: str, text: str, *, limit: int = SUBJECTS_MAX, before: str | None = None
    ) -> list[str]:
        """Subjects of the tenant with exactly this text, newest id first, below `before`."""
        if _check(word, text):
            return []  # cannot exist, and PostgreSQL would refuse the query
        columns = self._table.c
        query = (
            sa.select(columns.subject)
            .where(columns.tenant == tenant, columns.word == word, columns.text == text)
            .order_by(columns.subject.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(columns.subject < before)
        with self._store.reading() as connection:
            return list(connection.execute(query).scalars())

    def erase(self, subject: str) -> None:
        """Deletes every word of the subject, for good.

        SQLite overwrites the bytes; the write-ahead log keeps older pages until its next checkpoint, and
        PostgreSQL keeps the rows' bytes until it vacuums. Backups are the operator's responsibility.
        """
        with self._wiping() as connection:
            connection.execute(self._table.delete().where(self._table.c.subject == subject))

    @contextlib.contextmanager
    def _wiping(self) -> Iterator[sa.Connection]:
        """A write transaction that leaves no erased text in SQLite's free space."""
        with self._store.writing() as connection:
            if self._store.dialect != "sqlite":
                yield connection
                return
            # The connection is shared with appends, which overwrite nothing and need not pay.
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("PRAGMA secure_delete=OFF")


def _check(word: str, text: str) -> list[dict[str, str]]:
    if not 0 < len(text) <= PERSONAL_CHARACTERS_MAX:
        return [fault(word, "invalid_value", f"must be 1 to {PERSONAL_CHARACTERS_MAX} characters")]
    if not is_plain(text):
        return [fault(word, "invalid_value", ALLOWED)]
    return []
