"""Quotes used, expired, moved, consumed twice: the orders that may use one, and its figures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.domain import order_quote
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_quote import OrderQuote, QuoteConsumed, listing_of
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.kernel.errors import Refused
from tests.support.engines.world import LATER, World
from tests.support.models.table import rows

SECOND_US = 1_000_000
STOCK = Terms("A stock", "STK", "stock", "USD", issuer_country="US")
CHANGED: dict[str, Terms] = {
    "increment": replace(STOCK, trading_increment=Decimal(1)),
    "percent": replace(STOCK, price_type="percent"),
    "par": replace(STOCK, par_value=Decimal(1_000)),
    "settlement": replace(STOCK, settlement_days=4),
    "symbol": replace(STOCK, symbol="STOCK"),
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "fees": {"fee": FeeRule(Decimal("0.006"))},
    "minimum": {"fee": FeeRule(minimum=Decimal("0.01"))},
    "the day": {"today": LATER},
}
TABLE = """
quote      |order     |price   |seconds  |changed   |answer
buy 100    |buy 100   |100     |0        |          |used
buy 100    |buy 100.00|100     |29.999999|          |used
buy 100    |buy 100   |100     |30       |          |quote_invalid
buy 100    |buy 100.01|100     |0        |          |quote_invalid
buy 100    |sell 1    |100     |0        |          |quote_invalid
sell 1     |sell 1.00 |100     |29.999999|          |used
sell 1     |sell 1.01 |100     |0        |          |quote_invalid
# past the tolerance of a hundredth, against the customer and for it
buy 100    |buy 100   |101     |0        |          |used
buy 100    |buy 100   |101.0001|0        |          |quote_price_moved
buy 100    |buy 100   |99      |0        |          |used
buy 100    |buy 100   |98.9999 |0        |          |quote_price_moved
sell 1     |sell 1    |99      |0        |          |used
sell 1     |sell 1    |98.9999 |0        |          |quote_price_moved
sell 1     |sell 1    |101.0001|0        |          |quote_price_moved
buy 100    |buy 100   |200     |30       |          |quote_invalid
# other terms than the quoted ones
buy 100    |buy 100   |100     |0        |the day   |used
buy 100    |buy 100   |100     |0        |symbol    |quote_invalid
buy 100    |buy 100   |100     |0        |fees      |quote_invalid
sell 1     |sell 1    |100     |0        |fees      |quote_invalid
sell 1     |sell 1    |100     |0        |minimum   |quote_invalid
sell 1     |sell 1    |100     |0        |increment |quote_invalid
sell 1     |sell 1    |100     |0        |percent   |quote_invalid
sell 1     |sell 1    |100     |0        |par       |quote_invalid
sell 1     |sell 1    |100     |0        |settlement|quote_invalid
# limit orders: their price is the limit, whatever the market does
buy 100 @99|buy 100 @99|200    |0        |          |used
buy 100 @99|buy 100 @99.00|1   |0        |          |used
buy 100 @99|buy 100 @99|100    |30       |          |quote_invalid
buy 100 @99|buy 100 @98|100    |0        |          |quote_invalid
buy 100 @99|buy 100   |99      |0        |          |quote_invalid
buy 100    |buy 100 @100|100   |0        |          |quote_invalid
buy 100 @9 |buy 100 @9|100     |0        |increment |quote_invalid
sell 1 @101|sell 1 @101|1      |0        |          |used
sell 1 @101|sell 1 @101.01|1   |0        |          |quote_invalid
"""
ROWS = rows(TABLE)


def asked(words: str) -> OrderRequest:
    """The request of `buy 100`, `sell 1` or `buy 100 @99`, at a limit."""
    words, _, limit = words.partition("@")
    side, amount = words.split()
    request = OrderRequest("buy", Decimal(amount))
    if side == "sell":
        request = OrderRequest("sell", quantity=Decimal(amount))
    return replace(request, order_type="limit", limit_price=Decimal(limit)) if limit else request


def a_holder(terms: Terms = STOCK) -> World:
    """An account with cash and ten units."""
    made = World()
    assert made.put("ins", terms) == "ok"
    made.open()
    made.fund("100000.00")
    price = Price(Decimal(100), Decimal(100), 1)
    made.place("first", OrderRequest("buy", Decimal("1005.03")), price=price)
    made.start("first", price)
    made.trade("first", "x0", "100", "10")
    made.end("first")
    return made


def quote_of(made: World, request: OrderRequest, price: Price, lifetime_us: int, **words: Any) -> Any:
    """The quote of an order, as it comes back from its row."""
    other = a_holder(made.instrument("ins").terms)
    assert other.place("quo_1", request, price=price, **words) == "ok"
    terms = other.order("quo_1").terms
    quote = OrderQuote(terms, listing_of(made.instrument("ins")), terms.at_us + lifetime_us)
    return msgspec.json.decode(msgspec.json.encode(quote), type=OrderQuote)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_an_order_uses_its_quote_or_is_refused(row: dict[str, str]) -> None:
    hundred, now = Decimal(100), Decimal(row["price"])
    quote = quote_of(a_holder(), asked(row["quote"]), Price(hundred, hundred, 1), 30 * SECOND_US)
    changed = row["changed"]
    made, words = a_holder(), OTHERWISE.get(changed, {})
    if changed in CHANGED:
        assert made.put("ins", CHANGED[changed]) == "ok"
    assert made.place("ord", asked(row["order"]), price=Price(now, now, 1), **words) == "ok"
    at_us = quote.terms.at_us + int(Decimal(row["seconds"]) * SECOND_US)
    consumed = use(quote, made, at_us)
    if isinstance(consumed, str):
        assert consumed == row["answer"]
        return
    assert row["answer"] == "used"
    assert (consumed.order, consumed.account) == ("ord", "acc")
    assert consumed.price == (asked(row["quote"]).limit_price or hundred)
    used = order_quote.evolve(None, consumed)
    later_us = at_us + 3_600 * SECOND_US
    for known, account, then_us, code in (
        (quote, "acc", at_us, "quote_already_consumed"),
        (quote, "acc", later_us, "quote_already_consumed"),
        (None, "acc", later_us, "quote_already_consumed"),
        (None, "acc_other", at_us, "quote_invalid"),
    ):
        with pytest.raises(Refused) as caught:
            order_quote.check(known, used, account, at_us=then_us)
        assert caught.value.code == code


def use(quote: OrderQuote, made: World, at_us: int) -> QuoteConsumed | str:
    """The use of a quote by the placed order, or the code of its refusal."""
    placed, listing = made.order("ord").terms, listing_of(made.instrument("ins"))
    try:
        known = order_quote.check(quote, None, "acc", at_us=at_us)
        return order_quote.consume(known, placed, listing, Decimal("0.01"))
    except Refused as refused:
        return refused.code


def test_a_split_is_a_change_of_the_instrument() -> None:
    known = a_holder().instrument("ins")
    split = replace(known, servicing=replace(known.servicing, splits=1))
    assert listing_of(known) == listing_of(replace(known))
    assert listing_of(split) != listing_of(known)


BOND = Terms(
    "A bond",
    "BND",
    "bond",
    "USD",
    issuer_country="US",
    price_type="percent",
    trading_increment=Decimal("0.01"),
)
AMOUNT = st.decimals(min_value="1.00", max_value="9000.00", places=2)
QUOTED = st.decimals(min_value="0.01", max_value="500", places=4)
RATE = st.decimals(min_value="0", max_value="0.2", places=4)
INTEREST = st.decimals(min_value="0", max_value="9", places=8)


@given(AMOUNT, QUOTED, RATE, INTEREST, st.sampled_from(["0", "0.99"]), st.sampled_from([STOCK, BOND]))
@settings(max_examples=60)
def test_an_execution_at_the_quoted_price_moves_the_quoted_cash(
    amount: Decimal, number: Decimal, rate: Decimal, interest: Decimal, minimum: str, terms: Terms
) -> None:
    """To the cent: quantity, fees and cash of a buy, and of the sale of what it bought."""
    made = a_holder(terms)
    price = Price(number, number, 1, interest if terms is BOND else Decimal(0))
    fee = FeeRule(rate, Decimal(minimum))
    for name, request in (
        ("buy", OrderRequest("buy", amount)),
        ("sell", OrderRequest("sell", quantity=Decimal("0.57"))),
    ):
        before = made.account().holdings.balance("USD").total
        if made.place(name, request, price=price, fee=fee) != "ok":
            continue
        placed = made.order(name).terms
        quote = OrderQuote(placed, listing_of(made.instrument("ins")), 30)
        made.start(name, price)
        made.trade(
            name, f"x-{name}", str(number), str(quote.quantity), accrued=str(price.accrued_interest)
        )
        made.end(name)
        done = made.order(name)
        assert (done.traded_quantity, done.traded_notional) == (quote.quantity, quote.notional)
        moved = made.account().holdings.balance("USD").total - before
        assert moved == (-quote.cash if name == "buy" else quote.cash)
        assert done.charged <= quote.fees
        assert name == "buy" or done.charged == quote.fees
