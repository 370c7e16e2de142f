"""The audit and the independent checker, which share no code, agree about valid and broken journals."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audit import audit_points
from engine.audit.audit import Auditor, Level, RawRow, kind_of
from engine.domain.stored import STORED, engine_codec
from engine.domain.streams import FOLDS
from tests.laws.runs import Run
from tests.laws.test_checker import SEEDS, SORTS, Mutants, difference, judged, valid
from tests.support.models.stored_rows import Written, sealed, written

NAMES = dict(enumerate(STORED, 1))
CODES = {name: code for code, name in NAMES.items()}
MUTANTS = 36
"""Of each sort, over all seeds; 600 under torture."""
BY_INDEX = {"one_command_twice"}
"""Sorts that an auditor leaves to the unique index of the database, which it looks for."""


def rows(facts: list[Written]) -> list[RawRow]:
    """As the database has them."""
    return [
        (one.position, one.version, CODES[one.name], one.stream.decode(), one.command or None, one.body,
         one.digest)
        for one in sealed(facts)
    ]  # fmt: skip


def auditor(level: Level = "all") -> Auditor:
    return Auditor(level, engine_codec(), NAMES.get, findings_max=100)


def audited(facts: list[Written]) -> Auditor:
    one = auditor()
    one.take(rows(facts))
    one.end_append()
    return one


def test_every_stored_name_is_of_a_kind_that_an_audit_can_fold() -> None:
    """A new kind of stream would be accused otherwise. (And those of FOLDS are all there are.)"""
    kinds = {name.partition(".")[0] for name in STORED}
    assert {kind_of(kind) for kind in kinds} == {fold.kind for fold in FOLDS.values()}
    assert all("at_us" in fact.__struct_fields__ for fact in STORED.values())


def test_no_valid_journal_is_accused() -> None:
    for seed in SEEDS:
        assert audited(list(valid(seed))).findings == [], f"seed {seed}"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60), cut=st.floats(0, 1))
def test_a_journal_of_any_run_is_clean_wherever_the_audit_was_cut_off(
    seed: int, steps: int, cut: float
) -> None:
    """And an audit that goes on from a resume point knows what one does that was never cut off."""
    run = Run(seed)
    run.go(steps)
    every = rows(list(written(run.world)))
    whole = auditor()
    whole.take(every)
    whole.end_append()
    assert whole.findings == []
    begins = [n for n, row in enumerate(every) if row[4] is not None]
    at = begins[int(cut * (len(begins) - 1))]
    first, second = auditor(), auditor()
    first.take(every[:at])
    first.end_append()
    codec = engine_codec()
    point = audit_points.point_of(first, "journal", codec, 1)
    assert point is not None
    packed = codec.unpack_state(codec.pack_state(point), audit_points.ResumePoint)
    audit_points.go_on(second, packed, codec, kind_of)
    second.take(every[at:])
    second.end_append()
    assert second.findings == []
    ends = [audit_points.point_of(one, "journal", codec, 1) for one in (whole, second)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("sort", [sort for sort, _ in SORTS if sort.__name__ not in BY_INDEX])
def test_what_the_checker_finds_the_audit_finds(sort: Callable[..., Mutants]) -> None:
    compare(sort, MUTANTS)


@pytest.mark.torture
@pytest.mark.parametrize("sort", [sort for sort, _ in SORTS if sort.__name__ not in BY_INDEX])
def test_what_the_checker_finds_the_audit_finds_large(sort: Callable[..., Mutants]) -> None:
    compare(sort, 600)


def compare(sort: Callable[..., Mutants], count: int) -> None:
    """Of the order inside an append the audit is stricter: the checker lets moves of nothing pass."""
    tried = 0
    for seed in SEEDS:
        facts, random = list(valid(seed)), Random(seed + 99)
        mutants = list(sort(facts, random))
        for mutant in random.sample(mutants, min(len(mutants), count // len(SEEDS))):
            found = audited(mutant).findings
            if judged(mutant) or sort.__name__ != "cause_before_money":
                assert found, difference(facts, mutant)
                assert found[0].position is not None
            tried += 1
    assert tried > count // 3


def test_of_a_stream_only_the_first_fault_is_named() -> None:
    """A fact that is missing breaks its stream, and what is booked for a broken order is let be."""
    facts = list(valid(0))
    place = next(n for n, one in enumerate(facts) if type(one.fact).__name__ == "Placed")
    found = audited(facts[:place] + facts[place + 1 :]).findings
    streams = [one.stream for one in found]
    assert len(streams) == len(set(streams))


def test_memory_holds_what_is_not_over() -> None:
    facts = list(valid(3))
    done = audited(facts)
    over = {one.stream for one in facts if type(one.fact).__name__ in {"Cancelled", "Settled"}}
    assert over
    assert not over & done.live.keys()
    assert not over & done.books.reserved.keys()
