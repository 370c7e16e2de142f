"""Busts and corrections before the audit and the independent checker: no valid one is accused, and
changed ones are found by both.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.audit.audit import Auditor, RawRow
from engine.domain.bookings import BuyBusted, BuyCorrected, SellBusted, SellCorrected
from engine.domain.order import TradeBusted, TradeCorrected
from engine.domain.stored import engine_codec
from tests.laws.market_runs import MarketLife, MarketRun
from tests.laws.test_audit import NAMES, rows
from tests.laws.test_checker import judged
from tests.support.models.stored_rows import Written, written

RUNS, STEPS = 8, 80


def valid(seed: int) -> list[Written]:
    run = MarketRun(seed)
    run.go(STEPS)
    return list(written(run.world))


def audited(facts: list[Written]) -> Auditor:
    every = rows(facts)

    def recall(stream: str, version: int) -> Sequence[RawRow]:
        return [row for row in every if row[3] == stream and row[1] <= version]

    auditor = Auditor("all", engine_codec(), NAMES.get, findings_max=100, recall=recall)
    auditor.take(every)
    auditor.end_append()
    return auditor


def test_no_valid_bust_is_accused() -> None:
    for seed in range(RUNS):
        facts = valid(seed)
        assert audited(facts).findings == [], f"seed {seed}"
        assert judged(facts) == [], f"seed {seed}"


def test_no_life_in_which_trades_are_busted_is_accused() -> None:
    for seed in range(RUNS):
        life = MarketLife(seed)
        life.go(2 * STEPS)
        facts = list(written(life.world))
        assert audited(facts).findings == [], f"seed {seed}"
        assert judged(facts) == [], f"seed {seed}"


FORGED: dict[type[Any], tuple[str, ...]] = {
    BuyBusted: ("quantity", "notional", "fee", "unsettled", "reserved", "cost"),
    SellBusted: ("quantity", "notional", "fee", "unsettled", "reserved", "cost"),
    BuyCorrected: ("quantity", "notional", "fee", "price", "reserved", "cost"),
    SellCorrected: ("quantity", "notional", "fee", "price", "reserved", "cost"),
    TradeBusted: ("quantity", "consideration", "notional", "fee", "reserved"),
    TradeCorrected: ("quantity", "consideration", "notional", "fee", "reserved"),
}


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, fields in FORGED.items() for field in fields]
)
def test_a_changed_amount_is_found(kind: type[Any], field: str) -> None:
    tried = 0
    for seed in range(RUNS):
        facts = valid(seed)
        for index, one in enumerate(facts):
            if type(one.fact) is kind:
                more = getattr(one.fact, field) + Decimal("0.01")
                changed = one._replace(fact=replace(one.fact, **{field: more}))
                mutant = [*facts[:index], changed, *facts[index + 1 :]]
                assert audited(mutant).findings, one
                assert judged(mutant), one
                tried += 1
                break
    assert tried


@pytest.mark.parametrize("kind", [BuyBusted, SellBusted, TradeBusted, TradeCorrected, BuyCorrected])
def test_a_half_that_is_missing_is_found(kind: type[Any]) -> None:
    for seed in range(RUNS):
        facts = valid(seed)
        for index, one in enumerate(facts):
            if type(one.fact) is kind:
                mutant = facts[:index] + facts[index + 1 :]
                assert audited(mutant).findings, one
                assert judged(mutant), one
                break


def test_a_correction_in_another_append_than_its_bust_is_found() -> None:
    """Its halves are apart: between them the journal would show a trade less."""
    facts = valid(1)
    corrected = (BuyCorrected, SellCorrected, TradeCorrected)
    place = next(n for n, one in enumerate(facts) if isinstance(one.fact, TradeCorrected))
    append = facts[place].append
    later = [one for one in facts if one.append == append and isinstance(one.fact, corrected)]
    kept = [one for one in facts[: place + 1] if one not in later]
    last = facts[place].at_us + 1
    apart = [*kept, *(one._replace(append=last, at_us=last) for one in later)]
    assert judged(apart)
    assert any("not busted in the same append" in one.text for one in audited(apart).findings)
