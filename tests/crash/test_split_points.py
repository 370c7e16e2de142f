"""The servicing follower dies at each named point of a split: every account has it once."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from engine.audit.auditing import AuditOptions, audit
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import ActionCompleted, ActionStarted
from engine.domain.instrument import Terms
from engine.domain.order import Cancelled
from engine.domain.servicing import PositionSplit
from tests.crash.dying import IN_FULL_ON_POSTGRESQL, die_at_each
from tests.crash.serving import SPLIT_POINTS, serve
from tests.support.checkers import invariants
from tests.support.engines.desks import TERMS
from tests.support.engines.lives import Life, open_life
from tests.support.engines.prepared import views_beside

ACCOUNTS, MONDAY = 3, date(2026, 3, 16)
STOCK = replace(Terms("A share", TERMS.symbol, "stock", "USD", issuer_country="US"), settlement_days=1)


def prepared(life: Life) -> None:
    """Accounts hold the stock, one has a buy that waits, and the ex date has come."""
    life.list(STOCK)
    accounts = [life.account("1000.00") for _ in range(ACCOUNTS)]
    for account in accounts:
        life.trade(account, "buy", "500.00")
    terms = {"units_to": 1, "units_from": 3, "fraction_price": Decimal(99)}
    life.announce(ActionRequest("reverse_split", MONDAY, **terms))  # type: ignore[arg-type]
    life.order(accounts[-1], "buy", "100.00")
    life.until(MONDAY)
    life.runner.catch_up()
    life.stop()


@IN_FULL_ON_POSTGRESQL
def test_everybody_is_split_once_wherever_it_died(journal_url: str, tmp_path: Path) -> None:
    """One split, in which the follower dies at each point after the other."""
    views_url = views_beside(journal_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        prepared(life)
    die_at_each(serve, SPLIT_POINTS, journal_url, views_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        splits = life.facts(PositionSplit)
        assert set(Counter(one.position for one in splits).values()) == {1}
        assert len(splits) == ACCOUNTS
        assert len(life.facts(ActionStarted)) == 1
        (done,) = life.facts(ActionCompleted)
        assert (done.accounts, done.amount) == (ACCOUNTS, sum(one.amount for one in splits))
        assert [one.reason for one in life.facts(Cancelled)] == ["corporate_action"]
        assert audit(life.works.journal.datastore, AuditOptions()).findings == []
    assert invariants.check(journal_url) == []
