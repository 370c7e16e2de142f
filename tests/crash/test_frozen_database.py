"""PostgreSQL stands still for 20 s, or restarts, under a whole engine with clients."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support.servers.postgres import PostgresServer
from tests.support.servers.served import Answer, Clients, Http, Place, Served, token_of

pytestmark = pytest.mark.full
FROZEN_S = 20.0
REQUEST_S_MAX = 10.0
HEALTH_S_MAX = 1.0
RECOVERY_S_MAX = 5.0
CLIENTS = 24
"""More than the API has threads for the database."""


class Asked(NamedTuple):
    """An answer, and how long it took."""

    answer: Answer | None
    took_s: float


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def asked(port: int, token: str, *words: Any) -> Asked:
    began_s = monotonic()
    with Http(port, token) as http:
        answer = http.ask(*words)
    return Asked(answer, monotonic() - began_s)


class Shop:
    """An engine with an account, and what is asked of it."""

    def __init__(self, served: Served, place: Place) -> None:
        self.port, self.token = served.port, token_of(served.port, place.credentials)
        self.clients = Clients(place, 0)
        self.sent: dict[str, str] = {}
        self.journal_url = place.journal_url
        with Http(self.port, self.token) as http:
            self.account, *self.others = self.clients.set_up(http, CLIENTS + 1)

    def ask(self, *words: Any) -> Asked:
        return asked(self.port, self.token, *words)

    def buy(self, key: str, account: str = "") -> Asked:
        """A client sends the same key again until it has an answer."""
        account = account or self.account
        self.sent[key] = account
        write = self.clients.buy(account, "10.00", key)
        return self.ask("POST", write.path, write.body, {"Idempotency-Key": key})

    def look(self) -> Asked:
        return self.ask("GET", f"/accounts/{self.account}")

    def filled_after_s(self, key: str) -> float:
        """Seconds from now until a new order is placed and filled."""
        began_s, pause = monotonic(), threading.Event()
        while True:
            done = self.buy(key)
            if done.answer is not None and done.answer.status == 201:
                break
            assert monotonic() < began_s + 60, done
            pause.wait(0.05)
        path = f"/accounts/{self.account}/orders/{done.answer.words['id']}"
        while not self._is_filled(path):
            assert monotonic() < began_s + 60
            pause.wait(0.05)
        return monotonic() - began_s

    def _is_filled(self, path: str) -> bool:
        answer = self.ask("GET", path).answer
        return answer is not None and answer.words.get("status") in {"filled", "settled"}


def look_at_health(port: int, until: threading.Event) -> list[Asked]:
    found = []
    while not until.wait(0.5):
        found += [asked(port, "", "GET", path) for path in ("/health/ready", "/health/live")]
    return found


def go_on(ask: Any, until: threading.Event) -> list[Asked]:
    found: list[Asked] = []
    while not until.is_set():
        found.append(ask(len(found)))
        until.wait(0.05)
    return found


def test_nobody_waits_for_a_frozen_database(server: PostgresServer, tmp_path: Path) -> None:
    """A request ends within 10 s, health within 1 s; orders are filled 5 s after the thaw."""
    place = Place(tmp_path / "data", server.create_database())
    place.make_client()
    with Served(place) as served:
        shop = Shop(served, place)
        shop.filled_after_s("warm")
        over = threading.Event()
        with ThreadPoolExecutor(CLIENTS + 1) as threads:
            with server.frozen():
                health = threads.submit(look_at_health, shop.port, over)
                asking: list[Future[list[Asked]]] = [
                    threads.submit(
                        go_on,
                        (lambda n, i=number: shop.buy(f"frozen-{i}-{n}", shop.others[i]))
                        if number % 2
                        else (lambda _: shop.look()),
                        over,
                    )
                    for number in range(CLIENTS)
                ]
                threading.Event().wait(FROZEN_S)
            try:
                took_s = shop.filled_after_s("after")
            finally:
                over.set()
            probes = health.result()
            answers = [one for each in asking for one in each.result()]
        statuses = sorted({one.answer.status if one.answer else None for one in answers}, key=str)
        longest_s = max(one.took_s for one in answers)
        health_s = max(one.took_s for one in probes)
        print(
            f"{len(answers)} answers, {statuses}; the longest {longest_s:.1f} s, health {health_s:.2f} s"
        )
        print(f"an order is filled {took_s:.1f} s after the database is back")
        assert set(statuses) <= {200, 201, 503}
        assert longest_s < REQUEST_S_MAX
        assert health_s < HEALTH_S_MAX
        assert took_s < RECOVERY_S_MAX
        _every_order_is_there_once(shop)
        served.stop()


def test_all_work_5_s_after_a_restart_of_the_database(server: PostgresServer, tmp_path: Path) -> None:
    place = Place(tmp_path / "data", server.create_database())
    place.make_client()
    with Served(place) as served:
        shop = Shop(served, place)
        shop.filled_after_s("warm")
        for number, how in enumerate((signal.SIGQUIT, signal.SIGINT)):
            server.stop(how)
            threading.Event().wait(15)
            server.start()
            took_s = shop.filled_after_s(f"after-{number}")
            statuses = [shop.look().answer.status for _ in range(40)]  # type: ignore[union-attr]
            ready = asked(shop.port, "", "GET", "/health/ready").answer
            print(f"{how.name}: an order is filled {took_s:.1f} s after the database is back")
            assert took_s < RECOVERY_S_MAX
            assert set(statuses) == {200}
            assert ready is not None
        assert "the process ended" not in served.errors()
        served.stop()


def _every_order_is_there_once(shop: Shop) -> None:
    """Sent again with its key each is answered with its own order, whether it was known or not."""
    orders = set()
    for key, account in sorted(shop.sent.items()):
        answer = shop.buy(key, account).answer
        assert answer is not None
        assert answer.status == 201, answer
        orders.add(answer.words["id"])
    assert len(orders) == len(shop.sent)
    with psycopg.connect(shop.journal_url) as connection:
        row = connection.execute(
            "SELECT count(DISTINCT stream) FROM journal WHERE stream LIKE 'ord_%'"
        ).fetchone()
    assert row == (len(orders),)
