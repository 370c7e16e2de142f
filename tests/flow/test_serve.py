"""`order-engine serve` as real processes: how it starts, what runs, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from engine.config.settings import Settings, read_settings
from engine.followers.follow import Watch
from engine.installation import migrate, open_installation, open_journal_datastore
from engine.registers.clients import SCOPES
from engine.sandbox.sandbox import TENANT
from order_engine import serve
from tests.support.engines.sandboxes import readable
from tests.support.servers.command import COMMAND, PASSWORD, ROOT, check_discreet, environment, run

WITHIN_S = 40.0
FOLLOWERS = ("execution", "settlement", "webhooks")


def wait_until(is_so: Callable[[], object], what: str) -> Any:
    """What `is_so` answers once it is true."""
    deadline, pause = time.monotonic() + WITHIN_S, threading.Event()
    while not (answer := is_so()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        pause.wait(0.02)
    return answer


class Served:
    """A running `serve`; ended by its own pid whatever happens."""

    def __init__(
        self, tmp_path: Path, *words: str, command: Sequence[str] = COMMAND, **variables: str
    ) -> None:
        self.log_file = tmp_path / f"serve-{time.monotonic_ns()}.log"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "serve", *words],
                cwd=ROOT,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        for pid in self.children():
            wait_until(lambda pid=pid: not lives(pid), "the background process ends by itself")

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def port(self) -> int:
        """From its first line of output."""
        out = self.process.stdout
        assert out is not None
        ready = readable(out, WITHIN_S)
        assert ready, self.log
        document = json.loads(out.readline())
        assert list(document) == ["port"]
        return int(document["port"])

    def children(self) -> list[int]:
        """Every background process that it has had."""
        return [int(pid) for pid in re.findall(r": process (\d+)\b", self.log)]

    def terminate(self) -> str:
        """Ends it politely; the rest of its output."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0, self.log
        assert self.process.stdout
        return self.process.stdout.read()


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Client:
    """Speaks JSON with the server as one client with all rights."""

    def __init__(self, port: int, settings: Settings) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.token = ""
        installation = open_installation(settings)
        try:
            scopes = ["read", "trade", "operate", "admin"]
            made = installation.clients.create("acme", scopes)
        finally:
            installation.close()
        form = f"grant_type=client_credentials&client_id={made.client.id}&client_secret={made.secret}"
        kind = "application/x-www-form-urlencoded"
        answer = wait_until(lambda: self._sent("POST", "/auth/token", form, kind), "the client is known")
        self.token = answer["access_token"]

    def __call__(self, method: str, path: str, **body: Any) -> Any:
        text = json.dumps(body.get("json", body)) if method != "GET" and body else None
        answer = self._sent(method, path, text, "application/json")
        assert answer is not None, f"{method} {path} was refused"
        return answer

    def _sent(self, method: str, path: str, body: str | None, kind: str) -> Any:
        headers = {"Content-Type": kind} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = body.encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def holders(settings: Settings) -> list[str | None]:
    datastore = open_journal_datastore(settings)
    try:
        return [one.holder for one in Watch(datastore, FOLLOWERS).poll()]
    finally:
        datastore.close()


def place(client: Client, cash_amount: str = "100.00") -> str:
    """Lists, prices, funds, buys; the path of the new order."""
    terms = {"name": "Demo", "symbol": "DEMO", "instrument_type": "stock", "trading_currency": "USD"}
    client("PUT", "/instruments/ins_demo", **terms)
    client("POST", "/prices", json=[{"symbol": "DEMO", "bid": "100", "ask": "100"}])
    account = client("POST", "/accounts", name="A", base_currency="USD")["id"]
    deposit = client("POST", f"/accounts/{account}/deposits", amount="1000.00", currency="USD")["id"]
    client("POST", f"/accounts/{account}/deposits/{deposit}/complete")
    words = {"instrument": "ins_demo", "order_type": "market", "side": "buy", "cash_amount": cash_amount}
    order = client("POST", f"/accounts/{account}/orders", **words)["id"]
    return f"/accounts/{account}/orders/{order}"


def test_on_an_empty_directory_an_order_settles_and_a_killed_child_comes_back(
    tmp_path: Path, data: Path
) -> None:
    settings = read_settings(data=str(data), environ={})
    variables = {
        "ORDER_ENGINE_FEES": "*=3%; acme/ins_demo=1%,USD=2.50; stock=2%",
        "ORDER_ENGINE_MINIMUM_ORDER_VALUE": "USD=10",
    }
    words = ("--sandbox", "--port", "0", "--data", str(data), "--sandbox-day", "200ms")
    with Served(tmp_path, *words, **variables) as served:
        client = Client(served.port(), settings)
        path = place(client)
        wait_until(lambda: client("GET", path)["status"] == "settled", "the order settles")
        assert client("GET", path)["fees"] == "2.50"  # what an operator sets reaches the rules
        with pytest.raises(AssertionError, match="refused"):
            place(client, "9.99")
        first = served.children()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(served.children()) == 4, "another background process")
        path = place(client)  # the API has gone on meanwhile
        wait_until(lambda: client("GET", path)["status"] == "settled", "another order settles")
        assert served.terminate() == ""  # one line of output, and no more
        assert not any(map(lives, served.children()))
        check_discreet(served.log, [data])
        assert client.token not in served.log


