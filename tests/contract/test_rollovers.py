"""Rollovers over real journals and views of both databases: chains, restarts, and what stands by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions, rollovers
from engine.domain import moves, rollover
from engine.domain.instrument import Terms
from engine.domain.order import Order, Placed
from engine.domain.servicing import PositionMatured, RolloverPaid, RolloverReserved, RolloverSkipped
from tests.support.engines.desks import TENANT
from tests.support.engines.lives import Life, open_life

FIRST = date(2026, 3, 12)
MONTH = timedelta(days=28)
"""Bills of four weeks, issued and repaid on Thursdays."""
BILL = Terms(
    "A bill", "B0", "bill", "USD", issuer_country="US", issue_date=FIRST - timedelta(days=2),
    maturity_date=FIRST + MONTH, maturity_period="1m", supports_automatic_rollover=True,
)  # fmt: skip


@pytest.fixture
def life(journal_url: str, views_url: str) -> Iterator[Life]:
    with open_life(journal_url, views_url) as opened:
        yield opened


def listed(life: Life, number: int, price: str | None = "99.5", **terms: Any) -> str:
    """The bill that is issued after so many months."""
    words = {
        "symbol": f"B{number}",
        "issue_date": BILL.issue_date + number * MONTH,  # type: ignore[operator]
        "maturity_date": FIRST + (number + 1) * MONTH,
    }
    life.list(replace(BILL, **(words | terms)), f"ins_b{number}")
    if price:
        life.price(f"B{number}", price)
    return f"ins_b{number}"


def holding(life: Life, cash: str = "2000.00", of: str = "ins_b0", **words: Any) -> str:
    """An account that has bought a bill to be rolled over."""
    account = life.account(**words)
    life.trade(account, "buy", cash, of)
    position = life.position(account, of)
    life.shop.do(
        rollovers.choose,
        tenant=life.tenant_of(account),
        account=account,
        position=position.id,
        automatic_rollover=True,
    )
    return account


def later(life: Life, hours: int) -> None:
    """The same day, some hours later."""
    life.shop.do(decisions.advance_clock, by_us=hours * 3_600_000_000)
    life.stop()
    life.start()


def rolls_on(number: int) -> date:
    day = rollover.rolls_on(replace(BILL, maturity_date=FIRST + (number + 1) * MONTH))
    assert day is not None
    return day


def rollover_of(life: Life, account: str, of: str = "ins_b0") -> Order:
    order: Order = life.shop.desk.state(life.position(account, of).rollover or "")
    return order


def receivable(life: Life) -> Decimal:
    facts = [one.fact for page in life.works.journal.pages() for one in page]
    found = [leg.amount for fact in facts for leg in moves.legs(fact) if leg.place == "receivable"]
    return sum(found, Decimal(0))


def audited(life: Life) -> list[Any]:
    return audit(life.works.journal.datastore, AuditOptions("all")).findings


def rolled(life: Life, number: int) -> None:
    """A month passes: the bill of that number is followed by the next, and repaid."""
    listed(life, number + 1)
    life.until(rolls_on(number))
    life.settle()
    life.roll()
    life.execute()
    life.until(FIRST + (number + 1) * MONTH)
    life.settle()
    life.serve(12)
    life.settle()


def test_a_chain_of_two_years(life: Life) -> None:
    """26 bills of four weeks (6 on PostgreSQL), in one account; the other's ends after a month."""
    bills = 26 if life.works.journal.datastore.store.dialect == "sqlite" else 6
    listed(life, 0)
    account, other = holding(life), holding(life, "1000.00")
    spare = life.total(account)
    for number in range(bills):
        if number == 1:
            life.shop.do(
                rollovers.choose,
                tenant=TENANT,
                account=other,
                position=life.position(other, "ins_b1").id,
                automatic_rollover=False,
            )
        rolled(life, number)
        assert life.position(account, f"ins_b{number}").status == "closed"
    assert receivable(life) == 0
    assert len(life.facts(RolloverReserved)) == bills + 1
    assert len(life.facts_of(account, RolloverPaid)) == bills
    chain = [life.position(account, f"ins_b{number}") for number in range(bills + 1)]
    for old, new in pairwise(chain):
        assert (old.rolled_into, new.rolled_from) == (new.id, (old.id,))
    assert (chain[0].rolled_from, chain[-1].rolled_into) == ((), None)
    assert chain[-1].automatic_rollover
    # less a fee of 0.5 % each month, more by the discount
    assert chain[-1].units.total > Decimal("19.00")
    left = bills * Decimal("1.00")  # what buys no whole increment comes back
    assert life.total(account) - spare < left
    assert life.position(other, "ins_b1").rolled_into is None
    assert life.total(other) > Decimal("99900.00")
    assert audited(life) == []


