"""The execution dies at each named point of expiring orders: each ends once, its venue is asked once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions
from engine.domain.clock import ClockAdvanced
from engine.domain.instrument import Terms, unit_of
from engine.domain.order import Cancelled, ExecutionStarted, ExpiryRequested, MadePending
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.venues.simulated import SimulatedVenue
from tests.crash.dying import IN_FULL_ON_POSTGRESQL, Points, die_at_each, set_trap, unrecorded, untold
from tests.support.engines.desks import TENANT, THURSDAY_US
from tests.support.engines.lives import DAY_US, Life, open_life
from tests.support.engines.prepared import views_beside

PRICED: Final = Terms("Priced", "PRI", "etf", "USD")
UNPRICED: Final = Terms("Unpriced", "UNP", "etf", "USD")
POINTS: Points = {
    "sent, not recorded": (1, unrecorded("start_execution")),
    "sent, the venue has not heard of it": (1, untold("start_execution")),
    "expired, not recorded": (1, unrecorded("expire_order")),
    "one expired, not known, the other not decided": (1, untold("expire_order")),
    "cancelled by the venue, not recorded": (1, unrecorded("take_after")),
    "cancelled by the venue, not known": (1, untold("take_after")),
}


def perform(journal_url: str, views_url: str, point: str | None, marker: str) -> None:
    """A process that executes until both orders have ended: one rests, and one waits for a price."""
    set_trap(POINTS, point, marker)
    with open_life(journal_url, views_url) as life:
        works, shop = life.works, life.shop
        shop.prices["PRI"] = Price(Decimal(99), Decimal(100), THURSDAY_US, unit=unit_of(PRICED))
        life.execution = works.execution(SimulatedVenue(works.now_us))
        for _ in range(60):
            life.execution.turn()
            works.clock.now_s += 1
            is_begun = life.facts(ExecutionStarted) and life.facts(MadePending)
            if is_begun and not life.facts(ClockAdvanced):
                shop.do(decisions.advance_clock, by_us=DAY_US)
            if len(life.facts(Cancelled)) == 2:
                break
        life.execution.end()


def prepared(life: Life) -> None:
    account = life.account()
    for terms in (PRICED, UNPRICED):
        instrument = f"ins_{terms.symbol}"
        life.shop.do(decisions.put_instrument, instrument=instrument, terms=terms)
        life.shop.do(
            decisions.place_order,
            firm=life.shop.firm,
            tenant=TENANT,
            account=account,
            order=life.shop.ids.new("ord"),
            instrument=instrument,
            order_request=OrderRequest(
                "buy", Decimal(1000), order_type="limit", limit_price=Decimal(98)
            ),
        )
    life.stop()


@IN_FULL_ON_POSTGRESQL
def test_an_order_expires_once_wherever_it_died(journal_url: str, tmp_path: Path) -> None:
    views_url = views_beside(journal_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        prepared(life)
    die_at_each(perform, POINTS, journal_url, views_url, tmp_path)
    with open_life(journal_url, views_url) as life:
        assert [one.reason for one in life.facts(Cancelled)] == ["expired", "expired"]
        assert len(life.facts(ExpiryRequested)) == len(life.facts(ExecutionStarted)) == 1
        assert audit(life.works.journal.datastore, AuditOptions()).findings == []
