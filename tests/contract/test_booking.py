"""Parked reports that a person has booked: everything moves, once, by two clients. On both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions
from engine.commands.command import Command
from engine.domain import order as orders
from engine.domain import report as reports
from engine.domain import trading
from engine.domain.order import Order, Settled, TradeApplied
from engine.domain.order_request import OrderRequest
from engine.domain.report import Report, ReportBooked
from engine.kernel.errors import EngineError, Refused
from engine.kernel.refusals import REFUSALS
from tests.support.checkers import invariants
from tests.support.engines.desks import INSTRUMENT, TENANT, Shop, open_shop


@pytest.fixture
def shop(shop: Shop, journal_url: str) -> Iterator[Shop]:
    """At its end the books are audited."""
    yield shop
    assert invariants.check(journal_url) == []
    found = audit(shop.journal.datastore, AuditOptions()).findings
    assert [(one.check, one.text) for one in found] == []


class Desk:
    """Short words for what is asked of a shop about parked reports."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def park(self, order: str, reference: str, quantity: str = "0.10", price: str = "100") -> str:
        words = {"price": Decimal(price), "quantity": Decimal(quantity)}
        self.shop.report(order, reference, "trade", **words)
        return decisions.parked_report_id(Report("sim", reference, order, "trade"))

    def ask(self, parked: str, by: str = "cli_one", action: str = "book") -> str:
        return self._do(decisions.resolve_report, parked, by, action=action)

    def confirm(self, parked: str, by: str = "cli_two", **words: Any) -> str:
        return self._do(decisions.confirm_report, parked, by, firm=self.shop.firm, **words)

    def book(self, parked: str) -> Order:
        """Asked for and confirmed; the order afterwards."""
        assert self.ask(parked) == "booking"
        assert self.confirm(parked) == "booked"
        order: Order = self.shop.desk.state(self.shop.desk.state(parked).report.order)
        return order

    def _do(self, function: Any, parked: str, by: str, **words: Any) -> str:
        """The report's status afterwards, or the code of the refusal."""
        try:
            self.shop.do(function, parked=parked, by=by, **words)
        except Refused as error:
            return error.code
        return str(self.shop.desk.state(parked).status)

    def cash(self, account: str) -> tuple[str, str, str]:
        """(total, reserved, available)."""
        known = self.shop.desk.state(account).holdings.balance("USD")
        return str(known.total), str(known.reserved), str(known.available)

    def units(self, account: str) -> tuple[str, str, str, str]:
        """(total, settled, unsettled, status) of the position."""
        known = self.shop.desk.state(account).holdings.positions[INSTRUMENT]
        return str(known.units.total), str(known.settled), str(known.unsettled), known.status


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return Desk(shop)


def sell(shop: Shop, account: str, quantity: str) -> str:
    order = shop.ids.new("ord")
    words = {"tenant": TENANT, "account": account, "order": order, "instrument": INSTRUMENT}
    shop.do(
        decisions.place_order,
        firm=shop.firm,
        order_request=OrderRequest("sell", quantity=Decimal(quantity)),
        **words,
    )
    shop.start(order)
    return order


def cancelled(shop: Shop, account: str) -> str:
    """A buy of 100.00 that the venue has ended without a trade."""
    order = shop.buy(account)
    shop.start(order)
    shop.report(order, f"{order}-end", "ended")
    return order