def test_what_stands_in_the_way(life: Life) -> None:
    """A waiting sell ends, an executing one keeps its units; accounts that may not buy are skipped."""
    listed(life, 0)
    listed(life, 1)
    names = ("usual", "waits", "sells", "suspended", "closing", "no buys")
    accounts = {name: holding(life) for name in names} | {"rival": holding(life, tenant="rival")}
    unflagged = life.account()
    life.trade(unflagged, "buy", "2000.00", "ins_b0")
    life.until(rolls_on(0) - timedelta(days=1))
    life.settle()
    waiting = life.order(accounts["waits"], "sell", "5.00", "ins_b0")
    kept = life.order(unflagged, "sell", "5.00", "ins_b0")
    selling = life.order(accounts["sells"], "sell", "5.00", "ins_b0")
    life.shop.start(selling)
    for name, changes in {
        "suspended": {"status": "suspended", "flags": {}},
        "closing": {"status": "closing", "flags": {}},
        "no buys": {"flags": {"can_place_buy_order": False}},
    }.items():
        words = {"tenant": TENANT, "account": accounts[name], **changes}
        life.shop.do(decisions.change_account, **words)
    life.roll()
    assert life.facts(RolloverReserved) == [], "not a day early"
    life.until(rolls_on(0))
    life.roll()
    assert life.works.order(waiting).cancelled_reason == "matured"
    assert life.works.order(kept).status == "placed"
    told = {one.reason for one in life.facts(RolloverSkipped)}
    assert told == {"account_suspended", "account_closing", "buy_order_forbidden"}
    for name in ("usual", "waits", "rival"):
        order = rollover_of(life, accounts[name])
        assert order.terms.rolled_from is not None
        assert order.terms.rolled_from.quantity == life.position(accounts[name], "ins_b0").units.total
    held = life.position(accounts["sells"], "ins_b0").units.total
    pledge = rollover_of(life, accounts["sells"]).terms.rolled_from
    assert pledge is not None
    assert pledge.quantity == held - Decimal("5.00")
    placed = [one for one in life.envelopes(Placed) if one.actor == "rollovers"]
    assert [one.tenant for one in placed].count("rival") == 1
    life.execute()
    life.shop.report(selling, "end", "ended")
    life.until(FIRST + MONTH)
    life.settle()
    life.serve()
    assert receivable(life) == 0
    assert len(life.facts(PositionMatured)) == 8
    assert audited(life) == []


def test_a_skipped_one_is_cash_at_maturity(life: Life) -> None:
    """No bill follows: reason told once. A day that was slept through is told at the maturity."""
    listed(life, 0)
    account = holding(life)
    life.until(rolls_on(0))
    life.settle()
    life.roll()
    assert life.facts(RolloverSkipped) == []
    assert "decided at 2026-04-08T23:00:00Z" in life.rollovers.status().faults["ins_b0"]
    later(life, hours=9)
    life.roll()
    assert [one.reason for one in life.facts(RolloverSkipped)] == ["no_bill"]
    assert life.rollovers.status().faults == {}
    end = life.works.journal.head
    listed(life, 1)
    life.roll()
    assert [one.reason for one in life.facts(RolloverSkipped)] == ["no_bill"]
    assert {one.stream for one in life.works.journal.read(end)} == {"ins_b1"}
    late = holding(life, of="ins_b1")
    life.until(FIRST + 2 * MONTH)
    life.settle()
    life.roll()
    life.serve()
    assert [one.reason for one in life.facts_of(late, RolloverSkipped)] == ["too_late"]
    assert [life.position(*one).status for one in ((account, "ins_b0"), (late, "ins_b1"))] == [
        "closed"
    ] * 2
    assert audited(life) == []


@pytest.mark.parametrize("missing", ["bill", "price"])
def test_a_bill_that_comes_in_the_course_of_the_day_is_bought(life: Life, missing: str) -> None:
    """Skipped at 00:00 UTC it was cash. Sells that wait are left alone until there is a bill."""
    listed(life, 0)
    account = holding(life)
    if missing == "price":
        listed(life, 1, None)
    life.until(rolls_on(0) - timedelta(days=2))
    life.settle()
    sell = life.order(account, "sell", "1.00", "ins_b0")
    life.until(rolls_on(0))
    life.roll()
    assert (life.facts(RolloverSkipped), life.works.order(sell).status) == ([], "placed")
    later(life, hours=8)
    listed(life, 1)
    life.roll()
    assert rollover_of(life, account).terms.instrument == "ins_b1"
    assert life.works.order(sell).cancelled_reason == "matured"
    assert life.facts(RolloverSkipped) == []


