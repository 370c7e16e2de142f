"""Fixtures: databases to keep a journal in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import GivenServer, PostgresServer, open_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long runs belong to `make torture`; elsewhere they are not even collected."""
    if not config.getoption("--torture"):
        long_runs = [item for item in items if item.get_closest_marker("torture")]
        items[:] = [item for item in items if item not in long_runs]
        config.hook.pytest_deselected(items=long_runs)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer | GivenServer]:
    server = open_server()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer | GivenServer) -> str:
    """A fresh PostgreSQL database."""
    return postgres_server.create_database()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url
