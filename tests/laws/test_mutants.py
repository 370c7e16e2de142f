"""Rules broken on purpose: each must be caught by the laws' runs within a few dozen of them.

A mutant that nothing catches means that the laws and the model look away at that place.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN
from typing import Any

import pytest

from engine import booking, fees, holdings, order, paying, payment, pricing, trading
from engine.holdings import Balance, Holdings, Move, Position
from engine.order import Order
from engine.rounding import ROUNDINGS
from engine.values import ZERO
from tests.laws.runs import Run

RUNS, STEPS = 120, 100
Patch = pytest.MonkeyPatch

real_fee, real_quantity, real_unit = fees.of_amount, pricing.quantity_for, pricing.unit_price
real_contradiction, real_release, real_settle = (
    booking.contradiction,
    holdings.release,
    holdings.settle,
)
real_record, real_reserve = booking.record_trade, holdings.reserve


def replaced(fact: Any, **words: Any) -> Any:
    return type(fact)(*(words.get(name, getattr(fact, name)) for name in fact.__struct_fields__))


def fee_rounds_down(patch: Patch) -> None:
    patch.setattr(fees, "round_to", lambda number, step, mode: number.quantize(step, ROUND_DOWN))


def fee_has_no_minimum(patch: Patch) -> None:
    patch.setattr(fees, "of_amount", lambda rule, *rest: real_fee(replaced(rule, minimum=ZERO), *rest))


def fee_of_a_sell_may_pass_its_proceeds(patch: Patch) -> None:
    patch.setattr(fees, "of_sell", real_fee)


def fee_of_a_part_is_charged_whole(patch: Patch) -> None:
    patch.setattr(
        fees, "of_buy", lambda rule, *, cash_amount, net_cash_amount, **_: cash_amount - net_cash_amount
    )


def fee_of_a_part_forgets_the_minimum(patch: Patch) -> None:
    real = fees.of_buy
    patch.setattr(fees, "of_buy", lambda rule, **words: real(replaced(rule, minimum=ZERO), **words))


def each_trade_is_charged_all_fees_so_far(patch: Patch) -> None:
    def record(state: Order, *rest: Any, **words: Any) -> Any:
        trade = real_record(state, *rest, **words)
        return replaced(trade, fee=trade.fee + state.charged)

    patch.setattr(booking, "record_trade", record)


def trades_are_rounded_one_by_one(patch: Patch) -> None:
    def record(state: Order, *rest: Any, **words: Any) -> Any:
        trade = real_record(state, *rest, **words)
        step = trade.notional
        return replaced(trade, notional=trade.consideration.quantize(step, "ROUND_HALF_UP"))

    patch.setattr(booking, "record_trade", record)


def _rounds(patch: Patch, **modes: str) -> None:
    patch.setitem(ROUNDINGS, "directed", ROUNDINGS["directed"]._replace(**modes))


def notional_of_a_buy_rounds_down(patch: Patch) -> None:
    _rounds(patch, buy=ROUND_DOWN)


def _blind(patch: Patch, *faults: str) -> None:
    def contradiction(*rest: Any) -> str | None:
        found = real_contradiction(*rest)
        return None if found in faults else found

    patch.setattr(booking, "contradiction", contradiction)


def too_dear_trades_are_booked(patch: Patch) -> None:
    _blind(patch, "too_dear")


def more_than_ordered_is_booked(patch: Patch) -> None:
    _blind(patch, "too_much")


def late_trades_are_booked(patch: Patch) -> None:
    _blind(patch, "late")


def unasked_cancels_are_believed(patch: Patch) -> None:
    _blind(patch, "not_requested")


def an_execution_reference_counts_twice(patch: Patch) -> None:
    patch.setattr(Order, "knows", lambda *_: False)


def quantity_rounds_up(patch: Patch) -> None:
    patch.setattr(pricing, "quantity_for", lambda a, u, step: real_quantity(a, u, step) + step)


def quantity_ignores_the_increment(patch: Patch) -> None:
    patch.setattr(
        pricing, "quantity_for", lambda amount, unit, step: real_quantity(amount, unit, step / 10)
    )


def percent_is_taken_for_money(patch: Patch) -> None:
    patch.setattr(pricing, "unit_price", lambda p, a, _, par: real_unit(p, a, "money", par))


def accrued_interest_is_forgotten(patch: Patch) -> None:
    patch.setattr(pricing, "unit_price", lambda p, _, *rest: real_unit(p, ZERO, *rest))


def only_the_net_amount_is_reserved(patch: Patch) -> None:
    def reserve(state: Holdings, placed: Any) -> Any:
        short = replaced(placed, cash_amount=placed.net_cash_amount)
        return real_reserve(state, short)

    patch.setattr(holdings, "reserve", reserve)


def reserved_cash_may_be_reserved_again(patch: Patch) -> None:
    patch.setattr(Balance, "available", Balance.total)


def unsettled_cash_may_leave(patch: Patch) -> None:
    patch.setattr(Balance, "withdrawable", Balance.available)


def an_end_releases_nothing(patch: Patch) -> None:
    patch.setattr(holdings, "release", lambda *_, **__: [])


def an_end_keeps_the_fee_reserved(patch: Patch) -> None:
    def release(ended: Order, **words: Any) -> Any:
        return [
            replaced(fact, amount=fact.amount - ended.charged) if hasattr(fact, "amount") else fact
            for fact in real_release(ended, **words)
        ]

    patch.setattr(holdings, "release", release)


def proceeds_settle_at_once(patch: Patch) -> None:
    moves = (
        Move("units", "reserved", "outside", "quantity"),
        Move("cash", "outside", "settled", "notional"),
        Move("cash", "settled", "fees", "fee"),
    )
    patch.setitem(holdings.MOVES, holdings.SellBooked, moves)


def settlement_pays_the_proceeds_again(patch: Patch) -> None:
    moves = (Move("cash", "outside", "settled", "proceeds"),)
    patch.setitem(holdings.MOVES, holdings.SellSettled, moves)


def bought_units_are_settled_at_once(patch: Patch) -> None:
    real = holdings.MOVES[holdings.BuyBooked][:2]
    moves = (*real, Move("units", "outside", "settled", "quantity"))
    patch.setitem(holdings.MOVES, holdings.BuyBooked, moves)


def an_empty_position_is_closed_before_settlement(patch: Patch) -> None:
    patch.setattr(Position, "status", property(lambda self: "open" if self.units.total else "closed"))


def a_sell_changes_the_average_price(patch: Patch) -> None:
    patch.setattr(pricing, "cost_after_sell", lambda cost, left, held: cost if left else ZERO)


def a_cancel_at_the_venue_is_done_at_once(patch: Patch) -> None:
    patch.setitem(order.NEXT, ("executing", order.CancelRequested), "cancelled")


def a_part_fill_ends_in_cancelled(patch: Patch) -> None:
    patch.setattr(
        trading.orders, "fill", lambda state, reason, *, at_us: [order.Cancelled(reason, None, at_us)]
    )


def a_trade_settles_again(patch: Patch) -> None:
    patch.setattr(
        trading.orders,
        "settle_trade",
        lambda state, trade, _, *, at_us: [order.TradeSettled(trade, at_us)],
    )


def a_failed_withdrawal_stays_reserved(patch: Patch) -> None:
    patch.setattr(holdings, "release_withdrawal", lambda *_, **__: [])


def a_payment_may_end_both_ways(patch: Patch) -> None:
    real = payment.complete

    def complete(state: payment.Payment, *, at_us: int) -> Any:
        forgotten = payment.Payment(
            **{**{n: getattr(state, n) for n in state.__struct_fields__}, "status": "open"}
        )
        return real(forgotten, at_us=at_us)

    patch.setattr(paying.payments, "complete", complete)
    patch.setitem(payment.NEXT, ("failed", payment.DepositCompleted), "completed")


def suspended_accounts_may_trade(patch: Patch) -> None:
    everything = trading.accounts.PERMITS["active"]
    patch.setitem(trading.accounts.PERMITS, "suspended", everything)


MUTANTS: list[Callable[[Patch], None]] = [
    fee_rounds_down,
    fee_has_no_minimum,
    fee_of_a_sell_may_pass_its_proceeds,
    fee_of_a_part_is_charged_whole,
    fee_of_a_part_forgets_the_minimum,
    each_trade_is_charged_all_fees_so_far,
    trades_are_rounded_one_by_one,
    notional_of_a_buy_rounds_down,
    too_dear_trades_are_booked,
    more_than_ordered_is_booked,
    late_trades_are_booked,
    unasked_cancels_are_believed,
    an_execution_reference_counts_twice,
    quantity_rounds_up,
    quantity_ignores_the_increment,
    percent_is_taken_for_money,
    accrued_interest_is_forgotten,
    only_the_net_amount_is_reserved,
    reserved_cash_may_be_reserved_again,
    unsettled_cash_may_leave,
    an_end_releases_nothing,
    an_end_keeps_the_fee_reserved,
    proceeds_settle_at_once,
    settlement_pays_the_proceeds_again,
    bought_units_are_settled_at_once,
    an_empty_position_is_closed_before_settlement,
    a_sell_changes_the_average_price,
    a_cancel_at_the_venue_is_done_at_once,
    a_part_fill_ends_in_cancelled,
    a_trade_settles_again,
    a_failed_withdrawal_stays_reserved,
    a_payment_may_end_both_ways,
    suspended_accounts_may_trade,
]


def caught_by(runs: int) -> str | None:
    """What the first failing run said, None if none fails."""
    for seed in range(runs):
        try:
            run = Run(seed, twice=True)
            run.go(STEPS)
            run.agree()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


def test_the_rules_as_they_are_pass() -> None:
    assert caught_by(RUNS // 4) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert caught_by(RUNS), "no run noticed"
