"""A FIX market in a process: `python -m tests.support.fix.market PORT DIRECTORY [OPTION=VALUE ...]`.

Its book is a file, `market.jsonl`: every order received and every report, before it is sent. A report
that may not have left before a kill is sent again after the next start, with PossResend. What becomes of
an order follows from its id alone (`fate_of`), so that a test knows it, too.

Options: `delay_ms` before each answer; `trap=POINT:TIMES:MARKER`, see TRAPS; `cuts=N`: the line is cut
after every N-th report; `gaps=N`: a sequence number is skipped before every N-th report.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import quickfix

from engine.venues.fix.wire import Field, time_text

TRAPS = {
    "order received, not in the book": "order",
    "order in the book, not answered": "answer",
    "report in the book, not sent": "report",
    "report sent, not noted as sent": "sent",
    "cancel received, not in the book": "cancel",
}
"""Point at which the process dies -> the name by which `Trap.touch` knows it."""
NAME = "MARKET"
RESTING = ("REST", "CASE")
"""Symbols whose orders rest: until they are cancelled, or a line of standard input, `execute ORDER`."""


class Fate(NamedTuple):
    """The fate of an order: `rejected`, or its parts, then perhaps a bust or a correction."""

    is_rejected: bool
    parts: int
    after: str  # "", "bust", "correct"


def fate_of(order: str) -> Fate:
    """2 % are rejected, 1 % busted, 1 % corrected; one to three parts."""
    chance = zlib.crc32(order.encode())
    percent = chance % 100
    after = {2: "bust", 3: "correct"}.get(percent, "")
    return Fate(percent < 2, 1 + chance // 100 % 3, after)


class Trap:
    """Dies at the n-th time of coming to a point, once: then there is the marker."""

    def __init__(self, said: str) -> None:
        self.point, self.left, self.marker = "", 0, Path()
        if said:
            point, times, marker = said.split(":")
            self.point, self.left, self.marker = TRAPS[point], int(times), Path(marker)

    def touch(self, point: str) -> None:
        if point != self.point or self.marker.exists():
            return
        self.left -= 1
        if not self.left:
            self.marker.touch()
            os._exit(9)


class Market(quickfix.Application):  # type: ignore[misc]
    """Orders by ClOrdID, and all reports. The lock guards both; QuickFIX is called without it."""

    def __init__(self, directory: Path, options: dict[str, str]) -> None:
        super().__init__()
        self.delay_s = int(options.get("delay_ms", "0")) / 1_000
        self.trap = Trap(options.get("trap", ""))
        self.cuts, self.gaps = int(options.get("cuts", "0")), int(options.get("gaps", "0"))
        self.lock = threading.RLock()
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.wake = threading.Condition()
        self.count = 0
        self.session: Any = None
        self.orders: dict[str, dict[str, Any]] = {}
        self.reports: list[dict[str, Any]] = []
        self.unsent: set[int] = set()
        path = directory / "market.jsonl"
        if path.exists():
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    self.apply(*json.loads(line))
        self.file = path.open("a")
        threading.Thread(target=self.work, daemon=True).start()

    # --- the book ---------------------------------------------------------------------------------

    def apply(self, what: str, said: Any) -> None:
        if what == "order":
            self.orders[said["order"]] = {
                "traded": "0", "status": "0", "trades": {}, "steps": 0, **said
            }  # fmt: skip
        elif what == "report":
            self.reports.append(said)
            self.unsent.add(said["number"])
            order = self.orders[said["order"]]
            order["status"] = said["status"]
            if said["type"] in ("F", "G"):
                order["trades"][said["id"]] = (said["quantity"], said["price"])
            if said["type"] in ("H", "G"):
                del order["trades"][said["of"]]
            traded = sum((Decimal(one) for one, _ in order["trades"].values()), Decimal(0))
            order["traded"] = said["traded"] = str(traded)
            order["steps"] += said["type"] != "4"
        elif what == "sent":
            self.unsent.discard(said)

    def note(self, what: str, said: Any) -> None:
        self.file.write(json.dumps([what, said]) + "\n")
        self.file.flush()
        self.apply(what, said)

    # --- time -------------------------------------------------------------------------------------

    def later(self, act: Callable[[], None]) -> None:
        with self.wake:
            self.count += 1
            heapq.heappush(self.due, (time.monotonic() + self.delay_s, self.count, act))
            self.wake.notify()

    def resume(self) -> None:
        """Resumes where the last process died: perhaps in the middle of orders."""
        self.later(self.send_again)
        for name in self.orders:
            self.later(partial(self.live, name))

    def work(self) -> None:
        while True:
            with self.wake:
                while not self.due or self.due[0][0] > time.monotonic():
                    self.wake.wait(self.due[0][0] - time.monotonic() if self.due else None)
                _, _, act = heapq.heappop(self.due)
            act()

    # --- messages ---------------------------------------------------------------------------------

    def onCreate(self, session: Any) -> None:  # noqa: N802
        self.session = session

    def onLogon(self, _: Any) -> None: ...  # noqa: N802
    def onLogout(self, _: Any) -> None: ...  # noqa: N802
    def toAdmin(self, message: Any, _: Any) -> None: ...  # noqa: N802
    def toApp(self, message: Any, _: Any) -> None: ...  # noqa: N802
    def fromAdmin(self, message: Any, _: Any) -> None: ...  # noqa: N802

    def fromApp(self, message: Any, _: Any) -> None:  # noqa: N802
        kind, name = message.getHeader().getField(35), message.getField(11)
        if kind == "D":
            said = {
                "order": name,
                "symbol": message.getField(55),
                "side": message.getField(54),
                "quantity": message.getField(38),
                "price": message.getField(44),
            }
            self.ordered(name, said)
        elif kind == "F":
            self.trap.touch("cancel")
            self.later(partial(self.cancelled, name, message.getField(41)))
        else:
            words = message.getField(55), message.getField(54), message.getField(790)
            self.later(partial(self.asked, name, *words))

    def send(self, fields: list[Field]) -> None:
        message = quickfix.Message()
        for tag, value in fields:
            (message.getHeader() if tag in (35, 43, 97) else message).setField(tag, value)
        quickfix.Session.sendToTarget(message, self.session)

    def send_again(self) -> None:
        """Reports that may not have left before a kill."""
        with self.lock:
            left = [self.reports[number] for number in sorted(self.unsent)]
        for said in left:
            self.send_report(said, is_repeated=True)

    def send_report(self, said: dict[str, Any], *, is_repeated: bool = False) -> None:
        self.trap.touch("report")
        number = said["number"]
        if self.gaps and number % self.gaps == self.gaps - 1:
            session = quickfix.Session.lookupSession(self.session)
            session.setNextSenderMsgSeqNum(session.getExpectedSenderNum() + 1)
        self.send([*self.fields(said), *([(97, "Y")] if is_repeated else [])])
        self.trap.touch("sent")
        with self.lock:
            if number in self.unsent:
                self.note("sent", number)
        if self.cuts and number % self.cuts == self.cuts - 1:
            quickfix.Session.lookupSession(self.session).disconnect()

    # --- orders -----------------------------------------------------------------------------------

    def ordered(self, name: str, said: dict[str, Any]) -> None:
        self.trap.touch("order")
        with self.lock:
            if name in self.orders:
                self.later(lambda: self.send(self.known_already(name)))
                return
            self.note("order", said)
        self.trap.touch("answer")
        self.later(lambda: self.live(name))

    def live(self, name: str) -> None:
        """An order's acknowledgment, then its trades, one after the other; nothing is said twice."""
        for number, step in enumerate(self.steps(name)):
            if number >= self.orders[name]["steps"]:
                self.send_report(step())

    def steps(self, name: str) -> list[Callable[[], dict[str, Any]]]:
        fate, order = fate_of(name), self.orders[name]
        say = partial(partial, self.report, name)
        if fate.is_rejected and order["symbol"] != "CASE":
            return [say("8", "8")]
        if order["symbol"] in RESTING:
            return [say("0", "0")]
        whole = Decimal(order["quantity"])
        part = (whole / fate.parts).quantize(Decimal("0.01"))
        parts = [part] * (fate.parts - 1) + [whole - part * (fate.parts - 1)]
        trades = [
            say("F", "2" if number == fate.parts else "1", quantity=str(quantity))
            for number, quantity in enumerate(parts, 1)
        ]
        return [
            say("0", "0"),
            *trades,
            *([partial(self.change, name, fate.after)] if fate.after else []),
        ]

    def change(self, name: str, after: str) -> dict[str, Any]:
        """A bust, or a correction of the first trade to another price."""
        with self.lock:
            of = next(iter(self.orders[name]["trades"]))
            quantity, price = self.orders[name]["trades"][of]
            if after == "bust":
                return self.report(name, "H", "2", of=of)
            lower = str(Decimal(price) - Decimal("0.5"))
            return self.report(name, "G", "2", of=of, quantity=quantity, price=lower)

    def report(self, name: str, kind: str, status: str, **said: str) -> dict[str, Any]:
        """A report, in the book before it is sent."""
        with self.lock:
            number = len(self.reports)
            order = self.orders[name]
            said = {"quantity": "0", "price": order["price"], "of": ""} | said
            self.note("report", {
                "number": number, "order": name, "id": f"x{number}", "type": kind, "status": status,
                "at": time_text(time.time_ns() // 1_000), **said,
            })  # fmt: skip
            return self.reports[number]

    def execute(self, name: str) -> None:
        """Trades all units of a resting order."""
        while name not in self.orders or self.orders[name]["steps"] == 0:  # on its way
            time.sleep(0.01)
        self.send_report(self.report(name, "F", "2", quantity=self.orders[name]["quantity"]))

    def cancelled(self, request: str, name: str) -> None:
        with self.lock:
            order = self.orders.get(name)
            is_open = order is not None and order["status"] in ("0", "1")
            said = self.report(name, "4", "4", of=request) if is_open else None
        if said is None:
            self.send(
                [(35, "9"), (37, "M"), (11, request), (41, name), (39, "2"), (434, "1"), (102, "0")]
            )
        else:
            self.send_report(said)

    def asked(self, name: str, symbol: str, side: str, request: str) -> None:
        with self.lock:
            known = self.orders.get(name)
            fields = self.state(name, "I") if known else []
        unknown = [
            (35, "8"), (37, "NONE"), (11, name), (17, "0"), (150, "I"), (39, "8"), (103, "5"),
            (55, symbol), (54, side), (151, "0"), (14, "0"), (6, "0"),
        ]  # fmt: skip
        self.send([*(fields or unknown), (790, request)])

    def known_already(self, name: str) -> list[Field]:
        return [*self.state(name, "8"), (103, "6")]

    def state(self, name: str, kind: str) -> list[Field]:
        order = self.orders[name]
        left = Decimal(order["quantity"]) - Decimal(order["traded"])
        left = left if order["status"] in ("0", "1") else Decimal(0)
        status = "8" if kind == "8" else order["status"]
        return [
            (35, "8"), (37, f"M-{name}"), (11, name), (17, "0"), (150, kind), (39, status),
            (55, order["symbol"]), (54, order["side"]), (38, order["quantity"]), (151, str(left)),
            (14, order["traded"]), (6, "0"), (60, time_text(time.time_ns() // 1_000)),
        ]  # fmt: skip

    def fields(self, said: dict[str, Any]) -> list[Field]:
        """The message of a report: the same whenever it is sent."""
        order, name = self.orders[said["order"]], said["order"]
        left = Decimal(order["quantity"]) - Decimal(said["traded"])
        left = left if said["status"] in ("0", "1") else Decimal(0)
        is_cancel = said["type"] == "4"
        fields = [
            (35, "8"), (37, f"M-{name}"), (11, said["of"] if is_cancel else name), (17, said["id"]),
            (150, said["type"]), (39, said["status"]), (55, order["symbol"]), (54, order["side"]),
            (38, order["quantity"]), (151, str(left)), (14, said["traded"]), (6, "0"),
            (60, said["at"]),
        ]  # fmt: skip
        if said["type"] in ("F", "G"):
            fields += [(32, said["quantity"]), (31, said["price"])]
        if said["type"] in ("G", "H"):
            fields.append((19, said["of"]))
        if is_cancel:
            fields.append((41, name))
        if said["type"] == "8":
            fields += [(103, "0"), (58, "not today")]
        return fields


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
    port, directory, *words = sys.argv[1:]
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    path = place / "market.cfg"
    path.write_text(SETTINGS.format(port=port, directory=place, name=NAME))
    settings = quickfix.SessionSettings(str(path))
    store = quickfix.FileStoreFactory(settings)
    market = Market(place, dict(word.split("=", 1) for word in words))
    acceptor = quickfix.SocketAcceptor(market, store, settings)
    acceptor.start()
    print("ready", flush=True)
    market.resume()  # it may die of its trap
    for line in sys.stdin:
        market.execute(line.split()[-1])
        print("executed", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
