"""An overdrawn account over HTTP: withdrawals are refused, and buys of other units than are lacking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.commands.command import Decision
from engine.domain.bookings import (
    FundsReleased,
    FundsReserved,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.position import Balance, Position
from engine.kernel.fact import Fact
from order_engine_client import resources
from projections.resources import position_json
from tests.support.checkers import conforming
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running, selling


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with running(f"sqlite:///{tmp_path}/journal.db", tmp_path) as made:
        yield made


def moved(engine: Engine, account: str, fact: Fact) -> None:
    """A move that nothing asked for: the shortest way to an account that lacks something."""
    engine.act(lambda _: _decided(account, fact))


def _decided(account: str, fact: Fact) -> Decision:
    yield account
    return [(account, [fact])]


@pytest.mark.parametrize(
    ("units", "shown"),
    [
        ("-1.10 0.00 0.00", "-1.10 -1.10 -1.10 0.00"),
        ("-2.10 1.00 0.00", "-1.10 -1.10 -1.10 0.00"),
        ("-2.10 1.00 3.00", "1.90 -1.10 0.90 1.00"),
        ("-2 1 1", "0 -1 0 0"),
    ],
)
def test_units_below_0_are_in_the_document_and_read_by_the_client(units: str, shown: str) -> None:
    """`units` are settled, unsettled and reserved."""
    balance = Balance(*map(Decimal, units.split()))
    state = Position("pos_1", "ins_bond", "USD", balance, 9, 9, total_buy_trades=1)
    body = position_json("acc_1", state)
    known = json.loads(body)
    names = ("total", "available_for_trading", "settled", "unsettled")
    assert [known[name] for name in names] == shown.split()
    assert conforming.known().accepts({"$ref": "#/components/schemas/Position"}, known)
    read = msgspec.json.decode(body, type=resources.Position)
    assert [str(getattr(read, name)) for name in names] == shown.split()
    for name in ("unsettled", "reserved"):
        wrong = known | {name: "-0.01"}
        assert not conforming.known().accepts({"$ref": "#/components/schemas/Position"}, wrong)


@pytest.mark.parametrize(
    ("taken", "back", "lacking"),
    [
        (
            FundsReserved("x", "USD", Decimal("900.51"), 9),
            FundsReleased("x", "USD", Decimal("900.51"), 9),
            "0.01 USD",
        ),
        (
            UnitsReserved("x", "ins_bond", Decimal("1.00"), 9),
            UnitsReleased("x", "ins_bond", Decimal("1.00"), 9),
            "0.01 ins_bond",
        ),
    ],
    ids=["cash", "units"],
)
def test_an_overdrawn_account_can_only_put_that_right(
    engine: Engine, taken: Fact, back: Fact, lacking: str
) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client, "1000.00")
    path = f"/accounts/{account}"
    order = ok(client.post(f"{path}/orders", buying("100.00")), 201)
    engine.execute(order["id"], ["0.99"])
    assert ok(client.get(path))["is_overdrawn"] is False
    moved(engine, account, taken)
    engine.project()
    told = ok(client.get(path))
    assert (list(told)[-1], told["is_overdrawn"]) == ("is_overdrawn", True)
    (cash,) = ok(client.get(f"{path}/cash-balances"))  # each answer is held to the document
    (position,) = ok(client.get(f"{path}/positions"))
    available = (cash["available_for_trading"], position["available_for_trading"])
    assert available == (("-0.01", "0.99") if lacking.endswith("USD") else ("900.50", "-0.01"))
    refused = [client.post(f"{path}/withdrawals", {"amount": "1.00", "currency": "USD"})]
    if lacking.endswith("USD"):
        refused.append(client.post(f"{path}/orders", buying("1.00")))
    for one in refused:
        assert (one.status, one.code) == (403, "account_overdrawn")
        assert one.json["context"] == {"lacking": lacking}
        assert lacking in one.json["detail"]
    if lacking.endswith("USD"):
        ok(client.post(f"{path}/orders", selling("0.50")), 201)
    else:
        ok(client.post(f"{path}/orders", buying("1.10")), 201)
    ok(client.post(f"{path}/deposits", {"amount": "1.00", "currency": "USD"}), 201)
    moved(engine, account, back)
    engine.project()
    assert ok(client.get(path))["is_overdrawn"] is False
    ok(client.post(f"{path}/orders", buying("1.10")), 201)
