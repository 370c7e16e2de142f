"""A coupon and the maturity of one instrument in 100 000 accounts, beside the bare append of its facts.

    python -m bench.servicing                                  100 000 accounts on both databases
    python -m bench.servicing --databases sqlite --accounts 10000

Ours is the follower `servicing`: holders read from the views page by page, the state of each account
loaded, decided, recorded. The views keep up in turns, in this process; their time is reported apart.
Beside it as many facts are appended, a group at once, with nothing read and nothing decided.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.table import Table

from bench.measure import console, in_own_process
from engine.commands import decisions
from engine.commands.declaring import make
from engine.commands.desk import Command, Desk
from engine.domain.account import AccountOpened
from engine.domain.bookings import BuyBooked, BuySettled, CashDeposited, FundsReserved, PositionOpened
from engine.domain.instrument import Terms
from engine.domain.stored import engine_codec
from engine.followers.servicing import Servicing
from engine.journal.journal import Journal
from engine.journal.leases import Leases, new_holder
from engine.journal.writer import Append
from engine.kernel.fact import Envelope, Fact, to_us
from engine.kernel.ids import IdSource
from engine.kernel.limits import SERVED_BATCH
from engine.kernel.process import SERVICING, tame_collector
from projections.database import Views
from projections.runner import Runner
from projections.serviced import Sets

INSTRUMENT: Final = "ins_bond"
ISSUED, MATURITY = date(2025, 9, 15), date(2026, 9, 15)
BOND: Final = Terms(
    "A bond", "BOND", "bond", "USD", issuer_country="US", maturity_date=MATURITY, coupon=Decimal(6),
    coupon_frequency=1, day_count_convention="30_360", issue_date=ISSUED,
)  # fmt: skip
UNITS: Final = Decimal("10.00")
AIM_S, AIM_MB = 300.0, 400.0


class Event(NamedTuple):
    """A fact as the recorder takes it."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


def opened(account: str, number: int, at_us: int) -> list[Fact]:
    """An account that holds the bond, all settled."""
    position, order, trade = f"pos_{number}", f"ord_{number}", f"trd_{number}"
    cash = Decimal("1000.00")
    return [
        AccountOpened(account, "bench", "USD", (), at_us),
        CashDeposited(f"dep_{number}", "USD", cash, at_us),
        FundsReserved(order, "USD", cash, at_us),
        PositionOpened(position, INSTRUMENT, "USD", 2, at_us),
        BuyBooked(
            order=order, trade=trade, position=position, instrument=INSTRUMENT, currency="USD",
            price=Decimal(100), quantity=UNITS, notional=cash, fee=Decimal("0.00"),
            settlement_date=ISSUED + timedelta(days=1), automatic_rollover=False, at_us=at_us,
        ),
        BuySettled(order, trade, position, INSTRUMENT, UNITS, at_us),
    ]  # fmt: skip


def fill(journal: Journal, accounts: int, at_us: int, ids: IdSource) -> None:
    """Appends the accounts, a thousand at a time."""
    for start in range(0, accounts, 1_000):
        events = []
        for number in range(start, min(start + 1_000, accounts)):
            account = ids.new("acc")
            for version, fact in enumerate(opened(account, number, at_us), 1):
                events.append(event(journal, account, version, fact, at_us))
        append(journal, events, ids)


def event(journal: Journal, stream: str, version: int, fact: Fact, at_us: int) -> Event:
    """A fact in its envelope."""
    envelope = Envelope(at_us, tenant="bench", actor="bench")
    return Event(stream, version, *journal.codec.encode(envelope, fact, has_command=False))


def append(journal: Journal, events: Sequence[Event], ids: IdSource) -> None:
    """One group in one transaction."""
    command = ids.number().to_bytes(16, "big")
    rows: Any = journal.datastore.rows(events, command)  # type: ignore[arg-type]
    journal.datastore.append(Append(rows, command=command))


# --- what is measured -----------------------------------------------------------------------------


class Times:
    """Seconds of the follower and of the views."""

    def __init__(self) -> None:
        self.serving = self.showing = 0.0

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        done = work()
        setattr(self, name, getattr(self, name) + time.perf_counter() - began)
        return done


