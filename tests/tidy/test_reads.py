"""Every GET has a row that says where its answer comes from and how current it is."""

from __future__ import annotations

from api.http.sources import READS, SOURCES
from api.routes import ROUTES


def test_every_get_says_how_current_it_is() -> None:
    gets = {route.name for route in ROUTES if route.method == "GET"}
    assert gets - READS.keys() == set(), "add a row to READS in api/http/sources.py"
    assert READS.keys() - gets == set(), "rows of no route"


def test_every_way_of_reading_is_used() -> None:
    assert {*READS.values()} == SOURCES.keys()


def test_only_lists_have_pages() -> None:
    """A page comes from a view, or from what is always current."""
    paged = {route.name for route in ROUTES if any(field.name == "before" for field in route.query)}
    assert {READS[name] for name in paged} == {"list", "journal", "register", "acts"}
