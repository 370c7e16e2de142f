"""Quotes and symbols: input data of decisions, kept in tables, never facts.

Every fact that used a price includes it, so history does not need this table. Decisions use `latest`,
which answers from memory; `refresh` reads quotes added by other processes.

Quotes are ordered by the earlier of their timestamp and their receipt by the database's clock: else a
feed with a fast clock would block all others until that time. A jump beyond `jump_max` waits in a
separate table, the newest of each symbol, until another client confirms it; until then no process uses
it.

A sequence numbers quotes before they commit. So that `refresh` cannot skip a quote that commits later,
writers are serialised: SQLite has one writer anyway, on PostgreSQL an advisory lock is held from before
the number is drawn until after the commit. (A table lock would also wait for autovacuum.) A quote
inserted by hand-written SQL needs the same lock.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from engine.domain.pricing import Price
from engine.domain.quote import Quote, jumps, quote_faults
from engine.journal.store import CompanionWrite, Store, Violation, no_companion
from engine.kernel.errors import Unavailable
from engine.kernel.health import Finding
from engine.kernel.limits import (
    CLAIM_ATTEMPTS_MAX,
    PRICE_JUMP_WINDOW_US,
    QUOTES_MAX,
    SUBJECTS_MAX,
    SYMBOLS_MAX,
)
from engine.kernel.refusals import refused
from engine.kernel.times import whole_second
from engine.kernel.values import plain
from engine.registers.operations import Operations

_BY_SCHEDULE: Final = ""
"""`accrued_interest` of a quote that brought none."""
_LOCK: Final = 0x7072_6963_6573  # "prices"; serialises writers of the table on PostgreSQL
_SERVER_NOW_US: Final = sa.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")

_LATEST_OF_EACH: Final = sa.text(
    """
    WITH RECURSIVE listed(symbol) AS (
        SELECT min(symbol) FROM prices
        UNION ALL
        SELECT (SELECT min(symbol) FROM prices WHERE symbol > listed.symbol)
        FROM listed WHERE listed.symbol IS NOT NULL
    )
    SELECT latest.seq, latest.symbol, latest.bid, latest.ask, latest.at_us, latest.quality,
           latest.accrued_interest, latest.currency, latest.author, latest.unit, latest.stated_us,
           latest.confirmed_by
    FROM listed JOIN prices AS latest ON latest.seq = (
        SELECT seq FROM prices WHERE symbol = listed.symbol AND seq <= :last
        ORDER BY at_us DESC, seq DESC LIMIT 1
    )
    LIMIT :most
    """
)
"""The first read of a process: one index step per symbol, independent of the history's length."""


class _Known(NamedTuple):
    at_us: int
    seq: int
    quote: Quote
    price: Price


def _now_us() -> int:
    return time.time_ns() // 1000


