"""Instruments: list, get by id or symbol, put by the operator."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final

from api.http import current, reading
from api.http.acting import act, answer
from api.http.call import Answer, Call
from api.http.current import Resource
from api.http.problems import Problem
from api.http.repeating import first_outcome
from api.http.services import Services
from engine.commands import decisions
from engine.commands.command import Outcome
from engine.domain.instrument import Instrument, InstrumentListed, Terms, changed_in_use
from engine.domain.trading_hours import TradingHours
from engine.kernel.errors import Refused
from engine.kernel.ids import is_id
from engine.kernel.limits import VIEW_WAIT_S
from engine.kernel.refusals import fault, invalid, invalid_values
from engine.kernel.values import CURRENCIES, at_scale
from projections.resources import instrument_json
from projections.serviced import Sets
from projections.views import instruments as view

SCALED_BY_CURRENCY: Final = ("minimum_initial_cash_investment", "required_cash_increment", "par_value")
SCALED_BY_PRECISION: Final = ("trading_increment", "minimum_trading_quantity")


async def list_all(call: Call) -> Answer:
    """Instruments, newest first."""
    return await reading.listed(
        call,
        view.listed,
        await call.engine.business_date(),
        instrument_types=call.query["instrument_type"],
        trading_statuses=call.query["trading_status"],
    )


async def retrieve(call: Call) -> Answer:
    """One instrument."""
    given, today = call.path["id_or_symbol"], await call.engine.business_date()
    if is_id(given, "ins"):
        try:
            return await current.one(call, _resource(today, given))
        except Problem as problem:
            if problem.code != "not_found":
                raise
    owner = await call.engine.bridge.read(call.engine.symbols.find, given)
    if owner is None:
        raise Problem("not_found")
    return await current.one(call, _resource(today, owner, given))


def _resource(today: date, instrument: str, symbol: str | None = None) -> Resource:
    """One instrument; one whose symbol has changed is not found under the former symbol."""

    def body(known: Instrument) -> bytes | None:
        return instrument_json(known, today) if symbol in {None, known.terms.symbol} else None

    return Resource(view.one(instrument, symbol), body, shown=partial(view.dated, today))


async def put(call: Call) -> Answer:
    """Lists an instrument under the id of the path, or changes it."""
    instrument, services = call.path["instrument_id"], call.engine
    if not is_id(instrument, "ins"):
        raise invalid("path.id", "invalid_value", "must be ins_ and 1 to 60 letters, digits, _ and -")
    outcome = await first_outcome(call) or await _put(call, instrument, _terms(call.body))
    is_new = any(isinstance(recorded.fact, InstrumentListed) for recorded in outcome.facts)
    day = outcome.day or await services.business_date()
    return answer(outcome, 201 if is_new else 200, instrument_json(outcome.states[instrument], day))


async def _put(call: Call, instrument: str, terms: Terms) -> Outcome:
    services = call.engine
    symbols = services.symbols
    owner = await services.bridge.read(symbols.find, terms.symbol)
    if owner not in {None, instrument} or not await services.bridge.read(
        symbols.claim, terms.symbol, instrument
    ):
        raise invalid("symbol", "already_taken", "is the symbol of another instrument")
    why_fixed = await services.bridge.read(_why_fixed, services, instrument, terms)
    decide = partial(decisions.put_instrument, instrument=instrument, terms=terms, why_fixed=why_fixed)
    try:
        return await act(call, decide)
    except Refused:
        if owner is None:
            await services.bridge.read(symbols.release, terms.symbol, instrument)
        raise


def _why_fixed(services: Services, instrument: str, terms: Terms) -> str:
    """The reason for which FIXED_IN_USE stay as they are, "" if none. Blocks. Raises ViewBehind."""
    if not changed_in_use(services.bridge.load(instrument), terms):
        return ""
    head = services.bridge.journal.head
    for name in ("positions", "working"):
        services.views.wait(name, head, VIEW_WAIT_S)
    is_used = Sets(services.views).is_used(instrument)
    return "there are orders or positions of it; list another instrument" if is_used else ""


def _terms(body: dict[str, Any]) -> Terms:
    """The terms of a body, decimals at their scale. Raises Refused for decimals too fine."""
    given = {name: value for name, value in body.items() if value is not None}
    faults = []
    scales = dict.fromkeys(SCALED_BY_CURRENCY, CURRENCIES[body["trading_currency"]])
    scales |= dict.fromkeys(SCALED_BY_PRECISION, body["decimal_precision"])
    for name, places in scales.items():
        if name in given:
            scaled = at_scale(given[name], places)
            if scaled is None:
                faults.append(fault(name, "invalid_decimal", places=places))
            else:
                given[name] = scaled
    if faults:
        raise invalid_values(faults)
    if "trading_hours" in given:
        given["trading_hours"] = TradingHours(**given["trading_hours"])
    if "coupon" in given:
        given["coupon"] = _shortest(given["coupon"])
    return Terms(**given)


def _shortest(number: Decimal) -> Decimal:
    """The same number without trailing zeros."""
    short = number.normalize()
    return short.quantize(Decimal(1)) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]
