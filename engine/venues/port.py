"""The port: what the engine asks of a venue, and how an order becomes a ticket.

A venue may answer late, twice, out of order, or not at all after having done what it was asked. Nothing
here is believed at once: every report goes through `commands.take_report`, once per
(venue, execution reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from engine.domain.order import CancelRequested, ExecutionStarted, Order, Placed
from engine.domain.report import Report
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.values import Side

Standing = Literal["unknown", "open", "over"]
EXECUTING: Final = "executing"
"""The status of an order that a venue has."""


class VenueUnavailable(Unavailable):
    """The venue did not answer. It may have done what it was asked: `status` tells."""


class Ticket(msgspec.Struct, frozen=True):
    """An order as a venue is given it: at most `quantity` units, at `price` as the instrument is priced.

    `venue_order` is our name for it there and makes `submit` repeatable; `order` is our own id.
    `cash_amount` of a buy is what its client asked for. `started_at_us` is when it began, by
    the journal.
    """

    venue_order: str
    order: str
    instrument: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    accrued_interest: Decimal
    trading_increment: Decimal
    cash_amount: Decimal | None
    started_at_us: int


class CancelTicket(msgspec.Struct, frozen=True):
    """A client's cancel request. `reference` is new for each request, the same when it is sent again."""

    venue_order: str
    reference: str
    asked_at_us: int


class Status(NamedTuple):
    """Where an order stands at the venue, and all that the venue has reported of it so far."""

    standing: Standing
    reports: Sequence[Report] = ()


class Numbered(NamedTuple):
    """A report in a venue's feed; numbers grow, and may have holes."""

    number: int
    report: Report


class Venue(Protocol):
    """What execution needs of a venue. Any method may raise; that says nothing about the outcome."""

    @property
    def name(self) -> str:
        """Stands in facts and keys reports: never changes."""

    def submit(self, ticket: Ticket) -> None:
        """Hands an order in; a `venue_order` that was handed in before changes nothing."""

    def cancel(self, ticket: CancelTicket) -> None:
        """Asks to stop. The answer is a report: `cancelled` or `cancel_rejected`."""

    def status(self, venue_order: str) -> Status:
        """The whole truth about one order."""

    def reports(self, after: int) -> Sequence[Numbered]:
        """What the venue said after number `after`, of any order, in its order; a bounded page.

        0 asks from wherever the venue likes to begin; what came before may come again.
        """


def ticket_of(placed: Placed, started: ExecutionStarted) -> Ticket:
    """The ticket of an order, the same whenever it is made anew."""
    return Ticket(
        venue_order=started.venue_order,
        order=placed.order,
        instrument=placed.instrument,
        symbol=placed.symbol,
        side=placed.side,
        quantity=started.quantity,
        price=started.price,
        accrued_interest=started.accrued_interest,
        trading_increment=placed.trading_increment,
        cash_amount=placed.cash_amount,
        started_at_us=started.at_us,
    )


class Asked(NamedTuple):
    """What a venue has been asked, or was about to be, about one order."""

    ticket: Ticket
    cancel: CancelTicket | None


def asked_of(order: Order, history: Sequence[Recorded]) -> Asked | None:
    """What to ask a venue about an order with this stream; None unless a venue is executing it."""
    ticket: Ticket | None = None
    cancel: CancelTicket | None = None
    for recorded in history:
        match recorded.fact:
            case ExecutionStarted() as started:
                ticket = ticket_of(order.terms, started)
            case CancelRequested(at_us=at_us) if ticket:
                reference = f"{ticket.venue_order}.{recorded.version}"
                cancel = CancelTicket(ticket.venue_order, reference, at_us)
    if ticket is None or order.status != EXECUTING:
        return None
    return Asked(ticket, cancel if order.cancel_requested else None)
