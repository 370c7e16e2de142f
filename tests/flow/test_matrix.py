"""Who is answered what: every operation of the document, asked by everyone who may or may not."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from engine.commands import decisions
from engine.domain.quote import Quote
from engine.domain.report import Report
from engine.registers.market import Market
from engine.registers.operations import define_operations
from tests.support.checkers import conforming
from tests.support.servers.http_engine import TERMS, Engine, a_market, an_account, buying, ok
from tests.support.servers.http_server import Client, Reply

SHARED = {"instrument_id", "action_id", "report_id", "file", "name", "stream", "symbol"}
"""Parameters of paths that are no tenant's own: the same for all."""
CREATES = {"put_instrument"}
"""Under an id that nobody has yet."""
REGISTERS = {"list_acts", "list_refusals"}
"""An admin sees all tenants' (see test_records.py)."""
SCOPES = ("read", "trade", "operate", "admin", "venue:sim", "prices:*")


class Operation(NamedTuple):
    """One operation of the document."""

    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    parameters: tuple[str, ...]
    body: Any
    query: str

    @property
    def own(self) -> tuple[str, ...]:
        """Parameters that are ids of a tenant's things."""
        return tuple(name for name in self.parameters if name not in SHARED)

    def send(self, client: Client, ids: Mapping[str, str]) -> Reply:
        """Asks for it, as its example does. Raises KeyError for a parameter that nobody knows here."""
        return client.send(self.method, self.path.format(**ids) + self.query, self.body)


def operations() -> list[Operation]:
    """All of them."""
    found = []
    for path, item in conforming.known().document["paths"].items():
        for method, operation in item.items():
            scopes = [name for need in operation["security"] for name in need["client"]]
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body = media.get("example") or next(
                (one["value"] for one in media.get("examples", {}).values()), None
            )
            query = [(one["name"], one["example"]) for one in operation["parameters"]
                     if one.get("in") == "query" and (one.get("required") or one["name"] == "symbol")
                     ]  # fmt: skip
            if any(one.get("name") == "follow" for one in operation["parameters"]):
                query.append(("follow", "false"))  # a stream that ends
            found.append(
                Operation(
                    operation["operationId"],
                    method.upper(),
                    path,
                    tuple(scopes),
                    tuple(re.findall(r"\{(\w+)\}", path)),
                    body,
                    f"?{urlencode(query, doseq=True)}" if query else "",
                )
            )
    return found


def a_house(engine: Engine, client: Client) -> dict[str, str]:
    """One thing of each kind, by the parameter of a path that is its id."""
    a_market(client)
    careful = Market(engine.journal.datastore.store, define_operations(), jump_max=Decimal("0.001"))
    careful.put([Quote("KE2024A", Decimal("99.50"), Decimal(100), None)])
    account = an_account(client, reference="mine")
    orders = f"/accounts/{account}/orders"
    order = ok(client.post(orders, buying("10")), 201)["id"]
    engine.execute(order, ["0.09"])
    money = {"amount": "1", "currency": "USD"}
    report = Report("sim", f"r-{engine.tenant}", "ord_unknown", "ended")
    engine.act(decisions.take_report, firm=engine.services.firm, report=report)
    deposit = ok(client.post(f"/accounts/{account}/deposits", money), 201)["id"]
    withdrawal = ok(client.post(f"/accounts/{account}/withdrawals", money), 201)["id"]
    webhook = ok(client.post("/webhooks", {"url": f"https://{engine.tenant}.example.com/"}), 201)
    own = f"ins_{engine.tenant}"
    ok(client.send("PUT", f"/instruments/{own}", TERMS | {"symbol": engine.tenant}), 201)
    action = {"instrument": own, "action_type": "call", "amount": "1", "ex_date": "2100-03-12"}
    announced = ok(client.post("/corporate-actions", action), 201)
    engine.project()
    return {
        "account_id": account,
        "order_id": order,
        "deposit_id": deposit,
        "withdrawal_id": withdrawal,
        "position_id": ok(client.get(f"/accounts/{account}/positions"))[0]["id"],
        "event_id": ok(client.get("/events"))[0]["id"],
        "report_id": ok(client.get("/parked-reports?status=open"))[0]["id"],
        "webhook_id": webhook["id"],
        "delivery_id": ok(client.post(f"/webhooks/{webhook['id']}/test"), 202)["id"],
        "instrument_id": "ins_bond",
        "action_id": announced["id"],
        "file": "start.js",
        "name": "orders",
        "stream": order,
        "symbol": "KE2024A",
    }


def nameless(reply: Reply, ids: Mapping[str, str]) -> tuple[int, bytes]:
    """An answer without the id of its request, and with names in place of the ids that were sent."""
    body = re.sub(rb"req_\w+", b"", reply.body)
    for name, value in ids.items():
        body = body.replace(f"`{value}`".encode(), f"`{name}`".encode())
    return reply.status, body


