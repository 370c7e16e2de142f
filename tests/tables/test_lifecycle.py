"""What each decision does in each status: the facts of the order, a refusal's code, or a parked report.

`-` decides nothing. `executing*` has a trade, `asked` and `asked*` were asked to cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from engine.domain import order
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.stored import STORED
from engine.kernel.errors import UnknownFact
from tests.support.engines.world import TODAY, VENUE, World
from tests.support.models.table import rows

PRICE = Price(Decimal(100), Decimal(100), 1)
TABLE = """
decision      |placed          |pending         |executing           |executing*          |asked          |asked*         |filled                |settled               |cancelled
place again   |-               |-               |-                   |-                   |-              |-              |-                     |-                     |-
make pending  |MadePending     |-               |-                   |-                   |-              |-              |-                     |-                     |-
start         |ExecutionStarted|ExecutionStarted|-                   |-                   |-              |-              |-                     |-                     |-
trade         |parked too_early|parked too_early|TradeRecorded       |TradeRecorded       |TradeRecorded  |TradeRecorded  |parked late           |parked late           |parked late
same trade    |parked too_early|parked too_early|TradeRecorded       |-                   |TradeRecorded  |-              |-                     |-                     |parked late
too much      |parked too_early|parked too_early|parked too_much     |parked too_much     |parked too_much|parked too_much|parked late           |parked late           |parked late
too dear      |parked too_early|parked too_early|parked too_dear     |parked too_dear     |parked too_dear|parked too_dear|parked late           |parked late           |parked late
ended         |parked too_early|parked too_early|Cancelled           |Filled              |Cancelled      |Filled         |-                     |-                     |-
request cancel|Cancelled       |Cancelled       |CancelRequested     |CancelRequested     |-              |-              |order_cancel_forbidden|order_cancel_forbidden|-
cancelled     |parked too_early|parked too_early|Cancelled           |Filled              |Cancelled      |Filled         |-                     |-                     |-
cancel refused|parked too_early|parked too_early|-                   |-                   |CancelRejected |CancelRejected |-                     |-                     |-
expire        |Cancelled       |Cancelled       |-                   |-                   |-              |-              |-                     |-                     |-
settle        |not_found       |not_found       |not_found           |TradeSettled        |not_found      |TradeSettled   |TradeSettled Settled  |-                     |not_found
settle early  |not_found       |not_found       |not_found           |invalid_request     |not_found      |invalid_request|invalid_request       |-                     |not_found
"""  # noqa: E501  (a table)
ROWS = rows(TABLE)
TRADE = "trd_sim/x1"


def placed() -> World:
    world = World()
    world.put("ins", Terms("Name", "SYM", "stock", "USD", issuer_country="US"))
    world.open()
    world.fund("1000.00")
    world.place("ord", OrderRequest("buy", Decimal("100.00")), price=PRICE)
    return world


def in_status(status: str) -> World:
    world = placed()
    if status in ("placed", "pending", "cancelled"):
        if status == "pending":
            world.pending("ord")
        if status == "cancelled":
            world.request_cancel("ord")
        return world
    world.start("ord", PRICE)
    if status in ("executing*", "asked*", "filled", "settled"):
        world.trade("ord", "x1", "100", "0.39")
    if status in ("asked", "asked*"):
        world.request_cancel("ord")
    if status in ("filled", "settled"):
        world.end("ord")
    if status == "settled":
        world.settle("ord", TRADE)
    return world


def says(kind: str) -> Callable[[World], str]:
    return lambda world: world.report(Report(VENUE, "r1", "ord", kind))  # type: ignore[arg-type]


def expire(world: World) -> str:
    world.now_us += 1
    facts = order.cancel(world.order(), "expired", at_us=world.now_us)
    for fact in facts:
        world.facts.append(("order", "ord", fact))
    return "ok" if facts else "nothing"


DECISIONS: dict[str, Callable[[World], str]] = {
    "place again": lambda world: world.place("ord", OrderRequest("buy", Decimal(1)), price=PRICE),
    "make pending": lambda world: world.pending("ord"),
    "start": lambda world: world.start("ord", PRICE),
    "trade": lambda world: world.trade("ord", "x2", "100", "0.10"),
    "same trade": lambda world: world.trade("ord", "x1", "100", "0.39"),
    "too much": lambda world: world.trade("ord", "x2", "1", "1.00"),
    "too dear": lambda world: world.trade("ord", "x2", "1000", "0.10"),
    "ended": says("ended"),
    "request cancel": lambda world: world.request_cancel("ord"),
    "cancelled": says("cancelled"),
    "cancel refused": says("cancel_rejected"),
    "expire": expire,
    "settle": lambda world: world.settle("ord", TRADE),
    "settle early": lambda world: world.settle("ord", TRADE, TODAY),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["decision"])
def test_decision_in_each_status(row: dict[str, str]) -> None:
    seen = {"decision": row["decision"]}
    for status in list(row)[1:]:
        world = in_status(status)
        before = len(world.facts)
        answer = DECISIONS[row["decision"]](world)
        added = world.facts[before:]
        facts = [type(fact).__name__ for subject, _, fact in added if subject == "order"]
        if answer == "parked":
            answer = f"parked {added[-1][2].fault}"  # type: ignore[attr-defined]
        seen[status] = {"ok": " ".join(facts), "nothing": "-"}.get(answer, answer)
    assert seen == row


def test_every_decision_has_a_row() -> None:
    assert sorted(row["decision"] for row in ROWS) == sorted(DECISIONS)


STATES = {"": None} | {
    status.strip("*"): in_status(status).order()
    for status in ("placed", "pending", "executing*", "filled", "settled", "cancelled")
}
CANNOT = [
    (status, name)
    for status in STATES
    for name, kind in STORED.items()
    if (status or None, kind) not in order.NEXT
]


@pytest.mark.parametrize(("status", "name"), CANNOT)
def test_a_fact_that_cannot_follow_fails_loudly(status: str, name: str) -> None:
    """Whatever stands in no table is not folded, be it of another status or another aggregate."""
    kind = STORED[name]
    with pytest.raises(UnknownFact):
        order.evolve(STATES[status], kind(*[None] * len(kind.__struct_fields__)))


def test_what_the_venue_says_of_an_unknown_order_is_parked() -> None:
    world = placed()
    for number, kind in enumerate(("trade", "ended", "cancelled", "cancel_rejected")):
        report = Report(VENUE, f"r{number}", "nobody", kind, Decimal(1), Decimal(1))  # type: ignore[arg-type]
        assert world.report(report) == "parked"
        assert world.facts[-1][2].fault == "unknown_order"  # type: ignore[attr-defined]
        assert world.report(report) == "nothing"
