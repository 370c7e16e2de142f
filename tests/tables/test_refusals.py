"""Every refusal code: what brings it about, and the context it comes with.

`situation` names a function below, which tries something that must be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands.tally import Tally
from engine.domain import halt, order_quote, report, rollover, webhook
from engine.domain.addresses import target_of
from engine.domain.fees import FeeRule
from engine.domain.halt import Halt
from engine.domain.idempotency import check_key, check_repeat
from engine.domain.instrument import Terms
from engine.domain.order_quote import OrderQuote, QuoteConsumed
from engine.domain.order_request import OrderRequest
from engine.domain.position import Balance
from engine.domain.pricing import Price
from engine.domain.report import ParkedReport, Report
from engine.domain.trading_limits import Limits
from engine.kernel.errors import Refused
from engine.kernel.refusals import PARAM_FAULTS, REFUSALS
from engine.kernel.values import parse_amount, parse_decimal
from tests.support.engines.rolling import BILL, Rolling
from tests.support.engines.world import TODAY, World
from tests.support.models.table import rows

PRICE = Price(Decimal("99.50"), Decimal("100.00"), 1)
DAY_US = 24 * 3600 * 1_000_000


def world(cash: str = "1000.00", **terms: Any) -> World:
    """An account with cash, and an instrument."""
    made = World()
    words = {"instrument_type": "stock", "trading_currency": "USD", "issuer_country": "US"} | terms
    assert made.put("ins", Terms("Name", "SYM", **words)) == "ok"
    made.open()
    made.fund(cash)
    return made


def buy(made: World, amount: str = "100.00", **words: Any) -> World:
    words = {"price": PRICE} | words
    rollover = words.pop("automatic_rollover", False)
    made.place("ord", OrderRequest("buy", Decimal(amount), automatic_rollover=rollover), **words)
    return made


def sell(made: World, quantity: str = "1.00", **words: Any) -> World:
    made.place("ord", OrderRequest("sell", quantity=Decimal(quantity)), price=PRICE, **words)
    return made


def placed(made: World, order_request: OrderRequest) -> World:
    made.place("ord", order_request, price=PRICE)
    return made


def flagged(**flags: bool) -> World:
    made = world()
    assert made.to_account("change", **flags) == "ok"
    return made


def _minimum(amount: str) -> FeeRule:
    return FeeRule(Decimal("0.005"), Decimal(amount))


def cancel_a_rollover() -> World:
    made = Rolling()
    made.roll()
    made.request_cancel("roll")
    return made


UNROLLED = replace(BILL, supports_automatic_rollover=False)


def chosen(terms: Terms, **changes: Any) -> object:
    """A rollover chosen in the year after the cut-off."""
    held = replace(Rolling(automatic_rollover=False).held(), **changes)
    return rollover.choose(held, terms, wanted=True, business_time_us=2_000_000_000_000_000, at_us=9)


def suspended() -> World:
    made = world()
    made.to_account("suspend")
    return made


def holding() -> World:
    """With ten units, bought and filled."""
    made = buy(world(cash="2000.00"), "1005.03")
    made.start("ord", PRICE)
    made.trade("ord", "x1", "100", "10")
    made.end("ord")
    return made


def cancel_after_the_fill() -> World:
    made = holding()
    made.request_cancel("ord")
    return made


def settle_too_early() -> World:
    made = holding()
    made.settle("ord", "trd_sim/x1", TODAY)
    return made


def sell_eleven() -> World:
    made = holding()
    made.place("two", OrderRequest("sell", quantity=Decimal(11)), price=PRICE)
    return made


def paid(made: World, kind: str, currency: str, amount: str) -> World:
    made.pay(kind, "pay", currency, Decimal(amount))
    return made


def failed_then_completed() -> World:
    made = paid(world(), "deposit", "USD", "5")
    made.fail("pay")
    made.complete("pay")
    return made


def withdraw_unsettled() -> World:
    """Proceeds of a sell can be traded at once and leave after settlement."""
    made = holding()
    made.place("two", OrderRequest("sell", quantity=Decimal(10)), price=PRICE)
    made.start("two", PRICE)
    made.trade("two", "x2", "99.5", "10")
    return paid(made, "withdrawal", "USD", "1500.00")


def closed_currency() -> World:
    made = World()
    made.open("acc", "USD", "EUR")
    made.fund("5", "EUR")
    made.to_account("change", funding_currencies=())
    return made


def cancel_nothing() -> World:
    made = world()
    made.request_cancel("none")
    return made


def ruled(**terms: Any) -> World:
    return world(enforce_trading_rules=True, **terms)


def raising(check: Callable[[], Any]) -> World:
    made = World()
    try:
        check()
    except Refused as refused:
        made.refused = refused
    return made


def twice() -> World:
    """The same order again within ten seconds."""
    limits = Limits(duplicate_window_us=10_000_000)
    made = buy(world(), limits=limits)
    made.place("two", OrderRequest("buy", Decimal("100.00")), price=PRICE, limits=limits)
    return made


def second_of_the_day() -> World:
    limits = Limits(account_day={"USD": Decimal("150.00")})
    made = buy(world(), limits=limits)
    made.place("two", OrderRequest("buy", Decimal("50.01")), price=PRICE, limits=limits)
    return made


def of_the_tenant() -> World:
    made = buy(world())
    tally = Tally({"USD": Decimal("99.99")})
    made.refused = raising(lambda: tally.hold(made.order().terms, "tenant", TODAY)).refused
    return made


def overdrawn(**lacking: Decimal) -> World:
    """Nothing brings it about by itself: a bust does, or a late fill that a person books."""
    made = holding()
    state = made.account()
    units = state.holdings.positions["ins"]
    none = Balance(-lacking.get("ins", Decimal(-1)))
    positions = {"ins": replace(units, units=none)}
    cash = {"USD": Balance(-lacking.get("USD", Decimal(-1000)))}
    holdings = replace(state.holdings, cash=cash, positions=positions)
    made.states["account", "acc"] = replace(state, holdings=holdings)
    return made


def again(made: World, order_request: OrderRequest, price: Price = PRICE, **words: Any) -> World:
    """Another order in a world that has one."""
    made.place("two", order_request, price=price, **words)
    return made


def quoted() -> OrderQuote:
    """A quote of a buy of 100.00 at 100.00, that expires at 30."""
    return OrderQuote(buy(world()).order().terms, "1 money 100 USD", 30)


def using(
    quote: OrderQuote | None,
    *,
    at_us: int = 29,
    is_used: bool = False,
    listing: str = "1 money 100 USD",
    **changes: Any,
) -> World:
    """An order of other terms that names the quote."""
    placed = replace(quoted().terms, order="ord_2", **changes)

    def use() -> QuoteConsumed:
        known = order_quote.check(quote, None, "acc", at_us=at_us)
        return order_quote.consume(known, placed, listing, Decimal("0.01"))

    used = order_quote.evolve(None, use()) if is_used else None
    return raising(use if used is None else lambda: order_quote.check(quote, used, "acc", at_us=at_us))


DUST = Price(Decimal("0.99"), Decimal("1.00"), 1)


def parked(fault: str) -> ParkedReport:
    """A venue's trade that contradicts its order."""
    trade = Report("sim", "x1", "ord", "trade", Decimal(100), Decimal(1))
    state = report.evolve(None, report.ReportParked(trade, fault, 1))
    return report.evolve(state, report.BookingRequested("cli_1", 2)) if fault == "late" else state


