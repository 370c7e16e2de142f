"""Receivers of webhooks: real servers on this machine that write down what they got."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from time import monotonic
from typing import Any, Final

from standardwebhooks import Webhook

from tests.support.servers.http_server import WAIT_S


@dataclass(frozen=True)
class Got:
    """One request. `number` counts them."""

    number: int
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def attempt(self) -> int:
        return int(self.headers["webhook-attempt"])

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def resource(self) -> str:
        return str(self.event["resource"]["id"])


Behave = Callable[[BaseHTTPRequestHandler, Got], None]


def answer(status: int, **headers: str) -> Behave:
    """Answers so, at once."""

    def behave(handler: BaseHTTPRequestHandler, _: Got) -> None:
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


OK: Final = answer(200)


@dataclass
class Receiver:
    """A server on loopback. `behave` may be changed at any time."""

    behave: Behave = OK
    got: list[Got] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)
    ssl: Any = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): text for name, text in self.headers.items()}
                with receiver.came:
                    got = Got(next(receiver._numbers), self.path, headers, body, monotonic())
                    receiver.got.append(got)
                    receiver.came.notify_all()
                try:
                    receiver.behave(self, got)
                except OSError:  # the sender is gone
                    self.close_connection = True

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        if self.ssl:
            self.server.socket = self.ssl.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait(self, number: int, until: Callable[[Got], bool] = lambda _: True) -> list[Got]:
        """The requests, once there are so many of them that fit."""

        def fit() -> list[Got]:
            return [got for got in self.got if until(got)]

        with self.came:
            if not self.came.wait_for(lambda: len(fit()) >= number, WAIT_S):
                names = [got.event["name"] for got in self.got]
                raise TimeoutError(f"{len(fit())} of {number} came: {names}")
            return fit()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def receiving(behave: Behave = OK) -> Iterator[Receiver]:
    """A receiver for the length of a test."""
    receiver = Receiver(behave)
    try:
        yield receiver
    finally:
        receiver.close()


def verify(got: Got, *secrets: str) -> None:
    """Raises unless the request is signed with each of these secrets, as the published verifier says."""
    for secret in secrets:
        Webhook(secret).verify(got.body, got.headers)


def keys(secret: str) -> bytes:
    """The bytes of a secret."""
    return base64.b64decode(secret.removeprefix("whsec_"))


def out_of_order(got: list[Got]) -> list[str]:
    """I9, told by requests alone: repeats left aside, each resource's events come 1, 2, 3 ...

    A repeat is one whose Webhook-Id was there before.
    """
    seen: set[str] = set()
    last: dict[str, int] = {}
    problems = []
    for one in got:
        if one.id in seen:
            continue
        seen.add(one.id)
        event = one.event
        if event["resource"]["resource_type"] == "webhook":
            continue
        resource, sequence = one.resource, event["sequence"]
        if sequence != last.get(resource, 0) + 1:
            problems.append(f"{resource}: {sequence} after {last.get(resource, 0)}")
        last[resource] = sequence
    return problems
