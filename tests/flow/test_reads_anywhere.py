"""Reads on another process than the one that wrote, where no view has moved since: what is one thing is
current at once, and what is a list waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pytest

from api.routes import ROUTES
from engine.commands import decisions
from engine.commands.decisions import parked_report_id
from engine.domain.bookings import CashDeposited
from engine.domain.order import TradeSettled
from engine.domain.report import Report
from engine.journal.damage import KEY, LOSSES
from engine.journal.journal import Journal
from engine.journal.store import Store
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Envelope, StreamAppend
from engine.kernel.limits import SNAPSHOT_EVERY
from projections.ids import derived
from tests.support.engines.rewinding import execute_behind, rewind_journal
from tests.support.servers.http_engine import (
    TERMS,
    Engine,
    a_market,
    an_account,
    buying,
    of_new_tenant,
    ok,
    running,
    selling,
)
from tests.support.servers.http_server import Client, Reply

HEADERS = {"Journal-Offset", "View-Offset"}


class Pair(NamedTuple):
    """Two processes on one journal; nothing brings the views up but `here.project()`."""

    here: Engine
    there: Engine

    def reader(self, *scopes: str, tenant: str = "") -> Client:
        """A fresh client of the other process, which was never answered anything there."""
        return self.there.client(*scopes, tenant=tenant or self.here.tenant)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    url = f"sqlite:///{folder}/journal.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
    with running(url, folder) as here, running(url, folder) as there:
        yield Pair(here, there)


@pytest.fixture
def pair(module_pair: Pair) -> Iterator[Pair]:
    for here in of_new_tenant(module_pair.here):
        yield Pair(here, module_pair.there)
    module_pair.there.disconnect()


@pytest.fixture
def client(pair: Pair) -> Client:
    client = pair.here.client()
    a_market(client)
    return client


def sources(reply: Reply) -> set[str]:
    """The headers of a reply that say where it comes from."""
    return HEADERS & {*reply.headers}


# --- one thing ------------------------------------------------------------------------------------


def writes(pair: Pair, client: Client) -> Iterator[tuple[str, Any]]:
    """Write after write: where its result is to be seen, and as what."""
    account = an_account(client, "", reference=f"ref-{pair.here.tenant}")
    opened = ok(client.get(f"/accounts/{account}"))
    yield f"/accounts/{account}", opened
    yield f"/accounts/ref-{pair.here.tenant}", opened
    changed = ok(client.send("PATCH", f"/accounts/{account}", {"name": "Grace", "can_withdraw": False}))
    yield f"/accounts/{account}", changed
    renamed = {"reference": f"new-{pair.here.tenant}", "can_withdraw": True}
    yield (
        f"/accounts/new-{pair.here.tenant}",
        ok(client.send("PATCH", f"/accounts/{account}", renamed)),
    )
    path = f"/accounts/{account}/deposits"
    words = {"amount": "1000.00", "currency": "USD", "payment_reference": "from Ada"}
    deposit = ok(client.post(path, words), 201)
    yield f"{path}/{deposit['id']}", deposit
    yield f"{path}/{deposit['id']}", ok(client.post(f"{path}/{deposit['id']}/complete"))
    yield f"/accounts/{account}/cash-balances", [balance("1000.00", "1000.00", "1000.00", "0.00")]
    other = ok(client.post(path, words), 201)
    yield f"{path}/{other['id']}", ok(client.post(f"{path}/{other['id']}/fail"))
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("217.00", client_reference="mine")), 201)
    yield f"{orders}/{order['id']}", order
    yield f"/accounts/{account}/cash-balances", [balance("1000.00", "783.00", "783.00", "217.00")]
    cancelled = ok(client.post(f"{orders}/{order['id']}/cancel"))
    yield f"{orders}/{order['id']}", cancelled
    withdrawals = f"/accounts/{account}/withdrawals"
    withdrawal = ok(client.post(withdrawals, {"amount": "10.00", "currency": "USD"}), 201)
    yield f"{withdrawals}/{withdrawal['id']}", withdrawal
    yield f"/accounts/{account}/cash-balances", [balance("1000.00", "990.00", "990.00", "10.00")]
    ended = ok(client.post(f"{withdrawals}/{withdrawal['id']}/complete"))
    yield f"{withdrawals}/{withdrawal['id']}", ended
    symbol = pair.here.tenant.upper()
    for terms in ({"name": "New", "symbol": symbol}, {"name": "Newer", "symbol": f"{symbol}.B"}):
        reply = client.send("PUT", f"/instruments/ins_{symbol}", {**TERMS, **terms})
        listed = ok(reply, reply.status)
        yield f"/instruments/ins_{symbol}", listed
        yield f"/instruments/{terms['symbol']}", listed
    quote = ok(client.post("/prices", [{"symbol": f"{symbol}.B", "bid": "9", "ask": "10"}]), 201)
    yield f"/prices?symbol={symbol}.B", quote
    yield f"/prices?symbol={symbol}", []
    hook = {"url": f"https://receiver.example/{pair.here.tenant}", "events": ["order.filled"]}
    webhook = ok(client.post("/webhooks", hook), 201)
    webhook.pop("secret")
    yield f"/webhooks/{webhook['id']}", webhook
    delivery = ok(client.post(f"/webhooks/{webhook['id']}/test"), 202)
    yield f"/webhook-deliveries/{delivery['id']}", delivery
    replaced = ok(client.send("PUT", f"/webhooks/{webhook['id']}", {**hook, "is_active": False}))
    yield f"/webhooks/{webhook['id']}", replaced


def balance(total: str, trading: str, withdrawal: str, reserved: str) -> dict[str, str]:
    return {
        "currency": "USD", "total": total, "available_for_trading": trading,
        "available_for_withdrawal": withdrawal, "reserved": reserved,
    }  # fmt: skip


def test_each_write_is_read_at_once_on_another_process(pair: Pair, client: Client) -> None:
    registers = ("/prices", "/webhook-deliveries")
    seen = 0
    for path, expected in writes(pair, client):
        reply = pair.reader().get(path)
        assert ok(reply) == expected, path
        assert sources(reply) == (set() if path.startswith(registers) else {"Journal-Offset"}), path
        seen += 1
    assert seen > 20


def test_what_a_venue_did_is_read_at_once(pair: Pair, client: Client) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("100")), 201)["id"]
    pair.here.project()
    pair.here.execute(order, ["0.50", "0.49"])
    filled = ok(pair.reader().get(f"{orders}/{order}"))
    assert (filled["status"], filled["traded_quantity"], len(filled["trades"])) == ("filled", "0.99", 2)
    position = f"/accounts/{account}/positions/{filled['position']}"
    held = pair.reader().get(position)
    assert (ok(held)["total"], ok(held)["unsettled"]) == ("0.99", "0.99")
    assert sources(held) == {"Journal-Offset"}
    pair.here.settle(order)
    assert ok(pair.reader().get(position))["settled"] == "0.99"
    assert ok(pair.reader().get(f"{orders}/{order}"))["status"] == "settled"
    pair.here.project()
    after = pair.reader().get(position)
    assert (ok(after)["settled"], sources(after)) == ("0.99", {"View-Offset"})
    assert after.headers["View-Offset"] == str(pair.here.journal.head)


def test_a_parked_report_is_read_at_once(pair: Pair, client: Client) -> None:
    order = f"ord_{pair.here.tenant}"
    report = Report("sim", f"{order}-1", order, "trade", Decimal(1), Decimal(1))
    pair.here.act(decisions.take_report, firm=pair.here.services.firm, report=report)
    path = f"/parked-reports/{parked_report_id(report)}"
    assert ok(pair.reader().get(path))["status"] == "open"
    pair.here.project()
    rejected = ok(client.post(f"{path}/resolve", {"action": "reject", "reason": "not ours"}))
    reply = pair.reader().get(path)
    assert (ok(reply), sources(reply)) == (rejected, {"Journal-Offset"})
    assert pair.reader().get("/parked-reports/rep_unknown").code == "not_found"


def test_a_view_that_has_come_to_the_resource_is_asked_though_the_journal_goes_on(
    pair: Pair, client: Client
) -> None:
    account, other = an_account(client), an_account(client)
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)
    pair.here.project()
    reached = str(pair.here.journal.head)
    ok(client.post(f"/accounts/{other}/orders", buying("10")), 201)
    reply = pair.reader().get(f"/accounts/{account}/orders/{order['id']}")
    assert (ok(reply), reply.headers["View-Offset"]) == (order, reached)
    cash = pair.reader().get(f"/accounts/{other}/cash-balances")
    assert (ok(cash)[0]["reserved"], sources(cash)) == ("10.00", {"Journal-Offset"})


def test_a_read_is_as_few_round_trips_as_there_are_databases(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database may be 10 ms away."""
    account = an_account(client)
    order = ok(client.post(f"/accounts/{account}/orders", buying("10", client_reference="a")), 201)["id"]
    path, reader = f"/accounts/{account}/orders/{order}", pair.reader()
    assert ok(reader.get(path))["client_reference"] == "a"  # the account's tenant is known from now on
    asked: list[str] = []
    query = Store.query

    def counted(store: Store, statement: str, values: Any = ()) -> Any:
        asked.extend([statement] * (order in values))
        return query(store, statement, values)

    monkeypatch.setattr(Store, "query", counted)
    pair.here.project()
    asked.clear()
    assert sources(reader.get(path)) == {"View-Offset"}
    is_one = pair.there.services.is_one_database
    assert len(asked) == (1 if is_one else 2), asked
    ok(client.post(f"{path}/cancel"))
    asked.clear()
    assert sources(reader.get(path)) == {"Journal-Offset"}
    assert len(asked) == (2 if is_one else 3), asked


