"""The document is valid, whole, and says what the tables say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from api.http.call import Route
from api.http.kinds import Fault, Number
from api.http.openapi import SCOPES, codes_of, document, encoded, templates
from api.http.problems import CODES, REFUSED_WITH
from api.http.schemas import REF, of_kind
from api.routes import ROUTES
from engine.kernel.refusals import REFUSALS
from engine.registers import clients
from tests.support.checkers import conforming
from tests.support.servers.http_server import Reply
from tests.unit.samples_of_kinds import SAMPLES

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def read() -> Any:
    """The document as a client reads it."""
    return json.loads(encoded(ROUTES))


def operations() -> Iterator[tuple[Route, Any]]:
    known_as = templates(ROUTES)
    for route in ROUTES:
        yield route, read()["paths"][known_as[route.path]][route.method.lower()]


def validator(schema: Any) -> jsonschema_rs.Validator:
    components = read()["components"]
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": components}, validate_formats=True
    )


def test_it_is_a_valid_document() -> None:
    validate(read())


def test_every_route_has_its_operation() -> None:
    known = {
        (method.upper(), path)
        for path, item in read()["paths"].items()
        for method in item
        if method in METHODS
    }
    known_as = templates(ROUTES)
    assert known == {(route.method, known_as[route.path]) for route in ROUTES}
    assert sum(len(item) for item in read()["paths"].values()) == len(ROUTES)


def test_names_are_given_once_and_for_ever() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert all(route.answers for route in ROUTES)


def test_the_same_document_every_time() -> None:
    assert encoded(ROUTES) == encoded(ROUTES)


def test_every_code_is_in_it() -> None:
    listed = {code for route in ROUTES for _, code in codes_of(route)}
    assert listed == CODES.keys() - {"method_not_allowed"}  # that of a path, and of none of its routes
    assert set(read()["components"]["schemas"]["Error"]["properties"]["code"]["enum"]) == CODES.keys()
    for route in ROUTES:
        assert {*route.refusals} <= REFUSALS.keys() | {"rebuild_running", "not_yet_sealed"}, route


def test_every_code_of_a_route_is_with_its_status() -> None:
    components = read()["components"]
    for route, operation in operations():
        for status, code in codes_of(route):
            response = operation["responses"][str(status)]
            if "$ref" in response:
                response = components["responses"][response["$ref"].rpartition("/")[2]]
            assert code in json.dumps(response["content"]), (route, code)


def test_scopes_are_the_engines() -> None:
    assert tuple(SCOPES) == (*clients.SCOPES, clients.VENUE, clients.PRICES)
    for route, operation in operations():
        wanted = [{"client": [scope]} for scope in (route.scope, route.or_scope) if scope]
        assert operation["security"] == wanted


def test_every_example_is_of_its_schema() -> None:
    found = 0
    for _, operation in operations():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for holder in (*bodies, *operation["responses"].values()):
            for media in holder.get("content", {}).values():
                if "example" in media:
                    found += 1
                    validator(media["schema"]).validate(media["example"])
    assert found > 40
    for name, schema in read()["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            validator({"$ref": REF + name}).validate(example)
    for example in read()["components"]["examples"].values():
        validator({"$ref": f"{REF}Error"}).validate(example["value"])


def test_every_refusal_has_a_status() -> None:
    assert REFUSED_WITH.keys() == REFUSALS.keys(), "api/http/problems.py: REFUSED_WITH"
    assert set(REFUSED_WITH.values()) == {400, 403, 404, 409}


def test_every_link_leads_to_an_operation() -> None:
    names = {route.name: route for route in ROUTES}
    leads = {}
    for route, operation in operations():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert set(link["parameters"]) == {
                    f"path.{name}"
                    for name in templates(ROUTES)[names[link["operationId"]].path]
                    .replace("}", "{")
                    .split("{")[1::2]
                }
                leads.setdefault(route.name, set()).add(link["operationId"])
    assert leads["place_order"] == {
        "retrieve_order", "show_order_history", "prove_order", "cancel_order"
    }  # fmt: skip
    assert leads["create_deposit"] == {"retrieve_deposit", "complete_deposit", "fail_deposit"}
    assert {"place_order", "create_deposit", "change_account"} <= leads["open_account"]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_schema_says_what_its_kind_reads(name: str) -> None:
    kind, texts = SAMPLES[name]
    schema = validator(of_kind(kind))
    for text in texts:
        value = json.loads(text, parse_int=Number, parse_float=Number)
        try:
            kind.read(value)
            is_read = True
        except Fault:
            is_read = False
        assert schema.is_valid(json.loads(text)) == is_read, text


PLACE = ("paths", "/accounts/{account_id}/orders", "post")
ENUM = ("content", "application/json", "schema", "properties", "code", "enum")
LESS: dict[str, tuple[str, ...]] = {
    "a route": PLACE,
    "a status": (*PLACE, "responses", "403"),
    "a code": (*PLACE, "responses", "400", *ENUM, "insufficient_funds"),
    "a field of an answer": ("components", "schemas", "Order", "properties", "fees"),
    "a field of a request": (*PLACE, "requestBody", "content", "application/json", "schema",
                             "properties", "cash_amount"),
    "a header": ("components", "headers", "Journal-Offset"),
    "a word of a list": ("components", "schemas", "OrderStatus", "enum", "placed"),
}  # fmt: skip


@pytest.mark.parametrize("what", [None, *LESS])
def test_what_is_missing_in_the_document_is_found(what: str | None) -> None:
    """The check that all answers of the flow tests go through, on answers that need everything."""
    whole = read()
    checked = conforming.Document(conforming.without(whole, *LESS[what]) if what else whole)
    order = whole["components"]["schemas"]["Order"]["examples"][0]
    sent = {"instrument": "ins_1", "order_type": "market", "side": "buy", "cash_amount": 1.5}
    headers = {"Content-Type": "application/json", "Request-Id": f"req_{'1' * 22}"}
    errors = [whole["components"]["examples"][code]["value"]
              for code in ("insufficient_funds", "buy_order_forbidden")]  # fmt: skip
    replies = [Reply(201, {**headers, "Journal-Offset": "7"}, json.dumps(order).encode())]
    replies += [
        Reply(CODES[error["code"]].status, headers, json.dumps(error).encode()) for error in errors
    ]
    caught: list[Exception] = []
    for reply in replies:
        try:
            checked.check("POST", "/accounts/acc_1/orders", json.dumps(sent).encode(), reply)
        except (AssertionError, KeyError) as error:
            caught.append(error)
    assert bool(caught) == (what is not None), caught


def test_it_is_made_of_the_table() -> None:
    """A route, field or code that is taken away is gone from the document too."""
    whole = document(ROUTES)
    less = document(route for route in ROUTES if route.name != "cancel_order")
    assert whole["paths"].keys() - less["paths"].keys() == {
        "/accounts/{account_id}/orders/{order_id}/cancel"
    }
