"""Coupons, dividends and redemptions over real journals and views of both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.commands.desk import Command, Decision, DecisionContext
from engine.domain import action_steps
from engine.domain.announcing import ActionRequest
from engine.domain.bookings import PositionClosed
from engine.domain.corporate_action import ActionCompleted, ActionStarted, ScheduleFollowed
from engine.domain.instrument import InstrumentListed, Terms
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured
from engine.kernel.errors import Refused
from engine.runtime.doctor import DoctorCheck
from order_engine.checks import matured_checks
from projections.quarantine import QUARANTINE
from projections.runner import Runner
from tests.support.checkers import invariants
from tests.support.engines.desks import INSTRUMENT, TERMS
from tests.support.engines.lives import Life, open_life

BOND = replace(
    TERMS, settlement_days=1, issuer_country="US", maturity_date=date(2026, 9, 15), coupon=Decimal(6),
    coupon_frequency=2, day_count_convention="30_360", issue_date=date(2025, 9, 15),
)  # fmt: skip
"""Pays 3 a unit on Sunday 15 March 2026, that is on Monday, and on 15 September with the 100."""
HOUR_US = 3_600_000_000
THURSDAY, FRIDAY, MONDAY = date(2026, 3, 12), date(2026, 3, 13), date(2026, 3, 16)
TUESDAY, MATURITY = date(2026, 3, 17), date(2026, 9, 15)
SHARE = Terms("A share", "SHARE", "stock", "USD", issuer_country="US")


@pytest.fixture
def life(journal_url: str, views_url: str) -> Iterator[Life]:
    with open_life(journal_url, views_url) as opened:
        yield opened
    assert invariants.check(journal_url) == []


def account_with(life: Life, units: str, terms: Terms = BOND) -> str:
    """An account that bought so many units today."""
    life.list(terms)
    account = life.account()
    life.trade(account, "buy", str(Decimal(units) * 200))
    extra = life.position(account).units.total - Decimal(units)
    life.trade(account, "sell", str(extra))
    return account


def become(life: Life, account: str, status: str) -> None:
    words = {"tenant": life.tenant_of(account), "account": account, "flags": {}}
    life.shop.do(decisions.change_account, status=status, **words)


def paid(life: Life, account: str) -> list[tuple[Decimal, Decimal]]:
    """(units, cash) of every coupon of an account."""
    return [(one.units, one.amount) for one in life.facts_of(account, CouponPaid)]


def test_a_coupon_is_paid_once_to_those_entitled(life: Life) -> None:
    names = ("held", "suspended", "closing", "sold before", "sold on the day")
    accounts = {name: account_with(life, "10") for name in names}
    life.trade(accounts["sold before"], "sell", "10.00")  # settles on Friday
    life.until(FRIDAY)
    life.settle()
    accounts["bought on the day"] = account_with(life, "7")  # settles on Monday, as all of today
    life.trade(accounts["sold on the day"], "sell", "10.00")
    life.trade(accounts["held"], "sell", "4.00")
    for status in ("suspended", "closing"):
        become(life, accounts[status], status)
    life.until(MONDAY)
    life.settle()
    assert life.position(accounts["sold on the day"]).status == "closed"
    before = {name: life.total(account) for name, account in accounts.items()}
    life.serve()
    due = {"held", "suspended", "closing", "sold on the day"}
    for name, account in accounts.items():
        expected = [(Decimal("10.00"), Decimal("30.00"))] if name in due else []
        assert paid(life, account) == expected, name
        assert life.total(account) - before[name] == sum(amount for _, amount in expected)
    (done,) = life.facts(ActionCompleted)
    assert (done.accounts, done.amount) == (4, Decimal("120.00"))
    assert {one.tenant for one in life.envelopes(CouponPaid)} == {"tenant"}
    end = life.works.journal.head
    life.stop()
    life.start()
    life.serve()
    assert life.works.journal.head == end


def test_nothing_is_paid_before_the_payment_date(life: Life) -> None:
    account = account_with(life, "10")
    life.until(date(2026, 3, 15))
    life.settle()
    life.serve()
    assert paid(life, account) == []
    assert life.facts(ActionStarted) == []
    life.until(MONDAY)
    life.serve()
    assert paid(life, account) == [(Decimal("10.00"), Decimal("30.00"))]


@pytest.mark.parametrize("terms", [SHARE, replace(BOND, maturity_date=date(2028, 3, 13))])
def test_a_payment_waits_for_midnight_at_its_market(life: Life, terms: Terms) -> None:
    """Until then trades of the day before that settle on their own day are entitled to it."""
    life.list(replace(terms, symbol=TERMS.symbol, settlement_days=0))
    account = life.account()
    if terms is SHARE:  # the bond's coupon of that day comes from its terms
        life.announce(ActionRequest("cash_dividend", FRIDAY, amount=Decimal(1)))
    life.shop.do(decisions.advance_clock, by_us=12 * HOUR_US)  # Friday 02:30 UTC, Thursday 22:30 there
    life.stop()
    life.start()
    life.serve()
    assert life.facts(ActionStarted) == []
    life.trade(account, "buy", "500.00")
    life.shop.do(decisions.advance_clock, by_us=2 * HOUR_US)
    life.stop()
    life.start()
    life.settle()
    life.serve()
    (one,) = life.facts_of(account, CouponPaid, DividendPaid)
    assert one.units == life.position(account).units.total > 0


def test_a_coupon_without_a_place_is_shown(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing said so before: the coupon was just not paid."""
    account = account_with(life, "10")
    life.announce(ActionRequest("call", date(2026, 6, 1), amount=Decimal(100)))
    monkeypatch.setattr(action_steps, "ACTIONS_OPEN_MAX", 1)
    life.until(MONDAY)
    life.settle()
    life.serve()
    shown = life.servicing.status().faults[INSTRUMENT]
    assert "its coupon of 2026-03-15 is not announced" in shown
    monkeypatch.undo()
    life.serve()
    assert life.servicing.status().faults == {}
    assert paid(life, account) == [(Decimal("10.00"), Decimal("30.00"))]


