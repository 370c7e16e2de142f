"""Large figures are exact: what decides, folds, shows or audits never rounds by a thread's own context.

A thread has 28 digits as a rule, which a sell at a price of 15 digits comes past. Here it has one digit,
and every rounding raises.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation, Rounded, localcontext
from fractions import Fraction
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.commands.tally import Tally
from engine.domain import bookings, holdings, moves, position
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price, average_price
from engine.domain.quote import Quote, jumps
from engine.domain.trading_limits import Limits
from engine.kernel.values import STEPS, divide_half_even, plain
from projections.resources import account_json, cash_balances_json, order_json, position_json
from tests.laws.runs import Run
from tests.laws.test_audit import audited
from tests.support.engines.world import EVOLVE, TODAY, World
from tests.support.models.stored_rows import written

ResultT = TypeVar("ResultT")
NARROW = Context(prec=1, traps=[Inexact, Rounded, InvalidOperation])
WIDE = Context(prec=200, traps=[Inexact, InvalidOperation])
"""For the sums of the tests themselves."""


def narrowly(decide: Callable[[], ResultT]) -> ResultT:
    """What it answers in a thread that keeps one digit."""
    with localcontext(NARROW):
        return decide()


class Narrow(World):
    """Decides in such a thread."""

    def _do(self, decide: Callable[[], Any]) -> str:
        with localcontext(WIDE):
            return super()._do(lambda: narrowly(decide))


def refolded(world: World) -> dict[tuple[str, str], Any]:
    states: dict[tuple[str, str], Any] = {}
    for subject, name, fact in world.facts:
        states[subject, name] = EVOLVE[subject](states.get((subject, name)), fact)
        moves.legs(fact)
    return states


def shown(states: dict[tuple[str, str], Any]) -> list[bytes]:
    """All that is shown of them."""
    found = [order_json(state) for (subject, _), state in states.items() if subject == "order"]
    for (subject, name), state in states.items():
        if subject == "account":
            found += [account_json(state), cash_balances_json(state)]
            found += [position_json(name, one) for one in state.holdings.positions.values()]
    return found


def check(world: World) -> None:
    """Folded, shown and audited narrowly it is what it is widely."""
    with localcontext(WIDE):
        bodies = shown(world.states)
    states = narrowly(lambda: refolded(world))
    assert states == world.states
    assert narrowly(lambda: shown(states)) == bodies
    assert narrowly(lambda: audited(list(written(world)))).findings == []


@pytest.mark.parametrize("seed", range(12))
def test_no_run_depends_on_the_digits_of_a_thread(seed: int) -> None:
    run = Run(seed)
    run.go(60)
    check(run.world)


# --- large figures --------------------------------------------------------------------------------

LARGEST = 10**15 - 1
CENT = Price(Decimal("0.01"), Decimal("0.01"), 1)
DIGITS = st.integers(1, 15).flatmap(lambda digits: st.integers(1, 9 * 10 ** (digits - 1)))
PARTS = st.lists(st.integers(1, 10**9), min_size=1, max_size=4)


def fund(world: World, amount: Decimal, times: int, currency: str = "USD") -> None:
    for number in range(times):
        world.pay("deposit", f"dep{number}", currency, amount)
        assert world.complete(f"dep{number}") == "ok"


def stocked(currency: str, units: int, places: int, price_type: Any = "money") -> Narrow:
    """An account with cash of 16 digits that has bought so many of the smallest units, for dust."""
    world = Narrow()
    world.put(
        "ins",
        Terms(
            "Name", "SYM", "bond", currency, trading_increment=Decimal(1).scaleb(-places),
            decimal_precision=places, price_type=price_type, par_value=Decimal("0.01"),
        ),
    )  # fmt: skip
    world.open("acc", currency)
    fund(world, Decimal(LARGEST), 3, currency)
    dust = "0.00000001" if price_type == "money" else "0.0001"
    cheap = Price(Decimal(dust), Decimal(dust), 1)
    order_request = OrderRequest("buy", Decimal(9_999_999))
    assert world.place("buy", order_request, price=cheap, fee=FeeRule(Decimal(0))) == "ok"
    world.start("buy", cheap)
    with localcontext(WIDE):
        assert world.trade("buy", "buy", dust, str(Decimal(units).scaleb(-places))) == "ok"
    world.end("buy")
    return world


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["USD", "JPY", "KWD", "CLF"]), DIGITS, DIGITS, PARTS, st.integers(0, 8),
    st.sampled_from(["money", "percent"]), st.sampled_from([Decimal(0), Decimal("0.333")]),
)  # fmt: skip
def test_cash_is_exactly_what_came_less_what_went(
    currency: str, units: int, price: int, parts: list[int], places: int, kind: str, rate: Decimal
) -> None:
    world = stocked(currency, units, places, kind)
    with localcontext(WIDE):
        quantity, dear = Decimal(units).scaleb(-places), Decimal(price)
    answer = world.place("sell", OrderRequest("sell", quantity=quantity), price=CENT, fee=FeeRule(rate))
    if answer == "ok":
        world.start("sell", CENT)
        for number, part in enumerate(parts):
            with localcontext(WIDE):
                share = Decimal(units * part // sum(parts)).scaleb(-places)
            world.trade("sell", f"sell/{number}", str(dear), str(share))
        world.end("sell")
    check(world)
    assert Fraction(world.account().holdings.balance(currency).total) == cash_of(world)
    assert world.order("buy").traded_notional < 10**15
    if answer == "ok":
        assert world.order("sell").traded_notional < 10**15


def cash_of(world: World) -> Fraction:
    """All that came in, less all that went."""
    cash = Fraction(0)
    for _, _, fact in world.facts:
        match fact:
            case bookings.CashDeposited():
                cash += Fraction(fact.amount)
            case bookings.BuyBooked():
                cash -= Fraction(fact.notional) + Fraction(fact.fee)
            case bookings.SellBooked():
                cash += Fraction(fact.notional) - Fraction(fact.fee)
            case _:
                pass
    return cash


def test_a_sell_of_more_money_than_can_be_booked_is_parked() -> None:
    """It was booked for 799999999999999200000000000000, and the balance lost its last digits."""
    world = stocked("USD", 8 * 10**14, 0)
    before = world.account().holdings.cash
    assert world.place("sell", OrderRequest("sell", quantity=Decimal(8 * 10**14)), price=CENT) == "ok"
    world.start("sell", CENT)
    assert world.trade("sell", "x", "999999999999999", "800000000000000") == "parked"
    assert world.facts[-1][2].fault == "too_large"  # type: ignore[attr-defined]
    assert world.account().holdings.cash == before


def test_more_than_an_amount_can_have_is_summed_to_the_cent() -> None:
    """Deposits, a balance, its ledger: only what is read at once has 15 digits."""
    world = Narrow()
    world.open("acc", "USD")
    fund(world, Decimal("999999999999999.99"), 12)
    check(world)
    total = world.account().holdings.balance("USD").total
    assert plain(total) == plain(world.account().holdings.balance("USD").withdrawable)
    assert plain(total) == "11999999999999999.88"
    assert world.pay("withdrawal", "wdr", "USD", Decimal("0.01")) == "ok"
    assert plain(world.account().holdings.balance("USD").available) == "11999999999999999.87"


def test_what_is_lacking_is_told_to_the_cent() -> None:
    lacking = Decimal("-29999999999999999999999999999.99")
    held = holdings.Holdings({"USD": position.Balance(lacking)})
    assert held.lacking == narrowly(lambda: held.lacking) == {"USD": lacking.copy_abs()}


def test_a_position_costs_what_was_paid_for_it_whatever_it_is_large() -> None:
    """A tie that is divided half to even had its parity looked for in 28 digits."""
    cost = Decimal("123456789012345678901.000000000000000000005")
    assert divide_half_even(cost, Decimal(1), STEPS[20]) == Decimal("123456789012345678901")
    assert average_price(Decimal(10**24) + 1, Decimal(10**24)) == 1


def test_a_day_and_a_jump_are_judged_to_the_cent() -> None:
    """Limits of a day, and how far a price may go at once."""
    world, limit = stocked("USD", 1, 0), Decimal("999999999999999.99")
    limits = Limits(account_day={"USD": limit})
    for name, amount, answer in (
        ("one", "99999999999.98", "ok"),
        ("two", "999900000000000.02", "account_daily_limit"),
    ):
        order_request = OrderRequest("buy", Decimal(amount))
        assert (
            world.place(name, order_request, price=Price(Decimal(1), Decimal(1), 1), limits=limits)
            == answer
        )
    check(world)
    placed = world.order("one").terms
    tally = Tally({"USD": limit})
    narrowly(lambda: tally.hold(placed, "tenant", TODAY))
    assert tally.known("tenant", "USD") == Decimal("99999999999.98")
    narrowly(lambda: tally.drop("one"))
    assert not tally.known("tenant", "USD")
    before, after = (
        Quote("SYM", Decimal(one), Decimal(one), 1) for one in ("100.00000001", "120.00000002")
    )
    assert narrowly(lambda: jumps(before, after, Decimal("0.2")))
