"""FIX messages as bytes, and execution reports in short."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from engine.venues.fix.wire import CHARSET, SOH, Field, checksum
from engine.venues.port import Ticket


def encode(fields: Iterable[Field], begin: str = "FIX.4.4") -> bytes:
    """The message of these fields, with BeginString, BodyLength and CheckSum around them."""
    body = "".join(f"{tag}={value}{SOH}" for tag, value in fields).encode(CHARSET)
    head = f"8={begin}{SOH}9={len(body)}{SOH}".encode(CHARSET)
    return head + body + f"10={checksum(head + body)}{SOH}".encode(CHARSET)


def fields(text: str) -> list[Field]:
    """`35=8 11=ord_1` as fields."""
    pairs = (part.partition("=") for part in text.split())
    return [(int(tag), value) for tag, _, value in pairs]


def changed(message: Iterable[Field], text: str) -> list[Field]:
    """The message with other values of some tags, new tags at the end, and `31=` without that tag."""
    new = dict(fields(text))
    kept = [(tag, new.pop(tag, value)) for tag, value in message]
    return [(tag, value) for tag, value in (*kept, *new.items()) if value]


def ticket(order: str, symbol: str, quantity: str, started_at_us: int) -> Ticket:
    """A buy at 250.10."""
    return Ticket(
        venue_order=order,
        order=order,
        instrument="ins_1",
        symbol=symbol,
        side="buy",
        quantity=Decimal(quantity),
        price=Decimal("250.10"),
        accrued_interest=Decimal(0),
        trading_increment=Decimal("0.0001"),
        cash_amount=None,
        started_at_us=started_at_us,
    )