MATURING = date(2026, 3, 13)  # trades of TODAY settle on this day
WHOLE = {"trading_increment": Decimal(1), "decimal_precision": 0}

WEBHOOK = webhook.evolve(
    None, webhook.WebhookCreated("whk_1", "acme", "https://a.example.com", b"", None, 1)
)
SITUATIONS: dict[str, Callable[[], World]] = {
    "settled before its day": settle_too_early,
    "amount in words": lambda: raising(lambda: parse_amount("ten", "USD", "cash_amount")),
    "three decimals of a dollar": lambda: buy(world(), "100.001"),
    "quantity too fine": lambda: sell(world(), "1.001"),
    "buy of nothing": lambda: buy(world(), "0"),
    "buy by quantity": lambda: placed(world(), OrderRequest("buy", Decimal(1), Decimal(1))),
    "sell by cash": lambda: placed(world(), OrderRequest("sell", Decimal(1), Decimal(1))),
    "buy by quantity alone": lambda: placed(world(), OrderRequest("buy", None, Decimal(1))),
    "buy without an amount": lambda: placed(world(), OrderRequest("buy")),
    "sell without a quantity": lambda: placed(world(), OrderRequest("sell")),
    "fee eats the amount": lambda: buy(world(), "0.01", fee=_minimum("1.00")),
    "fee is the amount": lambda: buy(world(), "1.00", fee=_minimum("1.00")),
    "under the minimum investment": lambda: buy(
        ruled(minimum_initial_cash_investment=Decimal(500)), "499.99"
    ),
    "off the cash increment": lambda: buy(ruled(required_cash_increment=Decimal(50)), "120.00"),
    "less than one unit": lambda: buy(world(**WHOLE), "100.00"),
    "under the minimum quantity": lambda: buy(ruled(minimum_trading_quantity=Decimal(2))),
    "sell under the minimum": lambda: sell(ruled(minimum_trading_quantity=Decimal(2))),
    "sell of half a step": lambda: sell(world(trading_increment=Decimal("0.50")), "0.75"),
    "sell worth nothing": lambda: again(holding(), OrderRequest("sell", quantity=Decimal("0.01")), DUST),
    "buy under the operator's minimum": lambda: buy(world(), "9.99", minimum_value=Decimal("10.00")),
    "sell under the operator's minimum": lambda: again(
        holding(), OrderRequest("sell", quantity=Decimal("0.10")), minimum_value=Decimal("10.00")
    ),
    "more units than can be booked": lambda: buy(
        world(cash="100000000.00"), "90000000.00", price=replace(PRICE, ask=Decimal("0.00000001"))
    ),
    "more money than can be booked": lambda: sell(world(), "100000000000000"),
    "buy when cash is overdrawn": lambda: again(
        overdrawn(USD=Decimal("12.50")), OrderRequest("buy", Decimal("1.00"))
    ),
    "buy when both are overdrawn": lambda: again(
        overdrawn(USD=Decimal("12.50"), ins=Decimal("0.25")), OrderRequest("buy", Decimal("1.00"))
    ),
    "withdrawal when units are overdrawn": lambda: paid(
        overdrawn(ins=Decimal("0.25")), "withdrawal", "USD", "5"
    ),
    "rollover of a stock": lambda: buy(world(), automatic_rollover=True),
    "price of yesterday": lambda: buy(
        world(),
        price=replace(PRICE, at_us=-DAY_US),
        limits=Limits(price_refuse_age_us=DAY_US - 1),
    ),
    "over the largest order": lambda: buy(world(), limits=Limits({"USD": Decimal("99.99")})),
    "sell over the largest order": lambda: sell(world(), limits=Limits({"USD": Decimal("99.49")})),
    "over the account's day": second_of_the_day,
    "over the tenant's day": of_the_tenant,
    "the same again": twice,
    "unknown instrument": lambda: buy(world(), of="other"),
    "unknown account": lambda: buy(world(), to="other"),
    "cancel of no order": cancel_nothing,
    "not traded": lambda: buy(world(trading_status="not_trading")),
    "closed, not to wait": lambda: buy(world(), closed_until_us=1_773_408_600_000_000),
    "fund at net asset value": lambda: buy(world(instrument_type="mutual_fund")),
    "sell of a buy-only": lambda: sell(world(trading_status="buy_only")),
    "buy of a sell-only": lambda: buy(world(trading_status="sell_only")),
    "order in a foreign currency": lambda: buy(world(trading_currency="EUR")),
    "deposit in a foreign currency": lambda: paid(world(), "deposit", "EUR", "5"),
    "more than the cash": lambda: buy(world(), "1000.01"),
    "more than the units": sell_eleven,
    "units of nothing": lambda: sell(world()),
    "withdrawal of what is unsettled": withdraw_unsettled,
    "never priced": lambda: buy(world(), price=None),
    "settles at maturity": lambda: buy(world(maturity_date=MATURING)),
    "buys flagged off": lambda: buy(flagged(can_place_buy_order=False)),
    "sells flagged off": lambda: sell(flagged(can_place_sell_order=False)),
    "buy when suspended": lambda: buy(suspended()),
    "sell when suspended": lambda: sell(suspended()),
    "deposits flagged off": lambda: paid(flagged(can_deposit=False), "deposit", "USD", "5"),
    "failed deposit completed": failed_then_completed,
    "withdrawals flagged off": lambda: paid(flagged(can_withdraw=False), "withdrawal", "USD", "5"),
    "funding currency with cash given up": closed_currency,
    "key of 256": lambda: raising(lambda: check_key("k" * 256)),
    "key of nothing": lambda: raising(lambda: check_key("")),
    "key with a blank": lambda: raising(lambda: check_key("a b")),
    "key with a line feed": lambda: raising(lambda: check_key("abc\n")),
    "key with an accent": lambda: raising(lambda: check_key("\u00e9t\u00e9")),
    "key of another request": lambda: raising(
        lambda: check_repeat(b"1" * 32, b"2" * 32, first_at_us=0, at_us=DAY_US)
    ),
    "key of two days ago": lambda: raising(
        lambda: check_repeat(b"1" * 32, b"1" * 32, first_at_us=0, at_us=DAY_US + 1)
    ),
    "cancel of a filled order": cancel_after_the_fill,
    "cancel of a rollover": cancel_a_rollover,
    "rollover chosen too late": lambda: raising(lambda: chosen(BILL)),
    "rollover of what has none": lambda: raising(lambda: chosen(UNROLLED)),
    "rollover of a closed position": lambda: raising(lambda: chosen(BILL, closed_at_us=9)),
    "quote of another account": lambda: using(None),
    "quote that has expired": lambda: using(quoted(), at_us=30),
    "quote for less": lambda: using(quoted(), cash_amount=Decimal("99.00"), side="sell"),
    "quote before fees changed": lambda: using(quoted(), fee_rate=Decimal("0.01")),
    "quote before a split": lambda: using(quoted(), listing="1 money 100 USD split 1"),
    "quote used before": lambda: using(quoted(), is_used=True),
    "quote of a price that has risen": lambda: using(quoted(), price=Decimal("101.00000001")),
    "quote of a price that has fallen": lambda: using(quoted(), price=Decimal("98.99")),
    "trading of all halted": lambda: raising(lambda: halt.check(Halt(True, "why", 1), None)),
    "trading of the tenant halted": lambda: raising(
        lambda: halt.check(Halt(False, "why", 1), Halt(True, "why", 1))
    ),
    "halted for no reason": lambda: raising(lambda: halt.halt(None, " ", at_us=1)),
    "resumed for a reason too long": lambda: raising(lambda: halt.resume(None, "x" * 201, at_us=1)),
    "webhook of a URL that has one": lambda: raising(
        lambda: webhook.check_new("https://a.example/", [("whk_1", "https://a.example/")])
    ),
    "one webhook too many": lambda: raising(
        lambda: webhook.check_new("https://a.example/", [("whk_1", "https://b.example/")] * 50)
    ),
    "test of a webhook that is not active": lambda: raising(
        lambda: webhook.check_active(webhook.evolve(WEBHOOK, webhook.WebhookDisabled("gone", 2)))
    ),
    "report booked by its asker": lambda: raising(
        lambda: report.confirm(parked("late"), "cli_1", "trd", may_be_asker=False, at_us=3)
    ),
    "report of an unknown order booked": lambda: raising(
        lambda: report.check_bookable(parked("unknown_order"))
    ),
    "webhook over plain http": lambda: raising(lambda: target_of("http://a.example.com/")),
    "webhook to an address": lambda: raising(lambda: target_of("https://127.1/")),
}


