"""Connections that never end a message: memory of the API's process, and a request beside.

`order-engine serve --sandbox` on SQLite, a fresh one for each row. Connections from loopback addresses
of their own send what stands in the table and no more. Memory is what the process has in use beyond
what it had, at most until a second after the last byte. The honest request is `GET /health/live` from
another address, on a connection of its own, just after the last of them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import resource
import socket
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from rich.table import Table

from bench.measure import console
from bench.serving import Server, serving

START: Final = b"GET /accounts HTTP/1.1\r\nHost: bench\r\n"
POST: Final = b"POST /auth/token HTTP/1.1\r\nHost: bench\r\nContent-Length: 65000\r\n"
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
GROWN_MB_MAX: Final = 100.0
WARM_S: Final = 2.0
"""Until everything is imported and cached that a server needs."""


class Attack(NamedTuple):
    """So many connections from so many addresses, and what each sends."""

    connections: int
    addresses: int
    sends: bytes


def lines(count: int, size: int) -> bytes:
    return b"".join(b"X%d: %b\r\n" % (n, b"y" * size) for n in range(count))


ATTACKS: Final = {
    "nothing": Attack(2_000, 1, b""),
    "60 headers of 8 kB": Attack(600, 1, START + lines(60, 8_000)),
    "24 kB of headers": Attack(2_000, 1, START + lines(3, 7_900)),
    "24 kB, 8 addresses": Attack(6_000, 8, START + lines(3, 7_900)),
    "60 tiny headers, 8 addresses": Attack(6_000, 8, START + lines(60, 1)),
    "60 kB of a body": Attack(2_000, 1, POST + FORM + b"y" * 60_000),
    "60 kB of a body, 8 addresses": Attack(6_000, 8, POST + FORM + b"y" * 60_000),
}


def megabytes(server: Server) -> float:
    return float(psutil.Process(server.pid).memory_full_info().uss) / 1e6


def run(server: Server, attack: Attack) -> tuple[float, float]:
    """Megabytes at most, and milliseconds of the honest request."""
    with contextlib.ExitStack() as stack:
        peak, last_s = megabytes(server), time.monotonic() + 1.0
        for n in range(attack.connections):
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.socket())
                one.settimeout(1.0)
                one.bind((f"127.0.1.{n % attack.addresses + 1}", 0))
                one.connect(("127.0.0.1", server.port))
                one.sendall(attack.sends)
            if n % 100 == 0:
                peak, last_s = max(peak, megabytes(server)), time.monotonic() + 1.0
        began_s = time.monotonic()
        honest = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        honest.request("GET", "/health/live")
        if honest.getresponse().status != http.client.OK:
            raise SystemExit("the honest request was refused")
        took_ms = (time.monotonic() - began_s) * 1e3
        honest.close()
        while time.monotonic() < last_s:
            peak = max(peak, megabytes(server))
            time.sleep(0.05)
    return peak, took_ms


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server inherits it
    table = Table(title="what never ends")
    for heading in ("each sends", "connections", "MB more", "honest request, ms"):
        table.add_column(heading, justify="right" if heading != "each sends" else "left")
    grown = []
    for name, attack in ATTACKS.items():
        with tempfile.TemporaryDirectory(prefix="bench-heads-") as folder:
            command = ("serve", "--sandbox", "--data", f"{folder}/data", "--port", "0")
            with serving("order_engine", *command, log=Path(folder) / "log") as server:
                time.sleep(WARM_S)
                before = megabytes(server)
                peak, took_ms = run(server, attack)
        grown.append(peak - before)
        table.add_row(name, f"{attack.connections:,}", f"{grown[-1]:.0f}", f"{took_ms:.0f}")
    console.print(table)
    verdict = "met" if max(grown) < GROWN_MB_MAX else "MISSED"
    console.print(f"{max(grown):.0f} MB more; {GROWN_MB_MAX:.0f} MB at most: {verdict}")


if __name__ == "__main__":
    main()
