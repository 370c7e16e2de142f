"""Fees and the least value of an order as an operator sets them, over HTTP and across a restart."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from engine.config.settings import read_settings
from engine.domain.fees import parse_fees
from engine.domain.order import Placed
from engine.kernel.limits import PRICE_MAX_AGE_US, SANDBOX_PRICE_MAX_AGE_US
from order_engine.roles import price_max_age_us
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running

TENANT = "acme"
BEFORE = parse_fees("*=0.5%; acme/ins_bond=1%,USD=0.30", "FEES")
AFTER = parse_fees("bond=0%", "FEES")


def placed(engine: Engine, order: str) -> Placed:
    terms = engine.desk.state(order).terms
    assert isinstance(terms, Placed)
    return terms


def test_an_order_keeps_the_fees_it_was_placed_under(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    with running(url, tmp_path, fees=BEFORE) as engine:
        client = engine.client(tenant=TENANT)
        a_market(client)
        account = an_account(client, "1000.00")
        orders = f"/accounts/{account}/orders"
        old = ok(client.post(orders, buying("100.00")), 201)
        small = ok(client.post(orders, buying("20.00")), 201)
        assert (old["fees"], old["net_cash_amount"]) == ("1.00", "99.00")
        assert (small["fees"], small["net_cash_amount"]) == ("0.30", "19.70")
    with running(url, tmp_path, fees=AFTER) as engine:
        client = engine.client(tenant=TENANT)
        new = ok(client.post(orders, buying("100.00")), 201)
        assert (new["fees"], new["net_cash_amount"]) == ("0.00", "100.00")
        engine.execute(old["id"], ["0.50", "0.49"])
        engine.execute(new["id"], ["1.00"])
        engine.project()
        told = [ok(client.get(f"{orders}/{order['id']}")) for order in (old, new)]
        assert [order["fees"] for order in told] == ["1.00", "0.00"]
        rules = [(placed(engine, order["id"]).fee_rate, placed(engine, order["id"]).fee_minimum)
                 for order in (old, small, new)]  # fmt: skip
        assert rules == [
            (Decimal("0.01"), Decimal("0.30")), (Decimal("0.01"), Decimal("0.30")),
            (Decimal(0), Decimal(0)),
        ]  # fmt: skip


def test_an_order_under_the_least_value_is_refused_with_the_figures(tmp_path: Path) -> None:
    least = {"USD": Decimal("10.00")}
    with running(f"sqlite:///{tmp_path}/journal.db", tmp_path, minimum_order_value=least) as engine:
        client = engine.client()
        a_market(client)
        orders = f"/accounts/{an_account(client, '1000.00')}/orders"
        refused = client.post(orders, buying("9.99"))
        assert (refused.status, refused.code) == (400, "invalid_param")
        assert refused.json["params"] == [
            {
                "path": "body.cash_amount",
                "detail": "`cash_amount` is worth 9.99 USD; an order must be worth at least 10.00 USD.",
                "code": "below_minimum_amount",
            }
        ]
        ok(client.post(orders, buying("10.00")), 201)


def test_the_age_of_prices_is_the_operators_then_that_of_the_journals_kind() -> None:
    given = read_settings(environ={"ORDER_ENGINE_PRICE_MAX_AGE": "90s"})
    none = read_settings(environ={})
    assert price_max_age_us(given, "live") == price_max_age_us(given, "sandbox") == 90_000_000
    assert price_max_age_us(none, "live") == PRICE_MAX_AGE_US
    assert price_max_age_us(none, "sandbox") == SANDBOX_PRICE_MAX_AGE_US
