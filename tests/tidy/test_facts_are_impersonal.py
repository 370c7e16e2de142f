"""Words that belong to a person can be erased, and facts cannot: so no fact has a place for them."""

from __future__ import annotations

import msgspec

from engine.instrument import Terms
from engine.order import Placed
from engine.stored import STORED

PERSONAL = {"name", "reference", "payment_reference", "client_reference"}
NAMES_OF_INSTRUMENTS = {Placed, Terms}


def test_no_fact_has_a_field_for_personal_words() -> None:
    kinds: set[type[msgspec.Struct]] = set(STORED.values()) | {Terms}
    found = {kind: PERSONAL & set(kind.__struct_fields__) for kind in kinds}
    assert {kind for kind, words in found.items() if words} == NAMES_OF_INSTRUMENTS
    assert all(found[kind] == {"name"} for kind in NAMES_OF_INSTRUMENTS)


def test_every_fact_says_when_at_its_end() -> None:
    assert {kind.__struct_fields__[-1] for kind in STORED.values()} == {"at_us"}
