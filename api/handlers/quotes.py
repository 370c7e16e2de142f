"""Quotes of orders."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from api.http.call import Answer, Call
from api.http.repeating import first_answer, once
from engine.commands import decisions
from engine.commands.command import Command
from engine.domain.order_quote import OrderQuote
from engine.domain.order_request import OrderRequest
from engine.journal.store import no_companion
from engine.kernel.times import rfc3339
from engine.kernel.values import plain
from projections import shapes
from projections.resources import encode, price

REQUEST: Final = ("side", "cash_amount", "quantity", "limit_price")
"""Fields of the body that an order has too."""


class OrderQuoteBody(msgspec.Struct, frozen=True):
    """A quote: what the order would come to now.

    `estimated_quantity` units at `estimated_price` (in the instrument's price type) and
    `accrued_interest` per unit would cost or bring `estimated_cash`, fees included. `fees` are the
    quoted fee of a buy, which its trades share; those of a sell at that price.
    """

    id: shapes.QuoteId
    instrument: shapes.InstrumentId
    side: shapes.OrderSide
    cash_amount: shapes.Money | None
    net_cash_amount: shapes.Money | None
    quantity: shapes.Units | None
    fees: shapes.Money
    estimated_price: shapes.Price
    estimated_quantity: shapes.Units
    estimated_cash: shapes.Money
    accrued_interest: shapes.SignedPrice
    settlement_date: shapes.Day
    limit_price: shapes.Price | None
    is_binding: bool
    expires_at: shapes.Time


async def give(call: Call) -> Answer:
    """Quotes an order, which is not placed. A repeated key has the first quote, whatever its age."""
    first = await first_answer(call)
    if first is not None:
        return first
    body, services, principal = call.body, call.engine, call.principal
    decide = partial(
        decisions.quote_order,
        firm=services.firm,
        tenant=principal.tenant,
        account=call.path["account_id"],
        quote=services.firm.ids.new("quo"),
        instrument=body["instrument"],
        order_request=OrderRequest(
            order_type="market" if body["limit_price"] is None else "limit",
            **{name: body[name] for name in REQUEST},
        ),
        may_wait=call.may_wait,
    )
    refresh = services.market.refresh
    await services.bridge.read(refresh)  # includes prices recorded by other processes
    outcome = await services.bridge.do(
        Command(decide, principal.tenant, principal.client, refresh=refresh)
    )
    services.saw(principal.client, outcome.offset)
    keep = partial(services.order_quotes.keep, principal.tenant, outcome.value)
    return await once(call, keep, _answer, no_companion)


def _answer(quote: OrderQuote) -> Answer:
    terms = quote.terms
    is_buy = terms.cash_amount is not None
    body = OrderQuoteBody(
        id=quote.id,
        instrument=terms.instrument,
        side=terms.side,
        cash_amount=None if terms.cash_amount is None else plain(terms.cash_amount),
        net_cash_amount=None if terms.net_cash_amount is None else plain(terms.net_cash_amount),
        quantity=None if is_buy or terms.quantity is None else plain(terms.quantity),
        fees=plain(quote.fees),
        estimated_price=price(terms.price),
        estimated_quantity=plain(quote.quantity),
        estimated_cash=plain(quote.cash),
        accrued_interest=price(terms.accrued_interest),
        settlement_date=terms.settlement_date.isoformat(),
        limit_price=None if terms.limit_price is None else price(terms.limit_price),
        is_binding=False,
        expires_at=rfc3339(quote.expires_at_us),
    )
    return Answer(200, encode(body))
