"""schemathesis against a served engine: each operation of the document, by all its phases and checks."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.specs.openapi.checks import negative_data_rejection

from api.handlers import evidence
from api.http import wire
from api.routes import ROUTES
from engine.kernel.errors import Refused
from tests.support.checkers import conforming
from tests.support.servers.http_engine import TERMS, Engine, ok

SEED = 20260312


@contextmanager
def projected(engine: Engine) -> Iterator[None]:
    """Views that keep up by themselves, and a seal whenever one is asked for."""
    is_over = threading.Event()

    def keep_up() -> None:
        while not is_over.is_set():
            engine.runner.run_once() or is_over.wait(0.002)

    def gather_sealed(*words: Any) -> Any:
        engine.seal()
        return gather(*words)

    gather, evidence.gather = evidence.gather, gather_sealed
    thread = threading.Thread(target=keep_up)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        evidence.gather = gather


@contextmanager
def unhooked(hook: Any) -> Iterator[None]:
    """Takes a hook, which are kept for the whole process, away again."""
    try:
        yield
    finally:
        schemathesis.hooks.unregister(hook)


class Reading:
    """Our own two checks, which know more of this API than the built-in ones whose place they take."""

    def __init__(self) -> None:
        self._tree = {route.name: route for route in ROUTES}

    def positives(self, ctx: Any, response: Any, case: Any) -> None:
        """Input that the document allows is read: only a rule may refuse it.

        The built-in check wants 2xx; but an order that the account cannot pay is 400 too.
        """
        if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
            return
        route = self._tree[case.operation.definition.raw["operationId"]]
        url, body = response.request.url, response.request.body or b""
        try:
            wire.read_query(urlsplit(url).query, route.query)
            if route.body is not None and not route.is_form:
                wire.read_body(body if isinstance(body, bytes) else body.encode(), route.body)
        except Refused as error:
            raise AssertionError(f"the document allows what is not read: {error}") from None
        code = json.loads(response.content).get("code")
        assert code not in OF_HEADERS, f"the document allows a header that is refused: {code}"

    def negatives(self, ctx: Any, response: Any, case: Any) -> bool | None:
        """The built-in check, except for two things that the document says in words only."""
        if "x-schemathesis-unknown-property" in case.headers:
            return None  # whoever stands between may add headers: unknown ones are not looked at
        route = self._tree[case.operation.definition.raw["operationId"]]
        body = response.request.body
        if case.meta and ParameterLocation.BODY in case.meta.components and body and not route.is_form:
            schema = case.operation.definition.raw["requestBody"]["content"]["application/json"]
            with suppress(ValueError):
                if conforming.known().accepts(schema["schema"], conforming.read(body, route)):
                    return None  # an amount as a number in plain digits: see ADR 24
        return negative_data_rejection(ctx, response, case)


OF_HEADERS = {"client_request_id_too_long", "api_version_invalid", "api_version_unsupported",
              "idempotency_key_too_long"}  # fmt: skip


ENDLESS: list[Any] = [True, "true", [True], ["true"]]
"""Requests for an endless stream."""


def run(
    engine: Engine, document: Any, cases: int, *, with_coverage: bool
) -> tuple[dict[str, str], Counter[str]]:
    """Failures: their first words by check and operation; and how many requests each phase sent.

    The coverage phase sends the same 4 000 requests however few `cases` an operation has otherwise.
    """
    reading = Reading()

    @schemathesis.check
    def positives_are_read(ctx: Any, response: Any, case: Any) -> None:
        reading.positives(ctx, response, case)

    @schemathesis.check
    def negatives_are_refused(ctx: Any, response: Any, case: Any) -> bool | None:
        return reading.negatives(ctx, response, case)

    client = engine.client()
    terms = {**TERMS, "settlement_days": 1}
    ok(client.send("PUT", "/instruments/ins_xyz789", terms), 201)  # that of the examples
    ok(client.post("/prices", [{"symbol": "KE2024A", "bid": "99.50", "ask": "100"}]), 201)
    config = SchemathesisConfig.from_dict(
        {
            "base-url": f"http://127.0.0.1:{engine.server.port}",
            "seed": SEED,
            "headers": {"Authorization": client.headers["Authorization"]},
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"enabled": False},
            },
            "phases": {"coverage": {"enabled": with_coverage}},
            "generation": {"max-examples": cases, "database": "none", "deterministic": True},
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        """An offset that is still to come is answered 400, whatever else the request says."""
        wanted = case.headers.get("Min-Journal-Offset", "")
        if str(wanted).isdigit() and engine.journal.head < int(wanted) < 10**18:
            case.headers["Min-Journal-Offset"] = str(engine.journal.head)
        is_stream = case.operation.definition.raw["operationId"] == "stream_events"
        if is_stream and case.query is not None and case.query.get("follow", "true") in ENDLESS:
            case.query["follow"] = "false"  # else it would not end

    failed: dict[str, str] = {}
    sent: Counter[str] = Counter()
    with projected(engine), unhooked(before_call):
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                recorder = event.recorder
                sent[event.phase.value] += len(recorder.interactions)
                for case_id, checks in recorder.checks.items():
                    for check in checks:
                        if check.failure_info is not None:
                            label = recorder.cases[case_id].value.operation.label
                            words = f"{check.failure_info.failure}\n{check.failure_info.code_sample}"
                            failed.setdefault(f"{check.name} {label}", words)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                failed.setdefault(
                    f"error {getattr(event, 'label', '')}",
                    str(event.info if hasattr(event, "info") else event.exception),
                )
    return failed, sent
