"""The integer model of a rollover, in worked tables: before, at and after the maturity."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.models.model import Model
from tests.support.models.values import NOTHING, OK, WAITS, FeeRule, Instrument
from tests.unit.test_model import FREE, HALF_PERCENT, USD, P, cash, sell, settled, trade, units
from tests.unit.test_model_life import SPLIT_DAY, holding, rows


def rolling(face: int = 10_00, rule: FeeRule = HALF_PERCENT, price: int = 98 * P) -> Model:
    """Ten units of par 100, flagged, and their rollover into `next` placed."""
    model = holding((face, "2026-03-01"))
    assert model.set_rollover("acc", "ins", True, days_left=5) == OK
    assert model.roll("r", "acc", "ins", "next", price=price, rule=rule) == OK
    return model


def fills(model: Model, quantity: int, price: int = 98 * P, reference: str = "r") -> str:
    return trade(model, "r", quantity, price, reference)


def receivable(model: Model) -> int:
    model.check()
    return model.book.at(("cash", "USD"), "acc", "receivable")


class TestRollover:
    """Ten units of face 100, the next bill at 98, 0.5 %: 1000.00 with 5.00 of fees inside, 10.15 units.

    995.00 / 98 = 10.153: 10.15 units for 994.70; fees of 1000.00 x 994.70 / 995.00 x 0.5 % = 5.00.
    """

    def test_nothing_moves_before_maturity_and_all_in_one_then(self) -> None:
        model = rolling()
        order = model.orders["r"].view()
        assert (order["cash_amount"], order["net_cash_amount"], order["fees"]) == (1000_00, 995_00, 5_00)
        assert (cash(model), rows(model)) == ((1000_00, 0, 1000_00, 1000_00), [])
        assert model.position("acc", "ins", 1)["reserved"] == 10_00
        assert model.start_execution("r", price=98 * P) == OK
        assert fills(model, 10_15) == OK
        assert model.fill("r") == OK
        assert (cash(model), rows(model)) == ((1000_00, 0, 1000_00, 1000_00), [])
        assert receivable(model) == -999_70
        assert model.position("acc", "next", 1)["unsettled"] == 10_15
        assert model.position("acc", "ins", 1)["reserved"] == 10_00
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        assert (cash(model)[0], receivable(model)) == (1000_30, 0)
        assert rows(model) == [
            ("maturity", 1000_00, 10_00),
            ("buy", -994_70, 10_15),
            ("fee", -5_00, None),
        ]
        settled(model, "r")
        assert units(model)[-1] == "closed"
        new, old = model.holdings["acc", "next"][-1], model.holdings["acc", "ins"][-1]
        assert (new.rolled_from, old.rolled_into, new.automatic_rollover) == ({"ins"}, "next", True)

    def test_what_still_executes_becomes_reserved_cash(self) -> None:
        model = rolling()
        model.start_execution("r", price=98 * P)
        fills(model, 4_00, reference="1")
        assert receivable(model) == -(392_00 + 1_97)
        assert model.request_cancel("r") == "order_cancel_forbidden"
        model.mature("m", "acc", "ins", date=SPLIT_DAY)
        assert (cash(model), receivable(model)) == ((1606_03, 606_03, 1000_00, 1000_00), 0)
        fills(model, 1_00, reference="2")  # after the maturity: as any other buy
        assert rows(model)[-2:] == [("buy", -98_00, 1_00), ("fee", -50, None)]
        model.fill("r")
        assert cash(model) == (1507_53, 0, 1507_53, 1507_53)

    @pytest.mark.parametrize("step", ["placed", "pending", "executing"])
    def test_no_fill_by_maturity(self, step: str) -> None:
        model = rolling()
        if step == "pending":
            model.make_pending("r")
        if step == "executing":
            model.start_execution("r", price=98 * P)
        model.mature("m", "acc", "ins", date=SPLIT_DAY)
        assert cash(model) == (2000_00, 1000_00, 1000_00, 1000_00)
        if step != "executing":
            model.start_execution("r", price=98 * P)
        fills(model, 10_15)
        model.fill("r")
        assert cash(model)[:2] == (1000_30, 0)

    def test_an_end_without_a_trade_releases_the_units(self) -> None:
        model = rolling()
        model.start_execution("r", price=98 * P)
        assert model.fill("r", reason="expired") == OK
        assert model.position("acc", "ins", 1)["available_for_trading"] == 10_00
        assert model.roll("again", "acc", "ins", "next", price=98 * P, rule=FREE) == NOTHING
        model.mature("m", "acc", "ins", date=SPLIT_DAY)
        assert cash(model) == (2000_00, 0, 2000_00, 2000_00)

    def test_an_end_with_a_part_keeps_them(self) -> None:
        model = rolling()
        model.start_execution("r", price=98 * P)
        fills(model, 4_00)
        model.fill("r")
        assert sell(model, "s", 1, FREE) == "insufficient_units"
        model.mature("m", "acc", "ins", date=SPLIT_DAY)
        assert cash(model) == (1606_03, 0, 1606_03, 1606_03)
        assert rows(model)[1:] == [("buy", -392_00, 4_00), ("fee", -1_97, None)]

    def test_units_that_a_sell_has_do_not_roll(self) -> None:
        model = holding((10_00, "2026-03-01"))
        model.set_rollover("acc", "ins", True, days_left=30)
        sell(model, "waits", 1_00, FREE)
        sell(model, "goes", 4_00, FREE)
        model.start_execution("goes")
        arguments: dict[str, Any] = {"price": 98 * P, "rule": FREE}
        assert model.roll("r", "acc", "ins", "next", **arguments) == WAITS
        assert model.cancel("waits", "matured") == OK
        assert model.roll("r", "acc", "ins", "next", **arguments) == OK
        assert (model.orders["r"].amount, model.orders["r"].pledged) == (600_00, 6_00)
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        model.fill("goes")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        assert cash(model) == (2000_00, 600_00, 1400_00, 1400_00)

    @pytest.mark.parametrize(
        ("reason", "change"),
        [
            ("account_suspended", lambda m: m.change_account("acc", status="suspended")),
            ("buy_order_forbidden", lambda m: m.change_account("acc", can_place_buy_order=False)),
            ("no_bill", lambda m: None),
            ("missing_price", lambda m: None),
            ("instrument_not_trading", lambda m: _list(m, "not_trading")),
            ("instrument_not_trading", lambda m: _list(m, "sell_only")),
            ("below_minimum_quantity", lambda m: None),
            ("below_minimum_amount", lambda m: None),
        ],
    )
    def test_skipped_for_a_reason_told_once(self, reason: str, change: Callable[[Model], Any]) -> None:
        model = holding((10_00, "2026-03-01"))
        model.set_rollover("acc", "ins", True, days_left=30)
        change(model)
        price = {"missing_price": None, "below_minimum_quantity": 10**15}.get(reason, 98 * P)
        rule = FeeRule(minimum=1000_00) if reason == "below_minimum_amount" else FREE
        target = None if reason == "no_bill" else "next"
        assert model.roll("r", "acc", "ins", target, price=price, rule=rule) == OK
        assert model.holdings["acc", "ins"][-1].rollover_skipped == reason
        assert model.roll("r", "acc", "ins", "next", price=98 * P, rule=FREE) == NOTHING
        assert "r" not in model.orders
        model.mature("m", "acc", "ins", date=SPLIT_DAY)
        assert cash(model) == (2000_00, 0, 2000_00, 2000_00)

    @pytest.mark.parametrize(
        ("days_left", "answer"), [(5, OK), (4, "rollover_locked"), (0, "rollover_locked")]
    )
    def test_the_setting_stands_from_four_days_before(self, days_left: int, answer: str) -> None:
        model = holding((10_00, "2026-03-01"))
        assert model.set_rollover("acc", "ins", False, days_left=days_left) == NOTHING
        assert model.set_rollover("acc", "ins", True, days_left=days_left) == answer
        assert model.set_rollover("acc", "next", True, days_left=days_left) == "not_found"


def _list(model: Model, status: str) -> None:
    model.put_instrument(Instrument("next", USD, trading_status=status))
