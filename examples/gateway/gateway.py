"""A reference gateway between the order engine and a broker: the engine's venue of kind `http`.

    the engine  -- POST /orders, POST /orders/{order}/cancel, GET /orders/{order} -->  this gateway
    the gateway -- POST /v1/orders, POST /v1/cancels, GET /v1/executions ----------->  the broker
    the gateway -- POST /execution-reports ----------------------------------------->  the engine

An order is in the book before the engine has its answer, and goes to the broker from the book. A crash
anywhere sends nothing twice: the broker knows an order by our id. Run:

    python examples/gateway/gateway.py --port 9000 --venue acme --book gateway.jsonl \\
        --broker http://127.0.0.1:9100 --engine http://127.0.0.1:8080

with the variables GATEWAY_SECRET (whsec_..., as in the engine's secret_file), GATEWAY_CLIENT and
GATEWAY_CLIENT_SECRET (a client of the engine with the scope venue:acme).
"""

import argparse
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from book import Book

from order_engine_client import Client, InvalidSignature, verify_signature

POLL_S = 0.1


class Broker:
    """The made-up broker's API. Its `ref` makes a request idempotent."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer. Raises OSError if the broker does not answer or refuses."""
        request = urllib.request.Request(  # noqa: S310  an operator's own URL
            self.url + path, None if body is None else json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)


class Gateway:
    """Carries orders from the book to the broker, executions to the book, reports to the engine."""

    def __init__(self, venue: str, book: Book, broker: Broker, engine: Client | None) -> None:
        self.venue = venue
        self.book = book
        self.broker = broker
        self.engine = engine
        self.sent: set[str] = set()  # orders and cancels sent since the start
        self.seen = 0  # executions read since the start

    def turn(self) -> None:
        """One round. Whatever fails is tried again in the next."""
        self.send()
        self.fetch()
        self.deliver()

    def send(self) -> None:
        """Sends the broker every order and cancel of the book; it counts each `ref` once."""
        with self.book.lock:
            orders = [one for one in self.book.orders.values() if not one["is_over"]]
            cancels = list(self.book.cancels.items())
        for order in orders:
            if order["order"] not in self.sent:
                words = {"symbol": order["symbol"], "side": order["side"], "units": order["quantity"]}
                if order["order_type"] == "limit":
                    words["limit"] = order["limit_price"]
                self.broker.call("POST", "/v1/orders", {"ref": order["order"], **words})
                self.sent.add(order["order"])
        for reference, order_id in cancels:
            if reference not in self.sent:
                self.broker.call("POST", "/v1/cancels", {"ref": reference, "order": order_id})
                self.sent.add(reference)

    def fetch(self) -> None:
        """Writes the broker's new executions into the book, as reports."""
        for one in self.broker.call("GET", f"/v1/executions?after={self.seen}"):
            trade = {"price": one["price"], "quantity": one["units"]} if one["type"] == "fill" else {}
            self.book.add_report({
                "venue": self.venue,
                "execution_reference": one["id"],
                "order": one["ref"],
                "exec_type": {"fill": "trade", "done": "expired"}.get(one["type"], one["type"]),
                "executed_at": one["at"],
                **trade,
            })  # fmt: skip
            self.seen = one["number"]

    def deliver(self) -> None:
        """Posts reports to the engine, in order; one is done with when the engine has answered."""
        while self.engine is not None and self.book.delivered < len(self.book.reports):
            report = dict(self.book.reports[self.book.delivered])
            report["executed_at"] = datetime.fromisoformat(report["executed_at"])
            self.engine.execution_report(**report)
            self.book.write("delivered", self.book.delivered + 1)


def handler_of(gateway: Gateway, secret: str) -> type[BaseHTTPRequestHandler]:
    """The HTTP side towards the engine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body, words = self._verified(), self.path.strip("/").split("/")
            if body is None:
                return
            if words == ["orders"]:
                gateway.book.add_order(json.loads(body))
            else:  # orders/ORDER/cancel
                gateway.book.add_cancel(json.loads(body)["reference"], words[1])
            self._answer(202, {})

        def do_GET(self) -> None:
            words = self.path.strip("/").split("/")
            if self._verified() is not None:
                self._answer(200, gateway.book.status(words[-1]))

        def _verified(self) -> bytes | None:
            """The body, if the engine has signed it."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                verify_signature(body, dict(self.headers), secret)
            except InvalidSignature:
                self._answer(401, {})
                return None
            return body

        def _answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("port", "venue", "book", "broker", "engine"):
        parser.add_argument(f"--{name}", required=True)
    said = parser.parse_args()
    engine = Client(said.engine, os.environ["GATEWAY_CLIENT"], os.environ["GATEWAY_CLIENT_SECRET"])
    gateway = Gateway(said.venue, Book(Path(said.book)), Broker(said.broker), engine)
    handler = handler_of(gateway, os.environ["GATEWAY_SECRET"])
    server = ThreadingHTTPServer(("127.0.0.1", int(said.port)), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    while True:
        try:
            gateway.turn()
        except Exception as error:  # noqa: BLE001  the broker or the engine is away: in the next turn
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            time.sleep(1)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
