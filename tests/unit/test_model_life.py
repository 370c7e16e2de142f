"""The integer model in an instrument's life: coupons, maturity, splits, rollovers, in worked tables.

Money is written 100_00 for 100.00, quantities 99 for 0.99, prices 100 * P for 100.
"""

from fractions import Fraction
from typing import Any

import pytest

from tests.support.models.model import Model
from tests.support.models.records import Split
from tests.support.models.values import NOTHING, OK, WAITS, Currency, Instrument
from tests.unit.test_model import FREE, JPY, USD, P, cash, sell, settled, trade, units

BILL, NEXT = Instrument("ins", USD), Instrument("next", USD)
"""Par 100, hundredths of a unit."""
SPLIT_DAY = "2026-03-10"


def holding(*lots: tuple[int, str], instrument: Instrument = BILL, settle: bool = True) -> Model:
    """An account that holds lots of (units, settlement date), bought at 1, with 1000.00 left."""
    model = Model()
    model.put_instrument(instrument)
    model.put_instrument(NEXT)
    model.open_account("acc", instrument.currency)
    scale = 10**instrument.currency.exponent
    model.create_payment("dep", "deposit", "acc", instrument.currency.code, 1_000_000 * scale)
    model.end_payment("dep", "completed")
    for number, (quantity, day) in enumerate(lots):
        lot(model, f"b{number}", quantity, day, settle=settle)
    rest = model.balance("acc", instrument.currency.code)["available_for_withdrawal"] - 1000 * scale
    model.create_payment("wdr", "withdrawal", "acc", instrument.currency.code, rest)
    model.end_payment("wdr", "completed")
    model.ledger_before = len(model.ledger)  # type: ignore[attr-defined]
    return model


def lot(model: Model, order: str, quantity: int, day: str, *, settle: bool = True) -> None:
    """One more purchase at 1 a unit, free of fees. A negative quantity is a sale."""
    known = model.instruments["ins"]
    if quantity > 0:
        amount = known.notional(quantity * known.unit_price(P, 0), "up")
        arguments: dict[str, Any] = {"cash_amount": amount, "price": P, "rule": FREE}
        assert model.place_buy(order, "acc", "ins", **arguments) == OK, model.faults
    else:
        assert model.place_sell(order, "acc", "ins", quantity=-quantity, price=P, rule=FREE) == OK
    assert model.start_execution(order) == OK
    report = {"venue": "v", "execution_reference": order, "price": P, "quantity": abs(quantity)}
    assert model.record_trade(order, **report, settlement_date=day) == OK  # type: ignore[arg-type]
    assert model.fill(order) == OK
    if settle:
        settled(model, order)


def coupon(model: Model, amount: Fraction, ex_date: str = "2026-03-05", action: str = "c") -> str:
    return model.pay(action, "acc", "ins", "coupon_payment", ex_date=ex_date, amount=amount)


def rows(model: Model) -> list[tuple[Any, ...]]:
    """type, cash, quantity of the rows written since the account stood ready"""
    names = ("transaction_type", "cash_amount", "unit_quantity")
    before: int = model.ledger_before  # type: ignore[attr-defined]
    return [tuple(row[name] for name in names) for row in model.ledger[before:]]


