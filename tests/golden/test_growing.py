"""The one rule of how stored facts may change, walked from an older journal to a newer state.

The older release knows `paid` and `ended`. The newer one has given `paid` a field (at the very end,
after `at_us`, with a default) and `ended` another shape (a new stored name, with an upcaster).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec
import pytest

from engine.journal.journal import Journal
from engine.kernel.codec import Codec
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Envelope, Fact
from engine.kernel.fold import Fold
from engine.kernel.limits import SNAPSHOT_EVERY
from tests.support.engines.prepared import make_journal
from tests.support.models.facts import append


class OldPaid(Fact, frozen=True):
    amount: Decimal
    at_us: int


class OldEnded(Fact, frozen=True):
    at_us: int


class Paid(Fact, frozen=True):
    """`channel`: how it came; all came by bank before there was the field."""

    amount: Decimal
    at_us: int
    channel: str = "bank"


class Ended(Fact, frozen=True):
    outcome: str
    at_us: int


OLDER: Final = Codec({"test.paid.1": OldPaid, "test.ended.1": OldEnded})
NEWER: Final = Codec(
    {"test.paid.1": Paid, "test.ended.2": Ended},
    {"test.ended.1": ("test.ended.2", lambda values: ("done", *values))},
)

TEN: Final = Decimal("10.0")
GOLDEN: Final = (
    ("test.paid.1", "9a00c0c0c0c0c0c0c0d60131302e3007", OldPaid(TEN, 7), Paid(TEN, 7)),
    ("test.ended.1", "9900c0c0c0c0c0c0c008", OldEnded(8), Ended("done", 8)),
    ("test.paid.1", "9b00c0c0c0c0c0c0c0d60131302e3007a463617264", None, Paid(TEN, 7, "card")),
    ("test.ended.2", "9a00c0c0c0c0c0c0c0a363757408", None, Ended("cut", 8)),
)
"""Stored name, body, what the older release wrote, what the newer reads. Never edited."""


class OldSum(msgspec.Struct, frozen=True, array_like=True):
    total: Decimal = Decimal(0)


class Sum(msgspec.Struct, frozen=True, array_like=True):
    by_channel: dict[str, Decimal] = {}
    outcome: str | None = None


def evolve_old(state: OldSum | None, fact: Fact) -> OldSum:
    state = state or OldSum()
    return OldSum(state.total + fact.amount) if isinstance(fact, OldPaid) else state


def evolve(state: Sum | None, fact: Fact) -> Sum:
    state = state or Sum()
    match fact:
        case Paid(amount=amount, channel=channel):
            total = state.by_channel.get(channel, Decimal(0)) + amount
            return Sum(state.by_channel | {channel: total}, state.outcome)
        case Ended(outcome=outcome):
            return Sum(state.by_channel, outcome)
    raise TypeError(fact)


@pytest.mark.parametrize(("name", "body", "written", "read"), GOLDEN)
def test_bytes_of_every_shape_are_read(name: str, body: str, written: Fact | None, read: Fact) -> None:
    packed = bytes.fromhex(body)
    assert NEWER.decode(name, packed) == (Envelope(0), read)
    if written:
        assert OLDER.encode(Envelope(0), written) == (name, packed)
    else:
        assert NEWER.encode(Envelope(0), read) == (name, packed)


def test_a_journal_of_the_older_release_goes_on_under_the_newer(journal_url: str) -> None:
    """Facts, a fold, and a snapshot of the older fold's shape; then facts of both ages side by side."""
    make_journal(journal_url)
    with Journal(journal_url, OLDER) as older:
        payments = [OldPaid(Decimal(1), n) for n in range(SNAPSHOT_EVERY)]
        append(older, 1, "acc_1", 0, *payments)
        fold = Fold("sum", 1, OldSum, evolve_old)
        older.keep_state(fold, "acc_1", older.load(fold, "acc_1"))
        append(older, 2, "acc_1", SNAPSHOT_EVERY, OldEnded(9))
    with Journal(journal_url, NEWER) as newer:
        newest = Fold("sum", 2, Sum, evolve)
        assert newer.load(newest, "acc_1").state == Sum({"bank": Decimal(SNAPSHOT_EVERY)}, "done")
        append(newer, 3, "acc_1", SNAPSHOT_EVERY + 1, Paid(Decimal(5), 10, "card"), Ended("cut", 11))
        assert newer.load(newest, "acc_1").state == Sum(
            {"bank": Decimal(SNAPSHOT_EVERY), "card": Decimal(5)}, "cut"
        )
        assert [one.fact for one in newer.read(SNAPSHOT_EVERY)] == [
            Ended("done", 9), Paid(Decimal(5), 10, "card"), Ended("cut", 11),
        ]  # fmt: skip
        assert NEWER.names_of([Ended]) == ["test.ended.1", "test.ended.2"]
    with Journal(journal_url, OLDER) as older, pytest.raises(UnknownFact, match=r"test\.ended\.2"):
        older.read(SNAPSHOT_EVERY + 2)  # and never guesses what a newer one has written
