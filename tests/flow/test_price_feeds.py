"""Feeds over HTTP: each sets prices of its own symbols, all of a batch or none; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.kernel.times import rfc3339
from engine.kernel.wall import now_us
from tests.support.servers.http_engine import TERMS, Engine, ok, running
from tests.support.servers.http_server import Client

HOUR_US = 3_600_000_000


def price(symbol: str, bid: str = "99.50", **words: Any) -> dict[str, Any]:
    return {"symbol": symbol, "bid": bid, "ask": bid, **words}


def listed(client: Client, symbol: str, instrument: str = "") -> str:
    """An instrument of this symbol; its path."""
    path = f"/instruments/{instrument or 'ins_' + symbol.lower()}"
    assert client.send("PUT", path, TERMS | {"symbol": symbol}).status in {200, 201}
    return path


BATCHES: dict[str, tuple[tuple[str, ...], list[str], int]] = {
    "its symbol": (("prices:GA",), ["GA"], 201),
    "its symbols": (("prices:GA", "prices:GB"), ["GB", "GA"], 201),
    "twice in a batch": (("prices:GA",), ["GA", "GA"], 201),
    "by their start": (("prices:G*",), ["GA", "GB"], 201),
    "any": (("prices:*",), ["GA", "HA"], 201),
    "beside other scopes": (("read", "venue:sim", "prices:GA"), ["GA"], 201),
    "another symbol": (("prices:GA",), ["GB"], 403),
    "another beside its own": (("prices:GA",), ["GA", "GB"], 403),
    "another start": (("prices:G*",), ["GA", "HA"], 403),
    "a start is no symbol": (("prices:GA",), ["GAB"], 403),
    "in another case": (("prices:ga",), ["GA"], 403),
    "unknown and not its own": (("prices:GA",), ["NONE"], 403),
    "unknown": (("prices:NONE",), ["NONE"], 400),
    "unknown beside known": (("prices:GA", "prices:NONE"), ["GA", "NONE"], 400),
    "a star is no symbol": (("prices:GA",), ["*"], 403),
    "a venue": (("venue:sim",), ["GA"], 403),
    "operate": (("operate", "trade", "read"), ["GA"], 403),
}
"""What a client's scopes are, the symbols of a batch, the answer."""


@pytest.mark.parametrize("case", BATCHES)
def test_a_feed_sets_its_symbols_alone(engine: Engine, case: str) -> None:
    scopes, symbols, status = BATCHES[case]
    admin = engine.client()
    for symbol in ("GA", "GB", "HA", "GAB"):
        listed(admin, symbol)
    ok(admin.post("/prices", [price(one, "50") for one in ("GA", "GB", "HA")]), 201)
    reply = engine.client(*scopes).post("/prices", [price(one) for one in symbols])
    assert reply.status == status, reply.body
    after = {row["symbol"]: row for row in ok(admin.get("/prices?symbol=GA&symbol=GB&symbol=HA"))}
    new = {symbol for symbol, row in after.items() if row["bid"] == "99.50000000"}
    assert new == (set(symbols) if status == 201 else set())
    if status == 403:
        assert reply.code == "insufficient_scope"


def test_a_refused_feed_is_told_the_symbols(engine: Engine) -> None:
    reply = engine.client("prices:GA").post("/prices", [price(f"X{n}") for n in range(5)])
    assert "X0, X1, X2 and 2 more" in reply.json["detail"]


def test_a_renamed_symbol_leaves_its_feed_behind(engine: Engine) -> None:
    admin, feed = engine.client(), engine.client("prices:OLD", "prices:OTHER")
    path = listed(admin, "OLD", "ins_renamed")
    ok(feed.post("/prices", [price("OLD")]), 201)
    ok(admin.send("PUT", path, TERMS | {"symbol": "NEW"}), 200)
    assert feed.post("/prices", [price("OLD")]).status == 400
    assert feed.post("/prices", [price("NEW")]).status == 403
    ok(engine.client("prices:NEW").post("/prices", [price("NEW", "1")]), 201)
    ok(admin.send("PUT", path, TERMS | {"symbol": "OLD"}), 200)
    assert ok(admin.get("/prices?symbol=OLD")) == []


def test_an_instrument_changed_by_another_process_has_its_new_unit_at_once(engine: Engine) -> None:
    admin, feed = engine.client(), engine.client("prices:UNIT")
    path = listed(admin, "UNIT")
    assert ok(feed.post("/prices", [price("UNIT")]), 201)[0]["price_type"] == "money"
    ok(admin.send("PUT", path, TERMS | {"symbol": "UNIT", "price_type": "percent"}), 200)
    assert ok(feed.post("/prices", [price("UNIT")]), 201)[0]["price_type"] == "percent"


def test_two_feeds_of_a_symbol_the_newest_price_counts(engine: Engine) -> None:
    admin = engine.client()
    listed(admin, "GA")
    fast, slow = engine.client("prices:GA"), engine.client("prices:G*")
    ahead, behind = rfc3339(now_us() + 50_000_000), rfc3339(now_us() - HOUR_US)
    ok(fast.post("/prices", [price("GA", "10", timestamp=ahead)]), 201)
    ok(slow.post("/prices", [price("GA", "11", timestamp=behind)]), 201)  # late news
    assert ok(admin.get("/prices?symbol=GA"))[0]["bid"] == "10.00000000"
    ok(slow.post("/prices", [price("GA", "12")]), 201)  # not held up by the fast clock
    assert ok(admin.get("/prices?symbol=GA"))[0]["bid"] == "12.00000000"


