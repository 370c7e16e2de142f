"""Venues of an installation and the rules that choose one for an instrument, set by the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from engine.domain.fees import TYPES
from engine.domain.kind import SIMULATED, JournalKind
from engine.kernel.errors import BadSettings

ANY: Final = "*"
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
"""The name of a venue. It stands in facts, so it never changes."""


class VenueSetting(NamedTuple):
    """The kind of a venue (an adapter's name), and the adapter's options."""

    kind: str
    options: Mapping[str, str]


Venues = Mapping[str, VenueSetting]
"""Name -> setting, in the operator's order."""
Routes = Mapping[str, str]
"""Subject -> name of a venue. A subject is an instrument's id or type, a country, or ANY."""


def venue_for(routes: Routes, instrument: str, kind: str, country: str | None) -> str | None:
    """The venue of an instrument of type `kind`: by its id, else type, else country, else the default.

    None without a rule for it.
    """
    subjects = (instrument, kind, country or "", ANY)
    return next((routes[subject] for subject in subjects if subject in routes), None)


def effective_routes(venues: Venues, routes: Routes, kind: JournalKind | None) -> Routes:
    """The rules in force: the stated ones, else the only venue, else the simulated one of a sandbox."""
    if routes or venues:
        return routes or dict.fromkeys((ANY,), next(iter(venues)))
    return {ANY: SIMULATED} if kind == "sandbox" else {}


# --- as text --------------------------------------------------------------------------------------

VENUE_FORM: Final = (
    "NAME=KIND,OPTION=VALUE,... such as acme=http,url=https://gateway.example.com,secret_file=/etc/acme"
)
ROUTE_FORM: Final = "SUBJECT=VENUE such as *=acme; bond=desk; US=acme; ins_x=desk"
_OPTION: Final = re.compile(r"([a-z][a-z0-9_]{0,31})=([!-~](?:[ -~]*[!-~])?)", re.ASCII)
_INSTRUMENT: Final = re.compile(r"ins_[!-~]+", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)


def parse_venues(text: str, name: str) -> Venues:
    """Parses `VENUE_FORM`, entries separated by semicolons. `name` is the setting's. Raises
    BadSettings, without any option's value: it may be a secret.
    """
    venues: dict[str, VenueSetting] = {}
    for venue, words in _entries(text, name, VENUE_FORM):
        kind, *options = (word.strip() for word in words.split(","))
        found = [_OPTION.fullmatch(option) for option in options]
        if not NAME.fullmatch(venue) or not NAME.fullmatch(kind) or not all(found):
            raise BadSettings(f"{name} is {VENUE_FORM}: {venue!r:.40} is not")
        if SIMULATED in (venue, kind):
            raise BadSettings(f"{name}: the venue {SIMULATED} needs no setting: a sandbox has it")
        given = {match[1]: match[2] for match in found if match}
        if len(given) != len(found):
            raise BadSettings(f"{name}: the venue {venue} has an option twice")
        if venue in venues:
            raise BadSettings(f"{name} has {venue} twice")
        venues[venue] = VenueSetting(kind, given)
    return venues


def parse_routes(text: str, name: str, venues: Venues) -> Routes:
    """Parses `ROUTE_FORM`, entries separated by semicolons. `name` is the setting's.

    Raises BadSettings, also for a venue that is not among `venues`, and if several venues have no rule.
    """
    routes: dict[str, str] = {}
    for subject, venue in _entries(text, name, ROUTE_FORM):
        is_subject = subject == ANY or subject in TYPES
        if not is_subject and not _INSTRUMENT.fullmatch(subject) and not _COUNTRY.fullmatch(subject):
            raise BadSettings(
                f"{name} is {ROUTE_FORM}: {subject!r:.80} is neither *, ins_..., a country such as US,"
                f" nor one of {', '.join(TYPES)}"
            )
        if venue not in venues and venue != SIMULATED:
            known = ", ".join(venues) or "none"
            raise BadSettings(f"{name}: no venue {venue!r:.40}; the setting venues names {known}")
        if subject in routes:
            raise BadSettings(f"{name} has {subject!r:.80} twice")
        routes[subject] = venue
    if len(venues) > 1 and not routes:
        raise BadSettings(f"{name} is not set: several venues need it, such as *={next(iter(venues))}")
    return routes


def _entries(text: str, name: str, form: str) -> Iterator[tuple[str, str]]:
    for entry in filter(None, map(str.strip, text.split(";"))):
        subject, equals, words = (part.strip() for part in entry.partition("="))
        if not equals or not words:
            raise BadSettings(f"{name} is {form}: {subject!r:.40} is not")
        yield subject, words
