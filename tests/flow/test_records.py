"""`GET /acts` and `/refusals`: deeds, refused access and refused commands, and who may see them."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.http.problems import Problem
from engine.kernel.limits import PARAM_FAULTS_IN_DETAIL
from engine.registers import acts as register
from engine.registers.acts import write_denials
from order_engine.main import app
from tests.support.servers.command import on_terminal, run
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok
from tests.support.servers.http_server import Client, Reply


def flush(engine: Engine) -> None:
    """Has all counts written, as at the end of the process; its own task may just be writing others."""
    store = engine.journal.datastore.store
    write_denials(store, engine.services.denials.take(is_last=True))


def counted(
    client: Client, least: int, tenant: str | None = None, **filters: str
) -> list[dict[str, Any]]:
    """Refused access of a tenant, or of nobody known, once there is so much of it."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while sum(act["count"] for act in found) < least:
        assert time.monotonic() < deadline, found
        found = [act for act in acts(client, **filters) if act["tenant"] == tenant]
    return found


def acts(client: Client, **filters: str) -> list[dict[str, Any]]:
    """Acts that the client sees, oldest first."""
    query = "&".join(f"{name}={text}" for name, text in filters.items())
    return list(reversed(ok(client.get(f"/acts?{query}"))))


def own(engine: Engine, found: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(a["deed"], a["code"], a["count"]) for a in found if a["tenant"] == engine.tenant]


def test_refused_access_leaves_a_trace_with_its_source_and_count(engine: Engine) -> None:
    client, reader = engine.client(), engine.client("read")
    for _ in range(7):
        assert reader.post("/prices", [{"symbol": "A", "bid": "1", "ask": "1"}]).status == 403
    assert reader.get("/acts").status == 403
    assert engine.connect().get("/accounts").status == 401
    assert engine.connect({"Authorization": "Bearer x"}).get("/accounts").status == 401
    form = b"grant_type=client_credentials&client_id=cli_1111111111111111111111&client_secret=x"
    media = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(5):
        assert engine.connect().send("POST", "/auth/token", form, media).status == 401
    flush(engine)
    found = counted(client, 8, tenant=engine.tenant, code="insufficient_scope")
    assert {act["deed"] for act in found} == {"scope.refused"}
    assert sum(act["count"] for act in found) == 8
    counted(client, 5, deed="sign_in.refused")
    counted(client, 2, deed="token.refused")
    everybody = acts(client, created_from="2026-01-01T00:00:00Z")
    said = Counter[tuple[str, str]]()
    for act in everybody:
        said[act["deed"], act["code"]] += act["count"] if act["tenant"] is None else 0
    assert said["sign_in.refused", "invalid_client"] >= 5
    assert said["token.refused", "missing_token"] >= 1
    assert said["token.refused", "invalid_token"] >= 1
    assert {a["source"] for a in everybody if a["deed"] == "sign_in.refused"} == {"127.0.0.1"}


def test_refused_access_is_on_record_before_its_minute_is_over(engine: Engine) -> None:
    """What a kill a moment later would not take along: nobody has the counts written."""
    client, reader = engine.client(), engine.client("read")
    for _ in range(40):
        assert reader.post("/prices", [{"symbol": "A", "bid": "1", "ask": "1"}]).status == 403
    counted(client, 1, tenant=engine.tenant, code="insufficient_scope")
    flush(engine)
    found = counted(client, 40, tenant=engine.tenant, code="insufficient_scope")
    assert sum(act["count"] for act in found) == 40


def test_a_sign_in_that_was_one_guess_too_many_is_counted_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise Problem("rate_limited")

    client = engine.client()
    monkeypatch.setattr(engine.services.rates.failures, "check", refuse)
    media = {"Content-Type": "application/x-www-form-urlencoded"}
    form = b"grant_type=client_credentials&client_id=x&client_secret=x"
    for _ in range(3):
        assert engine.connect().send("POST", "/auth/token", form, media).status == 429
    flush(engine)
    found = counted(client, 3, deed="sign_in.refused", code="rate_limited")
    assert {act["source"] for act in found} == {"127.0.0.1"}
    assert sum(act["count"] for act in found) == 3


