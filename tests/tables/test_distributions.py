"""Coupons, dividends and redemptions around trades that settle before, on and after the dates."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.domain import corporate_action, distribution, position
from engine.domain.account import Account
from engine.domain.bookings import PositionClosed, UnitsReserved
from engine.domain.corporate_action import Action, ActionTerms, ActionType, Servicing
from engine.domain.holdings import Holdings
from engine.domain.instrument import Instrument, Terms
from engine.domain.position import Position
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact
from tests.support.models.holding import held_by
from tests.support.models.table import rows

EX = date(2026, 3, 16)


def action_of(kind: ActionType, amount: str, divisor: int = 1, name: str = "cac_1") -> Action:
    terms = ActionTerms(
        kind, EX, EX - timedelta(days=1), EX, "terms", amount=Decimal(amount), divisor=divisor
    )
    return Action(name, terms, 1, 1, is_started=True)


def new_ids() -> distribution.NewId:
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"


def paid(action: Action, held: Position | None) -> tuple[str, str]:
    """(units, cash) of the payment; two dashes if nothing is recorded."""
    facts = distribution.pay(action, held, new_ids(), at_us=99)
    if not facts:
        return "-", "-"
    (fact,) = facts
    assert isinstance(fact, CouponPaid | DividendPaid)
    return str(fact.units), str(fact.amount)


# --- coupons and dividends ------------------------------------------------------------------------

PAYMENTS = """
# Trades in their order, `*`: settled; paid for the ex date 16 March, each unit amount / divisor.
trades                                   | each   | units | cash  | because
+10@03-13                                | 3/1    | 10.00 | 30.00 | it settles before, recorded or not
+10@03-13*                               | 3/1    | 10.00 | 30.00 |
+10@03-15                                | 3/1    | 10.00 | 30.00 | the last day
+10@03-16                                | 3/1    | -     | -     | on the ex date: the seller has it
+10@03-16*                               | 3/1    | -     | -     |
+10@03-17                                | 3/1    | -     | -     |
+10@03-13* -4@03-13*                     | 3/1    | 6.00  | 18.00 | sold before
+10@03-13* -4@03-16                      | 3/1    | 10.00 | 30.00 | sold, and settled on the ex date
+10@03-13* -4@03-17                      | 3/1    | 10.00 | 30.00 |
+10@03-13* -10@03-13*                    | 3/1    | -     | -     | a position that closed before
+10@03-13* -10@03-16*                    | 3/1    | 10.00 | 30.00 | one that closed since
+10@03-13* -10@03-16* +7@03-17           | 3/1    | 10.00 | 30.00 | and was opened anew
+10@03-13* -10@03-16* +7@12-01           | 3/1    | 10.00 | 30.00 | long after it: the clock leapt
+10@03-13* -10@03-13* +7@03-17           | 3/1    | -     | -     |
+10@03-13* +5@03-16 -4@03-13             | 3/1    | 6.00  | 18.00 | bought over the date, sold before it
+10@03-16 -4@03-13                       | 3/1    | -     | -     | sold before the buy settles
+10@03-13* -12@03-13                     | 3/1    | -     | -     | sold more than held
+1@03-13*                                | 1/3    | 1.00  | 0.33  | rounded down
+3.33@03-13*                             | 1/3    | 3.33  | 1.11  | once, from the exact amount
+2@03-13*                                | 1/3    | 2.00  | 0.66  |
+0.01@03-13*                             | 0.99/1 | -     | -     | nothing is left
+0.01@03-13*                             | 1/1    | 0.01  | 0.01  |
+1000000@03-13*                          | 1/7    | 1000000.00 | 142857.14 | once, not per unit
+10@03-13* +1@03-13 -3@03-16* -2@03-17   | 0.5/1  | 11.00 | 5.50  |
"""


@pytest.mark.parametrize("row", rows(PAYMENTS), ids=lambda row: f"{row['trades']} {row['each']}")
@pytest.mark.parametrize("kind", ["coupon", "cash_dividend"])
def test_a_payment_goes_by_settlement_before_the_ex_date(row: dict[str, str], kind: ActionType) -> None:
    amount, _, divisor = row["each"].partition("/")
    action = action_of(kind, amount, int(divisor))
    held = held_by(row["trades"])
    assert paid(action, held) == (row["units"], row["cash"])
    for fact in distribution.pay(action, held, new_ids(), at_us=99):
        held = position.evolve(held, fact)  # type: ignore[arg-type]
        assert paid(action, held) == ("-", "-")  # once
        assert paid(replace(action, id="cac_2"), held) == (row["units"], row["cash"])


def test_a_currency_without_decimals_is_paid_in_whole_units() -> None:
    held = held_by("+7@03-13*", places=0, currency="JPY")
    assert paid(action_of("coupon", "0.5"), held) == ("7", "3")
    assert paid(action_of("coupon", "0.1"), held) == ("-", "-")
    assert paid(action_of("coupon", "1"), None) == ("-", "-")


DAYS = [date(2026, 3, 10) + timedelta(days=number) for number in range(12)]
TRADES = st.lists(
    st.tuples(st.booleans(), st.integers(1, 500), st.sampled_from(DAYS), st.booleans()), min_size=1
)


@given(trades=TRADES, ex=st.sampled_from(DAYS), part=st.fractions(0, 5, max_denominator=400))
def test_units_are_bought_less_sold_by_settlement_date(
    trades: list[tuple[bool, int, date, bool]], ex: date, part: Fraction
) -> None:
    """In whatever order trades come, and whatever of them is settled: the sum of the contracts."""
    held, words, units = Fraction(0), [], Fraction(0)
    for is_buy, cents, day, is_settled in trades:
        if not is_buy and held < cents:
            continue
        held += cents if is_buy else -cents
        units += (cents if is_buy else -cents) if day < ex else 0
        settled = "*" if is_settled else ""
        words.append(f"{'+' if is_buy else '-'}{Decimal(cents).scaleb(-2)}@{day:%m-%d}{settled}")
    if not words:
        return
    action = action_of("coupon", str(part.numerator), part.denominator)
    action = replace(action, terms=replace(action.terms, ex_date=ex))
    cash = max(units, 0) * part // 1
    shown = paid(action, held_by(" ".join(words)))
    if not cash:
        assert shown == ("-", "-")
    else:
        assert tuple(int(Decimal(one).scaleb(2)) for one in shown) == (units, cash)


@given(units=st.lists(st.integers(1, 10**6), min_size=1, max_size=9), part=st.fractions(0, 5))
def test_nothing_is_gained_by_many_accounts(units: list[int], part: Fraction) -> None:
    action = action_of("coupon", str(part.numerator), part.denominator)

    def cash(cents: int) -> Decimal:
        return distribution.amount_for(action, Decimal(cents).scaleb(-2), "USD")

    assert sum(map(cash, units)) <= cash(sum(units))


# --- redemptions ----------------------------------------------------------------------------------

REDEMPTIONS = """
# `reserved`: units of an open sell.
action   | amount | trades                | reserved | free | cash    | waits for
maturity | 100    | +3.33@03-13*          |          | 3.33 | 333.00  |
maturity | 100    | +0.01@03-13*          |          | 0.01 | 1.00    |
maturity | 0.5    | +0.01@03-13*          |          | 0.01 | 0.00    |
maturity | 100    | +4@03-13* -1@03-13*   |          | 3.00 | 300.00  |
maturity | 100    | +4@03-13              |          |      |         | 1 of its trades have not settled
maturity | 100    | +4@03-13* -1@03-13    |          |      |         | 1 of its trades have not settled
maturity | 100    | +4@03-13* -4@03-13    |          |      |         | 1 of its trades have not settled
maturity | 100    | +4@03-13*             | 1        |      |         | an order has 1.00 of its units reserved
maturity | 100    | +4@03-13* -5@03-13*   |          |      |         | the account lacks 1.00 units
maturity | 100    | +4@03-13* -4@03-13*   |          |      |         |
call     | 101.5  | +3.33@03-13*          |          | 3.33 | 337.99  |
call     | 0.333  | +10@03-13*            |          | 10.00 | 3.33   |
"""  # noqa: E501  (a table)


def bond(*actions: Action) -> Instrument:
    terms = Terms("A bond", "BOND", "bond", "USD", maturity_date=EX)
    return Instrument("ins_1", "listed", terms, 1, 1, servicing=Servicing(actions))


def account_of(held: Position, status: str = "active") -> Account:
    holdings = Holdings(positions={"ins_1": held})
    return Account("acc_1", "tenant", status, "USD", (), 1, 1, holdings=holdings)


def redeemed(action: Action, held: Position, *due: Action, status: str = "active") -> list[Fact]:
    return distribution.redeem(
        action, bond(*due, action), account_of(held, status), rolled=None, new_id=new_ids(), at_us=99
    ).account


@pytest.mark.parametrize(
    "row", rows(REDEMPTIONS), ids=lambda row: f"{row['action']} {row['trades']} {row['reserved']}"
)
def test_a_redemption(row: dict[str, str]) -> None:
    held = held_by(row["trades"])
    if row["reserved"]:
        reserved = UnitsReserved("ord_9", "ins_1", Decimal(row["reserved"]), 50)
        held = position.evolve(held, reserved)
    kind: ActionType = "call" if row["action"] == "call" else "maturity"
    action = action_of(kind, row["amount"])
    if row["waits for"]:
        with pytest.raises(Refused, match=row["waits for"]):
            redeemed(action, held)
        return
    facts = redeemed(action, held)
    if not row["free"]:
        assert facts == []  # it was closed by its last settlement
        return
    matured, closed = facts
    assert isinstance(matured, PositionMatured)
    assert (str(matured.quantity), str(matured.amount)) == (row["free"], row["cash"])
    assert matured.pledged == 0
    assert isinstance(closed, PositionClosed)
    after: Position = reduce(position.evolve, facts, held)  # type: ignore[arg-type]
    assert (after.status, after.units.total, after.cost) == ("closed", 0, 0)
    assert redeemed(action, after) == []


@pytest.mark.parametrize("status", ["active", "suspended", "closing", "closed"])
def test_every_status_is_paid_alike(status: str) -> None:
    facts = redeemed(action_of("maturity", "100"), held_by("+1@03-13*"), status=status)
    assert [type(one) for one in facts] == [PositionMatured, PositionClosed]


def test_the_coupon_of_the_same_day_is_paid_first() -> None:
    """Even if its own turn did not come yet: the account would have no units any more."""
    coupon, maturity = action_of("coupon", "3"), action_of("maturity", "100", name="cac_2")
    held = held_by("+10@03-13*")
    facts = redeemed(maturity, held, coupon)
    assert [type(one) for one in facts] == [CouponPaid, PositionMatured, PositionClosed]
    after: Position = reduce(position.evolve, facts, held)  # type: ignore[arg-type]
    assert paid(coupon, after) == ("-", "-")
    waiting = replace(coupon, is_started=False)
    assert [type(one) for one in redeemed(maturity, held, waiting)] == [PositionMatured, PositionClosed]


def test_a_coupon_of_before_the_redemption_is_paid_after_it() -> None:
    """An ex date before the call and a payment date after it: for the units of that day."""
    coupon = action_of("coupon", "3")
    call = action_of("call", "101", name="cac_2")
    call = replace(call, terms=replace(call.terms, ex_date=date(2026, 3, 20)))
    held = held_by("+10@03-13* +5@03-17*")
    after: Position = reduce(position.evolve, redeemed(call, held), held)  # type: ignore[arg-type]
    assert paid(coupon, after) == ("10.00", "30.00")


def test_actions_that_differ_in_nothing_but_their_day_are_both_paid() -> None:
    assert {"coupon", "cash_dividend"} == corporate_action.INCOME
    held = held_by("+10@03-13*")
    for name in ("cac_1", "cac_2"):
        (fact,) = distribution.pay(action_of("coupon", "1", name=name), held, new_ids(), at_us=1)
        held = position.evolve(held, fact)  # type: ignore[arg-type]
    assert held.applied == ("cac_1", "cac_2")
