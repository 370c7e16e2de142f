"""Ids: sortable, unique, and UUIDv7 inside."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import ids
from engine.kernel.ids import RandomBits


@given(st.integers(0, 2**128 - 1))
def test_every_number_comes_back(number: int) -> None:
    assert ids.decode(ids.encode(number)) == number


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
def test_text_sorts_as_numbers_do(one: int, other: int) -> None:
    assert (ids.encode(one) < ids.encode(other)) == (one < other)


@given(st.integers(0, 2**128 - 1))
def test_ids_that_are_alike_are_written_the_same(number: int) -> None:
    assert ids.encode_alike(number) == ids.encode(number)


@pytest.mark.parametrize(
    "text", ["", "1" * 21, "1" * 23, "0" * 22, "l" * 22, "z" * 22, "\uff11" * 22, "1" * 21 + "\n"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"base-58|bits"):
        ids.decode(text)


def test_an_id_is_a_uuid_of_version_7() -> None:
    identifier = ids.IdSource(now_ms=lambda: 1_790_000_000_123).new("ord")
    uuid = ids.to_uuid(identifier)
    assert identifier.startswith("ord_")
    assert len(identifier) == 26
    assert (uuid.version, uuid.variant, uuid.int >> 80) == (
        7,
        "specified in RFC 4122",
        1_790_000_000_123,
    )


def test_ids_ascend_inside_a_millisecond_and_when_the_clock_steps_back() -> None:
    clock = iter([5, 5, 5, 4, 3, 6, 1])
    source = ids.IdSource(now_ms=lambda: next(clock))
    made = [source.new("ord") for _ in range(7)]
    assert made == sorted(made)
    assert len(set(made)) == 7


def test_when_the_random_bits_run_out_the_next_millisecond_lends_some() -> None:
    source = ids.IdSource(now_ms=lambda: 5, random_bits=lambda bits: 2**bits - 1)
    first, second = source.number(), source.number()
    assert first < second
    assert second >> 80 == 6


def test_one_seed_makes_the_same_ids() -> None:
    def made() -> list[str]:
        bits = random.Random(7).getrandbits
        source = ids.IdSource(now_ms=lambda: 1, random_bits=bits)
        return [source.new("ord") for _ in range(5)]

    assert made() == made()


def test_pooled_random_bits_are_as_many_as_asked_for_and_never_the_same() -> None:
    draw = RandomBits()
    drawn = [draw(74) for _ in range(2_000)]  # more than one pool
    assert len(set(drawn)) == len(drawn)
    assert max(drawn).bit_length() == 74
    before = draw._pool
    draw.after_fork()
    assert draw(74).bit_length() <= 74
    assert draw._pool != before