TABLE = """
situation                          |code                            |context
settled before its day             |invalid_request                 |settlement_date=2026-03-13
amount in words                    |invalid_param                   |cash_amount:invalid_decimal places=2
three decimals of a dollar         |invalid_param                   |cash_amount:invalid_decimal places=2
quantity too fine                  |invalid_param                   |quantity:invalid_decimal places=2
buy of nothing                     |invalid_param                   |cash_amount:not_positive
buy by quantity                    |invalid_param                   |quantity:unexpected_param
sell by cash                       |invalid_param                   |cash_amount:unexpected_param
buy by quantity alone              |invalid_param                   |quantity:unexpected_param
buy without an amount              |missing_param                   |cash_amount:missing_param
sell without a quantity            |missing_param                   |quantity:missing_param
fee eats the amount                |invalid_param                   |cash_amount:below_minimum_amount fees=1.00
fee is the amount                  |invalid_param                   |cash_amount:below_minimum_amount fees=1.00
under the minimum investment       |invalid_param                   |cash_amount:below_minimum_amount minimum=500
off the cash increment             |invalid_param                   |cash_amount:off_increment increment=50
less than one unit                 |invalid_param                   |cash_amount:below_minimum_quantity minimum=1 quantity=0
under the minimum quantity         |invalid_param                   |cash_amount:below_minimum_quantity minimum=2 quantity=0.99
sell under the minimum             |invalid_param                   |quantity:below_minimum_quantity minimum=2 quantity=1.00
sell of half a step                |invalid_param                   |quantity:off_increment increment=0.50
sell worth nothing                 |invalid_param                   |quantity:below_minimum_amount value=0.00 currency=USD minimum=0.01
buy under the operator's minimum   |invalid_param                   |cash_amount:below_minimum_amount value=9.99 currency=USD minimum=10.00
sell under the operator's minimum  |invalid_param                   |quantity:below_minimum_amount value=9.95 currency=USD minimum=10.00
more units than can be booked      |invalid_param                   |cash_amount:quantity_too_large value=90000000.00 currency=USD quantity=8955000000000000.00 digits_max=15
more money than can be booked      |invalid_param                   |quantity:quantity_too_large value=9950000000000000.00 currency=USD quantity=100000000000000.00 digits_max=15
buy when cash is overdrawn         |account_overdrawn               |lacking=12.50 USD
buy when both are overdrawn        |account_overdrawn               |lacking=12.50 USD, 0.25 ins
withdrawal when units are overdrawn|account_overdrawn               |lacking=0.25 ins
rollover of a stock                |invalid_param                   |automatic_rollover:not_supported
funding currency with cash given up|invalid_param                   |funding_currencies:not_changeable
price of yesterday                 |price_too_old                   |age_s=86400
over the largest order             |order_too_large                 |currency=USD amount=100.00 limit=99.99
sell over the largest order        |order_too_large                 |currency=USD amount=99.50 limit=99.49
over the account's day             |account_daily_limit             |currency=USD amount=50.01 limit=150.00 available=50.00
over the tenant's day              |tenant_daily_limit              |currency=USD amount=100.00 limit=99.99 available=99.99
the same again                     |duplicate_order                 |order=ord
unknown instrument                 |not_found                       |path=instrument
unknown account                    |not_found                       |path=account
cancel of no order                 |not_found                       |path=order
not traded                         |instrument_not_trading          |instrument_type=stock trading_status=not_trading
closed, not to wait                |instrument_not_trading          |opens=2026-03-13T13:30:00Z
fund at net asset value            |instrument_not_trading          |instrument_type=mutual_fund trading_status=buy_sell
sell of a buy-only                 |instrument_buy_only             |instrument_type=stock trading_status=buy_only
buy of a sell-only                 |instrument_sell_only            |instrument_type=stock trading_status=sell_only
order in a foreign currency        |currency_not_supported          |currency=EUR supported=['USD']
deposit in a foreign currency      |currency_not_supported          |currency=EUR supported=['USD']
more than the cash                 |insufficient_funds              |purpose=order currency=USD required=1000.01 available=1000.00
withdrawal of what is unsettled    |insufficient_funds              |purpose=withdrawal currency=USD required=1500.00 available=994.97
more than the units                |insufficient_units              |instrument=ins required=11.00 available=10.00
units of nothing                   |insufficient_units              |instrument=ins required=1.00 available=0
never priced                       |missing_price                   |
settles at maturity                |instrument_too_close_to_maturity|settlement_date=2026-03-13 maturity_date=2026-03-13
buys flagged off                   |buy_order_forbidden             |status=active can_place_buy_order=False
buy when suspended                 |buy_order_forbidden             |status=suspended can_place_buy_order=True
sells flagged off                  |sell_order_forbidden            |status=active can_place_sell_order=False
sell when suspended                |sell_order_forbidden            |status=suspended can_place_sell_order=True
deposits flagged off               |deposit_forbidden               |status=active can_deposit=False
failed deposit completed           |deposit_forbidden               |status=failed
withdrawals flagged off            |withdrawal_forbidden            |status=active can_withdraw=False
key of 256                         |idempotency_key_too_long        |characters=256 characters_max=255
key of nothing                     |idempotency_key_too_long        |characters=0 characters_max=255
key with a blank                   |idempotency_key_too_long        |place=2 characters_max=255
key with a line feed               |idempotency_key_too_long        |place=4 characters_max=255
key with an accent                 |idempotency_key_too_long        |place=1 characters_max=255
key of another request             |idempotency_key_conflict        |
key of two days ago                |idempotency_key_expired         |
cancel of a filled order           |order_cancel_forbidden          |status=filled
cancel of a rollover               |order_cancel_forbidden          |position=pos_8
rollover chosen too late           |rollover_locked                 |maturity=2026-06-11 cutoff=2026-06-07T04:00:00Z
rollover of what has none          |invalid_param                   |automatic_rollover:not_supported
rollover of a closed position      |invalid_param                   |automatic_rollover:not_changeable
quote of another account           |quote_invalid                   |
quote that has expired             |quote_invalid                   |expired_at=1970-01-01T00:00:00.000030Z
quote for less                     |quote_invalid                   |differs=side, cash_amount
quote before fees changed          |quote_invalid                   |changed=fees
quote before a split               |quote_invalid                   |changed=instrument
quote used before                  |quote_already_consumed          |order=ord_2
quote of a price that has risen    |quote_price_moved               |quoted=100.00 price=101.00000001 tolerance=0.01
quote of a price that has fallen   |quote_price_moved               |quoted=100.00 price=98.99 tolerance=0.01
trading of all halted              |trading_halted                  |halted=engine since=1970-01-01 00:00:00.000001+00:00
trading of the tenant halted       |trading_halted                  |halted=tenant since=1970-01-01 00:00:00.000001+00:00
halted for no reason               |invalid_param                   |reason:invalid_value
resumed for a reason too long      |invalid_param                   |reason:invalid_value
webhook of a URL that has one      |duplicate_webhook               |webhook=whk_1
one webhook too many               |too_many_webhooks               |limit=50
test of a webhook that is not active|webhook_inactive               |status=disabled
report booked by its asker         |same_client                     |
report of an unknown order booked  |report_not_bookable             |fault=we have no such order
webhook over plain http            |invalid_param                   |url:not_https
webhook to an address              |invalid_param                   |url:not_public
"""  # noqa: E501  (a table)
ROWS = rows(TABLE)


