"""`serve` as a role that cannot change a fact: `deploy/sql/roles.sql`, and a whole order by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from engine import installation
from engine.audit.auditing import AuditOptions, audit
from engine.config.settings import Settings, read_settings
from engine.installation import open_journal_datastore
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.served import Clients, Http, Place, Served, token_of

ROLES = Path(__file__).parents[2] / "deploy/sql/roles.sql"
WITHIN_S = 60.0


class PlaceOfWriter(Place):
    """The views in the writer's own schema."""

    @property
    def views_url(self) -> str:
        return f"{self.journal_url}?options=-csearch_path%3Dorder_engine_views"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of our own: roles are of a whole server."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def url_of(server: PostgresServer, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a migrated journal for one of the roles."""
    url = server.create_database()

    def of(role: str) -> str:
        return url.replace("postgres@", f"order_engine_{role}@")

    with psycopg.connect(url, autocommit=True) as superuser:
        superuser.execute(ROLES.read_text())
        installation.migrate(settings_of(tmp_path, of("owner")), "sandbox")
        superuser.execute(ROLES.read_text())  # it may be repeated, and has to be once there are tables
    return of


def settings_of(tmp_path: Path, url: str) -> Settings:
    return read_settings(data=str(tmp_path / "data"), journal_url=url, environ={})


def test_an_order_settles_under_the_writer(url_of: Callable[[str], str], tmp_path: Path) -> None:
    with closing(installation.open_installation(settings_of(tmp_path, url_of("writer")))) as opened:
        made = opened.clients.create("tnt", ["read", "trade", "operate", "admin"])
    place = PlaceOfWriter(tmp_path / "data", url_of("writer"))
    place.credentials = made.client.id, made.secret
    with Served(place) as served, Http(served.port, token_of(served.port, place.credentials)) as http:
        clients = Clients(place, 0)
        (account,) = clients.set_up(http, 1)
        write = clients.buy(account, "100.00")
        answer = clients.ask(http, write)
        assert answer is not None
        assert answer.status == 201, answer
        until_s, pause = monotonic() + WITHIN_S, threading.Event()
        while True:
            answer = http.ask("GET", f"{write.path}/{clients.orders[0][1]}")
            assert answer is not None
            if answer.words["status"] == "settled":
                break
            assert monotonic() < until_s, answer
            pause.wait(0.1)
        assert "permission denied" not in served.errors()
        served.stop()
    with closing(open_journal_datastore(settings_of(tmp_path, url_of("reader")))) as datastore:
        assert not audit(datastore, AuditOptions()).findings


ADDED_ONLY = ("journal", "seals", "acts", "refusals")
REFUSED = {
    "writer": (
        *(f"DELETE FROM {table}" for table in ADDED_ONLY),
        *(f"TRUNCATE {table}" for table in ADDED_ONLY),
        *(f"UPDATE {table} SET at_us = 0" for table in ("acts", "refusals")),
        "UPDATE journal SET body = body",
        "ALTER TABLE journal DISABLE TRIGGER ALL",
        "DROP TABLE journal",
        "CREATE TABLE public.more (x int)",
    ),
    "reader": (
        *(f"DELETE FROM {table}" for table in ADDED_ONLY),
        "INSERT INTO journal_meta VALUES ('x', 'y')",
        "UPDATE leases SET holder = NULL",
        "CREATE TABLE order_engine_views.more (x int)",
    ),
}
"""Role -> what it may not do."""


@pytest.mark.parametrize("role", REFUSED)
def test_what_is_refused_to_a_role(url_of: Callable[[str], str], role: str) -> None:
    allowed = []
    with psycopg.connect(url_of(role), autocommit=True) as connection:
        for statement in REFUSED[role]:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            allowed.append(statement)
    assert allowed == []
