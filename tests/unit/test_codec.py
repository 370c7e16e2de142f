"""Facts to bytes and back, and what is refused on the way."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel.codec import Codec
from engine.kernel.errors import JournalDamaged, UnknownFact, Unrecordable
from engine.kernel.fact import Envelope, Fact
from tests.support.models.facts import CODEC, Added, Leg, Opened, Sum

FULL = Envelope(1_234_567, date(2026, 3, 12), "tnt", "cli", b"c" * 16, "req", 42, "requested")

decimals = st.decimals(
    allow_nan=False, allow_infinity=False, places=8, min_value=-(10**15), max_value=10**15
)
times = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
envelopes = st.builds(
    Envelope,
    st.integers(0, 2**62),
    st.none() | st.dates(date(1900, 1, 1)),
    st.none() | st.text(st.characters(codec="utf-8")),
    command=st.none() | st.binary(max_size=16),
    cause=st.none() | st.integers(0, 2**62),
)
facts = st.one_of(
    st.builds(
        Opened, st.text(st.characters(codec="utf-8")), day=st.none() | st.dates(), at=st.none() | times
    ),
    st.builds(Added, decimals, st.lists(st.builds(Leg, st.sampled_from("ab"), decimals)).map(tuple)),
)


@given(envelopes, facts)
def test_what_was_encoded_is_decoded_the_same(envelope: Envelope, fact: Fact) -> None:
    assert CODEC.decode(*CODEC.encode(envelope, fact)) == (envelope, fact)


@given(decimals)
def test_a_decimal_keeps_its_scale(amount: Decimal) -> None:
    _, fact = CODEC.decode(*CODEC.encode(FULL, Added(amount)))
    assert isinstance(fact, Added)
    assert fact.amount.as_tuple() == amount.as_tuple()


def test_a_decimal_is_stored_as_its_plain_digits() -> None:
    _, body = CODEC.encode(FULL, Added(Decimal("1E+3")))
    assert b"1000" in body


def test_times_are_stored_in_utc() -> None:
    there = datetime(2026, 3, 12, 16, 30, tzinfo=timezone(timedelta(hours=2)))
    _, fact = CODEC.decode(*CODEC.encode(FULL, Opened("a", at=there)))
    assert isinstance(fact, Opened)
    assert fact.at is not None
    assert (fact.at, fact.at.tzinfo) == (there, UTC)


def test_a_body_is_one_plain_msgpack_array() -> None:
    _, body = CODEC.encode(FULL, Opened("owner"))
    assert msgpack.unpackb(body) == [
        *(1_234_567, 20_524, "tnt", "cli", b"c" * 16, "req", 42, "requested"),
        *("owner", "buy", None, None),
    ]


def test_an_absent_word_costs_a_byte() -> None:
    _, bare = CODEC.encode(Envelope(0), Opened(""))
    _, with_cause = CODEC.encode(Envelope(0, cause=5), Opened(""))
    assert len(bare) == len(with_cause) == 1 + 8 + 1 + 4 + 2  # array, envelope, "", "buy", two absent


class NotAFact(Fact, frozen=True):
    pass


@pytest.mark.parametrize(
    "fact",
    [
        Added(Decimal("NaN")),
        Added(Decimal("-Infinity")),
        Opened("lone \ud800 surrogate"),
        Opened("no zone", at=datetime(2026, 1, 1)),  # noqa: DTZ001
        Opened("x" * 300_000),
        Opened(object()),  # type: ignore[arg-type]
        Opened(2**70),  # type: ignore[arg-type]
        NotAFact(),
    ],
)
def test_what_could_not_be_read_back_is_refused(fact: Fact) -> None:
    with pytest.raises(Unrecordable):
        CODEC.encode(FULL, fact)


def test_a_name_of_another_release_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownFact, match=r"order\.teleported\.1"):
        CODEC.decode("order.teleported.1", b"\x90")


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_truncated_body_is_damage(cut: int) -> None:
    name, body = CODEC.encode(FULL, Opened("owner"))
    with pytest.raises(JournalDamaged):
        CODEC.decode(name, body[:cut])


@pytest.mark.parametrize(
    "body", [b"\xc0", b"\x90", b"\xc1", msgpack.packb([1] * 50), b"\x93\x01\x02\x03"]
)
def test_bytes_that_are_no_body_are_damage(body: bytes) -> None:
    with pytest.raises(JournalDamaged):
        CODEC.decode("test.opened.1", body)


def test_a_fact_may_grow_at_its_end() -> None:
    class OpenedOnce(Fact, frozen=True):
        owner: str

    name, body = Codec({"test.opened.1": OpenedOnce}).encode(FULL, OpenedOnce("a"))
    assert CODEC.decode(name, body) == (FULL, Opened("a", "buy", None, None))


def test_an_older_name_is_upcast_step_by_step() -> None:
    codec = Codec(
        {"test.opened.3": Opened},
        {
            "test.opened.1": ("test.opened.2", lambda values: (*values, "sell")),
            "test.opened.2": ("test.opened.3", lambda values: (values[0].upper(), values[1])),
        },
    )

    class First(Fact, frozen=True):
        owner: str

    name, body = Codec({"test.opened.1": First}).encode(FULL, First("ann"))
    assert codec.decode(name, body)[1] == Opened("ANN", "sell")
    assert codec.names == {"test.opened.1", "test.opened.2", "test.opened.3"}


def test_an_upcaster_into_nothing_is_found_at_once() -> None:
    with pytest.raises(UnknownFact):
        Codec({}, {"test.opened.1": ("test.opened.2", lambda values: values)})


class Inexact(Fact, frozen=True):
    amount: float


class Anything(Fact, frozen=True):
    value: dict[str, str]


@pytest.mark.parametrize("kind", [Inexact, Anything])
def test_a_fact_whose_values_would_not_come_back_is_found_at_once(kind: type[Fact]) -> None:
    with pytest.raises(TypeError, match="cannot be stored exactly"):
        Codec({"test.inexact.1": kind})


def test_a_state_goes_into_a_snapshot_and_back() -> None:
    state = Sum(Decimal("1.50"), 3)
    assert CODEC.unpack_state(CODEC.pack_state(state), Sum) == state
    with pytest.raises(JournalDamaged):
        CODEC.unpack_state(msgpack.packb(["x"]), Sum)


def test_a_fact_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Opened("a").owner = "b"  # type: ignore[misc]
    assert msgspec.structs.replace(Opened("a"), owner="b") == Opened("b")