def test_a_late_trade_of_a_cancelled_buy_is_booked_and_settles(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    order = cancelled(shop, account)
    booked = desk.book(desk.park(order, "late", "0.40"))
    assert desk.cash(account) == (
        "959.79",
        "0.00",
        "959.79",
    )  # 40.00, and its part of the fee, rounded up: 0.21
    assert desk.units(account) == ("0.40", "0.00", "0.40", "open")
    (trade,) = booked.trades
    assert (booked.status, booked.traded_notional, booked.fees) == (
        "cancelled", Decimal("40.00"), Decimal("0.21"))  # fmt: skip
    assert (trade.is_late, trade.terms.execution_reference) == (True, "late")
    shop.settle(order)
    assert desk.units(account) == ("0.40", "0.40", "0.00", "open")
    after = shop.desk.state(order)
    assert (after.status, after.settled_at_us, after.trades[0].status) == ("cancelled", None, "settled")


def test_settled_waits_for_every_trade_but_those_booked_later(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    order = shop.buy(account)
    shop.execute(order)
    late = desk.park(order, "late", "0.01")
    assert [trade.is_late for trade in desk.book(late).trades] == [False, True]
    first, second = (trade.terms.trade for trade in shop.desk.state(order).trades)
    shop.do(decisions.settle_trade, order=order, trade=first)
    assert shop.desk.state(order).status == "settled"
    shop.do(decisions.settle_trade, order=order, trade=second)
    after = shop.desk.state(order)
    assert [trade.status for trade in after.trades] == ["settled", "settled"]
    again = desk.book(desk.park(order, "later still", "0.02"))
    assert (again.status, str(again.traded_quantity)) == ("settled", "1.02")


@pytest.mark.parametrize("settles_first", [True, False])
def test_a_late_trade_that_settles_first_settles_no_order(
    shop: Shop, desk: Desk, *, settles_first: bool
) -> None:
    account = shop.open()
    order = shop.buy(account)
    shop.execute(order)
    desk.book(desk.park(order, "late", "0.01"))
    trades = [trade.terms.trade for trade in shop.desk.state(order).trades]
    for trade in reversed(trades) if settles_first else trades:
        shop.do(decisions.settle_trade, order=order, trade=trade)
    names = [type(one.fact).__name__ for one in shop.journal.stream(order)][-3:]
    settled = ["TradeSettled", "TradeSettled", "Settled"]
    assert names == (settled if settles_first else [settled[0], settled[2], settled[1]])


def test_too_much_and_too_dear_leave_the_reservation_alone(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    order = shop.buy(account)
    shop.start(order)
    assert desk.cash(account) == ("1000.00", "100.00", "900.00")
    much = desk.park(order, "much", "1.50")
    dear = desk.park(order, "dear", "0.99", price="101")
    assert [shop.desk.state(one).fault for one in (much, dear)] == ["too_much", "too_dear"]
    booked = desk.book(much)
    assert (booked.status, str(booked.traded_notional), str(booked.fees)) == (
        "executing", "150.00", "0.50")  # fmt: skip
    assert desk.cash(account) == ("849.50", "100.00", "749.50")
    desk.book(dear)
    shop.report(order, "end", "ended")
    shop.settle(order)
    after = shop.desk.state(order)
    assert (after.status, str(after.traded_quantity), str(after.traded_notional)) == (
        "settled", "2.49", "249.99")  # fmt: skip
    assert desk.cash(account) == ("749.51", "0.00", "749.51")


def test_a_true_last_fill_behind_a_booked_too_much_waits_for_the_desk_too(
    shop: Shop, desk: Desk
) -> None:
    """As docs/lifecycle.md tells the desk: what was booked counts as traded."""
    account = shop.open()
    order = shop.buy(account)  # 0.99
    shop.start(order)
    shop.report(order, "first", "trade", price=Decimal(100), quantity=Decimal("0.50"))
    desk.book(desk.park(order, "much", "0.60"))
    last = desk.park(order, "last", "0.49")
    assert shop.desk.state(last).fault == "too_much"
    shop.report(order, "end", "ended")
    assert shop.desk.state(order).status == "filled"
    booked = desk.book(last)
    assert (booked.status, str(booked.traded_quantity)) == ("filled", "1.59")
    assert (desk.units(account)[0], desk.cash(account)[1]) == ("1.59", "0.00")


def test_a_late_sell_takes_what_is_not_there_any_more(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    bought = shop.buy(account)
    shop.execute(bought)  # 0.99 for 99.00 and 0.50
    order = sell(shop, account, "0.50")
    shop.report(order, f"{order}-end", "ended")
    shop.execute(sell(shop, account, "0.99"))
    assert desk.units(account)[0] == "0.00"
    booked = desk.book(desk.park(order, "late", "0.50"))
    assert desk.units(account) == ("-0.50", "-0.50", "0.00", "open")
    assert (booked.status, str(booked.net_cash_amount)) == ("cancelled", "49.75")
    desk.book(desk.park(bought, "more", "0.50"))
    assert desk.units(account)[0] == "0.00"
    assert shop.desk.state(account).holdings.positions[INSTRUMENT].average_price is None


def test_a_late_sell_of_a_closed_position_opens_another(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    bought = shop.buy(account)
    shop.execute(bought)
    order = sell(shop, account, "0.50")
    shop.report(order, f"{order}-end", "ended")
    sold = sell(shop, account, "0.99")
    shop.execute(sold)
    for each in (bought, sold):
        shop.settle(each)
    first = shop.desk.state(account).holdings.positions[INSTRUMENT].id
    desk.book(desk.park(order, "late", "0.50"))
    shop.settle(order)
    last = shop.desk.state(account).holdings.positions[INSTRUMENT]
    assert (last.id != first, last.status, str(last.units.total)) == (True, "open", "-0.50")


def test_booking_may_overdraw_cash_and_money_brings_it_back(shop: Shop, desk: Desk) -> None:
    account = shop.open("100.00")
    order = cancelled(shop, account)
    shop.execute(shop.buy(account, "100.00"))
    parked = desk.park(order, "late", "0.99")
    desk.book(parked)
    assert desk.cash(account) == ("-99.00", "0.00", "-99.00")
    with pytest.raises(Refused) as caught:
        shop.buy(account, "1.00")
    assert caught.value.code == "account_overdrawn"
    shop.deposit(account, "50.00")
    assert desk.cash(account) == ("-49.00", "0.00", "-49.00")
    shop.execute(sell(shop, account, "1.98"))
    assert desk.cash(account)[0] == "148.01"


def cancel(shop: Shop, account: str, order: str) -> None:
    """The client asks, and the venue has stopped."""
    shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=order)
    shop.report(order, f"{order}-cancelled", "cancelled")


@pytest.mark.parametrize("way", ["deposit", "sell", "cancelled buy", "parked sell"])
def test_lacking_cash_comes_back_by_each_way_that_is_told(shop: Shop, desk: Desk, way: str) -> None:
    account = shop.open("200.00")
    ended, bought = cancelled(shop, account), shop.buy(account, "100.00")
    shop.execute(bought)
    unsold, waiting = sell(shop, account, "0.50"), shop.buy(account, "100.00")
    shop.report(unsold, "end", "ended")
    shop.start(waiting)
    desk.book(desk.park(ended, "late", "0.40"))
    assert shop.desk.state(account).lacking == {"USD": Decimal("39.71")}
    ways = {
        "deposit": lambda: shop.deposit(account, "40.00"),
        "sell": lambda: shop.execute(sell(shop, account, "0.80")),
        "cancelled buy": lambda: cancel(shop, account, waiting),
        "parked sell": lambda: desk.book(desk.park(unsold, "late sell", "0.50")),
    }
    ways[way]()
    assert not shop.desk.state(account).is_overdrawn
    assert "Deposits, sells, cancelled buys bring cash" in REFUSALS["account_overdrawn"].when


@pytest.mark.parametrize("way", ["buy", "cancelled sell", "parked buy"])
def test_lacking_units_come_back_by_what_is_told_and_nothing_else(
    shop: Shop, desk: Desk, way: str
) -> None:
    account = shop.open()
    bought, ended = shop.buy(account, "100.00"), cancelled(shop, account)
    shop.execute(bought)
    unsold = sell(shop, account, "0.60")
    shop.report(unsold, "end", "ended")
    waiting = sell(shop, account, "0.90")
    desk.book(desk.park(unsold, "late", "0.60"))
    lacking = {INSTRUMENT: Decimal("0.51")}
    shop.deposit(account, "1000.00")
    with pytest.raises(Refused) as caught:
        sell(shop, account, "0.01")
    assert caught.value.code == "insufficient_units"
    assert shop.desk.state(account).lacking == lacking
    if way == "buy":
        shop.execute(shop.buy(account, "55.00"))
    elif way == "cancelled sell":
        cancel(shop, account, waiting)
    else:
        desk.book(desk.park(ended, "late buy", "0.60"))
    assert not shop.desk.state(account).is_overdrawn
    shop.buy(account, "100.00")
    assert "buys and cancelled sells units" in REFUSALS["account_overdrawn"].when


def test_it_takes_two_clients_and_happens_once(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    parked = desk.park(cancelled(shop, account), "late", "0.40")
    assert desk.confirm(parked) == "invalid_request"  # nobody asks for it
    assert desk.ask(parked, "cli_one") == "booking"
    assert desk.ask(parked, "cli_two") == "booking"  # cli_one has asked
    head = shop.journal.head
    assert desk.confirm(parked, "cli_one") == "same_client"
    assert (shop.journal.head, desk.cash(account)[0]) == (head, "1000.00")
    assert desk.confirm(parked, "cli_one", may_be_asker=True) == "booked"
    for _ in range(2):
        assert desk.confirm(parked, "cli_three") == desk.ask(parked) == "booked"
    assert desk.cash(account)[0] == "959.79"
    assert desk.ask(parked, action="reject") == "invalid_request"
    shop.report(shop.desk.state(parked).report.order, "late", "trade",
                price=Decimal(100), quantity=Decimal("0.40"))  # fmt: skip
    assert desk.cash(account)[0] == "959.79"  # the venue says it again


def test_rejecting_needs_one_client_and_is_final(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    parked = desk.park(cancelled(shop, account), "late")
    desk.ask(parked)
    assert desk.ask(parked, action="reject") == "rejected"
    assert desk.ask(parked, action="reject") == "rejected"
    assert desk.confirm(parked) == desk.ask(parked) == "invalid_request"
    assert desk.cash(account)[0] == "1000.00"


def unbookable(shop: Shop, desk: Desk, account: str) -> dict[str, str]:
    """Fault -> a parked report that has it."""
    waiting, there = shop.buy(account), shop.buy(account)
    shop.start(there)
    ended = cancelled(shop, account)
    found = {
        "too_early": desk.park(waiting, "early"),
        "malformed": desk.park(there, "fine", "0.001"),
        "too_large": desk.park(there, "dear", "2.00", "999999999999999"),
        "late": desk.park(ended, "late and malformed", "0.001"),
        "unknown_order": desk.park("ord_nobody", "unknown"),
    }
    shop.report(there, "bust", "trade_bust", refers_to="nothing")
    bust = Report("sim", "bust", there, "trade_bust")
    found["unknown_trade"] = decisions.parked_report_id(bust)
    return found


def test_what_cannot_be_right_is_not_bookable_and_stays_open(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    for fault, parked in unbookable(shop, desk, account).items():
        assert shop.desk.state(parked).fault == fault
        assert desk.ask(parked) == "report_not_bookable", fault
        assert shop.desk.state(parked).status == "open"


def test_a_late_trade_of_more_money_than_can_be_booked_stays_open(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    parked = desk.park(cancelled(shop, account), "late", "2.00", "999999999999999")
    assert (shop.desk.state(parked).fault, desk.ask(parked)) == ("late", "report_not_bookable")
    assert desk.cash(account)[0] == "1000.00"


def test_nothing_is_booked_on_a_closed_account(shop: Shop, desk: Desk) -> None:
    account = shop.open("0")
    shop.deposit(account, "100.00")
    order = cancelled(shop, account)
    words = {"tenant": TENANT, "account": account}
    payment = {**words, "payment": shop.ids.new("wdr")}
    shop.do(decisions.create_payment, kind="withdrawal", currency="USD", amount=Decimal(100), **payment)
    shop.do(decisions.end_payment, is_completed=True, **payment)
    parked = desk.park(order, "late")
    assert desk.ask(parked) == "booking"
    shop.do(decisions.change_account, status="closed", flags={}, **words)
    assert desk.confirm(parked) == "report_not_bookable"
    assert shop.desk.state(parked).status == "booking"


def test_what_the_first_release_declared_booked_is_booked_once_more(shop: Shop, desk: Desk) -> None:
    account = shop.open()
    parked = desk.park(cancelled(shop, account), "late", "0.40")
    shop.desk.do(Command(partial(declare, parked=parked), TENANT, "cli_old"))
    assert (shop.desk.state(parked).status, desk.cash(account)[0]) == ("booked", "1000.00")
    assert desk.confirm(parked) == "invalid_request"
    desk.book(parked)
    assert desk.cash(account)[0] == "959.79"
    assert desk.ask(parked) == "booked"


def declare(context: Any, *, parked: str) -> Any:
    """What `book` recorded in the first release."""
    yield parked
    return [(parked, [ReportBooked(context.at_us)])]


def test_many_confirm_at_once_on_two_processes_and_it_is_booked_once(
    shop: Shop, desk: Desk, journal_url: str
) -> None:
    account = shop.open()
    parked = desk.park(cancelled(shop, account), "late", "0.40")
    assert desk.ask(parked) == "booking"
    gate = threading.Barrier(4)

    def confirm(place: tuple[Shop, int]) -> str:
        own, number = place
        gate.wait()
        return Desk(own).confirm(parked, f"cli_{number}")

    with open_shop(journal_url) as other, ThreadPoolExecutor(4) as threads:
        answers = threads.map(confirm, [(shop, 1), (other, 2), (shop, 3), (other, 4)])
        assert set(answers) == {"booked"}
    assert desk.cash(account)[0] == "959.79"
    assert len(shop.desk.state(shop.desk.state(parked).report.order).trades) == 1


# --- rules broken on purpose ----------------------------------------------------------------------


def takes_from_the_reservation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Order, "reserved", property(_reserved))


def _reserved(order: Order) -> Decimal:
    used = order.traded_notional + order.charged
    is_open = order.status in ("placed", "pending", "executing")
    return order.terms.cash_amount - used if is_open and order.terms.cash_amount else Decimal(0)


def moves_nothing(patch: pytest.MonkeyPatch) -> None:
    real = trading.holdings.book
    patch.setattr(
        trading.holdings,
        "book",
        lambda state, order, trade: [] if isinstance(trade, TradeApplied) else real(state, order, trade),
    )


def leaves_the_order_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trading.booking, "apply_trade", lambda trade, report: trade)


def the_decision_is_another_append(patch: pytest.MonkeyPatch) -> None:
    real = trading.apply_report
    patch.setattr(trading, "apply_report", lambda *r, **w: real(*r, **w)._replace(parked=[]))


def every_trade_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    def settle(state: Order, *, at_us: int) -> list[Settled]:
        waits = any(trade.status == "executed" for trade in state.trades)
        return [Settled(at_us)] if orders.can(state, Settled) and not waits else []

    patch.setattr(orders, "settle", settle)


def the_asker_confirms(patch: pytest.MonkeyPatch) -> None:
    real = reports.confirm
    patch.setattr(reports, "confirm", lambda *r, **w: real(*r, **{**w, "may_be_asker": True}))


def anything_is_bookable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reports, "check_bookable", lambda state: None)
    patch.setattr(trading.booking, "unbookable", lambda *rest: None)


MUTANTS = (
    takes_from_the_reservation, moves_nothing, leaves_the_order_alone, the_decision_is_another_append,
    every_trade_is_waited_for, the_asker_confirms, anything_is_bookable,
)  # fmt: skip
LAWS = (
    test_settled_waits_for_every_trade_but_those_booked_later,
    test_too_much_and_too_dear_leave_the_reservation_alone,
    test_it_takes_two_clients_and_happens_once,
    test_what_cannot_be_right_is_not_bookable_and_stays_open,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, EngineError)):
        _keep_all_laws(tmp_path)


def _keep_all_laws(directory: Path) -> None:
    for number, law in enumerate(LAWS):
        url = f"sqlite:///{directory}/{number}.db"
        with open_shop(url) as shop:
            law(shop, Desk(shop))
        assert invariants.check(url) == []


def test_the_rules_as_they_are_keep_all_laws(tmp_path: Path) -> None:
    _keep_all_laws(tmp_path)
