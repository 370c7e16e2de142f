"""Clients that are not ours: an OAuth2 library, and what a generator makes of our document."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session

from tests.support.servers.clients import BOND, House, house_on
from tests.support.servers.http_engine import buying

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_on(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_a_token_and_trades(house: House, way: str) -> None:
    url, client_id, secret = house.words()
    with OAuth2Session(
        client_id, secret, scope="read trade", token_endpoint_auth_method=way,
        token_endpoint=f"{url}/auth/token", grant_type="client_credentials",
    ) as session:  # fmt: skip
        token = session.fetch_token()
        assert (token["token_type"], token["scope"], token.is_expired()) == (
            "bearer",
            "read trade",
            False,
        )
        orders = f"{url}/accounts/{house.account}/orders"
        placed = session.post(orders, json=buying("100.00"), headers={"Idempotency-Key": way})
        assert placed.status_code == 201
        house.engine.execute(placed.json()["id"], ["0.99"])
        house.engine.project()
        order = session.get(f"{orders}/{placed.json()['id']}").json()
        assert (order["status"], order["traded_quantity"], order["fees"]) == ("filled", "0.99", "0.50")
        advance = session.post(f"{url}/sandbox/clock", json={"advance": "P1D"})
        assert advance.json()["code"] == "insufficient_scope"


def test_authlib_renews_a_token_that_is_over(house: House) -> None:
    url, client_id, secret = house.words()
    over = {"access_token": "a.b.c", "token_type": "bearer", "expires_at": 1}
    with OAuth2Session(
        client_id,
        secret,
        token=over,
        token_endpoint=f"{url}/auth/token",
        grant_type="client_credentials",
    ) as session:
        assert session.get(f"{url}/accounts/{house.account}").status_code == 200


def generated(house: House, folder: Path, name: str) -> None:
    """A client made from the document that the engine serves, as package `name` in `folder`."""
    document, settings = folder / "openapi.json", folder / "settings.json"
    document.write_bytes(httpx.get(f"{house.url}/openapi.json").content)
    settings.write_text('{"post_hooks": []}')
    words = ["generate", "--path", document, "--config", settings, "--meta", "none", "--fail-on-warning"]
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *words, "--output-path", folder / name],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_a_generated_client_places_and_reads_an_order(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"generated_{tmp_path.name.replace('-', '_')}"
    generated(house, tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)

    def part(path: str) -> Any:
        return importlib.import_module(f"{name}.{path}")

    url, client_id, secret = house.words()
    models = part("models")
    form = models.GetTokenBody.from_dict(
        {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    )
    with part("client").Client(url) as nobody:
        token = part("api.auth.get_token").sync(client=nobody, body=form)
    with part("client").AuthenticatedClient(url, token.access_token) as client:
        body = models.PlaceOrderBody.from_dict(buying("100.00"))
        place, retrieve = part("api.orders.place_order"), part("api.orders.retrieve_order")
        placed = place.sync(house.account, client=client, body=body, idempotency_key="generated")
        assert isinstance(placed, models.Order)
        assert place.sync(house.account, client=client, body=body, idempotency_key="generated") == placed
        assert (placed.status, placed.instrument.id) == ("placed", BOND)
        house.engine.execute(placed.id, ["0.99"])
        house.engine.project()
        order = retrieve.sync(house.account, placed.id, client=client)
        assert (order.status, Decimal(order.traded_notional)) == ("filled", Decimal("99.00"))
        (trade,) = order.trades
        assert trade.settlement_date >= order.created_at.date() - timedelta(days=1)  # at its market
        listed = part("api.orders.list_orders").sync(house.account, client=client, limit=1)
        assert [one.id for one in listed] == [order.id]
        nobodys = retrieve.sync(house.account, "ord_1", client=client)
        assert isinstance(nobodys, models.Error)
        assert nobodys.code == "not_found"
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]
