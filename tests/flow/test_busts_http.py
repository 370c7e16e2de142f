"""Busts and corrections over HTTP, on both databases: orders, money, ledger, positions, events; the way
back.

At the end the journal is audited, and judged by the independent checker with its views, as they are and
rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions
from projections import rebuild
from projections.jobs import findings_of
from tests.flow.test_execution_reports import Case
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, selling


@pytest.fixture(scope="module", autouse=True)
def sound(module_engine: Engine) -> Iterator[None]:
    yield
    engine = module_engine
    assert audit(engine.journal.datastore, AuditOptions()).findings == []
    engine.project()
    names = ["orders", "balances", "positions", "events", "accounts", "working"]
    wanted = rebuild.RebuildRequest("verify", names)
    assert findings_of(rebuild.run(engine.journal, engine.views, wanted)).differing == 0


class Trade(Case):
    """An order with one trade of 0.09 for 9.00 and 0.05, and short words for its account."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        assert self.tell("x", "trade", quantity="0.09") == "booked"

    def bust(self, reference: str, of: str = "x") -> str:
        return self.tell(reference, "trade_bust", refers_to=f"{self.order}/{of}")

    def correct(self, reference: str, quantity: str, of: str = "x", price: str = "100") -> str:
        words = {"quantity": quantity, "price": price, "refers_to": f"{self.order}/{of}"}
        return self.tell(reference, "trade_correct", **words)

    def get(self, path: str) -> Any:
        self.engine.project()
        return ok(self.client.get(f"/accounts/{self.account}{path}"))

    def events(self, name: str) -> list[dict[str, Any]]:
        self.engine.project()
        found: list[dict[str, Any]] = ok(self.client.get(f"/events?name={name}"))
        return found

    def settle(self) -> None:
        self.engine.settle(self.order)


@pytest.fixture
def case(engine: Engine) -> Trade:
    return Trade(engine)


def test_a_settled_trade_is_busted(case: Trade) -> None:
    assert case.tell("end", "expired") == "booked"
    case.settle()
    assert case.seen() == ("settled", "0.09", None)
    before = case.get("/transactions?limit=3")
    assert case.cash() == {"total": "990.95", "reserved": "0.00"}
    told = ok(case.send("b", "trade_bust", refers_to=f"{case.order}/x"))
    order = case.get(f"/orders/{case.order}")
    (trade,) = order["trades"]
    assert (told["status"], told["trade"]) == ("booked", trade["id"])
    assert (order["status"], order["traded_notional"], order["fees"]) == ("settled", "0.00", "0.00")
    assert (trade["status"], trade["corrects"], trade["settled_at"] is None) == ("busted", None, False)
    assert case.cash() == {"total": "1000.00", "reserved": "0.00"}
    rows = [one for one in case.get("/transactions") if one["transaction_type"] == "reversal"]
    assert [(row["cash_amount"], row["reference"]) for row in rows] == [
        ("0.05", trade["id"]), ("9.00", trade["id"]),
    ]  # fmt: skip
    assert case.get("/transactions")[2:5] == before
    positions = case.get("/positions")
    assert [(one["total"], one["status"], one["total_buy_trades"]) for one in positions] == [
        ("0.00", "closed", 1)
    ]
    (event,) = case.events("trade.busted")
    assert (event["resource"], event["sequence"]) == ({"id": trade["id"], "resource_type": "trade"}, 3)
    assert event["data"] == trade


def test_a_trade_is_corrected_and_settles(case: Trade) -> None:
    assert case.tell("end", "expired") == "booked"
    told = ok(case.send("c", "trade_correct", refers_to=f"{case.order}/x", price="99", quantity="0.08"))
    order = case.get(f"/orders/{case.order}")
    first, second = order["trades"]
    assert (told["trade"], second["corrects"], first["status"]) == (second["id"], first["id"], "busted")
    assert (order["status"], order["traded_notional"], order["fees"]) == ("filled", "7.92", "0.04")
    assert case.cash() == {"total": "992.04", "reserved": "0.00"}
    (position,) = case.get("/positions")
    assert (position["total"], position["average_price"]) == ("0.08", "99.00000000")
    (event,) = case.events("trade.corrected")
    assert (event["data"], event["sequence"]) == (second, 1)
    case.settle()
    assert case.seen() == ("settled", "0.08", None)
    assert [one["name"] for one in case.events("trade.settled")] == ["trade.settled"]


