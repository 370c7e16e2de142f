"""Facts that decisions have asked for (`Past`), so that a second one reads only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from engine.commands.command import Past
from engine.kernel.fact import Fact, Recorded
from engine.kernel.limits import PAST_FACTS_MAX

_Key = tuple[str, tuple[type[Fact], ...]]


class _Known:
    """The facts of some kinds with their versions, of a stream that was read up to `version`."""

    __slots__ = ("facts", "version")

    def __init__(self) -> None:
        self.version = 0
        self.facts: list[tuple[int, Fact]] = []


class Pasts:
    """Recorded facts by stream and kinds, least recently used out. For one thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, _Known] = OrderedDict()

    def find(self, past: Past, version: int) -> list[Fact] | None:
        """The facts up to a version, None if the stream was not read so far."""
        known = self._known.get(_key(past))
        if known is None or known.version < version:
            return None
        self._known.move_to_end(_key(past))
        return [fact for at, fact in known.facts if at <= version]

    def version(self, past: Past) -> int:
        """The version up to which the stream was read, 0 for none."""
        known = self._known.get(_key(past))
        return known.version if known else 0

    def learn(self, past: Past, recorded: Sequence[Recorded]) -> None:
        """Adds the facts that a read has returned; others may have added them meanwhile."""
        known = self._known.setdefault(_key(past), _Known())
        for one in recorded:
            if one.version != known.version + 1:
                continue
            known.version = one.version
            if isinstance(one.fact, past.kinds):
                known.facts.append((one.version, one.fact))
        self._known.move_to_end(_key(past))
        kept = sum(len(other.facts) for other in self._known.values())
        while kept > PAST_FACTS_MAX and len(self._known) > 1:
            kept -= len(self._known.popitem(last=False)[1].facts)


def _key(past: Past) -> _Key:
    return str(past), past.kinds
