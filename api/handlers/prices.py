"""Prices: recorded by an operator, with their history."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec

from api.http.acting import noted
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.repeating import first_answer, once
from engine.domain import clock
from engine.domain.instrument import (
    Instrument,
    local_date,
    price_of,
    settles_on,
    trades_on,
    with_interest,
)
from engine.domain.pricing import PriceType, unit_price
from engine.domain.quote import Quote, quote_faults, unit_words
from engine.journal.store import no_companion
from engine.kernel.limits import PARAM_FAULTS_IN_DETAIL, PRICES_MAX
from engine.kernel.refusals import fault, invalid_values
from engine.kernel.times import rfc3339
from engine.kernel.values import EXACT, PRICE_PLACES, STEPS, ZERO, divide_half_even, plain
from projections import shapes
from projections.resources import encode, price

TWO: Final = Decimal(2)


class PriceBody(msgspec.Struct, frozen=True):
    """A price, in the unit of its receipt.

    `accrued_interest` is per unit, in the currency: the quote's own, else that of the schedule for a
    trade of now. `dirty_bid` and `dirty_ask` are what a unit then costs, null without a price.
    `set_by` and `confirmed_by` are clients, visible with the scope `admin`; null for prices recorded
    before authors were stored. A price that `is_waiting` counts only once confirmed. `stale_since`: when
    it became too old for orders; null before.
    """

    symbol: shapes.Symbol
    price_type: shapes.PricedIn | None
    quality: shapes.PriceQuality
    currency: shapes.Currency | None
    bid: shapes.Price
    ask: shapes.Price
    mid: shapes.Price
    timestamp: shapes.Time
    accrued_interest: shapes.SignedPrice
    dirty_bid: shapes.Price | None
    dirty_ask: shapes.Price | None
    is_waiting: bool
    set_by: str | None
    confirmed_by: str | None
    stale_since: shapes.Time | None


async def get(call: Call) -> Answer:
    """The latest price of each requested symbol, or the one at a time; symbols without one are omitted.

    So is a price under a former symbol or unit of its instrument. With `waiting` and no symbol, all are
    listed.
    """
    market, at_us = call.engine.market, call.query["asof"]
    then_us = await _business_us(call, at_us)
    symbols = tuple(dict.fromkeys(call.query["symbol"]))
    if call.query["waiting"]:
        quotes = await call.engine.bridge.read(market.waiting, symbols)
        return Answer(200, encode([await _shown(call, quote, then_us) for quote in quotes]))
    if call.query["stale"]:
        stale = await call.engine.bridge.read(_stale, call, symbols, then_us)
        return Answer(200, encode([_body(call, quote, security, then_us) for quote, security in stale]))
    if not symbols:
        raise invalid_values([fault("query.symbol", "missing_param")])
    if at_us is None:
        await call.engine.bridge.read(market.refresh)  # includes prices recorded by other processes
    bodies = []
    for symbol in symbols:
        security = await _instrument_of(call, symbol)
        if at_us is not None:
            quote = await call.engine.bridge.read(market.as_of, symbol, at_us)
        else:
            quote = market.quote(symbol)
            if quote and (security is None or price_of(security, quote.price) is None):
                quote = None
        if quote is not None:
            bodies.append(_body(call, quote, security, then_us, at_us))
    return Answer(200, encode(bodies))


async def put(call: Call) -> Answer:
    """Records prices, all or none; jumps wait for another client's confirmation.

    A client with the scope `prices` alone sets those of its symbols. Its prices name their author, so it
    writes no acts.
    """
    is_feed = "admin" not in call.principal.scopes
    if is_feed:
        _check_symbols(call)
    if (first := await first_answer(call)) is not None:
        return first
    services, now_us = call.engine, call.engine.now_us()
    symbols = list(dict.fromkeys(row["symbol"] for row in call.body))
    instruments = await services.bridge.read(services.listing.find, symbols)
    quotes = [_quote(call, row, instruments.get(row["symbol"])) for row in call.body]
    faults = [
        found for n, quote in enumerate(quotes) for found in quote_faults(quote, now_us, f"body.{n}.")
    ]
    faults += [
        fault(f"body.{n}.symbol", "invalid_value", "is the symbol of no instrument")
        for n, quote in enumerate(quotes)
        if quote.symbol not in instruments
    ]
    if faults:
        raise invalid_values(faults)
    then_us = await _business_us(call)

    def shown(recorded: Sequence[Quote]) -> Answer:
        bodies = [_body(call, quote, instruments[quote.symbol], then_us) for quote in recorded]
        return Answer(201, encode(bodies))

    return await once(
        call,
        partial(services.market.put, quotes, is_checked=True),
        shown,
        no_companion if is_feed else noted(call, "prices.recorded", context=_figures(quotes)),
    )


async def confirm(call: Call) -> Answer:
    """Confirms the waiting price of a symbol. In a sandbox its author may confirm too."""
    services, body, symbol = call.engine, call.body, call.path["symbol"]
    security, then_us = await _instrument_of(call, symbol), await _business_us(call)

    def shown(confirmed: Quote) -> Answer:
        return Answer(200, encode(_body(call, confirmed, security, then_us)))

    confirming = partial(
        services.market.confirm,
        symbol,
        call.principal.client,
        may_be_author=services.is_sandbox,
        bid=body["bid"],
        ask=body["ask"],
    )
    also = noted(call, "price.confirmed", subject=symbol)
    return await once(call, confirming, shown, also)


def _stale(call: Call, symbols: Sequence[str], then_us: int) -> list[tuple[Quote, Instrument]]:
    """(quote, instrument) of prices that are too old for orders, the oldest first; blocks."""
    services = call.engine
    services.market.refresh()
    quotes = services.market.older(services.now_us() - services.firm.price_max_age_us)
    if symbols:
        quotes = [quote for quote in quotes if quote.symbol in symbols]
    found: list[tuple[Quote, Instrument]] = []
    for start in range(0, len(quotes), PRICES_MAX):
        some = quotes[start : start + PRICES_MAX]
        listed = services.listing.find([quote.symbol for quote in some])
        pairs = [(quote, listed[quote.symbol]) for quote in some if quote.symbol in listed]
        found += [pair for pair in pairs if _is_traded(*pair, then_us)]
        if len(found) >= PRICES_MAX:
            break
    return found[:PRICES_MAX]


def _is_traded(quote: Quote, security: Instrument, then_us: int) -> bool:
    """Whether orders could wait for a newer price of the instrument."""
    terms, repaid_on = security.terms, security.repaid_on
    is_repaid = repaid_on is not None and repaid_on <= local_date(terms, then_us)
    is_current = price_of(security, quote.price) is not None
    return is_current and not is_repaid and terms.trading_status != "not_trading"


def _check_symbols(call: Call) -> None:
    """Raises Problem `insufficient_scope` unless all symbols are this feed's, existing or not."""
    own = call.principal.symbols
    others = list(dict.fromkeys(row["symbol"] for row in call.body if row["symbol"] not in own))
    if others:
        named = ", ".join(others[:PARAM_FAULTS_IN_DETAIL])
        more = len(others) - PARAM_FAULTS_IN_DETAIL
        rest = f" and {more} more" if more > 0 else ""
        raise Problem(
            "insufficient_scope",
            f"This client's scopes do not cover the symbols {named}{rest}; nothing was recorded. An"
            " operator gives the scope prices:SYMBOL with a new client.",
        )