def test_a_feed_writes_no_acts_and_sees_no_authors(engine: Engine) -> None:
    admin = engine.client()
    listed(admin, "GA")
    before = len(ok(admin.get("/acts?deed=prices.recorded")))
    (shown,) = ok(engine.client("prices:GA").post("/prices", [price("GA")]), 201)
    assert shown["set_by"] is None
    assert ok(admin.get("/prices?symbol=GA"))[0]["set_by"].startswith("cli_")
    assert len(ok(admin.get("/acts?deed=prices.recorded"))) == before


def test_disabled_and_rotated_feeds_are_out(engine: Engine) -> None:
    listed(engine.client(), "GA")
    clients = engine.services.clients
    for end in (clients.disable, lambda one: clients.rotate(one, overlap_us=0)):
        made = clients.create(engine.tenant, ("prices:GA",))
        feed = engine.connect({"Authorization": f"Bearer {engine.token(made)}"})
        ok(feed.post("/prices", [price("GA")]), 201)
        end(made.client.id)
        assert feed.post("/prices", [price("GA")]).status == 401


def test_a_token_may_be_asked_for_fewer_symbols(engine: Engine) -> None:
    listed(engine.client(), "GA")
    clients, tokens = engine.services.clients, engine.services.tokens
    made = clients.create(engine.tenant, ("prices:GA", "prices:GB"))
    token = tokens.issue(made.client, ["prices:GB"])
    feed = engine.connect({"Authorization": f"Bearer {token}"})
    assert feed.post("/prices", [price("GA")]).status == 403


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "negative": ([price("GA", "-1")], "body.0.bid"),
    "too fine": ([price("GA", "1.123456789")], "body.0.bid"),
    "too large": ([price("GA", "1" + "0" * 15)], "body.0.bid"),
    "no number": ([price("GA", "NaN")], "body.0.bid"),
    "an exponent": ([price("GA", "1e3")], "body.0.bid"),
    "crossed": ([{"symbol": "GA", "bid": "2", "ask": "1"}], "body.0.bid"),
    "in an hour": ([price("GA", timestamp=rfc3339(now_us() + HOUR_US))], "body.0.timestamp"),
    "unknown beside known": ([price("GA"), price("NONE")], "body.1.symbol"),
    "the last of many": ([*(price("GA") for _ in range(499)), price("GA", "x")], "body.499.bid"),
    "501": ([price("GA") for _ in range(501)], ""),
    "none": ([], ""),
}
"""Batches that record nothing, and the path of the fault that is named."""


@pytest.mark.parametrize("case", BAD)
def test_a_faulty_batch_records_nothing(engine: Engine, case: str) -> None:
    rows, path = BAD[case]
    admin = engine.client()
    listed(admin, "GA")
    ok(admin.post("/prices", [price("GA", "50")]), 201)
    reply = engine.client("prices:GA", "prices:NONE").post("/prices", rows)
    assert reply.status == 400, reply.body
    assert path in {"", *(fault["path"] for fault in reply.json.get("params", ()))}
    assert ok(admin.get("/prices?symbol=GA"))[0]["bid"] == "50.00000000"


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[Engine]:
    """A live engine where a price may move by a fifth."""
    url = f"sqlite:///{tmp_path}/journal.db"
    with running(url, tmp_path, is_sandbox=False, price_jump_max=Decimal("0.2")) as engine:
        yield engine


def test_a_feed_cannot_confirm_a_jump_not_even_anothers(careful: Engine) -> None:
    admin = careful.client()
    listed(admin, "GA")
    one, other = careful.client("prices:GA"), careful.client("prices:*")
    ok(one.post("/prices", [price("GA", "100")]), 201)
    assert ok(one.post("/prices", [price("GA", "200")]), 201)[0]["is_waiting"]
    for feed in (one, other):
        assert feed.post("/prices/GA/confirm").status == 403
    assert ok(other.post("/prices", [price("GA", "201")]), 201)[0]["is_waiting"]
    ok(admin.post("/prices/GA/confirm", {"bid": "201", "ask": "201"}))
    assert ok(admin.get("/prices?symbol=GA"))[0]["bid"] == "201.00000000"


def test_stale_prices_are_listed_with_the_time_since_when(engine: Engine) -> None:
    admin = engine.client()
    listed(admin, "SA"), listed(admin, "SB"), listed(admin, "SD")
    path = listed(admin, "SC", "ins_sc")
    old = rfc3339(now_us() - 30 * HOUR_US)
    rows = [price(one, timestamp=old) for one in ("SA", "SC", "SD")]
    ok(admin.post("/prices", [*rows, price("SB")]), 201)
    ok(admin.send("PUT", path, TERMS | {"symbol": "SC2"}), 200)
    off = TERMS | {"symbol": "SD", "trading_status": "not_trading"}
    ok(admin.send("PUT", "/instruments/ins_sd", off), 200)
    stale = {row["symbol"]: row["stale_since"] for row in ok(admin.get("/prices?stale=true"))}
    assert stale.keys() & {"SA", "SB", "SC", "SC2", "SD"} == {"SA"}
    assert stale["SA"] > old
    assert ok(admin.get("/prices?stale=true&symbol=SB")) == []
    fresh = {row["symbol"]: row["stale_since"] for row in ok(admin.get("/prices?symbol=SA&symbol=SB"))}
    assert fresh == {"SA": stale["SA"], "SB": None}
    then = rfc3339(now_us() - 29 * HOUR_US)
    assert ok(admin.get(f"/prices?symbol=SA&asof={then}"))[0]["stale_since"] is None
    ok(admin.post("/prices", [price("SA")]), 201)
    assert ok(admin.get("/prices?stale=true&symbol=SA")) == []