def test_two_followers_and_a_restart_order_once(life: Life) -> None:
    """Each decides on the account's own stream: a second holder, or a view that lags, adds nothing."""
    listed(life, 0)
    listed(life, 1)
    accounts = [holding(life) for _ in range(3)]
    life.until(rolls_on(0))
    life.settle()
    life.runner.catch_up()
    rows = {account: life.shop.ids.new("ord") for account in accounts}
    for order in (*rows.values(), *(life.shop.ids.new("ord") for _ in rows)):
        account = accounts[[*rows.values()].index(order)] if order in rows.values() else accounts[0]
        life.shop.do(
            rollovers.roll_over,
            firm=life.shop.firm,
            account=account,
            instrument="ins_b0",
            order=order,
            bills=["ins_b1"],
        )
    life.stop()
    life.start()
    life.roll()
    assert [one.order for one in life.facts(RolloverReserved)] == [*rows.values()]


def test_views_are_waited_for(life: Life) -> None:
    """A sell that the views do not show yet would keep its units out of the rollover."""
    listed(life, 0)
    listed(life, 1)
    account = holding(life)
    life.until(rolls_on(0) - timedelta(days=1))
    life.settle()
    life.runner.catch_up()
    sell = life.order(account, "sell", "5.00", "ins_b0")
    life.until(rolls_on(0))
    for _ in range(20):
        life.rollovers.turn()
        life.works.clock.now_s += 0.5
    assert life.facts(RolloverReserved) == []
    assert life.works.order(sell).status == "placed"
    held = life.position(account, "ins_b0").units.total
    life.roll()
    assert [one.quantity for one in life.facts(RolloverReserved)] == [held]
    assert life.works.order(sell).cancelled_reason == "matured"


def test_a_day_late_is_not_too_late(life: Life) -> None:
    """A German bill is rolled over two days before; the engine stood still on the first."""
    for number in (0, 1):
        listed(life, number, issuer_country="DE")
    account = holding(life)
    life.until(FIRST + MONTH - timedelta(days=1))
    life.settle()
    life.roll()
    order = rollover_of(life, account)
    assert order.terms.settlement_date > FIRST + MONTH, "after its cash"
    life.until(FIRST + MONTH)
    life.serve()
    life.price("B1", "99.5")
    life.execute()
    assert life.shop.desk.state(order.terms.order).status == "filled"
    assert receivable(life) == 0
    assert audited(life) == []


def test_a_halt_waits(life: Life) -> None:
    listed(life, 0)
    listed(life, 1)
    holding(life)
    life.until(rolls_on(0))
    life.shop.do(decisions.halt_trading, tenant=None, reason="why")
    life.roll()
    assert life.facts(RolloverReserved) == []
    life.shop.do(decisions.resume_trading, tenant=None, reason="why")
    life.roll()
    assert len(life.facts(RolloverReserved)) == 1


def test_the_next_bill_is_chosen_from_those_of_its_kind(life: Life) -> None:
    """Other countries, periods, currencies and types do not count, later maturities do."""
    listed(life, 0)
    account = holding(life)
    for number, terms in enumerate(
        (
            {"issuer_country": "GB"},
            {"maturity_period": "3m"},
            {"trading_currency": "EUR"},
            {"instrument_type": "bond", "maturity_period": None},
            {"maturity_period": None},
        ),
        start=10,
    ):
        listed(life, number, issue_date=FIRST, **terms)
    listed(life, 1)
    listed(life, 2, issue_date=FIRST)
    listed(life, 3, None, issue_date=FIRST)
    listed(life, 4)
    life.until(rolls_on(0))
    life.settle()
    life.roll()
    assert rollover_of(life, account).terms.instrument == "ins_b2"


def test_what_is_no_bill_matures_as_cash(life: Life) -> None:
    """A bond whose listing promises a rollover: no bill follows it."""
    bond = replace(BILL, symbol="B0", instrument_type="bond", maturity_period=None)
    life.list(bond, "ins_b0")
    life.price("B0", "99.5")
    holding(life)
    listed(life, 1)
    life.until(rolls_on(0))
    life.settle()
    life.roll()
    assert [one.reason for one in life.facts(RolloverSkipped)] == ["no_bill"]
