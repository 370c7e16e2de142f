"""A live engine with a real counterparty, each of which dies at named points and is started again.

The counterparty's own book is the truth: in the end every order must stand as it stands there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from engine import installation
from engine.config.settings import read_settings
from tests.crash.points import IN_MAIN, OF_FIX, OF_VENUES, REPORTS_IN_MAIN, Trap
from tests.support.engines.prepared import install
from tests.support.servers.served import Http, Place, Served, token_of
from tests.support.servers.trapped import BROKER_POINTS, GATEWAY_POINTS

ROOT = Path(__file__).parents[2]
DIES_WITHIN_S, ENDS_WITHIN_S = 60, 120
SECRET = "whsec_" + "A" * 32
Trade = tuple[str, Decimal, Decimal]
"""(its id at the counterparty, units, price)"""


class Held(NamedTuple):
    """An order in the counterparty's book."""

    received: int
    trades: frozenset[Trade]


class Counterparty(ABC):
    """The processes of the other side. `engine_points` and `points` are where to die."""

    engine_points: Sequence[str]
    points: Sequence[str]
    venue: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[str]] = {}

    @abstractmethod
    def config(self) -> str:
        """The engine's setting `venues`."""

    @abstractmethod
    def start(self, point: str = "", times: int = 1, marker: str = "") -> None:
        """Starts what is not running, with a trap in it."""

    @abstractmethod
    def use(self, engine_url: str, credentials: tuple[str, str]) -> None:
        """Where the engine is from now on."""

    @abstractmethod
    def book(self) -> dict[str, Held]:
        """Our id of each order -> what became of it."""

    def process(self, name: str, *words: str, **env: str) -> str:
        """Starts a process; the first line of its output."""
        with (self.folder / f"{name}.stderr").open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=os.environ | env,
            )
        self.processes[name] = process
        assert process.stdout is not None
        return process.stdout.readline()

    def is_dead(self) -> bool:
        return any(process.poll() is not None for process in self.processes.values())

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        self.processes = {}


