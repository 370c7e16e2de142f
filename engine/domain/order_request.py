"""A client's order request, and validation of its shape."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from engine.domain.instrument import Terms
from engine.kernel.refusals import invalid
from engine.kernel.values import CURRENCIES, PRICE_PLACES, Side, at_scale

OrderType = Literal["market", "limit"]
TimeInForce = Literal["day", "gtc"]
LIMITED: Final = ("etf", "stock")
"""Types of instruments that limit orders are for."""


class Pledge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The units of a maturing position that a rollover reinvests. Stored by position: append only."""

    position: str
    instrument: str
    quantity: Decimal


class OrderRequest(msgspec.Struct, frozen=True):
    """A buy has `cash_amount`, in the instrument's currency; a sell has `quantity`, in units.

    A `limit` order has a `limit_price` in the instrument's price type, and a `time_in_force`, None for
    `day`.
    `request` is a keyed digest of the request in canonical form, None without an idempotency key;
    `rolled_from`: what a rollover, the engine's own request, reinvests. `quote`: a quote for the same,
    which the order uses up.
    """

    side: Side
    cash_amount: Decimal | None = None
    quantity: Decimal | None = None
    automatic_rollover: bool = False
    purpose: str = "user_request"
    request: bytes | None = None
    rolled_from: Pledge | None = None
    order_type: OrderType = "market"
    limit_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    quote: str | None = None


OURS: Final = frozenset({"purpose", "request", "rolled_from"})
ASKED: Final = tuple(name for name in OrderRequest.__struct_fields__ if name not in OURS)
"""Fields that a client gives, under the names that the API has for them."""


def amount_of(order_request: OrderRequest, terms: Terms) -> Decimal:
    """The buy's cash amount or the sell's quantity, at scale.

    Raises Refused `missing_param` without it, `invalid_param` for the other side's amount, for one not
    above 0 or too fine, or if a client asks for the rollover of an instrument that does not roll over.
    """
    if order_request.side == "buy":
        name, given, unwanted = "cash_amount", order_request.cash_amount, order_request.quantity
        other, places = "quantity", CURRENCIES[terms.trading_currency]
    else:
        name, given, unwanted = "quantity", order_request.quantity, order_request.cash_amount
        other, places = "cash_amount", terms.decimal_precision
    if unwanted is not None:
        raise invalid(
            other, "unexpected_param", f"does not go with a {order_request.side}, which takes `{name}`"
        )
    if given is None:
        raise invalid(name, "missing_param")
    amount = at_scale(given, places)
    if amount is None:
        raise invalid(name, "invalid_decimal", places=places)
    if not amount:
        raise invalid(name, "not_positive")
    if (
        order_request.automatic_rollover
        and order_request.rolled_from is None
        and (order_request.side == "sell" or not terms.supports_automatic_rollover)
    ):
        raise invalid("automatic_rollover", "not_supported")
    return amount


class Limit(NamedTuple):
    """The worst price of a limit order, at most 8 decimals, and the time for which it is in force."""

    price: Decimal
    time_in_force: TimeInForce


def limit_of(order_request: OrderRequest, terms: Terms) -> Limit | None:
    """The limit of a limit order; None for a market order.

    Raises Refused `missing_param` without a limit price, `invalid_param` for one that is not above 0 or
    too fine, for an instrument that has no limit orders, and for a market order with either field.
    """
    price, time_in_force = order_request.limit_price, order_request.time_in_force
    if order_request.order_type == "market":
        for name, given in (("limit_price", price), ("time_in_force", time_in_force)):
            if given is not None:
                raise invalid(name, "unexpected_param", "does not go with a market order")
        return None
    if terms.instrument_type not in LIMITED:
        raise invalid(
            "order_type", "not_supported", "must be market: limit orders are for ETFs and stocks"
        )
    if price is None:
        raise invalid("limit_price", "missing_param")
    limit = at_scale(price, PRICE_PLACES)
    if limit is None:
        raise invalid("limit_price", "invalid_decimal", places=PRICE_PLACES)
    if not limit:
        raise invalid("limit_price", "not_positive")
    return Limit(limit, time_in_force or "day")
