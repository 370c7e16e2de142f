"""Limit orders over HTTP, from placing to their end, against prices that are posted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from tests.support.servers.http_engine import Engine, ok
from tests.support.servers.stage import Scene, Stage

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def stage(module_engine: Engine) -> Iterator[Stage]:
    yield Stage(module_engine)
    assert audit(module_engine.journal.datastore, AuditOptions()).findings == []


class Room(Scene):
    """A scene with an ETF, at 99.00 / 100.00."""

    def place(self, limit: str | None = "98", amount: str = "100.00", **words: Any) -> str:
        side = words.get("side", "buy")
        asked = {"cash_amount" if side == "buy" else "quantity": amount}
        body = {
            "instrument": self.instrument,
            "order_type": "limit",
            "side": "buy",
            "limit_price": limit,
        }
        self.order = str(ok(self.client.post(self.orders, body | asked | words), 201)["id"])
        return self.order

    @property
    def orders(self) -> str:
        return f"/accounts/{self.account}/orders"

    def post(self, bid: str, ask: str) -> None:
        symbol = self.instrument.replace("ins_", "S-")
        ok(self.client.post("/prices", [{"symbol": symbol, "bid": bid, "ask": ask}]), 201)

    def play(self, **words: Any) -> None:
        self.stage.play(later_s=1, **words)

    def standing(self) -> str:
        shown = self.shown()
        return f"{shown['status']} {shown['cancelled_reason'] or ''}".strip()

    def cash(self) -> tuple[str, str]:
        (balance,) = ok(self.client.get(f"/accounts/{self.account}/cash-balances"))
        return balance["total"], balance["reserved"]


@pytest.fixture
def room(stage: Stage, engine: Engine) -> Room:
    made = Room(stage, engine.client(), f"limit{next(_NUMBERS)}", instrument_type="etf")
    made.post("99", "100")
    return made


def test_a_life(room: Room) -> None:
    """100.00 less 0.50 buys 1.01 units at 98. At 97.90 they cost 98.88, and the fee is 0.50."""
    room.place()
    placed = room.shown()
    named = (placed["order_type"], placed["limit_price"], placed["time_in_force"], placed["quantity"])
    assert named == ("limit", "98.00000000", "day", "1.01")
    assert (placed["net_cash_amount"], placed["fees"], placed["quote"]) == ("99.50", "0.50", None)
    assert room.cash() == ("1000.00", "100.00")
    room.play()
    assert room.standing() == "executing"
    room.post("97.50", "98.01")
    room.play()
    assert (room.standing(), room.shown()["is_cancellable"]) == ("executing", True)
    room.post("97.80", "97.90")
    room.play()
    assert room.trades() == ["1.01 at 97.90000000 executed"]
    assert (room.standing(), room.shown()["fees"], room.cash()) == ("filled", "0.50", ("900.62", "0.00"))
    room.place("101", "1", side="sell", time_in_force="gtc")
    room.play()
    assert (room.standing(), room.shown()["quantity"]) == ("executing", "1.00")
    room.post("101.00", "101.10")
    room.play()
    assert room.trades() == ["1.00 at 101.00000000 executed"]


@pytest.mark.parametrize("limit", ["100", "150"])
def test_one_that_meets_the_price_is_executed_at_it(room: Room, limit: str) -> None:
    room.place(limit)
    room.play()
    assert (room.standing(), room.shown()["trades"][0]["price"]) == ("filled", "100.00000000")


def test_a_crash_changes_nothing(room: Room) -> None:
    """The price that met the limit has gone again when the engine comes back."""
    room.place()
    room.play()
    room.post("97", "97.50")
    room.post("99", "100")
    room.stage.restart()
    room.play()
    assert room.trades() == ["1.01 at 97.50000000 executed"]


def test_a_part_ends_it(room: Room) -> None:
    """0.40 of 51 units: 5002 stands for it."""
    deposits = f"/accounts/{room.account}/deposits"
    deposit = ok(room.client.post(deposits, {"amount": "9000.00", "currency": "USD"}), 201)
    ok(room.client.post(f"{deposits}/{deposit['id']}/complete"))
    room.place("98", "5002")
    room.play()
    room.post("97", "98")
    room.play()
    assert (room.standing(), room.trades()) == ("filled", ["20.31 at 98.00000000 executed"])
    assert room.cash()[1] == "0.00"


def test_it_can_be_cancelled_while_it_rests(room: Room) -> None:
    room.place()
    room.play()
    room.cancel()
    room.play()
    room.post("97", "98")
    room.play()
    assert (room.standing(), room.cash()) == ("cancelled requested", ("1000.00", "0.00"))


def test_a_day_order_ends_with_the_business_day(room: Room) -> None:
    other = Room(room.stage, room.client, f"limit{next(_NUMBERS)}", instrument_type="stock")
    day, gtc = room.place(), room.place(time_in_force="gtc")
    stock = other.place()
    room.play()
    ok(room.client.post("/sandbox/clock", {"advance": "P1D"}))
    unsent = room.place()
    room.play()
    ok(room.client.post("/sandbox/clock", {"advance": "P1D"}))
    room.play(turns=12)
    found = {}
    for account, orders in ((room, (day, gtc, unsent)), (other, (stock,))):
        for order in orders:
            account.order = order
            found[order] = account.standing()
    assert found == {
        day: "cancelled expired",
        gtc: "executing",
        unsent: "cancelled expired",
        stock: "cancelled expired",
    }
    room.order = day
    history = ok(room.client.get(f"{room.orders}/{day}/history"))
    assert [entry["name"] for entry in reversed(history)] == [
        f"order.{fact}.1" for fact in ("placed", "execution_started", "expiry_requested", "cancelled")
    ]


BAD = {
    "no price": ({"limit_price": None}, "body.limit_price missing_param"),
    "zero": ({"limit_price": "0"}, "body.limit_price not_positive"),
    "nine decimals": ({"limit_price": "1.000000001"}, "body.limit_price invalid_decimal"),
    "negative": ({"limit_price": "-1"}, "body.limit_price invalid_decimal"),
    "a word": ({"time_in_force": "ioc"}, "body.time_in_force invalid_value"),
    "a market order with a limit": ({"order_type": "market"}, "body.limit_price unexpected_param"),
    "a market order for the day": (
        {"order_type": "market", "limit_price": None, "time_in_force": "day"},
        "body.time_in_force unexpected_param",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(room: Room, name: str) -> None:
    words, fault = BAD[name]
    body = {"instrument": room.instrument, "order_type": "limit", "side": "buy", "cash_amount": "100",
            "limit_price": "98"} | words  # fmt: skip
    answer = room.client.post(room.orders, body)
    assert answer.status == 400
    assert [f"{one['path']} {one['code']}" for one in answer.json["params"]] == [fault]


def test_a_bond_has_no_limit_orders(stage: Stage, engine: Engine) -> None:
    room = Room(stage, engine.client(), f"limit{next(_NUMBERS)}")
    body = {"instrument": room.instrument, "order_type": "limit", "side": "buy", "cash_amount": "100",
            "limit_price": "98"}  # fmt: skip
    answer = room.client.post(room.orders, body)
    assert answer.status == 400
    assert answer.json["params"][0]["path"] == "body.order_type"
    assert "ETFs and stocks" in answer.json["detail"]