def test_a_whole_life_ends_with_the_face_value(life: Life) -> None:
    account = account_with(life, "3.33")
    life.until(MONDAY)
    life.settle()
    life.serve()
    life.until(MATURITY)
    before = life.total(account)
    life.serve()
    assert paid(life, account) == [(Decimal("3.33"), Decimal("9.99"))] * 2
    (matured,) = life.facts_of(account, PositionMatured)
    assert (matured.quantity, matured.pledged, matured.amount) == (
        Decimal("3.33"),
        Decimal("0.00"),
        Decimal("333.00"),
    )
    assert life.total(account) - before == Decimal("342.99")
    last = [type(one.fact) for one in life.works.journal.stream(account)][-3:]
    assert last == [CouponPaid, PositionMatured, PositionClosed]
    assert life.position(account).status == "closed"
    assert len(life.facts(ActionCompleted)) == 3


def test_a_redemption_waits_for_orders_and_settlements(life: Life) -> None:
    """A sell that waits is cancelled; one that executes, and a trade to settle, are waited for."""
    accounts = [account_with(life, "5") for _ in range(3)]
    life.until(date(2026, 9, 11))  # a Friday: what is sold settles on Monday
    life.settle()
    waiting = life.order(accounts[0], "sell", "2.00")
    executing = life.order(accounts[1], "sell", "2.00")
    life.shop.start(executing)
    life.until(date(2026, 9, 14))
    life.serve()  # the coupon of March, long late
    life.until(MATURITY)
    life.serve()
    assert life.works.order(waiting).cancelled_reason == "matured"
    assert [life.position(one).status for one in accounts] == ["closed", "open", "closed"]
    assert len(life.facts(PositionMatured)) == 2
    shown = life.servicing.status().faults
    assert set(shown) == {executing, f"{accounts[1]}/{INSTRUMENT}"}
    assert "its end" in shown[executing]
    life.shop.report(executing, "end", "ended")
    life.serve()
    assert life.position(accounts[1]).status == "closed"
    assert life.servicing.status().faults == {}
    (done,) = [one for one in life.facts(ActionCompleted) if one.accounts == 3 and one.amount > 1000]
    assert done.amount == Decimal("1500.00")


