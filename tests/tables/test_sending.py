"""What becomes of an order that waited, when it is sent: the checks of its placing, once more.

Each row: what was asked, what has happened since, and what the order is then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import checks, order, trading
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.position import Balance
from engine.domain.pricing import Price
from tests.support.engines.world import TODAY, World
from tests.support.models.table import rows

PRICE = Price(Decimal("99.50"), Decimal("100.00"), 1)
TERMS = Terms(
    "Bill", "BIL", "bill", "USD", issuer_country="US", enforce_trading_rules=True,
    maturity_date=TODAY + timedelta(days=30),
)  # fmt: skip


class Waiting:
    """An order that is accepted and not sent, and the moment at which it will be."""

    def __init__(self, order_request: OrderRequest, terms: Terms = TERMS) -> None:
        self.world, self.today, self.price = World(), TODAY, PRICE
        self.minimum_value: Decimal | None = None
        self.is_open = True
        self.world.put("ins", terms)
        self.world.open()
        self.world.fund("200000000.00")
        self.place("held", OrderRequest("buy", Decimal("2100.00")))
        self.world.start("held", PRICE)
        self.world.trade("held", "h1", "100", "20")
        self.world.end("held")
        self.place("ord", order_request)

    def place(self, name: str, order_request: OrderRequest) -> None:
        assert self.world.place(name, order_request, price=PRICE) == "ok", self.world.refused

    def change(self, **terms: Any) -> None:
        assert self.world.put("ins", replace(self.world.instrument("ins").terms, **terms)) == "ok"

    def sent(self) -> str:
        """What has come of it: status and why."""
        words: dict[str, Any] = {"is_open": self.is_open, "minimum_value": self.minimum_value}
        self.world.start("ord", self.price, self.today, **words)
        known = self.world.order()
        reason = known.cancelled_reason or (known.pending_reason if known.status == "pending" else "")
        return f"{known.status} {reason}".strip()


def buying(amount: str = "100.00", **terms: Any) -> Waiting:
    return Waiting(OrderRequest("buy", Decimal(amount)), replace(TERMS, **terms))


def selling(quantity: str = "5.00", **terms: Any) -> Waiting:
    return Waiting(OrderRequest("sell", quantity=Decimal(quantity)), replace(TERMS, **terms))


ASKED: dict[str, Callable[[], Waiting]] = {
    "buy": buying,
    "buy of 0.5 million": lambda: buying("500000.00"),
    "buy of 90 million": lambda: buying("90000000.00"),
    "sell": selling,
    "sell of 0.01": lambda: selling("0.01"),
    "sell of all": lambda: selling("20.00"),
}


def changed(**terms: Any) -> Callable[[Waiting], None]:
    return lambda waiting: waiting.change(**terms)


def priced(bid: str, ask: str) -> Callable[[Waiting], None]:
    def then(waiting: Waiting) -> None:
        waiting.price = Price(Decimal(bid), Decimal(ask), 2)

    return then


def _days_pass(days: int) -> Callable[[Waiting], None]:
    def then(waiting: Waiting) -> None:
        waiting.today = TODAY + timedelta(days=days)

    return then


def unpriced(waiting: Waiting) -> None:
    waiting.price = None  # type: ignore[assignment]


def shut(waiting: Waiting) -> None:
    waiting.is_open = False


def minimum(amount: str) -> Callable[[Waiting], None]:
    def then(waiting: Waiting) -> None:
        waiting.minimum_value = Decimal(amount)

    return then


def to_account(verb: str, **words: Any) -> Callable[[Waiting], None]:
    def then(waiting: Waiting) -> None:
        assert waiting.world.to_account(verb, **words) == "ok"

    return then


def sold_out(waiting: Waiting) -> None:
    """The position, which the waiting buy was to add to, is sold and settled."""
    waiting.place("all", OrderRequest("sell", quantity=Decimal("20.00")))
    waiting.world.start("all", PRICE)
    waiting.world.trade("all", "a1", "99.5", "20")
    waiting.world.end("all")


def bought_more(waiting: Waiting) -> None:
    waiting.place("more", OrderRequest("buy", Decimal("1000.00")))
    waiting.world.start("more", PRICE)
    waiting.world.trade("more", "m1", "100", "9")
    waiting.world.end("more")


def both(*happenings: Callable[[Waiting], None]) -> Callable[[Waiting], None]:
    def then(waiting: Waiting) -> None:
        for one in happenings:
            one(waiting)

    return then


SINCE: dict[str, Callable[[Waiting], None]] = {
    "nothing": lambda _: None,
    "16 days past maturity": _days_pass(46),
    "it settles on maturity": _days_pass(29),
    "the last day it settles before": _days_pass(28),
    "not traded": changed(trading_status="not_trading"),
    "sells only": changed(trading_status="sell_only"),
    "buys only": changed(trading_status="buy_only"),
    "a fund at net asset value": changed(instrument_type="mutual_fund"),
    "a minimum of 1 unit": changed(minimum_trading_quantity=Decimal(1)),
    "a minimum of 50 units": changed(minimum_trading_quantity=Decimal(50)),
    "steps of 3 units": changed(trading_increment=Decimal(3)),
    "steps of half a unit": changed(trading_increment=Decimal("0.50")),
    "cash in steps of 70": changed(required_cash_increment=Decimal(70)),
    "first investments of 500": changed(minimum_initial_cash_investment=Decimal(500)),
    "the same, and all is sold": both(changed(minimum_initial_cash_investment=Decimal(500)), sold_out),
    "priced in percent": changed(price_type="percent"),
    "another par value": changed(par_value=Decimal(1000)),
    "orders of 1000.00 and more": minimum("1000.00"),
    "price 9 times as high": priced("899", "900"),
    "price 10000 times as high": priced("999999", "1000000"),
    "price at dust": priced("0.00000001", "0.00000001"),
    "price that brings 15 digits": priced("99999999999999", "99999999999999"),
    "no price": unpriced,
    "no bid": priced("0", "100"),
    "no price, 16 days past maturity": both(unpriced, _days_pass(46)),
    "no price, not traded": both(unpriced, changed(trading_status="not_trading")),
    "market closed": shut,
    "market closed, no price": both(shut, unpriced),
    "market closed, not traded": both(shut, changed(trading_status="not_trading")),
    "market closed until it matures": both(shut, _days_pass(29)),
    "market closed, suspended": both(shut, to_account("suspend")),
    "market closed, closing": both(shut, to_account("close")),
    "suspended": to_account("suspend"),
    "suspended, not traded": both(to_account("suspend"), changed(trading_status="not_trading")),
    "closing": to_account("close"),
    "buys flagged off": to_account("change", can_place_buy_order=False),
    "sells flagged off": to_account("change", can_place_sell_order=False),
    "more bought": bought_more,
    "more bought, a minimum of 50 units": both(
        bought_more, changed(minimum_trading_quantity=Decimal(50))
    ),
}

TABLE = """
asked             |since                             |then
buy               |nothing                           |executing
sell              |nothing                           |executing
buy               |16 days past maturity             |cancelled matured
sell              |16 days past maturity             |cancelled matured
buy               |it settles on maturity            |cancelled matured
buy               |the last day it settles before    |executing
buy               |not traded                        |cancelled instrument_not_trading
sell              |not traded                        |cancelled instrument_not_trading
buy               |sells only                        |cancelled instrument_not_trading
sell              |sells only                        |executing
sell              |buys only                         |cancelled instrument_not_trading
buy               |a fund at net asset value         |cancelled instrument_not_trading
buy               |a minimum of 1 unit               |cancelled below_minimum_quantity
sell              |a minimum of 50 units             |cancelled below_minimum_quantity
sell of all       |a minimum of 50 units             |executing
buy               |steps of 3 units                  |cancelled below_minimum_quantity
sell              |steps of 3 units                  |cancelled trading_rules
sell of all       |steps of 3 units                  |executing
buy               |steps of half a unit              |executing
buy               |cash in steps of 70               |cancelled trading_rules
sell              |cash in steps of 70               |executing
buy               |first investments of 500          |executing
buy               |the same, and all is sold         |cancelled below_minimum_amount
buy               |priced in percent                 |cancelled trading_rules
sell              |another par value                 |cancelled trading_rules
buy               |orders of 1000.00 and more        |cancelled below_minimum_amount
sell              |orders of 1000.00 and more        |cancelled below_minimum_amount
buy of 0.5 million|orders of 1000.00 and more        |executing
buy               |price 9 times as high             |executing
buy               |price 10000 times as high         |cancelled below_minimum_quantity
sell of 0.01      |price at dust                     |cancelled below_minimum_amount
sell of all       |price at dust                     |executing
buy of 90 million |price at dust                     |cancelled quantity_too_large
buy of 0.5 million|price at dust                     |executing
sell of all       |price that brings 15 digits       |cancelled quantity_too_large
sell              |no price                          |pending price_too_old
sell              |no bid                            |pending price_too_old
buy               |no bid                            |executing
buy               |no price, 16 days past maturity   |cancelled matured
sell              |no price, not traded              |cancelled instrument_not_trading
buy               |market closed                     |pending market_closed
sell              |market closed                     |pending market_closed
buy               |market closed, no price           |pending market_closed
sell              |market closed, not traded         |cancelled instrument_not_trading
buy               |market closed until it matures    |cancelled matured
buy               |market closed, suspended          |pending account_suspended
buy               |market closed, closing            |cancelled account_closed
sell              |market closed, closing            |pending market_closed
buy               |suspended                         |pending account_suspended
sell              |suspended                         |pending account_suspended
buy               |suspended, not traded             |pending account_suspended
buy               |closing                           |cancelled account_closed
sell              |closing                           |executing
buy               |buys flagged off                  |executing
sell              |sells flagged off                 |executing
sell of all       |more bought                       |executing
sell of all       |more bought, a minimum of 50 units|cancelled below_minimum_quantity
"""
ROWS = rows(TABLE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['asked']}: {row['since']}")
def test_what_comes_of_an_order_that_waited(row: dict[str, str]) -> None:
    waiting = ASKED[row["asked"]]()
    SINCE[row["since"]](waiting)
    assert waiting.sent() == row["then"]
    if waiting.world.order().status == "cancelled":
        assert not waiting.world.order().reserved
    waiting.world.check_reserved()


def test_all_of_both_tables_is_used() -> None:
    assert {row["asked"] for row in ROWS} == set(ASKED)
    assert {row["since"] for row in ROWS} == set(SINCE)


def test_every_check_has_a_reason_that_can_be_told() -> None:
    reasons = {one.reason for one in checks.CHECKS}
    assert reasons <= set(order.REASONS)
    told = {row["then"].removeprefix("cancelled ") for row in ROWS}
    # below, and in test_split_orders: they take states that no row can make
    assert reasons - told == {"account_overdrawn", "corporate_action"}


@pytest.mark.parametrize(
    ("side", "lacking", "then"),
    [
        ("buy", "USD", "account_overdrawn"),
        ("buy", "USD ins", "account_overdrawn"),
        ("buy", "ins", None),
        ("sell", "USD", None),
        ("sell", "ins", "account_overdrawn"),
    ],
)
def test_an_overdrawn_account_buys_what_it_lacks_and_may_sell(
    side: str, lacking: str, then: str | None
) -> None:
    waiting = buying() if side == "buy" else selling()
    account = waiting.world.account()
    holdings, below = account.holdings, Balance(Decimal(-1), reserved=Decimal(100))
    cash, position = dict(holdings.cash), holdings.positions["ins"]
    if "USD" in lacking:
        cash["USD"] = below
    if "ins" in lacking:
        position = replace(position, units=below)
    account = replace(account, holdings=replace(holdings, cash=cash, positions={"ins": position}))
    assert account.is_overdrawn
    assert account.lacking == dict.fromkeys(lacking.split(), Decimal(1))
    decided = trading.start_execution(
        account, waiting.world.order(), waiting.world.instrument("ins"), PRICE,
        venue="sim", venue_order="v", trade_date=TODAY, at_us=9,
    )  # fmt: skip
    assert [getattr(fact, "reason", None) for fact in decided.subject] == [then]
    assert not waiting.world.account().is_overdrawn


def test_the_reason_to_wait_is_told_once_and_anew_when_it_changes() -> None:
    waiting = selling()
    unpriced(waiting)
    assert waiting.sent() == "pending price_too_old"
    count = len(waiting.world.facts)
    assert waiting.sent() == "pending price_too_old"
    assert len(waiting.world.facts) == count
    to_account("suspend")(waiting)
    assert waiting.sent() == "pending account_suspended"
    to_account("activate")(waiting)
    waiting.price = PRICE
    assert waiting.sent() == "executing"


def test_an_order_that_waits_for_its_market_then_waits_for_a_price() -> None:
    waiting = selling()
    shut(waiting)
    assert waiting.sent() == "pending market_closed"
    count = len(waiting.world.facts)
    assert waiting.sent() == "pending market_closed"
    assert len(waiting.world.facts) == count
    waiting.is_open = True
    unpriced(waiting)
    assert waiting.sent() == "pending price_too_old"
    waiting.price = PRICE
    assert waiting.sent() == "executing"


def test_an_accepted_order_can_always_be_booked() -> None:
    """8.955e15 units were once accepted, executed, and then parked as malformed."""
    world = World()
    world.put("ins", replace(TERMS, maturity_date=None, decimal_precision=2))
    world.open()
    world.fund("100000000.00")
    dust = Price(Decimal("0.00000001"), Decimal("0.00000001"), 1)
    most = OrderRequest("buy", Decimal("90000000.00"))
    assert world.place("ord", most, price=dust) == "quantity_too_large"
    fits = OrderRequest("buy", Decimal("10050251.25"))  # 9 999 999.99 net: 15 digits of units
    assert world.place("ord", fits, price=dust) == "ok"
    assert world.start("ord", dust) == "ok"
    ordered = world.order().ordered
    assert ordered == Decimal("999999999000000.00")
    assert world.trade("ord", "x1", "0.00000001", str(ordered)) == "ok"
    assert world.order().traded_notional == Decimal("9999999.99")
