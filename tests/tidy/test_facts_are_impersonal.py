"""Words that belong to a person can be erased, and facts cannot: so no fact has a place for them."""

from __future__ import annotations

import msgspec

from engine.domain.instrument import Terms
from engine.domain.order import Placed
from engine.domain.stored import STORED

PERSONAL = {"name", "reference", "payment_reference", "client_reference"}
NAMES_OF_INSTRUMENTS = {Placed, Terms}


def test_no_fact_has_a_field_for_personal_words() -> None:
    kinds: set[type[msgspec.Struct]] = set(STORED.values()) | {Terms}
    found = {kind: PERSONAL & set(kind.__struct_fields__) for kind in kinds}
    assert {kind for kind, words in found.items() if words} == NAMES_OF_INSTRUMENTS
    assert all(found[kind] == {"name"} for kind in NAMES_OF_INSTRUMENTS)


def test_every_fact_says_when() -> None:
    assert not [kind for kind in STORED.values() if "at_us" not in kind.__struct_fields__]


def test_a_field_after_the_time_has_a_default() -> None:
    """Facts of the first release ended with `at_us`: what stands behind it came later."""
    for kind in STORED.values():
        names = kind.__struct_fields__
        newer = len(names) - names.index("at_us") - 1
        assert newer <= len(kind.__struct_defaults__), f"{kind.__name__}: {names[-newer:]} need defaults"
