"""The integer model is right where the contract prints numbers, and its check finds what is broken.

Money is written 100_00 for 100.00, quantities 99 for 0.99, prices 100 * P for 100.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.models.model import Model
from tests.support.models.values import (
    NOTHING,
    OK,
    PARKED,
    Currency,
    FeeRule,
    Instrument,
    TradingRules,
    round_half_even,
    round_half_up,
)

P = 10**8
USD, JPY, KWD = Currency("USD", 2), Currency("JPY", 0), Currency("KWD", 3)
HALF_PERCENT, FREE = FeeRule(), FeeRule(numerator=0)
STOCK = Instrument("ins", USD)


def opened(cash: int = 1000_00, instrument: Instrument = STOCK) -> Model:
    model = Model()
    model.put_instrument(instrument)
    model.open_account("acc", instrument.currency)
    if cash:
        model.create_payment("dep", "deposit", "acc", instrument.currency.code, cash)
        model.end_payment("dep", "completed")
    return model


def buy(
    model: Model, order: str, cash_amount: int, price: int = 100 * P, rule: FeeRule = HALF_PERCENT
) -> str:
    return model.place_buy(order, "acc", "ins", cash_amount=cash_amount, price=price, rule=rule)


def sell(model: Model, order: str, quantity: int, rule: FeeRule = HALF_PERCENT) -> str:
    return model.place_sell(order, "acc", "ins", quantity=quantity, price=100 * P, rule=rule)


def trade(
    model: Model,
    order: str,
    quantity: int,
    price: int = 100 * P,
    reference: str = "",
    accrued: int = 0,
    *,
    is_ex: bool | None = None,
) -> str:
    """The first trade of an order carries the order's own name, unless told."""
    return model.record_trade(
        order,
        venue="v",
        execution_reference=reference or order,
        price=price,
        quantity=quantity,
        accrued=accrued,
        is_ex=is_ex,
    )


def executing_buy(model: Model, order: str, cash_amount: int, rule: FeeRule = HALF_PERCENT) -> None:
    assert buy(model, order, cash_amount, rule=rule) == OK
    assert model.start_execution(order) == OK


def bought(model: Model, order: str, cash_amount: int, quantity: int, rule: FeeRule = FREE) -> None:
    executing_buy(model, order, cash_amount, rule)
    assert trade(model, order, quantity) == OK
    assert model.fill(order) == OK


def settled(model: Model, order: str) -> None:
    for done in model.orders[order].trades:
        assert model.settle_trade(order, done.venue, done.execution_reference) == OK
    assert model.settle_order(order) == OK


def cash(model: Model) -> tuple[int, ...]:
    """total, reserved, available for trading, available for withdrawal"""
    model.check()
    names = ("total", "reserved", "available_for_trading", "available_for_withdrawal")
    return tuple(model.balance("acc", model.instruments["ins"].currency.code)[name] for name in names)


def units(model: Model, number: int = 1) -> tuple[Any, ...]:
    """total, settled, unsettled, status"""
    shown = model.position("acc", "ins", number)
    return tuple(shown[name] for name in ("total", "settled", "unsettled", "status"))


def sums(model: Model, order: str) -> tuple[Any, ...]:
    """fees, net_cash_amount, traded_notional"""
    shown = model.orders[order].view()
    return tuple(shown[name] for name in ("fees", "net_cash_amount", "traded_notional"))