def test_another_tenants_resource_and_none_are_the_same_bytes(pair: Pair, client: Client) -> None:
    account = an_account(client, reference="shared word")
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("10")), 201)["id"]
    webhook = ok(client.post("/webhooks", {"url": "https://receiver.example/x"}), 201)["id"]
    path, body = f"/accounts/{account}/deposits", {"amount": "1.00", "currency": "USD"}
    deposit = ok(client.post(path, body), 201)["id"]
    for project in (lambda: None, pair.here.project):
        project()
        rival = pair.reader(tenant="rival")
        own = an_account(rival)
        for paths in (
            (f"/accounts/{account}", "/accounts/shared%20word", "/accounts/acc_none"),
            (f"/accounts/{account}/cash-balances", "/accounts/acc_none/cash-balances",
             ),
            (f"{orders}/{order}", f"/accounts/acc_none/orders/{order}"),
            (f"/accounts/{own}/orders/{order}", f"/accounts/{own}/orders/ord_none"),
            (f"/accounts/{own}/positions/pos_none", f"/accounts/{own}/positions/pos_other"),
            (f"/accounts/{own}/deposits/{deposit}", f"/accounts/{own}/deposits/dep_none"),
            (f"/webhooks/{webhook}", "/webhooks/whk_none"),
        ):  # fmt: skip
            answers = {nameless(rival.get(path), path) for path in paths}
            assert len(answers) == 1, answers
            assert answers.pop()[0] == 404


