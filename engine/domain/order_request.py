"""A client's order request, and validation of its shape."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.domain.instrument import Terms
from engine.kernel.refusals import invalid
from engine.kernel.values import CURRENCIES, Side, at_scale


class Pledge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The units of a maturing position that a rollover reinvests. Stored by position: append only."""

    position: str
    instrument: str
    quantity: Decimal


class OrderRequest(msgspec.Struct, frozen=True):
    """A buy has `cash_amount`, in the instrument's currency; a sell has `quantity`, in units.

    `request` is a keyed digest of the request in canonical form, None without an idempotency key;
    `rolled_from`: what a rollover, the engine's own request, reinvests.
    """

    side: Side
    cash_amount: Decimal | None = None
    quantity: Decimal | None = None
    automatic_rollover: bool = False
    purpose: str = "user_request"
    request: bytes | None = None
    rolled_from: Pledge | None = None


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
