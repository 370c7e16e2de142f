"""A FIX venue in a process of its own, so that it can be killed: `PORT DIRECTORY TARGET [POINT]`.

It takes calls as lines of JSON, `["submit", "ord_1", "FILL"]`, and answers each by one. At a POINT, see
POINTS, it kills itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.venues.fix.config import config_of
from engine.venues.fix.initiator import Initiator
from engine.venues.fix.session import FixVenue
from engine.venues.port import CancelTicket, Ticket, VenueUnavailable
from tests.support.fix.wire import ticket

POINTS = {
    "order_logged": (">", "35=D", True),
    "order_not_logged": (">", "35=D", False),
    "trade_logged": ("<", "150=F", True),
    "trade_not_logged": ("<", "150=F", False),
}
"""A message, and whether the process dies after or before it is in the log."""


def ticket_of(journal: Path, order: str) -> Ticket:
    """`ord_FILL_1` is an order for the symbol FILL; a restart finds it as it was."""
    kept = journal / order
    if not kept.exists():
        kept.write_text(str(time.time_ns() // 1_000))
    return ticket(order, order.split("_")[1], "10.5000", int(kept.read_text()))


def dying(point: str) -> Callable[..., None]:
    """The noting of a message, up to the point."""
    direction, part, is_logged = POINTS[point]
    plain = Initiator.note

    def note(self: Any, way: Any, text: str, *, is_read: bool) -> None:
        is_it = way == direction and f"\x01{part}\x01" in text
        if not is_it or is_logged:
            plain(self, way, text, is_read=is_read)
        if is_it:
            os._exit(9)

    return note


def main() -> None:
    """Answers calls until its standard input ends."""
    port, directory, target, *points = sys.argv[1:]
    for point in points:
        Initiator.note = dying(point)  # type: ignore[method-assign]
    journal = Path(directory).with_name("journal")
    journal.mkdir(exist_ok=True)
    find = partial(ticket_of, journal)
    options = {"host": "127.0.0.1", "port": port, "sender": "US", "target": target}
    venue = FixVenue("lse", config_of(options), Path(directory), find)
    for line in sys.stdin:
        name, *words = json.loads(line)
        try:
            answer = call(venue, find, name, words)
        except VenueUnavailable as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    venue.close()


def call(venue: Any, find: Callable[[str], Ticket], name: str, words: list[Any]) -> Any:
    """The result of a call, in plain values."""
    if name == "submit":
        return venue.submit(find(words[0]))
    if name == "cancel":
        return venue.cancel(CancelTicket(words[0], f"{words[0]}.4", find(words[0]).started_at_us))
    if name == "status":
        standing, reports = venue.status(words[0])
        return [standing, [report.kind for report in reports]]
    return [[number, one.order, one.kind, str(one.quantity)] for number, one in venue.reports(words[0])]


if __name__ == "__main__":
    main()
