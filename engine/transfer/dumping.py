"""Dumps: a journal and its operational tables as verifiable lines. See docs/dump.md.

Facts up to the current head come first. Rows are read afterwards, in one snapshot: rows are written
before the facts that refer to them, so the dump has them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final

import sqlalchemy as sa

from engine.installation import FINGERPRINT
from engine.journal import schema
from engine.journal.datastore import Datastore
from engine.journal.store import allow_pauses
from engine.kernel.errors import JournalDamaged
from engine.kernel.limits import DUMP_ROWS_PER_STATEMENT
from engine.registers.operations import define_operations
from engine.transfer import dump_format, dump_vouching
from engine.transfer.dump_format import FORMAT, Header, RowLine
from engine.transfer.dump_secrets import Sealer
from engine.transfer.dump_vouching import Signing

ALL: Final = frozenset({"*"})
SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "clients": frozenset({"digest"}),
    "former_secrets": ALL,
    "signing_keys": ALL,
    "webhooks": ALL,  # the path of a URL is often a password
    "webhook_secrets": ALL,
    "sealing_keys": ALL,
    "keys": frozenset({"sealed"}),
    "seals": ALL,  # not secret, but useless without the keys that signed them
}
"""Table -> its secret columns. A dump without secrets omits them, and tables of secrets entirely."""
PERSONAL: Final = "personal"
UNCARRIED: Final = frozenset(
    {
        "leases",
        "heartbeats",
        "order_quotes",
        "snapshots",
        "journal_names",
        "journal_head",
        "journal_meta",
        "seal_nodes",
    }
)
"""Tables recreated where the journal is restored."""

ReportProgress = Callable[[int], None]


@dataclass(frozen=True)
class DumpOptions:
    """Options of a dump. A `sealer` includes secrets, encrypted; without `signing` its origin cannot be
    proven.
    """

    personal: bool = True
    sealer: Sealer | None = None
    signing: Signing | None = None


@dataclass(frozen=True)
class Dumped:
    """The result of a dump."""

    facts: int
    rows: int
    digest: str
    journal_id: str


def carried(datastore: Datastore) -> list[sa.Table]:
    """The dumped tables: offsets of followers, and all operational tables."""
    operational = define_operations().metadata.sorted_tables
    return [datastore.tables.tracking, *(one for one in operational if one.name not in UNCARRIED)]


def dump(
    datastore: Datastore,
    out: BinaryIO,
    wanted: DumpOptions,
    *,
    made_by: str,
    made_at: str,
    report: ReportProgress = lambda _: None,
) -> Dumped:
    """Writes the current journal. Raises JournalDamaged at the first fact that differs from what was
    recorded.
    """
    with datastore.store.reading() as connection:
        meta = schema.check(connection, datastore.tables)
    head = datastore.pages.head()
    header = Header(
        dump=FORMAT,
        journal_id=meta["journal_id"],
        schema=int(meta["schema"]),
        key_fingerprint=meta.get(FINGERPRINT, ""),
        size=head.position,
        digest=head.digest.hex(),
        personal=wanted.personal,
        secrets=wanted.sealer.how if wanted.sealer else None,
        made_by=made_by,
        made_at=made_at,
    )
    lines = _Lines(out)
    lines.write(dump_format.encode_header(header))
    _write_facts(datastore, header, lines, report)
    rows = _write_rows(datastore, header, wanted, lines)
    if wanted.signing:
        count, digest = lines.so_far()
        signed = dump_vouching.sign(wanted.signing, header, count, digest)
        lines.write(dump_format.encode_signed(signed))
    lines.end()
    return Dumped(head.position, rows, header.digest, header.journal_id)


class _Lines:
    """Output lines, counted and digested."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._sum = sha256()
        self._count = 0

    def write(self, *lines: bytes) -> None:
        content = b"".join(lines)
        self._sum.update(content)
        self._count += len(lines)
        self._out.write(content)

    def so_far(self) -> tuple[int, str]:
        return self._count, self._sum.hexdigest()

    def end(self) -> None:
        self._out.write(dump_format.encode_end(self._count, self._sum.hexdigest()))
        self._out.flush()


def _write_facts(datastore: Datastore, header: Header, lines: _Lines, report: ReportProgress) -> None:
    after, last = 0, bytes(dump_format.DIGEST_BYTES)
    while after < header.size:
        facts = datastore.pages.log(after, DUMP_ROWS_PER_STATEMENT, stop=header.size)
        lines.write(*map(dump_format.encode_fact, facts))
        after, last = facts[-1][0], facts[-1][6]
        report(after)
    if last.hex() != header.digest:
        raise JournalDamaged(
            f"the head's digest is not that of the last fact, at {after}", position=after
        )


def _write_rows(datastore: Datastore, header: Header, wanted: DumpOptions, lines: _Lines) -> int:
    count, fits = 0, _Fitting(header.size)
    with _one_moment(datastore) as connection:
        for table in carried(datastore):
            if table.name == PERSONAL and not wanted.personal:
                continue
            rows = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            for several in rows.mappings().partitions(DUMP_ROWS_PER_STATEMENT):
                values = [{str(name): value for name, value in row.items()} for row in several]
                fitting = [row for row in values if fits(table.name, row)]
                encoded = [
                    line
                    for row in fitting
                    if (line := _row(header, wanted, RowLine(str(table.name), row)))
                ]
                lines.write(*encoded)
                count += len(encoded)
    return count


class _Fitting:
    """Filters rows, which are read later, to those valid for a journal of `size` facts. Offsets are
    lowered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left_out: set[int] = set()

    def __call__(self, table: str, row: dict[str, Any]) -> bool:
        match table:
            case "tracking" | "webhook_backlogs":
                for seal in ("digest", "mac"):  # recreated where the journal is restored
                    row.pop(seal, None)
                row["position"] = min(row["position"], self._size)
            case "seals":
                return bool(row["size"] <= self._size)
            case "deliveries" if row["event_offset"] > self._size:
                self._left_out.add(row["seq"])
                return False
            case "delivery_attempts":  # its deliveries were read before
                return row["delivery"] not in self._left_out
        return True


def _row(header: Header, wanted: DumpOptions, row: RowLine) -> bytes | None:
    secret = SECRETS.get(row.table)
    if secret is None:
        return dump_format.encode_row(*row)
    if wanted.sealer:
        return dump_format.encode_sealed(*wanted.sealer.seal(header, row))
    if secret is ALL:
        return None
    shown: dict[str, Any] = {name: value for name, value in row.values.items() if name not in secret}
    return dump_format.encode_row(row.table, shown)


@contextlib.contextmanager
def _one_moment(datastore: Datastore) -> Iterator[sa.Connection]:
    """A connection that streams rows as of its first read, for any length of time."""
    is_sqlite = datastore.store.dialect == "sqlite"
    with datastore.store.reading() as connection:
        if is_sqlite:
            connection.exec_driver_sql("BEGIN")
        else:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
            allow_pauses(connection)  # the reader of the dump may be slow
        try:
            yield connection.execution_options(yield_per=DUMP_ROWS_PER_STATEMENT)
        finally:
            if is_sqlite:
                connection.exec_driver_sql("ROLLBACK")
            else:
                connection.rollback()
