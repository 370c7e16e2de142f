"""Busts around splits, redemptions, payments and rollovers."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import count

import pytest

from engine.domain import distribution
from engine.domain.corporate_action import Action, ActionAnnounced, ActionStarted, ActionTerms
from engine.domain.report import Report
from engine.domain.servicing import DividendPaid
from engine.kernel.values import plain
from tests.support.engines import splits
from tests.support.engines.busts import Market
from tests.support.engines.rolling import MATURITY, PRICE, ROLLED, Rolling
from tests.support.engines.world import TODAY, VENUE, World
from tests.support.models.table import rows

EX = TODAY + timedelta(days=5)


def bust(world: World, order: str, trade: str, reference: str = "bust") -> str:
    return world.report(Report(VENUE, reference, order, "trade_bust", refers_to=trade))


def correct(world: World, order: str, trade: str, price: str, quantity: str) -> str:
    numbers = Decimal(price), Decimal(quantity)
    said = Report(VENUE, "fix", order, "trade_correct", *numbers, refers_to=trade)
    return world.report(said)


def fault(world: World, reference: str = "bust") -> str:
    return str(world.states["parked", f"{VENUE}/{reference}"].fault)


# --- splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_trade_of_before_a_split_is_not_taken_back(*, is_settled: bool) -> None:
    """Its units are others by now: a person decides, and cannot book it."""
    world = splits.world_of(0)
    splits.buy(world, "b1", "10", settled=is_settled)
    splits.begin(world, 2, 1)
    assert splits.apply(world) == "ok"
    assert (bust(world, "b1", "b1"), fault(world)) == ("parked", "split")
    assert (correct(world, "b1", "b1", "100", "9"), fault(world, "fix")) == ("parked", "split")
    assert world.book("bust") == "report_not_bookable"
    assert plain(splits.position(world).units.total) == "20"


def test_a_trade_of_after_a_split_is_taken_back() -> None:
    world = splits.world_of(0)
    splits.trades(world, "+10 b1")
    splits.begin(world, 2, 1)
    splits.apply(world)
    splits.buy(world, "b2", "5", settled=False)
    assert bust(world, "b2", "b2") == "ok"
    held = splits.position(world)
    assert (plain(held.units.total), plain(held.unsettled), plain(held.cost)) == ("20", "0", "1000")


def test_the_last_unsettled_buy_takes_back_all_that_is_unsettled() -> None:
    """7 units of before a split of 3 for 2 are 10 afterwards, and settle as such beside a later buy."""
    world = splits.world_of(0)
    splits.buy(world, "b1", "7", settled=False)
    splits.begin(world, 3, 2)
    splits.apply(world)
    splits.buy(world, "b2", "5", settled=False)
    assert bust(world, "b2", "b2") == "ok"
    held = splits.position(world)
    assert (plain(held.units.total), plain(held.units.unsettled)) == ("10", "10")
    assert splits.settle(world, "b1") == 10


# --- redemption and payments ------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["first", "roll"])
def test_a_redeemed_trade_is_not_taken_back(order: str) -> None:
    world = Rolling()
    world.roll()
    world.start("roll", PRICE, ROLLED)
    world.trade("roll", "r1", "98", "10.15")
    world.end("roll")
    of = "ins" if order == "first" else "next"
    terms = ActionTerms("maturity", MATURITY, MATURITY, MATURITY, "terms", amount=Decimal(100))
    world.record("instrument", of, ActionAnnounced("cac_1", terms, "engine", world.now_us))
    world.record("instrument", of, ActionStarted("cac_1", world.now_us))
    trade = "first1" if order == "first" else "r1"
    assert (bust(world, order, trade), fault(world)) == ("parked", "redeemed")
    assert world.book("bust") == "report_not_bookable"


def paid(market: Market) -> list[DividendPaid]:
    terms = ActionTerms("cash_dividend", EX, EX, EX, "operator", amount=Decimal("1.50"))
    action = Action("cac_1", terms, 1, 1, is_started=True)
    numbers = count(1)
    facts = distribution.pay(
        action, market.position, lambda prefix: f"{prefix}_{next(numbers)}", at_us=market.now_us
    )
    for fact in facts:
        market.record("account", "acc", fact)
    return [fact for fact in facts if isinstance(fact, DividendPaid)]


DIVIDENDS = """
# Ten units bought for settlement before the ex date, and what is paid on them.
before the payment     |units
                       |10.00
