"""`/health/ready` when what a process rests on fails: which reason, and what clients get meanwhile."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
import sqlalchemy as sa

from engine.followers.follow import Follower
from engine.journal.store import Store
from engine.kernel.health import Finding, Probe, ProbeSource
from engine.kernel.limits import PART_FAILING_S
from engine.registers.heartbeats import Heartbeats, PartsProbe, Pulse
from engine.registers.operations import define_operations
from order_engine.roles import Showing
from projections.metrics import ViewsProbe
from tests.crash.cutting_proxy import CuttingProxy
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running

AT_ONCE_S = 3.0
"""From memory: a wait for the database takes 4 s and longer. A busy machine may miss 1 s."""
LARGE = Finding("disk_low", "x" * 100_000)
"""A beat with this needs new pages: a disk that is full has room for what replaces as much."""


@pytest.fixture
def reported() -> list[ProbeSource]:
    """What a beat says beside its parts."""
    return []


@pytest.fixture
def served(tmp_path: Path, sqlite_url: str, reported: list[ProbeSource]) -> Iterator[Engine]:
    """An engine of its own, which beats as `serve` does."""
    with running(sqlite_url, tmp_path) as engine:
        heartbeats = Heartbeats(engine.journal.datastore.store, define_operations(), "here:1:aa")
        pulse = Pulse(heartbeats, reported=reported)
        look = Probe("journal's writing", pulse.findings, "journal_unwritable")
        engine.services.health.add(look)
        yield engine


def reasons(engine: Engine) -> tuple[int, set[str]]:
    engine.services.health.poll()
    reply = engine.connect().get("/health/ready")
    return reply.status, {one["code"] for one in reply.json["reasons"]}


@contextmanager
def pragma(store: Store, change: str, back: str) -> Iterator[None]:
    """A setting of the one writing connection."""
    for statement in (change, back):
        with store.turn(), store.raw_writing() as raw:  # type: ignore[attr-defined]
            raw.execute(f"PRAGMA {statement}")
        if statement == change:
            yield


@pytest.mark.parametrize(
    ("change", "back", "code"),
    [
        ("max_page_count = 1", "max_page_count = 1000000", "disk_full"),
        ("query_only = ON", "query_only = OFF", "journal_read_only"),
    ],
)
def test_a_journal_that_takes_no_writes(
    served: Engine, reported: list[ProbeSource], change: str, back: str, code: str
) -> None:
    """Writes are refused, reads go on, and all resumes by itself."""
    client = served.client()
    a_market(client)
    account = an_account(client)
    served.project()
    store = served.journal.datastore.store
    path = f"/accounts/{account}/orders"
    with pragma(store, change, back):
        while (reply := client.post(path, buying("2.00"))).status == 201:
            pass  # pages that are there take a few more
        assert (reply.status, reply.code) == (503, "unavailable")
        reported.append(lambda: [LARGE])
        status, found = reasons(served)
        assert (status, found - {"views_behind"}) == (200, {code})
        assert client.get(f"/accounts/{account}").status == 200
        reported.clear()
    ok(client.post(path, buying("2.00")), 201)
    served.project()
    assert reasons(served) == (200, set())


def test_views_that_cannot_be_read_make_this_process_unready(served: Engine, tmp_path: Path) -> None:
    """Another process may have views of its own. Orders are placed and read without them."""
    client = served.client()
    a_market(client)
    account = an_account(client)
    served.project()
    assert reasons(served) == (200, set())
    store = served.views.store
    with store._opening:
        store._dispose(close=True)
    path = tmp_path / "data" / "views.db"
    whole = path.read_bytes()
    path.write_bytes(b"these are not the bytes of a database" * 200)
    assert reasons(served) == (503, {"views_unreadable"})
    assert client.get(f"/accounts/{account}/orders").status == 503
    ok(client.post(f"/accounts/{account}/orders", buying("2.00")), 201)
    with store._opening:
        store._dispose(close=True)
    path.write_bytes(whole)
    assert "views_unreadable" not in reasons(served)[1]


def test_views_without_room_stop_the_part_that_keeps_them(served: Engine) -> None:
    """A full disk of the views alone: the journal's own writes go on."""
    now_s = [0.0]
    follower = Follower(
        "projections",
        lambda _: Showing(served.journal, served.views),
        None,
        served.journal,
        monotonic=lambda: now_s[0],
    )
    heartbeats = Heartbeats(served.journal.datastore.store, define_operations(), "here:2:bb")
    look = PartsProbe(heartbeats, ["projections"], lambda _: False)
    client = served.client()
    with pragma(served.views.store, "max_page_count = 1", "max_page_count = 1000000"):
        for number in range(40):
            ok(client.post("/accounts", {"name": f"{number} " + "x" * 180, "base_currency": "USD"}), 201)
        for _ in range(3):
            follower.turn()
            now_s[0] += PART_FAILING_S
        Pulse(heartbeats, [follower]).beat()
        (found,) = look.findings()
        assert (found.code, found.part) == ("projections_stopped", "projections")
        assert found.detail.startswith("projections has failed for")
        assert "views.db" not in found.detail, "health is open to all"
    follower.turn()
    Pulse(heartbeats, [follower]).beat()
    assert list(look.findings()) == []


