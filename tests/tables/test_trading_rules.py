"""Trading rules of instruments on every side and amount, when an order is placed and when it is sent.

Each combination of rules, holding and amount is judged by a list of plain conditions, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import trading
from engine.domain.account import Account
from engine.domain.account import evolve as evolve_account
from engine.domain.fees import FeeRule
from engine.domain.instrument import Instrument, InstrumentChanged, Terms, evolve
from engine.domain.order import Cancelled, ExecutionStarted
from engine.domain.order import evolve as evolve_order
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.kernel.errors import Refused
from tests.support.engines.world import TODAY, World

PRICE = Price(Decimal("100.00"), Decimal("100.00"), 1)
FEE = FeeRule(minimum=Decimal("0.01"))
LAX = Terms("Stock", "STK", "stock", "USD", decimal_precision=3, trading_increment=Decimal("0.001"))
HOLDINGS = {"nothing": (), "20.005": ("20.005",), "20.005, 15 for sale": ("20.005", "15"),
            "20.005, all but 0.005 for sale": ("20.005", "20")}  # fmt: skip
"""Name -> units held, and units of another waiting sell."""
BUYS = ("0.01", "70.00", "99.99", "100.50", "490.00", "700.00", "1000.00")
SELLS = ("0.001", "0.005", "0.01", "1", "4.5", "5", "5.005", "6", "15", "20.000", "20.005")


@dataclass(frozen=True)
class Rules:
    """The rules of one case; `least` is the operator's minimum value of an order."""

    are_enforced: bool
    minimum_units: str | None
    minimum_cash: str | None
    cash_step: str | None
    step: str
    least: str | None

    @property
    def terms(self) -> Terms:
        def of(text: str | None) -> Decimal | None:
            return None if text is None else Decimal(text)

        return replace(
            LAX,
            enforce_trading_rules=self.are_enforced,
            minimum_trading_quantity=of(self.minimum_units),
            minimum_initial_cash_investment=of(self.minimum_cash),
            required_cash_increment=of(self.cash_step),
            trading_increment=Decimal(self.step),
        )


RULES = [
    Rules(*words)
    for words in product(
        (True, False), (None, "5"), (None, "500"), (None, "70"), ("0.001", "0.01", "1"), (None, "300")
    )
]


def judged(
    rules: Rules, side: str, amount: Decimal, held: Decimal, free: Decimal
) -> Iterator[tuple[str, str]]:
    """(code, reason of cancellation) of each rule that is broken, by the words of the contract."""
    step, cent = Decimal(rules.step), Decimal("0.01")
    terms = rules.terms if rules.are_enforced else LAX
    fewest = terms.minimum_trading_quantity or 0
    least = max(cent, Decimal(rules.least or 0))
    if side == "buy":
        net = amount - max(cent, (amount * Decimal("0.005")).quantize(cent, "ROUND_UP"))
        if net <= 0:
            yield "below_minimum_amount", ""
        units = net / 100 // step * step
        if not held and amount < (terms.minimum_initial_cash_investment or 0):
            yield "below_minimum_amount", "below_minimum_amount"
        if amount % (terms.required_cash_increment or amount):
            yield "off_increment", "trading_rules"
        if units < max(step, fewest):
            yield "below_minimum_quantity", "below_minimum_quantity"
        if amount < least:
            yield "below_minimum_amount", "below_minimum_amount"
    elif amount != free:
        if amount < fewest:
            yield "below_minimum_quantity", "below_minimum_quantity"
        if amount % step:
            yield "off_increment", "trading_rules"
        if (amount * 100).quantize(cent, "ROUND_DOWN") < least:
            yield "below_minimum_amount", "below_minimum_amount"


