"""Quotes and symbols: input data that decisions look at, kept in tables, never facts.

Every fact that used a price carries it, so history does not need this table. Decisions ask `latest`,
which answers from memory; `refresh` reads what other processes have added since.

Quotes are numbered by a sequence, and sequences number rows before they commit. So that nobody's
`refresh` can step over a quote which commits later, writers take turns: SQLite has one anyway, on
PostgreSQL an advisory lock is held from before the number is drawn until after the commit. (A table
lock would do the same and also wait for autovacuum.) A quote that comes by hand-written SQL needs the
same lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import sqlalchemy as sa

from engine.errors import Unavailable
from engine.limits import (
    CLAIM_ATTEMPTS_MAX,
    PRICE_AHEAD_MAX_US,
    QUOTES_MAX,
    SUBJECTS_MAX,
    SYMBOLS_MAX,
)
from engine.operations import Operations
from engine.pricing import Price
from engine.refusals import fault, refused
from engine.store import Also, Store, Violation, nothing_else
from engine.values import CURRENCIES, PRICE_PLACES, ZERO, at_scale, plain

Quality = Literal["closing", "intraday", "realtime", "delayed"]
QUALITIES: Final = get_args(Quality)

_LOCK: Final = 0x7072_6963_6573  # "prices"; writers of the table take turns on PostgreSQL


_LATEST_OF_EACH: Final = sa.text(
    """
    WITH RECURSIVE listed(symbol) AS (
        SELECT min(symbol) FROM prices
        UNION ALL
        SELECT (SELECT min(symbol) FROM prices WHERE symbol > listed.symbol)
        FROM listed WHERE listed.symbol IS NOT NULL
    )
    SELECT latest.seq, latest.symbol, latest.bid, latest.ask, latest.at_us, latest.quality,
           latest.accrued_interest, latest.currency
    FROM listed JOIN prices AS latest ON latest.seq = (
        SELECT seq FROM prices WHERE symbol = listed.symbol AND seq <= :last
        ORDER BY at_us DESC, seq DESC LIMIT 1
    )
    LIMIT :most
    """
)
"""What a process reads first: one step of the index per symbol, however long the history is."""


class Quote(msgspec.Struct, frozen=True):
    """What the market said of a symbol at `at_us`. Decimals have at most 8 places, none is below 0.

    `accrued_interest` is per unit. `currency` is None where the instrument's own is meant.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    at_us: int
    quality: Quality = "realtime"
    accrued_interest: Decimal = ZERO
    currency: str | None = None

    @property
    def price(self) -> Price:
        """The part of it that decisions use."""
        return Price(self.bid, self.ask, self.at_us, self.accrued_interest)


def quote_faults(quote: Quote, now_us: int, path: str = "") -> list[dict[str, str]]:
    """Everything wrong with a quote, as entries of `params` whose paths start with `path`."""
    faults = [
        fault(path + name, "invalid_decimal", places=PRICE_PLACES)
        for name in ("bid", "ask", "accrued_interest")
        if at_scale(getattr(quote, name), PRICE_PLACES) is None
    ]
    if not faults and quote.bid > quote.ask > ZERO:
        faults.append(fault(path + "bid", "invalid_value", "must not be above the ask"))
    if quote.quality not in QUALITIES:
        faults.append(fault(path + "quality", "invalid_value"))
    if quote.currency is not None and quote.currency not in CURRENCIES:
        faults.append(fault(path + "currency", "invalid_value", "must be an ISO 4217 currency"))
    if not 0 <= quote.at_us <= now_us + PRICE_AHEAD_MAX_US:
        faults.append(fault(path + "timestamp", "invalid_value", "must not be in the future"))
    return faults


class _Known(NamedTuple):
    at_us: int
    seq: int
    quote: Quote
    price: Price


def _now_us() -> int:
    return time.time_ns() // 1000


