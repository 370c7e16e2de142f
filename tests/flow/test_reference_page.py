"""The Python of the page that the product starts from, with its own client, against a running engine.

Nothing of it is changed but host, token and ids. The answers have the sample's keys first and in its
order, and its values, at a price of 100 and a fee of 0.5 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.servers.http_engine import Engine, an_account, ok, running

SAMPLE = {
    "id": "ord_m4k7r9s2",
    "account": "acc_abc123",
    "status": "placed",
    "order_type": "market",
    "purpose": "user_request",
    "position": None,
    "side": "buy",
    "instrument": {
        "id": "ins_xyz789",
        "instrument_type": "bond",
        "symbol": "KE2024A",
        "name": "Kenya 2024 Bond A",
    },
    "cash_amount": "100.00",
    "net_cash_amount": "99.50",
    "traded_quantity": "0",
    "traded_notional": "0",
    "fees": "0.50",
    "quantity": None,
    "currency": "USD",
    "automatic_rollover": False,
    "cancelled_reason": None,
    "filled_at": None,
    "settled_at": None,
    "cancelled_at": None,
    "trades": [],
    "created_at": "2026-03-12T14:30:00Z",
    "modified_at": "2026-03-12T14:30:00Z",
}
OURS = [
    "client_reference", "is_cancellable", "limit_price", "time_in_force", "quote", "rolled_from",
    "rolled_into",
]  # fmt: skip
OWN_VALUES = ("id", "account", "created_at", "modified_at")
"""What every order has its own of."""


class Page:
    """Host, token and account: what a reader of the page fills in."""

    def __init__(self, engine: Engine) -> None:
        client = engine.client()
        terms = {"name": "Kenya 2024 Bond A", "symbol": "KE2024A", "instrument_type": "bond",
                 "trading_currency": "USD"}  # fmt: skip
        ok(client.send("PUT", "/instruments/ins_xyz789", terms), 201)
        ok(client.post("/prices", [{"symbol": "KE2024A", "bid": "100", "ask": "100"}]), 201)
        self.host = f"http://127.0.0.1:{engine.server.port}"
        self.account_id = an_account(client, "5000.00")
        self.token = engine.token(engine.services.clients.create("acme", ["read", "trade"]))

    def buy(self) -> requests.Response:
        return requests.post(
            f"{self.host}/accounts/{self.account_id}/orders",
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
            json={
                "instrument": "ins_xyz789",
                "order_type": "market",
                "side": "buy",
                "cash_amount": "100.00",
            },
        )

    def sell(self) -> requests.Response:
        return requests.post(
            f"{self.host}/accounts/{self.account_id}/orders",
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
            json={
                "instrument": "ins_xyz789",
                "order_type": "market",
                "side": "sell",
                "quantity": "10",
            },
        )

    def retrieve(self, order_id: str) -> requests.Response:
        return requests.get(
            f"{self.host}/accounts/{self.account_id}/orders/{order_id}",
            headers={"Authorization": f"Bearer {self.token}"},
        )


@pytest.fixture
def engine(tmp_path: Path, sqlite_url: str) -> Iterator[Engine]:
    with running(sqlite_url, tmp_path) as started:
        yield started


def check_shape(order: dict[str, Any]) -> None:
    assert list(order) == [*SAMPLE, *OURS]
    assert list(order["instrument"]) == list(SAMPLE["instrument"])  # type: ignore[call-overload]


def test_the_pages_python_gets_the_pages_answers(engine: Engine) -> None:
    page = Page(engine)
    response = page.buy()
    order = response.json()
    assert response.status_code == 201
    check_shape(order)
    assert {key: order[key] for key in SAMPLE if key not in OWN_VALUES} == {
        key: value for key, value in SAMPLE.items() if key not in OWN_VALUES
    }
    assert order["account"] == page.account_id
    assert order["id"].startswith("ord_")
    assert order["created_at"] == order["modified_at"]
    assert order["created_at"].endswith("Z")
    assert page.retrieve(order["id"]).json() == order

    refused = page.sell()
    assert (refused.status_code, refused.json()["code"]) == (400, "insufficient_units")
    for _ in range(11):
        engine.execute(page.buy().json()["id"], ["0.99"])
    response = page.sell()
    sold = response.json()
    assert response.status_code == 201
    check_shape(sold)
    expected = {"side": "sell", "status": "placed", "position": None, "cash_amount": None,
                "net_cash_amount": None, "quantity": "10.00", "fees": "0", "trades": []}  # fmt: skip
    assert {key: sold[key] for key in expected} == expected
    engine.execute(sold["id"], ["10"])
    engine.project()
    done = page.retrieve(sold["id"]).json()
    check_shape(done)
    assert (done["status"], done["traded_notional"], done["fees"]) == ("filled", "1000.00", "5.00")