def nameless(reply: Reply, path: str) -> tuple[int, str, tuple[str, ...]]:
    """A reply without the ids that were asked for, and its own."""
    text = reply.body.decode().replace(reply.json["request_id"], "")
    for word in unquote(path).split("/"):
        text = text.replace(f"`{word}`", "``")
    return reply.status, text, tuple(sorted(sources(reply)))


def test_a_row_of_nothing_is_not_found(pair: Pair, client: Client) -> None:
    """Views of a journal that was put back have rows which it has no facts of."""
    account = an_account(client)
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
    pair.here.project()
    ghost = f"ord_ghost{pair.here.journal.head}"
    with pair.here.views.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO view_orders SELECT -first_offset, "
            f"'{ghost}', account, tenant, status, side, instrument, created_us, is_open, body"
            f" FROM view_orders WHERE id = '{order}'"
        )
    assert pair.reader().get(f"/accounts/{account}/orders/{ghost}").code == "not_found"
    with pair.here.views.writing() as connection:
        connection.exec_driver_sql(f"DELETE FROM view_orders WHERE id IN ('{ghost}', '{order}')")
    lost = pair.reader().get(f"/accounts/{account}/orders/{order}")
    assert ok(lost)["id"] == order, "and a row that is lost is no reason to deny the order"
    pair.here.views.reset("orders")


