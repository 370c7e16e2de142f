"""Sealers driven turn by turn, and an attacker with write access to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa

from engine.config.settings import Settings
from engine.domain.stored import engine_codec
from engine.journal import sqlite
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel import chain
from engine.kernel.process import PUBLISHING, SEALING
from engine.proof.checkpoint import PublicKey, Signer, origin_of
from engine.proof.sealing import Outlet, Sealing, SealPublishing
from engine.proof.seals import Seal, Seals
from engine.registers.operations import Operations, define_operations
from tests.support.engines.following import Clock
from tests.support.engines.journals import events, new_command
from tests.support.engines.prepared import make_tables

TRIGGERS = ("journal", "seals")


@dataclass
class House:
    """One journal that is sealed, with a clock that the test moves."""

    journal: Journal
    signer: Signer
    url: str
    clock: Clock = field(default_factory=Clock)
    operations: Operations = field(default_factory=define_operations)

    @property
    def seals(self) -> Seals:
        return Seals(self.journal.datastore, self.operations)

    @property
    def keys(self) -> list[PublicKey]:
        return [self.signer.public]

    def last(self) -> Seal:
        """The last seal, which there must be."""
        seal = self.seals.last()
        assert seal is not None
        return seal

    def add(self, count: int, *, stream: str | None = None) -> None:
        """So many facts, in appends of up to ten thousand."""
        while count > 0:
            piece = min(count, 10_000)
            facts = events(new_command(), piece, stream=stream)
            self.journal.recorder.append(facts, command=new_command())
            count -= piece

    def lease(self, name: str = SEALING, holder: str = "here") -> Lease:
        """The lease, taken over from its holder, as after a silence."""
        tables, store = self.journal.datastore.tables, self.journal.datastore.store
        leases = Leases(store, tables, holder, lambda: next(self._time))
        while (lease := leases.take(name)) is None:
            pass
        return lease

    _time: Iterator[float] = field(default_factory=lambda: iter(range(0, 10**9, 3)))

    def sealer(
        self, lease: Lease | None = None, outlet: Outlet | None = None, signer: Signer | None = None
    ) -> Sealing:
        """A sealer as a follower begins one."""
        return Sealing(
            self.journal, self.operations, signer or self.signer, self.keys, lease or self.lease(),
            outlet=outlet, monotonic=self.clock,
        )  # fmt: skip

    def publisher(self, outlet: Outlet) -> SealPublishing:
        """The same for publishing."""
        return self.publisher_under(self.lease(PUBLISHING), outlet)

    def publisher_under(self, lease: Lease, outlet: Outlet) -> SealPublishing:
        """The same under a lease."""
        return SealPublishing(self.journal, self.operations, outlet, lease, monotonic=self.clock)

    def seal(self) -> Seal:
        """Seals all there is, as a new process would."""
        self.sealer().seal(check_cancelled)
        return self.last()

    # --- behind the engine's back -----------------------------------------------------------------

    def edit(self, *statements: str) -> None:
        """Runs statements with all triggers dropped."""
        with raw(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    def recompute(self, first: int) -> None:
        """Makes digests right again from a position on, and the head, as a careful forger does.

        And forgets what this process has seen: to one that starts, the chain is perfect.
        """
        self.journal.datastore.damage.trail.forget()
        mark = "?" if self.url.startswith("sqlite") else "%s"
        with raw(self.url) as connection:
            rows = connection.execute(
                "SELECT position, version, n.name, stream, command, body, digest FROM journal AS j"
                " JOIN journal_names AS n ON n.code = j.name ORDER BY position"
            ).fetchall()
            before = chain.GENESIS
            for position, version, name, stream, command, body, digest in rows:
                if position < first:
                    before = bytes(digest)
                    continue
                content = chain.content(
                    version, stream.encode(), name.encode(), bytes(command or b""), bytes(body)
                )
                before = chain.link(before, position, content)
                connection.execute(
                    f"UPDATE journal SET digest = {mark} WHERE position = {mark}", (before, position)
                )
            connection.execute(
                f"UPDATE journal_head SET position = {mark}, digest = {mark}", (len(rows), before)
            )


def check_cancelled() -> None:
    """Never cancels."""


@contextmanager
def raw(url: str) -> Iterator[Any]:
    """The database without the engine, and without its triggers."""
    if url.startswith("sqlite"):
        connection: Any = sqlite.driver().connect(sa.make_url(url).database)
        drop = [f"DROP TRIGGER IF EXISTS {table}_no_{what}" for table in TRIGGERS
                for what in ("update", "delete")]  # fmt: skip
    else:
        connection = psycopg.connect(url)
        drop = [f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}" for table in TRIGGERS]
    try:
        for statement in drop:
            connection.execute(statement)
        yield connection
        connection.commit()
    finally:
        connection.close()


@contextmanager
def opened(settings: Settings) -> Iterator[House]:
    """An installation's journal, and its sealing key."""
    make_tables(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        signer = Signer(origin_of(journal.meta["journal_id"]), bytes(range(32)))
        yield House(journal, signer, settings.journal_url)
