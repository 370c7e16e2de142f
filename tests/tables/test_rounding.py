"""Money at its edges: prices that do not divide, tiny increments, minimum fees, last cents."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction

import msgpack
import msgspec
import pytest

from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order import Placed
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price, quantity_for, unit_price
from engine.domain.stored import engine_codec
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Envelope
from engine.kernel.values import UNITS, ZERO, divide_half_even, divide_to, plain, round_to
from tests.support.engines.world import World
from tests.support.models.table import rows

BUYS = """
# One trade of everything: what is bought, charged and given back.
amount  | currency | price       | kind    | accrued    | increment | rate  | minimum | fee   | net    | quantity    | notional | back
100.00  | USD      | 100         | money   | 0          | 0.01      | 0.005 | 0       | 0.50  | 99.50  | 0.99        | 99.00    | 0.50
100.00  | USD      | 3           | money   | 0          | 0.01      | 0.005 | 0       | 0.50  | 99.50  | 33.16       | 99.48    | 0.02
100.00  | USD      | 3           | money   | 0          | 1         | 0.005 | 0       | 0.50  | 99.50  | 33          | 99.00    | 0.50
100.00  | USD      | 3           | money   | 0          | 0.000001  | 0.005 | 0       | 0.50  | 99.50  | 33.166666   | 99.50    | 0.00
100.00  | USD      | 7           | money   | 0          | 0.000001  | 0.005 | 0       | 0.50  | 99.50  | 14.214285   | 99.50    | 0.00
100.00  | USD      | 33.33333333 | money   | 0          | 0.25      | 0.005 | 0       | 0.50  | 99.50  | 2.75        | 91.67    | 7.86
100.00  | USD      | 0.00000001  | money   | 0          | 1         | 0     | 0       | 0.00  | 100.00 | 10000000000 | 100.00   | 0.00
1.00    | USD      | 1           | money   | 0          | 0.01      | 0.005 | 0       | 0.01  | 0.99   | 0.99        | 0.99     | 0.00
0.99    | USD      | 1           | money   | 0          | 0.01      | 0.005 | 0       | 0.01  | 0.98   | 0.98        | 0.98     | 0.00
1.01    | USD      | 1           | money   | 0          | 0.01      | 0.005 | 1.00    | 1.00  | 0.01   | 0.01        | 0.01     | 0.00
200.00  | USD      | 100         | money   | 0          | 0.01      | 0.005 | 1.00    | 1.00  | 199.00 | 1.99        | 199.00   | 0.00
100.00  | USD      | 100         | money   | 0          | 0.01      | 0.005 | 5       | 5.00  | 95.00  | 0.95        | 95.00    | 0.00
1000    | JPY      | 3           | money   | 0          | 1         | 0.005 | 0       | 5     | 995    | 331         | 993      | 2
100     | JPY      | 7           | money   | 0          | 0.01      | 0.005 | 0       | 1     | 99     | 14.14       | 99       | 0
100.000 | KWD      | 7           | money   | 0          | 0.01      | 0.005 | 0       | 0.500 | 99.500 | 14.21       | 99.470   | 0.030
1000.00 | USD      | 98.5        | percent | 0          | 1         | 0.005 | 0       | 5.00  | 995.00 | 10          | 985.00   | 10.05
1000.00 | USD      | 98.5        | percent | 1.23456789 | 0.01      | 0.005 | 0       | 5.00  | 995.00 | 9.97        | 994.36   | 0.64
1000.00 | USD      | 98.5        | money   | 1.23456789 | 0.01      | 0.005 | 0       | 5.00  | 995.00 | 9.97        | 994.36   | 0.64
"""  # noqa: E501  (a table)


def bought(row: dict[str, str]) -> World:
    """An order placed and with the venue, by a row's words."""
    increment = Decimal(row["increment"])
    places = -increment.as_tuple().exponent if increment < 1 else 0  # type: ignore[operator]
    world = World()
    terms = Terms(
        "Name",
        "SYM",
        "bond",
        row["currency"],
        price_type=row["kind"],  # type: ignore[arg-type]
        trading_increment=increment,
        decimal_precision=places,
    )
    assert world.put("ins", terms) == "ok"
    world.open("acc", row["currency"])
    world.fund(row["amount"], row["currency"])
    price = Price(Decimal(row["price"]), Decimal(row["price"]), 1, Decimal(row["accrued"]))
    rule = FeeRule(Decimal(row["rate"]), Decimal(row["minimum"]))
    assert world.place("ord", OrderRequest("buy", Decimal(row["amount"])), price=price, fee=rule) == "ok"
    assert world.start("ord", price) == "ok"
    return world


@pytest.mark.parametrize("row", rows(BUYS), ids=lambda row: " ".join(row.values()))
def test_buy(row: dict[str, str]) -> None:
    world = bought(row)
    quoted, quantity = world.order().fees, world.order().ordered
    world.trade("ord", "x1", row["price"], str(quantity), row["accrued"])
    world.end("ord")
    order, cash = world.order(), world.account().holdings.balance(row["currency"])
    seen = {
        **row,
        "fee": plain(quoted),
        "net": plain(order.net_cash_amount),
        "quantity": plain(order.traded_quantity),
        "notional": plain(order.traded_notional),
        "back": plain(cash.total),
    }
    assert seen == row
    assert order.fees + order.traded_notional + cash.total == Decimal(row["amount"])


