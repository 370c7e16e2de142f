"""The halts in force, for `/health/ready`: their number, never the tenants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.domain import halt
from engine.domain.halt import Halt
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.fold import Loaded
from engine.kernel.health import Finding
from engine.kernel.times import whole_second

_STREAMS: Final = "SELECT DISTINCT stream FROM {journal} WHERE stream >= 'hlt_' AND stream < 'hlt`'"


class HaltsProbe:
    """A health probe of halts, of the engine and of tenants. Reads only new facts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, Loaded[Halt]] = {}

    def findings(self) -> Iterator[Finding]:
        """One finding for each kind of halt in force. Raises Unavailable, JournalDamaged."""
        journal = self._journal
        table = journal.datastore.tables.journal.name
        for (stream,) in journal.datastore.store.query(_STREAMS.format(journal=table)):
            self._known[stream] = journal.load(fold_of(stream), stream, self._known.get(stream))
        for code, stops in (("execution_halted", True), ("trading_halted", False)):
            halted = {
                stream: known.state
                for stream, known in self._known.items()
                if known.state and known.state.is_halted and known.state.stops_execution == stops
            }
            if halted:
                yield Finding(code, _sentence(halted))


def _sentence(halted: dict[str, Halt]) -> str:
    since = min(state.since_us for state in halted.values())
    when = whole_second(since)
    tenants = len(halted) - (halt.ENGINE in halted)
    whose = ["all trading"] * (halt.ENGINE in halted)
    whose += [f"trading of {tenants} tenant{'s' * (tenants > 1)}"] * bool(tenants)
    return f"{' and '.join(whose).capitalize()} is halted, since {when}."
