"""The venue port: the interface of an adapter, and its input. See docs/venues.md.

A venue may answer late, twice, out of order, or not at all after it has acted. So every report goes
through `commands.take_report`, once per (venue, execution reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from engine.domain.order import CancelRequested, ExecutionStarted, ExpiryRequested, Order, Placed
from engine.domain.order_request import OrderType, TimeInForce
from engine.domain.report import Report
from engine.domain.script import Play
from engine.kernel.errors import Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.values import Side

Standing = Literal["unknown", "open", "over"]
EXECUTING: Final = "executing"
"""The status of an order at a venue."""


class VenueUnavailable(Unavailable):
    """The venue did not answer. It may have acted: `status` tells."""


class Ticket(msgspec.Struct, frozen=True):
    """An order as sent to a venue: at most `quantity` units, at `price` in the instrument's price type.

    `order_type` is `market` or `limit`. A limit order is executed at `limit_price` or better; `price` is
    the current one where there is any, else the limit. Its `time_in_force` is `day` or `gtc`; the engine
    itself asks to cancel it at `expires_at_us`, in business time.
    `venue_order` is our id for it there and makes `submit` idempotent; `order` is our own id.
    `cash_amount` of a buy is the client's. `started_at_us` is the time of its start in the journal.
    Orders of one `account` are sent one after the other. `price_type` is `percent` or `money`. `script`
    is for the simulated venue.
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
    account: str = ""
    currency: str = ""
    price_type: str = "money"
    script: Play | None = None
    order_type: OrderType = "market"
    limit_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    expires_at_us: int | None = None


class CancelTicket(msgspec.Struct, frozen=True):
    """A request to cancel, of a client or because the order's time is over.

    `reference` is unique to each request, and the same on a retry.
    """

    venue_order: str
    reference: str
    asked_at_us: int


class VenueStatus(NamedTuple):
    """The status of an order at the venue, with all its reports so far."""

    standing: Standing
    reports: Sequence[Report] = ()


class Numbered(NamedTuple):
    """A report in a venue's feed; numbers increase, with possible gaps."""

    number: int
    report: Report


class Capabilities(NamedTuple):
    """Abilities of a venue. An order that needs more is not sent there: it is cancelled.

    `times_in_force` of limit orders.
    `concurrency`: calls of `submit`, `cancel` and `status` at once, each from its own thread; with 1 all
    come from one thread.
    """

    order_types: frozenset[str] = frozenset({"market"})
    times_in_force: frozenset[str] = frozenset({"day"})
    has_fractional_units: bool = True
    concurrency: int = 1

    def takes(self, placed: Placed) -> bool:
        """Whether an order of this type can be sent."""
        is_in_time = placed.time_in_force is None or placed.time_in_force in self.times_in_force
        return placed.order_type in self.order_types and is_in_time


class Venue(Protocol):
    """The venue interface of execution. Any method may raise; the outcome is then unknown."""

    @property
    def name(self) -> str:
        """Name stored in facts and keys of reports: never changes."""

    @property
    def capabilities(self) -> Capabilities:
        """Its abilities; they never change while it is open."""

    def submit(self, ticket: Ticket) -> None:
        """Submits an order; repeating a `venue_order` has no effect."""

    def cancel(self, ticket: CancelTicket) -> None:
        """Requests a cancel. The answer is a report: `cancelled` or `cancel_rejected`."""

    def status(self, venue_order: str) -> VenueStatus:
        """The complete status of one order."""

    def reports(self, after: int) -> Sequence[Numbered]:
        """The reports after number `after`, of any order, in sequence; a bounded page.

        0 starts where the venue chooses; earlier reports may be repeated. A venue that delivers its
        reports by itself (to `POST /execution-reports`) has none here.
        """

    def close(self) -> None:
        """Ends its connections, so that another process can connect. A later call connects again.

        Execution calls it when it stops or has lost its lease; once more has no effect.
        """


def ticket_of(placed: Placed, started: ExecutionStarted) -> Ticket:
    """The ticket of an order; deterministic."""
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
        account=placed.account,
        currency=placed.currency,
        price_type=placed.price_type,
        script=started.script,
        order_type=placed.order_type,
        limit_price=placed.limit_price,
        time_in_force=placed.time_in_force,
        expires_at_us=placed.expires_at_us,
    )


class VenueRequest(NamedTuple):
    """The request to a venue about one order, sent or about to be."""

    ticket: Ticket
    cancel: CancelTicket | None


class SentOrder(NamedTuple):
    """An order as sent to a venue, with all requests to cancel it."""

    ticket: Ticket
    cancels: Sequence[CancelTicket]


def sent_order(order: Order, history: Sequence[Recorded]) -> SentOrder | None:
    """All that was asked about an order with this stream, whatever its status; None if never sent."""
    ticket: Ticket | None = None
    cancels: list[CancelTicket] = []
    for recorded in history:
        match recorded.fact:
            case ExecutionStarted() as started:
                ticket = ticket_of(order.terms, started)
            case CancelRequested(at_us=at_us) | ExpiryRequested(at_us=at_us) if ticket:
                reference = f"{ticket.venue_order}.{recorded.version}"
                cancels.append(CancelTicket(ticket.venue_order, reference, at_us))
    return SentOrder(ticket, cancels) if ticket else None


def sent_ticket(order: Order, history: Sequence[Recorded]) -> Ticket | None:
    """The ticket of an order with this stream, whatever its status; None if it was never sent."""
    sent = sent_order(order, history)
    return sent.ticket if sent else None


def request_of(order: Order, history: Sequence[Recorded]) -> VenueRequest | None:
    """The request to a venue for an order with this stream; None unless a venue is executing it."""
    sent = sent_order(order, history)
    if sent is None or order.status != EXECUTING:
        return None
    return VenueRequest(sent.ticket, sent.cancels[-1] if order.awaits_cancel else None)
