"""Fixtures: an engine served over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers.http_engine import Engine, of_new_tenant, shared


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with shared(request, tmp_path_factory) as started:
        yield started


@pytest.fixture
def engine(module_engine: Engine) -> Iterator[Engine]:
    yield from of_new_tenant(module_engine)
