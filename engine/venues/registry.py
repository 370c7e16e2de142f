"""The open venues of an installation, and the one of each instrument.

An adapter is a factory, found by the kind of its setting: a built-in one, or an entry point of the group
`order_engine.venues` in any installed package.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, NamedTuple

from engine.domain.instrument import Instrument
from engine.domain.routing import Routes, Venues, venue_for
from engine.kernel import wall
from engine.kernel.errors import BadSettings, EngineError
from engine.kernel.limits import VENUE_CLOSE_S
from engine.kernel.values import EXACT
from engine.venues.port import Ticket, Venue

_LOG: Final = logging.getLogger("order_engine.venues")
GROUP: Final = "order_engine.venues"
BUILT_IN: Final = (
    EntryPoint("http", "engine.venues.http:open_venue", GROUP),
    EntryPoint("fix", "engine.venues.fix.session:open_venue", GROUP),
)


class NoVenue(EngineError):
    """An order cannot be sent: no open venue takes it. The operator has to change a setting."""

    code = "no_venue"


class Site(NamedTuple):
    """Input of an adapter's factory.

    `directory` is the venue's own; the adapter creates it, if it keeps anything. `ticket` is a look-up:
    the ticket of any order ever sent, by our id, else None; from any thread. `now_us` is wall time.
    """

    name: str
    options: Mapping[str, str]
    directory: Path
    ticket: Callable[[str], Ticket | None]
    now_us: Callable[[], int] = wall.now_us


Factory = Callable[[Site], Venue]
"""Opens a venue. Raises BadSettings for options it cannot use; connects to nothing yet."""


class OpenVenues:
    """The open venues by name, and the rule that chooses one. Iterates over the venues."""

    def __init__(self, venues: Sequence[Venue], routes: Routes) -> None:
        self._venues = {venue.name: venue for venue in venues}
        self._routes = routes

    def __iter__(self) -> Iterator[Venue]:
        return iter(self._venues.values())

    def named(self, name: str) -> Venue:
        """The venue that has an order. Raises NoVenue if it is not open here."""
        venue = self._venues.get(name)
        if venue is None:
            raise NoVenue(
                f"the venue {name} is not among the settings venues: add it, or no report comes"
            )
        return venue

    def close(self) -> None:
        """Ends all connections, in VENUE_CLOSE_S at most: a venue that takes longer is left behind."""
        threads = [
            threading.Thread(target=_close, args=(venue,), daemon=True)
            for venue in self._venues.values()
        ]
        for thread in threads:
            thread.start()
        end_s = time.monotonic() + VENUE_CLOSE_S
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def of(self, instrument: Instrument) -> Venue:
        """The venue of an instrument. Raises NoVenue if no rule names one, or if it cannot take the
        instrument's units.
        """
        terms = instrument.terms
        name = venue_for(self._routes, instrument.id, terms.instrument_type, terms.issuer_country)
        if name is None:
            raise NoVenue(
                f"no rule of the setting venue_of is for {instrument.id}: add one, or a default"
            )
        venue = self.named(name)
        increment = terms.trading_increment
        if not venue.capabilities.has_fractional_units and EXACT.remainder(increment, 1):
            raise NoVenue(
                f"the venue {name} executes whole units only, and {instrument.id} comes in steps of"
                f" {increment}: give it a trading_increment of 1, or another venue"
            )
        return venue


def _close(venue: Venue) -> None:
    try:
        venue.close()
    except Exception as error:  # noqa: BLE001  an adapter may raise anything
        _LOG.warning("%s: it was not closed: %s: %s", venue.name, type(error).__name__, error)


def open_venues(
    venues: Venues,
    routes: Routes,
    directory: Path,
    ticket: Callable[[str], Ticket | None],
    own: Sequence[Venue] = (),
) -> OpenVenues:
    """Opens every venue of the settings; `own` are others. Each may keep files below `directory`.

    Raises BadSettings for one that cannot be opened.
    """
    opened = [
        factory_of(setting.kind)(Site(name, setting.options, directory / "venues" / name, ticket))
        for name, setting in venues.items()
    ]
    return OpenVenues([*own, *opened], routes)


def factory_of(kind: str) -> Factory:
    """The adapter of a kind. Raises BadSettings if none is installed."""
    known = {one.name: one for one in (*entry_points(group=GROUP), *BUILT_IN)}
    if kind not in known:
        found = ", ".join(sorted(known)) or "none"
        raise BadSettings(
            f"no adapter for venues of kind {kind!r:.40} is installed; installed are {found}"
        )
    try:
        factory: Factory = known[kind].load()
    except (ImportError, AttributeError) as error:
        raise BadSettings(f"the adapter for venues of kind {kind} cannot be loaded: {error}") from error
    return factory