PARTS = """
# Many trades: each one's notional and fee, which sum to the rounded whole to the last cent.
amount | price | rate  | minimum | quantities                    | notionals                     | fees
100.00 | 3     | 0.005 | 0       | 11.05 11.05 11.06             | 33.15 33.15 33.18             | 0.17 0.17 0.16
100.00 | 0.333 | 0.005 | 0       | 0.01 0.01 0.01 0.01 0.01 0.01 | 0.01 0.00 0.00 0.01 0.00 0.00 | 0.01 0.00 0.00 0.00 0.00 0.00
100.00 | 0.5   | 0.005 | 0       | 0.01 0.01 0.01 0.01           | 0.01 0.00 0.01 0.00           | 0.01 0.00 0.00 0.00
100.00 | 100   | 0.005 | 0       | 0.39 0.60                     | 39.00 60.00                   | 0.20 0.30
100.00 | 100   | 0.005 | 2       | 0.39 0.59                     | 39.00 59.00                   | 2.00 0.00
100.00 | 100   | 0.005 | 0.30    | 0.39 0.60                     | 39.00 60.00                   | 0.30 0.20
50.00  | 7     | 0.01  | 0       | 2.35 2.35 2.37                | 16.45 16.45 16.59             | 0.17 0.17 0.16
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(PARTS), ids=lambda row: " ".join(row.values()))
def test_trades_of_a_buy_sum_exactly(row: dict[str, str]) -> None:
    words = {"currency": "USD", "kind": "money", "accrued": "0", "increment": "0.01"}
    world = bought({**row, **words})
    for number, quantity in enumerate(row["quantities"].split()):
        assert world.trade("ord", f"x{number}", row["price"], quantity) == "ok"
    order = world.order()
    seen = {
        **row,
        "notionals": " ".join(plain(trade.terms.notional) for trade in order.trades),
        "fees": " ".join(plain(trade.terms.fee) for trade in order.trades),
    }
    assert seen == row
    total = sum((trade.terms.notional for trade in order.trades), ZERO)
    assert total == round_to(order.consideration, UNITS["USD"], ROUND_CEILING) == order.traded_notional


def test_an_order_of_the_first_release_rounds_as_it_did_to_its_end() -> None:
    """Its Placed names no rule. It was accepted before the upgrade and trades after it."""
    world = bought(OLD)
    key = "order", "ord"
    codec, placed = engine_codec(), world.order().terms
    name, body = codec.encode(Envelope(1), placed)
    words = msgpack.unpackb(body, ext_hook=msgpack.ExtType, use_list=False)
    since = placed.__struct_fields__.index("rounding") - len(placed.__struct_fields__)
    older = msgpack.packb(words[:since])
    assert words[since:] == ("directed", *[None] * (-since - 1))
    old = codec.decode(name, older)[1]
    assert isinstance(old, Placed)
    assert old.rounding == "half_up"
    world.states[key] = world.stored[key] = msgspec.structs.replace(world.order(), terms=old)
    for number, quantity in enumerate(("0.11", "0.11", "0.11")):
        assert world.trade("ord", f"x{number}", "1.49", quantity) == "ok"
    order = world.order()
    assert [plain(trade.terms.notional) for trade in order.trades] == ["0.16", "0.17", "0.16"]
    assert [plain(trade.terms.fee) for trade in order.trades] == ["0.00", "0.00", "0.00"]
    assert order.terms.fee_rule.rounding == ROUND_HALF_UP


OLD = {
    "amount": "1.00", "currency": "USD", "price": "1.49", "kind": "money", "accrued": "0",
    "increment": "0.01", "rate": "0.005", "minimum": "0",
}  # fmt: skip


def test_a_rounding_rule_of_a_newer_release_is_unknown() -> None:
    placed = msgspec.structs.replace(bought(OLD).order().terms, rounding="to_the_moon")
    with pytest.raises(UnknownFact, match="to_the_moon"):
        placed.notional_of(Decimal(1))


SELLS = """
# Fees of a sell never pass its proceeds, and follow them trade by trade.
quantities | price | rate  | minimum | notionals      | fees           | net
10         | 100   | 0.005 | 0       | 1000.00        | 5.00           | 995.00
5 5        | 100   | 0.005 | 0       | 500.00 500.00  | 2.50 2.50      | 995.00
1          | 3     | 0.005 | 5       | 3.00           | 3.00           | 0.00
1 1 1      | 3     | 0.005 | 5       | 3.00 3.00 3.00 | 3.00 2.00 0.00 | 4.00
0.04       | 0.3   | 0.005 | 0       | 0.01           | 0.01           | 0.00
0.03 0.01  | 0.3   | 0.005 | 1       | 0.00 0.01      | 0.00 0.01      | 0.00
3 3        | 33.33 | 0.005 | 0       | 99.99 99.99    | 0.50 0.50      | 198.98
"""


@pytest.mark.parametrize("row", rows(SELLS), ids=lambda row: " ".join(row.values()))
def test_sell(row: dict[str, str]) -> None:
    words = {"currency": "USD", "kind": "money", "accrued": "0", "increment": "0.01", "price": "1"}
    world = bought({**row, **words, "amount": "20.00", "rate": "0", "minimum": "0"})
    world.trade("ord", "b", "1", "20.00")
    world.end("ord")
    parts = row["quantities"].split()
    price = Price(Decimal(row["price"]), Decimal(row["price"]), 1)
    order_request = OrderRequest("sell", quantity=sum(map(Decimal, parts), ZERO))
    rule = FeeRule(Decimal(row["rate"]), Decimal(row["minimum"]))
    assert world.place("two", order_request, price=price, fee=rule) == "ok"
    assert (world.order("two").fees, world.order("two").net_cash_amount) == (0, None)
    world.start("two", price)
    for number, quantity in enumerate(parts):
        assert world.trade("two", f"s{number}", row["price"], quantity) == "ok"
    order = world.order("two")
    seen = {
        **row,
        "notionals": " ".join(plain(trade.terms.notional) for trade in order.trades),
        "fees": " ".join(plain(trade.terms.fee) for trade in order.trades),
        "net": plain(order.net_cash_amount),
    }
    assert seen == row
    assert plain(world.account().holdings.balance("USD").total) == row["net"]


AVERAGES = """
# A position's average price through buys (+) and sells (-): quantity@price, and the average after the last.
moves                       | average
+10@100                     | 100.00000000
+10@100 +10@101             | 100.50000000
+1@100 +2@101               | 100.66666667
+1@0.00000001 +1@0.00000002 | 0.00000002
+1@0.00000002 +1@0.00000003 | 0.00000002
+10@100 -4@500 +4@110       | 104.00000000
+3@100 -1@1 -1@1            | 100.00000000
+1@100 +2@101 -1@50 +1@3    | 68.11111111
+1@5 -1@6                   |
+1@5 -1@6 +1@7              | 7.00000000
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(AVERAGES), ids=lambda row: row["moves"])
def test_average_price(row: dict[str, str]) -> None:
    world = World()
    world.put("ins", Terms("Name", "SYM", "stock", "USD", issuer_country="US"))
    world.open()
    world.fund("100000.00")
    free = FeeRule(Decimal(0))
    for number, move in enumerate(row["moves"].split()):
        name, (quantity, price) = f"ord{number}", move[1:].split("@")
        quote = Price(Decimal(price), Decimal(price), 1)
        order_request = (
            OrderRequest("buy", Decimal("5000.00"))
            if move[0] == "+"
            else OrderRequest("sell", None, Decimal(quantity))
        )
        assert world.place(name, order_request, price=quote, fee=free) == "ok"
        assert world.start(name, quote) == "ok"
        assert world.trade(name, f"x{number}", price, quantity) == "ok"
        world.end(name)
    average = world.account().holdings.positions["ins"].average_price
    assert ("" if average is None else plain(average)) == row["average"]


