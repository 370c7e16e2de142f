"""One key, one deed: every writing route of the table, sent again with the same key and with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

import api.handlers.accounts
import api.handlers.webhooks
from api.routes import ROUTES
from engine.commands import decisions
from engine.domain.report import Report
from engine.kernel.errors import Unavailable
from tests.support.servers.http_engine import (
    TERMS,
    Engine,
    a_market,
    an_account,
    buying,
    ok,
    running,
)
from tests.support.servers.http_server import Client, Reply

DAY_US = 86_400_000_000
WRITING = {route.name: route for route in ROUTES if route.has_key}


class Case(NamedTuple):
    """A request, and another one of the same route and account."""

    path: str
    body: Any = None
    other_path: str = ""
    other_body: Any = None


class House(NamedTuple):
    """What requests of a test are about."""

    engine: Engine
    client: Client
    account: str

    def at(self, rest: str) -> str:
        return f"/accounts/{self.account}{rest}"

    def order(self) -> str:
        return str(ok(self.client.post(self.at("/orders"), buying("10")), 201)["id"])

    def position(self) -> str:
        """A position that may roll over."""
        ok(
            self.client.send(
                "PUT", "/instruments/ins_bond", TERMS | {"supports_automatic_rollover": True}
            )
        )
        self.engine.execute(self.order(), ["0.09"])
        self.engine.project()
        return str(ok(self.client.get(self.at("/positions")))[0]["id"])

    def payment(self, kind: str) -> str:
        money = {"amount": "1", "currency": "USD"}
        return str(ok(self.client.post(self.at(f"/{kind}"), money), 201)["id"])

    def webhook(self) -> str:
        url = f"https://{self.engine.journal.head}.example.com/"
        return str(ok(self.client.post("/webhooks", {"url": url}), 201)["id"])

    def delivery(self) -> str:
        return str(ok(self.client.post(f"/webhooks/{self.webhook()}/test"), 202)["id"])

    def jump(self) -> str:
        """The symbol of a price that waits to be confirmed."""
        market = self.engine.services.market
        market._jump_max, before = Decimal("0.01"), market._jump_max
        price = f"{200 + self.engine.journal.head}.{len(self.engine.clients)}"
        try:
            ok(self.client.post("/prices", [{"symbol": "KE2024A", "bid": price, "ask": price}]), 201)
        finally:
            market._jump_max = before
        return "KE2024A"

    def parked(self) -> str:
        report = Report("sim", f"r-{self.engine.journal.head}", "ord_unknown", "ended")
        self.engine.act(decisions.take_report, firm=self.engine.services.firm, report=report)
        return decisions.parked_report_id(report)

    def asked(self) -> str:
        """A late fill that somebody has asked to book."""
        order, firm = self.order(), self.engine.services.firm
        self.engine.execute(order, ["0.05"])
        late = Report("sim", f"late-{order}", order, "trade", Decimal(100), Decimal("0.01"))
        self.engine.act(decisions.take_report, firm=firm, report=late)
        report = decisions.parked_report_id(late)
        body = {"action": "book", "reason": "late"}
        ok(self.client.post(f"/parked-reports/{report}/resolve", body))
        return report

    def action(self) -> dict[str, str]:
        """A call of a new bond."""
        number = self.engine.journal.head
        path = f"/instruments/ins_c{number}"
        ok(self.client.send("PUT", path, TERMS | {"symbol": f"C{number}"}), 201)
        return {"instrument": f"ins_c{number}", **CALL}

    def announced(self) -> str:
        return str(ok(self.client.post("/corporate-actions", self.action()), 201)["id"])

    def rebuilt(self) -> None:
        """Nothing waits to be rebuilt any more."""
        with self.engine.views.writing() as connection:
            connection.exec_driver_sql("DELETE FROM view_rebuilds")


def _two(path: Callable[[], str], body: Any = None) -> Case:
    return Case(path(), body, path(), body)


def _rebuilding(house: House, kind: str) -> Case:
    house.rebuilt()
    return Case(f"/projections/orders/{kind}", {}, f"/projections/accounts/{kind}", {})


CALL = {"action_type": "call", "ex_date": "2100-03-12", "amount": "100"}


def _reporting(house: House) -> Case:
    body = {
        "venue": "sim",
        "execution_reference": f"x{house.engine.journal.head}",
        "order": house.order(),
        "exec_type": "expired",
        "executed_at": "2026-03-12T14:30:00Z",
    }
    start = {"order": body["order"], "firm": house.engine.services.firm}
    house.engine.act(decisions.start_execution, **start, venue="sim")
    return Case(
        "/execution-reports",
        body,
        other_body=body | {"execution_reference": "other", "exec_type": "rejected"},
    )


TEN = {"amount": "10", "currency": "USD"}
PRICES = [{"symbol": "KE2024A", "bid": "100", "ask": "100"}]
QUOTED = {"instrument": "ins_bond", "side": "buy", "cash_amount": "10"}
CASES: dict[str, Callable[[House], Case]] = {
    "quote_order": lambda h: Case(
        h.at("/order-quotes"), QUOTED, other_body=QUOTED | {"cash_amount": "11"}
    ),
    "place_order": lambda h: Case(
        h.at("/orders"), buying("5", client_reference="c"), other_body=buying("6")
    ),
    "cancel_order": lambda h: _two(lambda: h.at(f"/orders/{h.order()}/cancel")),
    "change_position": lambda h: Case(
        h.at(f"/positions/{h.position()}"),
        {"automatic_rollover": True},
        other_body={"automatic_rollover": False},
    ),
    "open_account": lambda h: Case(
        "/accounts",
        {"name": "Ada", "reference": f"r{h.engine.journal.head}", "base_currency": "USD"},
        other_body={"name": "Eve", "base_currency": "USD"},
    ),
    "change_account": lambda h: Case(
        h.at(""), {"status": "suspended", "name": "Eve"}, other_body={"reference": None}
    ),
    "create_deposit": lambda h: Case(
        h.at("/deposits"),
        TEN | {"payment_reference": "p"},
        other_body={"amount": "2", "currency": "USD"},
    ),
    "complete_deposit": lambda h: _two(lambda: h.at(f"/deposits/{h.payment('deposits')}/complete")),
    "fail_deposit": lambda h: _two(lambda: h.at(f"/deposits/{h.payment('deposits')}/fail")),
    "create_withdrawal": lambda h: Case(
        h.at("/withdrawals"), TEN, other_body={"amount": "2", "currency": "USD"}
    ),
    "complete_withdrawal": lambda h: _two(
        lambda: h.at(f"/withdrawals/{h.payment('withdrawals')}/complete")
    ),
    "fail_withdrawal": lambda h: _two(lambda: h.at(f"/withdrawals/{h.payment('withdrawals')}/fail")),
    "put_instrument": lambda h: Case(
        f"/instruments/ins_n{h.engine.journal.head}",
        TERMS | {"symbol": f"N{h.engine.journal.head}"},
        other_body=TERMS | {"symbol": "OTHER"},
    ),
    "announce_corporate_action": lambda h: Case(
        "/corporate-actions", h.action(), other_body=h.action() | {"amount": "2"}
    ),
    "correct_corporate_action": lambda h: _two(
        lambda: f"/corporate-actions/{h.announced()}", CALL | {"amount": "101"}
    ),
    "withdraw_corporate_action": lambda h: _two(
        lambda: f"/corporate-actions/{h.announced()}/withdraw", {"reason": "entered twice"}
    ),
    "record_execution_report": _reporting,
    "confirm_price": lambda h: Case(f"/prices/{h.jump()}/confirm", {}, other_body={"bid": "1"}),
    "record_prices": lambda _: Case("/prices", PRICES, other_body=[PRICES[0] | {"bid": "99"}]),
    "create_webhook": lambda h: Case(
        "/webhooks",
        {"url": f"https://{h.engine.journal.head}.a.example.com/"},
        other_body={"url": "https://b.example.com/"},
    ),
    "change_webhook": lambda h: Case(
        f"/webhooks/{h.webhook()}",
        {"url": f"https://{h.engine.journal.head}.c.example.com/", "is_active": False},
        other_body={"url": "https://d.example.com/"},
    ),
    "delete_webhook": lambda h: _two(lambda: f"/webhooks/{h.webhook()}"),
    "rotate_webhook_secret": lambda h: _two(lambda: f"/webhooks/{h.webhook()}/rotate-secret"),
    "test_webhook": lambda h: _two(lambda: f"/webhooks/{h.webhook()}/test"),
    "replay_events": lambda h: Case(
        f"/webhooks/{h.webhook()}/replay",
        {"from_offset": 1, "to_offset": 2},
        other_body={"from_offset": 1, "to_offset": 1},
    ),
    "redeliver": lambda h: _two(lambda: f"/webhook-deliveries/{h.delivery()}/redeliver"),
    "resolve_parked_report": lambda h: Case(
        f"/parked-reports/{h.parked()}/resolve",
        {"action": "reject", "reason": "twice"},
        other_body={"action": "reject", "reason": "other"},
    ),
    "confirm_parked_report": lambda h: _two(lambda: f"/parked-reports/{h.asked()}/confirm"),
    "rebuild_projection": lambda h: _rebuilding(h, "rebuild"),
    "verify_projection": lambda h: _rebuilding(h, "verify"),
    "retry_fault": lambda h: Case(
        f"/projections/orders/faults/{h.account}/retry",
        other_path=f"/projections/accounts/faults/{h.account}/retry",
    ),
    "advance_clock": lambda _: Case(
        "/sandbox/clock", {"advance": "PT1S"}, other_body={"advance": "PT2S"}
    ),
    "write_script": lambda h: Case(
        "/sandbox/scripts",
        {"account": h.account, "steps": [{"step": "trade"}, {"step": "ended"}]},
        other_body={"account": h.account, "steps": [{"step": "ended"}]},
    ),
}
"""A row for each writing route of the table."""


def test_every_writing_route_has_a_case() -> None:
    assert CASES.keys() == WRITING.keys()


@pytest.fixture
def house(engine: Engine) -> House:
    client = engine.client()
    a_market(client)
    return House(engine, client, an_account(client))


def deeds(engine: Engine) -> tuple[int, ...]:
    """How much there is of everything that a deed adds."""
    tables = ("acts", "prices", "deliveries", "webhook_secrets", "personal", "webhooks")
    store = engine.journal.datastore.store
    counts = [int(store.query(f"SELECT count(*) FROM {table}")[0][0]) for table in tables]
    jobs = engine.views.query("SELECT count(*) FROM view_rebuilds")
    return engine.journal.head, int(jobs[0][0]), *counts


def same(first: Reply, again: Reply) -> None:
    """Whether a reply is the repeat of the first."""
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers.get("Idempotency-Replayed") == "true"
    assert again.headers.get("Journal-Offset") == first.headers.get("Journal-Offset")


@contextmanager
def later(engine: Engine, by_us: int) -> Iterator[None]:
    """The API's wall clock is ahead."""
    before = engine.services.now_us
    engine.services.now_us = lambda: before() + by_us
    try:
        yield
    finally:
        engine.services.now_us = before


