"""Limit orders at the simulated venue: they rest until a posted price meets them.

A row: the order, the price at its start, the prices posted later, and what the venue says in the end.
Times are the numbers of the prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from engine.domain.pricing import Price
from engine.kernel import limits
from engine.venues import resting
from engine.venues.port import CancelTicket, Ticket
from engine.venues.resting import Posted
from engine.venues.simulated import SimulatedVenue
from tests.support.models.table import rows
from tests.unit.test_venue import STARTED_US, Clock, ticket

SECOND_US = 1_000_000


class Tape:
    """Prices of one instrument, `bid/ask` each, posted a second apart; `-`: the market is closed."""

    def __init__(self, prices: str = "") -> None:
        self.posted: list[Posted] = []
        self.is_open = True
        self.reads = 0
        for words in prices.split():
            self.post(words)

    def post(self, words: str, at_us: int | None = None) -> None:
        number = len(self.posted) + 1
        at_us = STARTED_US + number * SECOND_US if at_us is None else at_us
        self.is_open = words != "-"
        price = Price(*map(Decimal, words.split("/")), at_us) if self.is_open else None  # type: ignore[misc]
        self.posted.append(Posted(at_us, number, price))

    def current(self, instrument: str) -> Price | None:
        assert instrument == "ins"
        return self.posted[-1].price if self.posted else None

    def since(self, instrument: str, at_us: int, number: int) -> Sequence[Posted]:
        assert instrument == "ins"
        self.reads += 1
        later = [one for one in self.posted if (one.at_us, one.number) > (at_us, number)]
        return sorted(later)[: limits.QUOTES_MAX]


def limited(side: str, limit: str, now: str, venue_order: str = "v1", **words: Any) -> Ticket:
    bid, ask = map(Decimal, now.split("/"))
    asked: dict[str, Any] = {
        "side": side,
        "cash_amount": Decimal(1000) if side == "buy" else None,
        "quantity": Decimal(10),
        "price": ask if side == "buy" else bid,
        "accrued_interest": Decimal(0),
        "order_type": "limit",
        "limit_price": Decimal(limit),
        "time_in_force": "day",
    }
    return ticket(venue_order, **asked | words)


def opened(tape: Tape, delay_us: int = 0) -> tuple[SimulatedVenue, Clock]:
    clock = Clock()
    return SimulatedVenue(clock, delay_us, tape=tape), clock


def said(venue: SimulatedVenue, after: int = 0) -> str:
    """Kind, quantity, price and second of each report."""
    words = []
    for _, one in venue.reports(after):
        at = "" if one.executed_at_us is None else f"@{(one.executed_at_us - STARTED_US) // SECOND_US}"
        words.append(f"{one.kind} {one.quantity}x{one.price}{at}" if one.kind == "trade" else one.kind)
    return ", ".join(words)


TABLE = """
side|limit|start |later              |asked|says
# at the start: below, at and above the ask of a buy, the bid of a sell
buy |101  |99/100|                   |     |trade 10x100@0, ended
buy |100  |99/100|                   |     |trade 10x100@0, ended
buy |99   |99/100|                   |     |
sell|98   |99/100|                   |     |trade 10x99@0, ended
sell|99   |99/100|                   |     |trade 10x99@0, ended
sell|100  |99/100|                   |     |
# prices that move: towards it, to it, past it, away
buy |98   |99/100|98/99              |     |
buy |98   |99/100|98/99 97/98        |     |trade 10x98@2, ended
buy |98   |99/100|95/96              |     |trade 10x96@1, ended
buy |98   |99/100|101/102            |     |
buy |98   |99/100|97/98 101/102      |     |trade 10x98@1, ended
sell|101  |99/100|100/101            |     |
sell|101  |99/100|101/102            |     |trade 10x101@1, ended
sell|101  |99/100|104/105            |     |trade 10x104@1, ended
sell|101  |99/100|97/98              |     |
# a side that nobody quotes, and a market that is closed
buy |98   |99/100|97/0               |     |
sell|101  |99/100|0/103              |     |
buy |98   |99/100|-                  |     |
buy |98   |99/100|- 97/98            |     |trade 10x98@2, ended
# parts, by the amounts that stand for them
buy |98   |99/100|97/98              |5001 |ended
buy |98   |99/100|97/98 96/97        |5002 |trade 4.00x98@1, ended
buy |101  |99/100|                   |5002 |trade 4.00x100@0, ended
sell|101  |99/100|101/102            |20   |trade 5.00x101@1, ended
"""


def _of(row: dict[str, str]) -> Ticket:
    words: dict[str, Any] = {}
    if row["asked"]:
        words = {"buy": {"cash_amount": Decimal(row["asked"])}, "sell": {"quantity": Decimal(20)}}[
            row["side"]
        ]
    return limited(row["side"], row["limit"], row["start"], **words)


@pytest.mark.parametrize("row", rows(TABLE), ids=lambda row: " ".join(filter(None, row.values())))
def test_it_rests_until_a_posted_price_meets_it(row: dict[str, str]) -> None:
    """Told of each price as it comes, of all at once, and of all after a crash: the same."""
    tape = Tape()
    venue, clock = opened(tape)
    venue.submit(_of(row))
    assert said(venue) == (row["says"] if not row["later"] else said(venue))
    for words in row["later"].split():
        tape.post(words)
        clock.now_us += SECOND_US
        said(venue)
    assert said(venue) == row["says"]
    assert (venue.status("v1").standing == "over") == bool(row["says"])
    late, clock = opened(Tape(row["later"]))
    late.submit(_of(row))
    clock.now_us += 10 * SECOND_US
    assert said(late) == row["says"]


RACES = """
posted at|asked at|delay|says
1        |2       |0    |trade 10x98@1, ended, cancel_rejected
2        |1       |0    |cancelled
1        |1       |0    |trade 10x98@1, ended, cancel_rejected
1        |2       |2    |cancelled
1        |3       |2    |trade 10x98@3, ended, cancel_rejected
"""


@pytest.mark.parametrize("row", rows(RACES), ids=lambda row: " ".join(row.values()))
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_cancel_races_with_a_price(row: dict[str, str], is_restarted: bool) -> None:
    tape = Tape()
    venue, clock = opened(tape, int(row["delay"]) * SECOND_US)
    asked_us = STARTED_US + int(row["asked at"]) * SECOND_US
    request = CancelTicket("v1", "v1.3", asked_us)
    order = limited("buy", "98", "99/100")
    if not is_restarted:
        venue.submit(order)
        assert said(venue) == ""
    tape.post("97/98", STARTED_US + int(row["posted at"]) * SECOND_US)
    clock.now_us = STARTED_US + 9 * SECOND_US
    if is_restarted:
        venue.submit(order)
    venue.cancel(request)
    venue.cancel(request)
    assert said(venue) == row["says"]
    tape.post("90/91")
    clock.now_us += SECOND_US
    assert said(venue) == row["says"]


def test_the_latest_price_counts_whenever_the_market_stated_it() -> None:
    """A feed that is late: stated before the order's start, and posted after it."""
    tape = Tape()
    venue, clock = opened(tape)
    venue.submit(limited("buy", "98", "99/100"))
    tape.post("97/98", STARTED_US - SECOND_US)
    clock.now_us += SECOND_US
    assert said(venue) == "trade 10x98@0, ended"


