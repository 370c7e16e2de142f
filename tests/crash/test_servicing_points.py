"""The servicing follower dies at each named point, and the next one goes on: everything is paid once."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from engine.audit.auditing import AuditOptions, audit
from engine.domain.corporate_action import ActionAnnounced, ActionCompleted, ActionStarted
from engine.domain.order import Cancelled
from engine.domain.servicing import CouponPaid, PositionMatured
from tests.crash.dying import die_at_each
from tests.crash.serving import POINTS, serve
from tests.support.engines.desks import TERMS
from tests.support.engines.lives import Life, open_life
from tests.support.engines.prepared import views_beside

ACCOUNTS = 3
BOND = replace(
    TERMS, settlement_days=1, issuer_country="US", maturity_date=date(2026, 9, 15), coupon=Decimal(6),
    coupon_frequency=1, day_count_convention="30_360", issue_date=date(2025, 9, 15),
)  # fmt: skip
"""Pays 6 and 100 a unit, both on 15 September."""


def prepared(life: Life) -> str:
    """Accounts hold the bond, one has a sell that waits, and it has matured; the sell's id."""
    life.list(BOND)
    accounts = [life.account("1000.00") for _ in range(ACCOUNTS)]
    for account in accounts:
        life.trade(account, "buy", "500.00")
    life.until(date(2026, 9, 11))
    life.settle()
    waiting = life.order(accounts[-1], "sell", "1.00")
    life.until(date(2026, 9, 15))
    life.runner.catch_up()
    life.stop()
    return waiting


def test_all_is_paid_once_wherever_it_died(journal_url: str, tmp_path: Path) -> None:
    """One life, in which the follower dies at each point after the other."""
    views_url = views_beside(journal_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        waiting = prepared(life)
    die_at_each(serve, POINTS, journal_url, views_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        assert_paid_once(life, waiting)
        report = audit(life.works.journal.datastore, AuditOptions())
        assert report.findings == []


def assert_paid_once(life: Life, waiting: str) -> None:
    coupons, redemptions = life.facts(CouponPaid), life.facts(PositionMatured)
    for paid in (coupons, redemptions):
        assert Counter(one.position for one in paid).most_common(1)[0][1] == 1
        assert len(paid) == ACCOUNTS
    totals = [(one.accounts, one.amount) for one in life.facts(ActionCompleted)]
    assert totals == [(ACCOUNTS, sum(one.amount for one in paid)) for paid in (coupons, redemptions)]
    assert len(life.facts(ActionAnnounced)) == len(life.facts(ActionStarted)) == 2
    assert [one.reason for one in life.facts(Cancelled)] == ["matured"]
    assert life.works.order(waiting).status == "cancelled"
