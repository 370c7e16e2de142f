"""Cached streams and the appends under way to them. `freshness` has the table of statuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

from engine.commands.command import Command
from engine.commands.freshness import (
    ACTIONS,
    FACT_LATER,
    FACT_NEXT,
    FAILED,
    FAILED_FIRST,
    FORGOTTEN,
    READ_NEWER,
    READ_OLDER,
    READ_SAME,
    RECORDED,
    SUBMITTED,
    Action,
    Status,
    Trust,
)
from engine.commands.steps import Awaited
from engine.domain.streams import fold_of
from engine.journal.journal import PlacedFact
from engine.journal.writer import Append
from engine.kernel.fact import Envelope, Recorded
from engine.kernel.fold import Loaded
from engine.kernel.limits import STATES_CACHED_MAX

State = Loaded[msgspec.Struct]
"""A stream's folded state with its version, whatever the kind of stream."""
NOTHING: Final[State] = Loaded()
"""A stream before its first fact."""


class Pending(Awaited):
    """An append handed to the writer. `after`: the states that it leads to, by stream; `entries`: where
    these are cached."""

    __slots__ = ("after", "append", "command", "entries", "envelope", "facts")

    def __init__(self, command: Command, envelope: Envelope, after: dict[str, State]) -> None:
        super().__init__()
        self.command = command
        self.envelope = envelope
        self.after = after
        self.append: Append
        self.facts: Sequence[PlacedFact] = ()
        self.entries: dict[str, Entry] = {}

    @property
    def has_failed(self) -> bool:
        """Whether decisions that rest on it have to be decided once more."""
        return self.append.error is not None or self.append.is_repeat


class Entry:
    """A cached stream.

    `loaded` is the state that decisions are made on: that after `tip`, the last append under way (None:
    there is none). `recorded` is the last state known to be in the journal. `as_of`: every change up to
    there is known, an offset or monotonic seconds as the cache has it.
    """

    __slots__ = ("as_of", "loaded", "recorded", "status", "tip")

    def __init__(self, loaded: State, as_of: float, status: Status) -> None:
        self.loaded = self.recorded = loaded
        self.as_of = as_of
        self.status = status
        self.tip: Pending | None = None

    def record(self, pending: Pending, after: State) -> None:
        """An append to it is in the journal."""
        self.recorded = after
        if self.tip is pending:
            self.tip = None
            self.status = RECORDED.next[self.status]


class Reads:
    """Reads of one command from the journal since it came: streams with the versions that they had, and
    whether it `has_caught_up` since it was last decided.
    """

    __slots__ = ("has_caught_up", "versions")

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.has_caught_up = False


E = TypeVar("E", bound=Entry)


class Cache(ABC, Generic[E]):
    """Entries by stream, least recently used out. For one thread, except `get` and `is_news`.

    When its appends fail, or a read replaces it, a stream gets a new entry: appends that still point to
    the old one change nothing.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[str, E] = OrderedDict()

    @abstractmethod
    def _new(self, loaded: State, as_of: float, status: Status) -> E:
        """An entry of this cache."""

    @abstractmethod
    def _trust(self, stream: str, entry: E, reads: Reads) -> Trust:
        """How far a command trusts an entry."""

    @abstractmethod
    def _now(self) -> float:
        """The `as_of` of a read that begins now."""

    def get(self, stream: str) -> E | None:
        """The entry of a stream, of whatever status."""
        return self._entries.get(stream)

    def version(self, stream: str) -> int:
        """The version that is cached, 0 if none is."""
        entry = self._entries.get(stream)
        return entry.loaded.version if entry else 0

    def find(self, stream: str, reads: Reads) -> E | Action:
        """The entry to decide on, or what has to be done first."""
        entry = self._entries.get(stream)
        if entry is None:
            return ACTIONS["trusted"]["absent"]
        action = ACTIONS[self._trust(stream, entry, reads)][entry.status]
        if action != "use":
            return action
        self._entries.move_to_end(stream)
        return entry

    def begin_read(self, stream: str) -> float:  # noqa: ARG002
        """To be called before a read of the stream: the `as_of` of what it will return."""
        return self._now()

    # --- events -----------------------------------------------------------------------------------

    def learn(self, stream: str, loaded: State, as_of: float) -> E:
        """Takes over what a read has returned; `as_of` is from `begin_read`. A slow read is harmless:
        what is cached is recorded too, or rests on appends that the journal will judge."""
        entry = self._entries.get(stream)
        before: Status = entry.status if entry else "absent"
        known = entry.loaded.version if entry else -1
        event = READ_NEWER if loaded.version > known else READ_SAME
        if loaded.version < known:
            event = READ_OLDER
        after = event.next[before]
        if entry is None or event is READ_NEWER or after != before:
            return self._put(stream, self._new(loaded, as_of, after))
        entry.as_of = max(entry.as_of, as_of)
        return entry

    def submit(self, stream: str, pending: Pending, after: State) -> None:
        """An append to the stream was handed to the writer."""
        entry = self._entries.get(stream) or self._begin(stream)
        entry.status = SUBMITTED.next[entry.status]
        entry.loaded, entry.tip = after, pending
        pending.entries[stream] = entry

    def fail(self, stream: str, entry: Entry) -> None:
        """Decisions on the entry were not recorded: back to the state that is certain."""
        if self._entries.get(stream) is not entry:
            return
        event = FAILED if entry.recorded.version else FAILED_FIRST
        after = event.next[entry.status]
        if after == "absent":
            del self._entries[stream]
        else:
            self._entries[stream] = self._new(entry.recorded, entry.as_of, after)

    def forget(self, stream: str) -> None:
        """Has the stream read anew, unless an append to it is under way."""
        entry = self._entries.get(stream)
        if entry is None:
            return
        entry.status = FORGOTTEN.next[entry.status]
        if entry.status == "absent":
            del self._entries[stream]

    def follow(self, recorded: Recorded, *, begins: bool = False) -> bool:
        """Takes over a fact read from the journal, and says whether it was news. With `begins`, a first
        fact makes an entry; without, facts of streams that are not cached are ignored."""
        stream, version = recorded.stream, recorded.version
        entry = self._entries.get(stream)
        if entry is None:
            if version > 1 or not begins:
                return False
            entry = self._begin(stream)
        if version <= entry.loaded.version:
            return False
        event = FACT_NEXT if version == entry.loaded.version + 1 else FACT_LATER
        entry.status = event.next[entry.status]
        if entry.status == "current":
            try:
                state = fold_of(stream).evolve(entry.loaded.state, recorded.fact)
            except Exception:  # noqa: BLE001  a command that needs the stream is told, once it is read
                entry.status = FACT_LATER.next[entry.status]
            else:
                entry.loaded = entry.recorded = Loaded(state, version, recorded.envelope.at_us)
        return True

    def is_news(self, stream: str, version: int, _name: str = "") -> bool:
        """Whether a fact comes after the cached version of a cached stream."""
        entry = self._entries.get(stream)
        return entry is not None and version > entry.loaded.version

    def _begin(self, stream: str) -> E:
        """An entry for a stream about which nothing is known."""
        return self._put(stream, self._new(NOTHING, self._now(), "absent"))

    def _put(self, stream: str, entry: E) -> E:
        self._entries[stream] = entry
        if len(self._entries) > STATES_CACHED_MAX:
            self._entries.popitem(last=False)
        return entry
