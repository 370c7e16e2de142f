"""The follower of rollovers dies at each named point, and the next goes on: one order, one payment."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from engine.audit.auditing import AuditOptions, audit
from engine.commands import rollovers
from engine.domain import moves
from engine.domain.instrument import Terms
from engine.domain.order import Cancelled, Placed
from engine.domain.servicing import PositionMatured, RolloverPaid, RolloverReserved
from tests.crash.dying import IN_FULL_ON_POSTGRESQL, die_at_each
from tests.crash.rolling import MATURITY, POINTS, roll
from tests.support.engines.desks import TENANT
from tests.support.engines.lives import Life, open_life
from tests.support.engines.prepared import views_beside

ACCOUNTS = 3
BILL = Terms(
    "A bill", "B0", "bill", "USD", issuer_country="US", issue_date=date(2026, 3, 10),
    maturity_date=MATURITY, maturity_period="1m", supports_automatic_rollover=True,
)  # fmt: skip


def prepared(life: Life) -> list[str]:
    """Accounts hold the bill, one has a sell that waits, and the day of the rollover has come."""
    life.list(BILL, "ins_b0")
    life.list(replace(BILL, symbol="B1", maturity_date=date(2026, 5, 7)), "ins_b1")
    for symbol in ("B0", "B1"):
        life.price(symbol, "98")
    accounts = [life.account("1000.00") for _ in range(ACCOUNTS)]
    for account in accounts:
        life.trade(account, "buy", "500.00", "ins_b0")
        life.shop.do(
            rollovers.choose,
            tenant=TENANT,
            account=account,
            position=life.position(account, "ins_b0").id,
            automatic_rollover=True,
        )
    life.until(MATURITY - timedelta(days=2))
    life.settle()
    life.order(accounts[-1], "sell", "1.00", "ins_b0")
    life.until(MATURITY - timedelta(days=1))
    life.runner.catch_up()
    life.stop()
    return accounts


@IN_FULL_ON_POSTGRESQL
def test_each_is_ordered_and_paid_once_wherever_it_died(journal_url: str, tmp_path: Path) -> None:
    """One life, in which the follower dies at each point after the other."""
    views_url = views_beside(journal_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        accounts = prepared(life)
    die_at_each(roll, POINTS, journal_url, views_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        assert_once(life, accounts)
        assert audit(life.works.journal.datastore, AuditOptions("all")).findings == []


def assert_once(life: Life, accounts: list[str]) -> None:
    placed = [one for one in life.facts(Placed) if one.purpose == "rollover"]
    assert sorted(one.account for one in placed) == sorted(accounts)
    for kind in (RolloverReserved, RolloverPaid, PositionMatured):
        assert [len(life.facts_of(account, kind)) for account in accounts] == [1] * ACCOUNTS, kind
    assert [one.reason for one in life.facts(Cancelled)] == ["matured"]
    facts = [one.fact for page in life.works.journal.pages() for one in page]
    spent = [leg.amount for fact in facts for leg in moves.legs(fact) if leg.place == "receivable"]
    assert sum(spent, Decimal(0)) == 0
    assert [life.position(account, "ins_b0").status for account in accounts] == ["closed"] * ACCOUNTS
    assert {life.position(account, "ins_b1").units.total for account in accounts} == {Decimal("5.14")}
