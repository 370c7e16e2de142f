"""The project's own client against the running engine: every call, with both of its kinds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from api.http.call import tree_of
from api.routes import ROUTES
from engine.commands import decisions
from engine.domain.report import Report
from engine.registers.operations import define_operations
from order_engine_client import (
    AsyncClient,
    Client,
    Invalid,
    NewPrice,
    NewStep,
    NotAuthenticated,
    NotFound,
    OrderEvent,
    StillWaiting,
)
from tests.support.servers.clients import BOND, SYMBOL, TERMS, House, house_on

NOT_CALLED = {
    ("GET", "/.well-known/jwks.json"): "for what checks tokens elsewhere",
    ("GET", "/health/live"): "for what starts and balances processes",
    ("GET", "/health/ready"): "the same",
    ("GET", "/openapi.json"): "for programs that write clients",
    ("GET", "/docs"): "for people",
    ("GET", "/docs/{file}"): "the same",
    ("GET", "/meta/order-lifecycle"): "for documentation",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_on(tmp_path_factory.mktemp("engine")) as made:
        yield made


class Recorder:
    """Methods and paths of what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: httpx.Request) -> None:
        self.asked.append((request.method, request.url.raw_path.decode().partition("?")[0]))

    async def later(self, request: httpx.Request) -> None:
        """The same for asyncio."""
        self(request)

    def http(self) -> httpx.Client:
        return httpx.Client(event_hooks={"request": [self]})

    def async_http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(event_hooks={"request": [self.later]})

    @property
    def tokens(self) -> int:
        return self.asked.count(("POST", "/auth/token"))

    def routes(self) -> set[tuple[str, str]]:
        """Rows of the table of routes that they belong to."""
        found, root = set(), tree_of(ROUTES)
        for method, path in self.asked:
            node = root
            for segment in path[1:].split("/"):
                parameter = node.parameter
                node = node.words.get(segment) or parameter  # type: ignore[assignment]
            found.add((method, node.leaves[method].route.path))
        return found


