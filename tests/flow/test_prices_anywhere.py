"""Prices of another process: no order is refused for one that has been replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest

from api.http import services
from engine.domain.trading_limits import Limits
from engine.kernel.fact import from_us
from engine.kernel.wall import now_us
from tests.support.servers.http_engine import TERMS, Engine, an_account, buying, ok, running, selling

S = 1_000_000
LIMITS = Limits(order={"USD": Decimal(5000)}, price_refuse_age_us=2 * S)
INSTRUMENT = "/instruments/ins_bond"


class Pair(list[Engine]):
    """Two processes on one journal, and what is held in an account."""

    account: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Neither learns by itself what prices the other records."""
    folder = tmp_path_factory.mktemp("prices")
    url = f"sqlite:///{folder}/journal.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(services, "REFRESH_S", 3600.0)
        pair = Pair(stack.enter_context(running(url, folder, limits=LIMITS)) for _ in range(2))
        here = pair[0]
        client = here.client()
        ok(client.send("PUT", INSTRUMENT, {**TERMS, "symbol": "HELD"}), 201)
        ok(client.post("/prices", [{"symbol": "HELD", "bid": "1", "ask": "1"}]), 201)
        pair.account = an_account(client, cash="100000.00")
        orders = f"/accounts/{pair.account}/orders"
        bought = ok(client.post(orders, buying("100.00")), 201)["id"]
        here.execute(bought, ["99.00"], price="1")
        yield pair


OLD: dict[str, tuple[str, str, int, dict[str, Any], str]] = {
    "too few units": ("1000", "1", 0, buying("5.00"), "invalid_param"),
    "worth nothing": ("0.00001", "1", 0, selling("9.00"), "invalid_param"),
    "not quoted": ("0", "1", 0, buying("5.00"), "missing_price"),
    "not quoted to sellers": ("0", "1", 0, selling("9.00"), "missing_price"),
    "too large": ("1000", "1", 0, selling("9.00"), "order_too_large"),
    "too old": ("1", "1", 60, buying("5.00"), "price_too_old"),
}
"""Price before, price now, age of the former in seconds, what is asked, how the former refuses it."""


@pytest.mark.parametrize("case", OLD)
def test_no_refusal_rests_on_a_price_that_was_replaced(pair: Pair, case: str) -> None:
    before, now, age_s, body, code = OLD[case]
    here, there = pair
    client, other = here.client(), there.client()
    place = f"/accounts/{pair.account}/orders"
    symbol = "HELD"
    if body["side"] == "buy":
        symbol, instrument = case.upper().replace(" ", "-"), f"ins_{case.replace(' ', '-')}"
        ok(client.send("PUT", f"/instruments/{instrument}", {**TERMS, "symbol": symbol}), 201)
        body = {**body, "instrument": instrument}

    def say(price: str, **words: str) -> None:
        ok(client.post("/prices", [{"symbol": symbol, "bid": price, "ask": price, **words}]), 201)

    say(before, timestamp=from_us(now_us() - age_s * S).isoformat().replace("+00:00", "Z"))
    there.services.market.refresh()
    refused = other.post(place, body)
    assert refused.code == code
    say(now)
    order = ok(other.post(place, body), 201)
    ok(other.post(f"{place}/{order['id']}/cancel"))


def test_an_instrument_and_its_first_price_are_traded_at_once_elsewhere(pair: Pair) -> None:
    here, there = pair
    client, other = here.client(), there.client()
    for number in range(3):
        instrument, symbol = f"ins_first_{number}", f"FIRST{number}"
        ok(client.send("PUT", f"/instruments/{instrument}", {**TERMS, "symbol": symbol}), 201)
        body = {**buying("5.00"), "instrument": instrument}
        unpriced = other.post(f"/accounts/{pair.account}/orders", body)
        assert unpriced.code == "missing_price"
        ok(client.post("/prices", [{"symbol": symbol, "bid": "1", "ask": "1"}]), 201)
        ok(other.post(f"/accounts/{pair.account}/orders", {**body, "client_reference": symbol}), 201)
