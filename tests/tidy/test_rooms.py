"""Rooms: which package may import which, no circle, and nothing allowed that is not needed."""

from __future__ import annotations

import re
from graphlib import CycleError
from typing import Final

import pytest

from docs.architecture import ROOT, circles, edges, files, levels, picture, room_of, sentence_of
from docs.generate import PICTURE

RULES: Final = {
    "kernel": "",
    "journal": "kernel",
    "domain": "kernel",
    "venues": "kernel domain",
    "config": "kernel domain",
    "history": "kernel domain journal",
    "commands": "kernel domain journal",
    "registers": "kernel domain journal config",
    "followers": "kernel domain journal commands registers venues",
    "proof": "kernel journal config history registers followers",
    "audit": "kernel domain journal config followers",
    "installation": "kernel domain journal config commands registers proof",
    "transfer": "kernel domain journal config commands registers proof audit installation",
    "sandbox": "kernel domain journal config history commands registers followers venues installation",
    "runtime": "kernel domain journal config commands registers followers proof audit installation",
    "projections": "kernel domain journal history registers",
    "api.http": "kernel domain journal config history commands registers followers projections",
    "api.outbound": "kernel domain journal config commands registers followers projections api.http",
    "api.handlers": (
        "kernel domain journal history commands registers proof projections api.http api.outbound"
    ),
    "api.routes": "proof projections api.http api.handlers",
    "order_engine": "*",
}
"""Each room, and the rooms that it may import from. `order_engine` puts everything together."""


@pytest.mark.parametrize("room", RULES)
def test_a_room_imports_only_from_the_rooms_below_it(room: str) -> None:
    used = {other for own, other in edges() if own == room}
    allowed = set(RULES[room].split())
    if allowed == {"*"}:
        return
    strangers = {other: sorted(edges()[room, other]) for other in used - allowed}
    assert not strangers, f"{room} imports {strangers}"
    assert not allowed - used, f"{room} no longer needs {sorted(allowed - used)}: shorten its rule"


def test_neither_rooms_nor_files_import_in_a_circle() -> None:
    assert levels()[0] == ["kernel"]  # raises CycleError
    assert circles() == []


def test_every_module_is_in_a_room() -> None:
    homeless = [module for module, _ in files() if room_of(module) is None]
    assert homeless == ["engine", "api"]


@pytest.mark.parametrize("room", RULES)
def test_a_room_says_in_one_sentence_what_lives_there(room: str) -> None:
    assert sentence_of(room).endswith(".")


def test_the_picture_is_current() -> None:
    assert PICTURE.read_text() == picture(), "stale: run `python -m docs.generate`"


def test_a_new_import_changes_the_picture() -> None:
    before = picture()
    edges()["kernel", "venues"] = {"engine.kernel.ids"}  # type: ignore[index]
    try:
        with pytest.raises(CycleError):
            levels()
    finally:
        edges.cache_clear()
    assert picture() == before


def test_the_way_of_an_order_names_files_that_exist() -> None:
    page = (PICTURE.parent / "architecture.md").read_text()
    named = re.findall(r"`((?:engine|api|projections)/[a-z_/]+\.py)`", page)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []
