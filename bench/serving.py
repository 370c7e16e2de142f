"""Servers as real processes, and the calls that make them ready: shared by the benchmarks over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import psutil

from bench.load import Target
from engine.config.settings import read_settings
from engine.installation import migrate

READY_WAIT_S: Final = 30
STOP_WAIT_S: Final = 15
"""More than the engine promises for either: 5 s and 10 s."""
SCOPES: Final = ("read", "trade", "operate", "admin")
INSTRUMENT: Final = "ins_bench"
PRICE: Final = {"bid": "99.90", "ask": "100.00"}


class Server(NamedTuple):
    """A running server on 127.0.0.1."""

    port: int
    pid: int


@contextlib.contextmanager
def serving(
    module: str, *options: str, log: Path, cpus: Sequence[int] = (), folder: Path | None = None
) -> Iterator[Server]:
    """Runs `python -m module OPTIONS`, which prints its port as JSON, until the block ends.

    `cpus`: the only ones it and its children may use; none given: any. `folder`: the checkout whose code
    is run, None for this one. Raises SystemExit,
    with the end of what it logged, when it does not start or has died before the end.
    """
    command = [sys.executable, "-m", module, *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=_environment(), cwd=folder
        )
    try:
        if cpus:
            psutil.Process(process.pid).cpu_affinity(list(cpus))  # long before it starts threads
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(b"{"):
            raise SystemExit(f"{module} did not start")
        yield Server(json.loads(line)["port"], process.pid)
        if process.poll() is not None:
            raise SystemExit(f"{module} died with {process.returncode}")
    except BaseException:
        print(_tail(log), file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _environment() -> dict[str, str]:
    """Rates are counted as always, and no request is refused: one client sends what 10 000 would."""
    return {"ORDER_ENGINE_RATE_CLIENT": "100000000/60"} | os.environ


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]


class Caller:
    """One connection for the calls around a measurement; any answer but 2xx ends the benchmark."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=READY_WAIT_S)
        self.headers: dict[str, str] = {}

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        """The answer, parsed. A dict or list is sent as JSON, bytes as a form."""
        kind = "application/x-www-form-urlencoded" if isinstance(body, bytes) else "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.headers | ({"Content-Type": kind} if data is not None else {})
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if not 200 <= answer.status < 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def new_client(
    data: Path, *where: str, folder: Path | None = None, scopes: Sequence[str] = SCOPES
) -> dict[str, str]:
    """A client of the engine, made by the command line on the data directory.

    `where` are options that say where its journal is; `folder` see `serving`.
    """
    given = [word for scope in scopes for word in ("--scope", scope)]
    migrate(read_settings(data=str(data), environ={}), "sandbox")
    command = [sys.executable, "-m", "order_engine", "client", "create"]
    options = ["--data", str(data), "--tenant", "bench", *given, "--json"]
    command += [*options, *where]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"client create failed:\n{done.stderr[-2000:]}")
    client: dict[str, str] = json.loads(done.stdout)
    return client


def authorize(call: Caller, client: dict[str, str]) -> None:
    """Puts a fresh token (15 minutes) into the caller's headers."""
    call.headers.pop("Authorization", None)
    form = urlencode({"grant_type": "client_credentials", **client}).encode()
    call.headers["Authorization"] = f"Bearer {call('POST', '/auth/token', form)['access_token']}"


def furnish(call: Caller, accounts: int, settlement_days: int) -> list[str]:
    """Lists and prices the instrument INSTRUMENT; opens accounts with ample cash. Returns their ids."""
    instrument = {
        "name": "Bench",
        "symbol": INSTRUMENT,
        "instrument_type": "stock",
        "trading_currency": "USD",
        "issuer_country": "US",
        "settlement_days": settlement_days,
    }
    call("PUT", f"/instruments/{INSTRUMENT}", instrument)
    call("POST", "/prices", [{"symbol": INSTRUMENT, **PRICE}])
    ids = []
    for number in range(accounts):
        account = call("POST", "/accounts", {"name": f"Bench {number}", "base_currency": "USD"})["id"]
        deposits = f"/accounts/{account}/deposits"
        deposit = call("POST", deposits, {"amount": "900000000.00", "currency": "USD"})
        if deposit["status"] != "completed":
            call("POST", f"{deposits}/{deposit['id']}/complete")
        ids.append(account)
    return ids


def buys(accounts: Sequence[str], headers: dict[str, str]) -> list[Target]:
    """One small market buy for each account, as bytes around its idempotency key."""
    new_order = {
        "instrument": INSTRUMENT,
        "order_type": "market",
        "side": "buy",
        "cash_amount": "100.00",
    }
    body = json.dumps(new_order)
    common = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**common, **headers}.items())
    after = f"\r\n\r\n{body}"
    return [
        Target(f"POST /accounts/{account}/orders HTTP/1.1\r\n{lines}Idempotency-Key: ", after)
        for account in accounts
    ]
