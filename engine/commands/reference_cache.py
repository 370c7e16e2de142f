"""Reference streams: instruments, halts, the clock, the journal's kind. Their freshness goes by age.

Every decision reads them and hardly any writes them, so no conflict tells that they have changed. When
one was read longer than REFERENCE_FRESH_S ago, the first command that needs it reads it again. Others
use what is cached meanwhile; none uses what is older than REFERENCE_STALE_S. So a halt binds every
process within a second. A stream without facts, such as a halt that never was, is cached too.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.commands.entries import Cache, Entry, Reads, State
from engine.commands.freshness import Status, Trust
from engine.kernel.limits import REFERENCE_FRESH_S, REFERENCE_STALE_S


class Reference(Entry):
    """A cached reference stream. `as_of` is in monotonic seconds; `asked_s`: when the journal was last
    asked for it, or answered."""

    __slots__ = ("asked_s",)

    def __init__(self, loaded: State, as_of: float, status: Status) -> None:
        super().__init__(loaded, as_of, status)
        self.asked_s = as_of


class ReferenceCache(Cache[Reference]):
    """Reference streams by id. `monotonic`: seconds of any origin."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self.monotonic = monotonic

    def _new(self, loaded: State, as_of: float, status: Status) -> Reference:
        return Reference(loaded, as_of, status)

    def _trust(self, stream: str, entry: Reference, reads: Reads) -> Trust:
        now_s = self.monotonic()
        if now_s - entry.asked_s > REFERENCE_FRESH_S:
            return "expired"
        if now_s - entry.as_of > REFERENCE_STALE_S and stream not in reads.versions:
            return "expired"
        return "trusted"

    def _now(self) -> float:
        return self.monotonic()

    def begin_read(self, stream: str) -> float:
        """As `Cache.begin_read`. Other commands need not read the stream meanwhile."""
        now_s = self.monotonic()
        entry = self._entries.get(stream)
        if entry is not None:
            entry.asked_s = now_s
        return now_s

    def learn(self, stream: str, loaded: State, as_of: float) -> Reference:
        """As `Cache.learn`."""
        entry = super().learn(stream, loaded, as_of)
        entry.asked_s = self.monotonic()
        return entry
