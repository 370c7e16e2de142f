"""Resume points of interrupted audits: the state of an `Auditor` at the end of an append.

The file is replaced atomically, and has a checksum. It names its journal and its digest; if the journal
no longer has that digest, the point is not used.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from engine.audit.audit import AuditFinding, Auditor, Level, Live
from engine.audit.audit_servicing import Held, Owed
from engine.config.keys import sync_directory
from engine.domain.streams import FOLDS
from engine.kernel.codec import Codec
from engine.kernel.errors import JournalDamaged
from engine.kernel.files import regular
from engine.kernel.fingerprint import fingerprint
from engine.kernel.limits import AUDIT_POINT_AGE_US

NAME: Final = "audit.point"
_FORMAT: Final = "1"
"""Number of this file's own format."""
_SUM_BYTES: Final = 32


@cache
def _format() -> str:
    """The format of this file, and of the states in it."""
    return " ".join([_FORMAT, fingerprint(ResumePoint), *(fold.stored_name for fold in FOLDS.values())])


class SavedStream(msgspec.Struct, frozen=True, array_like=True):
    """An open stream; `state` is packed as in a snapshot."""

    stream: str
    kind: str
    version: int
    recorded_us: int
    at_us: int
    state: bytes


class ResumePoint(msgspec.Struct, frozen=True, array_like=True):
    """The complete state of an audit after the append that ends at `position`."""

    format: str
    journal_id: str
    level: str
    saved_us: int
    position: int
    digest: bytes
    findings: tuple[AuditFinding, ...]
    broken: tuple[str, ...]
    live: tuple[SavedStream, ...]
    reserved: tuple[tuple[str, Decimal], ...]
    elsewhere: tuple[tuple[str, str, Decimal], ...]
    held: tuple[tuple[str, str, Decimal], ...]
    units: tuple[tuple[str, str, Held], ...]
    had: dict[str, tuple[int, Decimal]]
    receivable: dict[str, Decimal]
    owed: dict[str, Owed]


def point_of(auditor: Auditor, journal_id: str, codec: Codec, now_us: int) -> ResumePoint | None:
    """The state of an auditor after `end_append`. None if it cannot be resumed after this fact."""
    if auditor.digest is None:
        return None
    books = auditor.books
    live = tuple(
        SavedStream(
            stream, one.kind, one.version, one.recorded_us, one.at_us, codec.pack_state(one.state)
        )
        for stream, one in auditor.live.items()
    )
    return ResumePoint(
        format=_format(),
        journal_id=journal_id,
        level=auditor.level,
        saved_us=now_us,
        position=auditor.position,
        digest=auditor.digest,
        findings=tuple(auditor.findings),
        broken=tuple(auditor.broken),
        live=live,
        reserved=tuple(books.reserved.items()),
        elsewhere=tuple((*key, amount) for key, amount in books.elsewhere.items()),
        held=tuple((*key, amount) for key, amount in books.held.items()),
        units=tuple((*key, held) for key, held in books.servicing.held.items()),
        had=dict(books.servicing.had),
        receivable=dict(books.servicing.receivable),
        owed=dict(books.servicing.owed),
    )


def go_on(auditor: Auditor, point: ResumePoint, codec: Codec, kind_of: Callable[[str], type]) -> None:
    """Restores the state into a new auditor."""
    auditor.position, auditor.digest = point.position, point.digest
    auditor.findings += point.findings
    auditor.broken |= set(point.broken)
    for kept in point.live:
        live = auditor.live[kept.stream] = Live(kept.kind)
        live.version, live.recorded_us, live.at_us = kept.version, kept.recorded_us, kept.at_us
        live.state = codec.unpack_state(kept.state, kind_of(kept.kind))
    books = auditor.books
    books.reserved.update(point.reserved)
    books.elsewhere.update({(asset, of): amount for asset, of, amount in point.elsewhere})
    books.held.update({(asset, of): amount for asset, of, amount in point.held})
    servicing = books.servicing
    servicing.held.update({(account, of): held for account, of, held in point.units})
    servicing.had.update(point.had)
    servicing.receivable.update(point.receivable)
    servicing.owed.update(point.owed)


class PointFile:
    """The one resume point of a data directory."""

    def __init__(self, path: Path, codec: Codec) -> None:
        self._path = path
        self._codec = codec

    def keep(self, point: ResumePoint) -> bool:
        """Writes it; False without the rights or room."""
        packed = self._codec.pack_state(point)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        try:
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(file, "wb") as out:
                    out.write(sha256(packed).digest() + packed)
                    out.flush()
                    os.fsync(out.fileno())
                draft.replace(self._path)
            finally:
                draft.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        except OSError:
            return False
        return True

    def find(self, journal_id: str, level: Level, now_us: int) -> tuple[ResumePoint | None, str]:
        """The point from which an audit of this journal may resume; else the reason, "" if there is no
        point.
        """
        try:
            with regular(self._path) as file:
                content = file.read()
        except OSError:
            return None, ""
        checksum, packed = content[:_SUM_BYTES], content[_SUM_BYTES:]
        if sha256(packed).digest() != checksum:
            return None, "it is damaged"
        try:
            point = self._codec.unpack_state(packed, ResumePoint)
        except JournalDamaged:
            return None, "it cannot be read"
        if (point.format, point.journal_id, point.level) != (_format(), journal_id, level):
            return None, "it is of another journal, release or level"
        if not 0 <= now_us - point.saved_us < AUDIT_POINT_AGE_US:
            return None, "it is more than a day old"
        return point, ""

    def forget(self) -> None:
        """Deletes the point after a completed audit."""
        self._path.unlink(missing_ok=True)