def test_an_executing_buy_is_waited_for_by_the_redemption(life: Life) -> None:
    """Nobody holds the instrument yet when it is repaid, and the order may still trade."""
    life.list(BOND)
    account = life.account()
    life.until(date(2026, 9, 11))
    bought = life.order(account, "buy", "500.00")
    life.shop.start(bought)
    life.until(MATURITY)
    life.serve()
    (action,) = life.shop.desk.state(INSTRUMENT).servicing.actions
    assert action.terms.action_type == "maturity"
    life.shop.report(bought, "late", "trade", price=Decimal(100), quantity=Decimal("4.00"))
    life.shop.report(bought, "end", "ended")
    life.until(date(2026, 9, 16))
    life.settle()
    life.serve()
    assert [one.amount for one in life.facts(PositionMatured)] == [Decimal("400.00")]
    assert life.shop.desk.state(INSTRUMENT).servicing.actions == ()


def test_a_closed_account_is_paid_and_may_withdraw(life: Life) -> None:
    account = account_with(life, "10")
    life.until(FRIDAY)
    life.settle()
    life.trade(account, "sell", "10.00")
    life.until(MONDAY)
    life.settle()
    words = {"tenant": "tenant", "account": account}

    def withdraw(amount: Decimal) -> None:
        payment = life.shop.ids.new("wdr")
        life.shop.do(
            decisions.create_payment, payment=payment, kind="withdrawal", currency="USD",
            amount=amount, **words,
        )  # fmt: skip
        life.shop.do(decisions.end_payment, payment=payment, is_completed=True, **words)

    withdraw(life.total(account))
    become(life, account, "closed")
    assert life.shop.desk.state(account).status == "closed"
    life.serve()
    assert life.total(account) == Decimal("30.00")
    withdraw(Decimal("30.00"))
    assert life.total(account) == 0
    assert life.shop.desk.state(account).status == "closed"


def test_a_dividend_goes_by_settlement_before_its_ex_date(life: Life) -> None:
    share = replace(SHARE, symbol=TERMS.symbol, settlement_days=1)
    early, late = account_with(life, "10", share), life.account()
    action = life.announce(
        ActionRequest("cash_dividend", MONDAY, date(2026, 3, 20), amount=Decimal("0.333"))
    )
    life.until(FRIDAY)
    life.settle()
    life.trade(late, "buy", "1000.00")
    life.until(MONDAY)
    life.settle()
    life.trade(early, "sell", "10.00")
    life.until(date(2026, 3, 20))
    life.settle()
    life.serve()
    (dividend,) = life.facts(DividendPaid)
    assert (dividend.action, dividend.amount) == (action, Decimal("3.33"))
    assert life.facts_of(early, DividendPaid) == [dividend]


