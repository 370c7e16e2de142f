"""Rules of busts, corrections and reports booked by hand, broken on purpose: random runs catch each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import booking, busting, checks, cost, holdings, position, report, trading
from engine.domain import order as orders
from engine.domain.bookings import BuyBusted, SellBusted
from engine.domain.order import Order, Trade
from engine.domain.position import Balance
from engine.kernel.fact import Fact
from engine.kernel.values import EXACT, STEPS, ZERO
from tests.laws.market_runs import MarketRun
from tests.laws.test_mutants import NOT_CAUGHT

RUNS, STEPS_OF_A_RUN = 100, 100
Patch = pytest.MonkeyPatch

real_bust, real_moved, real_correct = busting.bust_trade, busting.book_bust, busting.correct_trade


def _busts(patch: Patch, change: Callable[[Order, Trade, Any], Any]) -> None:
    """Each TradeBusted is another one."""

    def bust(order: Order, known: Trade, *rest: Any, **words: Any) -> Any:
        return change(order, known, real_bust(order, known, *rest, **words))

    patch.setattr(busting, "bust_trade", bust)


def _moves(patch: Patch, change: Callable[[Trade, Any], Any]) -> None:
    """Each BuyBusted or SellBusted is another one."""

    def moved(account: Any, order: Order, known: Trade, busted: Any) -> list[Fact]:
        *opened, fact = real_moved(account, order, known, busted)
        return [*opened, change(known, fact)]

    patch.setattr(busting, "book_bust", moved)


def the_fee_is_kept(patch: Patch) -> None:
    _busts(patch, lambda _, __, fact: replace(fact, fee=ZERO))


def a_trade_gives_back_its_own_figures(patch: Patch) -> None:
    _busts(
        patch,
        lambda _, known, fact: replace(fact, notional=known.terms.notional, fee=known.terms.fee),
    )


def the_minimum_fee_is_due_without_a_trade(patch: Patch) -> None:
    def change(order: Order, _: Trade, fact: Any) -> Any:
        total = EXACT.subtract(order.traded_notional, fact.notional)
        return replace(fact, fee=EXACT.subtract(order.charged, booking.fees_at(order.terms, total)))

    _busts(patch, change)


def the_reservation_gets_nothing_back(patch: Patch) -> None:
    _busts(patch, lambda _, __, fact: replace(fact, reserved=ZERO))


def _back(order: Order, fact: Any) -> Decimal:
    is_sell = order.terms.side == "sell"
    back: Decimal = fact.quantity if is_sell else EXACT.add(fact.notional, fact.fee)
    return back


def an_ended_order_reserves_again(patch: Patch) -> None:
    _busts(patch, lambda order, _, fact: replace(fact, reserved=min(_back(order, fact), order.drawn)))


def the_reservation_gets_all_back(patch: Patch) -> None:
    def change(order: Order, _: Trade, fact: Any) -> Any:
        return replace(fact, reserved=_back(order, fact) if order.status == "executing" else ZERO)

    _busts(patch, change)


def what_was_due_stays_due(patch: Patch) -> None:
    _moves(patch, lambda _, fact: replace(fact, unsettled=ZERO))


def a_settled_trade_counts_as_due(patch: Patch) -> None:
    _moves(patch, lambda _, fact: replace(fact, is_settled=False))


def a_due_trade_counts_as_settled(patch: Patch) -> None:
    _moves(patch, lambda _, fact: replace(fact, is_settled=True))


def the_cost_stays(patch: Patch) -> None:
    """At the last known cost of the units, as far as the facts know one."""

    def with_cost(facts: list[Fact], past: Iterable[Fact], instrument: str) -> list[Fact]:
        known = [one for one in past if getattr(one, "instrument", None) == instrument]
        before = cost.counted_anew(known, instrument)
        return [replace(one, cost=before) if hasattr(one, "cost") else one for one in facts]

    patch.setattr(trading.cost, "with_cost", with_cost)


def a_correction_counts_as_the_last_trade(patch: Patch) -> None:
    def counted(facts: Iterable[Fact], instrument: str) -> Decimal:
        of = [one for one in facts if getattr(one, "instrument", None) == instrument]
        busted = {one.trade for one in of if isinstance(one, BuyBusted | SellBusted)}
        held = worth = ZERO
        for one in of:
            if isinstance(one, cost.Trade) and one.trade not in busted:
                held, worth = cost.after_trade(held, worth, one)
        return worth

    patch.setattr(cost, "counted_anew", counted)


def a_bust_is_booked_twice(patch: Patch) -> None:
    real = busting.obstacle

    def obstacle(*rest: Any) -> str | None:
        found = real(*rest)
        return None if found == "busted_before" else found

    patch.setattr(busting, "obstacle", obstacle)


def a_correction_may_pass_the_order(patch: Patch) -> None:
    patch.setattr(booking, "trade_fault", lambda *_: None)


def a_correction_is_judged_beside_the_first_trade(patch: Patch) -> None:
    def contradiction(order: Order, report: Any, *rest: Any, **words: Any) -> str | None:
        fault = busting.obstacle(order, report, *rest)
        if fault or report.kind == "trade_bust":
            return fault
        return booking.trade_fault(order, report, words["trade_date"], words["at_us"], None)

    patch.setattr(busting, "contradiction", contradiction)


def a_correction_draws_nothing(patch: Patch) -> None:
    patch.setattr(busting, "correct_trade", lambda *rest: replace(real_correct(*rest), reserved=ZERO))


def nothing_left_is_never_settled(patch: Patch) -> None:
    real = orders.settle
    patch.setattr(
        orders, "settle", lambda state, **words: real(state, **words) if state.remaining else []
    )


def busted_trades_fill_an_order(patch: Patch) -> None:
    def fill(state: Order, reason: str = "unfilled", *, at_us: int) -> list[Fact]:
        if not orders.can(state, orders.Filled):
            return []
        return [orders.Filled(at_us) if state.trades else orders.Cancelled(reason, None, at_us)]

    patch.setattr(orders, "fill", fill)


def a_busted_trade_settles(patch: Patch) -> None:
    real = orders.settle_trade

    def settle(state: Order, trade: str, *rest: Any, **words: Any) -> Any:
        known = state.trade(trade)
        if known is not None and known.status == "busted" and orders.can(state, orders.TradeSettled):
            return [orders.TradeSettled(trade, words["at_us"])]
        return real(state, trade, *rest, **words)

    patch.setattr(orders, "settle_trade", settle)


def a_new_position_loses_reserved_units(patch: Patch) -> None:
    real = position._opened

    def opened(former: Any, fact: Any) -> Any:
        return replace(real(former, fact), units=Balance.zero(STEPS[fact.decimal_precision]))

    patch.setattr(position, "_opened", opened)


def an_order_waits_for_late_trades(patch: Patch) -> None:
    real = orders._executed
    patch.setattr(orders, "_executed", lambda *rest: replace(real(*rest), is_late=False))


def a_report_booked_by_hand_draws_on_the_reservation(patch: Patch) -> None:
    real = holdings.book

    def book(state: Any, order: Order, trade: Any) -> list[Fact]:
        plain = orders.TradeRecorded(
            *(getattr(trade, name) for name in orders.TradeRecorded.__struct_fields__)
        )
        return real(state, order, plain)

    patch.setattr(holdings, "book", book)


def what_is_too_much_can_never_be_booked(patch: Patch) -> None:
    patch.setattr(report, "BOOKABLE", report.BOOKABLE - {"too_much"})


def an_unknown_trade_can_never_be_busted(patch: Patch) -> None:
    patch.setattr(report, "BOOKABLE", report.BOOKABLE - {"unknown_trade"})


def overdrawn_accounts_buy(patch: Patch) -> None:
    patch.setattr(checks, "check_overdrawn", lambda _: None)


def lacking_units_cannot_be_bought(patch: Patch) -> None:
    def overdrawn(asked: Any) -> None:
        if asked.side == "buy":
            checks.check_overdrawn(asked.lacking)

    judged = tuple(
        one._replace(check=overdrawn) if one.reason == "account_overdrawn" else one
        for one in checks.CHECKS
    )
    patch.setattr(checks, "CHECKS", judged)


MUTANTS: list[Callable[[Patch], None]] = [
    the_fee_is_kept,
    a_trade_gives_back_its_own_figures,
    the_minimum_fee_is_due_without_a_trade,
    the_reservation_gets_nothing_back,
    an_ended_order_reserves_again,
    the_reservation_gets_all_back,
    what_was_due_stays_due,
    a_settled_trade_counts_as_due,
    a_due_trade_counts_as_settled,
    the_cost_stays,
    a_correction_counts_as_the_last_trade,
    a_bust_is_booked_twice,
    a_correction_may_pass_the_order,
    a_correction_is_judged_beside_the_first_trade,
    a_correction_draws_nothing,
    nothing_left_is_never_settled,
    busted_trades_fill_an_order,
    a_busted_trade_settles,
    a_new_position_loses_reserved_units,
    an_order_waits_for_late_trades,
    a_report_booked_by_hand_draws_on_the_reservation,
    what_is_too_much_can_never_be_booked,
    an_unknown_trade_can_never_be_busted,
    overdrawn_accounts_buy,
    lacking_units_cannot_be_bought,
]


def caught_by(runs: int, kind: type[MarketRun] = MarketRun) -> str | None:
    """The failure of the first run that fails, None if none does."""
    for seed in range(runs):
        try:
            run = kind(seed, twice=True)
            run.go(STEPS_OF_A_RUN)
            run.agree()
        except NOT_CAUGHT:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_of_busts_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert caught_by(RUNS), "no run noticed"
