"""Instruments, prices and corporate actions from CSV files: all lines are checked, every fault is listed
by its line.

The first line names the columns, in any order. An empty cell means "not given". Text is UTF-8, numbers
and dates are written as in the API.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, NamedTuple

from engine.domain import instrument as instruments
from engine.domain import trading_hours
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import ACTION_TYPES
from engine.domain.instrument import Terms
from engine.domain.quote import Quote, quote_faults
from engine.kernel.errors import EngineError, Refused
from engine.kernel.fact import to_us
from engine.kernel.limits import (
    IMPORT_BYTES_MAX,
    IMPORT_FAULTS_MAX,
    IMPORT_TEXT_CHARACTERS_MAX,
    QUANTITY_PLACES_MAX,
)
from engine.kernel.text import ALLOWED, is_plain
from engine.kernel.values import PRICE_PLACES, parse_decimal, parse_signed


class LineFault(NamedTuple):
    """One fault: the line (from 1, the header), the column ("" for the whole line), the detail."""

    line: int
    column: str
    detail: str


class BadFile(EngineError):
    """A file that was not imported, not even in part. `faults` lists all, by line."""

    code: ClassVar[str] = "bad_file"

    def __init__(self, faults: list[LineFault]) -> None:
        faults = sorted(faults)
        first = faults[0]
        where = f"line {first.line}: " + (f"{first.column}: " if first.column else "")
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{where}{first.detail}{more}")
        self.faults = faults[:IMPORT_FAULTS_MAX]
        self.fault_count = len(faults)


class InstrumentLine(NamedTuple):
    """One line: the instrument's id, if given, and its terms."""

    line: int
    instrument: str | None
    terms: Terms


class QuoteLine(NamedTuple):
    """One line: a quote."""

    line: int
    quote: Quote


class ActionLine(NamedTuple):
    """One line: a corporate action of the instrument with this symbol."""

    line: int
    symbol: str
    request: ActionRequest


def read_instruments(content: bytes) -> list[InstrumentLine]:
    """The instruments of a file. Raises BadFile with every fault.

    Columns are the fields of `Terms`, and `id`; name, symbol, instrument_type and trading_currency are
    required.
    """
    faults: list[LineFault] = []
    found: list[InstrumentLine] = []
    seen: dict[tuple[str, str], int] = {}
    for line, values in _lines(content, _INSTRUMENT, faults):
        instrument = values.pop("id", None)
        faults += _repeated(line, {"id": instrument, "symbol": values["symbol"]}, seen)
        terms = Terms(**values)
        try:
            instruments.put(None, instrument or "ins_", terms, at_us=0)
        except Refused as error:
            faults += line_faults(line, error)
        found.append(InstrumentLine(line, instrument, terms))
    if faults:
        raise BadFile(faults)
    return found


def read_quotes(content: bytes, now_us: int) -> list[QuoteLine]:
    """The quotes of a file; one without a timestamp is of `now_us`. Raises BadFile with every fault.

    Columns: symbol, bid, ask; optional: timestamp, quality, accrued_interest.
    """
    faults: list[LineFault] = []
    found: list[QuoteLine] = []
    for line, values in _lines(content, _QUOTE, faults):
        quote = Quote(at_us=values.pop("timestamp", now_us), **values)
        wrong = quote_faults(quote, now_us)
        faults += [LineFault(line, entry["path"], entry["detail"]) for entry in wrong]
        found.append(QuoteLine(line, quote))
    if faults:
        raise BadFile(faults)
    return found


def read_actions(content: bytes) -> list[ActionLine]:
    """The corporate actions of a file. Raises BadFile with every fault that the instruments do not know.

    Columns: symbol, action_type, ex_date; the other fields of `ActionRequest` are optional.
    """
    faults: list[LineFault] = []
    found: list[ActionLine] = []
    seen: dict[tuple[str, str], int] = {}
    for line, values in _lines(content, _ACTION, faults):
        symbol = values.pop("symbol")
        faults += _repeated(line, {"ex_date": f"{symbol} {values['ex_date']}"}, seen)
        found.append(ActionLine(line, symbol, ActionRequest(**values)))
    if faults:
        raise BadFile(faults)
    return found


def line_faults(line: int, error: Refused) -> list[LineFault]:
    """The faults of one line for which a rule refused it."""
    params = error.context.get("params")
    if not isinstance(params, list) or not params:
        return [LineFault(line, "", error.detail)]
    return [LineFault(line, entry["path"], entry["detail"]) for entry in params]


def _repeated(
    line: int, words: Mapping[str, str | None], seen: dict[tuple[str, str], int]
) -> Iterator[LineFault]:
    """Repeated keys in one file: the order of lines must not decide which one counts."""
    for column, text in words.items():
        if text is not None:
            first = seen.setdefault((column, text), line)
            if first != line:
                yield LineFault(line, column, f"must not be the same as in line {first}")


# --- cells ----------------------------------------------------------------------------------------

ReadCell = Callable[[str], Any]
"""Parses a cell. Raises ValueError with the expected form."""


class _Columns(NamedTuple):
    """The allowed columns, and the required ones."""

    read: Mapping[str, ReadCell]
    needed: tuple[str, ...]