def test_a_view_that_cannot_be_read_hides_no_resource(journal_url: str, tmp_path: Path) -> None:
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        account = an_account(client)
        order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)
        engine.project()
        with engine.views.writing() as connection:
            connection.exec_driver_sql("DROP TABLE view_orders")
        path = f"/accounts/{account}/orders/{order['id']}"
        reply = client.get(path)
        assert (ok(reply), sources(reply)) == (order, {"Journal-Offset"})
        engine.project()  # who has met the damage has had them made again
        reply = client.get(path)
        assert (ok(reply), sources(reply)) == (order, {"View-Offset"})


@pytest.mark.parametrize("has_viewed", [False, True])
def test_a_resource_that_cannot_be_folded_waits_alone(
    pair: Pair, client: Client, has_viewed: bool
) -> None:
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    bad, good = (ok(client.post(orders, buying("10")), 201) for _ in range(2))
    wrong = StreamAppend(bad["id"], 1, [TradeSettled("trd_none", 1)])
    pair.here.journal.append(
        [wrong], Envelope(1, None, pair.here.tenant, "venue", bad["id"].encode()[-16:])
    )
    if has_viewed:
        pair.here.project()
    reply = pair.reader().get(f"{orders}/{bad['id']}")
    assert (reply.status, reply.code) == (503, "view_quarantined")
    assert ok(pair.reader().get(f"{orders}/{good['id']}")) == good