class Gateway(Counterparty):
    """The reference gateway and the made-up broker behind it."""

    venue = "acme"
    engine_points = (*OF_VENUES, *REPORTS_IN_MAIN, *IN_MAIN)
    points = (
        *(f"gateway {point}" for point in GATEWAY_POINTS),
        *(f"broker {point}" for point in BROKER_POINTS),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ports = {name: free_port() for name in ("gateway", "broker")}
        self.engine_url, self.credentials = "", ("", "")
        self.secret = folder / "secret"
        self.secret.touch(0o600)
        self.secret.write_text(SECRET)

    def config(self) -> str:
        return f'acme = "http,url=http://127.0.0.1:{self.ports["gateway"]},secret_file={self.secret}"'

    def use(self, engine_url: str, credentials: tuple[str, str]) -> None:
        self.engine_url, self.credentials = engine_url, credentials
        self.kill()

    def start(self, point: str = "", times: int = 1, marker: str = "") -> None:
        self.kill()
        script, _, point = point.partition(" ")
        trap = {script: f"{point}:{times}:{marker}"}
        run = "tests.support.servers.trapped"
        port = str(self.ports["broker"])
        book = str(self.folder / "broker.jsonl")
        words = ("broker", "--port", port, "--book", book, "--delay", "0.1")
        self.process("broker", run, trap.get("broker", "-"), *words)
        options = {
            "--port": str(self.ports["gateway"]),
            "--venue": "acme",
            "--book": str(self.folder / "gateway.jsonl"),
            "--broker": f"http://127.0.0.1:{port}",
            "--engine": self.engine_url,
        }
        said = [word for option in options.items() for word in option]
        client, secret = self.credentials
        env = {"GATEWAY_SECRET": SECRET, "GATEWAY_CLIENT": client, "GATEWAY_CLIENT_SECRET": secret}
        self.process("gateway", run, trap.get("gateway", "-"), "gateway", *said, **env)

    def book(self) -> dict[str, Held]:
        noted = [json.loads(line) for line in whole_lines(self.folder / "broker.jsonl")]
        received = [said["ref"] for what, said in noted if what == "order"]
        trades: dict[str, set[Trade]] = {ref: set() for ref in received}
        for what, said in noted:
            if what == "execution" and said["type"] == "fill":
                trade = said["id"], Decimal(said["units"]), Decimal(said["price"])
                trades[said["ref"]].add(trade)
        return {ref: Held(received.count(ref), frozenset(trades[ref])) for ref in received}


class Fix(Counterparty):
    """A FIX market; see `tests.support.fix.market`."""

    venue = "mkt"
    engine_points = (*OF_VENUES, *OF_FIX, *IN_MAIN)
    points = (
        "order received, not in the book", "order in the book, not answered",
        "report in the book, not sent", "report sent, not noted as sent",
        "cancel received, not in the book",
    )  # fmt: skip

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self.port, self.options = free_port(), options

    def config(self) -> str:
        return f'mkt = "fix,host=127.0.0.1,port={self.port},sender=US,target=MARKET"'

    def use(self, engine_url: str, credentials: tuple[str, str]) -> None:
        """It waits for the engine to call."""

    def start(self, point: str = "", times: int = 1, marker: str = "") -> None:
        self.kill()
        trap = [f"trap={point}:{times}:{marker}"] if point else []
        place = str(self.folder / "market")
        words = ("tests.support.fix.market", str(self.port), place, *trap, *self.options)
        assert self.process("market", *words) == "ready\n"

    def book(self) -> dict[str, Held]:
        noted = [json.loads(line) for line in whole_lines(self.folder / "market" / "market.jsonl")]
        received = [said["order"] for what, said in noted if what == "order"]
        trades: dict[str, dict[str, Trade]] = {order: {} for order in received}
        for what, said in noted:
            if what != "report":
                continue
            of = trades[said["order"]]
            if said["type"] in ("F", "G"):
                reference = f"{said['order']}/{said['id']}"
                of[said["id"]] = reference, Decimal(said["quantity"]), Decimal(said["price"])
            if said["type"] in ("H", "G"):
                del of[said["of"]]
        return {
            order: Held(received.count(order), frozenset(trades[order].values())) for order in received
        }


def whole_lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Trading:
    """An engine, its customers, and a counterparty."""

    def __init__(self, folder: Path, journal_url: str, counterparty: Counterparty) -> None:
        self.folder, self.counterparty = folder, counterparty
        config = folder / "engine.toml"
        config.write_text(f"[venues]\n{counterparty.config()}\n")
        self.place = Place(folder / "data", journal_url, options=("--live", "--config", str(config)))
        settings = read_settings(data=str(self.place.data), journal_url=journal_url, environ={})
        install(settings, "live")
        with contextlib.closing(installation.open_installation(settings)) as opened:
            scopes = ["read", "trade", "operate", "admin"]
            first, second = (opened.clients.create("tnt", scopes) for _ in range(2))
            of_venue = opened.clients.create("tnt", [f"venue:{counterparty.venue}"])
        self.credentials = first.client.id, first.secret
        self.other = second.client.id, second.secret
        self.of_venue = of_venue.client.id, of_venue.secret
        self.accounts: list[str] = []
        self.orders: list[tuple[str, str]] = []
        self.unanswered: list[tuple[str, str, object]] = []
        self.keys = 0
        self.served: Served
        self.http: Http

    def start(self, trap: Trap | None = None) -> None:
        self.place.traps = (trap,) if trap else ()
        self.served = Served(self.place)
        self.http = Http(self.served.port, token_of(self.served.port, self.credentials))
        self.counterparty.use(f"http://127.0.0.1:{self.served.port}", self.of_venue)

    def kill(self) -> None:
        self.http.close()
        self.served.kill()

    def set_up(self, accounts: int = 4) -> None:
        for symbol in ("BOND", "REST"):
            terms = {
                "name": symbol, "symbol": symbol, "instrument_type": "bond", "trading_currency": "USD",
                "settlement_days": 5,
            }  # fmt: skip
            self.must("PUT", f"/instruments/ins_{symbol.lower()}", terms)
        self.price()
        with Http(self.served.port, token_of(self.served.port, self.other)) as other:
            for number in range(accounts):
                words = {"name": f"account {number}", "base_currency": "USD"}
                account = self.must("POST", "/accounts", words)["id"]
                self.accounts.append(account)
                path = f"/accounts/{account}/deposits"
                deposit = self.must("POST", path, {"amount": "90000000.00", "currency": "USD"})["id"]
                answer = other.ask("POST", f"{path}/{deposit}/complete")
                assert answer is not None
                assert answer.status < 300, answer

    def price(self) -> None:
        """Posts prices of now, unless the engine has just died."""
        quotes = [{"symbol": symbol, "bid": "100", "ask": "100"} for symbol in ("BOND", "REST")]
        answer = self.http.ask("POST", "/prices", quotes)
        assert answer is None or answer.status == 201, answer

    def must(self, method: str, path: str, body: object = None) -> dict[str, object]:
        answer = self.http.ask(method, path, body)
        assert answer is not None, "no answer"
        assert answer.status < 300, answer
        return answer.words if answer.body else {}

    def write(self, path: str, body: object, key: str = "") -> None:
        """A write with a key; without an answer it is asked again in the next life."""
        self.keys += not key
        key = key or f"key-{self.keys}"
        answer = self.http.ask("POST", path, body, {"Idempotency-Key": key})
        if answer is None or answer.status >= 500:
            self.unanswered.append((path, key, body))
        elif path.endswith("/orders") and answer.status == 201:
            order = (path, str(answer.words["id"]))
            self.orders += [order] if order not in self.orders else []

    def trade(self, number: int) -> None:
        """One order, or now and then a cancel of one that rests."""
        account = self.accounts[number % len(self.accounts)]
        symbol = "rest" if number % 4 == 3 else "bond"
        body = {
            "instrument": f"ins_{symbol}", "order_type": "market", "side": "buy",
            "cash_amount": f"{100 + number % 7 * 50}.00",
        }  # fmt: skip
        self.write(f"/accounts/{account}/orders", body)
        if number % 4 == 0 and len(self.orders) > 2:
            path, order = self.orders[-2]
            self.write(f"{path}/{order}/cancel", None)

    def ask_again(self) -> None:
        left, self.unanswered = self.unanswered, []
        for path, key, body in left:
            self.write(path, body, key)

    def until_marked(self, marker: Path, number: int) -> int:
        """Orders until the trap has sprung; how many."""
        end_s, placed = monotonic() + DIES_WITHIN_S, 0
        while not marker.exists():
            assert monotonic() < end_s, f"it does not come to its point ({marker.name})"
            if placed < 60:
                self.trade(number + placed)
                placed += 1
            sleep(0.1 if placed < 12 else 0.3)
        return placed

    def engine_lives(self, lives: int) -> None:
        """The engine dies at each of its points in turn, as often as `lives`."""
        points, number = self.counterparty.engine_points, 0
        for life in range(lives):
            marker = self.folder / f"engine-{life}"
            self.start(Trap(points[life % len(points)], 1 + life // len(points) % 3, str(marker)))
            self.counterparty.start()
            self.price()
            self.ask_again()
            number += self.until_marked(marker, number)
            self.kill()

    def counterparty_lives(self, lives: int) -> None:
        """The counterparty dies at each of its points in turn; the engine lives on."""
        points, number = self.counterparty.points, 1_000
        self.start()
        for life in range(lives):
            marker = self.folder / f"counterparty-{life}"
            times = 1 + life // len(points) % 3
            self.counterparty.start(points[life % len(points)], times, str(marker))
            self.price()
            self.ask_again()
            number += self.until_marked(marker, number)
        self.kill()

    def end_well(self) -> None:
        """Both run without a trap until every order is over. Resting orders are cancelled."""
        self.start()
        self.counterparty.start()
        self.price()
        self.ask_again()
        end_s = monotonic() + ENDS_WITHIN_S
        left = set(self.orders)
        while left:
            assert monotonic() < end_s, [self.order(*one) for one in list(left)[:3]]
            for path, order in tuple(left):
                found = self.order(path, order)
                if found["status"] in ("filled", "settled", "cancelled"):
                    left.discard((path, order))
                elif found["is_cancellable"] and found["instrument"]["symbol"] == "REST":
                    self.write(f"{path}/{order}/cancel", None)
            sleep(0.2)

    def order(self, path: str, order: str) -> dict[str, object]:
        return self.must("GET", f"{path}/{order}")

    def differences(self) -> list[str]:
        """What the two books do not agree on."""
        book, found = self.counterparty.book(), []
        for path, order in self.orders:
            ours, theirs = self.order(path, order), book.get(order)
            trades = frozenset(
                (one["execution_reference"], Decimal(one["quantity"]), Decimal(one["price"]))
                for one in ours["trades"]  # type: ignore[attr-defined]
                if one["status"] != "busted"
            )
            if theirs is None:
                found += [f"{order}: {ours['status']} here, unknown there"] if trades else []
            elif theirs.received != 1 or theirs.trades != trades:
                found.append(f"{order}: {ours['status']} with {trades} here, {theirs} there")
        found += [
            f"{order}: known there only" for order in book.keys() - {one for _, one in self.orders}
        ]
        parked = self.must("GET", "/parked-reports")
        return [*found, *(f"parked: {one}" for one in parked)]