@pytest.mark.parametrize("name", [name for name in WRITING if name != "retry_fault"])
def test_the_same_key_is_the_same_answer_and_one_deed(house: House, name: str) -> None:
    engine, client, method = house.engine, house.client, WRITING[name].method
    case = CASES[name](house)
    engine.project()
    key = {"Idempotency-Key": f"key-{name}"}
    first = client.send(method, case.path, case.body, key)
    assert first.status < 300, first.body
    assert "Idempotency-Replayed" not in first.headers
    before = deeds(engine)
    same(first, client.send(method, case.path, case.body, key))
    assert deeds(engine) == before
    other = client.send(method, case.other_path or case.path, case.other_body, key)
    assert (other.status, other.code) == (409, "idempotency_key_conflict")
    rival = engine.client(tenant=f"{engine.tenant}-rival")
    theirs = rival.send(method, case.path, case.other_body, key)
    assert theirs.headers.get("Idempotency-Replayed") is None, theirs.body
    assert theirs.status < 500
    assert b"idempotency_key" not in theirs.body
    before = deeds(engine)
    with later(engine, DAY_US + 1_000_000):
        expired = client.send(method, case.path, case.body, key)
    assert (expired.status, expired.code) == (409, "idempotency_key_expired")
    assert deeds(engine) == before
    if name.endswith("projection"):
        house.rebuilt()


