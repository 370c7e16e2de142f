"""Imports point down, third-party packages have one home each, and nothing else opens SQLite."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = "order_engine_client"
MODULES = sorted(
    path
    for package in ("engine", "projections", "api", CLIENT)
    for path in (ROOT / package).rglob("*.py")
)

LAYERS = (
    {
        "csv_export",
        "text",
        "errors",
        "limits",
        "fact",
        "ids",
        "sqlite",
        "chain",
        "forks",
        "meters",
        "wall",
        "merkle",
        "sentences",
        "remedies",
        "exchanges",
        "rounding",
    },
    {"packages", "checkpoint", "health", "fingerprint"},
    {"refusals", "reasons", "rate", "files"},
    {"values", "fold", "process"},
    {
        "fees",
        "pricing",
        "calendar",
        "clock",
        "halt",
        "kind",
        "idempotency",
        "instrument",
        "payment",
        "report",
    },
    {"attempts", "quote", "domain"},
    {"addresses", "webhook"},
    {"wish", "checks"},
    {"order"},
    {"holdings", "trading_limits"},
    {"account", "booking"},
    {"trading", "paying", "port"},
    {"venue"},  # so far the rules: pure
    {"migrations"},
    {"codec", "schema", "store", "writer", "operations"},
    {"sqlite_store", "postgres_store"},
    {"stored"},
    {"witness"},
    {"damage", "names", "sessions", "wakeup", "market", "personal", "refusal_log"},
    {"acts", "records", "append", "pages", "leases", "deliveries"},
    {"datastore"},
    {"recorder", "seals", "declaring"},
    {"journal"},
    {"streams", "tally"},
    {"history", "halted"},
    {"evidence"},
    {"states"},
    {"deciding"},
    {"desk", "commands"},
    {"acting", "heartbeats"},
    {"follow"},
    {"loss"},
    {"execution", "settlement", "ticker", "sealing", "logs", "metrics", "vitals"},
    {"outlets"},
    {"settings_table"},
    {"settings", "keys"},
    {"supervise"},
    {
        "effective",
        "key_register",
        "clients",
        "signing",
        "sealing_keys",
        "endpoints",
        "installation",
        "csv_import",
    },
    {"importing", "dump_format"},
    {"dump_secrets", "dump_vouching"},
    {"dumping"},
    {"restoring"},
    {"sandbox"},
    {"story", "chance", "seeded"},
    {"generate", "demo", "memorandum"},
    {"doctor", "database_checks"},
    {"audit_books"},
    {"audit"},
    {"audit_points"},
    {"auditing"},
    {"background_audit", "backup"},
    {"cli"},
)
"""Modules of `engine`, lowest first: each may import what stands above it in this list, and its row."""

HOMES = {
    "eventsourcing": {"engine/journal/recorder.py", "engine/journal/journal.py"},
    "alembic": {"engine/journal/migrations/"},
    "msgpack": {"engine/kernel/codec.py"},
    "sqlite3": {"engine/journal/sqlite.py"},
    "pysqlite3": {"engine/journal/sqlite.py"},
    "psycopg": {
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
    "httpx": {f"{CLIENT}/clients.py"},
    "nats": {"api/outbound/nats_broker.py"},
}
"""Third-party packages and the only files, or folders, that may import them."""


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_rules(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    names = imported(path)
    for package, homes in HOMES.items():
        if any(name.split(".")[0] == package for name in names):
            assert any(
                place == home or place.startswith(home + "/" * (home[-1] != "/")) for home in homes
            ), f"{place} imports {package}"
    ours = {name.split(".")[0] for name in names} & {"engine", "projections", "api", CLIENT}
    # The client can be installed where there is no engine, and the engine where there is no client.
    assert (CLIENT in ours) <= place.startswith(CLIENT), f"{place} imports the client"
    assert ours <= {CLIENT} or not place.startswith(CLIENT), f"{place} imports the engine"
    if place.startswith("engine/"):
        # The command line puts everything together.
        assert not any(name.startswith(("projections", "api")) for name in names) or place.startswith(
            "order_engine"
        )
        module = path.relative_to(ROOT / "engine").parts[0].removesuffix(".py")
        own = next((n for n, layer in enumerate(LAYERS) if module in layer), None)
        for n, layer in enumerate(LAYERS):
            for other in layer:
                if f"engine.{other}" in names and own is not None:
                    assert n <= own, f"{place} imports engine.{other}, which stands over it"


def test_tests_and_benches_open_sqlite_through_the_engine_too() -> None:
    for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        names = {name.split(".")[0] for name in imported(path)}
        assert not names & {"sqlite3", "pysqlite3"}, path
