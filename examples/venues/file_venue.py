"""A venue in under 100 lines: a trading desk that works through files in a shared folder.

    orders/ORDER.json        the engine writes an order; the desk executes it
    cancels/REFERENCE.json   the engine asks for a cancel
    reports.jsonl            the desk appends a line for each report:
                             {"id", "order", "kind", "price", "quantity", "at"}

`kind` is trade, ended, cancelled or cancel_rejected; `at` is RFC 3339. To use it, install a package with

    [project.entry-points."order_engine.venues"]
    file = "file_venue:open_venue"

and set `venues = {desk = "file,folder=/srv/desk"}`. It passes `order_engine.testing.venue_cases`.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.domain.report import Report
from engine.kernel.errors import BadSettings
from engine.venues.port import CancelTicket, Capabilities, Numbered, Ticket, VenueStatus
from engine.venues.registry import Site

PAGE = 1000
OVER = {"ended", "cancelled"}


class FileVenue:
    """The engine's side of the folder. The files are the truth, so a restart needs nothing."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        takes = frozenset({"market", "limit"}), frozenset({"day", "gtc"})
        self.capabilities = Capabilities(*takes, concurrency=4)
        self._folder = folder

    def submit(self, ticket: Ticket) -> None:
        order = {"symbol": ticket.symbol, "side": ticket.side, "quantity": str(ticket.quantity)}
        if ticket.limit_price is not None:
            order |= {"limit": str(ticket.limit_price), "time_in_force": ticket.time_in_force or "day"}
        self._write_once("orders", ticket.venue_order, order)

    def cancel(self, ticket: CancelTicket) -> None:
        self._write_once("cancels", ticket.reference, {"order": ticket.venue_order})

    def status(self, venue_order: str) -> VenueStatus:
        if not (self._folder / "orders" / f"{venue_order}.json").exists():
            return VenueStatus("unknown")
        own = [one.report for one in self._all() if one.report.order == venue_order]
        return VenueStatus("over" if any(one.kind in OVER for one in own) else "open", own)

    def reports(self, after: int) -> Sequence[Numbered]:
        return self._all()[after : after + PAGE]

    def close(self) -> None:
        """Files stay as they are."""

    def _write_once(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """A whole file or none, on the disk before it returns; one that is there stays."""
        place = self._folder / kind / f"{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".tmp")
        with draft.open("w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, place)
        draft.unlink()

    def _all(self) -> list[Numbered]:
        """Every report, numbered by line; a line that is still being written has no end."""
        place = self._folder / "reports.jsonl"
        lines = place.read_text().splitlines(keepends=True) if place.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [Numbered(number, self._report(said)) for number, said in enumerate(whole, 1)]

    def _report(self, said: dict[str, Any]) -> Report:
        price, quantity = (said.get(name) for name in ("price", "quantity"))
        return Report(
            self.name, said["id"], said["order"], said["kind"],
            price=None if price is None else Decimal(price),
            quantity=None if quantity is None else Decimal(quantity),
            executed_at_us=round(datetime.fromisoformat(said["at"]).timestamp() * 1_000_000),
        )  # fmt: skip


def open_venue(site: Site) -> FileVenue:
    if "folder" not in site.options:
        raise BadSettings(f"the venue {site.name} needs the option folder")
    return FileVenue(site.name, Path(site.options["folder"]))
