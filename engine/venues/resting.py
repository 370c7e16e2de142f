"""Limit orders that rest at the simulated venue, and the posted prices that execute them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

from engine.domain import pricing
from engine.domain.pricing import Price
from engine.kernel.limits import QUOTES_MAX
from engine.venues.port import Ticket

_UNREAD: Final = object()


class Posted(NamedTuple):
    """A price posted at a market time; `price` is None if nothing was traded at it. Ordered by time and
    `number`.
    """

    at_us: int
    number: int
    price: Price | None


class Tape(Protocol):
    """The posted prices of instruments."""

    def current(self, instrument: str) -> Price | None:
        """The price at which it is traded now, the same object until there is another; None while its
        market is closed.
        """

    def since(self, instrument: str, at_us: int, number: int) -> Sequence[Posted]:
        """The prices posted after one, at most QUOTES_MAX. Raises Unavailable."""


class Match(NamedTuple):
    """A resting order that is executed at a posted price, posted at a market time."""

    ticket: Ticket
    price: Decimal
    at_us: int


class _Book:
    """The resting orders of an instrument; its prices are read up to (`at_us`, `number`)."""

    def __init__(self, at_us: int) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.at_us = at_us
        self.number = 0
        self.seen: object = _UNREAD


def execution_price(ticket: Ticket, price: Price | None) -> Decimal | None:
    """The ask of a buy or the bid of a sell if an order can be executed at it, else None."""
    if price is None:
        return None
    quoted = price.ask if ticket.side == "buy" else price.bid
    return quoted if quoted > 0 and meets(ticket, quoted) else None


def meets(ticket: Ticket, price: Decimal) -> bool:
    """Whether a price is the order's limit or better; any is for a market order."""
    limit = ticket.limit_price
    return limit is None or pricing.meets(ticket.side, limit, price)


class Resting:
    """All resting orders. Each is executed at the first price posted after its start that meets its
    limit, so the same prices give the same trades after a crash.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._books: dict[str, _Book] = {}

    def add(self, ticket: Ticket) -> None:
        """An order begins to rest. Prices since its start that were read before are read again."""
        started_us = ticket.started_at_us
        book = self._books.setdefault(ticket.instrument, _Book(started_us))
        book.tickets[ticket.venue_order] = ticket
        book.seen = _UNREAD
        if started_us < book.at_us:
            book.at_us, book.number = started_us, 0

    def remove(self, ticket: Ticket) -> None:
        """An order no longer rests, if it did."""
        book = self._books.get(ticket.instrument)
        if book is not None:
            book.tickets.pop(ticket.venue_order, None)
            if not book.tickets:
                del self._books[ticket.instrument]

    def match(self) -> list[Match]:
        """Orders that rest no longer, as new prices execute them. Raises Unavailable."""
        found = [match for name, book in self._books.items() for match in self._matches(name, book)]
        for one in found:
            self.remove(one.ticket)
        return found

    def _matches(self, instrument: str, book: _Book) -> list[Match]:
        """From a page of prices, and once all are read from the current one, whenever it was posted."""
        current = self._tape.current(instrument)
        if current is book.seen:
            return []
        page = self._tape.since(instrument, book.at_us, book.number)
        found: dict[str, Match] = {}
        for posted in page:
            book.at_us, book.number = posted.at_us, posted.number
            for name, ticket in book.tickets.items():
                price = execution_price(ticket, posted.price)
                if price is not None and name not in found and posted.at_us > ticket.started_at_us:
                    found[name] = Match(ticket, price, posted.at_us)
        if len(page) < QUOTES_MAX:
            book.seen = current
            for name, ticket in book.tickets.items():
                price = execution_price(ticket, current)
                if price is not None and current is not None and name not in found:
                    found[name] = Match(ticket, price, max(current.at_us, ticket.started_at_us))
        return list(found.values())
