"""Bytes that were once written are read for ever. Never edit a line of these; only add."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from engine.kernel import chain
from engine.kernel.fact import Envelope, Fact
from tests.support.models.facts import CODEC, Added, Leg, Opened

LATER = Envelope(0, None, "tnt", "cli", on_behalf_of="emp-4711", request=bytes(range(32)))
FULL = Envelope(
    1_773_325_800_000_000, date(2026, 3, 12), "tnt", "cli", b"0123456789abcdef", "req", 42, "why"
)

BODIES: tuple[tuple[str, str, Envelope, Fact], ...] = (
    ("test.opened.1", "9c00c0c0c0c0c0c0c0a3616e6ea3627579c0c0", Envelope(0), Opened("ann")),
    (
        "test.opened.1",
        (
            "9ccf00064cd496614a00cd502ca3746e74a3636c69c41030313233343536373839616263646566a3726571"
            "2aa3776879a3616e6ea473656c6cd6020000502cd70300064cd496614a00"
        ),
        FULL,
        Opened("ann", "sell", date(2026, 3, 12), datetime(2026, 3, 12, 14, 30, tzinfo=UTC)),
    ),
    (
        "test.added.1",
        "9a00c0c0c0c0c0c0c0c706013130302e30309192a161c706012d302e353030",
        Envelope(0),
        Added(Decimal("100.00"), (Leg("a", Decimal("-0.500")),)),
    ),
    (
        "test.opened.1",
        (
            "959a00c0a3746e74a3636c69c0c0c0c0a8656d702d34373131c420000102030405060708090a0b0c0d0e0f"
            "101112131415161718191a1b1c1d1e1fa3616e6ea3627579c0c0"
        ),
        LATER,
        Opened("ann"),
    ),
    (
        "test.opened.1",
        "959a00c0c0c0c0c0c0c0a3656d70c0a3616e6ea3627579c0c0",
        Envelope(0, on_behalf_of="emp"),
        Opened("ann"),
    ),
)


@pytest.mark.parametrize(("name", "body", "envelope", "fact"), BODIES)
def test_a_body_keeps_its_bytes(name: str, body: str, envelope: Envelope, fact: Fact) -> None:
    assert CODEC.encode(envelope, fact) == (name, bytes.fromhex(body))
    assert CODEC.decode(name, bytes.fromhex(body)) == (envelope, fact)


def test_a_digest_keeps_its_bytes() -> None:
    content = chain.content(1, b"ord_1", b"order.placed.1", b"command", b"body")
    digest = chain.link(chain.GENESIS, 1, content)
    assert digest.hex() == "a3b0738742f8782a56617ba8c7f57d32690be9b2ee51a132f2c88789bfa59b74"