CHANGED_SINCE: dict[str, Callable[[House], list[tuple[str, str, Any]]]] = {
    "nothing changes": lambda h: [("PATCH", h.at(""), {"status": "active"}),
                                  ("PATCH", h.at(""), {"status": "suspended"})],
    "only words change": lambda h: [("PATCH", h.at(""), {"name": "Ada"}),
                                    ("PATCH", h.at(""), {"can_withdraw": False})],
    "the same instrument": lambda _: [("PUT", "/instruments/ins_bond", TERMS),
                                      ("PUT", "/instruments/ins_bond", TERMS | {"name": "Bond B"})],
}  # fmt: skip
"""A command that appends nothing, and then one that changes what it was about."""


@pytest.mark.parametrize("name", CHANGED_SINCE)
def test_what_changed_nothing_changes_nothing_later_either(house: House, name: str) -> None:
    (method, path, body), (*then, changes) = CHANGED_SINCE[name](house)
    key = {"Idempotency-Key": "once"}
    client, journal = house.client, house.engine.journal
    head = journal.head
    first = client.send(method, path, body, key)
    assert journal.head == head
    assert client.send(*then, changes).status == 200
    assert journal.head > head
    head = journal.head
    same(first, client.send(method, path, body, key))
    assert journal.head == head


def test_a_cancelled_order_is_repeated_after_it_was_filled(house: House) -> None:
    """Cancelling once more changes nothing; its repeat must not be refused by what came later."""
    order = house.order()
    house.engine.act(
        decisions.start_execution, firm=house.engine.services.firm, order=order, venue="sim"
    )
    path, key = house.at(f"/orders/{order}/cancel"), {"Idempotency-Key": "again"}
    ok(house.client.post(path))
    first = house.client.send("POST", path, None, key)
    assert first.status == 200
    report = Report("sim", f"{order}-end", order, "ended")
    house.engine.act(decisions.take_report, firm=house.engine.services.firm, report=report)
    assert house.client.post(path).status in {200, 409}
    same(first, house.client.send("POST", path, None, key))


