"""Rollovers of bills: which bill follows, which position is rolled over, and what becomes of it.

Ten units of par 100; the next bill costs 98. Face value 1000.00, of which 5.00 are the fee of 0.5 %:
995.00 / 98 = 10.15 units for 994.70.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.domain import rollover, trading_hours
from engine.domain.corporate_action import (
    Action,
    ActionAnnounced,
    ActionTerms,
    ScheduleFollowed,
    Servicing,
)
from engine.domain.fees import FeeRule
from engine.domain.instrument import Instrument, Terms
from engine.domain.order_request import OrderRequest
from engine.domain.position import Balance
from engine.domain.pricing import Price
from engine.domain.rollover import Offer
from engine.domain.servicing import RolloverReserved, RolloverSkipped
from engine.kernel.errors import Refused
from engine.kernel.times import rfc3339
from engine.kernel.values import plain
from tests.support.engines.living import Moment
from tests.support.engines.rolling import BILL, BOUGHT, MATURITY, NEXT, PRICE, ROLLED, Rolling
from tests.support.models.table import rows

# --- the bill ------------------------------------------------------------------------------------

LATER = date(2026, 9, 17)
DECIDED = """
# Without a bill to buy a rollover is skipped from this moment on: the close of the day before maturity.
country | currency | hours                                 | maturity   | decided              | because
US      | USD      |                                       | 2026-06-11 | 2026-06-10T23:00:00Z | midnight there is later
US      | USD      | XNYS America/New_York 09:30-16:00     | 2026-06-11 | 2026-06-10T20:00:00Z |
US      | USD      | XNYS America/New_York 09:30-16:00     | 2026-11-28 | 2026-11-27T18:00:00Z | a half day
GB      | GBP      | XLON Europe/London 08:00-16:30        | 2026-06-11 | 2026-06-10T15:30:00Z |
KE      | KES      |                                       | 2026-03-16 | 2026-03-12T21:00:00Z | midnight there
JP      | JPY      |                                       | 2026-05-07 | 2026-04-30T15:00:00Z | midnight there
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(DECIDED), ids=lambda row: row["decided"])
def test_when_it_is_decided_that_no_bill_follows(row: dict[str, str]) -> None:
    hours = trading_hours.parse(row["hours"]) if row["hours"] else None
    terms = replace(BILL, issuer_country=row["country"], trading_currency=row["currency"],
                    maturity_date=date.fromisoformat(row["maturity"]), trading_hours=hours)  # fmt: skip
    decided_us = rollover.decided_at_us(terms)
    assert decided_us is not None
    assert rfc3339(decided_us) == row["decided"]


