"""Bonds over HTTP: terms with their schedule, clean and dirty prices, and a warning of old terms."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.config.settings import Settings
from engine.domain.instrument import InstrumentListed
from engine.domain.stored import engine_codec
from engine.installation import migrate, open_journal_datastore
from engine.journal.journal import Journal
from engine.kernel.fact import Envelope, StreamAppend
from engine.registers.market import Symbols
from engine.registers.operations import define_operations
from engine.runtime.doctor import examine
from tests.support.servers.http_engine import TERMS, Engine, ok
from tests.support.servers.http_server import Client
from tests.unit.test_interest_of_prices import BOND

SCHEDULE: dict[str, Any] = {
    "price_type": "percent", "par_value": "1000", "coupon": "6", "coupon_frequency": 2,
    "ex_coupon_days": 7, "issue_date": "2020-01-15", "maturity_date": "2049-01-15",
    "day_count_convention": "actual_actual",
}  # fmt: skip


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client()


def listed(symbol: str, **words: object) -> dict[str, Any]:
    return {**TERMS, **SCHEDULE, "symbol": symbol, **words}


def priced(client: Client, **words: str) -> dict[str, Any]:
    ok(client.post("/prices", [{"symbol": "DIRTY", "bid": "99", "ask": "101", **words}]), 201)
    (shown,) = ok(client.get("/prices?symbol=DIRTY"))
    return dict(shown)


def test_a_price_is_shown_clean_and_dirty(client: Client) -> None:
    shown = ok(client.send("PUT", "/instruments/ins_dirty", listed("DIRTY")), 201)
    assert [shown[name] for name in ("coupon_frequency", "issue_date", "ex_coupon_days")] == [
        2, "2020-01-15", 7]  # fmt: skip
    clean = priced(client)
    interest = Decimal(clean["accrued_interest"])
    assert -2 < interest < 30  # of 30.00 each half-year
    assert Decimal(clean["dirty_bid"]) == 990 + interest
    assert Decimal(clean["dirty_ask"]) == 1010 + interest
    own = priced(client, accrued_interest="-0.5")
    assert (own["accrued_interest"], own["dirty_ask"]) == ("-0.50000000", "1009.50000000")
    assert priced(client)["accrued_interest"] == clean["accrued_interest"]  # that one counted once
    one_sided = priced(client, bid="0")
    assert (one_sided["dirty_bid"], one_sided["dirty_ask"]) == (None, clean["dirty_ask"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day_count_convention", "ACT/365"),
        ("coupon_frequency", 5),
        ("first_coupon_date", "2020-02-20"),
        ("issue_date", "2050-01-01"),
        ("maturity_period", "3m"),
        ("ex_coupon_days", 366),
    ],
)
def test_terms_that_accrue_nothing_are_refused(client: Client, field: str, value: object) -> None:
    reply = client.send("PUT", "/instruments/ins_faulty", listed("FAULTY", **{field: value}))
    assert (reply.status, reply.code) == (400, "invalid_param")
    at_fault = {"issue_date": "maturity_date"}.get(field, field)
    assert [param["path"] for param in reply.json["params"]] == [f"body.{at_fault}"]
    assert client.get("/instruments/FAULTY").status == 404


def test_interest_that_eats_the_price_is_refused(client: Client) -> None:
    ok(client.send("PUT", "/instruments/ins_eaten", listed("EATEN")), 201)
    quote = {"symbol": "EATEN", "bid": "99", "ask": "101", "accrued_interest": "-990"}
    reply = client.post("/prices", [quote])
    assert [param["path"] for param in reply.json["params"]] == ["body.0.accrued_interest"]
    assert ok(client.get("/prices?symbol=EATEN")) == []


def test_doctor_names_stored_terms_that_accrue_nothing(tmp_path: Path, journal_url: str) -> None:
    settings = Settings(tmp_path / "data", journal_url)

    def said() -> list[str]:
        return [check.value for check in examine(settings) if check.name == "interest"]

    migrate(settings, "sandbox")
    assert said() == []
    old = replace(BOND, symbol="OLD", day_count_convention="ACT/365")
    with closing(open_journal_datastore(settings)) as datastore:
        Symbols(datastore.store, define_operations()).claim("OLD", "ins_old")
    with Journal(journal_url, engine_codec()) as journal:
        fact = InstrumentListed("ins_old", old, 1)
        journal.append([StreamAppend("ins_old", 0, [fact])], Envelope(1, command=bytes(16)))
    (value,) = said()
    assert value.startswith("1 instruments accrue no interest, as OLD: `day_count_convention` must be")
