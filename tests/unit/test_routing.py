"""Venues and their rules: the venue of each instrument, and every way to write the settings wrong."""

from __future__ import annotations

import sys
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace

from engine.domain.instrument import Instrument
from engine.domain.kind import JournalKind
from engine.domain.routing import (
    VenueSetting,
    effective_routes,
    parse_routes,
    parse_venues,
    venue_for,
)
from engine.kernel.errors import BadSettings
from engine.venues import registry
from engine.venues.port import Capabilities, Venue
from engine.venues.registry import NoVenue, OpenVenues, Site, factory_of, open_venues
from tests.support.engines.desks import INSTRUMENT, TERMS
from tests.support.engines.following import ScriptedVenue
from tests.support.models.table import rows

ALL = parse_venues("one=a; two=a; three=a; four=a", "venues")
CHOSEN = """
rules                                     |instrument|type|country|venue
*=one                                     |ins_x     |bond|US     |one
*=one; US=two                             |ins_x     |bond|US     |two
*=one; US=two                             |ins_x     |bond|GB     |one
*=one; US=two                             |ins_x     |bond|       |one
*=one; US=two; bond=three                 |ins_x     |bond|US     |three
ins_x=four; bond=three; US=two; *=one     |ins_x     |bond|US     |four
ins_x=four; bond=three; US=two; *=one     |ins_y     |etf |US     |two
ins_x=four                                |ins_y     |etf |US     |
"""


@pytest.mark.parametrize("row", rows(CHOSEN), ids=lambda row: f"{row['rules']} {row['instrument']}")
def test_the_most_particular_rule_chooses(row: dict[str, str]) -> None:
    routes = parse_routes(row["rules"], "venue_of", ALL)
    found = venue_for(routes, row["instrument"], row["type"], row["country"] or None)
    assert found == (row["venue"] or None)


EFFECTIVE = """
venues      |rules  |kind   |in force
            |       |live   |
            |       |sandbox|*=simulated
one=a       |       |live   |*=one
one=a       |       |sandbox|*=one
one=a;two=a |*=two  |live   |*=two
one=a       |US=one |sandbox|US=one
"""


@pytest.mark.parametrize("row", rows(EFFECTIVE), ids=str)
def test_rules_that_were_not_stated(row: dict[str, str]) -> None:
    kind: JournalKind = "live" if row["kind"] == "live" else "sandbox"
    venues = parse_venues(row["venues"], "venues")
    routes = effective_routes(venues, parse_routes(row["rules"], "venue_of", venues), kind)
    assert "; ".join(f"{subject}={venue}" for subject, venue in routes.items()) == row["in force"]


def test_a_venue_has_a_kind_and_options() -> None:
    assert parse_venues(" acme = http, url=https://g.example/a=b , retries=2 ;", "venues") == {
        "acme": VenueSetting("http", {"url": "https://g.example/a=b", "retries": "2"})
    }


WRONG_VENUES = {
    "no kind": "acme",
    "an empty kind": "acme=",
    "a name in capitals": "Acme=http",
    "a name that is too long": f"{'a' * 33}=http",
    "an option without a value": "acme=http,url=",
    "an option without a name": "acme=http,secret-word",
    "an option twice": "acme=http,url=a,url=b",
    "a venue twice": "acme=http; acme=fix",
    "the simulated venue": "simulated=http",
    "the simulated kind": "acme=simulated",
    "a control character": "acme=http,url=a\tb",
}


@pytest.mark.parametrize("what", WRONG_VENUES)
def test_wrong_venues_are_refused(what: str) -> None:
    with pytest.raises(BadSettings, match=r"^THE PLACE") as caught:
        parse_venues(WRONG_VENUES[what], "THE PLACE")
    assert "secret-word" not in str(caught.value)


WRONG_ROUTES = {
    "no venue": ("*", "one=a"),
    "an unknown venue": ("*=two", "one=a"),
    "an unknown type": ("bonds=one", "one=a"),
    "a country in small letters": ("us=one", "one=a"),
    "a subject twice": ("US=one;US=one", "one=a"),
    "several venues and no rule": ("", "one=a;two=a"),
}


@pytest.mark.parametrize("what", WRONG_ROUTES)
def test_wrong_rules_are_refused(what: str) -> None:
    text, venues = WRONG_ROUTES[what]
    with pytest.raises(BadSettings, match=r"^THE PLACE"):
        parse_routes(text, "THE PLACE", parse_venues(venues, "venues"))


# --- the registry -------------------------------------------------------------------------------------


def instrument(increment: str = "0.01") -> Instrument:
    terms = replace(TERMS, trading_increment=Decimal(increment))
    return Instrument(INSTRUMENT, "listed", terms, 1, 1)


def test_an_instrument_without_a_rule_or_an_open_venue_has_none() -> None:
    with pytest.raises(NoVenue, match="venue_of"):
        OpenVenues([ScriptedVenue("one")], {"ins_other": "one"}).of(instrument())
    with pytest.raises(NoVenue, match="two"):
        OpenVenues([ScriptedVenue("one")], {"*": "two"}).of(instrument())


@pytest.mark.parametrize(("increment", "is_taken"), [("0.01", False), ("1", True), ("1.5", False)])
def test_fractions_are_not_sent_to_a_venue_of_whole_units(increment: str, is_taken: bool) -> None:
    venues = OpenVenues([ScriptedVenue("one", Capabilities(has_fractional_units=False))], {"*": "one"})
    if is_taken:
        assert venues.of(instrument(increment)).name == "one"
    else:
        with pytest.raises(NoVenue, match="trading_increment"):
            venues.of(instrument(increment))


def made_up(site: Site) -> Venue:
    """The factory of an adapter that some other package brings."""
    assert site.directory.name == site.name
    return ScriptedVenue(f"{site.name}-{site.options['word']}")


def test_an_installed_package_brings_an_adapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("made_up_adapter")
    module.made_up = made_up  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_adapter", module)
    found = [
        EntryPoint("acme", "made_up_adapter:made_up", registry.GROUP),
        EntryPoint("gone", "made_up_adapter:nothing", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    venues = open_venues(parse_venues("v=acme,word=x", "venues"), {"*": "v-x"}, tmp_path, lambda _: None)
    assert venues.of(instrument()).name == "v-x"
    assert list(tmp_path.iterdir()) == []
    for kind, words in (("none", "installed are acme, fix, gone, http"), ("gone", "cannot be loaded")):
        with pytest.raises(BadSettings, match=words):
            factory_of(kind)