HALVES = """
numerator                               | denominator | half up | even | up   | down
1                                       | 200         | 0.01    | 0.00 | 0.01 | 0.00
3                                       | 200         | 0.02    | 0.02 | 0.02 | 0.01
5                                       | 200         | 0.03    | 0.02 | 0.03 | 0.02
1                                       | 3           | 0.33    | 0.33 | 0.34 | 0.33
2                                       | 3           | 0.67    | 0.67 | 0.67 | 0.66
0                                       | 7           | 0.00    | 0.00 | 0.00 | 0.00
2                                       | 50          | 0.04    | 0.04 | 0.04 | 0.04
1.4999999                               | 100         | 0.01    | 0.01 | 0.02 | 0.01
14.999999999999999999999999999999999999 | 1000        | 0.01    | 0.01 | 0.02 | 0.01
0.000000000000000000000000000000000001  | 1000        | 0.00    | 0.00 | 0.01 | 0.00
"""


@pytest.mark.parametrize("row", rows(HALVES), ids=lambda row: f"{row['numerator']}/{row['denominator']}")
def test_halves(row: dict[str, str]) -> None:
    numbers = Decimal(row["numerator"]), Decimal(row["denominator"]), Decimal("0.01")
    modes = {"half up": ROUND_HALF_UP, "up": ROUND_CEILING, "down": ROUND_FLOOR}
    for name, mode in modes.items():
        assert plain(divide_to(*numbers, mode)) == row[name]
    assert plain(divide_half_even(*numbers)) == row["even"]


def test_quantities_and_unit_prices_keep_every_digit() -> None:
    price, par = Decimal("123456789012345.12345678"), Decimal("999999999999999.99")
    unit = unit_price(price, Decimal("0.00000001"), "percent", par)
    assert Fraction(unit) == Fraction(price) * Fraction(par) / 100 + Fraction(1, 10**8)
    assert quantity_for(unit, unit, Decimal("0.00000001")) == 1
