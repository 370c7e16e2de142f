"""FIX messages, numbers and times as text."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel.limits import FIX_FIELDS
from engine.venues.fix.wire import SOH, Garbled, decode, number_of, time_of, time_text
from tests.support.fix.wire import encode, fields

PLAIN = fields("35=8 49=VENUE 56=US 34=7 11=ord_1")
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters=SOH), min_size=1, max_size=20)
BODIES = st.lists(st.tuples(st.integers(1_000, 99_999), VALUES), max_size=20)


@given(BODIES)
def test_a_message_is_read_as_it_was_written(body: list[tuple[int, str]]) -> None:
    message = encode([(35, "8"), *body])
    assert decode(message)[2:-1] == [(35, "8"), *body]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_garbled(raw: bytes) -> None:
    with pytest.raises(Garbled):
        decode(raw)


@given(st.integers(0, 200), st.integers(1, 255))
def test_one_changed_byte_is_found(at: int, change: int) -> None:
    raw = bytearray(encode(PLAIN))
    raw[at % len(raw)] ^= change
    with pytest.raises(Garbled):
        decode(bytes(raw))


def test_data_may_hold_the_separator() -> None:
    data = f"a{SOH}35=D{SOH}b"
    message = encode([*PLAIN, (95, str(len(data))), (96, data), (58, "end")])
    assert decode(message)[-3:-1] == [(96, data), (58, "end")]


@pytest.mark.parametrize("length", ["9", "x", "-1", "999999999"])
def test_data_of_another_length_are_garbled(length: str) -> None:
    with pytest.raises(Garbled):
        decode(encode([*PLAIN, (95, length), (96, "four")]))


def test_a_message_has_a_bound() -> None:
    with pytest.raises(Garbled, match=f"more than {FIX_FIELDS} fields"):
        decode(encode([(35, "8"), *[(58, "x")] * FIX_FIELDS]))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        ("00023.2300", "23.23"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-0.25", "-0.25"),
        ("123456789012345.12345678", "123456789012345.12345678"),
    ],
)
def test_numbers_are_exact(text: str, number: str) -> None:
    assert number_of(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "+1", "1e5", "NaN", "Infinity", "1,000", " 1", "1 ", "0x1", "1_000", "\u0661",
     "1.2.3", "9" * 41],
)  # fmt: skip
def test_other_numbers_are_garbled(text: str) -> None:
    with pytest.raises(Garbled):
        number_of(text)


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("19700101-00:00:01", 1_000_000),
        ("19700101-00:00:01.250", 1_250_000),
        ("19700101-00:00:01.000007", 1_000_007),
        ("19700101-00:00:60", 59_999_999),
        ("20260312-14:30:00", 1_773_325_800_000_000),
    ],
)
def test_times_are_utc(text: str, at_us: int) -> None:
    assert time_of(text) == at_us


@pytest.mark.parametrize(
    "text",
    [
        "", "20260312", "20260312-14:30", "20261312-14:30:00", "20260230-14:30:00", "20260312-24:00:00",
        "20260312-14:30:61", "2026-03-12T14:30:00Z", "20260312-14:30:00Z", "00000101-00:00:00",
        "20260312-14:30:00.1234567", "20260312 14:30:00",
    ],
)  # fmt: skip
def test_other_times_are_garbled(text: str) -> None:
    with pytest.raises(Garbled):
        time_of(text)


@given(st.integers(0, 4_102_444_800_000))
def test_milliseconds_go_out_and_come_back(at_ms: int) -> None:
    assert time_of(time_text(at_ms * 1_000)) == at_ms * 1_000