class Market:
    """The latest quote of each symbol. Thread-safe; `latest` and `quote` never wait."""

    def __init__(
        self, store: Store, operations: Operations, now_us: Callable[[], int] = _now_us
    ) -> None:
        self._store = store
        self._prices = operations.prices
        self._now_us = now_us
        self._known: dict[str, _Known] = {}
        self._seq: int | None = None  # the last row read; None before the first
        self._learning = threading.Lock()

    def latest(self, symbol: str) -> Price | None:
        """The newest price that is known here, None if there never was one."""
        known = self._known.get(symbol)
        return known.price if known else None

    def quote(self, symbol: str) -> Quote | None:
        """The newest quote that is known here."""
        known = self._known.get(symbol)
        return known.quote if known else None

    def refresh(self) -> int:
        """Reads the quotes that were recorded since the last time; how many. Raises Unavailable."""
        # Almost always there is nothing new, and the driver's shortest way says so.
        if self._store.query("SELECT max(seq) FROM prices")[0][0] == self._seq:
            return 0
        with self._learning, self._store.reading() as connection:
            rows, seq = self._newer(connection)
            self._learn(rows, seq)
            count = len(rows)
            while len(rows) == QUOTES_MAX:
                rows, seq = self._newer(connection)
                self._learn(rows, seq)
                count += len(rows)
        return count

    def put(self, quotes: Sequence[Quote], also: Also = nothing_else) -> None:
        """Records quotes, all or none; they are known here when it returns.

        One older than what is known is recorded and does not replace it. `also` writes in the same
        transaction; nothing is recorded if it raises. Raises Refused
        `invalid_param` with every fault (paths such as `0.bid`), `invalid_request` for too many quotes
        or symbols, Unavailable.
        """
        if len(quotes) > QUOTES_MAX:
            raise refused("invalid_request", f"At most {QUOTES_MAX} quotes at once.")
        now_us = self._now_us()
        faults = [
            found
            for place, quote in enumerate(quotes)
            for found in quote_faults(quote, now_us, f"{place}.")
        ]
        if faults:
            raise refused("invalid_param", params=faults)
        if not quotes:
            return
        self.refresh()  # so that what is left to learn under the lock is little
        with self._learning:
            if len(self._known.keys() | {quote.symbol for quote in quotes}) > SYMBOLS_MAX:
                raise refused("invalid_request", f"At most {SYMBOLS_MAX} symbols can have prices.")
            with self._store.writing() as connection:
                if self._store.dialect == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                connection.execute(self._prices.insert(), [_row(quote, now_us) for quote in quotes])
                rows, seq = self._newer(connection, limit=None)
                also(connection)
            self._learn(rows, seq)

    def as_of(self, symbol: str, at_us: int) -> Quote | None:
        """The newest quote of that time or before it, from the table."""
        columns = self._prices.c
        query = (
            sa.select(*self._columns())
            .where(columns.symbol == symbol, columns.at_us <= at_us)
            .order_by(columns.at_us.desc(), columns.seq.desc())
            .limit(1)
        )
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return _quote(row) if row else None

    def _columns(self) -> list[sa.ColumnElement[Any]]:
        c = self._prices.c
        return [
            c.seq, c.symbol, c.bid, c.ask, c.at_us, c.quality, c.accrued_interest, c.currency,
        ]  # fmt: skip

    def _newer(
        self, connection: sa.Connection, limit: int | None = QUOTES_MAX
    ) -> tuple[Sequence[sa.Row[Any]], int]:
        """(rows not seen yet, number of the last row that is then seen)."""
        columns = self._prices.c
        query = sa.select(*self._columns())
        if self._seq is None:
            last = connection.execute(sa.select(sa.func.max(columns.seq))).scalar() or 0
            values = {"last": last, "most": SYMBOLS_MAX}
            return connection.execute(_LATEST_OF_EACH, values).all(), last
        query = query.where(columns.seq > self._seq).order_by(columns.seq).limit(limit)
        rows = connection.execute(query).all()
        return rows, rows[-1].seq if rows else self._seq

    def _learn(self, rows: Sequence[sa.Row[Any]], seq: int) -> None:
        known = self._known
        for row in rows:
            before = known.get(row.symbol)
            if before is None and len(known) >= SYMBOLS_MAX:
                continue
            if before is None or (row.at_us, row.seq) > (before.at_us, before.seq):
                quote = _quote(row)
                known[row.symbol] = _Known(row.at_us, row.seq, quote, quote.price)
        self._seq = seq


def _row(quote: Quote, now_us: int) -> dict[str, Any]:
    return {
        "symbol": quote.symbol,
        "quality": quote.quality,
        "currency": quote.currency,
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "accrued_interest": plain(quote.accrued_interest),
        "at_us": quote.at_us,
        "recorded_us": now_us,
    }


def _quote(row: sa.Row[Any]) -> Quote:
    return Quote(
        symbol=row.symbol,
        bid=Decimal(row.bid),
        ask=Decimal(row.ask),
        at_us=row.at_us,
        quality=row.quality,
        accrued_interest=Decimal(row.accrued_interest),
        currency=row.currency,
    )


class Symbols:
    """Who owns a symbol. It is claimed before the instrument's facts are appended."""

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._table = operations.symbols

    def claim(self, symbol: str, instrument: str) -> bool:
        """Takes the symbol for the instrument; False if it is another one's.

        Doing it twice is doing it once. An instrument that changes its symbol keeps the former one,
        so that nobody can trade under a name that meant something else; `release` gives one back.
        """
        return not self.claim_all({symbol: instrument})

    def claim_all(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Claims {symbol: instrument}, all or none; which of them are other instruments', and whose.

        Raises Unavailable when others claim the same symbols again and again.
        """
        for _ in range(CLAIM_ATTEMPTS_MAX):
            owners = self.owners(list(wanted))
            taken = {symbol: owner for symbol, owner in owners.items() if owner != wanted[symbol]}
            rows = [
                {"symbol": symbol, "instrument": instrument}
                for symbol, instrument in wanted.items()
                if symbol not in owners
            ]
            if taken or not rows:
                return taken
            try:
                with self._store.writing() as connection:
                    connection.execute(self._table.insert(), rows)
            except Violation:  # claimed by another process since we looked: look again
                continue
            return {}
        raise Unavailable("others claim these symbols at the same time")

    def find(self, symbol: str) -> str | None:
        """The id of the instrument that owns the symbol."""
        return self.owners([symbol]).get(symbol)

    def owners(self, symbols: Sequence[str]) -> dict[str, str]:
        """{symbol: id of the instrument that owns it}, without those that nobody owns."""
        columns = self._table.c
        found: dict[str, str] = {}
        with self._store.reading() as connection:
            for start in range(0, len(symbols), SUBJECTS_MAX):
                some = symbols[start : start + SUBJECTS_MAX]
                query = sa.select(columns.symbol, columns.instrument).where(columns.symbol.in_(some))
                found.update(connection.execute(query).tuples().all())
        return found

    def release(self, symbol: str, instrument: str) -> None:
        """Gives back a symbol whose instrument was refused after the claim."""
        columns = self._table.c
        mine = (columns.symbol == symbol, columns.instrument == instrument)
        with self._store.writing() as connection:
            connection.execute(self._table.delete().where(*mine))
