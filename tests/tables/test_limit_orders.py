"""Limit orders: what is accepted, what is sent, which trades are booked, and how their time ends.

The figures are counted by hand: 0.5 % of 1000.00 is 5.00, so 995.00 buys 10.1530 units at 98, which are
10.15 in steps of 0.01.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order import ExecutionStarted, ExpiryRequested
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.trading_limits import Limits, worth_of
from engine.kernel.limits import EXPIRY_REQUESTS_MAX
from tests.support.engines.world import VENUE, World
from tests.support.models.table import rows

TERMS = Terms("Fund", "FND", "etf", "USD", issuer_country="US", enforce_trading_rules=True)
ENDS_US = 5_000_000
NOW = Price(Decimal("99.00"), Decimal("100.00"), 1)


def limited(side: str, amount: str, limit: str | None, **words: Any) -> OrderRequest:
    which = {"cash_amount": Decimal(amount)} if side == "buy" else {"quantity": Decimal(amount)}
    price = None if limit is None else Decimal(limit)
    return OrderRequest(side, **which, **{"order_type": "limit", "limit_price": price, **words})  # type: ignore[arg-type]


def world(**terms: Any) -> World:
    """An account with 5000.00 and 20 units that cost 100 each."""
    made = World()
    made.put("ins", TERMS)
    made.open()
    made.fund("7010.00")
    made.place("held", OrderRequest("buy", Decimal("2010.00")), price=NOW, fee=FeeRule(Decimal(0)))
    made.start("held", NOW)
    made.trade("held", "h1", "100", "20")
    made.end("held")
    if terms:
        assert made.put("ins", replace(TERMS, **terms)) == "ok"
    return made


def placed(side: str, amount: str, limit: str, price: Price | None = None, **words: Any) -> World:
    made = world()
    asked = limited(side, amount, limit, **words)
    assert made.place("ord", asked, price=price, session_ends_us=ENDS_US) == "ok", made.refused
    return made


# --- placing --------------------------------------------------------------------------------------

PLACED = rows("""
side|amount |limit       |quantity|net    |reserved
buy |1000.00|98          |10.15   |995.00 |1000.00
buy |1000.00|99.5        |10.00   |995.00 |1000.00
buy |1000.00|99.50000001 |9.99    |995.00 |1000.00
buy |1000.00|0.00000001  |99500000000.00|995.00|1000.00
buy |1000.00|995         |1.00    |995.00 |1000.00
sell|5      |101.5       |5       |       |5
sell|20     |0.00000001  |20      |       |20
""")


@pytest.mark.parametrize(
    "row", PLACED, ids=lambda row: f"{row['side']} {row['amount']} at {row['limit']}"
)
@pytest.mark.parametrize("price", [None, NOW], ids=["unpriced", "priced"])
def test_what_a_limit_order_reserves_follows_from_its_limit_alone(
    row: dict[str, str], price: Price | None
) -> None:
    made = world()
    answer = made.place("ord", limited(row["side"], row["amount"], row["limit"]), price=price)
    order = made.order()
    assert answer == "ok", made.refused
    assert order.terms.quantity == Decimal(row["quantity"])
    assert order.terms.price == order.terms.limit_price == Decimal(row["limit"])
    assert order.terms.net_cash_amount == (Decimal(row["net"]) if row["net"] else None)
    assert order.reserved == Decimal(row["reserved"])


REFUSED = rows("""
side|amount |limit      |words                     |terms                        |code                   |at
buy |1000.00|           |                          |                             |missing_param          |limit_price missing_param
buy |1000.00|0          |                          |                             |invalid_param          |limit_price not_positive
buy |1000.00|1.000000001|                          |                             |invalid_param          |limit_price invalid_decimal
buy |1000.00|98         |order_type=market         |                             |invalid_param          |limit_price unexpected_param
buy |1000.00|           |order_type=market time_in_force=day|                    |invalid_param          |time_in_force unexpected_param
sell|5      |           |order_type=market time_in_force=gtc|                    |invalid_param          |time_in_force unexpected_param
buy |1000.00|98         |                          |instrument_type=bond         |invalid_param          |order_type not_supported
sell|5      |98         |                          |instrument_type=bill         |invalid_param          |order_type not_supported
buy |1000.00|98         |                          |trading_status=not_trading   |instrument_not_trading |
sell|5      |98         |                          |trading_status=buy_only      |instrument_buy_only    |
buy |1000.00|996        |                          |trading_increment=1          |below_minimum_quantity |cash_amount below_minimum_quantity
buy |1000.00|98         |                          |minimum_trading_quantity=11  |below_minimum_quantity |cash_amount below_minimum_quantity
sell|5.5    |98         |                          |trading_increment=1          |invalid_param          |quantity off_increment
buy |6000.00|98         |                          |                             |insufficient_funds     |
sell|21     |98         |                          |                             |insufficient_units     |
sell|0.01   |0.4        |                          |                             |below_minimum_amount   |quantity below_minimum_amount
""")  # noqa: E501  a table


def _terms(words: str) -> dict[str, Any]:
    given = dict(word.split("=") for word in words.split())
    return {name: Decimal(value) if value.isdigit() else value for name, value in given.items()}


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row['at'] or row['code']} {row['terms']}")
def test_what_is_refused(row: dict[str, str]) -> None:
    made = world(**_terms(row["terms"]))
    words = dict(word.split("=") for word in row["words"].split())
    answer = made.place(
        "ord", limited(row["side"], row["amount"], row["limit"] or None, **words), price=NOW
    )
    assert answer == row["code"]
    assert made.refused is not None
    params = made.refused.context.get("params", ())
    assert [f"{one['path']} {one['code']}" for one in params] == ([row["at"]] if row["at"] else [])
    assert made.order() is None


def test_a_day_order_ends_with_its_session_and_one_good_till_cancelled_does_not() -> None:
    for given, shown, ends_us in ((None, "day", ENDS_US), ("day", "day", ENDS_US), ("gtc", "gtc", None)):
        terms = placed("buy", "1000.00", "98", time_in_force=given).order().terms
        assert (terms.time_in_force, terms.expires_at_us) == (shown, ends_us)
    made = world()
    made.place("ord", OrderRequest("buy", Decimal(10)), price=NOW, session_ends_us=ENDS_US)
    terms = made.order().terms
    assert (terms.order_type, terms.time_in_force, terms.expires_at_us) == ("market", None, None)


def test_the_age_of_a_price_is_no_matter() -> None:
    made = world()
    made.now_us = 10_000_000
    limits = Limits(price_refuse_age_us=1)
    old = replace(NOW, at_us=1)
    assert made.place("a", OrderRequest("buy", Decimal(10)), price=old, limits=limits) == "price_too_old"
    assert made.place("b", limited("buy", "10", "98"), price=old, limits=limits) == "ok"


# --- sending --------------------------------------------------------------------------------------

SENT = rows("""
venue    |price     |open  |expired|then                  |at
simulated|99/100    |yes   |no     |executing             |100
simulated|none      |yes   |no     |pending price_too_old |
simulated|99/100    |no    |no     |pending market_closed |
simulated|99/100    |yes   |yes    |cancelled expired     |
other    |99/100    |yes   |no     |executing             |100
other    |none      |yes   |no     |executing             |98
other    |99/0      |yes   |no     |executing             |98
other    |none      |no    |no     |pending market_closed |
other    |none      |no    |yes    |cancelled expired     |
""")


@pytest.mark.parametrize("row", SENT, ids=lambda row: f"{row['venue']} {row['price']} {row['then']}")
def test_what_comes_of_it_at_sending(row: dict[str, str]) -> None:
    made = placed("buy", "1000.00", "98")
    price = None
    if row["price"] != "none":
        bid, ask = row["price"].split("/")
        price = Price(Decimal(bid), Decimal(ask), 2)
    made.start(
        "ord",
        price,
        is_open=row["open"] == "yes",
        needs_price=row["venue"] == "simulated",
        is_expired=row["expired"] == "yes",
    )
    order = made.order()
    reason = order.cancelled_reason or (order.pending_reason if order.status == "pending" else "")
    assert f"{order.status} {reason}".strip() == row["then"]
    if order.status == "executing":
        started = made.facts[-1][2]
        assert isinstance(started, ExecutionStarted)
        assert (started.quantity, started.price) == (Decimal("10.15"), Decimal(row["at"]))


@pytest.mark.parametrize(
    ("change", "then"),
    [
        ({"trading_increment": Decimal("0.02")}, "trading_rules"),  # 10.15 is no whole number of steps
        ({"trading_increment": Decimal("0.05")}, None),
        ({"minimum_trading_quantity": Decimal(11)}, "below_minimum_quantity"),
        ({"instrument_type": "bond"}, None),
        ({"trading_status": "sell_only"}, "instrument_not_trading"),
        ({"price_type": "percent"}, "trading_rules"),
    ],
    ids=str,
)
def test_it_is_checked_again_at_its_limit_with_the_units_that_were_fixed(
    change: dict[str, Any], then: str | None
) -> None:
    made = placed("buy", "1000.00", "98")
    assert made.put("ins", replace(TERMS, **change)) == "ok"
    made.start("ord", Price(Decimal(1), Decimal(9_999_999), 2))  # a market that is far away
    assert made.order().cancelled_reason == then
    assert made.order().status == ("cancelled" if then else "executing")


@pytest.mark.parametrize(
    ("side", "amount", "limit", "price", "bid", "worth"),
    [
        ("sell", "5", "0.01", Price(Decimal(98), Decimal(99), 1), "98", "490.00"),
        ("sell", "5", "100", Price(Decimal(98), Decimal(99), 1), None, "500.00"),
        ("sell", "5", "98", Price(Decimal(98), Decimal(99), 1), None, "490.00"),
        ("sell", "5", "0.01", None, None, "0.05"),
        ("buy", "1000.00", "0.01", Price(Decimal(98), Decimal(99), 1), None, "1000.00"),
    ],
)
def test_a_sell_counts_at_the_bid_however_low_its_limit(
    side: str, amount: str, limit: str, price: Price | None, bid: str | None, worth: str
) -> None:
    """A limit of 0.01 sold any number of units beneath every limit of value."""
    terms = placed(side, amount, limit, price).order().terms
    assert (terms.bid, terms.price) == (None if bid is None else Decimal(bid), Decimal(limit))
    assert worth_of(terms) == Decimal(worth)


# --- trades ---------------------------------------------------------------------------------------

TRADED = rows("""
side|price |interest|quantity|then
buy |98    |0       |10.15   |traded
buy |97.5  |0       |10.15   |traded
buy |97.5  |0.5     |10.15   |traded
buy |0.01  |0       |10.15   |traded
buy |98.01 |0       |1       |worse_than_limit
buy |98    |0.01    |1       |worse_than_limit
buy |98.01 |-1      |1       |worse_than_limit
buy |98    |0       |10.16   |too_much
sell|98    |0       |5       |traded
sell|98    |1       |5       |traded
sell|200   |0       |5       |traded
sell|97.99 |0       |1       |worse_than_limit
sell|98    |-0.01   |1       |worse_than_limit
sell|97.99 |1       |1       |worse_than_limit
""")


@pytest.mark.parametrize("row", TRADED, ids=lambda row: " ".join(row.values()))
def test_a_trade_worse_than_the_limit_is_parked(row: dict[str, str]) -> None:
    made = placed(row["side"], {"buy": "1000.00", "sell": "5"}[row["side"]], "98")
    made.start("ord", NOW)
    answer = made.trade("ord", "t1", row["price"], row["quantity"], row["interest"])
    if row["then"] == "traded":
        assert answer == "ok"
        return
    assert answer == "parked"
    assert made.states["parked", f"{VENUE}/t1"].fault == row["then"]
    assert not made.order().trades


def test_what_is_left_of_a_buy_returns_at_its_end() -> None:
    made = placed("buy", "1000.00", "98")
    made.start("ord", NOW)
    made.trade("ord", "t1", "97", "10.15")  # 984.55, and 0.5 % of 1000.00 x 984.55 / 995.00 = 4.95
    made.end("ord")
    cash = made.account().holdings.cash["USD"]
    assert (made.order().traded_notional, made.order().fees) == (Decimal("984.55"), Decimal("4.95"))
    assert (cash.total, cash.reserved) == (Decimal("5010.00") - Decimal("989.50"), Decimal("0.00"))


# --- the end of its time --------------------------------------------------------------------------


def said(kind: Any, reference: str = "r1") -> Report:
    return Report(VENUE, reference, "ord", kind)


@pytest.mark.parametrize("state", ["placed", "pending"])
def test_an_order_that_waits_expires_at_once(state: str) -> None:
    made = placed("buy", "1000.00", "98")
    if state == "pending":
        made.pending("ord")
    assert made.expire("ord") == "ok"
    assert (made.order().status, made.order().cancelled_reason) == ("cancelled", "expired")
    assert not made.account().holdings.cash["USD"].reserved
    assert made.expire("ord") == "nothing"


RACED = rows("""
happens                                 |status   |reason
expire cancelled                        |cancelled|expired
expire expire cancelled                 |cancelled|expired
expire trade cancelled                  |filled   |
expire trade ended                      |filled   |
expire ended                            |cancelled|unfilled
expire rejected ended                   |cancelled|unfilled
expire rejected cancelled               |cancelled|unfilled
expire rejected expire cancelled        |cancelled|expired
trade expire cancelled                  |filled   |
cancel expire cancelled                 |cancelled|requested
expire cancel cancelled                 |cancelled|requested
cancel rejected expire cancelled        |cancelled|expired
expire trade ended rejected             |filled   |
expire cancelled rejected               |cancelled|expired
expire                                  |executing|
""")


@pytest.mark.parametrize("row", RACED, ids=lambda row: row["happens"])
def test_its_venue_is_asked_and_a_fill_may_win(row: dict[str, str]) -> None:
    made = placed("buy", "1000.00", "98")
    made.start("ord", NOW)
    kinds = {"cancelled": "cancelled", "ended": "ended", "rejected": "cancel_rejected"}
    for at, word in enumerate(row["happens"].split()):
        if word == "expire":
            made.expire("ord")
        elif word == "cancel":
            made.request_cancel("ord")
        elif word == "trade":
            made.trade("ord", f"t{at}", "98", "1")
        else:
            made.report(said(kinds[word], f"r{at}"))
    assert (made.order().status, made.order().cancelled_reason) == (row["status"], row["reason"] or None)
    is_open = row["status"] == "executing"
    assert made.order().is_expiring is is_open
    assert bool(made.account().holdings.cash["USD"].reserved) is is_open


def test_a_venue_that_refuses_is_asked_a_few_times() -> None:
    made = placed("buy", "1000.00", "98")
    made.start("ord", NOW)
    for at in range(EXPIRY_REQUESTS_MAX):
        assert made.expire("ord") == "ok"
        assert made.expire("ord") == "nothing"
        assert made.report(said("cancel_rejected", f"r{at}")) == "ok"
    assert made.expire("ord") == "nothing"
    asked = [fact for _, _, fact in made.facts if isinstance(fact, ExpiryRequested)]
    assert len(asked) == EXPIRY_REQUESTS_MAX
    assert made.order().status == "executing"
