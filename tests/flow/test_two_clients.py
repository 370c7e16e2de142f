"""What takes two clients on a live journal: no client moves money, or what decides about it, alone."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from engine.commands import decisions
from engine.domain.report import Report
from tests.support.checkers import invariants
from tests.support.servers.http_engine import TERMS, Engine, a_market, an_account, buying, ok, running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("live")
    url = f"sqlite:///{directory}/journal.db"
    fifth = Decimal("0.2")
    with running(url, directory, is_sandbox=False, price_jump_max=fifth) as engine:
        yield engine
        engine.disconnect()


@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
def test_outside_the_sandbox_two_clients_move_money(live: Engine, kind: str) -> None:
    live.tenant = f"two-{kind}"
    first, second = live.client(), live.client()
    account = an_account(first, cash="")
    for client, other in ((first, second), (second, first)):
        paid = ok(client.post(f"/accounts/{account}/deposits", {"amount": "9", "currency": "USD"}), 201)
        ok(other.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))
    path = f"/accounts/{account}/{kind}s"
    payment = ok(first.post(path, {"amount": "4", "currency": "USD"}), 201)["id"]
    for key in ("one", "one", "two"):
        alone = first.post(f"{path}/{payment}/complete", Idempotency_Key=key)
        assert (alone.status, alone.code) == (403, f"{kind}_forbidden")
        assert "another client" in alone.json["detail"]
    done = second.post(f"{path}/{payment}/complete", Idempotency_Key="one")
    assert ok(done)["status"] == "completed"
    again = second.post(f"{path}/{payment}/complete", Idempotency_Key="one")
    assert again.body == done.body
    # It has happened: saying so once more moves nothing, whoever says it.
    assert ok(first.post(f"{path}/{payment}/complete")) == done.json
    late = first.post(f"{path}/{payment}/fail")
    assert (late.status, late.code) == (403, f"{kind}_forbidden")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == {"deposit": "22.00", "withdrawal": "14.00"}[kind]


@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
def test_a_creator_may_fail_a_payment_and_is_told_what_became_of_it(live: Engine, kind: str) -> None:
    live.tenant = f"fail-{kind}"
    first, second = live.client(), live.client()
    account = an_account(first, cash="")
    paid = ok(first.post(f"/accounts/{account}/deposits", {"amount": "9", "currency": "USD"}), 201)
    ok(second.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))
    path = f"/accounts/{account}/{kind}s"
    payment = ok(first.post(path, {"amount": "4", "currency": "USD"}), 201)["id"]
    elsewhere = an_account(first, cash="")
    strange = first.post(f"/accounts/{elsewhere}/{kind}s/{payment}/complete")
    assert (strange.status, strange.code) == (404, "not_found")
    assert ok(first.post(f"{path}/{payment}/fail"))["status"] == "failed"
    late = first.post(f"{path}/{payment}/complete")
    assert (late.status, late.json["context"]["status"]) == (403, "failed")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert (cash["total"], cash["available_for_withdrawal"]) == ("9.00", "9.00")


def test_what_a_live_journal_has_not(live: Engine) -> None:
    client = live.client()
    assert client.get("/sandbox/clock").status == 404
    assert client.post("/sandbox/clock", {"advance": "P1D"}).status == 404
    assert client.get("/sandbox/scripts").status == 404
    script = {"account": "acc_1", "steps": [{"step": "trade"}]}
    assert client.post("/sandbox/scripts", script).status == 404


def test_a_price_that_jumps_takes_two_clients(live: Engine) -> None:
    """One client with `admin` and `trade` made 99002.50 of 100.00 by setting the price."""
    first, second = live.client(), live.client()
    ok(first.send("PUT", "/instruments/ins_jump", {**TERMS, "symbol": "JU/MP"}), 201)
    assert not ok(first.post("/prices", [{"symbol": "JU/MP", "bid": 1, "ask": 1}]), 201)[0]["is_waiting"]
    dear = {"symbol": "JU/MP", "bid": "990", "ask": "1000.00", "accrued_interest": "1.5"}
    (jump,) = ok(first.post("/prices", [dear]), 201)
    assert (jump["is_waiting"], jump["bid"], jump["accrued_interest"]) == (
        True, "990.00000000", "1.50000000")  # fmt: skip
    (price,) = ok(first.get("/prices?symbol=JU/MP"))
    assert (price["bid"], price["is_waiting"]) == ("1.00000000", False)
    for reader in (first, second):
        assert ok(reader.get("/prices?waiting=true")) == [jump]
    assert ok(first.get("/prices?waiting=true&symbol=OTHER")) == []
    live.services.health.poll()
    reasons = {one["code"]: one["detail"] for one in ok(first.get("/health/ready"))["reasons"]}
    assert reasons["prices_waiting"].startswith("1 of them, the first since 20")
    path = "/prices/JU%2FMP/confirm"
    alone = first.post(path, {})
    assert (alone.status, alone.code) == (403, "same_client")
    changed = second.post(path, {"bid": "991"})
    assert (changed.status, changed.code) == (409, "price_changed")
    done = ok(second.post(path, {"bid": "990", "ask": "1000"}))
    assert done["set_by"] == jump["set_by"] != done["confirmed_by"]
    assert ok(first.get("/prices?symbol=JU/MP")) == [done]
    assert ok(first.get("/prices?waiting=true")) == []
    gone = second.post(path, {})
    assert (gone.status, gone.code) == (404, "not_found")
    assert first.get("/prices").code == "missing_param"


def test_a_price_is_shown_in_its_own_unit_and_only_while_it_counts(live: Engine) -> None:
    client = live.client()
    percent = {**TERMS, "symbol": "PCT", "price_type": "percent"}
    ok(client.send("PUT", "/instruments/ins_pct", percent), 201)
    (before,) = ok(client.post("/prices", [{"symbol": "PCT", "bid": "98", "ask": "99"}]), 201)
    ok(client.send("PUT", "/instruments/ins_pct", {**percent, "price_type": "money"}))
    assert ok(client.get("/prices?symbol=PCT")) == []
    (then,) = ok(client.get("/prices?symbol=PCT&asof=2100-01-01T00:00:00Z"))
    assert then == before
    assert then["price_type"] == "percent"
    (after,) = ok(client.post("/prices", [{"symbol": "PCT", "bid": "98", "ask": "99"}]), 201)
    assert (after["is_waiting"], after["price_type"]) == (True, "money")
    ok(live.client().post("/prices/PCT/confirm", {}))


def test_a_change_of_the_symbol_is_no_way_round_a_jump(live: Engine) -> None:
    """One client made 2700.00 of 100.00: it bought under a former symbol at 10 and sold at 30."""
    live.tenant = "flips"
    first, second = live.client(), live.client()
    account = an_account(first, cash="")
    paid = ok(first.post(f"/accounts/{account}/deposits", {"amount": "100", "currency": "USD"}), 201)
    ok(second.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))

    def put(symbol: str, status: int = 200) -> None:
        ok(first.send("PUT", "/instruments/ins_flip", {**TERMS, "symbol": symbol}), status)

    def say(symbol: str, price: int) -> bool:
        (told,) = ok(first.post("/prices", [{"symbol": symbol, "bid": price, "ask": price}]), 201)
        return bool(told["is_waiting"])

    def buy() -> str:
        body = {**buying("100.00"), "instrument": "ins_flip"}
        return str(first.post(f"/accounts/{account}/orders", body).code)

    put("FLIP1", 201)
    assert not say("FLIP1", 10)
    put("FLIP2")
    assert say("FLIP2", 12)
    ok(second.post("/prices/FLIP2/confirm", {}))
    assert say("FLIP2", 30)
    ok(second.post("/prices/FLIP2/confirm", {}))
    former = first.post("/prices", [{"symbol": "FLIP1", "bid": 10, "ask": 10}])
    assert (former.status, [one["path"] for one in former.json["params"]]) == (400, ["body.0.symbol"])
    assert ok(first.get("/prices?symbol=FLIP1")) == []
    for symbol, price in (("FLIP1", 10), ("FLIP2", 30), ("FLIP1", 10)):
        put(symbol)
        assert buy() == "missing_price"  # what was said before the change does not count
        assert say(symbol, price)
        assert buy() == "missing_price"
    put("FLIP3")
    for symbol in ("FLIP1", "FLIP2"):  # what waits can be cleared, and counts neither
        ok(second.post(f"/prices/{symbol}/confirm", {}))
        put(symbol)
        assert (ok(first.get(f"/prices?symbol={symbol}")), buy()) == ([], "missing_price")
    assert say("FLIP2", 29)
    done = ok(second.post("/prices/FLIP2/confirm", {}))
    assert (done["bid"], ok(first.get("/prices?symbol=FLIP2"))) == ("29.00000000", [done])
    assert ok(first.get("/prices?waiting=true")) == []


def test_a_parked_report_is_booked_by_two_clients_and_everything_follows(live: Engine) -> None:
    """`book` answered `booked` in the first release, and booked nothing."""
    live.tenant = "booking"
    first, second = live.client(), live.client()
    a_market(first)
    account = an_account(first, cash="")
    paid = ok(first.post(f"/accounts/{account}/deposits", {"amount": "100", "currency": "USD"}), 201)
    ok(second.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))
    order = ok(first.post(f"/accounts/{account}/orders", buying("100.00")), 201)["id"]
    live.execute(order, [])
    late = Report("sim", f"{order}-late", order, "trade", Decimal(100), Decimal("0.99"))
    early = Report("sim", f"{order}-odd", order, "trade", Decimal(100), Decimal("0.001"))
    for said in (late, early):
        live.act(decisions.take_report, firm=live.services.firm, report=said)
    report, odd = (f"/parked-reports/{decisions.parked_report_id(said)}" for said in (late, early))
    book, reject = ({"action": action, "reason": "the venue is right"} for action in ("book", "reject"))
    refused = first.post(f"{odd}/resolve", book)
    assert (refused.status, refused.code) == (409, "report_not_bookable")
    assert ok(first.post(f"{odd}/resolve", reject))["status"] == "rejected"
    early_bird = second.post(f"{report}/confirm")
    assert (early_bird.status, early_bird.code) == (400, "invalid_request")
    asked = ok(first.post(f"{report}/resolve", book))
    assert (asked["status"], asked["trade"]) == ("booking", None)
    alone = first.post(f"{report}/confirm")
    assert (alone.status, alone.code) == (403, "same_client")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == "100.00"
    done = ok(second.post(f"{report}/confirm"))
    assert (done["status"], ok(second.post(f"{report}/confirm"))) == ("booked", done)
    live.settle(order)
    live.project()
    shown = ok(first.get(f"/accounts/{account}/orders/{order}"))
    (trade,) = shown["trades"]
    assert (shown["status"], shown["traded_quantity"], shown["traded_notional"], shown["fees"]) == (
        "cancelled", "0.99", "99.00", "0.50")  # fmt: skip
    assert (trade["id"], trade["status"]) == (done["trade"], "settled")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert (cash["total"], cash["reserved"]) == ("0.50", "0.00")
    (position,) = ok(first.get(f"/accounts/{account}/positions"))
    assert (position["total"], position["settled"], position["id"]) == (
        "0.99",
        "0.99",
        trade["position"],
    )
    rows = ok(first.get(f"/accounts/{account}/transactions"))
    assert [(row["transaction_type"], row["cash_amount"]) for row in rows] == [
        ("fee", "-0.50"), ("buy", "-99.00"), ("deposit", "100.00")]  # fmt: skip
    events = ok(first.get(f"/events?resource[id]={trade['id']}"))
    assert [event["name"] for event in events] == ["trade.settled", "trade.executed"]
    facts = ok(first.get(f"/accounts/{account}/orders/{order}/history"))
    assert "order.trade_applied.1" in str(facts)
    place, views = live.journal.datastore.store.url, live.views.store.url
    assert invariants.check(str(place), views_url=str(views)) == []
