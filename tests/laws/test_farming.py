"""The economics of the rules: no sequence of orders at one price makes money, and no splitting does.

Every order of the first release was exact, and three hundred tiny ones were not: each rounded to the
nearest, half of them upwards. What those paid stands here too, under the rule they were placed under.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain import checks, fees, order
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.rounding import ROUNDINGS
from engine.domain.trading_limits import worth_of
from engine.kernel.values import CURRENCIES, UNITS
from tests.support.engines.world import World

# --- a market of one price ------------------------------------------------------------------------


class Market(NamedTuple):
    """One instrument, which costs the same whoever buys or sells, and the fees there."""

    currency: str
    precision: int
    increment: Decimal
    price: Price
    price_type: Any = "money"
    fee: FeeRule = FeeRule()

    @property
    def unit(self) -> Fraction:
        """What a unit costs, accrued interest included."""
        price = Fraction(self.price.ask) * (1 if self.price_type == "money" else Fraction(1000, 100))
        return price + Fraction(self.price.accrued_interest)


_NONE = Fraction(0)


class Paid(NamedTuple):
    """What units are worth to the last digit, what was paid for them, and the fees; in the smallest
    units of the currency.
    """

    worth: Fraction
    notional: int
    charged: int


class Trader:
    """An account with cash in a market, and all that is asked for there."""

    def __init__(self, market: Market, cash: Decimal) -> None:
        self.market, self.world, self.orders = market, World(), list[str]()
        self.world.put(
            "ins",
            Terms(
                "Name", "SYM", "bond", market.currency, trading_increment=market.increment,
                decimal_precision=market.precision, price_type=market.price_type,
                par_value=Decimal(1000),
            ),
        )  # fmt: skip
        self.world.open("acc", market.currency)
        self.world.fund(str(cash), market.currency)

    @property
    def cash(self) -> Decimal:
        return self.world.account().holdings.balance(self.market.currency).total  # type: ignore[no-any-return]

    @property
    def units(self) -> Decimal:
        return self.world.account().holdings.held("ins")  # type: ignore[no-any-return]

    @property
    def worth(self) -> Fraction:
        """Cash, and units at the price."""
        return Fraction(self.cash) + Fraction(self.units) * self.market.unit

    def trade(
        self, order_request: OrderRequest, parts: tuple[int, ...] = (1,), *, whole: bool = True
    ) -> str:
        """An order, executed in `parts` of these weights, the last one only if `whole`; the answer."""
        market, name = self.market, f"ord{len(self.orders)}"
        answer = self.world.place(name, order_request, price=market.price, fee=market.fee)
        if answer != "ok":
            return answer
        self.orders.append(name)
        self.world.start(name, market.price)
        left = self.world.order(name).ordered
        step = Decimal(1).scaleb(-market.precision)
        for number, weight in enumerate(parts, 1):
            share = left * weight / sum(parts[number - 1 :])
            quantity = left if number == len(parts) else share.quantize(step, "ROUND_FLOOR")
            if quantity and (whole or number < len(parts) or number == 1):
                words = f"{name}/{number}", f"{market.price.ask}", f"{quantity}"
                assert self.world.trade(name, *words, f"{market.price.accrued_interest}") == "ok"
                left -= quantity
        self.world.end(name)
        return answer

    def buy(self, amount: Decimal, *parts: int, whole: bool = True) -> str:
        return self.trade(OrderRequest("buy", amount), parts or (1,), whole=whole)

    def sell(self, quantity: Decimal, *parts: int, whole: bool = True) -> str:
        return self.trade(OrderRequest("sell", quantity=quantity), parts or (1,), whole=whole)

    def paid(self, side: str) -> Paid:
        """By all orders of a side."""
        known = [self.world.order(name) for name in self.orders]
        scale = 10 ** CURRENCIES[self.market.currency]
        worth, notional, charged = (
            sum(
                (Fraction(getattr(one, field)) * scale for one in known if one.terms.side == side), _NONE
            )
            for field in ("consideration", "traded_notional", "charged")
        )
        return Paid(worth, int(notional), int(charged))


# --- the law --------------------------------------------------------------------------------------

INCREMENTS = (1, 1, 1, 5, 25, 100)
RATES = [Decimal(rate) for rate in ("0.005", "0", "0.0033", "0.333", "0.99")]
MINIMA = [Decimal(minimum) for minimum in ("0", "0", "0.005", "0.015", "1")]


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Currencies of every number of decimals, every precision, prices from dust to dear."""
    currency = draw(st.sampled_from(["JPY", "USD", "KWD", "CLF"]))
    precision = draw(st.integers(0, 8))
    increment = Decimal(draw(st.sampled_from(INCREMENTS))).scaleb(-precision)
    price = Decimal(draw(st.integers(1, 99_999))).scaleb(draw(st.integers(-8, 1)))
    accrued = draw(st.sampled_from([Decimal(0), Decimal(0), Decimal("0.00123"), Decimal("1.23456789")]))
    fee = FeeRule(draw(st.sampled_from(RATES)), draw(st.sampled_from(MINIMA)))
    kind = draw(st.sampled_from(["money", "money", "percent"]))
    return Market(currency, precision, increment, Price(price, price, 1, accrued), kind, fee)