def calls(house: House, words: dict[str, Any]) -> dict[str, Callable[[Any], Any]]:
    """Every call, as both clients take it. Keys make the writes the same for the second of them."""
    a, order, old = house.account, words["order"], words["old"]
    past = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "buy": lambda c: c.buy(a, BOND, "100.00", client_reference="mine", key="buy"),
        "sell": lambda c: c.sell(a, BOND, Decimal("0.10"), key="sell"),
        "quote": lambda c: c.quote(a, BOND, "buy", cash_amount="100.00", key="quote"),
        "cancel": lambda c: c.cancel_order(a, order, key="cancel"),
        "order": lambda c: c.order(a, order),
        "evidence": lambda c: c.evidence(a, old),
        "wait": lambda c: c.wait_for_order(a, old, until={"filled"}),
        "orders": lambda c: c.orders(a, page_size=1),
        "some orders": lambda c: c.orders(
            a, status=["filled", "placed"], side="buy", instrument=BOND, created_from=past,
            created_to=datetime.now(UTC) + timedelta(days=1), client_reference="first",
        ),
        "order history": lambda c: c.order_history(a, old, page_size=2),
        "order at": lambda c: c.order_at(a, old, version=1),
        "order then": lambda c: c.order_at(a, old, asof=datetime(2100, 1, 1, tzinfo=UTC)),
        "explain order": lambda c: c.explain_order(a, old, version=2),
        "account history": lambda c: c.account_history(a, page_size=10),
        "account at": lambda c: c.account_at(a, version=1),
        "explain account": lambda c: c.explain_account(a, asof=datetime(2100, 1, 1, tzinfo=UTC)),
        "old cash": lambda c: c.cash_balances(a, asof=datetime(2100, 1, 1, tzinfo=UTC)),
        "pending orders": lambda c: c.pending_orders(a, page_size=1),
        "open account": lambda c: c.open_account("Bob", "EUR", funding_currencies=["USD"]),
        "accounts": lambda c: c.accounts(page_size=1),
        "account": lambda c: c.account("ada/1"),
        "change account": lambda c: c.change_account(
            a, name="Ada L.", reference="ada/1", status="active", funding_currencies=["EUR"],
            can_deposit=True, can_withdraw=True, can_place_buy_order=True, can_place_sell_order=True,
        ),
        "cash": lambda c: c.cash_balances(a),
        "positions": lambda c: c.positions(a, open_only=True, page_size=1),
        "position": lambda c: c.position(a, words["position"]),
        "on the run": lambda c: c.on_the_run_bills("US"),
        "change position": lambda c: c.change_position(
            a, words["position"], automatic_rollover=False
        ),
        "transactions": lambda c: c.transactions(a, transaction_types=["buy", "fee"], page_size=1),
        "create deposit": lambda c: c.create_deposit(a, 5, "USD", payment_reference="r", key="in"),
        "deposits": lambda c: c.deposits(a, status=("open", "completed"), page_size=1),
        "deposit": lambda c: c.deposit(a, house.deposit),
        "complete deposit": lambda c: c.complete_deposit(a, house.deposit),
        "fail deposit": lambda c: c.fail_deposit(a, words["deposit"]),
        "create withdrawal": lambda c: c.create_withdrawal(a, "1.00", "USD", key="out"),
        "withdrawals": lambda c: c.withdrawals(a, page_size=1),
        "withdrawal": lambda c: c.withdrawal(a, words["withdrawal"]),
        "complete withdrawal": lambda c: c.complete_withdrawal(a, words["withdrawal"]),
        "fail withdrawal": lambda c: c.fail_withdrawal(a, words["other withdrawal"]),
        "instruments": lambda c: c.instruments(
            instrument_type="bond", trading_status=("buy_sell",), page_size=1
        ),
        "instrument": lambda c: c.instrument(SYMBOL),
        "put instrument": lambda c: c.put_instrument(BOND, **TERMS, required_cash_increment="0.01"),
        "prices": lambda c: c.prices(SYMBOL, "NONE"),
        "old prices": lambda c: c.prices(SYMBOL, asof=past),
        "put prices": lambda c: c.put_prices(NewPrice(SYMBOL, 99, "100.5", past, "closing")),
        "waiting prices": lambda c: jumping(house, lambda: c.waiting_prices(SYMBOL)),
        "confirm price": lambda c: jumping(house, lambda: c.confirm_price(SYMBOL, bid="99.50")),
        "corporate actions": lambda c: c.corporate_actions(
            instrument=BOND, status="announced", action_type=["call"], page_size=1
        ),
        "corporate action": lambda c: c.corporate_action(words["action"]),
        "announce action": lambda c: c.announce_action(
            BOND, "coupon", date(2100, 2, 12), amount="1.25", key="coupon"
        ),
        "correct action": lambda c: c.correct_action(
            words["action"], "call", date(2100, 3, 13), amount=101
        ),
        "withdraw action": lambda c: c.withdraw_action(words["withdrawn"], "entered twice", key="no"),
        "events": lambda c: c.events(name="order.placed", resource=order, created_from=past),
        "event": lambda c: c.event(words["event"]),
        "follow events": lambda c: c.follow_events(after=0, resource=order, waits=False),
        "create webhook": lambda c: c.create_webhook(
            f"https://h{next(words['numbers'])}.example.com/", description="d", events=["order.filled"]
        ),
        "webhooks": lambda c: c.webhooks(page_size=1),
        "webhook": lambda c: c.webhook(words["webhook"]),
        "put webhook": lambda c: c.put_webhook(
            words["webhook"], "https://kept.example.com/x", description="kept", is_active=False
        ),
        "test webhook": lambda c: c.test_webhook(words["tested"]),
        "replay": lambda c: c.replay_events(words["tested"], 1, 1),
        "deliveries": lambda c: c.deliveries(webhook=words["tested"], status="pending", page_size=1),
        "delivery": lambda c: c.delivery(words["delivery"]),
        "redeliver": lambda c: c.redeliver(words["delivery"]),
        "rotate webhook": lambda c: c.rotate_webhook_secret(words["webhook"]),
        "delete webhook": lambda c: c.delete_webhook(words["webhooks"].pop()),
        "resolve report": lambda c: c.resolve_report(words["report"], "reject", "the venue erred"),
        "acts": lambda c: c.acts(deed="webhook.tested", page_size=1),
        "refusals": lambda c: c.refusals(code="not_found", page_size=1),
        "book report": lambda c: c.resolve_report(words["late"], "book", "it is right"),
        "confirm report": lambda c: c.confirm_report(words["late"]),
        "execution report": lambda c: c.execution_report(
            "sim", "late", words["old"], "trade", executed_at=past, price=100, quantity="0.05"
        ),
        "parked reports": lambda c: c.parked_reports(status="rejected", page_size=1),
        "parked report": lambda c: c.parked_report(words["report"]),
        "projections": lambda c: c.projections(),
        "rebuild": lambda c: afresh(house, lambda: c.rebuild_projection("orders", keep_old=True)),
        "verify": lambda c: afresh(house, lambda: c.verify_projection("orders")),
        "faults": lambda c: c.faults("orders"),
        "retry": lambda c: left_out(house, order, lambda: c.retry_fault("orders", order)),
        "clock": lambda c: c.clock(),
        "advance clock": lambda c: c.advance_clock(timedelta(seconds=1)),
        "write script": lambda c: c.write_script(
            NewStep("trade", percent=40), NewStep("ended", after="PT1S"), account=a, key="script"
        ),
        "scripts": lambda c: c.scripts(status="open", page_size=1),
    }  # fmt: skip


