"""Events on a real NATS JetStream server, while that server and the engine are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from order_engine_client import Client
from tests.support.servers.command import COMMAND, ROOT, environment
from tests.support.servers.served import wait_until

pytestmark = pytest.mark.full
WITHIN_S = 60.0
BUYS = 20


class Nats:
    """`nats-server` on a port of its own, whose streams outlive it."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
        assert found, "no NATS server: `apt-get install nats-server`"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._command = [found, "-js", "-a", "127.0.0.1", "-p", str(self.port), "-sd", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(self._command, **quiet)  # type: ignore[call-overload]

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        wait_until("nats-server", listens, WITHIN_S)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kept(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(subject, id, event) of all messages, in the order of the stream."""
        return asyncio.run(self._read())

    async def _read(self) -> list[tuple[str, str, dict[str, Any]]]:
        import nats  # noqa: PLC0415  an extra of its own
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        connection = await nats.connect(self.url)
        try:
            stream = connection.jetstream()
            try:
                state = (await stream.stream_info("order-engine")).state
            except NotFoundError:
                return []
            found = []
            for number in range(state.first_seq, state.last_seq + 1):
                one = await stream.get_msg("order-engine", number)
                assert one.headers is not None
                event = json.loads(one.data or b"")
                found.append((one.subject or "", one.headers["Nats-Msg-Id"], event))
            return found
        finally:
            await connection.close()

    async def purge(self) -> None:
        """The broker loses everything."""
        import nats  # noqa: PLC0415

        connection = await nats.connect(self.url)
        await connection.jetstream().delete_stream("order-engine")
        await connection.close()


class House:
    """An engine beside it: `order-engine sandbox` with its own client."""

    def __init__(self, data: Path, nats: Nats) -> None:
        self._words = ["sandbox", "--data", str(data), "--port", "0", "--sandbox-day", "200ms", "--json"]
        self._environment = environment() | {"ORDER_ENGINE_NATS_URL": nats.url}
        self.data = data

    @contextlib.contextmanager
    def life(self) -> Iterator[tuple[Client, str]]:
        """A client and an account, until SIGKILL to all of its processes."""
        with self.data.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *self._words], cwd=ROOT, env=self._environment, stdout=subprocess.PIPE,
                stderr=log, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or lines[-1] != "}\n":
                lines.append(process.stdout.readline())
                assert lines[-1], self.data.with_suffix(".log").read_text()
            told = json.loads("".join(lines))
            with Client(told["url"], told["client_id"], told["client_secret"]) as client:
                yield client, told["account"]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def buy(client: Client, account: str) -> None:
    for _ in range(BUYS):
        client.buy(account, "ins_demo_bond", "100.00")


def test_all_events_are_there_whoever_dies(tmp_path: Path) -> None:
    nats = Nats(tmp_path / "streams")
    nats.start()
    house = House(tmp_path / "data", nats)
    try:
        with house.life() as (client, account):
            buy(client, account)
            wait_until("first events", lambda: len(nats.kept()) > 3, WITHIN_S)
            nats.kill()
            buy(client, account)
            nats.start()
            buy(client, account)
        with house.life() as (client, account):
            wait_until("all settled", lambda: not list(client.pending_orders(account)), WITHIN_S)
            expected = list(client.events(page_size=500))[::-1]

            def are_there() -> bool:
                return {event.id for event in expected} <= {one[1] for one in nats.kept()}

            wait_until("all events", are_there, WITHIN_S)
            kept = nats.kept()
            first = {one[1]: one for one in reversed(kept)}  # the first of each: an old one may repeat
            in_order = [one for one in kept if first[one[1]] is one]
            ids = [one[1] for one in in_order]
            assert ids[: len(expected)] == [event.id for event in expected]
            subject, _, event = in_order[0]
            assert subject == f"order-engine.sandbox.sandbox.{event['name']}"
            asyncio.run(nats.purge())
            words = ["outlet", "resend", "--after", "0", "--data", str(house.data)]
            subprocess.run([*COMMAND, *words], cwd=ROOT, env=environment(), check=True)
            wait_until("all events again", are_there, WITHIN_S)
    finally:
        nats.kill()