class Deal(NamedTuple):
    """An amount in dust (`steps` of the currency or the increment), or as a share of all there is."""

    is_buy: bool
    steps: int
    share: int
    parts: tuple[int, ...]
    whole: bool


DEALS = st.builds(
    Deal,
    st.booleans(),
    st.integers(1, 60),
    st.sampled_from([0, 0, 1, 3, 7, 100]),
    st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    st.booleans(),
)
CASH_STEPS = st.integers(1, 10**9)


def law(market: Market, cash_steps: int, deals: list[Deal]) -> None:
    """Raises AssertionError where somebody ends with more, or has gained by splitting."""
    step = UNITS[market.currency]
    cash = step * cash_steps
    trader = Trader(market, cash)
    worth = trader.worth
    for deal in deals:
        if deal.is_buy:
            amount = (trader.cash * deal.share / 100).quantize(step, "ROUND_FLOOR")
            trader.buy(amount or step * deal.steps, *deal.parts, whole=deal.whole)
        else:
            steps = int(trader.units * deal.share / 100 / market.increment)
            trader.sell(market.increment * (steps or deal.steps), *deal.parts, whole=deal.whole)
        assert trader.worth <= worth, f"{deal} makes {trader.worth - worth}"
        worth = trader.worth
    if trader.units:
        assert trader.sell(trader.units) == "ok", "all that is held can be sold"
    assert not trader.units
    assert trader.cash <= cash, "it ends with more than it began with"
    _check_splitting(trader)


def _check_splitting(trader: Trader) -> None:
    """All buys have paid no less, in fees and in all, than one of the same units; all sells have brought
    no more, fees deducted. (The fees of sells alone may be less, by less than their rounding has taken.)
    """
    rule, places = trader.market.fee, CURRENCIES[trader.market.currency]
    rate, least = Fraction(rule.rate), ceil(Fraction(rule.minimum) * 10**places)
    bought, sold = trader.paid("buy"), trader.paid("sell")
    if bought.worth:  # the smallest fee f that is rate x (notional + f), or more
        one = ceil(bought.worth)
        fee = max(least, ceil(rate * one / (1 - rate)))
        assert bought.charged >= fee, f"{bought}, one would have paid a fee of {fee}"
        assert bought.notional + bought.charged >= one + fee, f"{bought}, one would have paid {one}"
    one = floor(sold.worth)
    fee = min(one, max(least, ceil(rate * one)))
    assert sold.notional - sold.charged <= one - fee, f"{sold}, one would have brought {one} less {fee}"


LAW = settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
RUN = given(markets(), CASH_STEPS, st.lists(DEALS, min_size=1, max_size=12))


@LAW
@RUN
def test_nobody_ends_with_more_and_splitting_gains_nothing(
    market: Market, cash_steps: int, deals: list[Deal]
) -> None:
    law(market, cash_steps, deals)


@pytest.mark.torture
@settings(LAW, max_examples=20_000)
@RUN
def test_nobody_ends_with_more_in_twenty_thousand_runs(
    market: Market, cash_steps: int, deals: list[Deal]
) -> None:
    law(market, cash_steps, deals)


@LAW
@given(
    st.sampled_from(RATES), st.sampled_from(MINIMA), st.sampled_from(sorted(UNITS)),
    st.integers(1, 10**6), st.integers(1, 10**6),
)  # fmt: skip
def test_two_quotes_are_never_less_than_the_quote_of_both(
    rate: Decimal, minimum: Decimal, currency: str, one: int, two: int
) -> None:
    rule, step = FeeRule(rate, minimum), UNITS[currency]
    both = fees.of_amount(rule, step * (one + two), step)
    assert fees.of_amount(rule, step * one, step) + fees.of_amount(rule, step * two, step) >= both


def test_a_split_sell_may_pay_less_in_fees_and_brings_no_more() -> None:
    """2 at 2.005: 4.01 less 0.03; 1 and 1: twice 2.00 less 0.01. A fee is saved, and nothing is won."""
    ended = {}
    for sizes in ((2,), (1, 1)):
        trader = Trader(at("2.005"), Decimal("10.00"))
        trader.buy(Decimal("4.10"))
        before = trader.cash
        for size in sizes:
            assert trader.sell(Decimal(size)) == "ok"
        ended[sizes] = trader.paid("sell").charged, trader.cash - before
    assert ended == {(2,): (3, Decimal("3.98")), (1, 1): (2, Decimal("3.98"))}


# --- what could be farmed -------------------------------------------------------------------------


def at(bid: str, ask: str = "", **words: Any) -> Market:
    price = Price(Decimal(bid), Decimal(ask or bid), 1)
    defaults = {"currency": "USD", "precision": 2, "increment": Decimal("0.01")}
    return Market(price=price, **defaults | words)


def dear_dust(trader: Trader) -> None:
    """300 buys of 0.02 at 1.49: 0.0149 a piece, paid with 0.01."""
    for _ in range(300):
        trader.buy(Decimal("0.02"))


