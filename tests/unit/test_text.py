"""One kind of text: what it may hold, everywhere alike, and what a terminal is shown of it."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http import wire
from api.http.kinds import Fault, Text
from engine.domain import halt, instrument
from engine.kernel.csv_export import csv_text
from engine.kernel.errors import Refused
from engine.kernel.text import is_plain, shown
from engine.registers.personal import _check as personal_faults
from engine.transfer.csv_import import BadFile, read_instruments
from order_engine.terminal import Escaping
from tests.support.engines.desks import TERMS

REFUSED = {
    "escape": "a\x1b[31mb",
    "bell": "a\x07",
    "line end": "a\nb",
    "C1 control": "a\x9bb",
    "delete": "a\x7f",
    "NUL": "a\0b",
    "right-to-left override": "a\u202eb",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200fb",
    "Arabic letter mark": "a\u061cb",
    "line separator": "a\u2028b",
}
ALLOWED = {
    "zero width joiner": "\U0001f469\u200d\U0001f4bb",
    "zero width non-joiner": "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
    "no-break space": "a\u00a0b",
    "accents": "Zo\u00eb",
}


def by_http(text: str) -> None:
    Text(255).read(text)


def by_csv(text: str) -> None:
    quoted = text.replace('"', '""')
    rows = f'name,symbol,instrument_type,trading_currency\n"{quoted}",S,bond,USD\n'
    read_instruments(rows.encode())


def by_rule(text: str) -> None:
    instrument.put(None, "ins_a", msgspec.structs.replace(TERMS, ticker=text), at_us=0)


def by_halt(text: str) -> None:
    halt.halt(None, text, at_us=0)


def by_words(text: str) -> None:
    if personal_faults("name", text):
        raise Refused("invalid_param")


def by_path(text: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    if wire.read_segment(quote(text)) is None:
        raise Refused("not_found")


WAYS: list[Callable[[str], None]] = [by_http, by_csv, by_rule, by_halt, by_words, by_path]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("way", WAYS)
def test_no_way_in_takes_hidden_characters(way: Callable[[str], None], name: str) -> None:
    assert not is_plain(REFUSED[name])
    with pytest.raises((Refused, Fault, BadFile)):
        way(REFUSED[name])


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_takes_joiners(way: Callable[[str], None], name: str) -> None:
    assert is_plain(ALLOWED[name])
    way(ALLOWED[name])


def test_what_was_stored_before_still_folds() -> None:
    evil = msgspec.structs.replace(TERMS, name=REFUSED["escape"], symbol="B\u202e")
    listed = instrument.evolve(None, instrument.InstrumentListed("ins_a", evil, 1))
    assert listed.terms == evil
    assert instrument.put(listed, "ins_a", TERMS, at_us=2), "and can be changed into what is allowed"


@given(st.text())
def test_what_is_shown_holds_nothing_hidden_and_loses_nothing(text: str) -> None:
    seen = shown(text)
    assert is_plain(seen.replace("\n", ""))
    assert not any(unicodedata.category(one) == "Cc" for one in seen if one != "\n")
    if is_plain(text):
        assert seen == text


def test_output_is_escaped_whatever_prints_it() -> None:
    below: Any = io.StringIO()
    stream = Escaping(below)
    print("name \x1b]0;owned\x07", "\u202egnp.exe", file=stream)
    assert below.getvalue() == "name \\x1b]0;owned\\x07 \\u202egnp.exe\n"


def test_no_cell_is_a_formula() -> None:
    rows = [["=1+1", "+49 30", "-1.50", "@x", "\tx", "plain", None]]
    document = csv_text(list("abcdefg"), rows)
    assert document.splitlines()[1] == "'=1+1,'+49 30,-1.50,'@x,'\tx,plain,"