class TestCoupons:
    """Ex date 2026-03-05: what settles on the 4th has the coupon, what settles on the 5th has not."""

    @pytest.mark.parametrize(
        ("lots", "settle", "entitled"),
        [
            ([(10_00, "2026-03-04")], True, 10_00),
            ([(10_00, "2026-03-04")], False, 10_00),
            ([(10_00, "2026-03-05")], True, 0),
            ([(10_00, "2026-03-06")], False, 0),
            ([(10_00, "2026-03-04"), (5_00, "2026-03-05")], True, 10_00),
            ([(10_00, "2026-03-02"), (-4_00, "2026-03-04")], True, 6_00),
            ([(10_00, "2026-03-02"), (-4_00, "2026-03-05")], False, 10_00),
            ([(10_00, "2026-03-02"), (-10_00, "2026-03-05")], False, 10_00),
            ([(10_00, "2026-03-02"), (-10_00, "2026-03-05")], True, 10_00),
            ([(10_00, "2026-03-02"), (-10_00, "2026-03-04")], True, 0),
            ([(10_00, "2026-03-06"), (-10_00, "2026-03-04")], True, -10_00),
            ([(10_00, "2026-03-02"), (-10_00, "2026-03-06"), (7_00, "2026-03-09")], True, 10_00),
        ],
    )
    def test_units_by_settlement_date(
        self, lots: list[tuple[int, str]], settle: bool, entitled: int
    ) -> None:
        model = holding(*lots, settle=settle)
        assert model.entitled("acc", "ins", "2026-03-05") == entitled
        before = cash(model)
        assert coupon(model, Fraction(5, 2)) == (OK if entitled > 0 else NOTHING)
        paid = max(0, entitled) * 5 // 2
        assert cash(model)[0] == before[0] + paid
        assert rows(model) == ([("coupon_payment", paid, entitled)] if paid else [])

    @pytest.mark.parametrize(
        ("instrument", "quantity", "amount", "paid"),
        [
            (BILL, 1_00, Fraction(1, 3), 33),
            (BILL, 3_00, Fraction(1, 3), 1_00),
            (BILL, 2_99, Fraction(1, 3), 99),  # 0.99666: rounded once, not per unit
            (BILL, 1, Fraction(99, 100), 0),
            (Instrument("ins", JPY, 0), 7, Fraction(3, 7), 3),
            (Instrument("ins", JPY, 0), 1, Fraction(99, 100), 0),
            (Instrument("ins", Currency("KWD", 3), 3), 1_500, Fraction(1, 1000), 1),
        ],
    )
    def test_rounded_down_once_per_account(
        self, instrument: Instrument, quantity: int, amount: Fraction, paid: int
    ) -> None:
        model = holding((quantity, "2026-03-01"), instrument=instrument)
        before = cash(model)
        assert coupon(model, amount) == (OK if paid else NOTHING)
        assert cash(model) == (before[0] + paid, 0, before[0] + paid, before[0] + paid)
        assert len(rows(model)) == bool(paid)

    def test_paid_once_whatever_the_account_may_do(self) -> None:
        model = holding((10_00, "2026-03-01"))
        model.change_account("acc", status="suspended")
        assert coupon(model, Fraction(1)) == OK
        assert coupon(model, Fraction(1)) == NOTHING
        assert coupon(model, Fraction(2), action="another") == OK
        assert cash(model)[0] == 1030_00

    def test_a_dividend_is_a_coupon_of_another_name(self) -> None:
        model = holding((10_00, "2026-03-01"))
        due: dict[str, Any] = {"ex_date": "2026-03-05", "amount": Fraction(12, 100)}
        assert model.pay("d", "acc", "ins", "dividend", **due) == OK
        assert rows(model) == [("dividend", 1_20, 10_00)]


class TestMaturity:
    def test_face_value_of_all_and_the_position_closes(self) -> None:
        model = holding(
            (10_00, "2026-03-01"), instrument=Instrument("ins", USD, 2, 1, "percent", 99 * P)
        )
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        assert cash(model) == (1990_00, 0, 1990_00, 1990_00)
        assert units(model) == (0, 0, 0, "closed")
        assert rows(model) == [("maturity", 990_00, 10_00)]
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == NOTHING
        assert coupon(model, Fraction(1)) == OK  # its coupon, paid late, is still of ten units

    def test_a_call_pays_its_own_amount_rounded_down(self) -> None:
        model = holding((3_33, "2026-03-01"))
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY, amount=Fraction(1, 3)) == OK
        assert rows(model) == [("maturity", 1_11, 3_33)]

    def test_it_waits_for_settlement_and_for_sells(self) -> None:
        model = holding((10_00, "2026-03-01"), settle=False)
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        settled(model, "b0")
        sell(model, "s", 4_00, FREE)
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        model.start_execution("s")
        assert model.cancel("s", "matured") == NOTHING
        assert trade(model, "s", 1_00) == OK
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        model.fill("s")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        settled(model, "s")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        assert rows(model)[-1] == ("maturity", 900_00, 9_00)
        model.check()

    def test_a_buy_that_comes_late_matures_by_itself(self) -> None:
        model = holding((10_00, "2026-03-01"))
        model.place_buy("o", "acc", "ins", cash_amount=100_00, price=100 * P, rule=FREE)
        model.start_execution("o")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        trade(model, "o", 1_00)
        model.fill("o")
        assert units(model, 2) == (1_00, 0, 1_00, "open")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == WAITS
        settled(model, "o")
        assert model.mature("m", "acc", "ins", date=SPLIT_DAY) == OK
        assert (cash(model)[0], units(model, 2)[-1]) == (2000_00, "closed")


