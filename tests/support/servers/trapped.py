"""The reference gateway or its broker as a process that dies at a named point, once:

python -m tests.support.servers.trapped POINT:TIMES:MARKER gateway|broker [ITS OPTIONS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from order_engine_client import Client
from tests.crash.points import Spring, Trap, after, before

EXAMPLE = Path(__file__).parents[3] / "examples" / "gateway"


def of_gateway(gateway: Any, book: Any) -> dict[str, Callable[[Spring], None]]:
    """Points of the gateway's way of an order and its reports."""
    sends = lambda _, method, *__: method == "POST"  # noqa: E731
    delivers = lambda _, what, *__: what == "delivered"  # noqa: E731
    return {
        "order received, not kept": lambda spring: before(book.Book, "add_order", spring),
        "order kept, not answered": lambda spring: after(book.Book, "add_order", spring),
        "order not at the broker": lambda spring: before(gateway.Broker, "call", spring, sends),
        "order at the broker, not noted": lambda spring: after(gateway.Broker, "call", spring, sends),
        "execution read, not kept": lambda spring: before(book.Book, "add_report", spring),
        "execution kept, not reported": lambda spring: before(Client, "execution_report", spring),
        "report taken, not noted": lambda spring: before(book.Book, "write", spring, delivers),
        "asked, not answered": lambda spring: before(book.Book, "status", spring),
    }


def of_broker(broker: Any) -> dict[str, Callable[[Spring], None]]:
    """Points of the broker's."""
    ends = lambda _, __, kind, **___: kind == "done"  # noqa: E731
    return {
        "order received, not in the book": lambda spring: before(broker.Broker, "order", spring),
        "order in the book, not answered": lambda spring: after(broker.Broker, "order", spring),
        "order due, not executed": lambda spring: before(broker.Broker, "execute", spring),
        "filled, and not ended": lambda spring: before(broker.Broker, "_say", spring, ends),
    }


GATEWAY_POINTS = (
    "order received, not kept", "order kept, not answered", "order not at the broker",
    "order at the broker, not noted", "execution read, not kept", "execution kept, not reported",
    "report taken, not noted", "asked, not answered",
)  # fmt: skip
BROKER_POINTS = (
    "order received, not in the book", "order in the book, not answered", "order due, not executed",
    "filled, and not ended",
)  # fmt: skip


def main() -> None:
    trap, script, *words = sys.argv[1:]
    sys.path.insert(0, str(EXAMPLE))
    module = import_module(script)
    if trap != "-":
        point, times, marker = trap.split(":")
        known = of_broker(module) if script == "broker" else of_gateway(module, import_module("book"))
        known[point](Spring(Trap(point, int(times), marker)))
    sys.argv = [script, *words]
    module.main()


if __name__ == "__main__":
    main()