def another(text: str) -> str:
    """An id that nothing has. The last characters of two events of one moment may differ by one."""
    place = 9 if len(text) > 20 else len(text) - 1
    return text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]


def test_everyone(engine: Engine) -> None:
    """Own, another tenant's, no scope, no token, unknown id: of every operation."""
    client = engine.client()
    known = a_house(engine, client)
    unknown = {name: another(text) for name, text in known.items()}
    stranger = engine.client(tenant=f"{engine.tenant}-rival")
    theirs = an_account(stranger)
    engine.project()
    rows = operations()
    limited = {
        scopes: engine.client(*(one for one in SCOPES if one.partition(":")[0] not in scopes))
        for scopes in {row.scopes for row in rows}
    }
    anyone = engine.connect()
    assert len(rows) >= 39
    for row in rows:
        if row.scopes:
            nobody = row.send(anyone, known)
            assert (nobody.status, nobody.code) == (401, "missing_token"), row
            short = row.send(limited[row.scopes], known)
            assert (short.status, short.code) == (403, "insufficient_scope"), row
        if row.own:
            tried = [known, unknown] + [{**known, "account_id": theirs}] * (len(row.own) > 1)
            answers = {nameless(row.send(stranger, ids), ids) for ids in tried}
            assert len(answers) == 1, (row, answers)
            ((status, body),) = answers
            assert (status, body[:20]) == (404, b'{"code":"not_found",'), row
            assert row.send(client, unknown).status == 404, row
        elif row.parameters:
            asked = anyone if not row.scopes else client
            engine.project()
            wanted = 404 if row.name not in CREATES else 201
            body = row.body | {"symbol": "UNKNOWN"} if row.name in CREATES else row.body
            assert row._replace(body=body).send(asked, unknown).status == wanted, row
        elif row.scopes and row.method == "GET":
            engine.project()
            reply = row.send(stranger, known)
            assert reply.status == 200, row
            is_told = known["account_id"].encode() in reply.body
            assert not is_told or row.name in REGISTERS, row
    assert stranger.get("/accounts/mine").status == 404
    assert ok(stranger.get(f"/events?resource[id]={known['order_id']}")) == []
    # Last, as this changes things; the owner is refused by rules alone.
    for row in sorted(rows, key=lambda row: row.method == "DELETE"):
        engine.project()
        engine.seal()
        reply = row.send(anyone if not row.scopes else client, known)
        assert reply.status < 500, row
        assert reply.status not in {401, 404, 405} or row.name in {"get_token", "retry_fault"}, row
        assert reply.status != 403 or reply.code != "insufficient_scope", row


def test_a_parameter_that_nobody_knows_is_an_error() -> None:
    """So that a new route cannot stay out of the matrix."""
    row = operations()[0]._replace(path="/carrots/{carrot_id}", parameters=("carrot_id",))
    with pytest.raises(KeyError):
        row.send(Client(0), {"account_id": "acc_1"})


def test_another_reader_of_the_document_agrees(engine: Engine) -> None:
    """`openapi-core`, which shares no code with our own check: one exchange of each operation."""
    client = engine.client()
    known = a_house(engine, client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot check OAuth2 itself, and says so
        reader = OpenAPI.from_dict(conforming.known().document, config=Config(spec_validator_cls=None))
        good = 0
        for row in operations():
            if row.name == "get_token":
                continue  # a form: its answers are held to the document by the check of all answers
            engine.project()
            engine.seal()
            reply = row.send(client, known)
            headers = {"Authorization": client.headers["Authorization"]}
            data = None if row.body is None else json.dumps(row.body).encode()
            path = f"http://127.0.0.1{row.path.format(**known)}"
            query = dict(pair.split("=") for pair in row.query[1:].split("&") if pair)
            request = MockRequest(
                "http://127.0.0.1", row.method.lower(), path.removeprefix("http://127.0.0.1"),
                args=query, headers=headers, data=data, content_type="application/json",
            )  # fmt: skip
            reader.validate_request(request)
            media = reply.headers["Content-Type"]
            if media != "application/json":
                continue  # of text it has no string
            answer = MockResponse(reply.body, reply.status, dict(reply.headers), media)
            reader.validate_response(request, answer)
            good += reply.status < 300
        assert good > 25
        broken = {**json.loads(client.get(f"/accounts/{known['account_id']}").body), "more": 1}
        request = MockRequest("http://127.0.0.1", "get", f"/accounts/{known['account_id']}")
        answer = MockResponse(
            json.dumps(broken).encode(), 200, {"Request-Id": f"req_{'1' * 22}"}, "application/json"
        )
        with pytest.raises(Exception, match="InvalidData"):
            reader.validate_response(request, answer)