class Market:
    """The latest quote of each symbol. Thread-safe; `latest` and `quote` never wait.

    `jump_max`: the largest move of a price without confirmation, such as 0.2 for a fifth; None:
    unlimited.
    """

    def __init__(
        self,
        store: Store,
        operations: Operations,
        now_us: Callable[[], int] = _now_us,
        *,
        jump_max: Decimal | None = None,
    ) -> None:
        self._store = store
        self._prices = operations.prices
        self._waiting = operations.waiting_prices
        self._symbols = operations.symbols
        self._now_us = now_us
        self._jump_max = jump_max
        self._known: dict[str, _Known] = {}
        self._seq: int | None = None  # the last row read; None before the first
        self._written: list[Quote] = []  # prices of the current transaction
        self._learning = threading.Lock()

    def latest(self, symbol: str) -> Price | None:
        """The newest known price, None if there never was one."""
        known = self._known.get(symbol)
        return known.price if known else None

    def _newest(self) -> int:
        return int(self._store.query("SELECT max(seq) FROM prices")[0][0] or 0)

    def quote(self, symbol: str) -> Quote | None:
        """The newest known quote."""
        known = self._known.get(symbol)
        return known.quote if known else None

    def older(self, than_us: int) -> list[Quote]:
        """The newest quotes of symbols whose newest is of before that time, the oldest first."""
        found = [known.quote for known in list(self._known.values()) if known.at_us < than_us]
        return sorted(found, key=_age)

    def refresh(self) -> int:
        """Reads the quotes recorded since the last call; how many. Raises Unavailable."""
        # Almost always there are no new quotes; the driver's fastest path shows that.
        if self._newest() == self._seq:
            return 0
        with self._learning:  # keeps other readers out
            if self._seq is not None and self._newest() < self._seq:  # the database was restored
                self._known, self._seq = {}, None
        with self._learning, self._store.reading() as connection:
            rows, seq = self._newer(connection)
            self._learn(rows, seq)
            count = len(rows)
            while len(rows) == QUOTES_MAX:
                rows, seq = self._newer(connection)
                self._learn(rows, seq)
                count += len(rows)
        return count

    def put(
        self,
        quotes: Sequence[Quote],
        also: CompanionWrite = no_companion,
        *,
        is_checked: bool = False,
    ) -> list[Quote]:
        """Records quotes, all or none, and returns them as recorded; `latest` knows them by then.

        An older quote is recorded without replacing the latest. A jump waits, in place of any earlier
        one. `is_checked`: the quotes have no `quote_faults`. `also` writes in the same transaction;
        if it raises, nothing is recorded. Raises Refused `invalid_param` with every fault (paths such as
        `0.bid`), `invalid_request` for too many quotes or symbols, Unavailable.
        """
        if len(quotes) > QUOTES_MAX:
            raise refused(
                "invalid_request", f"A request may hold at most {QUOTES_MAX} quotes; send several."
            )
        now_us = self._now_us()
        faults = [
            found
            for place, quote in enumerate(quotes)
            for found in ([] if is_checked else quote_faults(quote, now_us, f"{place}."))
        ]
        if faults:
            raise refused("invalid_param", params=faults)
        if not quotes:
            return []
        with self._recording() as connection:
            if len(self._known.keys() | {quote.symbol for quote in quotes}) > SYMBOLS_MAX:
                raise refused("invalid_request", f"At most {SYMBOLS_MAX} symbols can have prices.")
            received_us = self._received_us(connection)
            recorded = [self._received(connection, quote, received_us) for quote in quotes]
            self._record(connection, recorded, received_us)
            also(connection, recorded)
        return recorded

    def waiting(self, symbols: Sequence[str] = ()) -> list[Quote]:
        """Unconfirmed jumps of these symbols, or of all. Raises Unavailable."""
        columns = self._waiting.c
        query = sa.select(*_columns(self._waiting)).order_by(columns.symbol).limit(QUOTES_MAX)
        if symbols:
            query = query.where(columns.symbol.in_(symbols))
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        return [msgspec.structs.replace(_quote(row), is_waiting=True) for row in rows]

    def findings(self) -> Iterator[Finding]:
        """Findings about unconfirmed prices. Raises Unavailable."""
        count, since_us = self._store.query("SELECT count(*), min(recorded_us) FROM waiting_prices")[0]
        if count:
            when = whole_second(since_us)
            yield Finding("prices_waiting", f"{count} of them, the first since {when}.")

    def confirm(
        self,
        symbol: str,
        by: str,
        also: CompanionWrite = no_companion,
        *,
        may_be_author: bool = False,
        bid: Decimal | None = None,
        ask: Decimal | None = None,
    ) -> Quote:
        """Confirms the jump of a symbol, once; `latest` knows it on return.

        With `bid` and `ask` only if the price is still the same. Raises Refused `not_found` if none
        waits, `same_client` for its author unless it `may_be_author`, `price_changed`, Unavailable.
        """
        with self._recording() as connection:
            columns = self._waiting.c
            waits = sa.select(columns.recorded_us, *_columns(self._waiting))
            row = connection.execute(waits.where(columns.symbol == symbol)).first()
            if row is None:
                raise refused("not_found", "No price of this symbol waits to be confirmed.")
            jump = _quote(row[1:])
            if jump.author == by and not may_be_author:
                raise refused("same_client")
            if (bid is not None and bid != jump.bid) or (ask is not None and ask != jump.ask):
                raise refused("price_changed", bid=plain(jump.bid), ask=plain(jump.ask))
            confirmed = msgspec.structs.replace(jump, confirmed_by=by)
            self._record(connection, [confirmed], row.recorded_us)
            also(connection, confirmed)
        return confirmed

    @contextlib.contextmanager
    def _recording(self) -> Iterator[sa.Connection]:
        """A write transaction that knows every committed quote, and afterwards its own."""
        self.refresh()  # so that little is left to read under the lock
        with self._learning:
            with self._store.writing() as connection:
                if self._store.dialect == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                self._learn(*self._newer(connection, limit=None))
                self._written = []
                yield connection
                numbers = self._numbers(connection)
            for number, quote in zip(numbers, self._written, strict=True):
                self._know(number, quote)
            self._seq = numbers[-1] if numbers else self._seq

    def _received_us(self, connection: sa.Connection) -> int:
        """The current time by the database's clock, which all writers of prices share."""
        if self._store.dialect == "postgresql":
            now: int = connection.execute(_SERVER_NOW_US).scalar_one()
            return now
        return self._now_us()  # SQLite has no clock of its own

    def _received(self, connection: sa.Connection, quote: Quote, received_us: int) -> Quote:
        """A quote as recorded: dated, waiting if it is a jump."""
        known = self._known.get(quote.symbol)
        stated_us = received_us if quote.at_us is None else quote.at_us
        at_us = min(stated_us, received_us)
        quote = msgspec.structs.replace(
            quote,
            at_us=at_us,
            stated_us=stated_us if stated_us > at_us else None,
        )
        if self._jumps(connection, known, quote):
            return msgspec.structs.replace(quote, is_waiting=True)
        return quote

    def _jumps(self, connection: sa.Connection, known: _Known | None, quote: Quote) -> bool:
        """Whether a quote that would become the latest moves too far from the last one, or within a
        minute.

        The first price of a symbol is a jump if its instrument had a price under another symbol.
        """
        most = self._jump_max
        if most is None:
            return False
        if known is None:
            return self._was_priced(connection, quote.symbol)
        if quote.at_us is None or quote.at_us < known.at_us:
            return False  # it does not become the latest
        anchor = self._anchor(connection, quote.symbol) or known.quote
        return jumps(known.quote, quote, most) or jumps(anchor, quote, most)

    def _was_priced(self, connection: sa.Connection, symbol: str) -> bool:
        """Whether a symbol's instrument had a price under a former symbol."""
        mine, other = self._symbols.alias(), self._symbols.alias()
        former = (
            sa.select(other.c.symbol)
            .join(mine, mine.c.instrument == other.c.instrument)
            .where(mine.c.symbol == symbol, other.c.symbol != symbol)
        )
        return any(name in self._known for name in connection.execute(former).scalars())

    def _anchor(self, connection: sa.Connection, symbol: str) -> Quote | None:
        """The reference price for a jump: one confirmed in the last minute, else the price of a minute
        ago, else the first.

        Only the time of receipt counts, since a timestamp can be anything.
        """
        c = self._prices.c
        then_us = self._received_us(connection) - PRICE_JUMP_WINDOW_US
        quotes = sa.select(*_columns(self._prices)).where(c.symbol == symbol).limit(1)
        newest = quotes.order_by(c.at_us.desc(), c.seq.desc())
        for query in (
            newest.where(c.at_us > then_us, c.confirmed_by.is_not(None)),
            newest.where(c.recorded_us <= then_us),
            quotes.order_by(c.seq),
        ):
            row = connection.execute(query).first()
            if row is not None:
                return _quote(row)
        return None

    def _record(self, connection: sa.Connection, quotes: Sequence[Quote], received_us: int) -> None:
        """Inserts quotes as prices, or as the newest waiting one of each symbol.

        A price deletes an older waiting jump of its symbol.
        """
        prices = [quote for quote in quotes if not quote.is_waiting]
        if prices:
            connection.execute(self._prices.insert(), [_row(quote, received_us) for quote in prices])
            self._written += prices
        columns = self._waiting.c
        waits = connection.execute(sa.select(columns.symbol).limit(1)).first()
        if waits is None and len(prices) == len(quotes):
            return
        for symbol, quote in {quote.symbol: quote for quote in sorted(quotes, key=_age)}.items():
            older = (columns.symbol == symbol, columns.at_us <= quote.at_us)
            connection.execute(self._waiting.delete().where(*older))
            if quote.is_waiting and self._is_free(connection, symbol):
                connection.execute(self._waiting.insert(), _row(quote, received_us))

    def _is_free(self, connection: sa.Connection, symbol: str) -> bool:
        """Whether no newer quote of the symbol waits."""
        held = sa.select(self._waiting.c.symbol).where(self._waiting.c.symbol == symbol)
        return connection.execute(held).first() is None

    def as_of(self, symbol: str, at_us: int) -> Quote | None:
        """The newest quote at or before that time, from the table."""
        columns = self._prices.c
        query = (
            sa.select(*_columns(self._prices))
            .where(columns.symbol == symbol, columns.at_us <= at_us)
            .order_by(columns.at_us.desc(), columns.seq.desc())
            .limit(1)
        )
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return _quote(row) if row else None

    def since(self, symbol: str, at_us: int, number: int) -> list[tuple[int, Quote]]:
        """(number, quote) of a symbol's quotes after one of a market time and number, by both; at most
        QUOTES_MAX. Raises Unavailable.
        """
        columns = self._prices.c
        query = (
            sa.select(*_columns(self._prices))
            .where(columns.symbol == symbol, columns.at_us >= at_us)
            .where((columns.at_us > at_us) | (columns.seq > number))
            .order_by(columns.at_us, columns.seq)
            .limit(QUOTES_MAX)
        )
        with self._store.reading() as connection:
            return [(row.seq, _quote(row)) for row in connection.execute(query)]

    def _newer(
        self, connection: sa.Connection, limit: int | None = QUOTES_MAX
    ) -> tuple[Sequence[sa.Row[Any]], int]:
        """(new rows, number of the last row read)."""
        columns = self._prices.c
        query = sa.select(*_columns(self._prices))
        if self._seq is None:
            last = connection.execute(sa.select(sa.func.max(columns.seq))).scalar() or 0
            values = {"last": last, "most": SYMBOLS_MAX}
            return connection.execute(_LATEST_OF_EACH, values).all(), last
        query = query.where(columns.seq > self._seq).order_by(columns.seq).limit(limit)
        rows = connection.execute(query).all()
        return rows, rows[-1].seq if rows else self._seq

    def _numbers(self, connection: sa.Connection) -> Sequence[int]:
        """The numbers of the prices that this transaction inserted, in their order."""
        if not self._written:
            return []
        seq = self._prices.c.seq
        query = sa.select(seq).where(seq > (self._seq or 0)).order_by(seq)
        return connection.execute(query).scalars().all()

    def _learn(self, rows: Sequence[sa.Row[Any]], seq: int) -> None:
        for row in rows:
            self._know(row[0], _quote(row))
        self._seq = seq

    def _know(self, number: int, quote: Quote) -> None:
        known, at_us = self._known, _age(quote)
        before = known.get(quote.symbol)
        if before is None and len(known) >= SYMBOLS_MAX:
            return
        if before is None or (at_us, number) > (before.at_us, before.seq):
            known[quote.symbol] = _Known(at_us, number, quote, quote.price)