def test_a_null_that_erases_is_another_request_than_none(house: House) -> None:
    key = {"Idempotency-Key": "nulls"}
    assert house.client.send("PATCH", house.at(""), {"reference": None}, key).status == 200
    assert house.client.send("PATCH", house.at(""), {}, key).code == "idempotency_key_conflict"


def test_personal_words_in_a_repeat_are_those_stored_now(house: House) -> None:
    key = {"Idempotency-Key": "words"}
    body = {"name": "Ada", "reference": "mine", "base_currency": "USD"}
    first = ok(house.client.send("POST", "/accounts", body, key), 201)
    house.engine.services.personal.erase(first["id"])
    again = ok(house.client.send("POST", "/accounts", body, key), 201)
    assert again == first | {"name": None, "reference": None}
    placed = buying("5", client_reference="theirs")
    order = ok(house.client.send("POST", house.at("/orders"), placed, key), 201)
    house.engine.services.personal.erase(order["id"])
    again = ok(house.client.send("POST", house.at("/orders"), placed, key), 201)
    assert again == order | {"client_reference": None}


def at_once(engine: Engine, send: Callable[[Client], Reply], count: int = 6) -> list[Reply]:
    """The same request by several connections of one client at the same time."""
    made = engine.services.clients.create(engine.tenant, ("read", "trade", "operate", "admin"))
    token = {"Authorization": f"Bearer {engine.token(made)}"}
    clients = [engine.connect(token) for _ in range(count)]
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda one=one: replies.append(send(one)))  # type: ignore[misc]
        for one in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def test_several_at_once_are_one_deed(house: House) -> None:
    engine, webhook = house.engine, house.webhook()
    key = {"Idempotency-Key": "at-once"}
    for path, body in (
        ("/accounts", {"name": "Ada", "reference": "once", "base_currency": "USD"}),
        ("/webhooks", {"url": "https://once.example.com/"}),
        (f"/webhooks/{webhook}/rotate-secret", None),
        (f"/webhooks/{webhook}/test", None),
        ("/prices", PRICES),
    ):
        before = deeds(engine)
        replies = at_once(engine, lambda one, p=path, b=body: one.send("POST", p, b, key))  # type: ignore[misc]
        assert {reply.status for reply in replies} <= {200, 201, 202}, (path, replies)
        assert len({reply.body for reply in replies}) == 1, path
        grown = [b - a for a, b in zip(before, deeds(engine), strict=True)]
        assert max(grown[0], *grown[3:6]) <= 2, (path, grown)
        assert sum(reply.headers.get("Idempotency-Replayed") is None for reply in replies) == 1, path


