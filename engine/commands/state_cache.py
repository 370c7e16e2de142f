"""Streams that decisions change: accounts, orders, payments. Their freshness goes by conflicts.

An entry is trusted as it is: the journal refuses what was decided on an older version, and the command
is decided again. That second try throws back all that was decided on top of the first, so a stream that
met a conflict counts as contested until it was brought up to date CONTESTED_FOR times in vain. Before
each decision it is read. For accounts a *catch-up* does that: one read of the new facts of all cached
accounts, for all commands that ask meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from engine.commands.entries import Cache, Entry, Reads, State
from engine.commands.freshness import Status, Trust
from engine.domain.streams import FOLLOWED, prefix_of
from engine.journal.journal import Journal
from engine.journal.pages import Shard
from engine.kernel.errors import JournalDamaged
from engine.kernel.fact import Recorded
from engine.kernel.limits import CONTESTED_FOR, CONTESTED_MAX, FOLLOWED_FACTS_MAX

_FOLLOWED: Final = Shard((FOLLOWED,))
_UNFOLLOWED: Final = -1
"""`Entry.as_of` of a read that a catch-up may have passed: before any offset."""


class StateCache(Cache[Entry]):
    """Streams by id. Offsets: catch-ups have read up to `offset`, and cover entries with an `as_of` of
    at least `covered_from`.

    `is_catching_up`: a catch-up is under way; it reads nothing of streams that were not cached when it
    began. `follows_all`: a reader of all facts hands them in, so no stream counts as contested.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offset = self.covered_from = 0
        self.is_catching_up = self.follows_all = False
        self._contested: OrderedDict[str, int] = OrderedDict()

    def _new(self, loaded: State, as_of: float, status: Status) -> Entry:
        return Entry(loaded, as_of, status)

    def _trust(self, stream: str, entry: Entry, reads: Reads) -> Trust:
        if stream not in self._contested or stream in reads.versions:
            return "trusted"
        if prefix_of(stream) != FOLLOWED or entry.as_of < self.covered_from:
            return "contested"
        return "trusted" if reads.has_caught_up else "followed"

    def _now(self) -> float:
        return self.offset

    def learn(self, stream: str, loaded: State, as_of: float) -> Entry:
        """As `Cache.learn`. A concurrent catch-up may have passed facts that this read lacks, and never
        revisits them: such a stream is reloaded alone until no catch-up overtakes the read."""
        if as_of < self.offset or (self.is_catching_up and stream not in self._entries):
            as_of = _UNFOLLOWED
        return super().learn(stream, loaded, as_of)

    def follow(self, recorded: Recorded, *, begins: bool = False) -> bool:
        """As `Cache.follow`. News of a contested stream keeps it contested."""
        is_news = super().follow(recorded, begins=begins)
        if is_news and recorded.stream in self._contested:
            self._contested[recorded.stream] = CONTESTED_FOR
        return is_news

    # --- contested streams ------------------------------------------------------------------------

    def contest(self, streams: Iterable[str]) -> None:
        """Another process writes these streams too: they met a conflict."""
        if self.follows_all:
            return
        for stream in streams:
            self._contested[stream] = CONTESTED_FOR
            self._contested.move_to_end(stream)
        while len(self._contested) > CONTESTED_MAX:
            self._contested.popitem(last=False)

    def found_unchanged(self, stream: str) -> None:
        """The stream was brought up to date in vain: after CONTESTED_FOR times it is trusted again."""
        left = self._contested.get(stream)
        if left is None:
            return
        self._contested[stream] = left - 1
        if left == 1:
            del self._contested[stream]

    # --- catch-ups --------------------------------------------------------------------------------

    def read_on(self, journal: Journal) -> tuple[int, Sequence[Recorded] | None]:
        """The journal's end, and the new facts of cached accounts; None if these are too many. For any
        thread.

        None too if they cannot be read: one stream may have a fact of a newer release, and the others
        have to continue. Damage is noted by the read itself.
        """
        after, head = self.offset, journal.head
        if head <= after:
            return after, ()
        if head - after > FOLLOWED_FACTS_MAX:
            return head, None
        try:
            return head, journal.read_shard(after, head, _FOLLOWED, wanted=self.is_news)
        except JournalDamaged:
            return head, None

    def catch_up(self, end: int, facts: Sequence[Recorded] | None) -> None:
        """Takes over the result of `read_on`. Without facts, streams are reloaded one by one, once."""
        if facts is None:
            self.covered_from = end
        else:
            for recorded in facts:
                self.follow(recorded)
        self.offset = max(self.offset, end)