def test_deeds_over_http_name_their_client_request_and_figures(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    reply = client.post("/prices", [{"symbol": "KE2024A", "bid": "99", "ask": "99002.50"}])
    webhook = ok(client.post("/webhooks", {"url": f"https://{engine.tenant}.example.com/"}), 201)["id"]
    delivery = ok(client.post(f"/webhooks/{webhook}/test"), 202)["id"]
    ok(client.post(f"/webhook-deliveries/{delivery}/redeliver"), 202)
    engine.project()
    ok(client.post(f"/webhooks/{webhook}/replay", {"from_offset": 1, "to_offset": 1}), 202)
    engine.leave_out("instruments", "ins_bond")
    ok(client.post("/projections/instruments/faults/ins_bond/retry"))
    found = [act for act in acts(client) if act["tenant"] == engine.tenant]
    deeds = [act["deed"] for act in found if not act["deed"].startswith("client.")]
    assert deeds == [
        "prices.recorded", "prices.recorded", "webhook.tested", "delivery.redelivered",
        "events.replayed", "fault.retried",
    ]  # fmt: skip
    priced = next(act for act in found if act["request_id"] == reply.headers["Request-Id"])
    assert priced["context"] == {"prices": [["KE2024A", "99.00000000", "99002.50000000"]]}
    assert re.fullmatch(r"cli_\w{22}", priced["actor"])
    assert [act["subject"] for act in found if act["deed"] == "webhook.tested"] == [webhook]


def test_an_operator_sees_its_own_tenant_and_an_admin_all(engine: Engine) -> None:
    rival = engine.client("trade", "operate", tenant=f"{engine.tenant}-rival")
    mine, admin = engine.client("operate"), engine.client("admin")
    account = an_account(engine.client(), cash="")
    theirs = an_account(rival, cash="")
    for client, one in ((engine.client("trade"), account), (rival, theirs)):
        assert client.post(f"/accounts/{one}/orders", buying("1")).status == 400
    for path in ("/acts", "/refusals"):
        tenants = {row["tenant"] for row in ok(mine.get(path))}
        assert tenants == {engine.tenant}, path
        assert {row["tenant"] for row in ok(admin.get(path))} >= {
            engine.tenant, f"{engine.tenant}-rival"
        }, path  # fmt: skip
    assert ok(mine.get(f"/refusals?account={theirs}")) == []
    (refusal,) = ok(mine.get(f"/refusals?account={account}"))
    assert refusal == ok(mine.get(f"/refusals?account={account}&code={refusal['code']}"))[0]
    assert ok(mine.get(f"/refusals?account={account}&code=missing_price")) == []
    assert refusal["action"] == "POST /accounts/{account_id}/orders"


def test_pages_follow_one_another_and_a_foreign_id_is_refused(engine: Engine) -> None:
    client = engine.client()
    account = an_account(client, cash="")
    for _ in range(3):
        assert client.post(f"/accounts/{account}/orders", buying("1")).status == 400
    seen, path = [], f"/refusals?account={account}&limit=2"
    while path:
        reply = client.get(path)
        seen += [row["id"] for row in ok(reply)]
        path = re.sub(r"<(.*)>.*", r"\1", reply.headers.get("Link", ""))
    assert len(seen) == len({*seen}) == 3
    assert client.get("/refusals?before=act_2ZKe7J5mPpQ3xVtYbNhWcR").code == "invalid_param"


def as_csv(reply: Reply) -> list[list[str]]:
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    return [*csv.reader(io.StringIO(reply.body.decode()))]


def test_csv_by_accept_and_by_format_and_no_cell_is_a_formula(engine: Engine) -> None:
    client = engine.client()
    store = engine.journal.datastore.store
    evil = "=HYPERLINK(evil)"
    register.note(store, "trading.halted", actor="x", tenant=engine.tenant, reason=evil)
    titles, *rows = as_csv(client.get("/acts?format=csv&deed=trading.halted"))
    place = titles.index("reason")
    assert [row[place] for row in rows if row[titles.index("tenant")] == engine.tenant] == [f"'{evil}"]
    asked = client.send("GET", "/acts?deed=trading.halted", None, {"Accept": "text/csv"})
    assert as_csv(asked) == [titles, *rows]
    assert ok(client.get("/acts?format=json&deed=trading.halted"))[0]["deed"] == "trading.halted"


def test_what_was_wrong_with_a_body_is_recorded_as_it_was_told(engine: Engine) -> None:
    """But for names that the client made up, which may be anybody's."""
    client = engine.client()
    a_market(client)
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    for body, params in (
        (buying("0"), [("body.cash_amount", "not_positive")]),
        (buying("10") | {"quantity": "1"}, [("body.quantity", "unexpected_param")]),
        (buying("10") | {"instrument": "ins_none"}, [("body.instrument", "not_found")]),
        ({"side": "up"}, [("body.order_type", "missing_param"), ("body.side", "invalid_value")]),
        (buying("10") | {"order_type": "Ada Lovelace"}, [("body.order_type", "invalid_value")]),
    ):
        told = client.post(orders, body)
        refusal = ok(client.get(f"/refusals?account={account}&limit=1"))[0]
        assert (refusal["code"], refusal["detail"]) == (told.code, told.json["detail"]), body
        recorded = [(one["path"], one["code"]) for one in refusal["context"]["params"]]
        assert {*params} <= {*recorded}, body
        assert "Ada" not in json.dumps(refusal)
    told = client.post(orders, buying("x") | {"Ada Lovelace": 1})
    assert "Ada Lovelace" in told.json["detail"]
    refusal = ok(client.get(f"/refusals?account={account}&limit=1"))[0]
    assert "Ada" not in json.dumps(refusal)
    assert refusal["context"]["params"] == [{"path": "body.cash_amount", "code": "invalid_decimal"}]
    wrong = {"side": 1, "order_type": 1, "cash_amount": "x", "automatic_rollover": 1, "instrument": 1}
    assert len(client.post(orders, wrong).json["params"]) > PARAM_FAULTS_IN_DETAIL
    refusal = ok(client.get(f"/refusals?account={account}&limit=1"))[0]
    assert len(refusal["context"]["params"]) == PARAM_FAULTS_IN_DETAIL


def test_the_command_line_shows_both_registers(engine: Engine) -> None:
    account = an_account(engine.client(), cash="")
    refused = engine.client().post(f"/accounts/{account}/orders", buying("1"))
    where = ("--journal-url", engine.journal.datastore.store.url.render_as_string(hide_password=False))
    done = run("refusals", "--account", account, "--json", *where)
    (refusal,) = json.loads(done.stdout)["refusals"]
    assert refusal["code"] == refused.code
    done = run("acts", "--tenant", engine.tenant, "--deed", "client.created", "--csv", *where)
    assert done.stdout.count("client.created") == 2
    assert "command line" in run("acts", "--tenant", engine.tenant, *where).stdout
    evil = "\x1b]0;owned\x07 \u202egnp"
    store = engine.journal.datastore.store
    register.note(store, "trading.halted", actor="x", tenant=engine.tenant, reason=evil)
    words = ("acts", "--tenant", engine.tenant, "--deed", "trading.halted", *where)
    for output in (run(*words).stdout, on_terminal(*words)):
        assert "\\x1b]0;owned" in output
        assert not {"\x07", "\u202e"} & {*output}
    assert "bad_settings" in run("acts", "--from", "yesterday", *where).stderr


def test_registers_are_read_at_80_columns_and_know_their_words(engine: Engine) -> None:
    url = engine.journal.datastore.store.url.render_as_string(hide_password=False)

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--journal-url", url, "--tenant", engine.tenant])

    client = engine.client()
    register.note(
        engine.journal.datastore.store, "settings.changed", actor="command line", tenant=engine.tenant,
        subject="api, execution, settlement", context={"port": "9", "fees": "*=1%", "log": "default"},
    )  # fmt: skip
    lines = command("acts", "--deed", "settings.changed").stdout.splitlines()
    assert lines[0].endswith("settings.changed  command line")
    detail = " ".join(map(str.strip, lines[1:]))
    assert detail.split("; ")[1:] == [
        "subject: api, execution, settlement", "fees: *=1%", "log: default", "port: 9"
    ]  # fmt: skip
    account = an_account(client, cash="")
    client.post(f"/accounts/{account}/orders", {"side": "up"})
    for words in (("acts",), ("refusals",)):
        done = command(*words)
        assert done.exit_code == 0
        assert 0 < max(map(len, done.stdout.splitlines())) <= 80
    assert command("acts", "--deed", "journal.restored").stdout == "no acts\n"
    for words, known in ((("acts", "--deed", "foo"), "client.created"),
                         (("refusals", "--code", "foo"), "insufficient_funds")):  # fmt: skip
        done = command(*words)
        assert (done.exit_code, done.stdout) == (1, ""), words
        assert f"no {words[1][2:]} 'foo'; known are " in done.stderr
        assert known in done.stderr
        asked = client.get(f"/{words[0]}?{words[1][2:]}=foo")
        assert (asked.status, known in asked.json["detail"]) == (400, True)


def test_the_person_behind_a_client_stands_in_facts_acts_refusals_and_history(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client)
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("10"), On_Behalf_Of="emp-4711"), 201)["id"]
    fact = engine.journal.stream(order)[0]
    assert fact.envelope.on_behalf_of == "emp-4711"
    facts = ok(client.get(f"{orders}/{order}/history"))
    assert [fact["on_behalf_of"] for fact in facts] == ["emp-4711"]
    assert client.post(orders, buying("9999999"), On_Behalf_Of="emp-4712").status == 400
    (refusal,) = ok(client.get(f"/refusals?account={account}"))
    assert refusal["context"]["on_behalf_of"] == "emp-4712"
    price = [{"symbol": "KE2024A", "bid": "1", "ask": "1"}]
    ok(client.post("/prices", price, On_Behalf_Of="emp-4713"), 201)
    (act,) = acts(client, on_behalf_of="emp-4713")
    assert act["deed"] == "prices.recorded"
    for name in ("", "a b", "\u00e9", "x" * 256):
        refused = client.post(orders, buying("10"), On_Behalf_Of=name)
        assert (refused.status, refused.code) == (400, "invalid_request"), name
    assert engine.journal.stream(order)[-1].version == 1
