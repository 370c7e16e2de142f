"""The gateway's memory: a file of orders, cancels and reports, so that a crash forgets nothing.

Everything is written before it is acted on or answered. One line for each event, in JSON.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any


class Book:
    """Orders by our id, with their reports. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self.orders: dict[str, dict[str, Any]] = {}
        self.cancels: dict[str, str] = {}  # reference -> order
        self.reports: list[dict[str, Any]] = []
        self.delivered = 0  # how many of them the engine has
        if path.exists():
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # else it was being written when the process died
                    self._apply(*json.loads(line))
        self._file = path.open("a")

    def _apply(self, what: str, said: Any) -> None:
        if what == "order":
            self.orders[said["order"]] = {**said, "is_over": False}
        elif what == "cancel":
            self.cancels[said["reference"]] = said["order"]
        elif what == "report":
            self.reports.append(said)
            if said["exec_type"] in {"rejected", "cancelled", "expired"}:
                self.orders[said["order"]]["is_over"] = True
        else:
            self.delivered = said

    def write(self, what: str, said: Any) -> None:
        """Keeps an event, on the disk before in memory."""
        with self.lock:
            self._file.write(json.dumps([what, said]) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._apply(what, said)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def add_order(self, order: dict[str, Any]) -> bool:
        """Keeps an order; False if it is known."""
        with self.lock:
            if order["order"] in self.orders:
                return False
            self.write("order", order)
            return True

    def add_cancel(self, reference: str, order: str) -> None:
        """Keeps a cancel request, once for each reference."""
        with self.lock:
            if reference not in self.cancels:
                self.write("cancel", {"reference": reference, "order": order})

    def add_report(self, report: dict[str, Any]) -> None:
        """Keeps a report, once for each reference."""
        with self.lock:
            known = {one["execution_reference"] for one in self.reports}
            if report["execution_reference"] not in known:
                self.write("report", report)

    def status(self, order: str) -> dict[str, Any]:
        """The answer to the engine about an order."""
        with self.lock:
            known = self.orders.get(order)
            if known is None:
                return {"status": "unknown"}
            reports = [
                {name: value for name, value in one.items() if name not in {"venue", "order"}}
                for one in self.reports
                if one["order"] == order
            ]
            return {"status": "over" if known["is_over"] else "open", "reports": reports}
