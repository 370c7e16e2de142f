"""Execution reports over HTTP: booked once, parked if they contradict, refused if they are no reports.

F11 of a venue that delivers its reports itself, on both databases.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.commands import decisions
from engine.kernel.errors import Refused
from engine.kernel.times import rfc3339
from engine.kernel.wall import now_us
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok
from tests.support.servers.http_server import Client, Reply

MINUTE_US = 60_000_000


class Case:
    """An order of 10.00 at the venue `sim`, for 0.09 units, and the venue's client."""

    def __init__(self, engine: Engine, *, is_sent: bool = True) -> None:
        self.engine, self.client, self.venue = engine, engine.client(), engine.client("venue:sim")
        a_market(self.client)
        self.account = an_account(self.client)
        placed = ok(self.client.post(f"/accounts/{self.account}/orders", buying("10")), 201)
        self.order = str(placed["id"])
        if is_sent:
            words = {"firm": engine.services.firm, "order": self.order, "venue": "sim"}
            engine.act(decisions.start_execution, **words)

    def body(self, reference: str, exec_type: str, **words: Any) -> dict[str, Any]:
        trade = {"price": "100", "quantity": "0.05"} if exec_type == "trade" else {}
        return {
            "venue": "sim", "execution_reference": f"{self.order}/{reference}", "order": self.order,
            "exec_type": exec_type, "executed_at": rfc3339(now_us()),
        } | trade | words  # fmt: skip

    def send(self, reference: str, exec_type: str, **words: Any) -> Reply:
        return self.venue.post("/execution-reports", self.body(reference, exec_type, **words))

    def tell(self, reference: str, exec_type: str, **words: Any) -> str:
        """The status of a report, with the fault of a parked one."""
        told = ok(self.send(reference, exec_type, **words))
        return " ".join(filter(None, (told["status"], told["fault"])))

    def seen(self) -> tuple[str, str, str | None]:
        """Status, traded quantity and reason of the order, for its client."""
        order = ok(self.client.get(f"/accounts/{self.account}/orders/{self.order}"))
        return order["status"], order["traded_quantity"], order["cancelled_reason"]

    def cash(self) -> dict[str, str]:
        self.engine.project()
        (usd,) = ok(self.client.get(f"/accounts/{self.account}/cash-balances"))
        return {name: usd[name] for name in ("total", "reserved")}


@pytest.fixture
def case(engine: Engine) -> Case:
    return Case(engine)


def test_an_order_is_executed_by_its_venues_reports(case: Case) -> None:
    before = case.cash()
    assert case.tell("a", "accepted") == "noted"
    first = ok(case.send("x1", "trade", quantity="0.04", counterparty="CP", execution_broker="EB"))
    assert (first["status"], first["parked_report"], first["fault"]) == ("booked", None, None)
    assert case.seen() == ("executing", "0.04", None)
    assert case.tell("x2", "trade") == "booked"
    assert case.tell("e", "expired") == "booked"
    assert case.seen() == ("filled", "0.09", None)
    order = ok(case.client.get(f"/accounts/{case.account}/orders/{case.order}"))
    trade = order["trades"][0]
    assert (trade["id"], trade["counterparty"], trade["execution_broker"]) == (
        first["trade"],
        "CP",
        "EB",
    )
    assert (before["reserved"], case.cash()["reserved"]) == ("10.00", "0.00")


ENDS = {
    "rejected": "venue_rejected",
    "expired": "expired",
    "cancelled": "unfilled",
}


@pytest.mark.parametrize("exec_type", ENDS)
def test_an_untraded_order_ends_for_the_venues_reason(case: Case, exec_type: str) -> None:
    assert case.tell("e", exec_type, reason="no such instrument here") == "booked"
    assert case.seen() == ("cancelled", "0", ENDS[exec_type])
    assert case.cash()["reserved"] == "0.00"
    facts = case.engine.journal.stream(case.order)
    assert facts[-1].envelope.reason == "no such instrument here"


def test_a_requested_cancel_is_confirmed(case: Case) -> None:
    ok(case.client.post(f"/accounts/{case.account}/orders/{case.order}/cancel"))
    assert case.tell("r", "cancel_rejected") == "booked"
    assert case.seen()[0] == "executing"
    ok(case.client.post(f"/accounts/{case.account}/orders/{case.order}/cancel"))
    assert case.tell("c", "cancelled") == "booked"
    assert case.seen() == ("cancelled", "0", "requested")


def test_a_report_counts_once_whoever_sends_it_again(case: Case) -> None:
    first = case.send("x1", "trade")
    head = case.engine.journal.head
    assert first.headers["Journal-Offset"]
    other = case.engine.client("venue:sim", tenant="rival")
    again = [
        case.send("x1", "trade"),
        case.send("x1", "trade", quantity="0.01", price="99"),
        case.send("x1", "expired"),
        other.post("/execution-reports", case.body("x1", "trade")),
    ]
    assert {reply.body for reply in again} == {first.body}
    assert {reply.headers["Journal-Offset"] for reply in again} == {first.headers["Journal-Offset"]}
    assert {reply.headers["Idempotency-Replayed"] for reply in again} == {"true"}
    assert (case.engine.journal.head, case.seen()[1]) == (head, "0.05")


def test_many_at_once_are_one_execution(case: Case) -> None:
    replies: list[Reply] = []
    token = {"Authorization": f"Bearer {case.engine.token(_venue(case.engine))}"}
    clients = [case.engine.connect(token) for _ in range(8)]

    def send(client: Client) -> None:
        replies.append(client.post("/execution-reports", case.body("x1", "trade")))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert case.seen()[1] == "0.05"


def _venue(engine: Engine) -> Any:
    return engine.services.clients.create(engine.tenant, ["venue:sim"])


