"""A venue that speaks FIX, in a process: `python -m tests.support.fix.acceptor PORT DIRECTORY NAME`.

The symbol of an order says what becomes of it, see SCRIPTS. Its book is kept in `book.jsonl`, so that
it survives a kill: each order received, each trade made.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import quickfix

from engine.venues.fix.wire import Field, time_text

SCRIPTS = {
    "FILL": "one trade of all units",
    "PARTS": "four tenths, then the rest",
    "REJECT": "rejected",
    "REST": "acknowledged; cancelled when asked",
    "KEEP": "acknowledged; a cancel is refused",
    "SILENT": "traded, but nothing is reported",
    "LOST": "the first one never arrives; a repetition is traded",
    "CRASH": "traded and noted, then the process dies before it says so",
    "TWICE": "one trade, reported twice",
    "BUST": "one trade, then cancelled by the venue",
    "GARBAGE": "a report with a malformed price, then the trade",
    "OTHERS": "a report about another order, then the trade",
}


class Venue(quickfix.Application):  # type: ignore[misc]
    """Orders by ClOrdID, and the answers to messages."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.file = (directory / "book.jsonl").open("a+")
        self.file.seek(0)
        self.orders: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()
        for line in self.file:
            self.apply(json.loads(line))

    def apply(self, noted: dict[str, Any]) -> dict[str, Any]:
        order = self.orders.setdefault(noted["order"], {"executed": "0", "status": "0", "execs": 0})
        order.update(noted)
        return order

    def note(self, order: str, **values: Any) -> dict[str, Any]:
        """Keeps what became of an order, on disk."""
        noted = {"order": order, **values}
        self.file.write(json.dumps(noted) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.apply(noted)

    def onCreate(self, _: Any) -> None: ...  # noqa: N802
    def onLogon(self, _: Any) -> None: ...  # noqa: N802
    def onLogout(self, _: Any) -> None: ...  # noqa: N802
    def toAdmin(self, message: Any, _: Any) -> None: ...  # noqa: N802
    def toApp(self, message: Any, _: Any) -> None: ...  # noqa: N802
    def fromAdmin(self, message: Any, _: Any) -> None: ...  # noqa: N802

    def fromApp(self, message: Any, session: Any) -> None:  # noqa: N802
        kind = message.getHeader().getField(35)
        answers = {"D": self.ordered, "F": self.cancelled, "H": self.asked}[kind](message)
        for answer in answers:
            reply = quickfix.Message()
            for tag, value in answer:
                (reply.getHeader() if tag in (35, 43, 97) else reply).setField(tag, value)
            quickfix.Session.sendToTarget(reply, session)

    def ordered(self, message: Any) -> Iterator[list[Field]]:
        name, symbol = message.getField(11), message.getField(55)
        quantity = Decimal(message.getField(38))
        if name in self.orders:
            again = {150: "8", 39: "8"}
            answer = [(tag, again.get(tag, value)) for tag, value in self.report(name, "8")]
            yield [*answer, (103, "6")]
            return
        if symbol == "LOST" and name not in self.refused:
            self.refused.add(name)
            return
        self.note(
            name,
            symbol=symbol,
            side=message.getField(54),
            quantity=str(quantity),
            price=message.getField(44),
        )
        if symbol == "REJECT":
            yield [*self.report(name, "8", status="8"), (103, "0"), (58, "not today")]
            return
        yield self.report(name, "0")
        if symbol in ("REST", "KEEP"):
            return
        if symbol == "PARTS":
            first = (quantity * 4 / 10).quantize(Decimal("0.0001"))
            yield self.trade(name, first)
            yield self.trade(name, quantity - first)
            return
        trade = self.trade(name, quantity)
        if symbol == "CRASH":
            os._exit(9)
        if symbol == "GARBAGE":
            yield [
                (31, "12x") if tag == 31 else (17, "bad") if tag == 17 else (tag, value)
                for tag, value in trade
            ]
        if symbol == "OTHERS":
            yield [(11, "ord_of_another") if tag == 11 else (tag, value) for tag, value in trade]
        if symbol != "SILENT":
            yield trade
        if symbol == "TWICE":
            yield [*trade, (97, "Y")]
        if symbol == "BUST":
            yield [*self.report(name, "H"), (19, f"{name}-1")]

    def cancelled(self, message: Any) -> Iterator[list[Field]]:
        name, request = message.getField(41), message.getField(11)
        order = self.orders.get(name)
        if order is None or order["symbol"] == "KEEP" or order["status"] != "0":
            yield [(35, "9"), (37, "V"), (11, request), (41, name), (39, "0"), (434, "1"), (102, "0")]
            return
        self.note(name, status="4")
        answer = self.report(name, "4", status="4")
        yield [(11, request) if tag == 11 else (tag, value) for tag, value in answer] + [(41, name)]

    def asked(self, message: Any) -> Iterator[list[Field]]:
        name, request = message.getField(11), message.getField(790)
        if name in self.orders:
            yield [*self.report(name, "I"), (790, request)]
        else:
            unknown = [(35, "8"), (37, "NONE"), (11, name), (17, "0"), (150, "I"), (39, "8"), (103, "5")]
            instrument = [(55, message.getField(55)), (54, message.getField(54))]
            yield [*unknown, *instrument, (151, "0"), (14, "0"), (6, "0"), (790, request)]

    def trade(self, name: str, quantity: Decimal) -> list[Field]:
        order = self.orders[name]
        executed = Decimal(order["executed"]) + quantity
        status = "2" if executed == Decimal(order["quantity"]) else "1"
        self.note(name, executed=str(executed), status=status)
        return [*self.report(name, "F"), (32, str(quantity)), (31, order["price"])]

    def report(self, name: str, exec_type: str, *, status: str | None = None) -> list[Field]:
        order = self.orders[name]
        order = self.note(name, execs=order["execs"] + 1, status=status or order["status"])
        left = Decimal(order["quantity"]) - Decimal(order["executed"])
        return [
            (35, "8"),
            (37, f"V-{name}"),
            (11, name),
            (17, f"{name}-{order['execs']}"),
            (150, exec_type),
            (39, order["status"]),
            (55, order["symbol"]),
            (54, order["side"]),
            (38, order["quantity"]),
            (151, str(left)),
            (14, order["executed"]),
            (6, order["price"]),
            (60, time_text(time.time_ns() // 1_000)),
        ]


SETTINGS = """[DEFAULT]
ConnectionType=acceptor
SocketAcceptPort={port}
SocketReuseAddress=Y
FileStorePath={directory}/store
UseDataDictionary=N
NonStopSession=Y
[SESSION]
BeginString=FIX.4.4
SenderCompID={name}
TargetCompID=US
"""


def main() -> None:
    """Serves until its standard input ends."""
    port, directory, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "acceptor.cfg"
    path.write_text(SETTINGS.format(port=port, directory=directory, name=name))
    settings = quickfix.SessionSettings(str(path))
    store = quickfix.FileStoreFactory(settings)
    venue = Venue(directory)
    acceptor = quickfix.SocketAcceptor(venue, store, settings)
    acceptor.start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