def serve(journal: Journal, views: Views, at_us: int) -> Times:
    """Everything that is due at this time, with the views in turns."""
    datastore, times = journal.datastore, Times()
    lease = Leases(datastore.store, datastore.tables, new_holder()).take(SERVICING)
    assert lease is not None
    desk = Desk(journal, now_us=lambda: at_us, lease=lease)
    acting = Servicing(desk, Sets(views), IdSource(), now_us=lambda: at_us)
    runner = Runner(journal, views)
    while True:
        rest_s = times.timed("serving", partial(acting.turn, lambda: None))
        shown = times.timed("showing", runner.catch_up)
        state = desk.state(INSTRUMENT).servicing
        if rest_s and not state.actions and state.is_redeemed and shown == journal.head:
            break
    Leases(datastore.store, datastore.tables, lease.name).release(lease)
    return times


def measured(case: dict[str, Any]) -> dict[str, float]:
    """One life: filled, shown, serviced."""
    ids, accounts = IdSource(), case["accounts"]
    at_us = to_us(datetime(2025, 9, 15, 12, tzinfo=UTC))
    make(case["journal"], "sandbox", at_us=at_us)
    with Journal(case["journal"], engine_codec()) as journal, closing(Views(case["views"])) as views:
        tame_collector()
        desk = Desk(journal, now_us=lambda: at_us)
        listing = partial(decisions.put_instrument, instrument=INSTRUMENT, terms=BOND)
        desk.do(Command(listing, None, "bench"))
        fill(journal, accounts, at_us, ids)
        began = time.perf_counter()
        Runner(journal, views).catch_up()
        filling_s = time.perf_counter() - began
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        head = journal.head
        times = serve(journal, views, to_us(datetime(2026, 9, 15, 12, tzinfo=UTC)))
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts = journal.head - head
        began = time.perf_counter()
        for group in groups(facts):
            account = ids.new("acc")
            events = [
                event(journal, account, version, CashDeposited("dep_1", "USD", Decimal(1), at_us), at_us)
                for version in range(1, group + 1)
            ]
            append(journal, events, ids)
        bare_s = time.perf_counter() - began
    return {
        "facts": facts,
        "serving_s": times.serving,
        "showing_s": times.showing,
        "filling_s": filling_s,
        "bare_s": bare_s,
        "memory_mb": memory_mb,
        "more_mb": memory_mb - before_mb,
    }


def groups(facts: int) -> Iterator[int]:
    """Sizes of groups."""
    while facts > 0:
        yield min(facts, SERVED_BATCH)
        facts -= SERVED_BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--one")
    words = parser.parse_args()
    if words.one:
        print(json.dumps(measured(json.loads(words.one))))
        return
    table = Table(
        "database", "facts", "serving s", "accounts/s", "views s", "bare append s", "memory MB"
    )
    for database in words.databases.split(","):
        with tempfile.TemporaryDirectory() as directory:
            row = one_of(database, Path(directory), words.accounts)
        rate = 2 * words.accounts / row["serving_s"]
        table.add_row(
            database, f"{row['facts']:.0f}", f"{row['serving_s']:.1f}", f"{rate:.0f}",
            f"{row['showing_s']:.1f}", f"{row['bare_s']:.1f}",
            f"{row['memory_mb']:.0f} (+{row['more_mb']:.0f})",
        )  # fmt: skip
        met = row["serving_s"] <= AIM_S and row["memory_mb"] <= AIM_MB
        console.print(f"{database}: {'met' if met else 'MISSED'}: {AIM_S:.0f} s, {AIM_MB:.0f} MB")
    console.print(table)


def one_of(database: str, directory: Path, accounts: int) -> dict[str, float]:
    """The figures of one database."""
    case: dict[str, Any] = {"accounts": accounts}
    if database == "sqlite":
        case |= {"journal": f"sqlite:///{directory}/journal.db", "views": f"sqlite:///{directory}/v.db"}
        return in_own_process("bench.servicing", **case)
    from tests.support.servers.postgres import open_server

    server = open_server()
    try:
        url = server.create_database()
        return in_own_process("bench.servicing", **case, journal=url, views=url)
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