_ID: Final = re.compile(r"ins_[0-9A-Za-z_-]{1,60}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_BOOLEANS: Final = {"true": True, "false": False}


def _text(text: str) -> str:
    if len(text) > IMPORT_TEXT_CHARACTERS_MAX:
        raise ValueError(f"must have at most {IMPORT_TEXT_CHARACTERS_MAX} characters")
    if not is_plain(text):
        raise ValueError(ALLOWED)
    return text


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("must be ins_ and up to 60 letters, digits, dashes or underscores")
    return text


def _number(places: int) -> ReadCell:
    def read(text: str) -> Decimal:
        try:
            return parse_decimal(text, places, "")
        except Refused:
            raise ValueError(f"must be a plain decimal with at most {places} decimals") from None

    return read


def _signed(text: str) -> Decimal:
    try:
        return parse_signed(text, PRICE_PLACES, "")
    except Refused:
        raise ValueError(f"must be a plain decimal with at most {PRICE_PLACES} decimals") from None


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ValueError("must be a whole number")
    return int(text)


def _word(words: Sequence[str]) -> ReadCell:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return read


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text]


def _date(text: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("must be a date, YYYY-MM-DD")


def read_time(text: str) -> int:
    """Microseconds since the epoch of a time of RFC 3339. Raises ValueError."""
    try:
        if _TIME.fullmatch(text):
            return to_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time like 2026-03-12T14:30:00Z")


_QUANTITY: Final = _number(QUANTITY_PLACES_MAX)
_PRICE: Final = _number(PRICE_PLACES)

_INSTRUMENT_CELLS: Final[dict[str, ReadCell]] = {
    "id": _id,
    "name": _text,
    "symbol": _text,
    "instrument_type": _text,
    "trading_currency": _text,
    "trading_status": _text,
    "trading_increment": _QUANTITY,
    "decimal_precision": _integer,
    "isin": _text,
    "issuer": _text,
    "issuer_country": _text,
    "ticker": _text,
    "price_type": _text,
    "minimum_trading_quantity": _QUANTITY,
    "minimum_initial_cash_investment": _PRICE,
    "required_cash_increment": _PRICE,
    "enforce_trading_rules": _boolean,
    "settlement_days": _integer,
    "maturity_date": _date,
    "supports_automatic_rollover": _boolean,
    "coupon": _PRICE,
    "par_value": _PRICE,
    "day_count_convention": _text,
    "coupon_frequency": _integer,
    "first_coupon_date": _date,
    "issue_date": _date,
    "ex_coupon_days": _integer,
    "maturity_period": _text,
    "trading_hours": trading_hours.parse,
}
"""Columns of instruments; `instrument.put` validates values and combinations."""
_INSTRUMENT: Final = _Columns(
    _INSTRUMENT_CELLS, ("name", "symbol", "instrument_type", "trading_currency")
)

_QUOTE_CELLS: Final[dict[str, ReadCell]] = {
    "symbol": _text,
    "bid": _PRICE,
    "ask": _PRICE,
    "timestamp": read_time,
    "quality": _text,
    "accrued_interest": _signed,
}
_QUOTE: Final = _Columns(_QUOTE_CELLS, ("symbol", "bid", "ask"))

_ACTION_CELLS: Final[dict[str, ReadCell]] = {
    "symbol": _text,
    "action_type": _word(ACTION_TYPES),
    "ex_date": _date,
    "pay_date": _date,
    "record_date": _date,
    "amount": _PRICE,
    "units_to": _integer,
    "units_from": _integer,
    "fraction_price": _PRICE,
}
_ACTION: Final = _Columns(_ACTION_CELLS, ("symbol", "action_type", "ex_date"))


# --- lines ----------------------------------------------------------------------------------------


def _lines(
    content: bytes, columns: _Columns, faults: list[LineFault]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, column -> value) of every readable line; faults are added to `faults`."""
    records = _records(content)
    try:
        _, header = next(records, (1, []))
        header = [name.strip() for name in header]
        faults += _header_faults(header, columns)
        if faults:
            return
        for line, cells in records:
            if cells:
                values, wrong = _values(header, cells, columns)
                faults += [LineFault(line, name, detail) for name, detail in wrong]
                if not wrong:
                    yield line, values
    except BadFile as error:  # unreadable from here on
        faults += error.faults


def _header_faults(header: list[str], columns: _Columns) -> Iterator[LineFault]:
    for name in dict.fromkeys(header):
        if name not in columns.read:
            yield LineFault(1, name[:40], f"is not a known column; known are {', '.join(columns.read)}")
        elif header.count(name) > 1:
            yield LineFault(1, name, "must be given once")
    for name in columns.needed:
        if name not in header:
            yield LineFault(1, name, "is needed as a column")


def _values(
    header: list[str], cells: list[str], columns: _Columns
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """(column -> value, faults as (column, detail)) of one line."""
    if len(cells) != len(header):
        return {}, [("", f"{len(cells)} cells under {len(header)} columns")]
    values: dict[str, Any] = {}
    faults = []
    for name, cell in zip(header, cells, strict=True):
        text = cell.strip()
        if text:
            try:
                values[name] = columns.read[name](text)
            except ValueError as error:
                faults.append((name, str(error)))
        elif name in columns.needed:
            faults.append((name, "is needed"))
    return values, faults


def _records(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each record. Raises BadFile where the CSV is malformed."""
    if len(content) > IMPORT_BYTES_MAX:
        raise BadFile([LineFault(1, "", f"the file is longer than {IMPORT_BYTES_MAX >> 20} MiB")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadFile([LineFault(line, "", "not UTF-8")]) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile([LineFault(line, "", f"not CSV: {error}")]) from None
