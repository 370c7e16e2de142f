"""`order-engine import`: validates the whole file, then records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from engine.commands.decisions import put_instrument
from engine.commands.desk import Command, Desk
from engine.domain import instrument as instruments
from engine.domain.quote import Quote
from engine.kernel.errors import Refused
from engine.kernel.ids import IdSource
from engine.kernel.limits import PAGE_FACTS, QUOTES_MAX
from engine.registers import acts
from engine.registers.market import Market, Symbols
from engine.transfer.csv_import import BadFile, InstrumentLine, LineFault, QuoteLine, line_faults

ACTOR: Final = acts.COMMAND_LINE
"""Actor in the envelope of facts recorded by an operator's command."""


class Imported(NamedTuple):
    """Counts of instruments created, changed and unchanged."""

    listed: int
    changed: int
    unchanged: int


class QuotesImported(NamedTuple):
    """The number of quotes read, and symbols with jumps that another client has to confirm."""

    prices: int
    waiting: list[str]


def import_instruments(
    lines: Sequence[InstrumentLine], desk: Desk, symbols: Symbols, ids: IdSource
) -> Imported:
    """Lists or changes every instrument. Without an id, a line refers to the owner of its symbol, or a
    new instrument.

    Every line is validated before the first is recorded. Idempotent, also after a crash. Raises BadFile,
    Unavailable.
    """
    owners = symbols.owners([line.terms.symbol for line in lines])
    wanted: dict[str, InstrumentLine] = {}
    states: dict[str, Any] = {}
    faults = []
    for line in lines:
        instrument = line.instrument or owners.get(line.terms.symbol) or ids.new("ins")
        if instrument in wanted:
            first = wanted[instrument].line
            faults.append(LineFault(line.line, "id", f"must not be the instrument of line {first}"))
        wanted.setdefault(instrument, line)
        states[instrument] = desk.state(instrument)
        faults += _term_faults(line, states[instrument], instrument)
    _check(faults + _symbol_faults(wanted, owners))
    taken = symbols.claim_all({line.terms.symbol: instrument for instrument, line in wanted.items()})
    _check(_symbol_faults(wanted, taken))
    changed = _record(desk, wanted)
    listed = sum(1 for instrument in changed if states[instrument] is None)
    done = Imported(listed, len(changed) - listed, len(wanted) - len(changed))
    store = desk.journal.datastore.store
    acts.note(store, "instruments.imported", actor=ACTOR, context=done._asdict())
    return done


def import_quotes(
    lines: Sequence[QuoteLine], desk: Desk, market: Market, symbols: Symbols
) -> QuotesImported:
    """Records the quotes, in the unit of their instruments, as the command line's.

    Raises BadFile for unknown symbols and for another currency than the instrument's, Unavailable.
    """
    owners = symbols.owners([line.quote.symbol for line in lines])
    listed = {symbol: desk.state(owner) for symbol, owner in owners.items()}
    faults, quotes = [], []
    for line, quote in lines:
        security = listed.get(quote.symbol)
        if security is None or security.terms.symbol != quote.symbol:
            faults.append(LineFault(line, "symbol", "is the symbol of no instrument"))
        elif quote.currency not in {None, security.terms.trading_currency}:
            currency = security.terms.trading_currency
            faults.append(LineFault(line, "currency", f"must be {currency}, the instrument's"))
        else:
            quotes.append(replace(quote, author=ACTOR, unit=security.unit))
    _check(faults)
    recorded: list[Quote] = []
    for start in range(0, len(quotes), QUOTES_MAX):
        some = quotes[start : start + QUOTES_MAX]
        context = {"prices": len(some), "first": some[0].symbol}
        note = acts.noting("prices.recorded", actor=ACTOR, context=context)
        recorded += market.put(some, note)
    waiting = sorted({quote.symbol for quote in recorded if quote.is_waiting})
    return QuotesImported(len(recorded), waiting)


def _record(desk: Desk, wanted: Mapping[str, InstrumentLine]) -> list[str]:
    """Ids of the instruments that were created or changed."""
    changed = []
    faults = []
    entries = list(wanted.items())
    for start in range(0, len(entries), PAGE_FACTS):
        some = entries[start : start + PAGE_FACTS]
        commands = [
            Command(partial(put_instrument, **_wanted(instrument, line)), None, ACTOR)
            for instrument, line in some
        ]
        for (instrument, line), outcome in zip(some, desk.do_all(commands), strict=True):
            if isinstance(outcome, Refused):  # another process changed it meanwhile
                faults += line_faults(line.line, outcome)
            elif isinstance(outcome, Exception):
                raise outcome
            elif outcome.facts:
                changed.append(instrument)
    _check(faults)
    return changed


def _wanted(instrument: str, line: InstrumentLine) -> dict[str, Any]:
    """An import does not know whether an instrument is used."""
    return {"instrument": instrument, "terms": line.terms, "why_fixed": "use `PUT /instruments/{id}`"}


def _term_faults(line: InstrumentLine, state: Any, instrument: str) -> list[LineFault]:
    try:
        instruments.put(state, at_us=0, **_wanted(instrument, line))
    except Refused as error:
        return line_faults(line.line, error)
    return []


def _symbol_faults(wanted: Mapping[str, InstrumentLine], owners: Mapping[str, str]) -> list[LineFault]:
    return [
        LineFault(line.line, "symbol", f"is the symbol of {owners[line.terms.symbol]}")
        for instrument, line in wanted.items()
        if owners.get(line.terms.symbol, instrument) != instrument
    ]


def _check(faults: list[LineFault]) -> None:
    if faults:
        raise BadFile(faults)