def afresh(house: House, call: Callable[[], Any]) -> Any:
    """The call, when nothing has been asked for that would keep it waiting."""
    views = house.engine.views
    with views.writing() as connection:
        connection.exec_driver_sql("DELETE FROM view_rebuilds")
    return call()


def left_out(house: House, order: str, call: Callable[[], Any]) -> Any:
    """The call, when the view of orders has left an order out."""
    house.engine.leave_out("orders", order)
    return call()


def jumping(house: House, call: Callable[[], Any]) -> Any:
    """The call, when a price waits: the same each time."""
    waiting = define_operations().waiting_prices
    words = {"quality": "realtime", "bid": "99.50", "ask": "100", "accrued_interest": "0"}
    with house.engine.journal.datastore.store.writing() as connection:
        connection.execute(waiting.delete())
        connection.execute(waiting.insert().values(symbol=SYMBOL, at_us=1, recorded_us=1, **words))
    return call()


def prepared(house: House, client: Client) -> dict[str, Any]:
    """What the calls are about: an order that is filled, one that is open, payments."""
    a = house.account
    old = client.buy(a, BOND, 500, client_reference="first")
    house.engine.execute(old.id, ["4.90"])
    late = Report("sim", "late", old.id, "trade", Decimal(100), Decimal("0.05"))
    house.engine.act(decisions.take_report, firm=house.engine.services.firm, report=late)
    order = client.buy(a, BOND, "10.00").id
    words: dict[str, Any] = {
        "old": old.id,
        "order": order,
        "deposit": client.create_deposit(a, 7, "USD").id,
    }
    for name in ("withdrawal", "other withdrawal"):
        words[name] = client.create_withdrawal(a, "2.00", "USD").id
    house.engine.project()
    words["position"] = next(client.positions(a)).id
    words["report"] = next(client.parked_reports(status="open")).id
    later = Report("sim", "later", old.id, "trade", Decimal(100), Decimal("0.05"))
    house.engine.act(decisions.take_report, firm=house.engine.services.firm, report=later)
    words["late"] = decisions.parked_report_id(later)
    words["event"] = next(client.events(resource=order)).id
    words["webhook"] = client.create_webhook("https://kept.example.com/").id
    ended = (client.create_webhook(f"https://ended{n}.example.com/").id for n in (1, 2))
    words |= {"webhooks": list(ended), "numbers": count(1)}
    words["tested"] = client.create_webhook("https://tested.example.com/").id
    client.put_instrument("ins_called", **TERMS | {"symbol": "CALLED"})
    words["action"], words["withdrawn"] = (
        client.announce_action(instrument, "call", date(2100, 3, 12), amount=100).id
        for instrument in (BOND, "ins_called")
    )
    words["delivery"] = client.test_webhook(words["tested"]).id
    return words


