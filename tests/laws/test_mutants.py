"""Rules broken on purpose: each must be caught by the laws' runs within a few dozen of them.

A mutant that nothing catches means that the laws and the model look away at that place.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP
from typing import Any

import msgspec
import pytest

from engine.domain import (
    booking,
    bookings,
    checks,
    fees,
    holdings,
    order,
    paying,
    payment,
    pricing,
    trading,
)
from engine.domain.holdings import Holdings
from engine.domain.moves import MOVES, Move
from engine.domain.order import Order
from engine.domain.position import Balance, Position
from engine.domain.rounding import ROUNDINGS
from engine.kernel.errors import Refused
from engine.kernel.values import ZERO
from tests.laws.runs import Run
from tests.tables import test_fees, test_refusals, test_sending

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
    available = property(lambda self: self.settled + self.unsettled + self.reserved)
    patch.setattr(Balance, "available", available)


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
    patch.setitem(MOVES, bookings.SellBooked, moves)


def settlement_pays_the_proceeds_again(patch: Patch) -> None:
    moves = (Move("cash", "outside", "settled", "proceeds"),)
    patch.setitem(MOVES, bookings.SellSettled, moves)


def bought_units_are_settled_at_once(patch: Patch) -> None:
    real = MOVES[bookings.BuyBooked][:2]
    moves = (*real, Move("units", "outside", "settled", "quantity"))
    patch.setitem(MOVES, bookings.BuyBooked, moves)


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


# --- which way is rounded, what is checked twice, what is too small --------------------------------


def fee_rounds_half_up(patch: Patch) -> None:
    _rounds(patch, fees=ROUND_HALF_UP)


def notional_of_a_buy_rounds_half_up(patch: Patch) -> None:
    _rounds(patch, buy=ROUND_HALF_UP)


def notional_of_a_sell_rounds_half_up(patch: Patch) -> None:
    _rounds(patch, sell=ROUND_HALF_UP)


def notional_of_a_sell_rounds_up(patch: Patch) -> None:
    _rounds(patch, sell=ROUND_CEILING)


def a_minimum_fee_rounds_down(patch: Patch) -> None:
    def of_amount(rule: Any, amount: Any, step: Any) -> Any:
        return real_fee(replaced(rule, minimum=rule.minimum.quantize(step, ROUND_DOWN)), amount, step)

    patch.setattr(fees, "of_amount", of_amount)


def an_old_order_is_rounded_by_the_rule_of_today(patch: Patch) -> None:
    patch.setattr(order, "modes_of", lambda _: ROUNDINGS["directed"])


def new_orders_follow_the_rule_of_the_first_release(patch: Patch) -> None:
    patch.setitem(ROUNDINGS, "directed", ROUNDINGS["half_up"])


def _unchecked(patch: Patch, *reasons: str) -> None:
    left = tuple(one for one in checks.CHECKS if one.reason not in reasons)
    patch.setattr(checks, "CHECKS", left)


def what_is_worth_nothing_is_accepted(patch: Patch) -> None:
    _unchecked(patch, "below_minimum_amount")


def a_side_that_is_not_traded_is_traded(patch: Patch) -> None:
    _unchecked(patch, "instrument_not_trading")


def nothing_is_checked_at_sending(patch: Patch) -> None:
    patch.setattr(checks, "failed", lambda _: None)


def the_value_is_checked_at_placing_only(patch: Patch) -> None:
    real = checks.failed

    def failed(asked: Any) -> str | None:
        reason = real(asked)
        return None if reason == "below_minimum_amount" else reason

    patch.setattr(checks, "failed", failed)


def the_operators_least_value_is_forgotten(patch: Patch) -> None:
    real = trading._asked

    def asked(*rest: Any, **words: Any) -> Any:
        return real(*rest, **words | {"minimum_value": None})

    patch.setattr(trading, "_asked", asked)


def all_that_is_held_can_be_too_small(patch: Patch) -> None:
    patch.setattr(checks.OrderCase, "is_all_held", False)


def every_sell_counts_as_all_that_is_held(patch: Patch) -> None:
    patch.setattr(checks.OrderCase, "is_all_held", property(lambda asked: asked.side == "sell"))


def orders_of_suspended_accounts_are_sent(patch: Patch) -> None:
    real = trading.start_execution

    def start(account: Any, *rest: Any, **words: Any) -> Any:
        return real(msgspec.structs.replace(account, status="active"), *rest, **words)

    patch.setattr(trading, "start_execution", start)


def orders_are_sent_to_closed_markets(patch: Patch) -> None:
    real = trading.start_execution

    def start(*rest: Any, **words: Any) -> Any:
        return real(*rest, **words | {"is_open": True})

    patch.setattr(trading, "start_execution", start)


def a_closed_market_saves_what_would_be_refused(patch: Patch) -> None:
    real = trading.start_execution

    def start(account: Any, known: Order, *rest: Any, **words: Any) -> Any:
        if words["is_open"]:
            return real(account, known, *rest, **words)
        waits = order.make_pending(known, "market_closed", at_us=words["at_us"])
        return trading.Decided([], waits, [])

    patch.setattr(trading, "start_execution", start)


def what_other_sells_leave_keeps_the_rules(patch: Patch) -> None:
    is_whole = property(lambda asked: asked.side == "sell" and asked.amount == asked.held)
    patch.setattr(checks.OrderCase, "is_all_held", is_whole)


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
    fee_rounds_half_up,
    notional_of_a_buy_rounds_half_up,
    notional_of_a_sell_rounds_half_up,
    notional_of_a_sell_rounds_up,
    a_minimum_fee_rounds_down,
    an_old_order_is_rounded_by_the_rule_of_today,
    new_orders_follow_the_rule_of_the_first_release,
    what_is_worth_nothing_is_accepted,
    a_side_that_is_not_traded_is_traded,
    nothing_is_checked_at_sending,
    the_value_is_checked_at_placing_only,
    the_operators_least_value_is_forgotten,
    all_that_is_held_can_be_too_small,
    every_sell_counts_as_all_that_is_held,
    orders_of_suspended_accounts_are_sent,
    orders_are_sent_to_closed_markets,
    a_closed_market_saves_what_would_be_refused,
    what_other_sells_leave_keeps_the_rules,
]


NOT_CAUGHT = (TypeError, NameError, AttributeError, RecursionError)
"""Errors of a mutant itself, not of the rule that it breaks."""


def caught_by(runs: int) -> str | None:
    """What the first failing run said, None if none fails."""
    for seed in range(runs):
        try:
            run = Run(seed, twice=True)
            run.go(STEPS)
            run.agree()
        except NOT_CAUGHT:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


def test_the_rules_as_they_are_pass() -> None:
    assert caught_by(RUNS // 4) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert caught_by(RUNS), "no run noticed"


# --- rules that random runs do not come to: the tables catch them ---------------------------------


def maturity_is_not_checked(patch: Patch) -> None:
    _unchecked(patch, "matured")


def trading_rules_are_not_checked(patch: Patch) -> None:
    _unchecked(patch, "trading_rules")


def overdrawn_accounts_buy_on(patch: Patch) -> None:
    _unchecked(patch, "account_overdrawn")


def digits_are_not_counted(patch: Patch) -> None:
    _unchecked(patch, "quantity_too_large")


def matured_orders_wait_for_a_price(patch: Patch) -> None:
    real = checks.failed
    patch.setattr(checks, "failed", lambda asked: None if asked.quantity is None else real(asked))


def fees_of_a_type_go_before_those_of_an_instrument(patch: Patch) -> None:
    patch.setattr(fees, "PRECEDENCE", tuple(reversed(fees.PRECEDENCE)))


def fees_know_no_tenants(patch: Patch) -> None:
    patch.setattr(fees, "PRECEDENCE", fees.PRECEDENCE[3:])


def a_minimum_fee_is_of_any_currency(patch: Patch) -> None:
    real = fees.rule_for
    patch.setattr(fees, "rule_for", lambda *words: real(*words[:-1], "USD"))


BY_TABLES: list[Callable[[Patch], None]] = [
    maturity_is_not_checked,
    trading_rules_are_not_checked,
    overdrawn_accounts_buy_on,
    digits_are_not_counted,
    matured_orders_wait_for_a_price,
    fees_of_a_type_go_before_those_of_an_instrument,
    fees_know_no_tenants,
    a_minimum_fee_is_of_any_currency,
]


def hold_the_tables() -> None:
    """Raises AssertionError for the first row that no longer holds."""
    for row in test_sending.ROWS:
        test_sending.test_what_comes_of_an_order_that_waited(row)
    for row in test_refusals.ROWS:
        test_refusals.test_refusal(row)
    for row in test_fees.ROWS:
        test_fees.test_the_first_setting_that_matches_counts(row)
    test_fees.test_a_minimum_is_of_a_currency_and_of_one_setting_only()


@pytest.mark.parametrize("mutant", BY_TABLES, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_breaks_a_table(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    hold_the_tables()
    mutant(monkeypatch)
    with pytest.raises((AssertionError, Refused)):
        hold_the_tables()
