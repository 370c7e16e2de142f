"""`order-engine serve` as a real process, and clients that record all their requests and answers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, NamedTuple

from engine import installation
from engine.config.settings import read_settings
from tests.crash import points
from tests.crash.points import Trap
from tests.crash.processes import context
from tests.support.checkers import checker, invariants_views
from tests.support.checkers.invariants import Exchange
from tests.support.engines.prepared import install

READY_WITHIN_S = 5.0
STOPPED_WITHIN_S = 10.0
LOOK_AGAIN_S = 0.05

SYMBOL, INSTRUMENT = "BOND", "ins_served"


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> Any:
        return json.loads(self.body)

    @property
    def offset(self) -> int | None:
        text = self.headers.get("Journal-Offset")
        return int(text) if text else None


@dataclass
class Place:
    """Where an engine keeps its data: the same after each restart."""

    data: Path
    journal_url: str
    options: Sequence[str] = ("--sandbox", "--sandbox-day", "300ms")
    traps: Sequence[Trap] = ()
    credentials: tuple[str, str] = ("", "")
    token: str = ""

    @property
    def views_url(self) -> str:
        """Views stand beside the journal: another file, or the same database."""
        return self.journal_url.replace("journal.db", "views.db")

    @property
    def words(self) -> list[str]:
        """Options of every command that says where the engine is."""
        return ["--data", str(self.data), "--journal-url", self.journal_url]

    def make_client(self, tenant: str = "tnt") -> None:
        """A client that may do everything; on an empty place that is the first that happens."""
        settings = read_settings(data=str(self.data), journal_url=self.journal_url, environ={})
        install(settings)
        with contextlib.closing(installation.open_installation(settings)) as opened:
            made = opened.clients.create(tenant, ["read", "trade", "operate", "admin"])
        self.credentials = made.client.id, made.secret


@cache
def _warm_up() -> None:
    """The server of forks imports everything when it is first asked: that is not the engine's time."""
    process = context.Process(target=int)
    process.start()
    process.join()
    process.close()