@pytest.mark.parametrize("kind", ["accounts", "webhooks", "rotate"])
def test_a_request_that_was_cut_off_in_the_middle_goes_on_with_its_key(
    house: House, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written ahead of the facts (words, a URL, a secret) is taken up, not in the way."""
    module: Any = api.handlers.accounts if kind == "accounts" else api.handlers.webhooks
    name = "act_with_words" if kind == "accounts" else "act"

    async def cut_off(call: Any, _: Any, subject: str = "", words: Any = None) -> Any:
        if words:
            personal = call.engine.personal
            await call.engine.bridge.read(personal.put, call.principal.tenant, subject, words)
        raise Unavailable("killed")

    path, body = {
        "accounts": ("/accounts", {"name": "Ada", "reference": "cut", "base_currency": "USD"}),
        "webhooks": ("/webhooks", {"url": "https://cut.example.com/"}),
        "rotate": (f"/webhooks/{house.webhook()}/rotate-secret", None),
    }[kind]
    key = {"Idempotency-Key": "cut"}
    with monkeypatch.context() as patch:
        patch.setattr(module, name, cut_off)
        assert house.client.send("POST", path, body, key).status == 503
    before = deeds(house.engine)
    done = house.client.send("POST", path, body, key)
    assert done.status in {200, 201}, done.body
    assert deeds(house.engine)[4:] == before[4:], "no second secret, no second word, no second URL"
    same(done, house.client.send("POST", path, body, key))
    if kind != "accounts":
        (webhook,) = [one for one in house.engine.services.endpoints.all()
                      if one.webhook == done.json["id"]]  # fmt: skip
        from engine.registers.endpoints import secret_text  # noqa: PLC0415

        assert secret_text(webhook.secrets[0][0]) == done.json["secret"]


def test_a_secret_is_stored_sealed_and_only_for_a_day(house: House) -> None:
    engine, key = house.engine, {"Idempotency-Key": "secret"}
    body = {"url": "https://sealed.example.com/"}
    secret = ok(house.client.send("POST", "/webhooks", body, key), 201)["secret"]
    store = engine.journal.datastore.store
    rows = [bytes(row[0]) for row in store.query("SELECT sealed FROM keys WHERE sealed IS NOT NULL")]
    assert rows
    assert all(secret.encode() not in row for row in rows)
    with later(engine, 2 * DAY_US):  # the next writer clears it
        ok(house.client.send("PATCH", house.at(""), {}, {"Idempotency-Key": "next"}))
    assert not [row for row in store.query("SELECT sealed FROM keys WHERE sealed IS NOT NULL") if row[0]]


@pytest.mark.parametrize("end", ["changed", "deleted"])
def test_answers_about_webhooks_stay_as_they_were(house: House, end: str) -> None:
    """URL, description and backlog stand in no fact, and change."""
    client, deliveries = house.client, house.engine.services.deliveries
    whose = {"url": f"https://{end}.example.com/a", "description": "first"}
    made = client.send("POST", "/webhooks", whose, {"Idempotency-Key": "w1"})
    where = f"/webhooks/{made.json['id']}"
    asked: list[tuple[str, str, Any]] = [
        ("PUT", where, {"url": f"https://{end}.example.com/b", "description": "second"}),
        ("POST", f"{where}/rotate-secret", None),
        ("PUT", where, {"url": f"https://{end}.example.com/b", "description": "second"}),
    ]
    firsts = [("POST", "/webhooks", whose, "w1", made)]
    for n, (method, path, body) in enumerate(asked):
        reply = client.send(method, path, body, {"Idempotency-Key": f"then-{n}"})
        firsts.append((method, path, body, f"then-{n}", reply))
    assert [reply.json["description"] for *_, reply in firsts] == ["first", *["second"] * 3]
    with deliveries._store.writing() as connection:
        row = {"webhook": made.json["id"], "position": 7}
        connection.execute(deliveries._backlogs.insert().values(row))
    ok(client.send("PUT", where, {"url": f"https://{end}.example.com/c", "is_active": False}))
    if end == "deleted":
        gone = client.send("DELETE", where, None, {"Idempotency-Key": "gone"})
        firsts.append(("DELETE", where, None, "gone", gone))
        assert firsts[-1][-1].json["url"].endswith("/c")
    for method, path, body, key, first in firsts * 2:
        same(first, client.send(method, path, body, {"Idempotency-Key": key}))


def test_a_webhook_is_erased_by_the_repeat_of_a_delete_that_was_cut_off(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, key = house.webhook(), {"Idempotency-Key": "cut-delete"}
    with monkeypatch.context() as patch:
        patch.setattr(type(house.engine.services.endpoints), "remove", _killed)
        assert house.client.send("DELETE", f"/webhooks/{webhook}", None, key).status == 503
    again = house.client.send("DELETE", f"/webhooks/{webhook}", None, key)
    assert (again.status, again.json["url"][:8]) == (200, "https://")
    assert house.engine.services.endpoints.get(webhook) is None
    same(again, house.client.send("DELETE", f"/webhooks/{webhook}", None, key))


def _killed(*_: object) -> None:
    raise Unavailable("killed")


def test_another_process_gives_the_first_answer(journal_url: str, tmp_path: Path) -> None:
    key = {"Idempotency-Key": "elsewhere"}
    names = ("open_account", "record_prices", "put_instrument", "create_webhook", "complete_deposit",
             "test_webhook", "advance_clock", "change_account")  # fmt: skip
    firsts = []
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        a_market(client)
        house = House(engine, client, an_account(client))
        for name in names:
            case = CASES[name](house)
            firsts.append((name, case, client.send(WRITING[name].method, case.path, case.body, key)))
    if sa.make_url(journal_url).get_backend_name() == "sqlite":
        (tmp_path / "data" / "views.db").unlink()  # a rebuild forgets nothing either
    with running(journal_url, tmp_path) as engine:
        client = engine.client()
        for name, case, first in firsts:
            same(first, client.send(WRITING[name].method, case.path, case.body, key))