def context_of(refused: Refused) -> str:
    """The context in one line: bad values as path:code, the rest as name=value."""
    context = dict(refused.context)
    words = [f"{param['path']}:{param['code']}" for param in context.pop("params", ())]
    return " ".join([*words, *(f"{name}={value}" for name, value in context.items())])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["situation"])
def test_refusal(row: dict[str, str]) -> None:
    made = SITUATIONS[row["situation"]]()
    assert made.refused is not None
    assert (made.refused.code, context_of(made.refused)) == (row["code"], row["context"])
    assert is_sentence(made.refused.detail)


def is_sentence(text: str) -> bool:
    """A name in backticks or a capital first, a full stop last, and no word left to fill in."""
    return (text[0].isupper() or text[0] == "`") and text.endswith(".") and "{" not in text


@pytest.mark.parametrize(
    ("key", "detail"),
    [
        ("", "`Idempotency-Key` has 0 characters; it is 1 to 255 long."),
        ("k" * 256, "`Idempotency-Key` has 256 characters; it is 1 to 255 long."),
        (
            "a b",
            "Character 2 of `Idempotency-Key` is not visible ASCII: use no blanks, no accents.",
        ),
    ],
)
def test_a_key_is_told_what_is_wrong_with_it(key: str, detail: str) -> None:
    """Its code is one for all."""
    with pytest.raises(Refused) as caught:
        check_key(key)
    assert caught.value.detail == detail


def test_every_code_has_a_row() -> None:
    """All but one, which takes a database: tests/contract/test_quotes.py."""
    assert {row["code"] for row in ROWS} == set(REFUSALS) - {"price_changed"}


def test_every_situation_has_a_row() -> None:
    assert sorted(row["situation"] for row in ROWS) == sorted(SITUATIONS)


def test_a_refusal_leaves_no_fact() -> None:
    made = world()
    before = len(made.facts)
    buy(made, "1000.01")
    assert made.refused is not None
    assert len(made.facts) == before


def test_details_of_single_values_say_their_codes() -> None:
    for code in PARAM_FAULTS:
        assert PARAM_FAULTS[code]
    with pytest.raises(Refused, match=r"^`quantity` must be a plain decimal with at most 6 decimals\.$"):
        parse_decimal("1e3", 6, "quantity")