def ago(us: int) -> dict[str, str]:
    return {"executed_at": rfc3339(now_us() - us)}


PARKED: dict[str, tuple[str, dict[str, Any]]] = {
    "an unknown order": ("unknown_order", {"order": "ord_1111111111111111111111"}),
    "what is no order": ("unknown_order", {"order": "something else"}),
    "another instrument": ("wrong_terms", {"instrument": "ins_other"}),
    "another side": ("wrong_terms", {"side": "sell"}),
    "another currency": ("wrong_terms", {"currency": "EUR"}),
    "more than is open": ("too_much", {"quantity": "0.10", "price": "1"}),
    "dearer than the cash": ("too_dear", {"quantity": "0.09", "price": "200"}),
    "a finer quantity": ("malformed", {"quantity": "0.001"}),
    "no quantity": ("malformed", {"quantity": "0"}),
    "before the order": ("wrong_time", ago(60 * MINUTE_US)),
    "in the future": ("wrong_time", ago(-60 * MINUTE_US)),
    "settled before it was traded": ("wrong_settlement", {"settlement_date": "2020-01-01"}),
    "settled in years": ("wrong_settlement", {"settlement_date": "2099-01-01"}),
}


@pytest.mark.parametrize("what", PARKED)
def test_a_trade_that_contradicts_is_parked_and_books_nothing(case: Case, what: str) -> None:
    fault, words = PARKED[what]
    before = case.cash()
    assert case.tell("x1", "trade", **words) == f"parked {fault}"
    assert (case.seen(), case.cash()) == (("executing", "0", None), before)
    told = ok(case.send("x1", "trade", **words))  # once
    parked = ok(case.client.get(f"/parked-reports/{told['parked_report']}"))
    assert (parked["status"], parked["fault"], parked["execution_reference"]) == (
        "open", fault, f"{case.order}/x1",
    )  # fmt: skip
    assert case.tell("x2", "trade") == "booked"


@pytest.mark.parametrize("exec_type", ["trade_bust", "trade_correct"])
def test_busts_and_corrections_are_booked(case: Case, exec_type: str) -> None:
    assert case.tell("x1", "trade") == "booked"
    words = {"price": "100", "quantity": "0.04"} if exec_type == "trade_correct" else {}
    told = case.tell("b1", exec_type, refers_to=f"{case.order}/x1", **words)
    assert (told, case.seen()[1]) == ("booked", "0.04" if words else "0.00")


def test_a_fill_after_the_end_is_parked_and_a_person_books_it(case: Case) -> None:
    assert case.tell("c", "cancelled") == "booked"
    told = ok(case.send("late", "trade"))
    assert (told["status"], told["fault"]) == ("parked", "late")
    path = f"/parked-reports/{told['parked_report']}"
    ok(case.client.post(f"{path}/resolve", {"action": "book", "reason": "on the venue's list"}))
    ok(case.client.post(f"{path}/confirm"))
    assert case.seen() == ("cancelled", "0.05", "unfilled")


def test_the_order_of_another_venue_and_one_not_sent_are_not_touched(engine: Engine) -> None:
    waiting = Case(engine, is_sent=False)
    assert waiting.tell("x1", "trade") == "parked too_early"
    assert waiting.seen()[0] == "placed"
    sent = Case(engine)
    other = engine.client("venue:other")
    body = sent.body("x1", "trade", venue="other")
    assert ok(other.post("/execution-reports", body))["fault"] == "wrong_venue"
    assert sent.tell("x1", "trade") == "booked"  # the same reference, of the right venue


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "another venue": ("body.venue", {"venue": "other"}),
    "a negative price": ("body.price", {"price": "-1"}),
    "a price that is no number": ("body.price", {"price": "NaN"}),
    "a quantity in powers": ("body.quantity", {"quantity": "1e3"}),
    "a trade without a price": ("body.price", {"price": None}),
    "a trade without a quantity": ("body.quantity", {"quantity": None}),
    "a bust of nothing": ("body.refers_to", {"exec_type": "trade_bust"}),
    "an unknown type": ("body.exec_type", {"exec_type": "filled"}),
    "no time": ("body.executed_at", {"executed_at": None}),
    "no time of day": ("body.executed_at", {"executed_at": "2026-03-12"}),
    "an unknown currency": ("body.currency", {"currency": "DOLLAR"}),
    "an unknown side": ("body.side", {"side": "short"}),
    "no reference": ("body.execution_reference", {"execution_reference": ""}),
    "a reference with a control character": (
        "body.execution_reference",
        {"execution_reference": "a\nb"},
    ),
    "an unknown field": ("body.venu", {"venu": "sim"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_report_is_refused_and_recorded_nowhere(case: Case, what: str) -> None:
    path, words = REFUSED[what]
    head = case.engine.journal.head
    reply = case.venue.post("/execution-reports", case.body("x1", "trade") | words)
    assert (reply.status, [param["path"] for param in reply.json["params"]]) == (400, [path])
    assert case.engine.journal.head == head


def test_only_the_scope_of_a_venue_reports(case: Case) -> None:
    all_others = case.engine.client("read", "trade", "operate", "admin")
    reply = all_others.post("/execution-reports", case.body("x1", "trade"))
    assert (reply.status, reply.code) == (403, "insufficient_scope")
    assert case.venue.get(f"/accounts/{case.account}").code == "insufficient_scope"


@pytest.mark.parametrize(
    "scopes", [["venue"], ["venue:"], ["venue:A"], ["venue:a", "venue:b"], ["venue:a b"], ["feeds:a"]]
)
def test_a_client_reports_for_one_venue(case: Case, scopes: list[str]) -> None:
    with pytest.raises(Refused):
        case.engine.services.clients.create("acme", scopes)