def test_views_of_another_release_or_that_do_not_move_are_one_reason_each(served: Engine) -> None:
    now_s = [0.0]
    look = ViewsProbe(served.views, lambda: served.journal.head, lambda: now_s[0])
    served.project()
    assert list(look.findings()) == []
    a_market(served.client())
    assert list(look.findings()) == []
    now_s[0] += 192
    (found,) = look.findings()
    assert found.code == "views_behind"
    assert re.fullmatch(
        r"accounts, .* show up to \d+ facts less than .* for 3 min 12 s now\.", found.detail
    )
    served.project()
    assert list(look.findings()) == []
    with served.views.writing() as connection:
        connection.exec_driver_sql("UPDATE view_checkpoints SET shape = '0/0.0' WHERE view = 'orders'")
    (found,) = look.findings()
    assert (found.code, found.detail) == ("views_outdated", "Of another release's shape: orders.")


def test_a_database_that_hangs_holds_nobody_up_who_asks_for_health(
    postgres_url: str, tmp_path: Path
) -> None:
    """The look waits behind a lock; the answer comes from memory, and says so soon."""
    with running(postgres_url, tmp_path) as engine:
        asked = engine.connect()
        assert asked.get("/health/ready").status == 200
        locking = sa.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
        with locking.connect() as connection, connection.begin():
            connection.exec_driver_sql("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE")
            deadline_s, slowest_s, status = monotonic() + 20, 0.0, 200
            while status == 200 and monotonic() < deadline_s:
                began_s = monotonic()
                reply = asked.get("/health/ready")
                slowest_s = max(slowest_s, monotonic() - began_s)
                status = reply.status
                threading.Event().wait(0.1)
            assert (status, reply.json["reasons"][0]["code"]) == (503, "journal_unreadable")
            assert slowest_s < AT_ONCE_S
        locking.dispose()
        wait_until(lambda: asked.get("/health/ready").status == 200)


def test_a_database_that_refuses_connections_makes_all_processes_unready(
    postgres_url: str, tmp_path: Path
) -> None:
    with CuttingProxy(postgres_url) as proxy, running(proxy.url, tmp_path) as engine:
        assert reasons(engine) == (200, set())
        proxy.__exit__()
        began_s = monotonic()
        reply = engine.connect().get("/health/ready")
        assert monotonic() - began_s < AT_ONCE_S
        assert reasons(engine) == (503, {"journal_unreadable", "views_unreadable"})
        reply = engine.connect().get("/health/ready")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        for one in reply.json["reasons"]:
            assert "127.0.0.1" not in one["detail"], "health is open to all"
            assert "order-engine doctor" in one["remedy"] or "views.db" in one["remedy"]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s, pause = monotonic() + 20, threading.Event()
    while not is_so():
        assert monotonic() < deadline_s
        pause.wait(0.1)
