"""Third-party packages have one home each, the client stands alone, and nothing else opens SQLite."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from docs.architecture import imported

ROOT = Path(__file__).parents[2]
CLIENT = "order_engine_client"
CLIENT_FOLDER = f"client/{CLIENT}/"
MODULES = sorted(
    path
    for package in ("engine", "projections", "api", "order_engine", CLIENT_FOLDER)
    for path in (ROOT / package).rglob("*.py")
)

HOMES = {
    "eventsourcing": {"engine/journal/recorder.py", "engine/journal/journal.py"},
    "alembic": {"engine/journal/migrations/"},
    "pydantic": {"engine/config/sources.py"},
    "pydantic_settings": {"engine/config/sources.py"},
    "msgpack": {"engine/kernel/codec.py"},
    "sqlite3": {"engine/journal/sqlite.py"},
    "pysqlite3": {"engine/journal/sqlite.py"},
    "psycopg": {
        "engine/journal/postgres_connection.py",
        "engine/journal/postgres_store.py",
        "engine/journal/sessions.py",
        "engine/journal/datastore.py",
    },
    "aiohttp": {"api/"},
    "uvloop": {"api/http/loop.py"},
    "joserfc": {"api/http/tokens.py"},
    "structlog": {"engine/runtime/logs.py"},
    "prometheus_client": {"engine/runtime/metrics.py"},
    "typer": {"order_engine/"},
    "rich": {"order_engine/"},
    "httpx": {f"{CLIENT_FOLDER}base.py"},
    "httpx_sse": {f"{CLIENT_FOLDER}base.py", f"{CLIENT_FOLDER}streams.py"},
    "nats": {"api/outbound/nats_broker.py"},
}
"""Third-party packages and the only files, or folders, that may import them."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_rules(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    names = imported(path)
    for package, homes in HOMES.items():
        if any(name.split(".")[0] == package for name in names):
            assert any(
                place == home or place.startswith(home + "/" * (home[-1] != "/")) for home in homes
            ), f"{place} imports {package}"
    ours = {name.split(".")[0] for name in names} & {
        "engine",
        "projections",
        "api",
        "order_engine",
        CLIENT,
    }
    # The client can be installed where there is no engine, and the engine where there is no client.
    assert (CLIENT in ours) <= place.startswith(CLIENT_FOLDER), f"{place} imports the client"
    assert ours <= {CLIENT} or not place.startswith(CLIENT_FOLDER), f"{place} imports the engine"


def test_the_client_imports_in_no_circle() -> None:
    """Not even for types only."""
    folder = ROOT / "client"
    named = {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / CLIENT_FOLDER).rglob("*.py")
    }
    graph = {name: (imported(path) & {*named}) - {CLIENT, name} for name, path in named.items()}
    graph[CLIENT] = set()
    assert len([*TopologicalSorter(graph).static_order()]) > 10  # raises CycleError


def test_tests_and_benches_open_sqlite_through_the_engine_too() -> None:
    for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        names = {name.split(".")[0] for name in imported(path)}
        assert not names & {"sqlite3", "pysqlite3"}, path
