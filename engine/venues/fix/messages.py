"""Orders as FIX messages: pure, and the same after every restart.

ClOrdID is the order's id, and of a cancel request `{order}.{version}`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from engine.kernel.values import plain
from engine.venues.fix.tables import LIMIT_TIMES, ORDER_TYPES, SIDES, TIMES_IN_FORCE
from engine.venues.fix.wire import Field, time_text
from engine.venues.port import CancelTicket, Ticket


class Conventions(NamedTuple):
    """Agreements with a venue about market orders. One sent as such may cost more than its client has,
    and is parked then. A client's limit orders are sent as they are.
    """

    account: str | None = None
    order_type: Literal["limit", "market"] = "limit"
    time_in_force: Literal["day", "immediate"] = "day"


def order_named(client_id: str) -> str:
    """The order of a ClOrdID: of an order or of one of its cancel requests."""
    return client_id.partition(".")[0]


def new_order(ticket: Ticket, agreed: Conventions, *, is_repeated: bool = False) -> list[Field]:
    """NewOrderSingle, from MsgType on. `is_repeated`: sent before under another sequence number."""
    account = [] if agreed.account is None else [(1, agreed.account)]
    kind, price, time_in_force = agreed.order_type, ticket.price, TIMES_IN_FORCE[agreed.time_in_force]
    if ticket.limit_price is not None:
        kind, price = "limit", ticket.limit_price
        time_in_force = LIMIT_TIMES[ticket.time_in_force or "day"]
    limit = [(44, plain(price))] if kind == "limit" else []
    return [
        (35, "D"),
        *_repetition(is_repeated=is_repeated),
        (11, ticket.venue_order),
        *account,
        (21, "1"),
        *_instrument(ticket),
        (60, time_text(ticket.started_at_us)),
        (38, plain(ticket.quantity)),
        (40, ORDER_TYPES[kind]),
        *limit,
        (59, time_in_force),
    ]


def cancel_request(ticket: Ticket, cancel: CancelTicket, *, is_repeated: bool = False) -> list[Field]:
    """OrderCancelRequest, from MsgType on. `is_repeated` as in `new_order`."""
    return [
        (35, "F"),
        *_repetition(is_repeated=is_repeated),
        (41, ticket.venue_order),
        (11, cancel.reference),
        *_instrument(ticket),
        (60, time_text(cancel.asked_at_us)),
        (38, plain(ticket.quantity)),
    ]


def status_request(ticket: Ticket, request: str) -> list[Field]:
    """OrderStatusRequest, from MsgType on; `request` comes back in the answer."""
    return [(35, "H"), (790, request), (11, ticket.venue_order), *_instrument(ticket)]


def _repetition(*, is_repeated: bool) -> list[Field]:
    return [(97, "Y")] if is_repeated else []


def _instrument(ticket: Ticket) -> list[Field]:
    return [(55, ticket.symbol), (54, SIDES[ticket.side])]
