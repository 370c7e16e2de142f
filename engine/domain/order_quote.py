"""Quotes of orders: the figures of an order that is not placed, and their use by one that is.

A quote is the order that `trading.place` would accept at that moment, so it is refused for what would
refuse the order. It reserves nothing and binds neither side: the order that names it is executed at the
market. Quotes are rows (`engine.registers.order_quotes`); only their use is a fact. A market's quotes
are in `engine.domain.quote`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple, assert_never

import msgspec

from engine.domain import booking, pricing
from engine.domain.instrument import Instrument
from engine.domain.order import Placed
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.refusals import refused
from engine.kernel.times import rfc3339
from engine.kernel.values import EXACT

# --- facts ---------------------------------------------------------------------------------------


class QuoteConsumed(Fact, frozen=True):
    """An order was placed by a quote, which no other order can name. The only fact of its stream.

    The figures that were quoted stay here, since the row is purged: `price` with `accrued_interest` per
    unit, the estimated `quantity`, and `cash`, which the account would pay or get, fees included.
    """

    order: str
    account: str
    price: Decimal
    accrued_interest: Decimal
    quantity: Decimal
    cash: Decimal
    quoted_at_us: int
    at_us: int


QuoteFact = QuoteConsumed
FACTS: Final = frozenset({QuoteConsumed})

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 1
"""Number of the state's shape: see `streams`."""


class ConsumedQuote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A quote that an order has used."""

    terms: QuoteConsumed


class OrderQuote(msgspec.Struct, frozen=True):
    """A quote: the `terms` of an order as it would be placed now, under the quote's id.

    `listing` is the instrument as it was (`listing_of`); `expires_at_us` in wall time.
    """

    terms: Placed
    listing: str
    expires_at_us: int

    @property
    def id(self) -> str:
        """The quote's id, `quo_...`."""
        return self.terms.order

    @property
    def quantity(self) -> Decimal:
        """The units that are traded at the quoted price."""
        terms = self.terms
        if terms.quantity is not None:
            return terms.quantity
        assert terms.net_cash_amount is not None
        return pricing.quantity_for(terms.net_cash_amount, unit_price(terms), terms.trading_increment)

    @property
    def notional(self) -> Decimal:
        """The worth of the units, before fees."""
        return self.terms.notional_of(EXACT.multiply(self.quantity, unit_price(self.terms)))

    @property
    def fees(self) -> Decimal:
        """The quoted fee of a buy, which its trades share; the fees of a sell at the quoted price."""
        terms = self.terms
        if terms.cash_amount is None or terms.net_cash_amount is None:
            return booking.fees_at(terms, self.notional)
        return EXACT.subtract(terms.cash_amount, terms.net_cash_amount)

    @property
    def cash(self) -> Decimal:
        """The cash that a buy costs or a sell brings, fees included."""
        charged = booking.fees_at(self.terms, self.notional)
        is_buy = self.terms.side == "buy"
        return (EXACT.add if is_buy else EXACT.subtract)(self.notional, charged)


def listing_of(instrument: Instrument) -> str:
    """Words that change with each change of the instrument's terms, symbol or splits."""
    return f"{instrument.modified_at_us} {instrument.unit}"


def unit_price(terms: Placed) -> Decimal:
    """The price of one unit, accrued interest included."""
    return pricing.unit_price(terms.price, terms.accrued_interest, terms.price_type, terms.par_value)


# --- decisions -----------------------------------------------------------------------------------

REQUESTED: Final = ("instrument", "side", "cash_amount", "quantity", "limit_price")
"""Terms in which an order has to ask for the same as its quote. (A buy's quantity follows from them.)"""
FEES: Final = ("fee_rate", "fee_minimum")


class Rules(NamedTuple):
    """An operator's rules of quotes: lifetime in wall time, and the part of the quoted price of a unit
    by which the price may move, either way, until an order names the quote."""

    lifetime_us: int = 30_000_000
    tolerance: Decimal = Decimal("0.01")


def check(
    quote: OrderQuote | None, consumed: ConsumedQuote | None, account: str, *, at_us: int
) -> OrderQuote:
    """The quote, if an order of its account may still name it.

    Raises Refused `quote_already_consumed`, or `quote_invalid` for one that is expired or unknown.
    """
    if consumed is not None and consumed.terms.account == account:
        raise refused("quote_already_consumed", order=consumed.terms.order)
    if quote is None:
        raise refused("quote_invalid")
    if at_us >= quote.expires_at_us:
        raise refused("quote_invalid", expired_at=rfc3339(quote.expires_at_us))
    return quote


def consume(quote: OrderQuote, placed: Placed, listing: str, tolerance: Decimal) -> QuoteConsumed:
    """Uses the quote for an order that is being placed; `listing` is that of the instrument now.

    Raises Refused `quote_invalid` for an order that asks for something else, or if instrument or fees
    have changed; `quote_price_moved` for a price further from the quoted one than the tolerance.
    """
    quoted = quote.terms
    asked = [name for name in REQUESTED if name != "quantity" or quoted.side == "sell"]
    others = [name for name in asked if getattr(quoted, name) != getattr(placed, name)]
    if others:
        raise refused("quote_invalid", differs=", ".join(others))
    if quote.listing != listing:
        raise refused("quote_invalid", changed="instrument")
    if any(getattr(quoted, name) != getattr(placed, name) for name in FEES):
        raise refused("quote_invalid", changed="fees")
    before, now = unit_price(quoted), unit_price(placed)
    if EXACT.abs(EXACT.subtract(now, before)) > EXACT.multiply(tolerance, before):
        raise refused("quote_price_moved", quoted=before, price=now, tolerance=tolerance)
    return QuoteConsumed(
        order=placed.order,
        account=placed.account,
        price=quoted.price,
        accrued_interest=quoted.accrued_interest,
        quantity=quote.quantity,
        cash=quote.cash,
        quoted_at_us=quoted.at_us,
        at_us=placed.at_us,
    )


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: ConsumedQuote | None, fact: QuoteFact) -> ConsumedQuote:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    if state is not None or type(fact) not in FACTS:
        raise UnknownFact(f"{type(fact).__name__} cannot follow on {state}")
    match fact:
        case QuoteConsumed():
            return ConsumedQuote(fact)
        case _:
            assert_never(fact)