def _figures(quotes: Sequence[Quote]) -> dict[str, object]:
    return {"prices": [[quote.symbol, plain(quote.bid), plain(quote.ask)] for quote in quotes]}


def _quote(call: Call, row: dict[str, Any], security: Instrument | None) -> Quote:
    return Quote(
        row["symbol"],
        row["bid"],
        row["ask"],
        row["timestamp"],
        row["quality"],
        row["accrued_interest"],
        author=call.principal.client,
        unit=security.unit if security else None,
    )


async def _instrument_of(call: Call, symbol: str) -> Instrument | None:
    """The instrument that has this symbol now; a former symbol stays reserved and refers to none."""
    services = call.engine
    owner = await services.bridge.read(services.symbols.find, symbol)
    state: Instrument | None = await services.bridge.state(owner) if owner else None
    return state if state is not None and state.terms.symbol == symbol else None


async def _business_us(call: Call, wall_us: int | None = None) -> int:
    """Business time now, or at a wall time."""
    services = call.engine
    state = await services.bridge.state(clock.STREAM)
    return clock.business_time_us(state, services.now_us() if wall_us is None else wall_us)


async def _shown(call: Call, quote: Quote, then_us: int) -> PriceBody:
    return _body(call, quote, await _instrument_of(call, quote.symbol), then_us)


def _body(
    call: Call, quote: Quote, instrument: Instrument | None, then_us: int, at_us: int | None = None
) -> PriceBody:
    unit = quote.unit or (instrument.unit if instrument else None)
    price_type, par_value, currency = unit_words(unit)
    interest = _interest(quote, instrument, then_us)
    mid = divide_half_even(EXACT.add(quote.bid, quote.ask), TWO, STEPS[PRICE_PLACES])
    sees_clients = "admin" in call.principal.scopes
    assert quote.at_us is not None
    stale_us = quote.at_us + call.engine.firm.price_max_age_us
    now_us = call.engine.now_us()
    is_stale = stale_us < (now_us if at_us is None else min(now_us, at_us))
    return PriceBody(
        symbol=quote.symbol,
        price_type=price_type if unit else None,
        quality=quote.quality,
        currency=quote.currency or currency,
        bid=price(quote.bid),
        ask=price(quote.ask),
        mid=plain(mid),
        timestamp=rfc3339(quote.stated_us or quote.at_us),
        accrued_interest=price(interest),
        dirty_bid=_dirty(quote.bid, interest, price_type, par_value),
        dirty_ask=_dirty(quote.ask, interest, price_type, par_value),
        is_waiting=quote.is_waiting,
        set_by=quote.author if sees_clients else None,
        confirmed_by=quote.confirmed_by if sees_clients else None,
        stale_since=rfc3339(stale_us) if is_stale else None,
    )


def _interest(quote: Quote, instrument: Instrument | None, then_us: int) -> Decimal:
    """The interest per unit of a trade at a business time."""
    counted = quote.price
    if instrument is not None and instrument.terms.coupon:
        terms = instrument.terms
        settles = settles_on(terms, trades_on(terms, then_us))
        counted = with_interest(terms, counted, settles) or counted
    return counted.accrued_interest


def _dirty(side: Decimal, interest: Decimal, price_type: PriceType, par_value: Decimal) -> str | None:
    """The cost of a unit; None where it cannot be traded."""
    unit = unit_price(side, interest, price_type, par_value)
    if side <= ZERO or unit <= ZERO:
        return None
    return price(unit)