CHOICES: dict[str, tuple[dict[str, dict[str, Any] | None], str]] = {
    "none": ({}, "no_bill"),
    "one": ({"a": {}}, "a"),
    "the latest maturity": ({"a": {}, "b": {"maturity_date": LATER}, "c": {}}, "b"),
    "before a later issue": (
        {"a": {"maturity_date": LATER}, "b": {"issue_date": date(2026, 6, 10)}}, "a"),
    "then the latest issue": ({"a": {}, "b": {"issue_date": date(2026, 6, 10)}, "c": {}}, "b"),
    "an issue without a date is the oldest": ({"a": {"issue_date": None}, "b": {}}, "b"),
    "then the lowest id": ({"c": {}, "b": {}, "d": {}}, "b"),
    "issued on the day it settles": ({"a": {"issue_date": date(2026, 6, 11)}}, "a"),
    "issued a day after that": ({"a": {"issue_date": date(2026, 6, 12)}}, "no_bill"),
    "not traded": ({"a": {"trading_status": "not_trading"}}, "instrument_not_trading"),
    "only sold": ({"a": {"trading_status": "sell_only"}}, "instrument_not_trading"),
    "not traded, another is": (
        {"a": {"trading_status": "sell_only", "maturity_date": LATER}, "b": {}}, "b"),
    "without a price": ({"a": None}, "missing_price"),
    "without a price, another has one": ({"a": None, "b": {}}, "b"),
    "settles on its maturity": ({"a": {"maturity_date": date(2026, 6, 11)}}, "no_bill"),
    "settles the day before": ({"a": {"maturity_date": date(2026, 6, 12)}}, "a"),
    "without a maturity": ({"a": {"maturity_date": None}}, "no_bill"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_the_bill_that_follows(case: str) -> None:
    """A trade of 10 June settles on 11 June."""
    bills, chosen = CHOICES[case]
    offers = [
        Offer(
            Instrument(name, "listed", replace(NEXT, **(terms or {})), 1, 1),
            None if terms is None else PRICE,
            ROLLED,
        )
        for name, terms in bills.items()
    ]
    for order in (offers, offers[::-1]):
        found = rollover.on_the_run(order)
        assert (found if isinstance(found, str) else found.bill.id) == chosen


def test_a_bill_that_is_called_before_a_trade_settles_is_not_bought() -> None:
    """Nor does it stand in the way of another one."""
    terms = ActionTerms("call", ROLLED, ROLLED, LATER, "operator", amount=Decimal(99))
    called = Instrument("a", "listed", replace(NEXT, maturity_date=LATER), 1, 1)
    called = replace(called, servicing=Servicing((Action("cac_1", terms, 1, 1),)))
    other = Instrument("b", "listed", NEXT, 1, 1)
    offers = [Offer(bill, PRICE, ROLLED) for bill in (called, other)]
    found = rollover.on_the_run(offers)
    assert isinstance(found, Offer)
    assert found.bill.id == "b"
    assert rollover.on_the_run(offers[:1]) == "no_bill"


def test_a_bill_with_bids_only_has_no_price() -> None:
    bill = Instrument("a", "listed", NEXT, 1, 1)
    assert (
        rollover.on_the_run([Offer(bill, Price(Decimal(98), Decimal(0), 1), ROLLED)]) == "missing_price"
    )


@pytest.mark.parametrize(
    ("terms", "family"),
    [
        ({}, ("US", "3m", "USD")),
        ({"issuer_country": None}, (None, "3m", "USD")),
        ({"maturity_period": None}, None),
        ({"instrument_type": "bond", "maturity_period": None}, None),
    ],
)
def test_bills_that_follow_each_other(terms: dict[str, Any], family: object) -> None:
    assert rollover.family_of(replace(BILL, **terms)) == family


# --- the setting ---------------------------------------------------------------------------------

CUTOFFS = """
country | currency | maturity   | cutoff               | because
US      | USD      | 2026-06-11 | 2026-06-07T04:00:00Z | New York in summer
US      | USD      | 2026-03-12 | 2026-03-08T05:00:00Z | the day on which summer time begins there
GB      | GBP      | 2026-06-11 | 2026-06-06T23:00:00Z | London in summer
GB      | GBP      | 2026-04-07 | 2026-04-01T23:00:00Z | rolled before Easter
KE      | KES      | 2026-03-12 | 2026-03-07T21:00:00Z | Nairobi
DE      | EUR      | 2026-03-16 | 2026-03-11T23:00:00Z | Berlin
JP      | JPY      | 2026-05-07 | 2026-04-29T15:00:00Z | rolled before Golden Week
US      | USD      | 2026-01-20 | 2026-01-16T00:00:00Z | rolled on the lock date: the business day begins in UTC
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(CUTOFFS), ids=lambda row: f"{row['country']} {row['maturity']}")
def test_the_cut_off(row: dict[str, str]) -> None:
    maturity = date.fromisoformat(row["maturity"])
    terms = replace(
        BILL,
        issuer_country=row["country"],
        trading_currency=row["currency"],
        maturity_date=maturity,
    )
    cutoff = rollover.cutoff_us(terms)
    assert cutoff is not None
    assert rfc3339(cutoff) == row["cutoff"]


CUTOFF_US = 1_780_804_800_000_000
SETTINGS = """
was | set | terms       | at       | answer
no  | yes | usual       | before   | ok
yes | no  | usual       | before   | ok
yes | yes | usual       | before   | nothing
no  | yes | unsupported | before   | invalid_param not_supported
yes | no  | unsupported | before   | ok
no  | yes | usual       | cut-off  | rollover_locked
yes | no  | usual       | cut-off  | rollover_locked
yes | yes | usual       | cut-off  | nothing
no  | yes | endless     | cut-off  | ok
no  | yes | usual       | closed   | invalid_param not_changeable
yes | no  | usual       | closed   | invalid_param not_changeable
"""


@pytest.mark.parametrize("row", rows(SETTINGS), ids=lambda row: " ".join(row.values()))
def test_the_setting(row: dict[str, str]) -> None:
    world = Rolling(automatic_rollover=row["was"] == "yes")
    if row["at"] == "closed":
        world.mature()
    held = world.held()
    changed: dict[str, dict[str, Any]] = {
        "usual": {},
        "unsupported": {"supports_automatic_rollover": False},
        "endless": {"maturity_date": None},
    }
    terms = replace(BILL, **changed[row["terms"]])
    at_us = CUTOFF_US - (row["at"] == "before")
    wanted = row["set"] == "yes"

    def decide() -> list[Any]:
        chosen = rollover.choose(held, terms, wanted=wanted, business_time_us=at_us, at_us=world.now_us)
        return [("account", "acc", chosen)]

    before = len(world.facts)
    answer = world._do(decide)
    if world.refused and "params" in world.refused.context:
        answer += f" {world.refused.context['params'][0]['code']}"
    assert answer == row["answer"]
    assert len(world.facts) - before == (answer == "ok")
    assert world.held().automatic_rollover == (wanted if answer == "ok" else row["was"] == "yes")
    if row["at"] != "closed":
        can = rollover.can_choose(terms, at_us, automatic_rollover=row["was"] == "yes")
        assert can == (
            answer in {"ok", "nothing"} and (row["at"] == "before" or row["terms"] == "endless")
        )


# --- which positions are rolled over -------------------------------------------------------------


def _sells(quantity: str, *, is_sent: bool) -> Callable[[Rolling], None]:
    def then(world: Rolling) -> None:
        sell = OrderRequest("sell", quantity=Decimal(quantity))
        assert world.place("sell", sell, price=PRICE, today=BOUGHT) == "ok"
        if is_sent:
            world.start("sell", PRICE, BOUGHT)

    return then


def _account(verb: str, **words: Any) -> Callable[[Rolling], None]:
    return lambda world: _ok(world.to_account(verb, **words))


def _ok(answer: str) -> None:
    assert answer == "ok"


def _lists(**terms: Any) -> Callable[[Rolling], None]:
    return lambda world: _ok(world.put("next", replace(NEXT, **terms)))


def _called(world: Rolling) -> None:
    """Before the day of the rollover, to be paid long after the maturity."""
    pays = MATURITY + timedelta(days=60)
    terms = ActionTerms("call", BOUGHT, BOUGHT, pays, "operator", amount=Decimal(90))
    world.record("instrument", "ins", ActionAnnounced("cac_1", terms, "cli_1", world.now_us))


def _nothing(_: Rolling) -> None: ...


ENFORCED: dict[str, Any] = {"enforce_trading_rules": True}
SITUATIONS: dict[str, tuple[Callable[[Rolling], None], dict[str, Any], str]] = {
    "usual": (_nothing, {}, "1000.00"),
    "a day before": (_nothing, {"today": ROLLED - timedelta(days=1)}, "nothing"),
    "on the day of maturity": (_nothing, {"today": MATURITY}, "nothing"),
    "no bill": (_nothing, {"prices": {}}, "no_bill"),
    "no price": (_nothing, {"prices": {"next": None}}, "missing_price"),
    "sold only": (_lists(trading_status="sell_only"), {}, "instrument_not_trading"),
    "a next bill that does not roll": (_lists(supports_automatic_rollover=False), {}, "1000.00"),
    "too small for a unit": (
        _nothing, {"prices": {"next": Price(Decimal(1), Decimal(10**6), 1)}}, "below_minimum_quantity"),
    "too small for the fee": (
        _nothing, {"fee": FeeRule(Decimal(0), Decimal("1000.00"))}, "below_minimum_amount"),
    "below the operator's minimum": (
        _nothing, {"minimum_value": Decimal("1000.01")}, "below_minimum_amount"),
    "at the operator's minimum": (_nothing, {"minimum_value": Decimal("1000.00")}, "1000.00"),
    "below the first investment": (
        _lists(**ENFORCED, minimum_initial_cash_investment=Decimal(1001)), {}, "below_minimum_amount"),
    "below the least quantity": (
        _lists(**ENFORCED, minimum_trading_quantity=Decimal(11)), {}, "below_minimum_quantity"),
    "off the cash increment": (
        _lists(**ENFORCED, required_cash_increment=Decimal(300)), {}, "trading_rules"),
    "suspended": (_account("suspend"), {}, "account_suspended"),
    "closing": (_account("close"), {}, "account_closing"),
    "no buys": (_account("change", can_place_buy_order=False), {}, "buy_order_forbidden"),
    "no sells": (_account("change", can_place_sell_order=False), {}, "1000.00"),
    "suspended, and no bill": (_account("suspend"), {"prices": {}}, "account_suspended"),
    "called": (_called, {}, "instrument_not_trading"),
    "a sell of a part is sent": (_sells("4.00", is_sent=True), {}, "600.00"),
    "a sell of all is sent": (_sells("10.00", is_sent=True), {}, "nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", SITUATIONS)
def test_a_position_on_its_day(case: str) -> None:
    change, words, outcome = SITUATIONS[case]
    world = Rolling()
    change(world)
    cash = world.account().holdings.cash
    said = world.roll(**words)
    assert world.account().holdings.cash == cash, "no cash moves"
    if outcome == "nothing":
        assert (said, world.held().rollover, world.held().is_rollover_skipped) == (
            "nothing",
            None,
            False,
        )
        return
    assert said == "ok"
    last = world.facts[-1][2]
    if isinstance(last, RolloverSkipped):
        assert (last.reason, last.position) == (outcome, world.held().id)
        assert world.order("roll") is None
    else:
        _, (_, _, reserved), (_, _, placed) = world.facts[-3:]
        assert isinstance(reserved, RolloverReserved)
        assert (plain(placed.cash_amount), plain(reserved.amount)) == (outcome, outcome)  # type: ignore[attr-defined]
    assert world.roll("again", **words) == "nothing", "once"


@pytest.mark.parametrize(
    ("terms", "outcome"),
    [
        ({"maturity_date": None}, "nothing"),
        ({"maturity_period": None}, "ok"),
        ({"par_value": Decimal("0.0004")}, "ok"),
    ],
)
def test_what_is_listed_oddly(terms: dict[str, Any], outcome: str) -> None:
    """Without a maturity nothing is due; without a face value it is skipped."""
    world = Rolling(**terms)
    assert world.roll() == outcome
    if "par_value" in terms:
        assert world.facts[-1][2].reason == "below_minimum_amount"  # type: ignore[attr-defined]


def test_an_overdrawn_account() -> None:
    world = Rolling()
    owner = world.account()
    lacking = owner.holdings.cash | {"EUR": Balance(Decimal("-1.00"), Decimal(0), Decimal(0))}
    decided = rollover.place(
        replace(owner, holdings=replace(owner.holdings, cash=lacking)),
        world.instrument("ins"),
        Offer(world.instrument("next"), PRICE, ROLLED),
        fee=FeeRule(),
        order_id="roll",
        business_date=ROLLED,
        at_us=9,
    )
    (skipped,) = decided.account
    assert skipped == RolloverSkipped(world.held().id, "ins", "account_overdrawn", 9)


def test_a_position_that_is_not_to_roll_over() -> None:
    world = Rolling(automatic_rollover=False)
    assert world.roll() == "nothing"
    world.mature()
    assert not any(isinstance(fact, RolloverSkipped) for _, _, fact in world.facts)


# --- what becomes of it --------------------------------------------------------------------------

LIVES = """
steps                           | total   | reserved | units of next | order     | receivable | told
place                           | 1020.00 | 0.00     |               | placed    | 0.00       |
place mature                    | 2020.00 | 1000.00  |               | placed    | 0.00       |
place mature start fill end     | 1020.30 | 0.00     | 10.15         | filled    | 0.00       |
place wait mature               | 2020.00 | 1000.00  |               | pending   | 0.00       |
place start                     | 1020.00 | 0.00     |               | executing | 0.00       |
place start mature              | 2020.00 | 1000.00  |               | executing | 0.00       |
place start mature fill end     | 1020.30 | 0.00     | 10.15         | filled    | 0.00       |
place start mature end          | 2020.00 | 0.00     |               | cancelled | 0.00       |
place start fill                | 1020.00 | 0.00     | 10.15         | executing | -999.70    |
place start fill end            | 1020.00 | 0.00     | 10.15         | filled    | -999.70    |
place start fill end mature     | 1020.30 | 0.00     | 10.15         | filled    | 0.00       |
place start fill end settle mature | 1020.30 | 0.00  | 10.15         | settled   | 0.00       |
place start fill mature         | 1020.30 | 0.30     | 10.15         | executing | 0.00       |
place start fill mature end     | 1020.30 | 0.00     | 10.15         | filled    | 0.00       |
place start part                | 1020.00 | 0.00     | 4.00          | executing | -393.97    |
place start part end            | 1020.00 | 0.00     | 4.00          | filled    | -393.97    |
place start part end mature     | 1626.03 | 0.00     | 4.00          | filled    | 0.00       |
place start part mature         | 1626.03 | 606.03   | 4.00          | executing | 0.00       |
place start part mature rest end | 1020.30 | 0.00    | 10.15         | filled    | 0.00       |
place start end                 | 1020.00 | 0.00     |               | cancelled | 0.00       | unfilled
place start end mature          | 2020.00 | 0.00     |               | cancelled | 0.00       | unfilled
mature                          | 2020.00 | 0.00     |               |           | 0.00       | too_late
place suspend start mature      | 2020.00 | 1000.00  |               | pending   | 0.00       |
place close start               | 1020.00 | 0.00     |               | cancelled | 0.00       | account_closing
place stop start                | 1020.00 | 0.00     |               | cancelled | 0.00       | instrument_not_trading
place rise start mature         | 2020.00 | 0.00     |               | cancelled | 0.00       | below_minimum_quantity
"""  # noqa: E501  (a table)
"""Deposited 2000.00, 980.00 invested: 1020.00 is there."""


def _step(world: Rolling, step: str) -> None:
    price = Price(Decimal(1), Decimal(10**6), 2) if "rise" in world.done else PRICE
    steps: dict[str, Callable[[], str]] = {
        "place": world.roll,
        "wait": lambda: world.pending("roll"),
        "start": lambda: world.start("roll", price, ROLLED),
        "fill": lambda: world.trade("roll", "r1", "98", "10.15"),
        "part": lambda: world.trade("roll", "r1", "98", "4.00"),
        "rest": lambda: world.trade("roll", "r2", "98", "6.15"),
        "end": lambda: world.end("roll"),
        "settle": lambda: world.settle("roll", "trd_sim/r1"),
        "mature": world.mature,
        "suspend": lambda: world.to_account("suspend"),
        "close": lambda: world.to_account("close"),
        "stop": lambda: world.put("next", replace(NEXT, trading_status="not_trading")),
        "rise": lambda: "ok",
    }
    assert steps[step]() == "ok", (step, world.refused)
    world.done.append(step)


@pytest.mark.parametrize("row", rows(LIVES), ids=lambda row: row["steps"])
def test_a_rollover_s_life(row: dict[str, str]) -> None:
    world = Rolling()
    for step in row["steps"].split():
        _step(world, step)
        assert world.receivable <= 0
    cash, bought = world.account().holdings.cash["USD"], world.account().holdings.positions.get("next")
    order = world.order("roll")
    told = [fact.reason for _, _, fact in world.facts if isinstance(fact, RolloverSkipped)]
    assert {
        "steps": row["steps"],
        "total": plain(cash.total),
        "reserved": plain(cash.reserved),
        "units of next": plain(bought.units.total) if bought else "",
        "order": order.status if order else "",
        "receivable": plain(world.receivable),
        "told": " ".join(told),
    } == row
    if bought:
        old = world.held()
        assert (bought.rolled_from, old.rolled_into) == ((old.id,), bought.id)
        assert bought.automatic_rollover
        assert (order.terms.rolled_from.position, order.rolled_into) == (old.id, bought.id)
    if "mature" in world.done:
        assert world.held().status == "closed"
        assert world.held().units.total == 0
    else:
        is_free = order is not None and order.status == "cancelled"
        assert plain(world.held().units.reserved) == ("0.00" if is_free else "10.00")
    if told:
        assert world.roll("again") == "nothing", "it is not tried again"


CANCELS = """
steps                | answer
place                | order_cancel_forbidden
place wait           | order_cancel_forbidden
place start          | order_cancel_forbidden
place start fill     | order_cancel_forbidden
place mature         | ok
place start mature   | ok
place start end      | nothing
place start fill end | order_cancel_forbidden
"""


@pytest.mark.parametrize("row", rows(CANCELS), ids=lambda row: row["steps"])
def test_a_customer_cancels_it_after_the_maturity_only(row: dict[str, str]) -> None:
    world = Rolling()
    for step in row["steps"].split():
        _step(world, step)
    assert world.order("roll").is_cancellable == (row["answer"] == "ok")
    assert world.request_cancel("roll") == row["answer"]


def test_two_bills_roll_into_one() -> None:
    """Both matured bills are named; each is paid for by its own face value."""
    world = Rolling()
    world.put("other", replace(BILL, symbol="B0", issue_date=date(2026, 3, 3)))
    world.buy("second", "490.00", "other", automatic_rollover=True)
    for order, of in (("roll", "ins"), ("roll2", "other")):
        assert world.roll(order, of=of) == "ok"
        world.start(order, PRICE, ROLLED)
        world.trade(order, f"{order}1", "98", "5.00")
        world.end(order)
    assert world.receivable == Decimal("-984.94")
    assert world.mature() == "ok"
    assert world.receivable == Decimal("-492.47")
    assert world.mature("other") == "ok"
    assert world.receivable == 0
    ids = world.held().id, world.held("other").id
    assert world.held("next").rolled_from == ids
    assert {world.held(of).rolled_into for of in ("ins", "other")} == {world.held("next").id}


def test_a_chain_reads_both_ways() -> None:
    world = Rolling()
    for step in ("place", "start", "fill", "end", "mature"):
        _step(world, step)
    world.settle("roll", "trd_sim/r1")
    third = replace(NEXT, symbol="B3", issue_date=date(2026, 9, 8), maturity_date=date(2026, 12, 10))
    world.put("third", third)
    assert (
        world.roll("roll3", date(2026, 9, 9), of="next", prices={"third": PRICE, "next": PRICE}) == "ok"
    )
    assert plain(world.order("roll3").terms.cash_amount) == "1015.00"
    world.start("roll3", PRICE, date(2026, 9, 9))
    world.trade("roll3", "x3", "98", "10.30")
    assert world.held("next").rolled_into == world.held("third").id
    assert world.held("third").rolled_from == (world.held("next").id,)
    assert world.held("next").rolled_from == (world.held().id,)


def test_a_report_parked_after_the_end_is_paid_from_the_account() -> None:
    """A late fill that a person books is no part of the rollover: the account's own cash pays."""
    world = Rolling()
    for step in ("place", "start", "part", "end"):
        _step(world, step)
    assert world.trade("roll", "late", "98", "1.00") == "parked"
    assert world.receivable == Decimal("-393.97")


def test_it_is_not_sent_before_the_market_s_own_day() -> None:
    """The business day begins in UTC: in New York it is the day before, and trades settle too early."""
    world = Rolling()
    world.roll()
    day_before = ROLLED - timedelta(days=1)
    for _ in range(2):
        world.start("roll", PRICE, day_before)
        assert (world.order("roll").status, world.order("roll").pending_reason) == (
            "pending",
            "pre_trade_check",
        )
    world.start("roll", PRICE, ROLLED)
    assert world.order("roll").status == "executing"
    late = Rolling()
    late.roll()
    late.mature()
    late.start("roll", PRICE, day_before)
    assert late.order("roll").status == "executing", "its cash is there"


def test_the_units_are_not_sold_twice() -> None:
    world = Rolling()
    world.roll()
    sell = OrderRequest("sell", quantity=Decimal("1.00"))
    assert world.place("sell", sell, price=PRICE, today=BOUGHT) == "insufficient_units"


def test_units_that_come_back_from_a_sell_mature_as_cash() -> None:
    world = Rolling()
    _sells("4.00", is_sent=True)(world)
    world.roll()
    world.end("sell")
    assert world.roll("again") == "nothing"
    world.mature()
    assert (world.account().holdings.cash["USD"].total, world.receivable) == (Decimal("2020.00"), 0)
    assert world.account().holdings.cash["USD"].reserved == Decimal("600.00")


def test_a_client_can_still_not_ask_for_what_does_not_roll_over() -> None:
    world = Rolling()
    world.put("next", replace(NEXT, supports_automatic_rollover=False))
    buy = OrderRequest("buy", Decimal("98.00"), automatic_rollover=True)
    assert world.place("mine", buy, "next", price=PRICE, today=BOUGHT) == "invalid_param"


def test_a_refusal_that_is_no_reason_is_raised() -> None:
    world = Rolling()
    world.put("next", replace(NEXT, instrument_type="money_market_fund", maturity_period=None))
    found = Offer(world.instrument("next"), PRICE, ROLLED)
    assert rollover.on_the_run([found]) == "instrument_not_trading"
    with pytest.raises(Exception, match="trading_halted"):
        rollover.reason_of(rollover.refused("trading_halted", "trading_halted"))


def test_terms() -> None:
    assert rollover.rolls_on(BILL) == ROLLED
    assert rollover.rolls_on(Terms("Share", "S", "stock", "USD")) is None
    assert rollover.face_value(replace(BILL, par_value=Decimal("33.333")), Decimal("0.10")) == Decimal(
        "3.33"
    )


CHANGES: dict[str, tuple[dict[str, Any], date, bool]] = {
    "par value": ({"par_value": Decimal(90)}, ROLLED, True),
    "maturity": ({"maturity_date": LATER}, ROLLED, True),
    "type": ({"instrument_type": "bond", "maturity_period": None}, ROLLED, True),
    "par value on the day of maturity": ({"par_value": Decimal(90)}, MATURITY, True),
    "the day before": ({"par_value": Decimal(90)}, ROLLED - timedelta(days=1), False),
    "another name": ({"name": "Bill"}, ROLLED, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_terms_that_a_rollover_counts_on_stay(case: str) -> None:
    """The order has spent 1000.00; a maturity that brings less would leave the account overdrawn."""
    changed, day, is_refused = CHANGES[case]
    world = Rolling()
    world.record("instrument", "ins", ScheduleFollowed(BOUGHT, world.now_us))
    known = world.instrument("ins")
    context: Any = Moment(world.now_us, day)
    put = decisions.put_instrument(context, instrument="ins", terms=replace(known.terms, **changed))
    next(put)
    if is_refused:
        with pytest.raises(Refused, match=f"`{next(iter(changed))}` cannot be changed since {ROLLED}"):
            put.send(known)
        return
    with pytest.raises(StopIteration) as done:
        put.send(known)
    assert done.value.value, "recorded"