def _age(quote: Quote) -> int:
    assert quote.at_us is not None
    return quote.at_us


def _columns(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """The columns that `_quote` unpacks; waiting prices have no number."""
    c = table.c
    return [
        c.seq if "seq" in c else sa.literal(0), c.symbol, c.bid, c.ask, c.at_us, c.quality,
        c.accrued_interest, c.currency, c.author, c.unit, c.stated_us, c.confirmed_by,
    ]  # fmt: skip


def _row(quote: Quote, received_us: int) -> dict[str, Any]:
    accrued = quote.accrued_interest
    return {
        "symbol": quote.symbol,
        "quality": quote.quality,
        "currency": quote.currency,
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "accrued_interest": _BY_SCHEDULE if accrued is None else plain(accrued),
        "at_us": quote.at_us,
        "recorded_us": received_us,
        "author": quote.author,
        "unit": quote.unit,
        "stated_us": quote.stated_us,
        "confirmed_by": quote.confirmed_by,
    }


def _quote(row: Sequence[Any]) -> Quote:
    """The quote of a row of `_columns`. Unpacked, as looking up a name for each value costs more."""
    _, symbol, bid, ask, at_us, quality, accrued, currency, author, unit, stated_us, confirmed_by = row
    return Quote(
        symbol,
        Decimal(bid),
        Decimal(ask),
        at_us,
        quality,
        accrued_interest=None if accrued == _BY_SCHEDULE else Decimal(accrued),
        currency=currency,
        author=author,
        unit=unit,
        stated_us=stated_us,
        confirmed_by=confirmed_by,
    )


class Symbols:
    """Ownership of symbols. A symbol is claimed before its instrument's facts are appended."""

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._table = operations.symbols

    def claim(self, symbol: str, instrument: str) -> bool:
        """Claims the symbol for the instrument; False if it belongs to another one.

        Idempotent. An instrument that changes its symbol keeps the former one, so that the name never
        refers to another instrument; `release` frees one.
        """
        return not self.claim_all({symbol: instrument})

    def claim_all(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Claims {symbol: instrument}, all or none; returns those owned by other instruments, with the
        owner.

        Raises Unavailable if others keep claiming the same symbols.
        """
        for _ in range(CLAIM_ATTEMPTS_MAX):
            owners = self.owners(list(wanted))
            taken = {symbol: owner for symbol, owner in owners.items() if owner != wanted[symbol]}
            rows = [
                {"symbol": symbol, "instrument": instrument}
                for symbol, instrument in sorted(wanted.items())  # in one order, or two could deadlock
                if symbol not in owners
            ]
            if taken or not rows:
                return taken
            try:
                with self._store.writing() as connection:
                    connection.execute(self._table.insert(), rows)
            except Violation:  # claimed by another process meanwhile: check again
                continue
            return {}
        raise Unavailable("others claim these symbols at the same time")

    def find(self, symbol: str) -> str | None:
        """The id of the instrument that owns the symbol."""
        return self.owners([symbol]).get(symbol)

    def owners(self, symbols: Sequence[str]) -> dict[str, str]:
        """{symbol: id of its instrument}, without unowned ones."""
        columns = self._table.c
        found: dict[str, str] = {}
        with self._store.reading() as connection:
            for start in range(0, len(symbols), SUBJECTS_MAX):
                some = symbols[start : start + SUBJECTS_MAX]
                query = sa.select(columns.symbol, columns.instrument).where(columns.symbol.in_(some))
                found.update(connection.execute(query).tuples().all())
        return found

    def release(self, symbol: str, instrument: str) -> None:
        """Frees a symbol whose instrument was refused after the claim."""
        columns = self._table.c
        mine = (columns.symbol == symbol, columns.instrument == instrument)
        with self._store.writing() as connection:
            connection.execute(self._table.delete().where(*mine))
