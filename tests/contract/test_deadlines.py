"""A PostgreSQL that does not answer, restarts or takes no writes: nobody waits, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa

from engine.journal import append, postgres_store
from engine.journal.postgres_connection import BoundedConnection
from engine.journal.recorder import Datastore, JournalProcessRecorder
from engine.journal.store import ConnectionBroken, allow_time
from engine.kernel.errors import Inaccessible, OutcomeUnknown, Unavailable
from engine.kernel.limits import READERS_MAX
from tests.crash.cutting_proxy import CuttingProxy
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import events, new_command, open_journal
from tests.support.engines.prepared import make_journal
from tests.support.servers.postgres import PostgresServer

BOUND_S = 0.3
SOON_S = 5.0
"""Not the bound itself: machines are busy. Without it all of this waits for ever."""


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def journal(proxy: CuttingProxy) -> Iterator[JournalProcessRecorder]:
    with open_journal(proxy.url) as journal:
        yield journal


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "bound_s", BOUND_S)
    monkeypatch.setattr(postgres_store, "CONNECT_TIMEOUT_S", 1.0)


@contextmanager
def frozen(proxy: CuttingProxy) -> Iterator[None]:
    proxy.flows.clear()
    try:
        yield
    finally:
        proxy.flows.set()


def all_readers(journal: JournalProcessRecorder, work: Callable[[], object]) -> list[object]:
    """The same work on each of the pool's connections at once."""
    together = threading.Barrier(READERS_MAX)

    def one(_: int) -> object:
        together.wait(SOON_S)
        with journal.datastore.store.reading() as connection:
            together.wait(SOON_S)
            return connection.exec_driver_sql("SELECT 1").scalar_one() and work()

    with ThreadPoolExecutor(READERS_MAX) as threads:
        return list(threads.map(one, range(READERS_MAX)))


@pytest.mark.usefixtures("bounded")
def test_a_read_of_a_frozen_server_ends(proxy: CuttingProxy, journal: JournalProcessRecorder) -> None:
    store = journal.datastore.store
    store.query("SELECT 1")
    with frozen(proxy):
        began_s = time.monotonic()
        with pytest.raises(ConnectionBroken, match=r"no answer within 0\.3 s"):
            store.query("SELECT 1")
        with pytest.raises(Unavailable), store.reading() as connection:  # a new connection
            connection.exec_driver_sql("SELECT 1")
        assert time.monotonic() - began_s < SOON_S
    assert store.query("SELECT 1") == [(1,)]