@cache
def world_of(holding: str) -> World:
    """An account with cash and that holding."""
    world = World()
    world.put("ins", LAX)
    world.open()
    world.fund("100000.00")
    units = HOLDINGS[holding]
    if units:
        world.place("held", OrderRequest("buy", Decimal("2100.00")), price=PRICE)
        world.start("held", PRICE)
        world.trade("held", "h1", "100", units[0])
        world.end("held")
    for other in units[1:]:
        world.place("other", OrderRequest("sell", quantity=Decimal(other)), price=PRICE)
    return world


def asked_for(side: str, amount: str) -> OrderRequest:
    number = Decimal(amount)
    return OrderRequest("buy", number) if side == "buy" else OrderRequest("sell", quantity=number)


def place(
    account: Account, instrument: Instrument, side: str, amount: str, least: Decimal | None
) -> trading.Decided:
    return trading.place(
        asked_for(side, amount), account, None, instrument, price=PRICE, fee=FEE, order_id="ord",
        business_date=TODAY, trade_date=TODAY, at_us=9, minimum_value=least,
    )  # fmt: skip


def placed(*words: Any) -> str:
    """`ok`, or the code of the refusal."""
    try:
        place(*words)
    except Refused as refused:
        params: Any = refused.context.get("params", ())
        return str(params[0]["code"] if params else refused.code)
    return "ok"


CASES = [("buy", amount) for amount in BUYS] + [("sell", amount) for amount in SELLS]


@pytest.mark.parametrize("holding", HOLDINGS)
@pytest.mark.parametrize(("side", "amount"), CASES)
def test_every_rule_on_every_side_and_amount(side: str, amount: str, holding: str) -> None:
    world = world_of(holding)
    account, instrument = world.account(), world.instrument("ins")
    held, free = account.holdings.held("ins"), account.holdings.available("ins")
    for rules in RULES:
        least = Decimal(rules.least) if rules.least else None
        strict = evolve(instrument, InstrumentChanged(rules.terms, 9))
        broken = list(judged(rules, side, Decimal(amount), held, free))
        expected = broken[0][0] if broken else "ok"
        if side == "sell" and Decimal(amount) > free and not broken:
            expected = "insufficient_units"
        assert placed(account, strict, side, amount, least) == expected, rules
        sent = send(account, instrument, strict, side, amount, least)
        if sent is not None:
            assert sent == (broken[0][1] if broken else "executing"), rules


def send(
    account: Account,
    instrument: Instrument,
    strict: Instrument,
    side: str,
    amount: str,
    least: Decimal | None,
) -> str | None:
    """What becomes of an order that was accepted before the rules were; None if it was not."""
    try:
        decided = place(account, instrument, side, amount, None)
    except Refused:
        return None
    for fact in decided.account:
        account = evolve_account(account, fact)  # type: ignore[arg-type]
    order = evolve_order(None, decided.subject[0])  # type: ignore[arg-type]
    started = trading.start_execution(
        account, order, strict, PRICE, venue="sim", venue_order="v", trade_date=TODAY, at_us=10,
        minimum_value=least,
    )  # fmt: skip
    (fact,) = started.subject
    if isinstance(fact, Cancelled):
        return fact.reason
    assert isinstance(fact, ExecutionStarted)
    return "executing"


# --- all that is held -----------------------------------------------------------------------------

STRICT: dict[str, Any] = {
    "enforce_trading_rules": True, "minimum_trading_quantity": Decimal(50),
    "trading_increment": Decimal(3), "minimum_initial_cash_investment": Decimal(5000),
    "required_cash_increment": Decimal(1000),
}  # fmt: skip
LEAST = Decimal("10000.00")


