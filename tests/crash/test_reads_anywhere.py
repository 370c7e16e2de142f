"""What one process has answered, every other shows at once, to clients that it has never seen.

Real processes on one journal. Each write goes to one of them; then fresh clients of all others ask for
it by every GET that could show it: single things bare, lists with `Min-Journal-Offset`. The figures of
the large run are in docs/results/reads.md.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any, NamedTuple

import pytest

from engine import installation
from engine.config.settings import read_settings
from tests.crash.points import VIEWS_ALONE, Trap
from tests.support.servers.postgres import GivenServer, PostgresServer
from tests.support.servers.served import Answer, Http, Place, Served, token_of, wait_until

WRITERS = 4
FILLED_WITHIN_S = 20.0
STALE, LIVE = "ins_stale", "ins_live"
"""Orders of the one wait for a fresh price for ever, those of the other are filled at once."""


class Sight(NamedTuple):
    """Where a write is to be seen, and whether what is there shows it. `is_gone`: 404 shows it.

    `after` is the offset that is asked for; None: nothing is said, as of every single thing.
    """

    path: str
    shows: Callable[[Any], bool]
    after: int | None = None
    is_gone: bool = False


def exactly(path: str, words: Any) -> Sight:
    return Sight(path, lambda found: bool(found == words))


def no_older(path: str, words: Any) -> Sight:
    """The venue may have moved it on since."""
    return Sight(path, lambda found: bool(found["modified_at"] >= words["modified_at"]))


def listed(path: str, id_: str, after: int) -> Sight:
    return Sight(path, lambda found: any(row["id"] == id_ for row in found), after)


@dataclass
class Sightings:
    """What all reads together have shown."""

    writes: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    behind: int = 0
    denied: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def take(self, sight: Sight, answer: Answer | None, what: str) -> None:
        """Notes an answer. A list that says that it is behind says nothing untrue."""
        with self._lock:
            self.reads += 1
            if answer is not None and answer.status == 404 and not sight.is_gone:
                self.denied.append(f"{what}: {sight.path}")
            elif answer is not None and answer.status == 503 and sight.after is not None:
                self.behind += 1
            elif answer is None or not self._is_right(sight, answer):
                self.wrong.append(
                    f"{what}: {sight.path}: {answer and (answer.status, answer.body[:600])}"
                )

    @staticmethod
    def _is_right(sight: Sight, answer: Answer) -> bool:
        if sight.is_gone:
            return answer.status == 404
        if answer.status != 200:
            return False
        is_json = answer.headers["Content-Type"].startswith("application/json")
        return sight.shows(answer.words if is_json else answer.body.decode())


@dataclass
class House:
    """Processes on one journal, and clients that none of them has seen yet."""

    place: Place
    ports: Sequence[int]
    fresh: Iterator[tuple[str, str]]
    sightings: Sightings = field(default_factory=Sightings)
    _lock: Lock = field(default_factory=Lock)

    def stranger(self, port: int) -> Http:
        """A connection of a fresh client."""
        with self._lock:
            credentials = next(self.fresh)
        return Http(port, token_of(port, credentials))


class Writer:
    """One that writes to one process after another, and knows what has to be seen of it."""

    def __init__(self, house: House, seed: int, number: int) -> None:
        self.house, self.random, self.number = house, Random(seed), number
        self.own: list[Http] = []
        self.count = 0
        self.account = self.reference = self.live = ""
        self.total = self.reserved = Decimal("0.00")
        self.known: Any = None
        self.deposits: list[Any] = []
        self.withdrawals: list[tuple[str, Decimal]] = []
        self.orders: list[tuple[Any, Decimal]] = []
        self.webhook = ""

    def run(self, writes: int) -> None:
        """Writes, and has each write looked for everywhere else."""
        ways = (
            self.open_live, self.rename, self.announce, self.complete, self.fail, self.buy, self.cancel,
            self.buy_live, self.ask_back, self.end_withdrawal, self.list_, self.quote, self.hook,
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            self.own = [
                stack.enter_context(Http(port, self.house.place.token)) for port in self.house.ports
            ]
            for way in (self.open, self.announce, self.complete):
                self.write(way)
            for _ in range(writes - 3):
                self.write(self.random.choice(ways))

    def write(self, way: Callable[[], list[Sight]]) -> None:
        self.count += 1
        port = self.random.randrange(len(self.own))
        self.ask = self.own[port].ask
        with contextlib.ExitStack() as stack:
            ports = [one for one in self.house.ports if one != self.house.ports[port]]
            others = [stack.enter_context(self.house.stranger(one)) for one in ports]
            sights = way()
            what = f"writer {self.number}, write {self.count}, {way.__name__}"
            self.house.sightings.writes[way.__name__] += 1
            for other in self.random.sample(others, len(others)):
                self.look(other, sights, what)

    def look(self, other: Http, sights: Sequence[Sight], what: str) -> None:
        for sight in sights:
            headers = {} if sight.after is None else {"Min-Journal-Offset": str(sight.after)}
            self.house.sightings.take(sight, other.ask("GET", sight.path, headers=headers), what)

    def do(self, method: str, path: str, body: Any = None) -> tuple[Any, int]:
        """What is answered, which must be no refusal, and the offset that it shows."""
        answer = self.ask(method, path, body)
        assert answer is not None, (path, body)
        assert answer.status in {200, 201, 202}, (path, body, answer)
        return answer.words, answer.offset or int(answer.headers.get("View-Offset", 0))

    # --- accounts ---------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return f"/accounts/{self.account}"

    def cash(self) -> Sight:
        """The balances as they must be; what is reserved too."""
        free = self.total - self.reserved
        words = {"currency": "USD", "total": str(self.total), "available_for_trading": str(free),
                 "available_for_withdrawal": str(free), "reserved": str(self.reserved)}  # fmt: skip
        return exactly(f"{self.path}/cash-balances", [words])

    def open(self) -> list[Sight]:
        self.reference = f"ref-{self.number}-{self.count}"
        body = {"name": "Ada", "base_currency": "USD", "reference": self.reference}
        words, offset = self.do("POST", "/accounts", body)
        self.known = words
        self.account, self.total, self.reserved = words["id"], Decimal("0.00"), Decimal("0.00")
        self.deposits, self.withdrawals, self.orders = [], [], []
        return [exactly(self.path, words), exactly(f"/accounts/{self.reference}", words), self.cash(),
                listed("/accounts?limit=500", self.account, offset)]  # fmt: skip

    def open_live(self) -> list[Sight]:
        """Another account, with cash, whose orders are executed."""
        words, _ = self.do("POST", "/accounts", {"name": "Live", "base_currency": "USD"})
        self.live = words["id"]
        path = f"/accounts/{self.live}/deposits"
        deposit, _ = self.do("POST", path, {"amount": "1000.00", "currency": "USD"})
        done, _ = self.do("POST", f"{path}/{deposit['id']}/complete")
        return [exactly(f"/accounts/{self.live}", words), exactly(f"{path}/{deposit['id']}", done)]

    def rename(self) -> list[Sight]:
        self.reference = f"ref-{self.number}-{self.count}"
        body = {"name": f"Ada {self.count}", "reference": self.reference,
                "can_place_sell_order": bool(self.count % 2)}  # fmt: skip
        self.known, _ = self.do("PATCH", self.path, body)
        return self.itself()

    def itself(self) -> list[Sight]:
        return [exactly(self.path, self.known), exactly(f"/accounts/{self.reference}", self.known)]

    def all_there_is(self) -> list[Sight]:
        """What has to be seen of the account whatever happens to the processes."""
        ids = {order["id"] for order, _ in self.orders}
        pending = Sight(
            f"{self.path}/pending-orders?limit=500",
            lambda rows: {row["id"] for row in rows} == ids,
            after=0,
        )
        orders = [no_older(f"{self.path}/orders/{order['id']}", order) for order, _ in self.orders]
        deposits = [exactly(f"{self.path}/deposits/{one['id']}", one) for one in self.deposits]
        return [*self.itself(), self.cash(), *orders, *deposits, pending]

    # --- payments ---------------------------------------------------------------------------------

    def announce(self) -> list[Sight]:
        body = {"amount": "1000.00", "currency": "USD", "payment_reference": f"pay {self.count}"}
        words, offset = self.do("POST", f"{self.path}/deposits", body)
        self.deposits.append(words)
        return [exactly(f"{self.path}/deposits/{words['id']}", words), self.cash(),
                listed(f"{self.path}/deposits", words["id"], offset)]  # fmt: skip

    def complete(self) -> list[Sight]:
        if not self.deposits:
            return self.announce()
        deposit = self.deposits.pop()["id"]
        words, offset = self.do("POST", f"{self.path}/deposits/{deposit}/complete")
        self.total += Decimal("1000.00")
        ledger = Sight(
            f"{self.path}/transactions", lambda rows: bool(rows[0]["reference"] == deposit), offset
        )
        return [exactly(f"{self.path}/deposits/{deposit}", words), self.cash(), ledger]

    def fail(self) -> list[Sight]:
        if not self.deposits:
            return self.announce()
        deposit = self.deposits.pop()["id"]
        words, _ = self.do("POST", f"{self.path}/deposits/{deposit}/fail")
        return [exactly(f"{self.path}/deposits/{deposit}", words), self.cash()]

    def ask_back(self) -> list[Sight]:
        amount = Decimal(self.random.randrange(1, 200)) / 100
        if self.total - self.reserved < amount:
            return self.announce()
        words, _ = self.do(
            "POST", f"{self.path}/withdrawals", {"amount": str(amount), "currency": "USD"}
        )
        self.reserved += amount
        self.withdrawals.append((words["id"], amount))
        return [exactly(f"{self.path}/withdrawals/{words['id']}", words), self.cash()]

    def end_withdrawal(self) -> list[Sight]:
        if not self.withdrawals:
            return self.ask_back()
        withdrawal, amount = self.withdrawals.pop()
        end = self.random.choice(("complete", "fail"))
        words, _ = self.do("POST", f"{self.path}/withdrawals/{withdrawal}/{end}")
        self.reserved -= amount
        self.total -= amount if end == "complete" else 0
        return [exactly(f"{self.path}/withdrawals/{withdrawal}", words), self.cash()]

    # --- orders -----------------------------------------------------------------------------------

    def buy(self) -> list[Sight]:
        amount = Decimal(self.random.randrange(1000, 3000)) / 100
        if self.total - self.reserved < amount:
            return self.announce()
        body = {"instrument": STALE, "order_type": "market", "side": "buy", "cash_amount": str(amount),
                "client_reference": f"mine {self.count}"}  # fmt: skip
        words, offset = self.do("POST", f"{self.path}/orders", body)
        order = words["id"]
        self.reserved += amount
        self.orders.append((words, amount))
        path = f"{self.path}/orders/{order}"
        stream = f"/events/stream?follow=false&after={offset - 1}&resource[id]={order}"
        told = Sight(stream, lambda text: '"order.placed"' in text and '"caught_up"' in text)
        return [no_older(path, words), self.cash(), Sight(f"{path}/history", bool), told,
                listed(f"{self.path}/orders?client_reference=mine%20{self.count}", order, offset),
                listed(f"{self.path}/pending-orders?limit=500", order, offset),
                Sight(f"/events?resource[id]={order}", bool, offset),
                self.event_of(order)]  # fmt: skip

    def event_of(self, order: str) -> Sight:
        """The order's first event, which this process shows by now."""
        events, _ = self.do("GET", f"/events?resource[id]={order}")
        return exactly(f"/events/{events[-1]['id']}", events[-1])

    def cancel(self) -> list[Sight]:
        if not self.orders:
            return self.buy()
        placed, amount = self.orders.pop()
        order = placed["id"]
        words, offset = self.do("POST", f"{self.path}/orders/{order}/cancel")
        assert words["status"] == "cancelled", words
        self.reserved -= amount
        gone = Sight(
            f"{self.path}/pending-orders?limit=500",
            lambda rows: all(row["id"] != order for row in rows),
            offset,
        )
        return [exactly(f"{self.path}/orders/{order}", words), self.cash(), gone]

    def buy_live(self) -> list[Sight]:
        """Seen once the venue has executed it, as soon as this process shows that."""
        if not self.live:
            return self.open_live()
        body = {"instrument": LIVE, "order_type": "market", "side": "buy", "cash_amount": "10.00"}
        words, _ = self.do("POST", f"/accounts/{self.live}/orders", body)
        path, filled = f"/accounts/{self.live}/orders/{words['id']}", words

        def is_filled() -> bool:
            nonlocal filled
            filled, _ = self.do("GET", path)
            return bool(filled["status"] in {"filled", "settled"})

        wait_until("filled", is_filled, FILLED_WITHIN_S)
        cash, _ = self.do("GET", f"/accounts/{self.live}/cash-balances")
        position = f"/accounts/{self.live}/positions/{filled['position']}"
        held, offset = self.do("GET", position)
        return [no_older(path, filled), no_older(position, held),
                Sight(f"/accounts/{self.live}/cash-balances",
                      lambda rows: bool(rows[0]["total"] == cash[0]["total"])),
                listed(f"/accounts/{self.live}/positions", held["id"], offset)]  # fmt: skip

    # --- the rest ---------------------------------------------------------------------------------

    def list_(self) -> list[Sight]:
        """An instrument, new or under another symbol."""
        instrument, symbol = f"ins_w{self.number}", f"W{self.number}.{self.count}"
        words, offset = self.do("PUT", f"/instruments/{instrument}", terms(symbol))
        return [exactly(f"/instruments/{instrument}", words), exactly(f"/instruments/{symbol}", words),
                listed("/instruments?limit=500", instrument, offset)]  # fmt: skip

    def quote(self) -> list[Sight]:
        symbol = f"Q{self.number}"
        self.do("PUT", f"/instruments/ins_q{self.number}", terms(symbol))
        bid = f"100.{self.count % 100:02}"
        words, _ = self.do("POST", "/prices", [{"symbol": symbol, "bid": bid, "ask": "101"}])
        return [exactly(f"/prices?symbol={symbol}", words)]

    def hook(self) -> list[Sight]:
        """A new webhook, or the end of the last one."""
        if self.webhook:
            path, self.webhook = f"/webhooks/{self.webhook}", ""
            self.do("DELETE", path)
            return [Sight(path, bool, is_gone=True)]
        url = f"https://receiver.example/{self.number}/{self.count}"
        words, _ = self.do("POST", "/webhooks", {"url": url})
        words.pop("secret")
        self.webhook = words["id"]
        return [exactly(f"/webhooks/{self.webhook}", words), listed("/webhooks", self.webhook, 0)]


