"""An audit of a journal in a database: fetches rows in bulk, and runs checks beyond the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from engine.audit import audit_points
from engine.audit.audit import AuditFinding, Auditor, Level, kind_of
from engine.audit.audit_points import PointFile
from engine.audit.database_checks import head_and_last
from engine.domain.stored import engine_codec
from engine.journal import schema
from engine.journal.datastore import Datastore
from engine.journal.sessions import Head
from engine.journal.store import Store
from engine.kernel import wall
from engine.kernel.chain import GENESIS
from engine.kernel.errors import JournalDamaged
from engine.kernel.limits import (
    AUDIT_FINDINGS_MAX,
    AUDIT_PAGE_FACTS,
    AUDIT_POINT_S,
    AUDIT_POINT_SHARE,
)

Report = Callable[[int], None]
_BEFORE_ALL: Final = -(2**62)
_FILE_FAULTS_MAX: Final = 20

EndCheck = Callable[[Datastore], Iterable[AuditFinding]]
"""A check after the last fact, of related data stored elsewhere, such as seals."""


@dataclass(frozen=True)
class Audit:
    """The result of an audit. `after` is the position it resumed from, `note` the reason for not
    resuming.
    """

    level: Level
    journal_id: str
    position: int
    digest: str
    after: int
    is_complete: bool
    findings: list[AuditFinding]
    seconds: float
    note: str = ""

    @property
    def facts(self) -> int:
        """The number of facts checked in this run."""
        return self.position - self.after


@dataclass
class AuditOptions:
    """Options of an audit. `is_stopping` is polled after each page; `point_s` 0 writes a resume point at
    each.
    """

    level: Level = "all"
    points: PointFile | None = None
    from_start: bool = False
    report: Report = lambda _: None
    is_stopping: Callable[[], bool] = lambda: False
    findings_max: int = AUDIT_FINDINGS_MAX
    end_checks: Sequence[EndCheck] = ()
    point_s: float = AUDIT_POINT_S
    page: int = field(default=AUDIT_PAGE_FACTS)


def head_of(datastore: Datastore) -> int:
    """The last position, by the head or the rows, whichever is greater."""
    head, last = head_and_last(datastore.store, datastore.tables)
    return max(head.position if head else 0, last.position)


def audit(datastore: Datastore, options: AuditOptions) -> Audit:
    """Audits the whole current journal. Raises SchemaMissing, SchemaTooNew, Unavailable.

    SchemaTooOld too, except at level `digests`, whose tables are the same in every schema.
    """
    with datastore.store.reading() as connection:
        meta = schema.check(connection, datastore.tables, allows_older=options.level == "digests")
        journal_id = meta["journal_id"]
    return _Walk(datastore, options, journal_id).go()


def audit_tail(datastore: Datastore, count: int) -> list[AuditFinding]:
    """The head row, and the digests of the last `count` facts: cheap enough for every start."""
    head, last = head_and_last(datastore.store, datastore.tables)
    rows = _Rows(datastore)
    auditor = Auditor("digests", engine_codec(), rows.name_of, findings_max=AUDIT_FINDINGS_MAX)
    after = max(last.position - count, 0)
    if after:
        auditor.position, auditor.digest = after, rows.digest_at(after)
    for page in rows.pages(after or _BEFORE_ALL, last.position, AUDIT_PAGE_FACTS, auditor):
        auditor.take(page)
    _check_head(auditor, head)
    return auditor.findings


class Scan:
    """An incremental scan of digests from a position on, while the journal may grow."""

    def __init__(self, datastore: Datastore, position: int = 0, digest: str = "") -> None:
        """Starts after `position` if the journal still has that digest there, else at the first fact."""
        self._datastore = datastore
        self._rows = _Rows(datastore)
        self._auditor = Auditor(
            "digests", engine_codec(), self._rows.name_of, findings_max=AUDIT_FINDINGS_MAX
        )
        known = self._rows.digest_at(position) if position else None
        if known is not None and known.hex() == digest:
            self._auditor.position, self._auditor.digest = position, known

    @property
    def position(self) -> int:
        """The last position scanned."""
        return self._auditor.position

    @property
    def digest(self) -> bytes | None:
        """The digest there, None if the scan cannot resume from it."""
        return self._auditor.digest

    @property
    def findings(self) -> list[AuditFinding]:
        """All findings so far."""
        return self._auditor.findings

    def step(self, count: int) -> bool:
        """Scans the next facts; whether the end is reached, where head row and last fact must agree."""
        auditor = self._auditor
        head, last = head_and_last(self._datastore.store, self._datastore.tables)
        after = auditor.position or _BEFORE_ALL
        end = min(last.position, auditor.position + count)
        for page in self._rows.pages(after, end, count, auditor):
            auditor.take(page)
        if auditor.position < end and not auditor.is_full:  # a gap as wide as the step
            auditor.lack(auditor.position + 1, f"this fact and all up to {end} are missing")
            auditor.position = end
        if auditor.position < last.position and not auditor.is_full:
            return False
        _check_head(auditor, head)
        return True


class _Rows:
    """Raw rows of a journal, however damaged."""

    def __init__(self, datastore: Datastore) -> None:
        self._store = datastore.store
        self._names = datastore.names
        journal = datastore.tables.journal.name
        self._page_sql = (
            f"SELECT position, version, name, stream, command, body, digest FROM {journal}"  # noqa: S608
            " WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
        )
        self._stream_sql = (
            f"SELECT position, version, name, stream, command, body, digest FROM {journal}"  # noqa: S608
            " WHERE stream = ? AND version <= ? ORDER BY version"
        )
        self._digest_sql = f"SELECT digest FROM {journal} WHERE position = ?"  # noqa: S608

    def name_of(self, code: int) -> str | None:
        """The stored name for a number."""
        try:
            return self._names.by_code.get(code) or self._names.name_of(code, 0)
        except JournalDamaged:
            return None

    def digest_at(self, position: int) -> bytes | None:
        """The stored digest of a position, if there is one."""
        rows = self._store.query(self._digest_sql, (position,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def stream(self, stream: str, version: int) -> Sequence[Sequence[Any]]:
        """Rows of a stream up to a version; empty if they cannot be fetched."""
        try:
            return self._store.query(self._stream_sql, (stream, version))
        except JournalDamaged:
            return ()

    def pages(
        self, after: int, end: int, limit: int, auditor: Auditor
    ) -> Iterator[Sequence[Sequence[Any]]]:
        """All rows up to `end`. Rows that the database cannot fetch are reported to the auditor."""
        while after < end:
            try:
                rows = self._store.query(self._page_sql, (after, end, limit))
            except JournalDamaged:
                yield from self._singly(max(after, 0), min(max(after, 0) + limit, end), auditor)
                after = max(after, 0) + limit
                continue
            if not rows:
                return
            yield rows
            after = rows[-1][0]

    def _singly(self, after: int, end: int, auditor: Auditor) -> Iterator[Sequence[Sequence[Any]]]:
        for position in range(after + 1, end + 1):
            try:
                yield self._store.query(self._page_sql, (position - 1, position, 1))
            except JournalDamaged as error:
                auditor.lack(position, f"it cannot be fetched: {error}", "digest")
                if auditor.is_full:
                    return


class _Walk:
    def __init__(self, datastore: Datastore, options: AuditOptions, journal_id: str) -> None:
        self._datastore = datastore
        self._options = options
        self._journal_id = journal_id
        self._codec = engine_codec()
        self._rows = _Rows(datastore)
        self._auditor = Auditor(
            options.level,
            self._codec,
            self._rows.name_of,
            findings_max=options.findings_max,
            recall=self._rows.stream,
        )
        self._began_s = time.monotonic()
        self._next_point_s = self._began_s + options.point_s
        self._after = 0
        self._note = ""

    def go(self) -> Audit:
        options, auditor = self._options, self._auditor
        if options.points and not options.from_start:
            self._go_on_from(options.points)
        head, last = head_and_last(self._datastore.store, self._datastore.tables)
        for page in self._rows.pages(self._after or _BEFORE_ALL, last.position, options.page, auditor):
            if self._take(page):
                return self._result(is_complete=False)
            options.report(auditor.position)
            if auditor.is_full:
                break
        if not auditor.is_full:
            self._check_end(head)
        if options.points:
            options.points.forget()
        return self._result(is_complete=True)

    def _go_on_from(self, points: PointFile) -> None:
        point, why_not = points.find(self._journal_id, self._options.level, wall.now_us())
        if point and self._rows.digest_at(point.position) != point.digest:
            why_not = f"the journal has another fact at position {point.position} now"
        if point and not why_not:
            audit_points.go_on(self._auditor, point, self._codec, kind_of)
            self._after = point.position
        elif why_not:
            self._note = f"from the start, and not from the resume point: {why_not}"

    def _take(self, page: Sequence[Sequence[Any]]) -> bool:
        """Audits a page; whether to stop after it. Resume points are written where an append begins."""
        is_stopping = self._options.is_stopping()
        if not is_stopping and (self._options.points is None or time.monotonic() < self._next_point_s):
            self._auditor.take(page)
            return False
        if self._options.points is None:
            return True
        begins = next((n for n, row in enumerate(page) if row[4] is not None), None)
        self._auditor.take(page[:begins])
        if begins is None:
            return False
        self._keep(self._options.points)
        if not is_stopping:
            self._auditor.take(page[begins:])
        return is_stopping

    def _keep(self, points: PointFile) -> None:
        began_s = time.monotonic()
        if self._options.level == "all":
            self._auditor.end_append()
        point = audit_points.point_of(self._auditor, self._journal_id, self._codec, wall.now_us())
        if point is not None and point.position and not points.keep(point):
            self._note = "no resume point can be kept here"
        took_s = time.monotonic() - began_s
        rest_s = self._options.point_s and max(self._options.point_s, AUDIT_POINT_SHARE * took_s)
        self._next_point_s = time.monotonic() + rest_s

    def _check_end(self, head: Head | None) -> None:
        _check_head(self._auditor, head)  # first: a truncated tail tears the last append
        self._auditor.findings += _unique(self._datastore)
        if self._options.level == "all":
            self._auditor.end_append()
            self._auditor.findings += file_faults(self._datastore.store)
        for check in self._options.end_checks:
            self._auditor.findings += check(self._datastore)

    def _result(self, *, is_complete: bool) -> Audit:
        auditor = self._auditor
        findings = sorted(auditor.findings, key=lambda one: (one.position is None, one.position or 0))
        return Audit(
            level=self._options.level,
            journal_id=self._journal_id,
            position=auditor.position,
            digest=(auditor.digest or GENESIS).hex(),
            after=self._after,
            is_complete=is_complete,
            findings=findings[: self._options.findings_max],
            seconds=time.monotonic() - self._began_s,
            note=self._note,
        )


def _check_head(auditor: Auditor, head: Head | None) -> None:
    """Compares the head row with the last fact."""
    last = auditor.position
    if head is None:
        auditor.find("head", "the head row is missing")
    elif head.position > last:
        auditor.lack(last + 1, f"the journal ended at position {head.position}, and ends at {last} now")
    elif head.position < last:
        text = f"the head row says {head.position}, the facts end at {last}"
        auditor.find("head", text, head.position + 1)
    elif auditor.digest is not None and head.digest != auditor.digest:
        auditor.find("head", "the head row's digest is not that of the last fact", last or None)


def _unique(datastore: Datastore) -> Iterator[AuditFinding]:
    """Uniqueness, which an auditor that drops finished streams relies on."""
    journal = datastore.tables.journal
    with datastore.store.reading() as connection:
        known = {
            tuple(index["column_names"])
            for index in sa.inspect(connection).get_indexes(journal.name)
            if index["unique"]
        }
    for wanted in (("stream", "version"), ("command",)):
        if wanted not in known:
            yield AuditFinding(None, "unique", "", f"nothing keeps {', '.join(wanted)} unique any more")


def file_faults(store: Store) -> Iterator[AuditFinding]:
    """SQLite's own check of pages and indexes: streams are read by an index."""
    if store.dialect != "sqlite":
        return
    try:
        rows = store.query(f"PRAGMA integrity_check({_FILE_FAULTS_MAX})")
    except JournalDamaged as error:
        rows = [(str(error),)]
    for (text,) in rows:
        if text != "ok":
            yield AuditFinding(None, "file", "", " ".join(str(text).split()))