def test_many_holders_are_served_in_pages_and_a_restart_goes_on(
    journal_url: str, views_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that ends in the middle leaves the rest to the next, which pays nobody twice."""
    for module in ("engine.followers.servicing", "projections.serviced"):
        monkeypatch.setattr(f"{module}.SERVED_BATCH", 2)
    with open_life(journal_url, views_url) as life:
        accounts = [account_with(life, "10") for _ in range(5)]
        life.until(MONDAY)
        life.settle()
        for _ in range(12):
            life.runner.catch_up()
            life.servicing.turn()
            life.works.clock.now_s += 0.1
            if len(life.facts(CouponPaid)) >= 2:
                break
        assert len(life.facts(CouponPaid)) == 2
        life.stop()
        life.start()
        life.serve()
        assert [paid(life, one) for one in accounts] == [[(Decimal("10.00"), Decimal("30.00"))]] * 5
        (done,) = life.facts(ActionCompleted)
        assert (done.accounts, done.amount) == (5, Decimal("150.00"))


def test_an_instrument_that_matured_unseen_is_reported_and_redeemed_by_an_announcement(
    life: Life,
) -> None:
    """As in a journal of the first releases, in which bills stayed open for ever."""
    account = account_with(life, "4", replace(TERMS, settlement_days=1))
    life.until(TUESDAY)
    life.settle()
    life.list(replace(TERMS, maturity_date=FRIDAY, instrument_type="bill"))
    life.serve()
    assert life.facts(PositionMatured) == []

    def found() -> list[DoctorCheck]:
        life.runner.catch_up()
        return list(matured_checks(life.works.journal, life.views, life.works.now_us()))

    (check,) = found()
    assert (check.name, check.verdict) == ("matured", "warning")
    assert check.value == f"1 open positions of {INSTRUMENT}, which matured on 2026-03-13"
    assert "announce its `maturity`" in check.advice
    life.announce(ActionRequest("maturity", TUESDAY))
    life.serve()
    (matured,) = life.facts_of(account, PositionMatured)
    assert matured.amount == Decimal("400.00")
    assert found() == []


def test_another_tenant_s_account_is_served_under_its_own_name(life: Life) -> None:
    life.list(BOND)
    accounts = {tenant: life.account(tenant=tenant) for tenant in ("acme", "bravo")}
    for account in accounts.values():
        life.trade(account, "buy", "1000.00")
    life.until(MONDAY)
    life.settle()
    life.serve()
    for tenant, account in accounts.items():
        recorded = [one for one in life.works.journal.stream(account) if type(one.fact) is CouponPaid]
        assert [one.envelope.tenant for one in recorded] == [tenant]
        assert [one.envelope.actor for one in recorded] == ["servicing"]


def test_views_that_lag_are_waited_for(life: Life) -> None:
    """A holder that the views do not show yet is paid as well."""
    life.list(BOND)
    first = life.account()
    life.trade(first, "buy", "1000.00")
    life.runner.catch_up()
    late = life.account()
    life.trade(late, "buy", "1000.00")
    life.until(MONDAY)
    life.settle()
    for _ in range(20):
        life.servicing.turn()
        life.works.clock.now_s += 0.3
    assert life.facts(CouponPaid) == []
    life.serve()
    assert [bool(paid(life, one)) for one in (first, late)] == [True, True]


def test_a_call_of_today_waits_until_every_process_knows_of_it(life: Life) -> None:
    """Others decide on instruments up to a second old: the last look sees an order of that second."""
    account = account_with(life, "4")
    life.until(TUESDAY)
    life.settle()
    life.serve()
    life.announce(ActionRequest("call", TUESDAY, amount=Decimal("101.5")))
    life.serve(turns=4)
    assert len(life.facts(ActionStarted)) == 1  # that of the coupon
    life.serve()
    assert [one.amount for one in life.facts_of(account, PositionMatured)] == [Decimal("406.00")]
    with pytest.raises(Refused, match="instrument matures on 2026-03-17"):
        life.order(account, "buy", "100.00")
    life.until(date(2026, 10, 1))
    life.serve()
    assert len(life.facts(ActionCompleted)) == 2  # neither the coupon of September nor a maturity


def test_an_account_whose_positions_cannot_be_shown_is_paid_as_well(life: Life) -> None:
    """A view may have it in quarantine, at any fact: its rows are old or missing."""
    account = account_with(life, "4")
    life.until(MONDAY)
    life.settle()
    life.runner.catch_up()
    with life.views.writing() as connection:
        row = ("positions " + account, "positions", account, account, "tenant", 1, "a fault")
        QUARANTINE.write(connection, [row])
        connection.exec_driver_sql("DELETE FROM view_positions")
    life.runner = Runner(life.works.journal, life.views)
    life.serve()
    assert paid(life, account) == [(Decimal("4.00"), Decimal("12.00"))]
    (done,) = life.facts(ActionCompleted)
    assert (done.accounts, done.amount) == (1, Decimal("12.00"))


def test_an_instrument_of_an_earlier_release_is_followed_from_the_first_start_on(life: Life) -> None:
    """Once, from that day: what was due before is not paid in retrospect."""
    earlier = replace(BOND, maturity_date=date(2027, 3, 10), issue_date=date(2025, 3, 10))

    def listed(context: DecisionContext) -> Decision:
        yield INSTRUMENT
        return [(INSTRUMENT, [InstrumentListed(INSTRUMENT, earlier, context.at_us)])]

    life.shop.desk.do(Command(listed, None, "cli_test"))
    account = life.account()
    life.trade(account, "buy", "1000.00")
    life.until(FRIDAY)
    life.settle()
    life.serve()
    life.stop()
    life.start()
    life.serve()
    assert [one.since for one in life.facts(ScheduleFollowed)] == [FRIDAY]
    assert life.facts(CouponPaid) == []  # that of 10 March
    life.until(date(2026, 9, 10))
    life.serve()
    assert len(life.facts(CouponPaid)) == 1
    life.list(replace(earlier, trading_status="sell_only"))
    assert len(life.facts(ScheduleFollowed)) == 1
