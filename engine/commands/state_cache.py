"""What a desk knows of streams: their states as they will be, and how sure it is of them.

    known     a state, if it is known well enough to decide on it
    learn     what was read of one stream
    follow    facts that were read from the journal, of whatever streams: what others recorded
    doubt     an append that was decided on it failed

Nothing rests on a state being the last one: the journal refuses what was decided on an older one. That
costs a second try, and so streams that others write too are brought up to date before each decision.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from engine.domain.streams import FOLLOWED, REFERENCE, fold_of, prefix_of
from engine.journal.journal import Journal
from engine.journal.pages import Shard
from engine.kernel.errors import JournalDamaged
from engine.kernel.fact import Recorded
from engine.kernel.fold import Loaded
from engine.kernel.limits import (
    CONTESTED_FOR,
    CONTESTED_MAX,
    FOLLOWED_FACTS_MAX,
    REFERENCE_FRESH_S,
    REFERENCE_STALE_S,
    STATES_CACHED_MAX,
)

_FOLLOWED: Final = Shard((FOLLOWED,))
NOTHING: Final[Loaded[Any]] = Loaded()
"""A stream before its first fact."""
_UNFOLLOWED: Final = -1
"""`Entry.since` of what looks may have passed by: before any offset."""


class Entry:
    """A stream as it will be when `tip`, the last append to it that is under way, is recorded.

    `recorded` is how the journal has it for certain. `is_stale`: it has moved on since, and is to be
    read before the next decision. `since`: all that may be missing here stands behind this offset.
    `asked_s`: when the journal was last asked for it, or answered; `checked_s`: up to when it is known
    to hold every change. `is_followed`, `is_reference`: see `streams`.
    """

    __slots__ = (
        "asked_s", "checked_s", "is_followed", "is_reference", "is_stale", "loaded", "recorded", "since",
        "tip",
    )  # fmt: skip

    def __init__(
        self,
        stream: str,
        loaded: Loaded[Any],
        checked_s: float,
        since: int,
        *,
        is_stale: bool = False,
    ) -> None:
        self.loaded = self.recorded = loaded
        self.checked_s = self.asked_s = checked_s
        self.since = since
        prefix = prefix_of(stream)
        self.is_followed, self.is_reference = prefix == FOLLOWED, prefix in REFERENCE
        self.is_stale = is_stale
        self.tip: Any = None  # a `deciding.Pending`


class States:
    """States of streams, within a bound. For one thread, but for what says otherwise.

    `offset` is how far the journal was followed; entries that are no older than `begun` hold all up to
    there. `is_catching_up`: a catch-up is under way, which reads nothing of streams that were not known
    when it began. `monotonic`: seconds of any origin.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.offset = self.begun = 0
        self.is_catching_up = False
        self.monotonic = monotonic
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._contested: OrderedDict[str, int] = OrderedDict()
        self._follows_all = False

    def get(self, stream: str) -> Entry | None:
        """What is known of a stream, well or not. For any thread."""
        return self._entries.get(stream)

    def version(self, stream: str) -> int:
        """The version that it is known at, 0 if it is not known."""
        entry = self._entries.get(stream)
        return entry.loaded.version if entry else 0

    def known(self, stream: str, reloaded: Mapping[str, int], *, has_caught_up: bool) -> Entry | None:
        """The stream, if it is known well enough: by `reloaded` (stream -> version), read since the
        command came; by a catch-up with what others recorded, if the command `has_caught_up`."""
        entry = self._entries.get(stream)
        if entry is None:
            return None
        if entry.tip is None:
            if entry.is_stale:
                return None
            is_contested = stream in self._contested and stream not in reloaded
            if is_contested and not (has_caught_up and self._keeps_up(entry)):
                return None
            if entry.is_reference and self._is_old(stream, entry, reloaded):
                return None
        self._entries.move_to_end(stream)
        return entry

    def _keeps_up(self, entry: Entry) -> bool:
        """Whether looks tell all that has become of it."""
        return entry.is_followed and entry.since >= self.begun

    def _is_old(self, stream: str, entry: Entry, reloaded: Mapping[str, int]) -> bool:
        """Whether a stream whose changes meet no conflict has to be looked at again."""
        now_s = self.monotonic()
        if now_s - entry.asked_s > REFERENCE_FRESH_S:
            entry.asked_s = now_s  # one looks; the others go on meanwhile, for a moment
            return True
        return now_s - entry.checked_s > REFERENCE_STALE_S and stream not in reloaded

    def begin(self, stream: str) -> Entry:
        """The entry of a stream, made if need be for one that has no facts yet."""
        entry = self._entries.get(stream)
        if entry is None:
            entry = Entry(stream, NOTHING, self.monotonic(), self.offset)
            self._put(stream, entry)
        return entry

    def learn(self, stream: str, loaded: Loaded[Any], began_s: float, since: int) -> None:
        """Takes over what was read from the journal, which was asked for at `began_s`, when it had been
        followed to `since`.

        A look may have come further meanwhile, and no look goes back: what it passed may be missing, so
        such a stream is read by itself until no look overtakes that. What is known of a stale one is
        recorded too, so a read that knows less is only a slow one.
        """
        entry = self._entries.get(stream)
        if since < self.offset or (entry is None and self.is_catching_up):
            since = _UNFOLLOWED
        if (
            entry is None
            or loaded.version > entry.loaded.version
            or (entry.is_stale and loaded.version == entry.loaded.version)
        ):
            entry = Entry(stream, loaded, began_s, since)
            self._put(stream, entry)
        entry.since = max(entry.since, since)
        entry.checked_s = max(entry.checked_s, began_s)
        entry.asked_s = self.monotonic()

    def doubt(self, stream: str, entry: Entry) -> None:
        """What was decided on it is not recorded: back to what is certain, of which the rest is read."""
        if self._entries.get(stream) is not entry:
            return
        if entry.recorded.version:
            known = (entry.recorded, entry.checked_s, entry.since)
            self._entries[stream] = Entry(stream, *known, is_stale=True)
        else:
            del self._entries[stream]

    def forget(self, stream: str) -> None:
        """Has it read anew, unless an append to it is under way."""
        entry = self._entries.get(stream)
        if entry and entry.tip is None:
            del self._entries[stream]

    def _put(self, stream: str, entry: Entry) -> None:
        self._entries[stream] = entry
        if len(self._entries) > STATES_CACHED_MAX:
            self._entries.popitem(last=False)

    # --- who else writes --------------------------------------------------------------------------

    def lost(self, streams: Iterable[str]) -> None:
        """Somebody else writes these streams too: from now on they are looked at before each decision.

        That costs a part of one small read, where a conflict costs a second try of the whole group. Who
        is given all news anyway (`follow_all`) knows them well enough.
        """
        if self._follows_all:
            return
        for stream in streams:
            self._contested[stream] = CONTESTED_FOR
            self._contested.move_to_end(stream)
        while len(self._contested) > CONTESTED_MAX:
            self._contested.popitem(last=False)

    def can_catch_up(self, stream: str) -> bool:
        """Whether others write it too, and a look at what they recorded tells what: no look makes up for
        what is missing already."""
        entry = self._entries.get(stream)
        return (
            stream in self._contested
            and entry is not None
            and not entry.is_stale
            and self._keeps_up(entry)
        )

    def found_alone(self, stream: str) -> None:
        """Looked at in vain; after a few times in a row it is ours alone again."""
        left = self._contested.get(stream)
        if left is None:
            return
        self._contested[stream] = left - 1
        if left == 1:
            del self._contested[stream]

    # --- what others record -----------------------------------------------------------------------

    def follow_all(self, facts: Iterable[Recorded]) -> None:
        """Takes over what the journal has, page by page: all that `is_news` wanted, in their order, and
        the first facts of streams, which begin with them.

        What is known already changes nothing. A stream of which something is missing is read before the
        next decision; what `is_news` left out costs a conflict at most.
        """
        self._follows_all = True
        for recorded in facts:
            if recorded.version == 1:
                self.begin(recorded.stream)
            self._follow(recorded)

    def is_news(self, stream: str, version: int, _name: str = "") -> bool:
        """Whether a fact comes after what is known of a stream that is known. For any thread."""
        entry = self._entries.get(stream)
        return entry is not None and version > entry.loaded.version

    def read_on(self, journal: Journal) -> tuple[int, Sequence[Recorded] | None]:
        """Where the journal ends, and what is new there; None if that is too much. For any thread.

        None too if it cannot be read: perhaps one stream has a fact of a newer release, and the others
        are to go on. Damage is noted by the reading itself.
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

    def follow(self, end: int, facts: Sequence[Recorded] | None) -> None:
        """Takes over what `read_on` has found. Behind a gap streams are read one by one, once."""
        if facts is None:
            self.begun = end
        else:
            for recorded in facts:
                self._follow(recorded)
        self.offset = max(self.offset, end)

    def _follow(self, recorded: Recorded) -> None:
        stream, version = recorded.stream, recorded.version
        entry = self._entries.get(stream)
        if entry is None or version <= entry.loaded.version:
            return
        if stream in self._contested:
            self._contested[stream] = CONTESTED_FOR
        if entry.tip is not None or version > entry.loaded.version + 1:
            entry.is_stale = True
            return
        try:
            state = fold_of(stream).evolve(entry.loaded.state, recorded.fact)
        except Exception:  # noqa: BLE001  whoever needs this stream is told, once it is read
            entry.is_stale = True
            return
        entry.loaded = entry.recorded = Loaded(state, version, recorded.envelope.at_us)
