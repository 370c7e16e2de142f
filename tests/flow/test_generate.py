"""`order-engine generate`: the same facts each time, of all kinds, by the rules."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands.declaring import make
from engine.domain.corporate_action import ActionCompleted
from engine.domain.order import RolloverFunded
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverPaid,
    RolloverReserved,
    RolloverSkipped,
)
from engine.domain.stored import STORED, engine_codec
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.errors import BadSettings
from engine.sandbox.generate import BEGIN_US, Generated, GenerationPlan, fill
from tests.support.servers.command import run, run_anew

PLAN = GenerationPlan(orders=120, accounts=4, seed=2)

NOT_GENERATED = {
    "account.changed.1", "account.suspended.1", "account.activated.1", "account.closing.1",
    "account.closed.1", "instrument.changed.1", "deposit.failed.1", "report.booked.1",
    "report.rejected.1", "report.booking_requested.1", "report.applied.1",
    "order.trade_applied.1", "account.buy_applied.1", "account.sell_applied.1",
    "clock.advanced.1", "halt.trading_halted.1",
    "halt.trading_resumed.1", "account.order_counted.1",
    "order.trade_busted.1", "account.buy_busted.1", "account.sell_busted.1",
    "order.trade_corrected.1", "account.buy_corrected.1", "account.sell_corrected.1",
    "order.expiry_requested.1", "order_quote.consumed.1",
    "script.written.1", "script.taken.1", "script.played.1",
}  # fmt: skip
"""An operator's acts, and the sandbox's: a generated journal has clients, a venue and followers."""


def filled(url: str, plan: GenerationPlan = PLAN) -> Generated:
    make(url, "sandbox", at_us=BEGIN_US)
    with Journal(url, engine_codec()) as journal:
        return fill(journal, plan)


def test_instruments_live_at_the_end(sqlite_url: str) -> None:
    """Of three rollovers one is filled, one unfilled, one late; every fact is explained: see audit."""
    filled(sqlite_url, PLAN._replace(orders=0))
    with Journal(sqlite_url, engine_codec()) as journal:
        facts = [one.fact for page in journal.pages() for one in page]
        kinds = Counter(type(fact) for fact in facts)
        findings = audit(journal.datastore, AuditOptions()).findings
    assert findings == []
    assert [kinds[kind] for kind in (CouponPaid, DividendPaid, PositionSplit, PositionMatured)] == [
        1, 1, 1, 4,
    ]  # fmt: skip
    assert [kinds[kind] for kind in (RolloverReserved, RolloverPaid, RolloverFunded)] == [3, 1, 1]
    assert [fact.reason for fact in facts if isinstance(fact, RolloverSkipped)] == ["unfilled"]
    assert kinds[ActionCompleted] == 4


def test_the_same_plan_gives_the_same_digest_on_either_database(
    sqlite_url: str, postgres_url: str, tmp_path: Path
) -> None:
    first = filled(sqlite_url)
    assert filled(postgres_url) == first
    other_seed = filled(f"sqlite:///{tmp_path}/other.db", PLAN._replace(seed=3))
    assert other_seed.digest != first.digest


def test_orders_of_all_kinds_come_to_be(sqlite_url: str) -> None:
    done = filled(sqlite_url)
    assert done.orders.keys() == {"placed", "pending", "executing", "filled", "settled", "cancelled"}
    assert sum(done.orders.values()) + sum(done.refused.values()) == PLAN.orders
    assert done.refused.keys() == {"insufficient_units"}
    assert done.parked_reports
    with Journal(sqlite_url, engine_codec()) as journal:
        facts = [recorded for page in journal.pages() for recorded in page]
    assert {type(one.fact) for one in facts} == {
        kind
        for name, kind in STORED.items()
        if name not in NOT_GENERATED and not name.startswith("webhook.")
    }
    # They replay, never go back in time, and nothing is below zero at any position.
    states: dict[str, object] = {}
    for one in facts:
        fold = fold_of(one.stream)
        state = states[one.stream] = fold.evolve(states.get(one.stream), one.fact)
        if one.stream.startswith("acc_"):
            holdings = state.holdings  # type: ignore[attr-defined]
            amounts = [*holdings.cash.values(), *(p.units for p in holdings.positions.values())]
            assert all(balance.available >= 0 and balance.reserved >= 0 for balance in amounts)
    times = [one.envelope.at_us for one in facts]
    assert times == sorted(times)


def test_a_journal_with_facts_in_it_is_refused_and_left_alone(sqlite_url: str) -> None:
    done = filled(sqlite_url, GenerationPlan(3, 1, 1))
    with pytest.raises(BadSettings, match=f"has {done.facts} facts already"):
        filled(sqlite_url)
    with Journal(sqlite_url, engine_codec()) as journal:
        assert journal.head == done.facts


def test_the_command_makes_the_installation_and_says_what_it_did(
    tmp_path: Path, sqlite_url: str
) -> None:
    words = (
        "generate",
        "--orders",
        "120",
        "--accounts",
        "4",
        "--seed",
        "2",
        "--data",
        tmp_path / "data",
    )
    done = run_anew(*words, "--json", PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["digest"] == filled(sqlite_url).digest
    assert document["facts_per_second"] > 0
    assert done.stderr.splitlines()[-1] == "orders: 120 of 120"
    again = run(*words)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("error: bad_settings: the journal has ")