def plain(result: Any) -> Any:
    """A result without what is its own each time: a new id, and the time of now."""
    found = msgspec.to_builtins(result)
    ours = {"business_time", "url", "requested_at", "event"}
    if isinstance(found, dict) and (found.get("name") == "Bob" or ours & {*found}):
        own = ("_at", "time", "_until", "id", "url", "secret", "event")
        return {key: found[key] for key in found if not key.endswith(own)}
    return found


async def awaited(got: Any) -> Any:
    return [entry async for entry in got] if isinstance(got, AsyncIterator) else await got


def test_both_clients_make_every_call_with_the_same_result(house: House) -> None:
    asked = Recorder()
    with asyncio.Runner() as runner, asked.http() as http:
        client = house.client(http=http)
        async_http = asked.async_http()
        later = AsyncClient(*house.words(), http=async_http)
        for name, call in calls(house, prepared(house, client)).items():
            house.engine.project()
            house.engine.seal()
            got = call(client)
            first = list(got) if isinstance(got, Iterator) else got
            house.engine.project()
            house.engine.seal()
            second = runner.run(awaited(call(later)))
            assert type(first) is type(second), name
            assert plain(first) == plain(second), name
            assert first or name in {"old prices", "on the run", "faults", "refusals"}, name
        runner.run(async_http.aclose())
    every = {(route.method, route.path) for route in ROUTES}
    assert every - asked.routes() == set(NOT_CALLED), "a route without a call, or one that is gone"


def test_values_come_as_what_they_are(house: House) -> None:
    with house.client() as client:
        order = client.buy(house.account, BOND, "100.00")
        house.engine.execute(order.id, ["0.99"])
        house.engine.project()
        assert isinstance(client.event(next(client.events()).id), OrderEvent)
        order = client.order(house.account, order.id)
    assert (order.fees, order.status, order.is_terminal) == (Decimal("0.50"), "filled", False)
    assert str(order.trades[0].price) == "100.00000000"
    # The trade date is the market's: in New York it may still be yesterday.
    assert order.trades[0].settlement_date >= order.created_at.date() - timedelta(days=1)
    assert order.created_at.tzinfo is UTC


ABSENT: dict[str, Callable[[Client, str], Any]] = {
    "account": lambda c, _: c.account("acc_none"),
    "account of an order": lambda c, _: c.buy("acc_none", BOND, 1),
    "instrument": lambda c, _: c.instrument("NONE"),
    "instrument of an order": lambda c, a: c.buy(a, "ins_none", 1),
    "position": lambda c, a: c.position(a, "pos_none"),
    "position changed": lambda c, a: c.change_position(a, "pos_none", automatic_rollover=True),
    "order cancelled": lambda c, a: c.cancel_order(a, "ord_none"),
    "order waited for": lambda c, a: c.wait_for_order(a, "ord_none"),
    "history": lambda c, a: list(c.order_history(a, "ord_none")),
    "deposit": lambda c, a: c.complete_deposit(a, "dep_none"),
    "event": lambda c, _: c.event("evt_none"),
    "webhook": lambda c, _: c.put_webhook("whk_none", "https://a.example.com/"),
    "delivery": lambda c, _: c.redeliver("whd_none"),
    "parked report": lambda c, _: c.resolve_report("rep_none", "reject", "none"),
    "projection": lambda c, _: c.faults("none"),
    "price confirmed": lambda c, _: c.confirm_price("NONE", bid=1),
}