class TestWorkedTable:
    """Start 1000.00, price 100, increment 0.01; buy 100.00."""

    def test_buy_filled_and_settled(self) -> None:
        model = opened()
        assert buy(model, "o", 100_00) == OK
        assert cash(model) == (1000_00, 100_00, 900_00, 900_00)
        assert sums(model, "o") == (50, 99_50, 0)
        assert model.state()["positions"] == {}
        model.start_execution("o", price=100 * P)
        assert model.orders["o"].ordered == 99
        trade(model, "o", 99)
        model.fill("o")
        assert cash(model) == (900_50, 0, 900_50, 900_50)
        assert units(model) == (99, 0, 99, "open")
        assert sums(model, "o") == (50, 99_50, 99_00)
        settled(model, "o")
        assert cash(model) == (900_50, 0, 900_50, 900_50)
        assert units(model) == (99, 99, 0, "open")
        assert model.orders["o"].status == "settled"
        rows = [(row["transaction_type"], row["cash_amount"]) for row in model.ledger]
        assert rows == [("deposit", 1000_00), ("buy", -99_00), ("fee", -50)]

    def test_buy_in_part(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        trade(model, "o", 39)
        assert cash(model) == (960_80, 60_80, 900_00, 900_00)
        assert units(model) == (39, 0, 39, "open")
        assert sums(model, "o") == (20, 99_50, 39_00)
        model.fill("o")
        assert cash(model) == (960_80, 0, 960_80, 960_80)
        assert units(model) == (39, 0, 39, "open")

    def test_buy_cancelled(self) -> None:
        model = opened()
        buy(model, "o", 100_00)
        assert model.request_cancel("o") == OK
        assert cash(model) == (1000_00, 0, 1000_00, 1000_00)
        assert sums(model, "o") == (0, 99_50, 0)
        assert model.state()["positions"] == {}
        assert model.orders["o"].cancelled_reason == "requested"

    def test_sell_all_with_no_cash(self) -> None:
        model = opened()
        bought(model, "b", 1000_00, 10_00)
        settled(model, "b")
        assert cash(model) == (0, 0, 0, 0)
        sell(model, "o", 10_00)
        assert model.position("acc", "ins", 1)["available_for_trading"] == 0
        assert sums(model, "o") == (0, None, 0)
        model.start_execution("o")
        trade(model, "o", 10_00)
        model.fill("o")
        assert cash(model) == (995_00, 0, 995_00, 0)
        assert units(model) == (0, 0, 0, "closing")
        assert sums(model, "o") == (5_00, 995_00, 1000_00)
        settled(model, "o")
        assert cash(model) == (995_00, 0, 995_00, 995_00)
        assert units(model) == (0, 0, 0, "closed")


@pytest.mark.parametrize(
    ("numerator", "denominator", "up", "even"),
    [(0, 3, 0, 0), (1, 2, 1, 0), (3, 2, 2, 2), (5, 2, 3, 2), (49, 100, 0, 0), (251, 100, 3, 3)],
)
def test_rounding(numerator: int, denominator: int, up: int, even: int) -> None:
    assert round_half_up(numerator, denominator) == up
    assert round_half_even(numerator, denominator) == even


@pytest.mark.parametrize(
    ("instrument", "net", "price", "accrued", "quantity", "notional"),
    [
        (STOCK, 99_50, 100 * P, 0, 99, 99_00),
        (Instrument("i", USD, trading_increment=10), 99_50, 100 * P, 0, 90, 90_00),
        (Instrument("i", USD, 0, 1, "percent", 1000 * P), 2000_00, 98 * P, 0, 2, 1960_00),
        (Instrument("i", USD, 0, 1, "percent", 1000 * P), 1999_99, 98 * P, 20 * P, 1, 1000_00),
        (Instrument("i", USD, 3), 10_00, 3 * P - 1, 0, 3_333, 10_00),
        (Instrument("i", USD, 3), 10_00, 3 * P, 0, 3_333, 10_00),
        (Instrument("i", JPY), 995, 7 * P, 0, 142_14, 995),
        (Instrument("i", KWD), 99_500, 100 * P, 0, 99, 99_000),
        (STOCK, 1, 1 * P + 1, 0, 0, 0),
    ],
)
def test_quantity_is_rounded_down_and_its_notional_up(
    instrument: Instrument, net: int, price: int, accrued: int, quantity: int, notional: int
) -> None:
    unit_price = instrument.unit_price(price, accrued)
    assert instrument.quantity_for(net, unit_price) == quantity
    assert instrument.notional(quantity * unit_price, "up") == notional


def test_several_trades_round_the_sum_not_the_parts() -> None:
    model = opened()
    executing_buy(model, "o", 10_00, FREE)
    for reference in ("1", "2", "3"):
        trade(model, "o", 1, 50 * P // 100, reference)  # 0.01 units at 0.50: half a minor unit each
    assert [done.notional for done in model.orders["o"].trades] == [1, 0, 1]
    assert cash(model) == (999_98, 9_98, 990_00, 990_00)


def test_fees_are_cumulative_and_meet_the_quote() -> None:
    model = opened()
    executing_buy(model, "o", 100_00, FeeRule(minimum=30))
    for reference, quantity in (("1", 39), ("2", 30), ("3", 30)):
        trade(model, "o", quantity, reference=reference)
    assert [done.fee for done in model.orders["o"].trades] == [30, 5, 15]  # 0.20 -> 0.30, 0.35, 0.50
    assert sums(model, "o") == (50, 99_50, 99_00)


def test_minimum_fee_of_a_sell_is_capped_by_its_proceeds() -> None:
    model = opened()
    bought(model, "b", 1000_00, 10_00)
    sell(model, "o", 10_00, FeeRule(minimum=5_00))
    model.start_execution("o")
    trade(model, "o", 3, reference="1")
    assert sums(model, "o") == (3_00, 0, 3_00)
    trade(model, "o", 4, reference="2")
    assert sums(model, "o") == (5_00, 2_00, 7_00)
    assert model.balance("acc", "USD")["unsettled"] == 2_00
    assert units(model)[0] == 9_93
    model.fill("o")
    assert model.position("acc", "ins", 1)["available_for_trading"] == 9_93
    model.check()


class TestVenueReports:
    def test_dearer_than_the_money_is_parked_and_up_to_it_is_not(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        assert trade(model, "o", 1_00, 99_51 * P // 100, "dear") == PARKED
        assert cash(model) == (1000_00, 100_00, 900_00, 900_00)
        assert trade(model, "o", 1_00, 99_50 * P // 100, "fits") == OK
        assert cash(model) == (900_00, 0, 900_00, 900_00)
        assert model.state()["parked"] == [("v", "dear")]

    def test_more_than_ordered_is_parked(self) -> None:
        model = opened()
        buy(model, "o", 100_00)
        model.start_execution("o", price=100 * P)
        assert trade(model, "o", 1_00, 50 * P) == PARKED
        bought(model, "b", 100_00, 1_00)
        sell(model, "s", 1_00)
        model.start_execution("s")
        assert trade(model, "s", 1_01, reference="s1") == PARKED
        assert trade(model, "s", 60, reference="s2") == OK
        assert trade(model, "s", 41, reference="s3") == PARKED
        model.check()

    def test_twice_changes_nothing(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        assert trade(model, "o", 39) == OK
        before = model.state()
        assert trade(model, "o", 39) == NOTHING
        assert trade(model, "o", 50) == NOTHING
        assert model.state() == before

    def test_unknown_early_and_late_are_parked(self) -> None:
        model = opened()
        assert trade(model, "nobody", 1, reference="0") == PARKED
        assert model.fill("nobody") == PARKED
        buy(model, "o", 100_00)
        assert trade(model, "o", 1, reference="1") == PARKED
        assert model.fill("o") == PARKED
        model.request_cancel("o")
        assert trade(model, "o", 1, reference="2") == PARKED
        bought(model, "b", 100_00, 50)
        assert trade(model, "b", 1, reference="3") == PARKED
        settled(model, "b")
        assert trade(model, "b", 1, reference="4") == PARKED
        assert trade(model, "b", 1, reference="4") == NOTHING
        model.check()

    def test_over_without_a_trade_is_cancelled(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        assert model.fill("o") == OK
        assert model.orders["o"].cancelled_reason == "unfilled"
        assert model.fill("o") == NOTHING
        assert cash(model) == (1000_00, 0, 1000_00, 1000_00)

    def test_zero_at_execution_is_cancelled(self) -> None:
        model = opened()
        buy(model, "o", 2_00)
        assert model.start_execution("o", price=200 * P) == OK
        assert model.orders["o"].cancelled_reason == "below_minimum_quantity"
        assert cash(model) == (1000_00, 0, 1000_00, 1000_00)


class TestCancel:
    def test_with_the_venue_it_takes_the_venues_word(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        assert model.request_cancel("o") == OK
        assert model.request_cancel("o") == NOTHING
        assert cash(model)[1] == 100_00
        assert model.reject_cancel("o") == OK
        assert model.reject_cancel("o") == NOTHING
        assert model.request_cancel("o") == OK
        assert model.confirm_cancel("o") == OK
        assert model.confirm_cancel("o") == NOTHING
        assert (model.orders["o"].status, cash(model)[1]) == ("cancelled", 0)
        assert not model.orders["o"].view()["cancel_requested"]
        assert model.request_cancel("o") == NOTHING

    def test_of_its_own_the_venue_leaves_it_unfilled(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        assert model.confirm_cancel("o") == OK
        assert model.orders["o"].cancelled_reason == "unfilled"

    def test_confirmed_after_a_trade_it_is_filled(self) -> None:
        model = opened()
        executing_buy(model, "o", 100_00)
        model.request_cancel("o")
        assert trade(model, "o", 39) == OK
        assert model.confirm_cancel("o") == OK
        assert model.orders["o"].status == "filled"
        assert cash(model) == (960_80, 0, 960_80, 960_80)
        assert model.request_cancel("o") == "order_cancel_forbidden"
        assert model.request_cancel("nobody") == "not_found"


class TestRefusals:
    @pytest.mark.parametrize(
        ("cash_amount", "price", "rule", "code"),
        [
            (0, 100 * P, HALF_PERCENT, "invalid_param"),
            (100_00, None, HALF_PERCENT, "missing_price"),
            (5_00, 100 * P, FeeRule(minimum=5_00), "below_minimum_amount"),
            (1_00, 100 * P, HALF_PERCENT, "below_minimum_quantity"),
            (1000_01, 100 * P, HALF_PERCENT, "insufficient_funds"),
        ],
    )
    def test_buy(self, cash_amount: int, price: int | None, rule: FeeRule, code: str) -> None:
        model = opened()
        before = model.state()
        outcome = model.place_buy("o", "acc", "ins", cash_amount=cash_amount, price=price, rule=rule)
        assert (outcome, model.faults) == (code, [code])
        assert model.state() == before

    @pytest.mark.parametrize(
        ("status", "of_buy", "of_sell"),
        [
            ("buy_sell", OK, "insufficient_units"),
            ("buy_only", OK, "instrument_buy_only"),
            ("sell_only", "instrument_sell_only", "insufficient_units"),
            ("not_trading", "instrument_not_trading", "instrument_not_trading"),
        ],
    )
    def test_trading_status(self, status: str, of_buy: str, of_sell: str) -> None:
        model = opened(instrument=Instrument("ins", USD, trading_status=status))
        assert buy(model, "b", 100_00) == of_buy
        assert sell(model, "s", 1) == of_sell

    def test_flags_and_suspension(self) -> None:
        model = opened()
        attempts: dict[str, tuple[str, Callable[[], str]]] = {
            "can_place_buy_order": ("buy_order_forbidden", lambda: buy(model, "b", 100_00)),
            "can_place_sell_order": ("sell_order_forbidden", lambda: sell(model, "s", 1)),
            "can_deposit": (
                "deposit_forbidden",
                lambda: model.create_payment("d", "deposit", "acc", "USD", 1),
            ),
            "can_withdraw": (
                "withdrawal_forbidden",
                lambda: model.create_payment("w", "withdrawal", "acc", "USD", 1),
            ),
        }
        for flag, (code, attempt) in attempts.items():
            assert model.change_account("acc", **{flag: False}) == OK
            assert attempt() == code
            assert model.change_account("acc", **{flag: True}) == OK
        assert model.change_account("acc", status="suspended") == OK
        assert model.change_account("acc", status="suspended") == NOTHING
        assert [attempt() for _, attempt in attempts.values()] == [code for code, _ in attempts.values()]
        assert model.change_account("acc", status="active") == OK
        assert buy(model, "b", 100_00) == OK
        assert buy(model, "b", 100_00) == NOTHING

    def test_unknown_things_and_currencies(self) -> None:
        model = opened()
        model.put_instrument(Instrument("yen", JPY))
        assert model.create_payment("d", "deposit", "acc", "JPY", 1) == "currency_not_supported"
        arguments: dict[str, Any] = {"cash_amount": 100, "price": P, "rule": FREE}
        assert model.place_buy("o", "acc", "yen", **arguments) == "currency_not_supported"
        assert model.place_buy("o", "acc", "none", **arguments) == "not_found"
        assert model.place_buy("o", "none", "ins", **arguments) == "not_found"
        assert model.end_payment("none", "completed") == "not_found"


def test_withdrawal_takes_neither_reserved_nor_unsettled_cash() -> None:
    model = opened()
    bought(model, "b", 100_00, 1_00)
    sell(model, "s", 1_00, FREE)
    model.start_execution("s")
    trade(model, "s", 1_00)
    model.fill("s")
    buy(model, "o", 200_00)
    assert cash(model) == (1000_00, 200_00, 800_00, 700_00)
    assert model.create_payment("w", "withdrawal", "acc", "USD", 700_01) == "insufficient_funds"
    assert model.create_payment("w", "withdrawal", "acc", "USD", 700_00) == OK
    assert cash(model) == (1000_00, 900_00, 100_00, 0)
    assert model.end_payment("w", "failed") == OK
    assert model.end_payment("w", "failed") == NOTHING
    assert model.end_payment("w", "completed") == "withdrawal_forbidden"
    assert cash(model) == (1000_00, 200_00, 800_00, 700_00)
    model.create_payment("w2", "withdrawal", "acc", "USD", 700_00)
    model.end_payment("w2", "completed")
    assert cash(model) == (300_00, 200_00, 100_00, 0)


def test_unsettled_cash_may_buy_but_never_makes_withdrawable_cash_negative() -> None:
    model = opened()
    bought(model, "b", 1000_00, 10_00)
    sell(model, "s", 10_00, FREE)
    model.start_execution("s")
    trade(model, "s", 10_00)
    model.fill("s")
    buy(model, "o", 600_00)
    assert cash(model) == (1000_00, 600_00, 400_00, 0)


def test_each_trade_settles_once_and_its_order_after_the_end() -> None:
    model = opened()
    executing_buy(model, "o", 100_00)
    trade(model, "o", 30, reference="1")
    trade(model, "o", 30, reference="2")
    assert model.settle_trade("o", "v", "1") == OK
    assert model.settle_trade("o", "v", "1") == NOTHING
    assert model.settle_order("o") == NOTHING
    model.fill("o")
    assert units(model) == (60, 30, 30, "open")
    assert model.settle_order("o") == NOTHING
    assert model.settle_trade("o", "v", "2") == OK
    assert model.settle_order("o") == OK
    assert model.settle_order("o") == NOTHING
    assert units(model) == (60, 60, 0, "open")


class TestPositions:
    def test_a_buy_while_closing_reopens_and_after_the_close_opens_another(self) -> None:
        model = opened()
        bought(model, "b", 100_00, 1_00)
        sell(model, "s", 1_00)
        model.start_execution("s")
        trade(model, "s", 1_00)
        model.fill("s")
        assert units(model) == (0, 0, 0, "closing")
        bought(model, "b2", 100_00, 40)
        assert units(model) == (40, 0, 40, "open")
        settled(model, "b")
        assert units(model) == (40, 0, 40, "open")
        sell(model, "s2", 40)
        model.start_execution("s2")
        trade(model, "s2", 40)
        model.fill("s2")
        for order in ("s", "b2"):
            settled(model, order)
            assert units(model)[-1] == "closing"
        settled(model, "s2")
        assert units(model)[-1] == "closed"
        bought(model, "b3", 100_00, 10)
        assert (units(model, 1), units(model, 2)) == ((0, 0, 0, "closed"), (10, 0, 10, "open"))
        model.check()

    def test_average_price_is_the_cost_of_units_held_without_fees(self) -> None:
        model = opened()
        executing_buy(model, "o", 500_00)
        trade(model, "o", 1_00, 100 * P, "1")
        trade(model, "o", 2_00, 100 * P + 1, "2")
        assert model.position("acc", "ins", 1)["average_price"] == 100 * P + 1  # two thirds
        model.fill("o")
        sell(model, "s", 1_00)
        model.start_execution("s")
        trade(model, "s", 1_00, 500 * P)
        assert model.position("acc", "ins", 1)["average_price"] == 100 * P + 1
        executing_buy(model, "b", 500_00)
        trade(model, "b", 2_00, 100 * P)
        assert model.position("acc", "ins", 1)["average_price"] == 100 * P  # a third
        model.check()


class TestTradingRules:
    """Price 100; at least 0.04 units, 50.00 for the first, cash in steps of 7.00, units of 0.02."""

    RULED = Instrument("ins", USD, 2, 2, rules=TradingRules(4, 50_00, 7_00))

    @pytest.mark.parametrize(
        ("held", "side", "amount", "code"),
        [
            (0, "buy", 49_00, "below_minimum_amount"),
            (0, "buy", 56_00, OK),
            (0, "buy", 57_00, "trading_rules"),
            (10, "buy", 7_00, OK),
            (10, "buy", 3_50, "trading_rules"),
            (10, "sell", 2, "below_minimum_quantity"),
            (10, "sell", 4, OK),
            (10, "sell", 5, "trading_rules"),
            (3, "sell", 3, OK),
            (3, "sell", 2, "below_minimum_quantity"),
        ],
    )
    @pytest.mark.parametrize("are_enforced", [True, False])
    def test_at_placing_and_at_sending(
        self, held: int, side: str, amount: int, code: str, are_enforced: bool
    ) -> None:
        rules = replace(self.RULED.rules, are_enforced=are_enforced)
        ruled = replace(self.RULED, rules=rules)
        if not are_enforced:
            code = "trading_rules" if (held, side, amount) == (10, "sell", 5) else OK
        model = opened()
        if held:
            bought(model, "held", held * 1_00, held)
        order = {"buy": buy, "sell": sell}[side]
        assert order(model, "before", amount, rule=FREE) == OK
        assert model.put_instrument(ruled) == OK
        assert model.start_execution("before", price=100 * P) == OK
        assert model.orders["before"].cancelled_reason == (None if code == OK else code)
        model.fill("before")
        assert order(model, "after", amount, rule=FREE) == code
        model.check()


def _moved_twice(model: Model) -> None:
    model.book.amounts[("cash", "USD"), ("acc", "free")] += 1


def _units_from_nowhere(model: Model) -> None:
    model.book.amounts[("units", "ins"), ("acc", "free")] += 1


def _ledger_row_lost(model: Model) -> None:
    model.ledger.pop()


def _negative(model: Model) -> None:
    model.book.move(("units", "ins"), 10_00, ("acc", "free"), ("market",))


def _terminal_not_final(model: Model) -> None:
    model.orders["b"].history.append("executing")


def _settled_twice(model: Model) -> None:
    model.orders["b"].trades[0].settlements = 2


def _still_reserved(model: Model) -> None:
    model.orders["b"].reserved = 1


def _reservation_lost(model: Model) -> None:
    model.book.move(("cash", "USD"), 1, ("acc", "reserved"), ("acc", "free"))


def _fee_not_charged(model: Model) -> None:
    model.orders["b"].trades[0].fee -= 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_moved_twice, "does not sum to 0"),
        (_units_from_nowhere, "does not sum to 0"),
        (_ledger_row_lost, "ledger"),
        (_negative, "I5"),
        (_terminal_not_final, "I6: listed transitions"),
        (_settled_twice, "I6: one settlement"),
        (_still_reserved, "I6: nothing reserved"),
        (_reservation_lost, "its causes say"),
        (_fee_not_charged, "fees follow the rule"),
    ],
)
def test_check_finds_damage(damage: Callable[[Model], None], words: str) -> None:
    model = opened()
    bought(model, "b", 100_00, 50, HALF_PERCENT)
    settled(model, "b")
    buy(model, "o", 100_00)
    model.check()
    damage(model)
    with pytest.raises(AssertionError, match=words):
        model.check()


def _step(model: Model, dice: random.Random, number: int) -> str:
    """One random request, step or report; often a wrong one."""
    new, order = f"o{number}", f"o{dice.randrange(max(number, 1))}"
    rule = FeeRule(dice.choice((0, 1, 7)), dice.choice((200, 333)), dice.choice((0, 0, 150)))
    price, known = dice.randrange(1, 300 * P), model.orders.get(order)
    steps: list[Callable[[], str]] = [
        lambda: buy(model, new, dice.randrange(300_00), price, rule),
        lambda: sell(model, new, dice.randrange(1, 4_00), rule),
        lambda: model.create_payment(new, dice.choice(("deposit", "withdrawal")), "acc", "USD", 100_00),
        lambda: model.end_payment(order, dice.choice(("completed", "completed", "failed"))),
        lambda: model.request_cancel(order),
        lambda: model.confirm_cancel(order),
        lambda: model.reject_cancel(order),
        lambda: model.fill(order),
    ]
    if known:
        part = max(1, (known.ordered or known.amount * P // price) * dice.randrange(1, 11) // 10)
        steps += 3 * [
            lambda: model.make_pending(order),
            lambda: model.start_execution(order, price=dice.choice((price, None))),
            lambda: trade(model, order, part, price, f"r{number}"),
            lambda: trade(model, order, part, price, f"r{dice.randrange(number)}"),
            lambda: model.settle_order(order),
        ]
        steps += [
            lambda done=done: model.settle_trade(order, "v", done.execution_reference)
            for done in known.trades
        ]
    return dice.choice(steps)()


@pytest.mark.parametrize("seed", range(10))
def test_random_runs_keep_the_invariants(seed: int) -> None:
    dice, model, seen = random.Random(seed), opened(), Counter[str]()
    for number in range(400):
        before = model.state()
        outcome = _step(model, dice, number)
        seen[outcome] += 1
        model.check()
        after = model.state()
        if outcome != OK:
            assert before | {"parked": None} == after | {"parked": None}, outcome
    assert min(seen[OK], seen[NOTHING], seen[PARKED], seen["insufficient_funds"]) > 0, seen
