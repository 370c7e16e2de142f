"""Accounts: opening, flags, suspending, closing; positions that close, reopen and come anew."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.domain import account, bookings, moves
from engine.domain.account import AccountChanged, AccountClosed, AccountClosing, AccountOpened
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.position import Position
from engine.domain.pricing import Price
from engine.domain.servicing import CouponPaid
from engine.kernel.errors import Refused, UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.values import plain
from tests.support.engines.world import LATER, World

PRICE = Price(Decimal(100), Decimal(100), 1)
FREE = FeeRule(Decimal(0))


def given(*facts: Fact) -> account.Account:
    state = account.evolve(None, AccountOpened("acc", "tenant", "USD", ("EUR",), 1))
    for fact in facts:
        state = account.evolve(state, fact)
    return state


def test_opening_keeps_each_funding_currency_once_and_the_base_apart() -> None:
    facts = account.open_account(None, "acc", "tenant", "USD", ["EUR", "USD", "EUR"], at_us=1)
    assert facts == [AccountOpened("acc", "tenant", "USD", ("EUR",), 1)]
    assert account.open_account(given(), "acc", "tenant", "USD", at_us=2) == []


@pytest.mark.parametrize(("base", "funding"), [("XXX", ()), ("usd", ()), ("USD", ("EURO",))])
def test_opening_in_no_currency_is_refused(base: str, funding: tuple[str, ...]) -> None:
    world = World()
    assert world.open("acc", base, *funding) == "invalid_param"


def test_changing_carries_all_that_can_change() -> None:
    facts = account.change(given(), can_withdraw=False, at_us=2)
    assert facts == [AccountChanged(("EUR",), True, False, True, True, 2)]
    assert account.change(given(*facts), can_withdraw=False, at_us=3) == []
    added = account.change(given(), funding_currencies=["EUR", "JPY"], at_us=2)
    assert given(*added).currencies == {"USD", "EUR", "JPY"}


@pytest.mark.parametrize(
    ("before", "verb", "answer", "after"),
    [
        ("active", "suspend", "ok", "suspended"),
        ("active", "activate", "nothing", "active"),
        ("active", "close", "ok", "closed"),
        ("suspended", "suspend", "nothing", "suspended"),
        ("suspended", "activate", "ok", "active"),
        ("suspended", "close", "ok", "closed"),
        ("closing", "suspend", "invalid_param", "closing"),
        ("closing", "activate", "ok", "active"),
        ("closing", "close", "nothing", "closing"),
        ("closed", "suspend", "invalid_param", "closed"),
        ("closed", "activate", "invalid_param", "closed"),
        ("closed", "close", "nothing", "closed"),
        ("closed", "change", "invalid_param", "closed"),
    ],
)
def test_status(before: str, verb: str, answer: str, after: str) -> None:
    world = World()
    world.open()
    if before == "closing":
        world.fund("5.00")
    ways = {"suspended": "suspend", "closing": "close", "closed": "close"}
    if before in ways:
        world.to_account(ways[before])
    assert world.account().status == before
    assert world.to_account(verb) == answer
    assert world.account().status == after


def trading() -> World:
    """An account with cash and an instrument."""
    world = World()
    world.put("ins", Terms("Name", "SYM", "stock", "USD", issuer_country="US"))
    world.open()
    world.fund("1000.00")
    return world


def trade(world: World, name: str, side: str, amount: str, quantity: str) -> None:
    """An order executed and filled, not settled."""
    order_request = (
        OrderRequest("buy", Decimal(amount))
        if side == "buy"
        else OrderRequest("sell", None, Decimal(quantity))
    )
    assert world.place(name, order_request, price=PRICE, fee=FREE) == "ok"
    assert world.start(name, PRICE) == "ok"
    assert world.trade(name, f"x_{name}", "100", quantity) == "ok"
    assert world.end(name) == "ok"


def settle(world: World, name: str) -> None:
    assert world.settle(name, f"trd_sim/x_{name}", LATER) == "ok"


def position(world: World) -> Position:
    found = world.account().holdings.positions["ins"]
    assert isinstance(found, Position)
    return found


def test_a_position_opens_closes_and_comes_anew() -> None:
    world = trading()
    trade(world, "b1", "buy", "100.00", "1.00")
    first = position(world)
    assert (first.status, first.total_buy_trades, first.settled) == ("open", 1, 0)
    trade(world, "s1", "sell", "", "1.00")
    assert position(world).status == "closing"
    settle(world, "b1")
    assert position(world).status == "closing"
    settle(world, "s1")
    closed = position(world)
    assert (closed.status, closed.id) == ("closed", first.id)
    assert closed.closed_at_us is not None
    trade(world, "b2", "buy", "100.00", "1.00")
    assert position(world).id != first.id
    assert (position(world).status, position(world).total_buy_trades) == ("open", 1)


def test_a_buy_reopens_a_closing_position() -> None:
    world = trading()
    trade(world, "b1", "buy", "100.00", "1.00")
    trade(world, "s1", "sell", "", "1.00")
    first = position(world)
    trade(world, "b2", "buy", "200.00", "2.00")
    assert (position(world).status, position(world).id) == ("open", first.id)
    assert position(world).total_buy_trades == 2
    for name in ("b1", "s1", "b2"):
        settle(world, name)
    assert (position(world).settled, position(world).unsettled) == (2, 0)


def test_unsettled_units_can_be_sold_and_unsettled_is_never_more_than_is_held() -> None:
    world = trading()
    trade(world, "b1", "buy", "300.00", "3.00")
    trade(world, "s1", "sell", "", "2.00")
    now = position(world)
    assert (now.units.total, now.unsettled, now.settled) == (1, 1, 0)
    settle(world, "b1")
    assert (position(world).unsettled, position(world).settled) == (0, 1)


def test_unsettled_proceeds_can_be_traded_and_not_withdrawn() -> None:
    world = trading()
    trade(world, "b1", "buy", "1000.00", "10.00")
    trade(world, "s1", "sell", "", "4.00")
    cash = world.account().holdings.balance("USD")
    assert (cash.total, cash.available, cash.withdrawable) == (400, 400, 0)
    trade(world, "b2", "buy", "100.00", "1.00")
    cash = world.account().holdings.balance("USD")
    assert (cash.total, cash.available, cash.withdrawable) == (300, 300, 0)
    settle(world, "s1")
    assert world.account().holdings.balance("USD").withdrawable == 300


def test_closing_waits_for_cash_units_and_settlement() -> None:
    world = trading()
    trade(world, "b1", "buy", "100.00", "1.00")
    assert world.to_account("close") == "ok"
    assert isinstance(world.facts[-1][2], AccountClosing)
    assert world.place("b2", OrderRequest("buy", Decimal(100)), price=PRICE) == "buy_order_forbidden"
    assert world.pay("deposit", "dep", "USD", Decimal(1)) == "deposit_forbidden"
    trade(world, "s1", "sell", "", "1.00")
    settle(world, "b1")
    settle(world, "s1")
    assert world.to_account("close") == "nothing"
    assert world.pay("withdrawal", "wdr", "USD", Decimal(1000)) == "ok"
    assert world.to_account("close") == "nothing"
    assert world.complete("wdr") == "ok"
    assert world.to_account("close") == "ok"
    assert isinstance(world.facts[-1][2], AccountClosed)


def test_a_closed_account_takes_no_money() -> None:
    world = World()
    world.open()
    world.pay("deposit", "dep", "USD", Decimal(5))
    world.to_account("close")
    assert world.complete("dep") == "deposit_forbidden"
    assert world.fail("dep") == "ok"


def test_an_order_is_cancelled_when_its_account_closes_or_its_instrument_stops() -> None:
    world = trading()
    world.place("b1", OrderRequest("buy", Decimal(100)), price=PRICE)
    world.to_account("close")
    assert world.start("b1", PRICE) == "ok"
    assert world.order("b1").cancelled_reason == "account_closed"
    other = trading()
    other.place("b1", OrderRequest("buy", Decimal(100)), price=PRICE)
    other.put("ins", Terms("Name", "SYM", "stock", "USD", "sell_only", issuer_country="US"))
    assert other.start("b1", PRICE) == "ok"
    assert other.order("b1").cancelled_reason == "instrument_not_trading"
    assert other.account().holdings.balance("USD").available == 1000


def test_an_order_of_a_suspended_account_waits_and_one_at_its_venue_goes_on() -> None:
    world = trading()
    for name in ("b1", "b2"):
        world.place(name, OrderRequest("buy", Decimal(100)), price=PRICE)
    world.start("b1", PRICE)
    world.to_account("suspend")
    assert world.trade("b1", "x1", "100", "0.99") == "ok"
    assert world.start("b2", PRICE) == "ok"
    assert (world.order("b2").status, world.order("b2").pending_reason) == (
        "pending",
        "account_suspended",
    )
    assert world.start("b2", PRICE) == "nothing"
    world.to_account("activate")
    assert world.start("b2", PRICE) == "ok"
    assert world.order("b2").status == "executing"


def test_a_price_that_rose_too_far_cancels_and_releases() -> None:
    world = trading()
    world.place("b1", OrderRequest("buy", Decimal(100)), price=PRICE)
    dear = Price(Decimal(10_000), Decimal(10_000), 2)
    assert world.start("b1", dear) == "ok"
    assert world.order("b1").cancelled_reason == "below_minimum_quantity"
    assert world.account().holdings.balance("USD").available == 1000


def test_legs_name_every_place_and_sum_to_zero() -> None:
    booked = bookings.BuyBooked(
        order="ord",
        trade="trd",
        position="pos",
        instrument="ins",
        currency="USD",
        price=Decimal(100),
        quantity=Decimal("0.99"),
        notional=Decimal("99.00"),
        fee=Decimal("0.50"),
        settlement_date=LATER,
        automatic_rollover=False,
        at_us=1,
    )
    legs = {(leg.asset, leg.of, leg.place): leg.amount for leg in moves.legs(booked)[:4:3]}
    assert legs == {
        ("cash", "USD", "reserved"): Decimal("-99.00"),
        ("cash", "USD", "fees"): Decimal("0.50"),
    }
    assert sum(leg.amount for leg in moves.legs(booked)) == 0
    assert moves.legs(AccountClosed(1)) == []


@pytest.mark.parametrize("kind", sorted(moves.FACTS, key=lambda kind: kind.__name__))
def test_nothing_happens_before_an_account_is_opened(kind: type[Fact]) -> None:
    with pytest.raises(UnknownFact):
        account.evolve(None, kind(*[None] * len(kind.__struct_fields__)))


def test_facts_that_cannot_follow_fail_loudly() -> None:
    with pytest.raises(UnknownFact):
        account.evolve(given(AccountClosed(2)), account.AccountActivated(3))
    with pytest.raises(UnknownFact):
        account.evolve(given(), bookings.PositionClosed("pos", "ins", 2))
    with pytest.raises(UnknownFact):
        account.evolve(given(), AccountOpened("acc", "tenant", "USD", (), 2))


def test_what_may_leave_is_printed_at_scale_even_when_more_than_settled_was_spent() -> None:
    world = trading()
    trade(world, "b1", "buy", "1000.00", "10.00")
    trade(world, "s1", "sell", "", "4.00")
    trade(world, "b2", "buy", "100.00", "1.00")
    cash = world.account().holdings.balance("USD")
    assert cash.settled < 0
    assert plain(cash.withdrawable) == "0.00"


@pytest.mark.parametrize("status", ["active", "closing", "closed"])
def test_cash_of_a_currency_that_was_given_up_can_be_withdrawn(status: str) -> None:
    """A coupon comes in the instrument's currency, and a closed account can change nothing more."""
    coupon = CouponPaid("cpn", "cac", "pos", "ins", "JPY", Decimal(1), Decimal(3), 4)
    opened = (bookings.PositionOpened("pos", "ins", "JPY", 0, 2),)
    ends = {"active": (), "closing": (AccountClosing(3),), "closed": (AccountClosed(3),)}
    state = given(*opened, *ends[status])
    with pytest.raises(Refused, match="JPY"):
        account.check(state, "withdrawal", "JPY")
    account.check(account.evolve(state, coupon), "withdrawal", "JPY")
    account.check(state, "withdrawal", "USD")
    for currency in ("JPY", "nonsense"):
        with pytest.raises(Refused):
            account.check(account.evolve(state, coupon), "deposit", currency)
