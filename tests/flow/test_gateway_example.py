"""The whole loop as real processes, on a live journal: engine, reference gateway, made-up broker.

The gateway is not there at first; it and the engine are killed on the way. Each order is with the broker
once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from engine import installation
from engine.config.settings import read_settings
from order_engine_client import Client, NewPrice
from tests.support.engines.prepared import install
from tests.support.servers.served import Place, Served

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway"
SECRET = "whsec_" + "A" * 32
BOND = "ins_bond"
WITHIN_S = 40


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(holds: Callable[[], bool]) -> None:
    end_s = monotonic() + WITHIN_S
    while not holds():
        assert monotonic() < end_s, "it does not come to that"
        sleep(0.05)


class Loop:
    """The three processes, and the engine's client."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.gateway_port = free_port()
        self.broker_port = self._start("broker.py", "--port", "0", "--delay", "0.2")
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        config = folder / "engine.toml"
        url = f"http://127.0.0.1:{self.gateway_port}"
        config.write_text(f'[venues]\nacme = "http,url={url},secret_file={secret}"\n')
        place = Place(
            folder / "data",
            f"sqlite:///{folder}/journal.db",
            options=("--live", "--config", str(config)),
        )
        settings = read_settings(data=str(place.data), journal_url=place.journal_url, environ={})
        install(settings, "live")
        with contextlib.closing(installation.open_installation(settings)) as opened:
            venue = opened.clients.create("tnt", ["venue:acme"])
            first, second = (
                opened.clients.create("tnt", ["read", "trade", "operate", "admin"]) for _ in range(2)
            )
        self.credentials = {"GATEWAY_CLIENT": venue.client.id, "GATEWAY_CLIENT_SECRET": venue.secret}
        self.place, self.clients = place, (first, second)
        self.start_engine()
        self.gateway: subprocess.Popen[bytes]

    def _start(self, script: str, *words: str, **env: str) -> int:
        process = subprocess.Popen(
            [
                sys.executable,
                str(EXAMPLE / script),
                "--book",
                str(self.folder / f"{script}.jsonl"),
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | env,
        )
        self.gateway = process
        assert process.stdout is not None
        self.stack.callback(process.stdout.close)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return int(json.loads(process.stdout.readline())["port"])

    def start_engine(self) -> None:
        self.served = Served(self.place)
        self.stack.callback(self.served.kill)
        self.engine = f"http://127.0.0.1:{self.served.port}"
        self.client, self.other = (
            self.stack.enter_context(Client(self.engine, made.client.id, made.secret))
            for made in self.clients
        )

    def start_gateway(self) -> None:
        options = {
            "--port": str(self.gateway_port),
            "--venue": "acme",
            "--broker": f"http://127.0.0.1:{self.broker_port}",
            "--engine": self.engine,
        }
        words = [word for option in options.items() for word in option]
        self._start("gateway.py", *words, GATEWAY_SECRET=SECRET, **self.credentials)

    def restart_gateway(self) -> None:
        """As a crash would."""
        self.gateway.kill()
        self.gateway.wait()
        self.start_gateway()

    def at_the_broker(self) -> list[str]:
        """Our id of each order in the broker's book."""
        lines = (self.folder / "broker.py.jsonl").read_text().splitlines()
        return [said["ref"] for what, said in map(json.loads, lines) if what == "order"]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with contextlib.ExitStack() as stack:
        yield Loop(tmp_path, stack)


def test_orders_go_round_once_although_gateway_and_engine_die(loop: Loop) -> None:
    client = loop.client
    client.put_instrument(
        BOND, name="Bond A", symbol="KE2024A", instrument_type="bond", trading_currency="USD"
    )
    client.put_prices(NewPrice("KE2024A", 100, "100.00"))
    account = client.open_account("Ada", "USD").id
    loop.other.complete_deposit(account, client.create_deposit(account, "1000.00", "USD").id)

    first = client.buy(account, BOND, "100.00").id
    until(lambda: client.order(account, first).status == "executing")
    loop.start_gateway()
    until(lambda: client.order(account, first).status == "filled")
    second = client.buy(account, BOND, "200.00").id
    until(lambda: second in (loop.folder / "gateway.py.jsonl").read_text())
    loop.restart_gateway()
    until(lambda: client.order(account, second).status == "filled")

    third = client.buy(account, BOND, "300.00").id
    until(lambda: client.order(account, third).status == "executing")
    loop.served.kill()
    loop.start_engine()  # on another port
    loop.restart_gateway()
    client = loop.client
    until(lambda: client.order(account, third).status == "filled")

    assert loop.at_the_broker() == [first, second, third]
    for order, units in ((first, "0.99"), (second, "1.99"), (third, "2.98")):
        (trade,) = client.order(account, order).trades
        assert (str(trade.quantity), str(trade.price)) == (units, "100.00000000")
    assert list(client.parked_reports()) == []