def test_nothing_is_read_while_no_price_is_posted() -> None:
    tape = Tape("99/100")
    venue, clock = opened(tape)
    for number in range(3):
        venue.submit(limited("buy", "98", "99/100", f"v{number}"))
    for _ in range(50):
        clock.now_us += SECOND_US
        assert said(venue) == ""
    assert tape.reads == 1


def test_many_prices_are_read_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long absence: no turn reads more than a page, and none is skipped."""
    monkeypatch.setattr(limits, "QUOTES_MAX", 3)
    monkeypatch.setattr(resting, "QUOTES_MAX", 3)
    tape = Tape("99/100 " * 7 + "97/98 " + "99/100 " * 7)
    venue, clock = opened(tape)
    venue.submit(limited("buy", "98", "99/100"))
    clock.now_us += 20 * SECOND_US
    turns = 0
    while not said(venue):
        clock.now_us += SECOND_US
        turns += 1
    assert said(venue) == "trade 10x98@8, ended"
    assert (turns, tape.reads) == (2, 3)


def test_an_order_that_is_told_late_looks_back_to_its_own_start() -> None:
    """After a restart the orders come one by one, the second with an earlier start."""
    tape = Tape("99/100 97/98 99/100 98/99")
    venue, clock = opened(tape)
    clock.now_us += 10 * SECOND_US
    venue.submit(limited("buy", "98", "99/100", "late", started_at_us=STARTED_US + 3 * SECOND_US))
    assert said(venue) == ""
    venue.submit(limited("buy", "98", "99/100", "early"))
    clock.now_us += SECOND_US
    assert said(venue) == "trade 10x98@2, ended"
    assert venue.status("late").standing == "open"
