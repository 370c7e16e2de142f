"""The receivers of docs/examples, as real processes: they verify, know what they have, keep order."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from order_engine_client import Client
from tests.support.engines.sandboxes import sandbox
from tests.support.receivers.receivers import receiving
from tests.support.servers.command import FORKING, ROOT
from tests.support.servers.served import wait_until

EXAMPLES = ROOT / "docs" / "examples"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER = "whsec_AAAyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
WITHIN_S = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class Running:
    """A receiver on a port of its own; `said` is what it has printed."""

    def __init__(self, command: Sequence[str], folder: Path, port: int, secrets: str) -> None:
        self.port = port
        self._out = folder / "said.txt"
        with self._out.open("a") as out:
            self._process = subprocess.Popen(
                [*command, str(port), str(folder / "inbox")],
                env=os.environ | {"WEBHOOK_SECRET": secrets}, stdout=out,
            )  # fmt: skip
        wait_until("the receiver listens", self._listens, WITHIN_S)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        assert self._process.poll() is None
        return False

    @property
    def said(self) -> list[str]:
        return self._out.read_text().splitlines()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def send(port: int, event: Any, secret: str = SECRET, *, age_s: float = 0.0, edit: bytes = b"") -> int:
    """An event as the engine sends it; the status of the answer."""
    body = json.dumps(event).encode()
    signed = datetime.fromtimestamp(time.time() - age_s, UTC)
    headers = {
        "Webhook-Id": "whd_1", "Webhook-Timestamp": str(int(signed.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("whd_1", signed, body.decode()),
    }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    connection.request("POST", "/", body + edit, headers)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def event(number: int, sequence: int, resource: str = "ord_1") -> dict[str, Any]:
    about = {"id": resource, "resource_type": "order"}
    return {
        "id": f"evt_{number}",
        "name": "order.filled",
        "resource": about,
        "data": {},
        "sequence": sequence,
    }


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript receiver as JavaScript, compiled as its first lines say."""
    assert shutil.which("npm"), "no Node.js: `apt-get install nodejs npm`"
    folder = tmp_path_factory.mktemp("ts")
    shutil.copy(EXAMPLES / "receiver.ts", folder)
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    words = (
        "receiver.ts --strict --target es2022 --module nodenext --moduleResolution nodenext --types node"
    )
    for command in (
        ["npm", "install", "--no-audit", "typescript@5", "@types/node@20"],
        ["npx", "tsc", *words.split()],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "receiver.js"


@pytest.fixture(params=["python", pytest.param("typescript", marks=pytest.mark.full)])
def command(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, str(EXAMPLES / "receiver.py")]
    return ["node", str(request.getfixturevalue("compiled"))]


@contextmanager
def running(command: Sequence[str], folder: Path, secrets: str = SECRET) -> Iterator[Running]:
    receiver = Running(command, folder, free_port(), secrets)
    try:
        yield receiver
    finally:
        receiver.kill()


def test_a_receiver_believes_only_what_is_signed_and_takes_no_step_back(
    command: list[str], tmp_path: Path
) -> None:
    with running(command, tmp_path, f"{OTHER},{SECRET}") as receiver:
        port = receiver.port
        assert send(port, event(1, 1)) == 204
        assert send(port, event(2, 2), OTHER) == 204
        assert send(port, event(2, 2)) == 204
        assert send(port, event(3, 3), edit=b" ") == 401
        assert send(port, event(3, 3), age_s=3_600) == 401
        assert send(port, event(3, 3), age_s=-3_600) == 401
        assert send(port, event(3, 3), "whsec_bm9ib2R5J3M=") == 401
        assert send(port, event(5, 5)) == 204
        assert send(port, event(4, 4)) == 204
        assert send(port, {**event(9, 0), "name": "webhook.test"}) == 204
    with running(command, tmp_path) as receiver:  # after SIGKILL
        assert send(receiver.port, event(5, 5)) == 204
        assert send(receiver.port, event(6, 4)) == 204
        assert send(receiver.port, event(7, 1, "ord_2")) == 204
        said = [line.removesuffix(" order.filled") for line in receiver.said]
    assert said == [
        "taken ord_1 1", "taken ord_1 2", "again ord_1 2", "taken ord_1 5", "late ord_1 4",
        "again ord_1 5", "late ord_1 4", "taken ord_2 1",
    ]  # fmt: skip


def by_curl(told: dict[str, Any], url: str) -> dict[str, str]:
    """What webhooks.sh says, by its first word."""
    with Client(told["url"], told["client_id"], told["client_secret"]) as client:
        token = client._walk(client._session.token())
    words = ["bash", str(EXAMPLES / "webhooks.sh"), url]
    env = os.environ | {"API": told["url"], "TOKEN": token}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_an_order_is_followed_to_its_end(command: list[str], tmp_path: Path) -> None:
    """With the sandbox, and webhooks made by the curl example."""
    port = free_port()
    with sandbox(tmp_path / "data", command=FORKING) as told:
        said = by_curl(told, f"http://127.0.0.1:{port}/")
        receiver = Running(command, tmp_path, port, said["secret"])
        try:
            with Client(told["url"], told["client_id"], told["client_secret"]) as client:
                order = client.buy(told["account"], "ins_demo_bond", "100.00").id
            wait_until("settled", lambda: any("order.settled" in one for one in receiver.said), WITHIN_S)
        finally:
            receiver.kill()
    mine = [one for one in receiver.said if f" {order} " in one]
    assert [one.split() for one in mine] == [
        ["taken", order, str(n), f"order.{name}"]
        for n, name in enumerate(("placed", "executing", "filled", "settled"), 1)
    ]


def test_openssl_verifies_what_was_kept(tmp_path: Path) -> None:
    with receiving() as receiver, sandbox(tmp_path / "data", command=FORKING) as told:
        said = by_curl(told, receiver.url())
        (got,) = receiver.wait(1)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    words = ["bash", str(EXAMPLES / "verify.sh"), *(got.headers[name] for name in names)]

    def verify(secret: str, body: bytes) -> int:
        env = os.environ | {"SECRET": secret}
        return subprocess.run(words, env=env, input=body, capture_output=True, check=False).returncode

    assert verify(said["secret"], got.body) == 0
    assert verify(said["secret"], got.body + b" ") == 1
    assert verify(OTHER, got.body) == 1
