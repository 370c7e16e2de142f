"""Holds requests and answers to the API's own document, with compiled schemas: 20 us an answer.

`openapi-core` reads the same document independently, 500 times slower: see tests/flow/test_matrix.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from api.http.call import Leaf, tree_of
from api.http.kinds import Amount, Number
from api.http.openapi import encoded, fields_of, templates
from api.http.sources import source_of
from api.http.wire import read_segment
from api.routes import ROUTES

Check = Callable[[str, str, bytes | None, Any], None]
NO_ROUTE = {(404, "not_found"), (405, "method_not_allowed")}


class Document:
    """The document as its readers have it, and what is compiled from it."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._tree = tree_of(ROUTES)
        self._templates = templates(ROUTES)
        self._schemas: dict[str, jsonschema_rs.Validator] = {}

    def check(self, method: str, path: str, body: bytes | None, reply: Any) -> None:
        """Raises AssertionError for an answer, or an accepted request, that is not in the document."""
        leaf = self._find(method, path)
        if leaf is None:
            assert (reply.status, reply.code) in NO_ROUTE, (method, path, reply)
            return
        route = leaf.route
        operation = self.document["paths"][self._templates[route.path]][route.method.lower()]
        where = f"{route.name} {reply.status}"
        assert str(reply.status) in operation["responses"], f"{where} is not in the document"
        response = self._resolved(operation["responses"][str(reply.status)])
        for name, header in response["headers"].items():
            text = reply.headers.get(name)
            known = self._resolved(header)
            assert text is not None or not known.get("required"), f"{where} has no {name}"
            if text is not None:
                value = int(text) if known["schema"]["type"] == "integer" else text
                self._validate(f"{where} {name}", known["schema"], value)
        source = source_of(route)
        if source and source.headers and reply.status == 200:
            given = [name for name in source.headers if name in reply.headers]
            assert len(given) == 1, f"{where} does not say how current it is"
        media = reply.headers.get("Content-Type", "").partition(";")[0]
        if method != "HEAD" and "content" in response:
            kinds = response["content"]
            assert media in kinds or "text/*" in kinds, f"{where} is {media}"
            if media == "application/json":
                self._validate(where, kinds[media]["schema"], reply.json)
        if reply.status < 300 and route.body is not None and not route.is_form and body:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self._validate(f"{route.name} request", schema, read(body, route))

    def accepts(self, schema: Any, value: Any) -> bool:
        """Whether a value is of a schema of this document."""
        return self._compiled(schema).is_valid(value)

    def _find(self, method: str, path: str) -> Leaf | None:
        node = self._tree
        for segment in path.partition("?")[0][1:].split("/"):
            child = node.words.get(segment)
            if child is None and (node.parameter is None or read_segment(segment) is None):
                return None
            node = child or node.parameter  # type: ignore[assignment]
        return node.leaves.get(method)

    def _resolved(self, part: Any) -> Any:
        while "$ref" in part:
            found: Any = self.document
            for word in part["$ref"][2:].split("/"):
                found = found[word]
            part = found
        return part

    def _validate(self, what: str, schema: Any, value: Any) -> None:
        error = next(self._compiled(schema).iter_errors(value), None)
        assert error is None, f"{what}: {error.message} at {error.instance_path}"

    def _compiled(self, schema: Any) -> jsonschema_rs.Validator:
        """One for all places with the same schema, and with no more components than it refers to:
        compiled with all of them, each takes 10 ms and a megabyte.
        """
        text = json.dumps(schema)
        known = self._schemas.get(text)
        if known is None:
            whole: dict[str, Any] = {**schema, "components": {"schemas": {}}}
            parts, left = whole["components"]["schemas"], _referred(text)
            while left:
                name = left.pop()
                if name not in parts:
                    parts[name] = self.document["components"]["schemas"][name]
                    left |= _referred(json.dumps(parts[name]))
            known = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            self._schemas[text] = known
        return known


def _referred(schema: str) -> set[str]:
    """Names of the components to which a schema refers."""
    return set(re.findall(r"#/components/schemas/([^\"/]+)", schema))


def read(body: bytes, route: Any) -> Any:
    """A body with amounts as strings, which they may be sent without: see ADR 24."""
    amounts = {field.name for field in fields_of(route) if isinstance(field.kind, Amount)}
    value = json.loads(body, parse_float=Number, parse_int=Number)

    def plain(entry: Any, name: str = "") -> Any:
        if isinstance(entry, Number):
            return str(entry) if name in amounts else json.loads(entry)
        if isinstance(entry, dict):
            return {key: plain(member, key) for key, member in entry.items()}
        return [plain(one) for one in entry] if isinstance(entry, list) else entry

    return plain(value)


@cache
def known() -> Document:
    """The document of this release."""
    return Document(json.loads(encoded(ROUTES)))


def without(document: Mapping[str, Any], *path: str) -> Any:
    """A copy of a document, that lacks the one thing at `path`."""
    copy = json.loads(json.dumps(document))
    part = copy
    for word in path[:-1]:
        part = part[word]
    if isinstance(part, list):
        part.remove(path[-1])
    elif path:
        del part[path[-1]]
    return copy
