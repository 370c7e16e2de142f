"""Facts that decisions ask for: read once, up to the version that is decided on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.commands import pasts
from engine.commands.command import Past
from engine.commands.pasts import Pasts
from engine.domain.bookings import CashDeposited, FundsReleased, FundsReserved
from engine.kernel.fact import Envelope, Fact, Recorded

ONE = Decimal(1)
FACTS: list[Fact] = [
    CashDeposited("dep_1", "USD", ONE, 1),
    FundsReserved("ord_1", "USD", ONE, 2),
    FundsReleased("ord_1", "USD", ONE, 3),
    FundsReserved("ord_2", "USD", ONE, 4),
]
RESERVED = Past("acc_1", FundsReserved)


def recorded(after: int, upto: int = 4, stream: str = "acc_1") -> list[Recorded]:
    return [
        Recorded(fact, stream, version, version, Envelope(version))
        for version, fact in enumerate(FACTS, 1)
        if after < version <= upto
    ]


def subjects(known: Pasts, version: int, past: Past = RESERVED) -> list[str] | None:
    found = known.find(past, version)
    return None if found is None else [fact.subject for fact in found]  # type: ignore[attr-defined]


def test_facts_of_a_kind_up_to_a_version() -> None:
    known = Pasts()
    known.learn(RESERVED, recorded(0, 2))
    assert (known.version(RESERVED), subjects(known, 1), subjects(known, 2)) == (2, [], ["ord_1"])
    assert subjects(known, 3) is None
    known.learn(RESERVED, recorded(2))
    assert (subjects(known, 4), subjects(known, 3)) == (["ord_1", "ord_2"], ["ord_1"])
    assert subjects(known, 4, Past("acc_1", FundsReleased)) is None


def test_two_reads_at_once_add_each_fact_once() -> None:
    known = Pasts()
    known.learn(RESERVED, recorded(0, 2))
    known.learn(RESERVED, recorded(0))
    known.learn(RESERVED, recorded(2))
    assert subjects(known, 4) == ["ord_1", "ord_2"]


def test_the_least_recently_used_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasts, "PAST_FACTS_MAX", 3)
    known, other = Pasts(), Past("acc_2", FundsReserved)
    known.learn(RESERVED, recorded(0))
    known.learn(other, recorded(0, stream="acc_2"))
    assert (subjects(known, 4), subjects(known, 4, other)) == (None, ["ord_1", "ord_2"])
    known.learn(RESERVED, recorded(2))  # read on from where it was, but it is not there any more
    assert (known.version(RESERVED), subjects(known, 4)) == (0, None)