def split(to: int, of: int, price: int = 0, ex_date: str = SPLIT_DAY, action: str = "s") -> Split:
    return Split(action, ex_date, to, of, price)


class TestSplits:
    @pytest.mark.parametrize(
        ("precision", "held", "to", "of", "price", "after", "paid", "average"),
        [
            (2, 10_00, 2, 1, 50 * P, 20_00, 0, P // 2),
            (2, 10_05, 1, 10, 50 * P, 1_00, 25, 1005 * P // 100),  # 0.005 of a unit at 50
            (2, 9, 1, 10, 50 * P, 0, 45, None),
            (0, 7, 3, 2, 9 * P, 10, 4_50, 7 * P // 10),
            (0, 1, 1, 3, 1 * P, 0, 33, None),
            (2, 10_01, 1, 3, 1 * P, 3_33, 0, 3_00600601),  # 0.00333 at 1: below a cent
            (6, 1_000001, 3, 2, 1 * P, 1_500001, 0, 66666689),
        ],
    )
    def test_units_round_down_the_fraction_is_paid_and_cost_stays(
        self, precision: int, held: int, to: int, of: int, price: int, after: int, paid: int,
        average: int | None,
    ) -> None:  # fmt: skip
        model = holding((held, "2026-03-01"), instrument=Instrument("ins", USD, precision))
        assert model.start_split("ins", split(to, of, price)) == OK
        before = cash(model)[0]
        assert model.apply_split("acc", "ins") == OK
        shown = model.position("acc", "ins", 1)
        assert (shown["total"], shown["average_price"]) == (after, average)
        assert (cash(model)[0] - before, rows(model)) == (paid, [("split", paid, None)] * bool(paid))
        assert model.start_split("ins", split(to, of, price)) == NOTHING
        assert model.apply_split("acc", "ins") == NOTHING
        assert shown["status"] == ("open" if after else "closed")

    def test_an_unsettled_trade_owes_scaled_units_and_keeps_its_figures(self) -> None:
        model = holding((10_05, "2026-03-09"), (15, "2026-03-11"), settle=False)
        settled(model, "b0")
        model.start_split("ins", split(1, 10, 50 * P))
        assert units(model) == (10_20, 10_05, 15, "open")
        model.apply_split("acc", "ins")
        assert units(model) == (1_02, 1_01, 1, "open")
        assert [row["quantity"] for row in model.orders["b1"].view()["trades"]] == [15]
        settled(model, "b1")
        assert units(model) == (1_02, 1_02, 0, "open")
        model.check()

    def test_what_rounding_leaves_due_goes_with_the_last_trade(self) -> None:
        model = holding((15, "2026-03-11"), (16, "2026-03-12"), settle=False)
        model.start_split("ins", split(1, 10))
        model.apply_split("acc", "ins")
        assert units(model) == (3, 0, 3, "open")  # 1.5 and 1.6: 3.1
        settled(model, "b0")
        assert units(model) == (3, 1, 2, "open")
        settled(model, "b1")
        assert units(model) == (3, 3, 0, "open")
        model.check()

    def test_no_order_between_the_split_and_its_application(self) -> None:
        model = holding((10_00, "2026-03-01"))
        sell(model, "waits", 1_00, FREE)
        sell(model, "goes", 1_00, FREE)
        model.start_execution("goes")
        model.start_split("ins", split(2, 1))
        assert sell(model, "new", 1_00, FREE) == "instrument_not_trading"
        assert model.apply_split("acc", "ins") == WAITS
        assert model.start_execution("waits") == OK
        assert model.orders["waits"].cancelled_reason == "corporate_action"
        assert model.apply_split("acc", "ins") == WAITS
        assert trade(model, "goes", 40, reference="of the ex date") == "parked"
        assert trade(model, "goes", 40, is_ex=False) == OK
        model.fill("goes")
        assert model.apply_split("acc", "ins") == OK
        assert units(model)[0] == 19_20
        assert sell(model, "new", 19_20, FREE) == OK
        model.check()

    def test_a_buy_in_execution_brings_units_of_before(self) -> None:
        model = holding()
        model.place_buy("o", "acc", "ins", cash_amount=100_00, price=10 * P, rule=FREE)
        model.start_execution("o", price=10 * P)
        model.start_split("ins", split(2, 1))
        assert model.apply_split("acc", "ins") == NOTHING
        assert trade(model, "o", 10_00, 10 * P, is_ex=False) == OK
        model.fill("o")
        assert units(model) == (10_00, 0, 10_00, "open")
        assert model.apply_split("acc", "ins") == OK
        assert units(model) == (20_00, 0, 20_00, "open")
        settled(model, "o")
        assert units(model) == (20_00, 20_00, 0, "open")

    @pytest.mark.parametrize(
        ("lots", "total", "entitled"),
        [
            ([(1_01, "2026-03-01"), (55, "2026-03-11")], 15, 9),  # 10.1 of 15.6; 5.5 come later
            ([(1_01, "2026-03-01"), (52, "2026-03-11"), (3, "2026-03-11")], 15, 9),
            ([(1_01, "2026-03-01"), (52, "2026-03-11"), (3, "2026-03-12")], 15, 8),
            ([(1_01, "2026-03-01"), (-55, "2026-03-11")], 4, 9),  # 4.6 left; 5.5 go later
            ([(1_01, "2026-03-01"), (-55, "2026-03-11"), (54, "2026-03-11")], 10, 10),
        ],
    )
    def test_what_settles_after_the_split_is_rounded_against_entitlement(
        self, lots: list[tuple[int, str]], total: int, entitled: int
    ) -> None:
        model = holding(*lots, settle=False)
        model.start_split("ins", split(1, 10))
        model.apply_split("acc", "ins")
        assert units(model)[0] == total
        assert model.entitled("acc", "ins", "2026-03-10") == entitled
        model.check()

    def test_two_splits_are_gone_through_one_by_one(self) -> None:
        model = holding((7, "2026-03-01"))
        model.start_split("ins", split(1, 2, P, action="one"))
        model.start_split("ins", split(3, 1, P, action="two"))
        assert model.apply_split("acc", "ins") == OK
        assert sell(model, "new", 1, FREE) == "instrument_not_trading"
        assert model.apply_split("acc", "ins") == OK
        assert units(model)[0] == 9
        assert model.apply_split("acc", "ins") == NOTHING
        model.check()

    def test_coupons_are_of_units_as_they_were_on_their_ex_date(self) -> None:
        model = holding((10_00, "2026-03-01"), (6_00, "2026-03-11"), settle=False)
        model.start_split("ins", split(2, 1))
        assert coupon(model, Fraction(1), "2026-03-10") == WAITS
        model.apply_split("acc", "ins")
        lot(model, "late", 5_00, "2026-03-13")
        for ex_date, entitled in (("2026-03-09", 10_00), ("2026-03-10", 20_00), ("2026-03-12", 32_00)):
            assert model.entitled("acc", "ins", ex_date) == entitled
        assert model.entitled("acc", "ins", "2026-03-14") == 37_00