@pytest.mark.usefixtures("bounded")
def test_a_write_of_a_frozen_server_ends_and_is_there_once_or_not_at_all(
    postgres_url: str,
    proxy: CuttingProxy,
    journal: JournalProcessRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(append, "APPEND_RETRY_PAUSES_S", (0.0, 0.0))
    first, unknown, later = (new_command() for _ in range(3))
    told = [Acknowledged(first, journal.append(events(first), command=first).positions)]
    with frozen(proxy), pytest.raises(OutcomeUnknown):
        journal.append(events(unknown), command=unknown)
    told += [Acknowledged(later, journal.append(events(later), command=later).positions)]
    again = journal.append(events(unknown), command=unknown)
    told += [Acknowledged(unknown, again.positions)]
    assert checker.check(postgres_url, told, []) == []


@pytest.mark.usefixtures("bounded")
def test_a_transaction_of_a_frozen_server_ends(
    proxy: CuttingProxy, journal: JournalProcessRecorder
) -> None:
    store = journal.datastore.store
    with frozen(proxy), pytest.raises(Unavailable), store.writing() as connection:
        connection.exec_driver_sql("SELECT 1")
    with store.writing() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


@pytest.mark.usefixtures("bounded")
def test_a_long_statement_is_allowed_its_time_and_the_next_one_is_bounded_again(
    journal: JournalProcessRecorder,
) -> None:
    store = journal.datastore.store
    with store.reading() as connection:
        allow_time(connection)
        connection.exec_driver_sql(f"SELECT pg_sleep({3 * BOUND_S})")
    with pytest.raises(ConnectionBroken):
        store.query(f"SELECT pg_sleep({3 * BOUND_S})")


def test_connections_that_ended_while_they_were_idle_are_replaced(
    proxy: CuttingProxy, journal: JournalProcessRecorder
) -> None:
    """As after a restart of the server: each of them cost one answer."""
    journal.append(events(new_command()))
    assert all_readers(journal, lambda: True) == [True] * READERS_MAX
    with journal.datastore.store.writing() as connection:
        connection.exec_driver_sql("SELECT 1")
    proxy.hang_up()
    assert all_readers(journal, lambda: True) == [True] * READERS_MAX
    with journal.datastore.store.writing() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    journal.append(events(new_command()))


def test_one_broken_connection_has_all_replaced(journal: JournalProcessRecorder) -> None:
    """A server that went away without a word would cost each of them its deadline."""
    store = journal.datastore.store
    pids: list[int] = []

    def note() -> bool:
        with store.reading() as connection:
            pids.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        return True

    store.query("SELECT 1")
    note()
    with pytest.raises(ConnectionBroken):
        store.query("SELECT pg_terminate_backend(pg_backend_pid())")
    note()
    journal.append(events(new_command()))
    assert len(set(pids)) == 2


def test_who_was_led_to_a_server_without_writes_looks_for_another(
    postgres_url: str, journal: JournalProcessRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stayed with it for good."""
    monkeypatch.setattr(postgres_store, "_READ_ONLY_S", 0.0)
    name = sa.make_url(postgres_url).database
    with psycopg.connect(postgres_url, autocommit=True) as elsewhere:
        elsewhere.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        with pytest.raises(Inaccessible):
            journal.append(events(new_command()))
        elsewhere.execute("SET default_transaction_read_only = off")
        elsewhere.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off')
    journal.append(events(new_command()))
    with journal.datastore.store.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE written (x int)")


def test_of_several_hosts_the_one_that_takes_writes_is_used(postgres_url: str) -> None:
    url = sa.make_url(postgres_url)
    hosts = (f"{url.host}:1", f"{url.host}:{url.port}")  # nobody listens on port 1
    several = sa.URL.create(
        "postgresql", url.username, url.password, database=url.database, query={"host": hosts}
    )
    make_journal(postgres_url)
    datastore = Datastore(several.render_as_string(hide_password=False), "", "text")
    try:
        datastore.migrate()
        JournalProcessRecorder(datastore).append(events(new_command()))
        location = datastore.store.location
    finally:
        datastore.close()
    assert location.endswith(f"/{url.database}?host={','.join(hosts)}")


@pytest.fixture(scope="module")
def replicated() -> Iterator[PostgresServer]:
    """A server of our own, which can be told to wait for a replica that there is not."""
    server = PostgresServer()
    yield server
    server.close()


@contextmanager
def without_replica(server: PostgresServer) -> Iterator[None]:
    """Commits wait for a replica, and an operator or a time-out ends their waiting, again and again."""
    is_over = threading.Event()

    def set_replica(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        connection.execute("SELECT pg_reload_conf()")

    def cancel() -> None:
        with psycopg.connect(server.url, autocommit=True) as operator:
            while not is_over.wait(0.02):
                operator.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )

    thread = threading.Thread(target=cancel)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("SET synchronous_commit = local")
        set_replica(admin, "nobody")
        thread.start()
        try:
            _await_waiting(server)
            yield
        finally:
            is_over.set()
            thread.join()
            set_replica(admin, "")


def _await_waiting(server: PostgresServer) -> None:
    """Commits until one is warned of: the setting has come to every process of the server."""
    warned = threading.Event()
    with psycopg.connect(server.url, autocommit=True) as probe:
        probe.add_notice_handler(lambda _: warned.set())
        until_s = time.monotonic() + SOON_S
        while not warned.is_set():
            assert time.monotonic() < until_s
            probe.execute("SELECT pg_logical_emit_message(true, '', '')")


def test_a_commit_that_gave_up_its_replica_is_not_answered_as_done(replicated: PostgresServer) -> None:
    """PostgreSQL reports success, with a warning: the fact is gone if this server is."""
    command = new_command()
    with open_journal(replicated.create_database()) as journal:
        journal.append(events(new_command()))
        with without_replica(replicated):
            with pytest.raises(OutcomeUnknown):
                journal.append(events(command), command=command)
            with pytest.raises(ConnectionBroken), journal.datastore.store.writing() as connection:
                connection.exec_driver_sql("CREATE TABLE unsure (x int)")
        assert journal.append(events(command), command=command).is_repeat


def test_the_naive_way_answers_such_a_commit(
    replicated: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with the warning ignored the append is acknowledged."""
    monkeypatch.setattr(BoundedConnection, "_note", lambda *_: None)
    with open_journal(replicated.create_database()) as journal:
        journal.append(events(new_command()))
        with without_replica(replicated):
            journal.append(events(new_command()))