def cheap_dust(trader: Trader) -> None:
    """0.0106 of the demo stock, sold in pieces of 0.0001: 0.018742 a piece, paid with 0.02."""
    trader.buy(Decimal("2.00"))
    for _ in range(106):
        trader.sell(Decimal("0.0001"))


def fine_increment(trader: Trader) -> None:
    """0.00001016 at 60000 in pieces of 0.00000009: 0.0054 a piece, paid with 0.01."""
    trader.buy(Decimal("0.61"))
    for _ in range(112):
        trader.sell(Decimal("0.00000009"))


def three_decimals(trader: Trader) -> None:
    """The same in a currency of three decimals."""
    for _ in range(100):
        trader.buy(Decimal("0.002"))


def no_decimals(trader: Trader) -> None:
    """And of none: 1.4 yen a piece, paid with 1."""
    for _ in range(100):
        trader.buy(Decimal(2))


def dust_in_parts(trader: Trader) -> None:
    """Orders of one part each round as they do whole, so many parts gain nothing anyhow."""
    for _ in range(100):
        trader.buy(Decimal("0.05"), 1, 1, 1)


FARMS: dict[Callable[[Trader], None], Market] = {
    dear_dust: at("1.49"),
    cheap_dust: at("187.42", "187.50", precision=4, increment=Decimal("0.0001")),
    fine_increment: at("60000", precision=8, increment=Decimal("0.00000001")),
    three_decimals: at("0.149", currency="KWD"),
    no_decimals: at("149", currency="JPY"),
    dust_in_parts: at("1.49"),
}
PAID_ONCE = {dear_dust: "101.45", cheap_dust: "100.12", fine_increment: "100.51"}
"""What the first release made of 100.00."""


def _place_under(rounding: str, patch: pytest.MonkeyPatch) -> None:
    """All that is placed from now on; also what is judged to be worth nothing."""
    patch.setattr(order, "CURRENT", rounding)
    patch.setattr(checks, "CURRENT", rounding)


def farmed(farm: Callable[[Trader], None], rounding: str, patch: pytest.MonkeyPatch) -> Trader:
    """The end of a farm: all sold."""
    market = FARMS[farm]
    _place_under(rounding, patch)
    market = market._replace(fee=FeeRule(rounding=ROUNDINGS[rounding].fees))
    trader = Trader(market, Decimal(100))
    farm(trader)
    if trader.units:
        assert trader.sell(trader.units) == "ok"
    return trader


@pytest.mark.parametrize("farm", FARMS, ids=lambda farm: farm.__name__)
def test_no_size_of_orders_makes_money(
    farm: Callable[[Trader], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    trader = farmed(farm, "directed", monkeypatch)
    assert trader.cash <= 100
    assert not trader.units


@pytest.mark.parametrize("farm", PAID_ONCE, ids=lambda farm: farm.__name__)
def test_what_the_first_release_paid(
    farm: Callable[[Trader], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert farmed(farm, "half_up", monkeypatch).cash == Decimal(PAID_ONCE[farm])


def test_many_small_sells_count_for_no_less_than_a_large_one() -> None:
    """Against limits: sells worth 0.0149 counted 0.01 each, and a limit let half as much more by."""
    trader = Trader(at("1.49"), Decimal(100))
    trader.buy(Decimal("10.00"))
    for _ in range(100):
        assert trader.sell(Decimal("0.01")) == "ok"
    terms = [trader.world.order(name).terms for name in trader.orders]
    sold = sum((worth_of(one) for one in terms if one.side == "sell"), Decimal(0))
    assert sold == Decimal("2.00") >= Decimal("1.49")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_law_finds_what_splitting_gains_when_fees_are_rounded_to_the_nearest(
    side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.80 pays 0.004, which is 0.00; twice 0.80 pays 0.008, which is 0.01."""
    monkeypatch.setitem(ROUNDINGS, "directed", ROUNDINGS["directed"]._replace(fees=ROUND_HALF_UP))
    market = at("0.80", fee=FeeRule(rounding=ROUND_HALF_UP))
    two = Deal(is_buy=True, steps=161, share=0, parts=(1,), whole=True)
    one = two._replace(steps=80)
    half = Deal(is_buy=False, steps=100, share=0, parts=(1,), whole=True)
    deals = [one, one] if side == "buy" else [two, half, half]
    with pytest.raises(
        AssertionError, match="one would have " + {"buy": "paid", "sell": "brought"}[side]
    ):
        law(market, 1_000, deals)
    monkeypatch.undo()
    law(market._replace(fee=FeeRule()), 1_000, deals)


def test_the_law_finds_the_old_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law's own control: under the rule of the first release it finds somebody with more."""
    _place_under("half_up", monkeypatch)
    market = at("1.49", fee=FeeRule(rounding=ROUND_HALF_UP))
    deals = [Deal(is_buy=True, steps=2, share=0, parts=(1,), whole=True)] * 12
    with pytest.raises(AssertionError, match="makes"):
        law(market, 10_000, deals)
    monkeypatch.undo()
    law(market._replace(fee=FeeRule(rounding=ROUND_CEILING)), 10_000, deals)
