"""Rules of an instrument's life broken on purpose: each must be caught by a few dozen random lives."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import bookings, distribution, holdings, position, rollover, servicing, split, trading
from engine.domain.moves import MOVES, Move
from engine.domain.order import Order
from engine.domain.position import CASH_MOVES, UNIT_MOVES, Position
from engine.kernel.values import EXACT, total_of
from tests.laws.lives import Life
from tests.laws.test_mutants import NOT_CAUGHT

LIVES, STEPS = 80, 200
Patch = pytest.MonkeyPatch

real_entitled, real_settling = Position.entitled, Position.settling
real_maturity, real_release, real_place = rollover.at_maturity, holdings.release, rollover.place
real_reorganised, real_apply = position._reorganised, split.apply


def _moves(patch: Patch, kind: Any, *moves: Move) -> None:
    patch.setitem(MOVES, kind, moves)
    for asset, table in (("cash", CASH_MOVES), ("units", UNIT_MOVES)):
        patch.setitem(table, kind, tuple(move for move in moves if move.asset == asset))


# --- coupons and dividends ------------------------------------------------------------------------


def the_ex_date_itself_is_entitled(patch: Patch) -> None:
    def entitled(self: Position, ex_date: Any) -> Decimal:
        later = total_of(one.units for one in self.dated if one.day > ex_date)
        return EXACT.subtract(self.units.total, later)

    patch.setattr(Position, "entitled", entitled)


def income_is_paid_on_all_that_is_held(patch: Patch) -> None:
    patch.setattr(Position, "entitled", lambda self, _: self.units.total)


def income_is_rounded_up(patch: Patch) -> None:
    patch.setattr(distribution, "ROUND_FLOOR", ROUND_CEILING)


def income_is_paid_again(patch: Patch) -> None:
    patch.setattr(position, "_applied", lambda held, _: held.applied)


def income_forgets_its_divisor(patch: Patch) -> None:
    real = distribution.amount_for

    def amount_for(action: Any, *rest: Any) -> Decimal:
        return real(replace(action, terms=replace(action.terms, divisor=1)), *rest)

    patch.setattr(distribution, "amount_for", amount_for)


def income_before_a_split_is_paid_on_units_after_it(patch: Patch) -> None:
    patch.setattr(Position, "entitled", lambda self, day: real_entitled(replace(self, before=()), day))


# --- maturity -------------------------------------------------------------------------------------


def a_redemption_waits_for_nothing(patch: Patch) -> None:
    patch.setattr(distribution, "_check_redeemable", lambda *_, **__: None)


def units_stay_after_a_redemption(patch: Patch) -> None:
    _moves(patch, servicing.PositionMatured, Move("cash", "outside", "settled", "amount"))


# --- splits ---------------------------------------------------------------------------------------


def _split(patch: Patch, **words: Callable[[Any], Any]) -> None:
    def apply(*rest: Any, **more: Any) -> Any:
        return [
            replace(fact, **{name: change(fact) for name, change in words.items()})
            if isinstance(fact, servicing.PositionSplit)
            else fact
            for fact in real_apply(*rest, **more)
        ]

    patch.setattr(split, "apply", apply)


def a_split_scales_the_cost(patch: Patch) -> None:
    def reorganised(held: Position, fact: Any) -> Position:
        after = real_reorganised(held, fact)
        is_split = isinstance(fact, servicing.PositionSplit)
        return replace(after, cost=after.cost * fact.units_to) if is_split else after

    patch.setattr(position, "_reorganised", reorganised)


def the_lost_fraction_is_not_paid(patch: Patch) -> None:
    _split(patch, amount=lambda fact: fact.amount * 0)


def a_split_rounds_units_up(patch: Patch) -> None:
    patch.setattr(split, "ROUND_FLOOR", ROUND_CEILING)


def unsettled_units_are_not_split(patch: Patch) -> None:
    _split(patch, unsettled_after=lambda fact: fact.unsettled_before)


def a_settlement_moves_units_of_before_the_split(patch: Patch) -> None:
    patch.setattr(Position, "settling", lambda self, quantity, _: quantity)


def a_split_does_not_wait(patch: Patch) -> None:
    patch.setattr(split, "_check", lambda *_: None)


def orders_are_accepted_before_the_split_has_come(patch: Patch) -> None:
    patch.setattr(split, "awaits", lambda *_, **__: False)


# --- rollovers ------------------------------------------------------------------------------------


def the_fee_is_outside_the_face_value(patch: Patch) -> None:
    def face_value(terms: Any, units: Decimal) -> Decimal:
        face = EXACT.multiply(units, terms.par_value)
        return (face + face * Decimal("0.005")).quantize(Decimal("0.01"))

    patch.setattr(rollover, "face_value", face_value)


def the_face_value_is_rounded_up(patch: Patch) -> None:
    def face_value(terms: Any, units: Decimal) -> Decimal:
        return EXACT.multiply(units, terms.par_value).quantize(Decimal("0.01"), ROUND_CEILING)

    patch.setattr(rollover, "face_value", face_value)


def the_receivable_is_not_returned(patch: Patch) -> None:
    _moves(patch, servicing.RolloverPaid)


def only_the_notional_is_returned(patch: Patch) -> None:
    _moves(patch, servicing.RolloverPaid, Move("cash", "settled", "receivable", "notional"))


def a_rollover_spends_cash_of_before(patch: Patch) -> None:
    _moves(
        patch,
        servicing.RolloverBooked,
        Move("cash", "settled", "outside", "notional"),
        Move("cash", "settled", "fees", "fee"),
        Move("units", "outside", "unsettled", "quantity"),
    )


def an_open_rollover_is_not_funded(patch: Patch) -> None:
    def at_maturity(*rest: Any, **words: Any) -> Any:
        matured = real_maturity(*rest, **words)
        kept = [one for one in matured.account if not isinstance(one, bookings.FundsReserved)]
        return matured._replace(account=kept)

    patch.setattr(rollover, "at_maturity", at_maturity)


def units_of_a_rollover_that_failed_stay_reserved(patch: Patch) -> None:
    def release(order: Order, **words: Any) -> Any:
        kept = real_release(order, **words)
        return [one for one in kept if not isinstance(one, servicing.RolloverReleased)]

    patch.setattr(holdings, "release", release)


def a_rollover_that_failed_is_tried_again(patch: Patch) -> None:
    real = position._serviced

    def serviced(held: Position, fact: Any) -> Position:
        after = real(held, fact)
        is_skipped = isinstance(fact, servicing.RolloverSkipped)
        return replace(after, is_rollover_skipped=False) if is_skipped else after

    patch.setattr(position, "_serviced", serviced)


def suspended_accounts_roll_over(patch: Patch) -> None:
    def place(account: Any, *rest: Any, **words: Any) -> Any:
        return real_place(replace(account, status="active"), *rest, **words)

    patch.setattr(rollover, "place", place)


def units_that_a_sell_has_roll_over(patch: Patch) -> None:
    def place(account: Any, old: Any, *rest: Any, **words: Any) -> Any:
        state, held = account.holdings, account.holdings.positions.get(old.id)
        if held is not None and held.rollover is None:
            units = replace(held.units, settled=held.units.settled + held.units.reserved)
            positions = state.positions | {old.id: replace(held, units=units)}
            account = replace(account, holdings=replace(state, positions=positions))
        return real_place(account, old, *rest, **words)

    patch.setattr(rollover, "place", place)


def a_customer_cancels_a_rollover(patch: Patch) -> None:
    real = trading.orders.request_cancel

    def request_cancel(state: Order, **words: Any) -> Any:
        return real(replace(state, is_funded=True), **words)

    patch.setattr(trading.orders, "request_cancel", request_cancel)


MUTANTS: list[Callable[[Patch], None]] = [
    the_ex_date_itself_is_entitled,
    income_is_paid_on_all_that_is_held,
    income_is_rounded_up,
    income_is_paid_again,
    income_forgets_its_divisor,
    income_before_a_split_is_paid_on_units_after_it,
    a_redemption_waits_for_nothing,
    units_stay_after_a_redemption,
    a_split_scales_the_cost,
    the_lost_fraction_is_not_paid,
    a_split_rounds_units_up,
    unsettled_units_are_not_split,
    a_settlement_moves_units_of_before_the_split,
    a_split_does_not_wait,
    orders_are_accepted_before_the_split_has_come,
    the_fee_is_outside_the_face_value,
    the_face_value_is_rounded_up,
    the_receivable_is_not_returned,
    only_the_notional_is_returned,
    a_rollover_spends_cash_of_before,
    an_open_rollover_is_not_funded,
    units_of_a_rollover_that_failed_stay_reserved,
    a_rollover_that_failed_is_tried_again,
    suspended_accounts_roll_over,
    units_that_a_sell_has_roll_over,
    a_customer_cancels_a_rollover,
]


def caught_by(lives: int) -> int | None:
    """The first seed that failed, None if none did."""
    for seed in range(lives):
        try:
            life = Life(seed, twice=True)
            life.go(STEPS)
            life.agree()
        except NOT_CAUGHT:
            raise
        except Exception:
            return seed
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert caught_by(LIVES) is not None, "no life noticed"