class Served:
    """One life of the process: started, ready, and ended by a signal. Nothing of it is left behind."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.errors_file = place.data.parent / f"{place.data.name}.stderr"
        words = [
            "serve", *place.words, "--views-url", place.views_url, "--port", "0", *place.options,
        ]  # fmt: skip
        _warm_up()
        ours, theirs = context.Pipe(duplex=False)
        started_s = monotonic()
        self.process = context.Process(
            target=points.serve_forked, args=(words, place.traps, theirs, str(self.errors_file))
        )
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid
        self.is_orphaned = False
        try:
            with open(ours.fileno(), closefd=False) as out:
                line = out.readline()
            self.port: int = json.loads(line)["port"]
            self._wait_until_ready(started_s + 6 * READY_WITHIN_S)
        except Exception as error:
            self.kill()
            error.add_note(self.errors()[-3000:])
            raise
        finally:
            ours.close()
        self.ready_after_s = monotonic() - started_s

    def _wait_until_ready(self, deadline: float) -> None:
        with Http(self.port) as http_:
            while True:
                answer = http_.ask("GET", "/health/ready")
                if answer is not None and answer.status == 200:
                    return
                if answer is not None and b'"code":"journal_went_back"' in answer.body:
                    return  # it will never be, and answers
                if monotonic() > deadline:
                    raise TimeoutError(f"not ready: {answer}")
                sleep(LOOK_AGAIN_S)

    def errors(self) -> str:
        """The stderr of all runs of this installation."""
        return self.errors_file.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        """SIGKILL to all of it, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()  # should it have died before it had a group of its own
        self.process.join(STOPPED_WITHIN_S)

    def kill_main(self) -> None:
        """SIGKILL to the main process alone: what it started must end by itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.join(STOPPED_WITHIN_S)
        self.is_orphaned = True

    def is_left(self) -> bool:
        """Whether any process of its group runs; one that only waits to be buried does not."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
                if int(group) == self.pid and state != "Z":
                    return True
        return False

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end."""
        began_s = monotonic()
        os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.join(2 * STOPPED_WITHIN_S)
            assert self.process.exitcode == 0, self.errors()[-3000:]
            return monotonic() - began_s
        finally:
            self.kill()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_orphaned:
            self.kill()


class Http:
    """One connection, kept alive while it can be."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port, self.token = port, token
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer | None:
        """The answer; None if none came, whatever became of the request."""
        words = dict(headers or {})
        if self.token:
            words["Authorization"] = f"Bearer {self.token}"
        data = body
        if body is not None and not isinstance(body, str | bytes):
            data, words["Content-Type"] = json.dumps(body), "application/json"
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                self._connection.connect()
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.request(method, path, data, words)
            response = self._connection.getresponse()
            answer = Answer(response.status, dict(response.headers), response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        if response.will_close:
            self.close()
        return answer

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def token_of(port: int, credentials: tuple[str, str]) -> str:
    """An access token for all that a client may do."""
    basic = base64.b64encode(":".join(credentials).encode()).decode()
    headers = {
        "Authorization": f"Basic {basic}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    with Http(port) as http_:
        answer = http_.ask("POST", "/auth/token", "grant_type=client_credentials", headers)
    assert answer is not None
    assert answer.status == 200, answer
    token: str = answer.words["access_token"]
    return token


class Write(NamedTuple):
    """A request to write, which may be sent again with the same key until it is answered."""

    what: str
    path: str
    body: Any
    key: str


@dataclass
class Clients:
    """All clients of a test: their requests, the answers, and what is still open."""

    place: Place
    seed: int
    exchanges: list[Exchange] = field(default_factory=list)
    open_writes: list[Write] = field(default_factory=list)
    orders: list[tuple[str, str]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _keys: int = 0

    def key(self) -> str:
        with self._lock:
            self._keys += 1
            return f"key-{self.seed}-{self._keys}"

    def ask(self, http_: Http, write: Write) -> Answer | None:
        """Sends a write and notes its outcome; without an answer it stays open."""
        sent_s = monotonic()
        headers = {"Idempotency-Key": write.key} if write.key else {}
        answer = http_.ask("POST", write.path, write.body, headers)
        exchange = exchange_of(write, answer, sent_s, monotonic())
        with self._lock:
            self.exchanges.append(exchange)
            if exchange.status is None or exchange.status >= 500:
                self.open_writes.append(write)
            if exchange.status is not None and exchange.status >= 500 and exchange.status != 503:
                self.unexpected.append(f"{write.what}: {answer}")
            if exchange.is_done and write.what == "order.placed":
                self.orders.append((write.path, str(exchange.id)))
        return answer

    def ask_open_ones_again(self, http_: Http) -> None:
        """Sends unanswered requests again, with the same key, as a client does after an outage."""
        writes, self.open_writes = self.open_writes, []
        for write in writes:
            self.ask(http_, write)

    def set_up(self, http_: Http, accounts: int, cash: str = "100000.00") -> list[str]:
        """Accounts with cash, and one instrument with a price."""
        terms = {
            "name": "A bond", "symbol": SYMBOL, "instrument_type": "bond", "trading_currency": "USD",
            "settlement_days": 1,
        }  # fmt: skip
        _must(http_.ask("PUT", f"/instruments/{INSTRUMENT}", terms), 201)
        _must(http_.ask("POST", "/prices", [{"symbol": SYMBOL, "bid": "100", "ask": "100"}]), 201)
        made = []
        for number in range(accounts):
            words = {"name": f"account {number}", "base_currency": "USD"}
            answer = _must(http_.ask("POST", "/accounts", words), 201)
            made.append(answer.words["id"])
            self.deposit(http_, made[-1], cash)
        return made

    def deposit(self, http_: Http, account: str, cash: str) -> None:
        """Announced and completed."""
        path = f"/accounts/{account}/deposits"
        write = Write("deposit.opened", path, {"amount": cash, "currency": "USD"}, self.key())
        answer = self.ask(http_, write)
        if answer is not None and answer.status == 201:
            self.ask(
                http_, Write("deposit.completed", f"{path}/{answer.words['id']}/complete", None, "")
            )

    def buy(self, account: str, cash: str, key: str | None = None) -> Write:
        body = {
            "instrument": INSTRUMENT, "order_type": "market", "side": "buy", "cash_amount": cash,
        }  # fmt: skip
        return Write("order.placed", f"/accounts/{account}/orders", body, key or self.key())

    def sell(self, account: str, quantity: str) -> Write:
        body = {
            "instrument": INSTRUMENT, "order_type": "market", "side": "sell", "quantity": quantity,
        }  # fmt: skip
        return Write("order.placed", f"/accounts/{account}/orders", body, self.key())

    def cancel(self, order: tuple[str, str]) -> Write:
        path, order_id = order
        return Write("order.cancelled", f"{path}/{order_id}/cancel", None, self.key())


def _must(answer: Answer | None, status: int) -> Answer:
    assert answer is not None, "no answer"
    assert answer.status in (status, 200), answer
    return answer


def exchange_of(write: Write, answer: Answer | None, sent_s: float, answered_s: float) -> Exchange:
    """One exchange in the words of the checker."""
    key = (write.path, write.key) if write.key else None
    if answer is None:
        return Exchange(write.what, sent_s, key=key)
    if answer.status >= 300:
        return Exchange(write.what, sent_s, answered_s, answer.status, key=key)
    words = answer.words
    is_replay = answer.headers.get("Idempotency-Replayed") == "true"
    return Exchange(
        what=write.what,
        sent_s=sent_s,
        answered_s=answered_s,
        status=answer.status,
        id=words["id"],
        offset=answer.offset,
        key=key,
        is_replay=is_replay,
        body=answer.body,
        words=words,
    )


class Load:
    """Threads that buy, sell, cancel and pay in, each over a connection of its own, until stopped."""

    def __init__(self, clients: Clients, port: int, accounts: Sequence[str], threads: int = 6) -> None:
        self.answered = threading.Event()
        self._is_over = threading.Event()
        self._clients, self._port, self._accounts = clients, port, accounts
        self._threads = [
            threading.Thread(target=self._run, args=(clients.seed + number,))
            for number in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        random = Random(seed)
        with Http(self._port, self._clients.place.token) as http_:
            while not self._is_over.is_set():
                if self._step(random, http_) is None:  # the process is gone: that was it for this life
                    break
                self.answered.set()

    def _step(self, random: Random, http_: Http) -> Answer | None:
        clients, account = self._clients, random.choice(self._accounts)
        chance = random.random()
        if chance < 0.1 and clients.orders:
            return clients.ask(http_, clients.cancel(random.choice(clients.orders[-20:])))
        if chance < 0.15:
            clients.deposit(http_, account, f"{random.randint(1, 99)}.50")
        if chance < 0.3:
            quantity = random.choice(("0.01", "0.50", "1.00", "20"))
            return clients.ask(http_, clients.sell(account, quantity))
        if chance < 0.35:
            return http_.ask("GET", f"/accounts/{account}/cash-balances")
        cash = random.choice(("100.00", "33.37", "250.00", "5001", "5002", "5003", "999999999"))
        return clients.ask(http_, clients.buy(account, cash))


def wait_until(what: str, is_so: Callable[[], bool], within_s: float) -> float:
    """Looks until it is so; how long it took. Raises TimeoutError."""
    began_s = monotonic()
    while not is_so():
        if monotonic() - began_s > within_s:
            raise TimeoutError(f"{what}: not within {within_s} s")
        sleep(LOOK_AGAIN_S)
    return monotonic() - began_s


def no_order_is_open(http_: Http, accounts: Sequence[str]) -> bool:
    """Whether every order of these accounts is in a terminal state, as the API tells."""
    for account in accounts:
        answer = http_.ask("GET", f"/accounts/{account}/pending-orders")
        if answer is None or answer.status != 200 or answer.words:
            return False
    return True


def views_are_current(place: Place) -> bool:
    """Whether every view has reached the end that the journal has now."""
    head = checker.head(place.journal_url)
    reached = invariants_views.reached(place.views_url)
    return all(reached.get(view) == head for view in invariants_views.VIEWS)


@contextlib.contextmanager
def serving(place: Place) -> Iterator[tuple[Served, Http]]:
    """A fresh place, served, and a connection with a token."""
    place.make_client()
    with Served(place) as served:
        place.token = token_of(served.port, place.credentials)
        with Http(served.port, place.token) as http_:
            yield served, http_