def test_when_the_parent_is_killed_the_child_gives_its_leases_back_and_ends(
    tmp_path: Path, data: Path
) -> None:
    settings = read_settings(data=str(data), environ={})
    with Served(tmp_path, "--sandbox", "--port", "0", "--data", str(data)) as served:
        served.port()
        wait_until(lambda: all(holders(settings)), "all followers hold their leases")
        served.process.kill()
        served.process.wait()
        wait_until(lambda: not any(map(lives, served.children())), "the children end by themselves")
        assert holders(settings) == [None] * 3


def test_roles_without_the_api_run_here_and_end_by_sigterm(tmp_path: Path, postgres_url: str) -> None:
    variables = {"ORDER_ENGINE_JOURNAL_URL": postgres_url, "ORDER_ENGINE_DATA": str(tmp_path / "data")}
    settings = read_settings(environ=variables)
    words = ("--sandbox", "--roles")
    with Served(tmp_path, *words, "execution,settlement,projections,webhooks", **variables) as served:
        wait_until(lambda: "projections: running" in served.log, "the views are kept")
        wait_until(lambda: all(holders(settings)), "all followers hold their leases")
        assert served.terminate() == ""
        assert served.children() == []
    assert holders(settings) == [None] * 3


def test_a_port_in_use_is_one_line(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--live", "--port", str(port), "--data", data)
    assert done.returncode == 1
    assert done.stdout == ""
    kind, last = done.stderr.splitlines()
    assert "this journal is live" in kind
    assert last.startswith("error: unavailable: 127.0.0.1:")


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a host that others reach": ({"host": "0.0.0.0", "is_sandbox": True}, 2, "sandbox"),
    "a host by name": ({"host": "example.com", "is_sandbox": True}, 2, "sandbox"),
    "the world in IPv6": ({"host": "::", "is_sandbox": True}, 2, "sandbox"),
    "an unknown role": ({"roles": "api,cook"}, 2, "cook"),
    "no role": ({"roles": ""}, 2, "no role"),
    "two kinds": ({"is_live": True, "is_sandbox": True}, 2, "either --live or --sandbox"),
    "no kind": ({}, 2, "migrate --live"),
    "no duration": ({"sandbox_day": "soon"}, 2, "--sandbox-day"),
    "a day too short": ({"sandbox_day": "1ms"}, 2, "--sandbox-day"),
    "no delay": ({"venue_delay": "-1s"}, 2, "--venue-delay"),
    "days without a sandbox": ({"sandbox_day": "10s", "is_live": True}, 2, "sandbox"),
    "no URL": ({"journal_url": f"what:{PASSWORD}", "roles": "settlement"}, 2, "database URL"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_before_anything_starts(
    what: str, data: Path, capsys: pytest.CaptureFixture[str], quiet_logging: None
) -> None:
    words, code, text = REFUSED[what]
    with pytest.raises(typer.Exit) as exit_:
        serve.serve(data=str(data), **words)
    out, err = capsys.readouterr()
    assert (exit_.value.exit_code, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1
    assert PASSWORD not in err


@pytest.fixture
def quiet_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's own logging stays as it is."""
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)


def test_a_sandbox_client_is_let_out_before_others_are_let_in(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, started = read_settings(data=str(data), environ={}), []
    monkeypatch.setattr(serve, "_serve_api", lambda plan, _: started.append(plan) or True)
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    migrate(settings, "live")
    with closing(open_installation(settings)) as installation:
        client = installation.clients.create(TENANT, SCOPES).client.id  # as the first release did
        with pytest.raises(typer.Exit) as exit_:
            serve.serve(data=str(data))
        assert exit_.value.exit_code == 2
        assert f"order-engine client disable {client}`" in capsys.readouterr().err
        installation.clients.disable(client)
    serve.serve(data=str(data), host="0.0.0.0")
    assert len(started) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["by systemd", "by Ctrl-C"])
def test_a_stop_of_the_whole_group_is_no_error(tmp_path: Path, number: int) -> None:
    words = ("--sandbox", "--data", str(tmp_path / "data"), "--port", "0")
    with Served(tmp_path, *words) as served:
        served.port()
        wait_until(lambda: "webhooks: running" in served.log, "all run")
        os.killpg(served.process.pid, number)
        assert served.process.wait(WITHIN_S) == 0, served.log
    assert not [line for line in served.log.splitlines() if '"error"' in line or " ERROR " in line]
