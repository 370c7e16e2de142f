"""schemathesis finds nothing that the document and the server do not agree about, and no 5xx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkers import conforming
from tests.support.models import fuzzing
from tests.support.servers.http_engine import running

FEW = 2
"""Cases of an operation in `make test`: 20 take 50 s on two cores, most of it to make them up."""
MANY = 200


def test_few_cases(sqlite_url: str, tmp_path: Path) -> None:
    with running(sqlite_url, tmp_path) as engine:
        document = conforming.known().document
        failed, sent = fuzzing.run(engine, document, FEW, with_coverage=False)
    assert not failed, failed
    assert all(sent[phase] > 10 for phase in ("examples", "fuzzing", "stateful")), sent


def test_a_wrong_document_is_found(sqlite_url: str, tmp_path: Path) -> None:
    """The control: a document with a wrong word in an answer, and that allows what is refused."""
    document = conforming.without(conforming.known().document)
    document["components"]["schemas"]["Live"]["properties"]["status"]["enum"] = ["dead"]
    span = document["paths"]["/sandbox/clock"]["post"]["requestBody"]["content"]["application/json"]
    span["schema"]["properties"]["advance"] = {"type": "string"}
    paths = {path: document["paths"][path] for path in ("/health/live", "/sandbox/clock")}
    with running(sqlite_url, tmp_path) as engine:
        failed, _ = fuzzing.run(engine, {**document, "paths": paths}, FEW, with_coverage=False)
    assert {
        "response_schema_conformance GET /health/live",
        "positives_are_read POST /sandbox/clock",
    } <= {*failed}, failed


@pytest.mark.full
def test_many_cases(journal_url: str, tmp_path: Path) -> None:
    with running(journal_url, tmp_path) as engine:
        document = conforming.known().document
        failed, sent = fuzzing.run(engine, document, MANY, with_coverage=True)
    assert not failed, failed
    assert sent["coverage"] > 1_000, sent