@pytest.mark.parametrize("what", ABSENT)
def test_an_id_that_names_nothing_is_not_found_wherever_it_stands(house: House, what: str) -> None:
    with pytest.raises(NotFound) as caught:
        ABSENT[what](house.own, house.account)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("symbol", ["BRK/B", "A B", "50%25", "\u00c4?x=1#y", "a+b&c"])
def test_symbols_of_any_letters_are_taken_where_the_api_takes_symbols(house: House, symbol: str) -> None:
    client, instrument = house.own, "ins_" + symbol.encode().hex()
    client.put_instrument(instrument, **TERMS | {"symbol": symbol})
    client.put_prices(NewPrice(symbol, 99, 101))
    assert client.instrument(symbol).id == instrument
    assert [price.symbol for price in client.prices(symbol, SYMBOL)] == [symbol, SYMBOL]
    assert client.waiting_prices(symbol) == []


def test_business_time_moves_by_a_duration_as_text(house: House) -> None:
    before = house.own.clock().business_date
    assert house.own.advance_clock("P1D").business_date == before + timedelta(days=1)

    async def later() -> int:
        async with AsyncClient(*house.words()) as client:
            moved = await client.advance_clock("P1DT1S")
            return (moved.business_date - before).days

    assert asyncio.run(later()) == 2
    with pytest.raises(Invalid):
        house.own.advance_clock("a day")


def test_errors_say_what_the_engine_says(house: House) -> None:
    with house.client() as client:
        with pytest.raises(Invalid) as poor:
            client.buy(house.account, BOND, "1000000.00")
        with pytest.raises(NotFound) as wrong:
            client.buy(house.account, "ins_none", "0.001", key="k")
        with pytest.raises(NotFound) as nobodys:
            client.order(house.account, "ord_1")
    assert poor.value.code == "insufficient_funds"
    assert Decimal(poor.value.context["available"]) < 1_000_000
    assert (wrong.value.status, wrong.value.params[0].path) == (400, "body.instrument")
    assert wrong.value.idempotency_key == "k"
    assert (nobodys.value.code, nobodys.value.status) == ("not_found", 404)
    assert nobodys.value.request_id
    with Client(house.url, house.known.client.id, "wrong") as stranger:
        with pytest.raises(NotAuthenticated) as unknown:
            stranger.clock()
        assert unknown.value.code == "invalid_client"


def test_a_revoked_token_is_renewed_and_many_threads_share_one(house: House) -> None:
    asked = Recorder()
    with asked.http() as http:
        client = house.client(http=http)

        def look(_: int) -> str:
            return client.account(house.account).id

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(look, range(32))) == {house.account}
        assert asked.tokens == 1
        client._session._kept.access = client._session._kept.access._replace(token="a.b.c")
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(look, range(32))) == {house.account}
        assert asked.tokens == 2


def test_many_tasks_share_one_token(house: House) -> None:
    asked = Recorder()

    async def look() -> set[str]:
        async with asked.async_http() as http:
            client = AsyncClient(*house.words(), http=http)
            return {one.id for one in await asyncio.gather(*map(client.account, [house.account] * 32))}

    assert asyncio.run(look()) == {house.account}
    assert asked.tokens == 1


def test_a_read_can_ask_for_what_another_client_was_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.0)
    words = house.credentials()
    with house.client() as writer, Client(house.url, words.client.id, words.secret) as reader:
        order = writer.buy(house.account, BOND, "10.00")
        assert order.id not in {one.id for one in reader.pending_orders(house.account)}
        late = threading.Timer(0.2, house.engine.project)
        late.start()  # meanwhile it is told `view_behind`, and asks again
        shown = [one.id for one in reader.after(writer.offset).pending_orders(house.account)]
        late.join()
        assert shown[0] == order.id


def test_an_order_that_does_not_come_so_far(house: House) -> None:
    with house.client() as client:
        order = client.buy(house.account, BOND, "10.00")
        with pytest.raises(StillWaiting) as caught:
            client.wait_for_order(house.account, order.id, within_s=0.1)
    assert caught.value.order == order
