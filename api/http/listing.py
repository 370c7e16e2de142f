"""Instruments by symbol, many at once: what a batch of prices needs of each.

An instrument's facts are read and folded once; afterwards one look-up of versions, for all symbols
together, tells which have changed since. Thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from engine.domain.instrument import Instrument
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.fold import Loaded
from engine.kernel.limits import INSTRUMENTS_KEPT_MAX
from engine.registers.market import Symbols


class Listing:
    """The instruments of one journal, with the last INSTRUMENTS_KEPT_MAX states in memory."""

    def __init__(self, journal: Journal, symbols: Symbols) -> None:
        self._journal = journal
        self._symbols = symbols
        self._kept: OrderedDict[str, Loaded[Instrument]] = OrderedDict()

    def forget(self) -> None:
        """Drops what was read from a journal that has been replaced."""
        self._kept = OrderedDict()

    def find(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """The instrument that has each symbol now, as of the journal's end; without those that none has.

        A former symbol stays reserved and refers to none. Raises JournalDamaged, Unavailable.
        """
        owners = self._symbols.owners(symbols)
        versions = self._journal.versions(sorted(set(owners.values())))
        states = {one: self._state(one, version) for one, version in versions.items()}
        found = {symbol: states.get(owner) for symbol, owner in owners.items()}
        return {
            symbol: state
            for symbol, state in found.items()
            if state is not None and state.terms.symbol == symbol
        }

    def _state(self, instrument: str, version: int) -> Instrument | None:
        kept = self._kept
        known = kept.pop(instrument, None)
        if known is None or known.version != version:
            is_newer = known is not None and known.version < version
            known = self._journal.load(fold_of(instrument), instrument, known if is_newer else None)
        kept[instrument] = known
        while len(kept) > INSTRUMENTS_KEPT_MAX:
            try:
                kept.popitem(last=False)
            except KeyError:  # another thread was faster
                break
        return known.state
