"""Engine and counterparty die at named points of the way of an order: both books agree in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.config.settings import read_settings
from engine.installation import open_journal_datastore
from tests.crash.markets import Counterparty, Fix, Gateway, Trading

MARKETS: dict[str, Callable[[Path], Counterparty]] = {"http": Gateway, "fix": Fix}
LIVES = [
    pytest.param(3, marks=pytest.mark.full, id="3 kills"),
    pytest.param(100, marks=pytest.mark.torture, id="100 kills"),
]


@pytest.mark.parametrize("lives", LIVES)
@pytest.mark.parametrize("who", ["engine", "counterparty"])
@pytest.mark.parametrize("market", MARKETS)
def test_both_books_agree_after_kills(tmp_path: Path, market: str, who: str, lives: int) -> None:
    """One effect for each execution, and no order sent twice."""
    began_s = monotonic()
    counterparty = MARKETS[market](tmp_path)
    trading = Trading(tmp_path, f"sqlite:///{tmp_path}/journal.db", counterparty)
    try:
        trading.start()
        trading.set_up()
        trading.kill()
        (trading.engine_lives if who == "engine" else trading.counterparty_lives)(lives)
        trading.end_well()
        assert trading.differences() == []
    finally:
        trading.kill()
        counterparty.kill()
    trades = sum(len(held.trades) for held in counterparty.book().values())
    print(
        f"{market}: {lives} kills of the {who}, {len(trading.orders)} orders, {trades} trades,"
        f" {monotonic() - began_s:.0f} s"
    )
    settings = read_settings(
        data=str(trading.place.data), journal_url=trading.place.journal_url, environ={}
    )
    datastore = open_journal_datastore(settings)
    try:
        assert audit(datastore, AuditOptions("all")).findings == []
    finally:
        datastore.close()
