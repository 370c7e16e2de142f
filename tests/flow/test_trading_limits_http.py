"""Limits of trading over HTTP: each code, its line for the compliance desk, and a tenant's day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from engine.domain.trading_limits import Limits
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running, selling

LIMITS = Limits(
    order={"USD": Decimal("1000.00")},
    account_day={"USD": Decimal("3000.00")},
    tenant_day={"USD": Decimal("5000.00")},
    duplicate_window_us=60_000_000,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with running(f"sqlite:///{folder}/journal.db", folder, limits=LIMITS) as made:
        yield made


def test_each_limit_is_answered_and_noted(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account, other = (an_account(client, "100000.00") for _ in range(2))
    orders = f"/accounts/{account}/orders"
    ok(client.post(orders, buying("1000.00"), Idempotency_Key="a"), 201)
    again = client.post(orders, buying("1000.00"), Idempotency_Key="a")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    answers = [
        client.post(orders, buying("1000.01")),
        client.post(orders, buying("1000.00"), Idempotency_Key="b"),
        client.post(orders, selling("10.01")),
    ]
    assert [(one.status, one.code) for one in answers] == [
        (400, "order_too_large"), (409, "duplicate_order"), (400, "order_too_large"),
    ]  # fmt: skip
    assert answers[1].json["context"] == {"order": again.json["id"]}
    for amount in ("999.00", "998.00"):
        ok(client.post(orders, buying(amount)), 201)
    full = client.post(orders, buying("4.00"))
    assert (full.status, full.code) == (400, "account_daily_limit")
    assert full.json["context"] == {
        "currency": "USD", "amount": "4.00", "limit": "3000.00", "available": "3.00",
    }  # fmt: skip
    for amount in ("1000.00", "999.00"):
        ok(client.post(f"/accounts/{other}/orders", buying(amount)), 201)
    full = client.post(f"/accounts/{other}/orders", buying("5.00"))
    assert (full.status, full.code) == (400, "tenant_daily_limit")
    assert full.json["context"]["available"] == "4.00"
    ok(client.post(f"/accounts/{other}/orders", buying("4.00")), 201)
    table = engine.services.refusals._insert.table
    with engine.journal.datastore.store.reading() as connection:
        noted = list(connection.execute(sa.select(table.c.code).order_by(table.c.id)).scalars())
    assert noted == [
        "order_too_large", "duplicate_order", "order_too_large", "account_daily_limit",
        "tenant_daily_limit",
    ]  # fmt: skip


def test_a_tenants_day_is_exact_in_one_process_and_outlives_it(folder: Path) -> None:
    limits = Limits(tenant_day={"USD": Decimal("1050.00")})
    told = Counter[str]()

    def buy_ten(engine: Engine, token: str, account: str) -> None:
        client = engine.connect({"Authorization": token})
        for _ in range(10):
            answer = client.post(f"/accounts/{account}/orders", buying("100.00"))
            told[answer.code if answer.status >= 400 else "placed"] += 1

    with running(f"sqlite:///{folder}/journal.db", folder, limits=limits) as engine:
        client = engine.client()
        a_market(client)
        # One has too little cash: what it is refused for must not stay counted.
        poor, *accounts = (an_account(client, cash) for cash in ("99.00", *["5000.00"] * 4))
        words = engine, client.headers["Authorization"]
        buy_ten(*words, poor)
        assert told.pop("insufficient_funds") == 10
        threads = [Thread(target=buy_ten, args=(*words, one)) for one in accounts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == {"placed": 10, "tenant_daily_limit": 30}
        client.post("/sandbox/clock", {"advance": "P1D"})
        path = f"/accounts/{accounts[0]}/orders"
        first = ok(client.post(path, buying("400.00"), Idempotency_Key="k"), 201)
    with running(f"sqlite:///{folder}/journal.db", folder, limits=limits) as engine:
        client = engine.client()
        # A repeat is decided under a new id before it is recognised: that must not stay counted.
        assert ok(client.post(path, buying("400.00"), Idempotency_Key="k"), 201) == first
        assert client.post(path, buying("650.01")).code == "tenant_daily_limit"
        ok(client.post(path, buying("650.00")), 201)
        ok(client.post("/sandbox/clock", {"advance": "P1D"}))
        ok(client.post(path, buying("1000.00")), 201)
