"""The strict reader: kinds of values, canonical digests, linear time. For bodies: test_http_abuse."""

from __future__ import annotations

import gc
import json
import time
from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http import fields, wire
from api.http.kinds import (
    Amount,
    Boolean,
    Day,
    Fault,
    Id,
    Integer,
    Kind,
    Number,
    Several,
    Span,
    Text,
    Time,
)
from engine.kernel.errors import Refused

READ = [
    (Text(5), "a b", "a b"),
    (Text(1), "\U0001f600", "\U0001f600"),
    (Integer(0, 8), Number("8"), 8),
    (Integer(0, 8), Number("0"), 0),
    (Boolean(), True, True),
    (Amount(2), "1.5", Decimal("1.50")),
    (Amount(2), Number("1.5"), Decimal("1.50")),
    (Day(), "2024-02-29", date(2024, 2, 29)),
    (Time(), "1970-01-01T00:00:01Z", 1_000_000),
    (Time(), "1970-01-01t01:00:00.000001+01:00", 1),
    (Time(), "1969-12-31T23:00:00.5-01:00", 500_000),
    (Span(), "P1D", 86_400_000_000),
    (Span(), "PT1H30M", 5_400_000_000),
    (Span(), "P1DT1S", 86_401_000_000),
    (Several(Text(1)), ["a", "b"], ("a", "b")),
    (Id("acc"), "acc_1", "acc_1"),
]


@pytest.mark.parametrize(("kind", "raw", "value"), READ, ids=repr)
def test_read(kind: Kind, raw: object, value: object) -> None:
    assert kind.read(raw) == value


UNREAD = [
    (Text(5), "", "invalid_value"),
    (Text(5), " \u2003", "invalid_value"),
    (Text(5), "123456", "too_long"),
    (Text(5), Number("1"), "invalid_type"),
    (Integer(0, 8), Number("9"), "invalid_value"),
    (Integer(0, 8), Number("-0"), "invalid_value"),
    (Integer(0, 80), Number("08"), "invalid_value"),
    (Integer(0, 8), Number("1.5"), "invalid_value"),
    (Integer(0, 8), Number("\u0661"), "invalid_value"),
    (Integer(0, 8), Number("1" * 10_000), "invalid_value"),
    (Integer(0, 8), "1", "invalid_type"),
    (Boolean(), "true", "invalid_type"),
    (Boolean(), Number("1"), "invalid_type"),
    (Amount(2), "1.005", "invalid_decimal"),
    (Amount(0), "1.0", "invalid_decimal"),
    (Amount(2), True, "invalid_type"),
    (Day(), "2023-02-29", "invalid_value"),
    (Day(), "20230228", "invalid_value"),
    (Day(), "2023-W01-1", "invalid_value"),
    (Day(), "\u0662023-01-01", "invalid_value"),
    (Time(), "2026-03-12", "invalid_value"),
    (Time(), "2026-03-12T14:30:00", "invalid_value"),
    (Time(), "2026-03-12 14:30:00Z", "invalid_value"),
    (Time(), "2026-03-12T24:00:00Z", "invalid_value"),
    (Time(), "2026-03-12T14:30:60Z", "invalid_value"),
    (Time(), "9999-12-31T23:59:59-01:00", "invalid_value"),
    (Time(), "0001-01-01T00:00:00+01:00", "invalid_value"),
    (Span(), "P", "invalid_value"),
    (Span(), "PT", "invalid_value"),
    (Span(), "P1DT", "invalid_value"),
    (Span(), "P1M", "invalid_value"),
    (Span(), "-P1D", "invalid_value"),
    (Span(), "P0D", "not_positive"),
    (Span(), "P1000D", "invalid_value"),
    (Several(Text(1), 2), ["a"] * 3, "too_many"),
    (Several(Text(1)), "a", "invalid_type"),
    (Id("acc"), "acc_" + "1" * 500, "invalid_value"),
]


@pytest.mark.parametrize(("kind", "raw", "code"), UNREAD, ids=repr)
def test_unread(kind: Kind, raw: object, code: str) -> None:
    with pytest.raises(Fault) as caught:
        kind.read(raw)
    assert caught.value.code == code


def read(body: str) -> object:
    return wire.read_body(body.encode(), fields.ORDER)