def test_a_position_that_another_has_followed_is_waited_for(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.current.VIEW_WAIT_S", 0.05)
    account = an_account(client)
    orders, positions = f"/accounts/{account}/orders", []
    for ask, quantity in ((buying("100.50"), "0.99"), (selling("0.99"), "0.99"), (buying("50"), "0.49")):
        order = ok(client.post(orders, ask), 201)["id"]
        pair.here.execute(order, [quantity])
        pair.here.settle(order)
        positions.append(ok(client.get(f"{orders}/{order}"))["position"])
    former, _, last = positions
    assert former != last
    path = f"/accounts/{account}/positions"
    assert ok(pair.reader().get(f"{path}/{last}"))["status"] == "open"
    reply = pair.reader().get(f"{path}/{former}")
    assert (reply.status, reply.code) == (503, "view_behind")
    assert pair.reader().get(f"{path}/pos_none").code == "not_found", "which needs no view"
    pair.here.project()
    for most in (10_000, 0):  # an account that is too long is not looked through
        monkeypatch.setattr("api.handlers.holdings.POSITIONS_LOOKED_FOR_MAX", most)
        reply = pair.reader().get(f"{path}/{former}")
        assert (ok(reply)["status"], sources(reply)) == ("closed", {"View-Offset"})
        assert pair.reader().get(f"{path}/pos_none").code == "not_found"
    ok(client.post(f"/accounts/{account}/deposits", {"amount": "1.00", "currency": "USD"}), 201)
    ok(client.post(orders, buying("10")), 201)
    for position in ("pos_none", former):
        assert pair.reader().get(f"{path}/{position}").code == "view_behind"


def test_a_database_that_takes_no_writes_is_read_all_the_same(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading many facts would keep a snapshot."""
    account = an_account(client)
    version = pair.here.journal.end(account).version
    facts = [CashDeposited("dep_x", "USD", Decimal("1.00"), 1)] * SNAPSHOT_EVERY
    envelope = Envelope(1, None, pair.here.tenant, "someone", account.encode()[-16:])
    pair.here.journal.append([StreamAppend(account, version, facts)], envelope)

    def full(*_: Any) -> None:
        raise Unavailable("disk full")

    monkeypatch.setattr(Journal, "keep_state", full)
    cash = ok(pair.reader().get(f"/accounts/{account}/cash-balances"))
    assert cash[0]["total"] == f"{1000 + SNAPSHOT_EVERY}.00"


# --- lists ----------------------------------------------------------------------------------------


def in_a_while(work: Callable[[], Any]) -> threading.Timer:
    """Has something done while somebody waits."""
    timer = threading.Timer(0.1, work)
    timer.start()
    return timer


def test_all_events_till_now_are_all_of_them(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = an_account(client)
    pair.here.project()
    orders = f"/accounts/{account}/orders"
    placed = [ok(client.post(orders, buying("10")), 201)["id"] for _ in range(10)]
    path = "/events/stream?follow=false&after=0&name=order.placed"
    with monkeypatch.context() as patched:
        patched.setattr("api.http.reading.VIEW_WAIT_S", 0.05)
        reply = pair.reader().get(path)
        assert (reply.status, reply.code) == (503, "view_behind")
    late = in_a_while(pair.here.project)
    told = pair.reader().get(path).body.decode()
    late.join()
    assert [order for order in placed if order not in told] == []
    assert '"caught_up"' in told


def test_an_event_is_found_once_its_fact_is_recorded(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = an_account(client)
    pair.here.project()
    event = ok(client.get(f"/events?resource[id]={account}"))[0]
    fresh = pair.reader()
    reply = fresh.get(f"/events/{event['id']}")
    assert (ok(reply), sources(reply)) == (event, {"View-Offset"})
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
    placed = pair.here.journal.last(order)
    assert placed is not None
    newer = derived("evt", placed.envelope.at_us, placed.offset)
    with monkeypatch.context() as patched:
        patched.setattr("api.http.reading.VIEW_WAIT_S", 0.05)
        assert pair.reader().get(f"/events/{newer}").code == "view_behind"
        assert ok(pair.reader().get(f"/events/{event['id']}")) == event
        beyond = derived("evt", placed.envelope.at_us, placed.offset + 1)
        assert pair.reader().get(f"/events/{beyond}").code == "not_found"
    late = in_a_while(pair.here.project)
    assert ok(pair.reader().get(f"/events/{newer}"))["resource"]["id"] == order
    late.join()


def test_lists_show_what_a_client_was_told_of_single_things(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = an_account(client)
    pair.here.project()
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("10")), 201)
    stranger, told = pair.reader(), pair.reader()
    assert ok(stranger.get(orders)) == []
    assert ok(told.get(f"{orders}/{order['id']}")) == order
    with monkeypatch.context() as patched:
        patched.setattr("api.http.reading.VIEW_WAIT_S", 0.05)
        for path in (orders, f"/accounts/{account}/pending-orders", "/events", "/accounts"):
            assert told.get(path).code == "view_behind"
    late = in_a_while(pair.here.project)
    reply = told.get(orders)
    late.join()
    assert (ok(reply), reply.headers["View-Offset"]) == ([order], str(pair.here.journal.head))


def test_payments_of_an_account_are_listed_page_by_page(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.0)
    account, other = an_account(client), an_account(client)
    path, amount = f"/accounts/{account}/deposits", {"amount": "5.00", "currency": "USD"}
    made = [ok(client.post(path, {**amount, "payment_reference": f"r{n}"}), 201) for n in range(3)]
    back = ok(client.post(f"/accounts/{account}/withdrawals", amount), 201)
    assert client.get(path).code == "view_behind"
    pair.here.project()
    reader = pair.reader()
    first = reader.get(f"{path}?limit=2")
    assert ok(first) == made[:0:-1]
    rest = reader.get(first.headers["Link"].split(">")[0][1:])
    assert ok(rest)[0] == made[0]
    assert [one["amount"] for one in ok(rest)[1:]] == ["1000.00"]
    assert "Link" not in rest.headers
    assert [one["status"] for one in ok(reader.get(f"{path}?status=completed"))] == ["completed"]
    assert ok(reader.get(f"{path}?status=failed")) == []
    assert ok(reader.get(f"/accounts/{account}/withdrawals")) == [back]
    assert ok(reader.get(f"/accounts/{other}/withdrawals")) == []
    assert reader.get(f"/accounts/{other}/deposits?before={made[0]['id']}").status == 400
    assert pair.reader(tenant="rival").get(path).code == "not_found"


def test_many_that_wait_ask_once_for_all(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.5)
    account = an_account(client)
    pair.here.project()
    ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)
    after = str(pair.here.journal.head)
    readers = [pair.reader() for _ in range(20)]
    asked, query = list[str](), Store.query

    def counted(store: Store, statement: str, values: Any = ()) -> Any:
        asked.extend([statement] * ("view_checkpoints" in statement))
        return query(store, statement, values)

    monkeypatch.setattr(Store, "query", counted)
    began_s = monotonic()
    with ThreadPoolExecutor(len(readers)) as threads:
        replies = list(threads.map(lambda one: one.get("/events", Min_Journal_Offset=after), readers))
    assert {reply.code for reply in replies} == {"view_behind"}
    assert len(asked) < len(readers) + 200 * (monotonic() - began_s)


def test_a_client_that_is_forgotten_is_shown_nothing_older(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.services.CLIENTS_SEEN_MAX", 1)
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.05)
    account = an_account(client)
    pair.here.project()
    order = ok(client.post(f"/accounts/{account}/orders", buying("10")), 201)["id"]
    crowd = [pair.here.client() for _ in range(3)]
    for one in crowd:
        ok(one.get(f"/accounts/{account}/orders/{order}"))
    assert client.get(f"/accounts/{account}/orders").code == "view_behind"
    pair.here.project()
    assert len(ok(client.get(f"/accounts/{account}/orders"))) == 1


def test_an_offset_that_is_still_to_come_is_refused_by_every_read(pair: Pair) -> None:
    reader = pair.reader("read", "operate", "admin")
    head = pair.here.journal.head
    for route in ROUTES:
        if route.method != "GET" or route.scope is None:
            continue
        names = {"account_id": "acc_x", "order_id": "ord_x", "position_id": "pos_x",
                 "deposit_id": "dep_x", "withdrawal_id": "wdr_x", "event_id": "evt_x",
                 "report_id": "rep_x", "webhook_id": "whk_x", "delivery_id": "whd_x",
                 "action_id": "cac_x",
                 "id_or_reference": "x", "id_or_symbol": "x", "name": "orders"}  # fmt: skip
        path = route.path.format(**dict.fromkeys(route_names(route.path), "x") | names)
        path += {"list_prices": "?symbol=X", "list_on_the_run_bills": "?issuer_country=US"}.get(
            route.name, ""
        )
        reply = reader.get(path, Min_Journal_Offset=str(head + 1))
        assert (reply.status, reply.code) == (400, "offset_in_future"), path
        assert reply.json["context"] == {"head": head}
        assert reader.get(path, Min_Journal_Offset=str(10**17)).code == "offset_in_future"


def route_names(path: str) -> list[str]:
    return [word[1:-1] for word in path.split("/") if word.startswith("{")]


# --- restarts -------------------------------------------------------------------------------------


def test_after_a_restart_nothing_is_older_than_before(
    journal_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        engine.project()
        account = an_account(client, reference="mine")
        order = ok(client.post(f"/accounts/{account}/orders", buying("217.00")), 201)
    with running(journal_url, tmp_path) as engine:
        reader = engine.client()
        assert ok(reader.get("/accounts/mine"))["id"] == account
        assert ok(reader.get(f"/accounts/{account}/orders/{order['id']}")) == order
        cash = ok(reader.get(f"/accounts/{account}/cash-balances"))
        assert cash == [balance("1000.00", "783.00", "783.00", "217.00")]
        assert ok(reader.get("/instruments/KE2024A"))["id"] == "ins_bond"
        lists = (
            "/accounts", f"/accounts/{account}/orders", f"/accounts/{account}/pending-orders",
            f"/accounts/{account}/transactions", f"/accounts/{account}/positions", "/events",
            "/instruments", "/parked-reports", "/events/stream?follow=false&after=0",
        )  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr("api.http.reading.VIEW_WAIT_S", 0.0)
            for path in lists:
                assert reader.get(path).code == "view_behind", path
        engine.project()
        for path in lists:
            assert reader.get(path).status == 200, path
        assert [one["id"] for one in ok(reader.get(f"/accounts/{account}/orders"))] == [order["id"]]


def test_nothing_is_expected_of_a_journal_that_is_another_one_now(
    journal_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator has accepted that facts are gone: lists wait for none of them."""
    monkeypatch.setattr("api.http.reading.VIEW_WAIT_S", 0.0)
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        account = an_account(client)
        engine.project()
        end = engine.journal.head
        ok(client.send("PATCH", f"/accounts/{account}", {"can_withdraw": False}))
        rewind_journal(journal_url, end)
        assert client.get("/accounts").code == "view_behind"
        damage = engine.journal.datastore.damage
        damage.refresh()
        accepted = ("INSERT INTO journal_meta (key, value) VALUES (?, '1')", (LOSSES,))
        execute_behind(journal_url, ("DELETE FROM journal_meta WHERE key = ?", (KEY,)), accepted)
        damage.refresh()
        assert [one["id"] for one in ok(client.get("/accounts"))] == [account]
        assert client.get("/accounts", Min_Journal_Offset=str(end + 1)).code == "offset_in_future"


# --- personal words -------------------------------------------------------------------------------


def test_a_reference_of_nothing_is_not_found_and_is_free_again(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process has died between an account's words and its facts."""
    here, reference = pair.here.services, f"lost {pair.here.tenant}"
    lost = here.firm.ids.new("acc")
    here.personal.put(pair.here.tenant, lost, {"reference": reference, "name": "Ada"})
    path = f"/accounts/{quote(reference)}"
    body = {"name": "Grace", "base_currency": "USD", "reference": reference}
    assert pair.reader().get(path).code == "not_found"
    taken = client.post("/accounts", body)
    assert taken.json["params"][0]["code"] == "already_taken", "it may be on its way"
    monkeypatch.setattr("api.http.acting.WORDS_CLAIM_S", -1)
    opened = ok(client.post("/accounts", body), 201)
    assert ok(pair.reader().get(path)) == opened
    assert here.personal.words([lost]) == {}
    again = client.post("/accounts", body)
    assert again.json["params"][0]["code"] == "already_taken", "now it is somebody's"
    assert ok(pair.reader().get(path)) == opened
    other = an_account(client, "")
    named = client.send("PATCH", f"/accounts/{other}", {"reference": reference})
    assert named.json["params"][0]["code"] == "already_taken"


def test_an_account_keeps_its_reference_though_it_was_thought_dead(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is asked again, long after it was cut off, while another wants the reference."""
    reference = f"slow {pair.here.tenant}"
    services, append = pair.here.services, pair.here.services.bridge.do
    monkeypatch.setattr("api.http.acting.WORDS_CLAIM_S", -1)

    async def while_another_asks(command: Any) -> Any:
        (subject,) = services.personal.find(pair.here.tenant, "reference", reference)
        services.personal.erase(subject)
        return await append(command)

    with monkeypatch.context() as patched:
        patched.setattr(services.bridge, "do", while_another_asks)
        body = {"name": "Ada", "base_currency": "USD", "reference": reference}
        opened = ok(client.post("/accounts", body), 201)
    assert opened["reference"] == reference
    assert ok(pair.reader().get(f"/accounts/{quote(reference)}")) == opened
