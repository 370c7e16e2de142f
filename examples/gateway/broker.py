"""A made-up broker for the gateway's example and tests: it executes each order after a delay, at 100.

    POST /v1/orders      {"ref", "symbol", "side", "units", "limit"?}: one order for each `ref`
    POST /v1/cancels     {"ref", "order"}
    GET  /v1/executions?after=N   [{"number", "id", "ref", "type", "price", "units", "at"}, ...]

Its book is a file, so that it knows after a crash what it has executed. It has no accounts and no sense.
A buy with a limit below 100, or a sell above, rests until it is cancelled.
"""

import argparse
import json
import os
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Broker:
    """Orders and executions, each kept in the file before it counts."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self.orders: dict[str, dict[str, Any]] = {}
        self.due_s: dict[str, float] = {}  # open orders
        self.cancels: set[str] = set()
        self.executions: list[dict[str, Any]] = []
        if path.exists():
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    self._apply(*json.loads(line))
        self._file = path.open("a")

    def _apply(self, what: str, said: Any) -> None:
        if what == "order":
            self.orders[said["ref"]] = said
            self.due_s[said["ref"]] = time.monotonic()
        elif what == "cancel":
            self.cancels.add(said["ref"])
        else:
            self.executions.append({**said, "number": len(self.executions) + 1})
            if said["type"] in {"done", "cancelled"}:
                self.due_s.pop(said["ref"], None)

    def _write(self, what: str, said: Any) -> None:
        self._file.write(json.dumps([what, said]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._apply(what, said)

    def _say(self, ref: str, kind: str, **more: str) -> None:
        number, at = len(self.executions) + 1, datetime.now(UTC).isoformat()
        self._write("execution", {"id": f"ex-{number}", "ref": ref, "type": kind, "at": at, **more})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def order(self, said: dict[str, Any], delay_s: float = 0.0) -> None:
        """Takes an order, once."""
        with self.lock:
            if said["ref"] not in self.orders:
                self._write("order", said)
                self.due_s[said["ref"]] = time.monotonic() + delay_s

    def cancel(self, said: dict[str, Any]) -> None:
        """Cancels an open order, once for each `ref`."""
        with self.lock:
            if said["ref"] not in self.cancels:
                self._write("cancel", said)
                self._say(
                    said["order"], "cancelled" if said["order"] in self.due_s else "cancel_rejected"
                )

    def execute(self, ref: str) -> None:
        """Executes an open order: a fill of all units, and its end. It may have died between the two."""
        with self.lock:
            is_filled = any(one["ref"] == ref and one["type"] == "fill" for one in self.executions)
            if not is_filled:
                self._say(ref, "fill", price="100", units=self.orders[ref]["units"])
            self._say(ref, "done")

    def execute_due(self) -> None:
        """Executes all orders whose delay is over."""
        with self.lock:
            now_s = time.monotonic()
            for ref in [ref for ref, due_s in self.due_s.items() if due_s <= now_s]:
                if meets(self.orders[ref]):
                    self.execute(ref)


def meets(order: dict[str, Any]) -> bool:
    """Whether an order can be executed at 100."""
    limit = Decimal(order.get("limit", "100"))
    return limit >= 100 if order["side"] == "buy" else limit <= 100


def handler_of(broker: Broker, delay_s: float) -> type[BaseHTTPRequestHandler]:
    """The broker's API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            if self.path == "/v1/orders":
                broker.order(said, delay_s)
            else:
                broker.cancel(said)
            self._answer({})

        def do_GET(self) -> None:
            broker.execute_due()
            after = int(parse_qs(urlsplit(self.path).query).get("after", ["0"])[0])
            self._answer(broker.executions[after : after + 100])

        def _answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--book", type=Path, default=Path("broker.jsonl"))
    parser.add_argument("--delay", type=float, default=1.0, help="seconds until an order is executed")
    said = parser.parse_args()
    handler = handler_of(Broker(said.book), said.delay)
    server = ThreadingHTTPServer(("127.0.0.1", said.port), handler)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