BUY = '{"instrument":"ins_1","order_type":"market","side":"buy","cash_amount":"100.00"}'
SAME = [
    '{"side":"buy","order_type":"market","instrument":"ins_1","cash_amount":"100"}',
    '{"instrument":"ins_1","order_type":"market","side":"buy","cash_amount":100.0}',
    ' { "instrument" : "ins_1","order_type":"market","side":"\\u0062uy","cash_amount":100 }\n',
    BUY[:-1] + ',"quantity":null,"automatic_rollover":false,"client_reference":null}',
]
KEY = b"secret"
OTHER = [
    BUY.replace("100.00", "100.01"),
    BUY.replace("buy", "sell"),
    BUY.replace('"cash_amount"', '"quantity"'),
    BUY[:-1] + ',"automatic_rollover":true}',
    BUY[:-1] + ',"client_reference":"a"}',
]


def test_the_digest_is_of_what_was_meant() -> None:
    first = wire.digest(("acc_1",), wire.read_body(BUY.encode(), fields.ORDER), KEY)
    assert len(first) == 32
    for body in SAME:
        assert wire.digest(("acc_1",), wire.read_body(body.encode(), fields.ORDER), KEY) == first, body
    others = {wire.digest(("acc_1",), wire.read_body(b.encode(), fields.ORDER), KEY) for b in OTHER}
    others.add(wire.digest(("acc_2",), wire.read_body(BUY.encode(), fields.ORDER), KEY))
    others.add(wire.digest(("acc_1",), wire.read_body(BUY.encode(), fields.ORDER), b"another"))
    assert len(others) == len(OTHER) + 2
    assert first not in others


def test_the_digest_is_the_same_for_ever() -> None:
    """Digests stand in facts: another canonical form would refuse every key of the last 24 hours."""
    values = wire.read_body(BUY.encode(), fields.ORDER)
    assert wire.digest(("acc_1",), values, KEY).hex() == (
        "9bbc024b04361d6fa39d1cade91201fd58d2492135db0b283f84a98884b1c7c6"
    )


def test_null_and_absent() -> None:
    changes = wire.read_body(b'{"reference":null,"can_deposit":false}', fields.ACCOUNT_CHANGES)
    assert changes == {"reference": None, "can_deposit": False}
    assert wire.read_body(b'{"name":null}', fields.ACCOUNT_CHANGES) == {}


def test_every_fault_of_an_array_is_named() -> None:
    body = b'{"name":"A","base_currency":"XXX","funding_currencies":["USD","usd",1]}'
    with pytest.raises(Refused) as caught:
        wire.read_body(body, fields.ACCOUNT)
    assert [param["path"] for param in caught.value.context["params"]] == [  # type: ignore[attr-defined]
        "body.base_currency", "body.funding_currencies.1", "body.funding_currencies.2"]  # fmt: skip


@settings(max_examples=60, database=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        wire.read_body(body, fields.ORDER)
    except Refused as error:
        json.dumps(error.context).encode()


@settings(max_examples=60, database=None)
@given(
    st.dictionaries(
        st.sampled_from([field.name for field in fields.ORDER]) | st.text(max_size=4),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.just([{}]),
        max_size=8,
    )
)
def test_any_object_is_read_or_refused(body: dict[str, object]) -> None:
    try:
        wire.read_body(json.dumps(body).encode(), fields.ORDER)
    except Refused as error:
        json.dumps(error.context).encode()


@pytest.mark.parametrize(
    "body",
    [b"[" * 65_536, b'[[[[[[[[[' + b'\\"' * 32_000, b'["[', b'"' * 65_535 + b"[" * 9, b"[]" * 32_768,
     b"[[[[[[[[[" + b'"' * 65_000, b'{"":' * 16_000],
    ids=range(7),
)  # fmt: skip
def test_no_body_takes_long(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Refused):
        wire.read_json(body)
    assert time.process_time() - began < 1.0


def test_nothing_keeps_what_was_refused() -> None:
    """A cycle through a frame would keep the body until the collector comes, which is late."""
    gc.collect()
    gc.disable()
    try:
        for query in ("status=lost&status=found&limit=0", "limit=x"):
            with suppress(Refused):
                wire.read_query(query, fields.ORDERS_QUERY)
        with suppress(Refused):
            wire.read_body(b'{"side":1,"cash_amount":"-1"}', fields.ORDER)
        assert not [each for each in gc.get_objects() if isinstance(each, Fault)]
    finally:
        gc.enable()
