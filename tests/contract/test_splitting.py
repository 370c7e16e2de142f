"""Splits over real journals and views of both databases, by the servicing follower."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import partial

import pytest
from msgspec.structs import replace

from engine.commands import decisions, servicing
from engine.commands.desk import Command, Desk, Outcome
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import ActionCompleted, ActionStarted
from engine.domain.order import ExpiryRequested
from engine.domain.order_request import OrderRequest
from engine.domain.report import Report, ReportParked
from engine.domain.servicing import DividendPaid, PositionSplit
from engine.kernel.errors import Refused
from tests.contract.test_servicing import SHARE, account_with
from tests.support.checkers import invariants
from tests.support.engines.desks import INSTRUMENT, TERMS
from tests.support.engines.lives import Life, open_life

FRIDAY, MONDAY = date(2026, 3, 13), date(2026, 3, 16)
HOUR_US = 3_600_000_000
SUNDAY, TUESDAY, WEDNESDAY = date(2026, 3, 15), date(2026, 3, 17), date(2026, 3, 18)
STOCK = replace(SHARE, symbol=TERMS.symbol, settlement_days=1)


@pytest.fixture
def life(journal_url: str, views_url: str) -> Iterator[Life]:
    with open_life(journal_url, views_url) as opened:
        yield opened
        opened.runner.catch_up()
    assert invariants.check(journal_url, views_url=views_url) == []


def announce(life: Life, to: int, from_: int, price: str = "9", day: date = MONDAY) -> str:
    kind = "stock_split" if to > from_ else "reverse_split"
    terms = {"units_to": to, "units_from": from_, "fraction_price": Decimal(price)}
    return life.announce(ActionRequest(kind, day, **terms))  # type: ignore[arg-type]


def price(life: Life, at: str) -> None:
    """A quote of now, in the units of now."""
    life.works.clock.now_s += 1
    life.price(TERMS.symbol, at, life.shop.desk.state(INSTRUMENT).unit)
    quote = replace(life.shop.prices[TERMS.symbol], at_us=life.works.now_us())
    life.shop.prices[TERMS.symbol] = quote


def test_everybody_is_split_once_and_settles_what_is_left(life: Life) -> None:
    settled = account_with(life, "15.00", STOCK)
    announce(life, 1, 10)
    life.until(FRIDAY)
    life.settle()
    fresh = account_with(life, "7.77", STOCK)  # settles on Monday
    before = life.total(fresh)
    waiting = life.order(settled, "sell", "3.00")
    life.until(MONDAY)
    with pytest.raises(Refused, match="A split of the instrument is due"):
        life.order(settled, "sell", "1.00")
    life.serve()
    assert life.works.order(waiting).cancelled_reason == "corporate_action"
    assert life.position(settled).units.total == Decimal("1.50")
    held = life.position(fresh)
    assert (held.units.total, life.total(fresh) - before) == (Decimal("0.77"), Decimal("0.06"))
    (done,) = life.facts(ActionCompleted)
    assert (done.accounts, done.amount) == (2, Decimal("0.06"))
    life.settle()
    held = life.position(fresh)
    assert (held.units.settled, held.units.unsettled) == (Decimal("0.77"), 0)
    end = life.works.journal.head
    life.stop()
    life.start()
    life.serve()
    assert life.works.journal.head == end


@pytest.mark.parametrize("is_made_before", [True, False])
def test_a_split_starts_when_no_order_is_at_its_venue(life: Life, is_made_before: bool) -> None:
    """Two accounts: one of them buys the first units of its life while the day begins.

    A trade of the eve is of units of before, and is split; one of the ex date is of units of after, in
    which the order does not count.
    """
    holder, buyer = account_with(life, "10.00", STOCK), life.account()
    announce(life, 2, 1)
    life.until(FRIDAY)
    life.settle()
    order = life.order(buyer, "buy", "400.00")
    life.shop.start(order)
    trade = partial(life.shop.report, order, "x1", "trade", price=Decimal(100), quantity=Decimal("3.00"))
    if is_made_before:
        trade()
    life.until(MONDAY)
    life.serve()
    assert life.facts(ActionStarted) == []
    assert "the stock split of" in life.servicing.status().faults[order]
    if not is_made_before:
        trade()
    life.shop.report(order, "end", "ended")
    life.serve()
    assert [one.fault for one in life.facts(ReportParked)] == ["split"] * (not is_made_before)
    assert life.position(holder).units.total == 20
    if is_made_before:
        assert life.position(buyer).units.total == 6
    else:
        assert life.shop.desk.state(buyer).holdings.positions == {}
    assert life.servicing.status().faults == {}
    (done,) = life.facts(ActionCompleted)
    assert done.accounts == 1 + is_made_before


def test_a_split_has_resting_limit_orders_cancelled(life: Life) -> None:
    """One that is good till cancelled would hold it up for ever."""
    holder, buyer = account_with(life, "10.00", STOCK), life.account()
    announce(life, 2, 1)
    life.until(FRIDAY)
    life.settle()
    order = life.order(buyer, "buy", "400.00", limit_price=Decimal(90), time_in_force="gtc")
    life.execute()
    assert life.works.order(order).status == "executing"
    life.until(MONDAY)
    for _ in range(4):
        life.serve(12)
        life.execute()
    known = life.works.order(order)
    assert (known.status, known.cancelled_reason) == ("cancelled", "corporate_action")
    assert life.position(holder).units.total == 20
    assert life.servicing.status().faults == {}
    assert len(life.facts(ExpiryRequested)) == 1


@pytest.mark.parametrize(("country", "hours", "is_started"), [
    ("JP", 0, False), ("JP", 1, True), ("US", 13, False), ("US", 14, True),
])  # fmt: skip
def test_a_split_starts_by_the_day_at_its_market(
    life: Life, country: str, hours: int, is_started: bool
) -> None:
    """From Sunday 14:30 UTC on: Monday begins in Tokyo at 15:00 UTC, in New York at 04:00 UTC."""
    life.list(replace(STOCK, issuer_country=country))
    announce(life, 2, 1)
    life.until(SUNDAY)
    life.shop.do(decisions.advance_clock, by_us=max(1, hours * HOUR_US))
    life.stop()
    life.start()
    life.serve()
    assert bool(life.facts(ActionStarted)) == is_started


def test_a_dividend_of_before_is_paid_for_the_units_of_before(life: Life) -> None:
    account = account_with(life, "10.00", STOCK)
    dividend = ActionRequest("cash_dividend", MONDAY, WEDNESDAY, amount=Decimal("0.50"))
    life.announce(dividend)
    announce(life, 3, 1, day=TUESDAY)
    life.until(TUESDAY)
    life.settle()
    life.serve()
    assert life.position(account).units.total == 30
    life.until(WEDNESDAY)
    life.serve()
    (paid,) = life.facts(DividendPaid)
    assert (paid.units, paid.amount) == (Decimal("10.00"), Decimal("5.00"))


def test_the_account_trades_on_by_quotes_of_afterwards(life: Life) -> None:
    account = account_with(life, "10.00", STOCK)
    announce(life, 2, 1)
    life.until(MONDAY)
    life.settle()
    life.serve()
    with pytest.raises(Refused) as refusal:
        life.order(account, "sell", "20.00")
    assert refusal.value.code == "missing_price"
    price(life, "50")
    sold = life.order(account, "sell", "20.00")
    life.shop.start(sold)
    assert (life.works.order(sold).splits, life.works.order(sold).terms.price) == (1, 50)


def test_a_position_below_zero_is_shown_and_the_others_are_split(life: Life) -> None:
    """A booked report has taken more than was held. Nor is the next split held up for the others."""
    good, bad = account_with(life, "10.00", STOCK), account_with(life, "5.00", STOCK)
    sold = life.order(bad, "sell", "5.00")
    life.shop.execute(sold)
    life.shop.report(sold, "more", "trade", price=Decimal(100), quantity=Decimal("2.00"))
    report = Report("sim", "more", sold, "trade", price=Decimal(100), quantity=Decimal("2.00"))
    parked = decisions.parked_report_id(report)
    life.shop.do(decisions.resolve_report, parked=parked, action="book", by="one")
    life.shop.do(decisions.confirm_report, parked=parked, firm=life.shop.firm, by="two")
    assert life.position(bad).units.total == -2
    announce(life, 2, 1)
    life.until(MONDAY)
    life.serve()
    assert [life.position(one).units.total for one in (good, bad)] == [20, -2]
    assert "lacks 2.00 units" in life.servicing.status().faults[f"{bad}/{INSTRUMENT}"]
    assert [one.quantity_after for one in life.facts(PositionSplit)] == [20]
    announce(life, 3, 1, day=TUESDAY)
    life.until(TUESDAY)
    life.serve()
    assert [life.position(one).units.total for one in (good, bad)] == [60, -2]
    assert life.facts(ActionCompleted) == []
    price(life, "17")
    life.trade(good, "sell", "60.00")
    assert life.position(good).units.total == 0


def test_another_process_that_knows_the_instrument_of_a_moment_ago(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has just read the instrument, and is not told of the split: the old price must not count."""
    for name in ("FRESH", "STALE"):
        monkeypatch.setattr(f"engine.commands.reference_cache.REFERENCE_{name}_S", 3600.0)
    account = account_with(life, "10.00", STOCK)
    other = Desk(life.works.journal, now_us=life.works.now_us)

    def place(quantity: str) -> Outcome:
        decide = partial(
            decisions.place_order,
            firm=life.shop.firm,
            tenant=life.tenant_of(account),
            account=account,
            order=life.shop.ids.new("ord"),
            instrument=INSTRUMENT,
            order_request=OrderRequest("sell", quantity=Decimal(quantity)),
        )
        return other.do(Command(decide, life.tenant_of(account), "client"))

    cancelled = place("1.00").facts[-1].stream
    life.shop.do(decisions.request_cancel, tenant="tenant", account=account, order=cancelled)
    action = announce(life, 2, 1, day=life.today)
    words = {"instrument": INSTRUMENT, "action": action}
    life.shop.do(servicing.start_action, **words)
    life.shop.do(servicing.apply_action, ids=life.shop.ids, account=account, **words)
    assert life.position(account).units.total == 20
    with pytest.raises(Refused) as refusal:
        place("5.00")
    assert refusal.value.code == "missing_price"
