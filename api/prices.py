"""Prices: what the market says, put by an operator, and what it said."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Final

import msgspec

from api.acting import noted
from api.call import Answer, Call
from api.wire import raise_faults
from engine.instrument import Instrument
from engine.market import Quote, quote_faults
from engine.refusals import fault
from engine.values import EXACT, PRICE_PLACES, STEPS, divide_half_even, plain
from projections import shapes
from projections.resources import encode, time

TWO: Final = Decimal(2)


class PriceBody(msgspec.Struct, frozen=True):
    """A price as it is shown. `currency` and `price_type` are the instrument's."""

    symbol: shapes.Symbol
    price_type: shapes.PricedIn | None
    quality: shapes.PriceQuality
    currency: shapes.Currency | None
    bid: shapes.Price
    ask: shapes.Price
    mid: shapes.Price
    timestamp: shapes.Time


async def get(call: Call) -> Answer:
    """The latest price of each symbol asked for, or that of a time; those without one are left out."""
    market, at_us = call.engine.market, call.query["asof"]
    if at_us is None:
        await call.engine.bridge.read(market.refresh)  # what other processes have recorded till now
    bodies = []
    for symbol in dict.fromkeys(call.query["symbol"]):
        if at_us is None:
            quote = market.quote(symbol)
        else:
            quote = await call.engine.bridge.read(market.as_of, symbol, at_us)
        if quote is not None:
            bodies.append(_body(quote, await _instrument_of(call, symbol)))
    return Answer(200, encode(bodies))


async def put(call: Call) -> Answer:
    """Records prices, all or none."""
    services, now_us = call.engine, call.engine.now_us()
    quotes = [
        Quote(
            row["symbol"],
            row["bid"],
            row["ask"],
            now_us if row["timestamp"] is None else row["timestamp"],
            row["quality"],
        )
        for row in call.body
    ]
    faults = [
        found for n, quote in enumerate(quotes) for found in quote_faults(quote, now_us, f"body.{n}.")
    ]
    instruments = {quote.symbol: await _instrument_of(call, quote.symbol) for quote in quotes}
    faults += [
        fault(f"body.{n}.symbol", "invalid_value", "no instrument has this symbol")
        for n, quote in enumerate(quotes)
        if instruments[quote.symbol] is None
    ]
    if faults:
        raise_faults(faults)
    context = {"prices": [[quote.symbol, plain(quote.bid), plain(quote.ask)] for quote in quotes]}
    await services.bridge.read(
        services.market.put, quotes, noted(call, "prices.recorded", context=context)
    )
    return Answer(201, encode([_body(quote, instruments[quote.symbol]) for quote in quotes]))


async def _instrument_of(call: Call, symbol: str) -> Instrument | None:
    services = call.engine
    owner = await services.bridge.read(services.symbols.find, symbol)
    state: Instrument | None = await services.bridge.state(owner) if owner else None
    return state


def _body(quote: Quote, instrument: Instrument | None) -> PriceBody:
    terms = instrument.terms if instrument else None
    price = partial(Decimal.quantize, exp=STEPS[PRICE_PLACES], context=EXACT)
    mid = divide_half_even(EXACT.add(quote.bid, quote.ask), TWO, STEPS[PRICE_PLACES])
    return PriceBody(
        quote.symbol,
        terms.price_type if terms else None,
        quote.quality,
        quote.currency or (terms.trading_currency if terms else None),
        plain(price(quote.bid)),
        plain(price(quote.ask)),
        plain(mid),
        time(quote.at_us),
    )