def terms(symbol: str) -> dict[str, Any]:
    return {"name": symbol, "symbol": symbol, "instrument_type": "bond", "trading_currency": "USD",
            "settlement_days": 1}  # fmt: skip


def furnish(http_: Http) -> None:
    """Two instruments: one whose price is a month old, and one that trades."""
    for instrument, words in ((STALE, {"timestamp": "2026-01-02T10:00:00Z"}), (LIVE, {})):
        made = http_.ask("PUT", f"/instruments/{instrument}", terms(instrument))
        quote = {"symbol": instrument, "bid": "100", "ask": "100", **words}
        priced = http_.ask("POST", "/prices", [quote])
        assert made is not None, instrument
        assert priced is not None, instrument
        assert (made.status, priced.status) == (201, 201), (made, priced)


def strangers(place: Place, count: int) -> Iterator[tuple[str, str]]:
    """Clients that no process has answered yet, all of one tenant."""
    settings = read_settings(data=str(place.data), journal_url=place.journal_url, environ={})
    with contextlib.closing(installation.open_installation(settings)) as opened:
        made = [opened.clients.create("tnt", ["read", "operate", "admin"]) for _ in range(count)]
    return iter([(one.client.id, one.secret) for one in made])


def read_everywhere(place: Place, seed: int, processes: int, writes: int) -> Sightings:
    """Writes and reads, then a hard end of all processes, and what one alone shows right afterwards."""
    fresh = strangers(place, (writes + WRITERS) * (processes - 1) + WRITERS)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Served(place))
        lone = replace(place, options=("--sandbox", "--roles", "api"))
        rest = [stack.enter_context(Served(lone)) for _ in range(processes - 1)]
        place.token = token_of(first.port, place.credentials)
        with Http(first.port, place.token) as http_:
            furnish(http_)
        house = House(place, [one.port for one in (first, *rest)], fresh)
        writers = [Writer(house, seed + number, number) for number in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(lambda one: one.run(writes // WRITERS), writers))
        for one in (first, *rest):
            one.kill()
        again = stack.enter_context(Served(lone))
        for writer in writers:
            with house.stranger(again.port) as other:
                writer.look(other, writer.all_there_is(), f"writer {writer.number}, after the end")
    told = house.sightings
    print(
        f"{place.journal_url[:6]}, seed {seed}: {processes} processes, {told.writes.total()} writes,"
        f" {told.reads} reads: {len(told.wrong)} wrong, {len(told.denied)} falsely not found,"
        f" {told.behind} lists behind"
    )
    return told


@pytest.fixture
def seed() -> int:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return seed


Server = PostgresServer | GivenServer


def places(tmp_path: Path, server: Server, name: str) -> list[Place]:
    """A new place on each database, one after the other: alembic is for one thread at a time."""
    folder = tmp_path / name
    folder.mkdir()
    urls = {"sqlite": f"sqlite:///{folder}/journal.db", "postgresql": server.create_database()}
    made = [Place(folder / database, url) for database, url in urls.items()]
    for place in made:
        place.make_client()
    return made


@pytest.mark.parametrize(
    ("writes", "sizes"),
    [(32, [(2, 3)]), pytest.param(2_000, [(2, 2), (3, 3)], marks=pytest.mark.torture)],
    ids=["32-writes", "2000-writes"],
)
def test_a_write_is_seen_everywhere_at_once(
    tmp_path: Path, postgres_server: Server, seed: int, writes: int, sizes: Sequence[tuple[int, int]]
) -> None:
    """On both databases at the same time; `sizes` are the numbers of their processes."""
    for processes in sizes:
        two = places(tmp_path, postgres_server, f"of-{processes}")
        with ThreadPoolExecutor(2) as threads:
            run = partial(read_everywhere, writes=writes)
            found = list(threads.map(run, two, (seed, seed + WRITERS), processes))
        for told in found:
            assert (told.wrong, told.denied) == ([], [])
            assert told.writes.total() == writes
            assert told.behind <= WRITERS + told.reads // 100, "after the end nothing moves views on"


def test_a_build_that_reads_views_alone_is_noticed(tmp_path: Path, sqlite_url: str, seed: int) -> None:
    """The control."""
    place = Place(tmp_path / "data", sqlite_url, traps=[Trap(VIEWS_ALONE, 0, "")])
    place.make_client()
    told = read_everywhere(place, seed, processes=2, writes=16)
    assert told.denied
    assert told.wrong
