"""Restoring a journal from a dump: completely, verified to the last byte, or not at all. See
docs/dump.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final, NamedTuple

import sqlalchemy as sa

from engine.domain.stored import engine_codec
from engine.journal.datastore import Datastore
from engine.journal.pages import StoredRow
from engine.journal.schema import SCHEMA
from engine.journal.store import allow_pauses
from engine.kernel.errors import BadDump, NotEmpty, SchemaTooNew, UnknownFact
from engine.kernel.limits import DUMP_LINE_BYTES_MAX, DUMP_ROWS_PER_STATEMENT
from engine.registers import acts
from engine.registers.clients import check_row
from engine.transfer import dump_format
from engine.transfer.dump_format import EndLine, Header, RowLine, SealedLine, Signed
from engine.transfer.dump_secrets import Opener
from engine.transfer.dump_vouching import SignedAt, Vouchers, voucher
from engine.transfer.dumping import ALL, SECRETS, carried

ReportProgress = Callable[[int], None]


class RestoredClient(NamedTuple):
    """A client in the dump, with its permissions."""

    id: str
    tenant: str
    scopes: str


class Proposal(NamedTuple):
    """A verified restore before its commit, with the proof of its origin (None without one)."""

    journal_id: str
    facts: int
    digest: str
    vouched_by: str | None
    clients: list[RestoredClient]


Accept = Callable[[Proposal], None]
"""Raises unless the proposal is to be restored."""
_LOST_BYTES: Final = 32
"""Random replacement of an omitted secret, which nothing matches."""


@dataclass(frozen=True)
class Restored:
    """The result of a restore. `clients_without_secret` need `order-engine client rotate` before they
    can sign in.
    """

    journal_id: str
    facts: int
    rows: int
    digest: str
    clients_without_secret: int
    vouched_by: str | None


class DumpReader:
    """The lines of a dump in order, verified as read. `header` is read at once, `signed` at the end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._sum = sha256()
        self._number = 0
        self._position = 0
        self._digest = bytes(dump_format.DIGEST_BYTES)
        self.signed: SignedAt | None = None
        with self._placing():
            self.header: Header = dump_format.decode_header(self._line())
        if self.header.schema > SCHEMA:
            raise SchemaTooNew(
                f"a newer release made this dump (schema {self.header.schema}, this one knows {SCHEMA})"
            )

    def lines(self) -> Iterator[StoredRow | RowLine | SealedLine]:
        """Every line between header and end. Raises BadDump for an invalid one."""
        while True:
            before = self._sum.hexdigest()
            with self._placing():
                line = dump_format.decode_line(self._line())
                if isinstance(line, EndLine):
                    self._end(line, before)
                    return
                if self.signed is not None:
                    raise ValueError("a line follows the signature")
                if isinstance(line, Signed):
                    self._check_facts_are_over()
                    self.signed = SignedAt(line, self._number - 1, before)
                    continue
                if isinstance(line, RowLine | SealedLine):
                    self._check_facts_are_over()
                else:
                    self._check_fact(line)
            yield line

    def bad(self, why: object) -> BadDump:
        """The error for the line read last."""
        words = f"line {self._number}: {why}"
        where = {"line": self._number}
        if self._position < self.header.size:
            words = f"line {self._number}, the fact at position {self._position + 1}: {why}"
            where["position"] = self._position + 1
        return BadDump(words, **where)

    def _line(self) -> bytes:
        line = self._source.readline(DUMP_LINE_BYTES_MAX)
        self._number += 1
        if not line.endswith(b"\n"):
            raise ValueError(
                "the dump ends here" if len(line) < DUMP_LINE_BYTES_MAX else "it is too long"
            )
        self._sum.update(line)
        return line

    @contextmanager
    def _placing(self) -> Iterator[None]:
        try:
            yield
        except (
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:  # msgspec's and Unicode's are ValueErrors
            if self._number == 1:
                raise BadDump("this is not a dump of a journal") from None
            raise self.bad(error) from None

    def _check_fact(self, fact: StoredRow) -> None:
        if fact[0] != self._position + 1 or fact[0] > self.header.size:
            raise ValueError(f"it holds position {fact[0]}")
        dump_format.check_fact(fact, self._digest)
        self._position, self._digest = fact[0], fact[6]

    def _check_facts_are_over(self) -> None:
        if self._position != self.header.size:
            raise ValueError("it is missing")
        if self._digest.hex() != self.header.digest:
            raise ValueError("the header's digest is not that of the last fact")

    def _end(self, end: EndLine, before: str) -> None:
        self._check_facts_are_over()
        if end.lines != self._number - 1:
            raise ValueError(
                f"{end.lines} lines were written before the end, here are {self._number - 1}"
            )
        if end.sha256 != before:
            raise ValueError("the lines before the end are not those that were written")
        if self._source.read(1):
            raise ValueError("something follows the end")


def restore(
    datastore: Datastore,
    reader: DumpReader,
    opener: Opener | None,
    *,
    vouchers: Vouchers,
    accept: Accept,
    report: ReportProgress = lambda _: None,
) -> Restored:
    """Restores into the empty journal of `datastore`, whose tables exist, in one transaction.

    `accept` is called before the commit, when all has been read. Raises its errors, BadDump, NotEmpty,
    WrongKey, UnknownFact for facts of a newer release, Unavailable.
    """
    with datastore.store.writing() as connection:
        allow_pauses(connection)  # the dump may arrive slowly
        _check_empty(connection, datastore)
        target = _Target(connection, datastore, reader)
        for several in _batches(reader.lines()):
            target.insert(several, opener)
            report(target.facts)
        try:
            vouched_by = voucher(reader.header, reader.signed, vouchers)
        except ValueError as error:
            raise BadDump(f"the signature: {error}") from None
        accept(target.proposal(vouched_by))
        return target.finish(vouched_by)


def _check_empty(connection: sa.Connection, datastore: Datastore) -> None:
    head = datastore.tables.head
    connection.execute(sa.select(head.c.one).with_for_update())
    for table in (datastore.tables.journal, *carried(datastore)):
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
            raise NotEmpty(f"a dump is restored into an empty journal, and {table.name} has rows here")


def _batches(lines: Iterable[Any]) -> Iterator[list[Any]]:
    """Batches of consecutive lines of one kind."""
    batch: list[Any] = []
    kind: object = None
    for line in lines:
        now = line.table if isinstance(line, RowLine) else type(line)
        if batch and (now != kind or len(batch) == DUMP_ROWS_PER_STATEMENT):
            yield batch
            batch = []
        kind = now
        batch.append(line)
    if batch:
        yield batch


class _Target:
    """The open transaction, and counts of restored rows."""

    def __init__(self, connection: sa.Connection, datastore: Datastore, reader: DumpReader) -> None:
        self._connection = connection
        self._tables = datastore.tables
        self._reader = reader
        self._carried = {table.name: table for table in carried(datastore)}
        names = self._tables.names.c
        rows = connection.execute(sa.select(names.name, names.code))
        self._codes: dict[str, int] = dict(rows.tuples().all())
        self._known = engine_codec().names
        self._without_secret = 0
        self.facts = 0
        self.rows = 0

    def insert(self, lines: list[Any], opener: Opener | None) -> None:
        first = lines[0]
        if isinstance(first, SealedLine):
            if opener is None:  # announced before: they are omitted
                return
            for table, values in (self._opened(opener, line) for line in lines):
                self._insert_rows(table, [values])
        elif isinstance(first, RowLine):
            self._insert_rows(first.table, [line.values for line in lines])
        else:
            self._insert_facts(lines)

    def proposal(self, vouched_by: str | None) -> Proposal:
        header, clients = self._reader.header, self._carried["clients"].c
        query = sa.select(clients.id, clients.tenant, clients.scopes)
        rows = self._connection.execute(
            query.where(clients.disabled_us.is_(None)).order_by(clients.tenant, clients.id)
        )
        found = [RestoredClient(*row) for row in rows]
        return Proposal(header.journal_id, self.facts, header.digest, vouched_by, found)

    def finish(self, vouched_by: str | None) -> Restored:
        header, tables, connection = self._reader.header, self._tables, self._connection
        connection.execute(
            tables.head.update().values(position=header.size, digest=bytes.fromhex(header.digest))
        )
        meta = tables.meta
        connection.execute(
            meta.update().where(meta.c.key == "journal_id").values(value=header.journal_id)
        )
        self._restart_numbers()
        acts.note(
            connection,
            "journal.restored",
            actor=acts.COMMAND_LINE,
            subject=header.journal_id,
            context={"facts": self.facts, "digest": header.digest, "vouched_by": vouched_by},
        )
        return Restored(
            header.journal_id, self.facts, self.rows, header.digest, self._without_secret, vouched_by
        )

    def _opened(self, opener: Opener, sealed: SealedLine) -> RowLine:
        try:
            return opener.open(sealed)
        except ValueError as error:
            raise self._reader.bad(error) from None

    def _insert_facts(self, facts: list[StoredRow]) -> None:
        rows = []
        for position, version, name, stream, command, body, digest in facts:
            if name not in self._known:
                raise UnknownFact(
                    f"position {position}: this release knows no fact {name!r}", position=position
                )
            rows.append({
                "position": position, "version": version, "stream": stream,
                "name": self._codes.get(name) or self._learn(name),
                "command": command, "body": body, "digest": digest,
            })  # fmt: skip
        self._execute(self._tables.journal, rows)
        self.facts += len(rows)

    def _learn(self, name: str) -> int:
        code = self._codes[name] = max(self._codes.values(), default=0) + 1
        self._connection.execute(self._tables.names.insert().values(code=code, name=name))
        return code

    def _insert_rows(self, name: str, rows: list[Mapping[str, Any]]) -> None:
        table = self._carried.get(name)
        if table is None:
            raise self._reader.bad(f"this release has no table {name!r:.60}")
        try:
            self._execute(table, [self._values(table, row) for row in rows])
        except ValueError as error:
            raise self._reader.bad(error) from None
        self.rows += len(rows)

    def _values(self, table: sa.Table, row: Mapping[str, Any]) -> dict[str, Any]:
        unknown = row.keys() - table.columns.keys()
        if unknown:
            raise ValueError(f"{table.name} has no column {min(unknown)!r:.60}")
        values = {}
        lost = SECRETS.get(table.name, frozenset[str]())
        for column in table.columns:
            value = row.get(column.name)
            is_lost = column.name in lost and lost is not ALL and not column.nullable
            if value is None and is_lost:
                value = os.urandom(_LOST_BYTES)
                self._without_secret += 1
            elif value is not None and isinstance(column.type, sa.LargeBinary):
                value = dump_format.unpack(value)
            values[column.name] = value
        if table.name == "clients":  # shown for confirmation, and trusted from then on
            check_row(values["id"], values["tenant"], values["scopes"])
        return values

    def _execute(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        try:
            self._connection.execute(table.insert(), rows)
        except sa.exc.DBAPIError as error:
            if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
                raise self._reader.bad(f"{table.name} does not take it") from error
            raise

    def _restart_numbers(self) -> None:
        """Sets PostgreSQL's sequences past the restored numbers."""
        if self._connection.dialect.name != "postgresql":
            return
        for table in self._carried.values():
            column = table.autoincrement_column
            if column is not None:
                self._connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), last)"  # noqa: S608
                    f" FROM (SELECT max({column.name}) AS last FROM {table.name}) AS one"
                    " WHERE last IS NOT NULL"
                )