class Holder:
    """An account that holds 20.005 units, below every minimum and off every increment."""

    def __init__(self) -> None:
        self.world = World()
        self.world.put("ins", LAX)
        self.world.open()
        self.world.fund("100000.00")
        self.world.place("held", OrderRequest("buy", Decimal("2100.00")), price=PRICE)
        self.world.start("held", PRICE)
        self.world.trade("held", "h1", "100", "20.005")
        self.world.end("held")

    def tighten(self) -> None:
        assert self.world.put("ins", replace(LAX, **STRICT)) == "ok"

    def sell(self, name: str, quantity: str, least: Decimal | None = LEAST) -> str:
        asked = OrderRequest("sell", quantity=Decimal(quantity))
        return self.world.place(name, asked, price=PRICE, minimum_value=least)

    def send(self, name: str, least: Decimal | None = LEAST) -> str:
        self.world.start(name, PRICE, minimum_value=least)
        order = self.world.order(name)
        return str(order.cancelled_reason or order.status)

    def fill(self, name: str, *parts: str) -> None:
        for n, part in enumerate(parts):
            assert self.world.trade(name, f"{name}-{n}", "100", part) == "ok"
        assert self.world.end(name) == "ok"


def test_all_that_is_held_can_be_sold_under_any_rules() -> None:
    holder = Holder()
    holder.tighten()
    assert holder.sell("all", "20.004") == "below_minimum_quantity"
    assert holder.sell("all", "20.005") == "ok"
    assert holder.send("all") == "executing"
    holder.fill("all", "20.005")
    assert holder.world.account().holdings.held("ins") == 0


def test_what_another_sell_leaves_can_be_sold_too() -> None:
    """The other has 18 units reserved; 2.005 are below the minimum, and all that is left."""
    holder = Holder()
    assert holder.sell("other", "18", None) == "ok"
    holder.tighten()
    assert holder.sell("rest", "2.004") == "below_minimum_quantity"
    assert holder.sell("rest", "2.005") == "ok"
    assert holder.send("rest") == "executing"
    holder.fill("rest", "2.005")
    assert holder.send("other") == "executing"
    holder.fill("other", "18")
    assert holder.world.account().holdings.held("ins") == 0


def test_two_sells_that_are_all_that_is_held_go_in_either_order() -> None:
    holder = Holder()
    assert (holder.sell("one", "12", None), holder.sell("two", "8.005", None)) == ("ok", "ok")
    holder.tighten()
    assert (holder.send("one"), holder.send("two")) == ("executing", "executing")
    holder.fill("two", "8.005")
    holder.fill("one", "12")
    assert holder.world.account().holdings.held("ins") == 0


def test_the_rest_of_a_part_fill_can_be_sold() -> None:
    """Of 18 units 7.001 are sold, and their order is over: 13.004 are left."""
    holder = Holder()
    assert holder.sell("part", "18", None) == "ok"
    assert holder.send("part", None) == "executing"
    holder.fill("part", "7.001")
    holder.tighten()
    assert holder.sell("rest", "13.004") == "ok"
    assert holder.send("rest") == "executing"


def test_the_rest_can_be_sold_while_a_part_of_another_is_executed() -> None:
    holder = Holder()
    assert holder.sell("part", "18", None) == "ok"
    assert holder.send("part", None) == "executing"
    assert holder.world.trade("part", "p1", "100", "7.001") == "ok"
    holder.tighten()
    assert holder.sell("rest", "2.005") == "ok"
    assert holder.send("rest") == "executing"


def test_a_sell_that_no_longer_is_all_that_is_left_keeps_the_rules() -> None:
    """The other sell was cancelled: the second one would leave 18 units, and is below the minimum."""
    holder = Holder()
    assert holder.sell("other", "18", None) == "ok"
    holder.tighten()
    assert holder.sell("rest", "2.005") == "ok"
    assert holder.world.request_cancel("other") == "ok"
    assert holder.send("rest") == "below_minimum_quantity"
    assert holder.sell("all", "20.005") == "ok"


def test_a_sell_of_nothing_is_no_sale_of_all() -> None:
    holder = Holder()
    assert holder.sell("all", "20.005") == "ok"
    assert holder.sell("more", "0.001", None) == "insufficient_units"
    assert holder.sell("none", "0.000", None) == "invalid_param"
