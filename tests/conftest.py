"""Fixtures: databases to keep a journal in."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import typer.testing

from engine import installation
from engine.commands import declaring
from engine.config.settings import Settings
from engine.kernel.process import tame_collector
from tests.support.engines.desks import Shop, open_shop
from tests.support.engines.prepared import Prepared, drop_templates
from tests.support.servers.postgres import GivenServer, PostgresServer, open_server

MARKED = {"torture": "torture", "full": "test-full"}
"""Mark of tests that run only with an option of that name -> the goal of make that gives it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark, goal in MARKED.items():
        parser.addoption(f"--{mark}", action="store_true", help=f"run those of `make {goal}` too")


LONG = (
    "tests/crash/test_kill_served.py::test_nothing_answered_is_lost_to_kill_9",
    "tests/crash/test_named_points.py::test_every_order_comes_to_its_end_wherever_the_engine_died",
    "tests/crash/test_reads_anywhere.py::test_a_write_is_seen_everywhere_at_once",
    "tests/crash/test_webhook_points.py::",
    "tests/flow/test_schemathesis.py::test_few_cases",
    "tests/crash/test_health.py::",
    "tests/crash/test_replaced_code.py::",
    "tests/laws/test_rules.py::",
    "tests/crash/test_kill.py::",
)
"""Tests of many seconds. They come first, so that no worker is alone with one at the end."""


def pytest_configure() -> None:
    """Commands are built once, and not whenever a test calls the command line: that takes 50 ms.

    Bytecode is kept, even where the shell says otherwise: else each worker rewrites the assertions of
    all tests, and each process that a test starts compiles the engine, for 8 s of processor time.

    No example has a deadline of its own: on a busy machine any of them takes a second now and then.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    typer.testing._get_command = cache(typer.testing._get_command)
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("busy")
    gc.disable()  # until all is collected: imports and items stay


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each worker of a whole run begins with its share of the files.

    Assertions of a file are rewritten by whoever imports it first, and kept; in a fresh checkout, where
    all workers begin with the same file, each would rewrite them all.
    """
    config = session.config
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    number, root = int(str(worker["workerid"]).removeprefix("gw")), config.rootpath
    for path in sorted(root.glob("tests/*/test_*.py"))[number :: worker["workercount"]]:
        with suppress(Exception):  # it is told when the file is collected
            import_module(".".join(path.relative_to(root).with_suffix("").parts))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long runs belong to goals of their own; elsewhere they are not even collected."""
    for mark in MARKED:
        if not config.getoption(f"--{mark}"):
            long_runs = [item for item in items if item.get_closest_marker(mark)]
            items[:] = [item for item in items if item not in long_runs]
            config.hook.pytest_deselected(items=long_runs)
    if hasattr(config, "workerinput"):
        _spread_long(items, config.workerinput["workercount"])


def _spread_long(items: list[pytest.Item], workers: int) -> None:
    """Each worker is first given a part of all tests: it begins with its share of the long ones."""
    long = [item for item in items if item.nodeid.startswith(LONG)]
    rest = [item for item in items if not item.nodeid.startswith(LONG)]
    ends = [len(rest) * number // workers for number in range(workers + 1)]
    items[:] = [
        item
        for number in range(workers)
        for item in (*long[number::workers], *rest[ends[number] : ends[number + 1]])
    ]


def pytest_collection_finish() -> None:
    """What collecting made stays: the collector need not look through it again and again."""
    gc.enable()
    tame_collector()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer | GivenServer]:
    server = open_server()
    yield server
    drop_templates()
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer | GivenServer) -> Iterator[str]:
    """A fresh PostgreSQL database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


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


@pytest.fixture
def shop(journal_url: str) -> Iterator[Shop]:
    """A desk with its journal on each database in turn."""
    with open_shop(journal_url) as shop:
        yield shop


@pytest.fixture
def other(shop: Shop, journal_url: str) -> Iterator[Shop]:
    """A second desk on the journal of `shop`: another process, as far as caches go."""
    with open_shop(journal_url) as other:
        yield other


def make_without_rows(data: Path, url: str) -> None:
    """A sandbox whose register does not even say that it was made."""
    installation.make_tables(Settings(data, url))
    declaring.make(url, "sandbox")


WITHOUT_ROWS = Prepared(make_without_rows)


@pytest.fixture
def installed(journal_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A sandbox with nothing in its operational tables, on each database in turn."""
    settings = Settings(tmp_path_factory.mktemp("installation"), journal_url)
    WITHOUT_ROWS.copy(settings.data, journal_url)
    return settings
