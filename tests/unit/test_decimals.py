"""Decimals as they may be read, and as they are printed."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernel.errors import Refused
from engine.kernel.values import (
    CURRENCIES,
    UNITS,
    at_scale,
    parse_amount,
    parse_decimal,
    plain,
    zero_like,
)

BAD = [
    "NaN", "sNaN", "Infinity", "-1", "-0", "+1", ".5", "1.", "00012.5", "1e3", "1E+2", "1_000", " 1",
    "1\n", "1,000", "0x10", "", "\u0661\u0662", "\uff11\uff12", "1.001", "1000000000000000",
    "1e400", "0.1.0", "1 ", "\x001",
    1, 1.5, None, True, b"1", Decimal(1),
]  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_refused(text: object) -> None:
    with pytest.raises(Refused) as caught:
        parse_amount(text, "USD", "cash_amount")
    assert caught.value.code == "invalid_param"
    assert caught.value.context["params"][0]["path"] == "cash_amount"  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "currency", "read"),
    [
        ("0", "USD", "0.00"),
        ("100", "USD", "100.00"),
        ("100.5", "USD", "100.50"),
        ("999999999999999.99", "USD", "999999999999999.99"),
        ("1.001", "KWD", "1.001"),
        ("1.0001", "CLF", "1.0001"),
        ("7", "JPY", "7"),
    ],
)
def test_read_at_the_scale_of_the_currency(text: str, currency: str, read: str) -> None:
    assert plain(parse_amount(text, currency, "amount")) == read


@settings(max_examples=2_000, database=None)
@given(st.text(alphabet="0123456789.+-eE_ \u0661\n", max_size=22), st.integers(0, 8))
def test_exactly_the_written_rule_is_read(text: str, places: int) -> None:
    rule = r"(0|[1-9][0-9]{0,14})" + (rf"(\.[0-9]{{1,{places}}})?" if places else "")
    if re.fullmatch(rule, text, re.ASCII):
        read = parse_decimal(text, places, "x")
        assert read == Decimal(text)
        assert -read.as_tuple().exponent == places  # type: ignore[operator]
        assert re.fullmatch(rule, plain(read))
    else:
        with pytest.raises(Refused):
            parse_decimal(text, places, "x")


@pytest.mark.parametrize(
    "number", ["NaN", "sNaN", "Infinity", "-1", "-0", "0.001", "1e15", "1e400", "1e-400"]
)
def test_what_cannot_have_been_read_has_no_scale(number: str) -> None:
    assert at_scale(Decimal(number), 2) is None


@pytest.mark.parametrize(
    ("number", "shown"),
    [("1E+3", "1000"), ("1E-8", "0.00000001"), ("-0", "0"), ("-0.00", "0.00"), ("-1.50", "-1.50")],
)
def test_printed_plainly(number: str, shown: str) -> None:
    assert plain(Decimal(number)) == shown


@pytest.mark.parametrize(("number", "zero"), [("12.34", "0.00"), ("-5", "0"), ("0.000", "0.000")])
def test_a_zero_keeps_the_scale(number: str, zero: str) -> None:
    assert str(zero_like(Decimal(number))) == zero


def test_currencies_have_their_iso_decimals() -> None:
    by_places = {"JPY": 0, "USD": 2, "KES": 2, "KWD": 3, "CLF": 4, "ISK": 0, "TND": 3, "HUF": 2}
    assert {code: CURRENCIES[code] for code in by_places} == by_places
    assert plain(UNITS["KWD"]) == "0.001"
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCIES)