bust y a1              |
correct y a1 6@100     |6.00
sell s 4 free, trade s1 4@100, end, bust y s1|10.00
"""


@pytest.mark.parametrize("row", rows(DIVIDENDS), ids=lambda row: row["before the payment"])
def test_a_dividend_goes_by_what_remains(row: dict[str, str]) -> None:
    market = Market()
    market.do(f"buy a 1000.00 free, trade a1 10@100, end, {row['before the payment']}")
    assert [str(fact.units) for fact in paid(market)] == row["units"].split()


def test_what_was_paid_stays_paid() -> None:
    """The engine claims nothing back: the venue or the issuer has to, and an operator then decides."""
    market = Market()
    market.do("buy a 1000.00 free, trade a1 10@100, end")
    assert [str(fact.amount) for fact in paid(market)] == ["15.00"]
    assert market.do("bust y a1") == "ok"
    assert market.cash.startswith("1015.00/")


# --- rollovers ------------------------------------------------------------------------------------

ROLLS = """
# Face value 1000.00; 10.15 units at 98.00 are 994.70, the fee is 5.00; 1020.00 were there before.
steps                              |bust     |total  |reserved|units|order
place start fill                   |not_yet_bookable|1020.00|0.00|10.15|executing
place start fill end               |not_yet_bookable|1020.00|0.00|10.15|filled
place start fill mature            |ok       |2020.00|1000.00 |0.00 |executing
place start fill mature end        |ok       |2020.00|0.00    |0.00 |settled
place start fill end mature        |ok       |2020.00|0.00    |0.00 |settled
place start fill end settle mature |ok       |2020.00|0.00    |0.00 |settled
place start part mature rest       |ok       |1414.27|394.27  |6.15 |executing
place start part mature rest end   |ok       |1414.27|0.00    |6.15 |filled
"""


def test_a_position_that_will_pay_a_rollover_keeps_its_units() -> None:
    """Its bust would close it, and the next bill would never be paid."""
    world = Rolling()
    for step in ("place", "start", "fill", "end"):
        _step(world, step)
    assert (bust(world, "first", "first1"), fault(world)) == ("parked", "not_yet_bookable")
    assert world.mature() == "ok"
    assert world.receivable == 0


def test_busted_trades_over_an_ex_date_await_no_split() -> None:
    """The position is closed, and nothing of it settles on that day any more."""
    world = splits.world_of(0)
    splits.buy(world, "b1", "10", settled=False)
    assert bust(world, "b1", "b1") == "ok"
    splits.begin(world, 2, 1)
    assert splits.apply(world) == "nothing"
    splits.buy(world, "b2", "4", settled=False)
    assert splits.position(world).splits == 1


def _step(world: Rolling, step: str) -> None:
    steps = {
        "place": world.roll,
        "start": lambda: world.start("roll", PRICE, ROLLED),
        "fill": lambda: world.trade("roll", "r1", "98", "10.15"),
        "part": lambda: world.trade("roll", "r1", "98", "4.00"),
        "rest": lambda: world.trade("roll", "r2", "98", "6.15"),
        "end": lambda: world.end("roll"),
        "settle": lambda: world.settle("roll", "trd_sim/r1", date(2026, 6, 11)),
        "mature": world.mature,
    }
    assert steps[step]() == "ok", (step, world.refused)


@pytest.mark.parametrize("row", rows(ROLLS), ids=lambda row: row["steps"])
def test_a_rollover_s_trade_is_taken_back_once_it_is_paid(row: dict[str, str]) -> None:
    world = Rolling()
    for step in row["steps"].split():
        _step(world, step)
    answer = bust(world, "roll", "r1")
    cash = world.account().holdings.cash["USD"]
    assert {
        "steps": row["steps"],
        "bust": fault(world) if answer == "parked" else answer,
        "total": plain(cash.total),
        "reserved": plain(cash.reserved),
        "units": plain(world.held("next").units.total),
        "order": world.order("roll").status,
    } == row
    world.check_conservation()
    if answer == "parked":
        assert world.book("bust") == "report_not_bookable"
        assert world.mature() == "ok"
        assert world.book("bust") == "ok"
        assert plain(world.account().holdings.cash["USD"].total) == "2020.00"
    assert world.receivable == 0