def test_a_report_of_a_bust_counts_once(case: Trade) -> None:
    first = case.send("b", "trade_bust", refers_to=f"{case.order}/x")
    head = case.engine.journal.head
    again = [
        case.send("b", "trade_bust", refers_to=f"{case.order}/x"),
        case.send("b", "trade_correct", refers_to=f"{case.order}/x", price="1", quantity="0.01"),
        case.send("b", "trade"),
    ]
    assert {reply.body for reply in again} == {first.body}
    assert case.engine.journal.head == head
    assert case.bust("other") == "parked busted_before"


def test_a_bust_before_its_trade_is_booked_by_persons(case: Trade) -> None:
    told = ok(case.send("b", "trade_bust", refers_to=f"{case.order}/y"))
    assert (told["status"], told["fault"]) == ("parked", "unknown_trade")
    path = f"/parked-reports/{told['parked_report']}"
    assert case.tell("c", "trade_correct", refers_to=f"{case.order}/x", quantity="0.04", price="100")
    assert case.tell("y", "trade", quantity="0.05") == "booked"
    ok(case.client.post(f"{path}/resolve", {"action": "book", "reason": "the trade has come"}))
    ok(case.client.post(f"{path}/confirm"))
    assert case.seen() == ("executing", "0.04", None)
    shown = ok(case.client.get(path))
    assert (shown["status"], shown["fault"]) == ("booked", "unknown_trade")
    assert [one["status"] for one in case.get(f"/orders/{case.order}")["trades"]] == [
        "busted", "executed", "busted",
    ]  # fmt: skip


def test_an_order_trades_again_after_a_bust(case: Trade) -> None:
    assert (case.bust("b"), case.cash()) == ("booked", {"total": "1000.00", "reserved": "10.00"})
    assert case.tell("y", "trade", quantity="0.09") == "booked"
    assert case.cash() == {"total": "990.95", "reserved": "0.95"}
    assert case.bust("b2", "y") == "booked"
    assert case.tell("end", "expired") == "booked"
    assert case.seen() == ("cancelled", "0.00", "expired")
    assert case.cash() == {"total": "1000.00", "reserved": "0.00"}


def test_units_sold_meanwhile_are_lacking_and_bought_back(case: Trade) -> None:
    assert case.tell("end", "expired") == "booked"
    sold = ok(case.client.post(f"/accounts/{case.account}/orders", selling("0.09")), 201)
    case.engine.execute(sold["id"], ["0.09"])
    assert case.bust("b") == "booked"
    assert case.get("")["is_overdrawn"] is True
    (position,) = case.get("/positions")
    assert (position["total"], position["average_price"]) == ("-0.09", None)
    withdrawal = {"amount": "1.00", "currency": "USD"}
    refused = case.client.post(f"/accounts/{case.account}/withdrawals", withdrawal)
    assert (refused.status, refused.code) == (403, "account_overdrawn")
    bought = ok(case.client.post(f"/accounts/{case.account}/orders", buying("10")), 201)
    case.engine.execute(bought["id"], ["0.09"])
    assert case.get("")["is_overdrawn"] is False


def test_cash_spent_meanwhile_is_lacking_and_deposited(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client, "100.00")
    path = f"/accounts/{account}"
    bought = ok(client.post(f"{path}/orders", buying("100")), 201)
    engine.execute(bought["id"], ["0.99"])
    sold = ok(client.post(f"{path}/orders", selling("0.99")), 201)
    engine.execute(sold["id"], ["0.99"])
    for order in (bought, sold):
        engine.settle(order["id"])
    engine.project()
    (cash,) = ok(client.get(f"{path}/cash-balances"))
    paid = {"amount": cash["total"], "currency": "USD"}
    withdrawn = ok(client.post(f"{path}/withdrawals", paid), 201)
    words = {"tenant": engine.tenant, "account": account, "payment": withdrawn["id"]}
    engine.act(decisions.end_payment, is_completed=True, **words)
    venue = engine.client("venue:sim")
    bust = {
        "venue": "sim", "execution_reference": f"{sold['id']}/b", "order": sold["id"],
        "exec_type": "trade_bust", "refers_to": f"{sold['id']}-0",
        "executed_at": sold["created_at"],
    }  # fmt: skip
    assert ok(venue.post("/execution-reports", bust))["status"] == "booked"
    engine.project()
    (cash,) = ok(client.get(f"{path}/cash-balances"))
    assert (cash["total"], cash["available_for_withdrawal"]) == ("-98.50", "0.00")
    assert ok(client.get(path))["is_overdrawn"] is True
    assert client.post(f"{path}/orders", buying("10")).code == "account_overdrawn"
    ok(client.post(f"{path}/orders", selling("0.10")), 201)
