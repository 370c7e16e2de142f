"""The cost of event streams: memory of idle and of unread ones, and how late others hear of a commit.

`order-engine serve`, all roles, on SQLite; streams over plain sockets. Memory is that of the API's
process, before and with 1 000 idle streams, and at most while 600 are asked for all there is and never
read (each is given up after 5 s). An order is placed, and each of 100 listeners notes when its
`order.placed` came; the beginning is when the placing was answered. Once more while others are unread.
"""

from __future__ import annotations

import argparse
import os
import resource
import selectors
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil

from bench.measure import console
from bench.serving import Caller, Server, authorize, furnish, new_client, serving

TARGET_MB: Final = 100.0
UNREAD_KB: Final = 100.0
UNREAD_S: Final = 4.0
"""Less than a stream that takes nothing is given."""
WAIT_S: Final = 20.0


def opened(server: Server, caller: Caller, stack: ExitStack) -> socket.socket:
    """A stream that has begun. The first may come before the views are there."""
    deadline_s = time.monotonic() + WAIT_S
    while (stream := _asked(server, caller, stack)) is None:
        if time.monotonic() > deadline_s:
            raise SystemExit("no stream could be opened")
    return stream


def _asked(server: Server, caller: Caller, stack: ExitStack) -> socket.socket | None:
    stream = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S))
    token = caller.headers["Authorization"]
    stream.sendall(
        f"GET /events/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: {token}\r\n\r\n".encode()
    )
    said = b""
    while b"\nid: " not in said:
        said += stream.recv(65_536)
        if not said.startswith(b"HTTP/1.1 200"):
            stream.close()
            return None
    return stream


def unread(server: Server, caller: Caller, stack: ExitStack) -> None:
    """A stream that is asked for all there is, and not looked at."""
    stream = stack.enter_context(socket.socket())
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stream.connect(("127.0.0.1", server.port))
    token = caller.headers["Authorization"]
    head = "GET /events/stream?after=0 HTTP/1.1\r\nHost: bench"
    stream.sendall(f"{head}\r\nAuthorization: {token}\r\n\r\n".encode())


def placed(caller: Caller, account: str) -> str:
    """A new order."""
    body = {"instrument": "ins_bench", "order_type": "market", "side": "buy", "cash_amount": "10"}
    return str(caller("POST", f"/accounts/{account}/orders", body)["id"])


def megabytes(server: Server) -> float:
    """Memory of the API's process that is its own."""
    return float(psutil.Process(server.pid).memory_full_info().uss) / 1e6


def heard(listeners: list[socket.socket], order: str, since_s: float) -> list[float]:
    """Milliseconds until each heard of the order."""
    late: list[float] = []
    said = dict.fromkeys(listeners, b"")
    with selectors.DefaultSelector() as selector:
        for one in listeners:
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < since_s + WAIT_S:
            for key, _ in selector.select(1.0):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                said[one] += one.recv(65_536)
                if f'"order.placed","resource":{{"id":"{order}"'.encode() in said[one]:
                    late.append((time.monotonic() - since_s) * 1e3)
                    selector.unregister(one)
    if len(late) < len(listeners):
        raise SystemExit(f"{len(listeners) - len(late)} streams did not hear of {order}")
    return late


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle", type=int, default=1_000)
    parser.add_argument("--unread", type=int, default=600)
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--orders", type=int, default=30)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server inherits it
    os.environ |= {"ORDER_ENGINE_STREAMS_CLIENT": "off", "ORDER_ENGINE_STREAMS_TENANT": "off"}
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as folder, ExitStack() as stack:
        data = Path(folder) / "data"
        client = new_client(data)
        server = stack.enter_context(
            serving(
                "order_engine", "serve", "--data", str(data), "--port", "0", log=Path(folder) / "log"
            )
        )
        caller = Caller(server)
        authorize(caller, client)
        (account,) = furnish(caller, accounts=1, settlement_days=1)
        listeners = [opened(server, caller, stack) for _ in range(options.listeners)]
        late: list[float] = []
        for _ in range(options.orders):
            order = placed(caller, account)
            late += heard(listeners, order, time.monotonic())
        for _ in range(options.orders * 10):
            placed(caller, account)  # what unread streams are to be sent
        before = peak = megabytes(server)
        with ExitStack() as unheard:
            for _ in range(options.unread):
                unread(server, caller, unheard)
            until_s, beside = time.monotonic() + UNREAD_S, list[float]()
            while time.monotonic() < until_s:
                order = placed(caller, account)
                beside += heard(listeners, order, time.monotonic())
                peak = max(peak, megabytes(server))
        taken = peak - before
        before = megabytes(server)
        for _ in range(options.idle):
            opened(server, caller, stack)
        more = megabytes(server) - before
        caller.close()
    for name, times in (("alone", late), (f"beside {options.unread} unread", beside)):
        cuts = statistics.quantiles(times, n=100)
        console.print(
            f"answered to heard, {options.listeners} streams {name}, {len(times) // options.listeners}"
            f" orders: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms"
        )
    verdict = "met" if taken * 1e3 < UNREAD_KB * options.unread else "MISSED"
    console.print(
        f"{options.unread} unread streams: {taken:.1f} MB more at most,"
        f" {taken * 1e3 / max(1, options.unread):.0f} kB each; {UNREAD_KB:.0f} kB at most: {verdict}"
    )
    verdict = "met" if more < TARGET_MB * options.idle / 1_000 else "MISSED"
    console.print(
        f"{options.idle} idle streams: {more:.1f} MB more than {before:.0f} MB,"
        f" {more * 1e3 / options.idle:.0f} kB each; {TARGET_MB:.0f} MB a thousand at most: {verdict}"
    )


if __name__ == "__main__":
    main()
